"""Golden comparison: does a compiled kernel give what it should, in both engines?"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tileflow_tvm.driver import Executable, compile
from tileflow_tvm.errors import CallError, TileflowError
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.isa.program import ArgSpec, Role
from tileflow_tvm.sim import DTYPES, Stats, draw

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.tirx import PrimFunc

SHOWN = 5
"""Mismatches that an error lists."""
RTOL, ATOL = 1e-4, 1e-5
EPSILON = {"bfloat16": 2.0**-7}
"""Element types whose own step is larger than RTOL."""

Executed = tuple[str, Sequence[np.ndarray]]
"""The name of a stage of the compilation, and what is written by it."""


class CheckError(TileflowError):
    """The kernel's result is not the oracle's, or differs between engines."""


@dataclass(frozen=True)
class Report:
    """A comparison that passed: the largest differences over all outputs, and what each engine
    did; with `validate`, the passes after which the function was executed."""

    outputs: tuple[np.ndarray, ...]
    max_abs: float
    max_rel: float
    stats: dict[str, Stats]
    passes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        shapes = ", ".join(f"{array.dtype}{list(array.shape)}" for array in self.outputs)
        cycles = next(iter(self.stats.values())).cycles
        return (f"<Report: {shapes} agree; largest difference {self.max_abs:.3g}, relative "
                f"{self.max_rel:.3g}; {cycles} cycles>")  # fmt: skip


def check(
    kernel: PrimFunc | IRModule | Executable,
    *inputs: Any,
    oracle: Callable[..., Any] | None = None,
    machine: str | os.PathLike[str] | Machine = "tileflow",
    seed: int = 0,
    rtol: float = RTOL,
    atol: float = ATOL,
    fuse: bool = True,
    validate: bool = False,
    **scalars: int,
) -> Report:
    """Run `kernel` in both engines and compare every element with an oracle.

    Without `inputs`, random ones are drawn from `seed`. `oracle` takes the inputs as
    float64 and returns the outputs (one array, or a sequence); without it a compute-level
    function is run by TVM's LLVM. An element passes where |got - want| <= rtol * |want| + atol *
    max|want|; NaN matches NaN, an infinity itself. `fuse` is
    `tf.compile`'s. With `validate` the function after each pass is executed too, as plain loops by
    TVM's LLVM, and the error names the first pass after which it computes something else. Raises
    CheckError with the first mismatches.
    """
    return compare(
        kernel, inputs, scalars, oracle=oracle, machine=machine, seed=seed, rtol=rtol, atol=atol,
        fuse=fuse, validate=validate,
    )  # fmt: skip


def compare(
    kernel: PrimFunc | IRModule | Executable,
    inputs: Sequence[Any] = (),
    scalars: Mapping[str, int] | None = None,
    *,
    oracle: Callable[..., Any] | None,
    machine: str | os.PathLike[str] | Machine,
    seed: int,
    rtol: float = RTOL,
    atol: float = ATOL,
    fuse: bool = True,
    validate: bool = False,
) -> Report:
    """`check` for launch scalars of any name. An error that no line is to blame for is at the
    kernel's function."""
    try:
        exe = kernel if isinstance(kernel, Executable) else compile(kernel, machine, fuse=fuse)
        arrays = list(inputs) or draw_inputs(exe, seed)
        execute = partial(_executions, kernel, exe, arrays, scalars or {}, fuse)
        return _compare_all(
            kernel, exe, arrays, scalars or {}, oracle, (rtol, atol), execute if validate else tuple
        )
    except TileflowError as error:
        if error.has_place or isinstance(kernel, Executable):
            raise
        from tileflow_tvm.frontend.compute_places import function_place
        from tileflow_tvm.frontend.module import only_function

        raise function_place(only_function(kernel)).give(error) from error.__cause__


def _compare_all(
    kernel: PrimFunc | IRModule | Executable,
    exe: Executable,
    arrays: list[Any],
    scalars: Mapping[str, int],
    oracle: Callable[..., Any] | None,
    tolerance: tuple[float, float],
    execute: Callable[[], Iterable[Executed]],
) -> Report:
    threaded = exe.simulator.run(arrays, scalars, engine="threaded")
    sequential = exe.simulator.run(arrays, scalars, engine="sequential")
    names = [arg.name for arg in exe.simulator.writes]
    for name, got, want in zip(names, threaded.outputs, sequential.outputs, strict=True):
        _same_bits(name, got, want)
    passes = validated(execute(), names, tolerance)
    wanted = _expected(kernel, exe, arrays, oracle, scalars)
    if len(wanted) != len(names):
        raise CallError(
            f"the oracle returned {len(wanted)} arrays, the kernel writes {len(names)}",
            hint=f"return one for each of {', '.join(names) or 'nothing'}, in this order",
        )
    worst = [
        _compare(name, got, want, *tolerance)
        for name, got, want in zip(names, sequential.outputs, wanted, strict=True)
    ]
    return Report(
        sequential.outputs,
        max((pair[0] for pair in worst), default=0.0),
        max((pair[1] for pair in worst), default=0.0),
        {"sequential": sequential.stats, "threaded": threaded.stats},
        passes,
    )


def _executions(
    kernel: PrimFunc | IRModule | Executable,
    exe: Executable,
    arrays: list[Any],
    scalars: Mapping[str, int],
    fuse: bool,
) -> Iterable[Executed]:
    """What `kernel` gives as it is, and after each pass."""
    if isinstance(kernel, Executable):
        what = f"a compiled program carries no passes: {kernel}"
        raise CallError(what, hint="validate the kernel itself")
    from tileflow_tvm.frontend.module import only_function
    from tileflow_tvm.reference.stages import executions

    arguments = _by_argument(exe.program.args, arrays)
    return executions(only_function(kernel), exe.machine, arguments, scalars, fused=fuse)


