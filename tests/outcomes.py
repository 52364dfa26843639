"""What becomes of a kernel: it compiles and computes what it should, or is refused with a reason.

`operators.json` holds the outcome of every case; a case with another outcome fails, and so does
anything that is neither: a wrong number, a crash, an error without a place, a cause or a hint.
`pytest --update-operators` writes that file, and `doc/operators.md` from it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from differential import assert_same_bits
from kernel_steps import Kernel, run_llvm
from operators_table import COMPILES, DATA, PAGE, load, page

import tileflow_tvm as tf
from tileflow_tvm.errors import KernelError

RTOL = {"float32": 2.0**-19, "float16": 2.0**-10, "bfloat16": 2.0**-7, "float64": 2.0**-46}
"""How far an element may be off, by its own size and by that of the largest; integers are exact."""


def outcome(
    kernel: Kernel, inputs: list[np.ndarray], numpy: Callable[..., Any] | None, within: float
) -> str:
    """COMPILES, or why it is refused; AssertionError where it is neither.

    Every function runs on what LLVM makes of those before it, and is compared with LLVM; `numpy`
    says what the last one gives.
    """
    steps = run_llvm(kernel, inputs)
    wanted = steps[-1][len(kernel.steps[-1].reads) :]
    if numpy is not None:
        oracle = numpy_results(numpy, inputs)
        for index, (got, want) in enumerate(zip(wanted, oracle, strict=True)):
            assert_near(got, want, within, f"LLVM and NumPy, output {index}")
    reason = ""
    for step, arrays in zip(kernel.steps, steps, strict=True):
        count = len(step.reads)
        found = compiled(step.func, arrays[:count], arrays[count:], within)
        reason = reason or (found if found != COMPILES else "")
    return reason or COMPILES


def compiled(
    func: Any, inputs: list[np.ndarray], wanted: Iterable[Any], within: float, file: str = ""
) -> str:
    """The outcome of one function, whose outputs have to be `wanted`; `file` is where it is
    written, nothing if no text stands behind it."""
    try:
        exe = tf.compile(func)
    except KernelError as error:
        check_refusal(error, file)
        return error.what
    outputs = exe.run(*inputs, engine="sequential").outputs
    again = exe.run(*inputs, engine="threaded").outputs
    for index, (got, other, want) in enumerate(zip(outputs, again, wanted, strict=True)):
        assert_same_bits(other, got, f"output {index}, threaded and sequential")
        assert_near(got, want, within, f"output {index}")
    return COMPILES


def numpy_results(numpy: Callable[..., Any], inputs: list[np.ndarray]) -> list[np.ndarray]:
    """What `numpy` makes of the inputs, floating point in float64."""
    wide = [x if x.dtype.kind in "iub" else x.astype(np.float64) for x in inputs]
    with np.errstate(all="ignore"):
        result = numpy(*wide)
    return list(result) if isinstance(result, (list, tuple)) else [np.asarray(result)]


def assert_near(got: np.ndarray, want: np.ndarray, within: float, what: str) -> None:
    """Every element; NaN matches NaN, an infinity itself."""
    assert got.shape == want.shape, f"{what}: shape {got.shape}, not {want.shape}"
    if got.dtype.kind in "iub":
        good = got == want
    else:
        got, rtol = got.astype(np.float64), within * RTOL[got.dtype.name]
        want = want.astype(np.float64)
        finite = np.isfinite(want)
        bound = rtol * (np.abs(want) + np.abs(want[finite]).max(initial=0.0))
        with np.errstate(invalid="ignore"):
            good = np.where(finite, np.abs(got - want) <= bound, got == want)
        good |= np.isnan(got) & np.isnan(want)
    wrong = np.argwhere(~good)
    assert not len(wrong), (
        f"{what}: {len(wrong)} of {got.size} are wrong, first at {tuple(map(int, wrong[0]))}: "
        f"{got[tuple(wrong[0])]!r}, not {want[tuple(wrong[0])]!r}"
    )


def check_refusal(error: KernelError, file: str = "") -> None:
    """It says what, where (a line and column of `file`, or the printed function) and what to do."""
    assert error.what
    assert error.hint, f"no hint:\n{error}"
    if file:
        assert re.match(rf"{re.escape(file)}:\d+:\d+: error: ", str(error)), f"no place:\n{error}"
    else:
        drawing, below = str(error).splitlines()[1:3]
        assert set(below.strip()) == {"^"} or drawing.startswith("    def "), f"no place:\n{error}"


def compare(
    request: pytest.FixtureRequest, suite: str, family: str, name: str, found: str,
    *, reasons: bool = True,
) -> None:  # fmt: skip
    """The outcome is the recorded one, or is to be recorded. `reasons=False`: whether it compiles
    is compared, why it does not may differ."""
    if reasons and request.config.getoption("--update-operators"):
        request.node.user_properties.append(("operators", [suite, family, name, found]))
        return
    want = load().get(suite, {}).get(family, {}).get(name)
    hint = "python -m pytest tests/test_operators.py tests/test_contractions.py --update-operators"
    if reasons or COMPILES in (found, want):
        assert found == want, f"recorded: {want}\nfound: {found}\nif it is to be so: {hint}"


def recorded_outcomes(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What `operators.json` has; the test is skipped where that is about to be written."""
    if request.config.getoption("--update-operators"):
        pytest.skip("outcomes are being recorded")
    return load()


def record(found: Iterable[list[str]], cases: dict[str, dict[str, Iterable[str]]]) -> None:
    """Writes `operators.json`, in the order of `cases` (suite, family, names), and the page. Cases
    that did not run keep what they had; those that are no more go."""
    known = load()
    for suite, family, name, outcome in found:
        known.setdefault(suite, {}).setdefault(family, {})[name] = outcome
    kept = {
        suite: {
            family: {name: known[suite][family][name] for name in names
                     if name in known.get(suite, {}).get(family, {})}
            for family, names in families.items()
        }
        for suite, families in cases.items()
    }  # fmt: skip
    DATA.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(page(kept), encoding="utf-8")