def validated(
    executed: Iterable[Executed],
    names: Sequence[str],
    tolerance: tuple[float, float] = (RTOL, ATOL),
) -> tuple[str, ...]:
    """The stages in `executed` behind the first one, all of which gave what that gave. `names` are
    those of the outputs. CheckError that names the first stage which did not."""
    passes: list[str] = []
    wanted: Sequence[np.ndarray] | None = None
    for stage, outputs in executed:
        if wanted is None:
            wanted = outputs
            continue
        for name, got, want in zip(names, outputs, wanted, strict=True):
            try:
                _compare(name, got, want, *tolerance)
            except CheckError as error:
                raise CheckError(
                    f"after pass '{stage}' the function computes something else: {error.what}",
                    notes=error.notes,
                    hint="tileflow compile --dump-passes DIR writes the function after each pass; "
                         "this is a defect of ours: report it with the kernel",
                ) from error  # fmt: skip
        passes.append(stage)
    return tuple(passes)


def draw_inputs(exe: Executable, seed: int) -> list[np.ndarray]:
    """Random arrays for what the program reads."""
    rng = np.random.default_rng(seed)
    return [draw(rng, arg) for arg in exe.simulator.reads]


def _expected(
    kernel: Any,
    exe: Executable,
    arrays: list[Any],
    oracle: Callable[..., Any] | None,
    scalars: Mapping[str, int],
) -> Sequence[np.ndarray]:
    if oracle is not None:
        wide = [np.asarray(array, np.float64) for array in arrays]
        result = oracle(*wide, **scalars)
        return result if isinstance(result, (tuple, list)) else [result]
    if isinstance(kernel, Executable):
        raise CallError(
            f"a compiled program carries no oracle: {kernel}",
            hint="pass oracle=, a function of the inputs in float64, or check the kernel itself",
        )
    from tileflow_tvm.frontend.module import only_function
    from tileflow_tvm.frontend.read import level

    func = only_function(kernel)
    if level(func) != "compute":
        raise CallError(
            "a tile-level kernel has no oracle of its own",
            hint="pass oracle=, a function of the inputs in float64",
        )
    from tileflow_tvm.frontend.reference import run_llvm

    return run_llvm(func, _by_argument(exe.program.args, arrays))


def _by_argument(args: Sequence[ArgSpec], arrays: list[Any]) -> list[tuple[np.ndarray, bool]]:
    """For every argument its array and whether it is written."""
    given = iter(arrays)
    return [
        (
            np.zeros(arg.shape, DTYPES[arg.dtype])
            if arg.role is Role.OUT
            else np.array(next(given), DTYPES[arg.dtype]),
            arg.role is not Role.IN,
        )
        for arg in args
    ]


def _same_bits(name: str, got: np.ndarray, want: np.ndarray) -> None:
    bits = np.dtype(f"u{got.itemsize}")
    differs = (got.view(bits) != want.view(bits)) & ~(np.isnan(got) & np.isnan(want))
    if differs.any():
        at = tuple(int(index) for index in np.argwhere(differs)[0])
        raise CheckError(
            f"'{name}' differs between the threaded and the sequential engine at "
            f"{list(at)}: {got[at]!r} and {want[at]!r}",
            hint="this is a defect of the simulator: report it with the kernel and its inputs",
        )


def _compare(
    name: str, got: np.ndarray, want: Any, rtol: float, atol: float
) -> tuple[float, float]:
    """Largest absolute and relative difference; CheckError where an element is off."""
    expected = np.asarray(want, np.float64)
    if expected.shape != got.shape:
        what = f"'{name}' has shape {got.shape}, the oracle's is {expected.shape}"
        raise CheckError(what, hint="the oracle is to return what the kernel writes, in its shape")
    if not got.size:
        return 0.0, 0.0
    rtol = max(rtol, EPSILON.get(got.dtype.name, 0.0))
    got = got.astype(np.float64)
    finite = np.isfinite(expected)
    scale = float(np.abs(expected[finite]).max(initial=0.0))
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.where(finite, np.abs(got - expected), 0.0)
        fits = gap <= rtol * np.abs(expected) + atol * scale
        same = (got == expected) | (np.isnan(got) & np.isnan(expected))
    bad = ~np.where(finite, fits & np.isfinite(got), same)
    if bad.any():
        raise _mismatch(name, got, expected, bad)
    size = np.where(finite & (expected != 0), np.abs(expected), np.inf)
    return float(gap.max()), float((gap / size).max())


def _mismatch(name: str, got: np.ndarray, want: np.ndarray, bad: np.ndarray) -> CheckError:
    places = np.argwhere(bad)
    notes = [
        f"  {name}{[int(i) for i in at]}: got {got[tuple(at)]!r}, want {want[tuple(at)]!r}"
        for at in places[:SHOWN]
    ]
    if len(places) > SHOWN:
        notes.append(f"  ... and {len(places) - SHOWN} more")
    return CheckError(
        f"'{name}': {len(places)} of {got.size} elements are off", notes=tuple(notes),
        hint="look at the first of these elements in kernel and oracle; where rounding alone is "
             "to blame, rtol= and atol= of tf.check allow more",
    )  # fmt: skip
