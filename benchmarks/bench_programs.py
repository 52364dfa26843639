"""Whole programs through `exe.run(..., out=)`, next to NumPy and to a copy: `make bench`.

Element-wise operations, reductions, functions and transfers, each compiled on its own for 256 KiB
of SRAM and run on matrices that fit into the second-level cache and on such that do not. A copy
moves as many bytes as the operation reads and writes. NumPy (SciPy for erf, where installed) does
the same on one thread, into an array that is there already. All take turns inside one process; the
numbers are medians. `call` is `exe(...)`: with a new array for the result, page faults included.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bench_gemm import interleaved
from rich.console import Console
from rich.progress import track
from rich.table import Table
from threadpoolctl import threadpool_limits
from tvm import te, tirx

try:
    from scipy import special
except ImportError:
    special = None

import tileflow_tvm as tf
from tileflow_tvm.isa.program import ArgSpec, Role
from tileflow_tvm.sim import DTYPES, draw

SIZES = {"in cache": (128, 1024), "out of cache": (4096, 1024)}
ENGINES = ("sequential", "auto", "call")
TVM_DTYPES = {"f32": "float32", "bf16": "bfloat16", "i8": "int8"}
SMALL = (32, 32)
"""Of what a call costs beside the work: microseconds are given, not ratios."""

HALF, ROOT_HALF = np.float32(0.5), np.float32(0.5**0.5)

Expression = Callable[..., Any]
Arrays = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Case:
    """`shapes` of the inputs and `result` of the output, given m and n; `body` is the value of an
    element, given its indices and the inputs; `numpy` computes all of them into its first
    argument."""

    kind: str
    name: str
    shapes: Callable[[int, int], list[tuple[int, ...]]]
    result: Callable[[int, int], tuple[int, ...]]
    body: Expression
    numpy: Callable[..., Any]
    reduced: str = ""  # "rows" or "cols" or "all": the indices that the body is reduced over
    fold: str = "sum"
    dtype: str = "f32"


def one(m: int, n: int) -> list[tuple[int, ...]]:
    return [(m, n)]


def two(m: int, n: int) -> list[tuple[int, ...]]:
    return [(m, n), (m, n)]


def same(m: int, n: int) -> tuple[int, ...]:
    return (m, n)


def relu(value: Any) -> Any:
    return te.max(value, tirx.const(0, "float32"))


def constant(value: float) -> Any:
    return tirx.const(value, "float32")


def scaled(out: np.ndarray, x: np.ndarray) -> None:
    np.multiply(x, np.float32(2), out=out)
    np.add(out, np.float32(-1), out=out)


def chained(out: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    np.multiply(x, y, out=out)
    np.add(out, x, out=out)
    np.maximum(out, 0, out=out)
    np.multiply(out, y, out=out)


def logistic(out: np.ndarray, x: np.ndarray) -> None:
    np.negative(x, out=out)
    np.exp(out, out=out)
    np.add(out, np.float32(1), out=out)
    np.reciprocal(out, out=out)


def weighted(out: np.ndarray, x: np.ndarray) -> None:
    logistic(out, x)
    np.multiply(out, x, out=out)


def error_function(out: np.ndarray, x: np.ndarray) -> None:
    """Abramowitz and Stegun (1964), 7.1.26, where there is no SciPy: less exact than ours."""
    if special is not None:
        special.erf(x, out=out)
        return
    t = 1 / (1 + np.float32(0.3275911) * np.abs(x))
    poly = np.polyval(np.float32([1.061405429, -1.453152027, 1.421413741, -0.284496736,
                                  0.254829592, 0]), t)  # fmt: skip
    out[...] = np.copysign(1 - poly * np.exp(-x * x), x)


def gaussian(out: np.ndarray, x: np.ndarray) -> None:
    error_function(out, x * ROOT_HALF)
    np.add(out, np.float32(1), out=out)
    np.multiply(out, x * HALF, out=out)


def tvm_gelu(x: Any) -> Any:
    return constant(0.5) * x * (constant(1) + te.erf(x * constant(0.5**0.5)))


def elementwise() -> list[Case]:
    def case(name: str, body: Expression, numpy: Callable[..., Any], shapes: Any = one) -> Case:
        return Case("element-wise", name, shapes, same, body, numpy)

    return [
        case("add", lambda i, j, a, b: a[i, j] + b[i, j],
             lambda out, a, b: np.add(a, b, out=out), two),
        case("add a row", lambda i, j, a, b: a[i, j] + b[j],
             lambda out, a, b: np.add(a, b, out=out), lambda m, n: [(m, n), (n,)]),
        case("add a column", lambda i, j, a, b: a[i, j] + b[i],
             lambda out, a, b: np.add(a, b[:, None], out=out), lambda m, n: [(m, n), (m,)]),
        case("add a scalar", lambda i, j, a: a[i, j] + constant(3),
             lambda out, a: np.add(a, np.float32(3), out=out)),
        case("relu", lambda i, j, a: relu(a[i, j]), lambda out, a: np.maximum(a, 0, out=out)),
        case("2 x - 1", lambda i, j, a: a[i, j] * constant(2) - constant(1), scaled),
        case("relu(x y + x) y",
             lambda i, j, a, b: relu(a[i, j] * b[i, j] + a[i, j]) * b[i, j], chained, two),
    ]  # fmt: skip


def reductions() -> list[Case]:
    folds = {"sum": np.sum, "max": np.max, "min": np.min, "prod": np.prod}
    axes = {"cols": 1, "rows": 0, "all": None}
    cases = []
    for fold, numpy in folds.items():
        for over, axis in axes.items():
            if over == "all" and fold != "sum":
                continue
            cases.append(Case(
                "reduction", f"{fold} over {over}", one,
                lambda m, n, over=over: {"cols": (m,), "rows": (n,), "all": (1,)}[over],
                lambda i, j, a: a[i, j],
                lambda out, a, numpy=numpy, axis=axis: numpy(
                    a, axis=axis, out=out.reshape(()) if axis is None else out),
                over, fold))  # fmt: skip
    return cases


def functions() -> list[Case]:
    ufuncs = {"exp": (te.exp, np.exp), "log": (te.log, np.log), "tanh": (te.tanh, np.tanh),
              "sin": (te.sin, np.sin)}  # fmt: skip
    forms = {"sigmoid": (te.sigmoid, logistic), "erf": (te.erf, error_function),
             "gelu": (tvm_gelu, gaussian),
             "silu": (lambda x: x * te.sigmoid(x), weighted)}  # fmt: skip
    named = {**{name: (f, lambda out, x, g=g: g(x, out=out)) for name, (f, g) in ufuncs.items()},
             **forms}  # fmt: skip
    return [Case("function", name, one, same, lambda i, j, a, f=f: f(a[i, j]), numpy)
            for name, (f, numpy) in named.items()]  # fmt: skip


def transfers() -> list[Case]:
    def case(name: str, body: Expression, numpy: Any, **more: Any) -> Case:
        more = {"shapes": one, "result": same, **more}
        return Case("transfer", name, body=body, numpy=numpy, **more)

    def copied(out: np.ndarray, x: np.ndarray) -> None:
        np.copyto(out, x)

    every = [
        case("rows", lambda i, j, a: a[i, j], copied),
        case("transposed", lambda i, j, a: a[j, i], lambda out, a: np.copyto(out, a.T),
             shapes=lambda m, n: [(n, m)]),
        case("every 2nd column", lambda i, j, a: a[i, 2 * j],
             lambda out, a: np.copyto(out, a[:, ::2]), shapes=lambda m, n: [(m, 2 * n)]),
        case("every 3rd column", lambda i, j, a: a[i, 3 * j],
             lambda out, a: np.copyto(out, a[:, ::3]), shapes=lambda m, n: [(m, 3 * n)]),
        case("every 2nd row", lambda i, j, a: a[2 * i, j],
             lambda out, a: np.copyto(out, a[::2]), shapes=lambda m, n: [(2 * m, n)]),
        case("backwards", lambda i, j, a: a[i, a.shape[1] - 1 - j],
             lambda out, a: np.copyto(out, a[:, ::-1])),
        case("a row, broadcast", lambda _, j, a: a[j],
             lambda out, a: np.copyto(out, a[None]), shapes=lambda _, n: [(n,)]),
    ]  # fmt: skip
    for dtype in ("bf16", "i8"):
        every += [
            case(f"rows, {dtype}", lambda i, j, a: a[i, j], copied, dtype=dtype),
            case(f"transposed, {dtype}", lambda i, j, a: a[j, i],
                 lambda out, a: np.copyto(out, a.T), shapes=lambda m, n: [(n, m)], dtype=dtype),
        ]  # fmt: skip
    return every


def cases() -> list[Case]:
    return [*elementwise(), *reductions(), *functions(), *transfers()]


def function_of(case: Case, m: int, n: int) -> tirx.PrimFunc:
    dtype = TVM_DTYPES[case.dtype]
    inputs = [te.placeholder(shape, name=name, dtype=dtype)
              for name, shape in zip("AB", case.shapes(m, n), strict=False)]  # fmt: skip
    if not case.reduced:
        result = te.compute((m, n), lambda i, j: case.body(i, j, *inputs), name="Y")
        return te.create_prim_func([*inputs, result])
    fold = {
        "sum": te.sum,
        "max": te.max,
        "min": te.min,
        "prod": te.comm_reducer(lambda x, y: x * y, lambda t: tirx.const(1, t)),
    }[case.fold]
    rows, cols = te.reduce_axis((0, m), name="i"), te.reduce_axis((0, n), name="j")
    formula = {
        "cols": ((m,), lambda i: fold(case.body(i, cols, *inputs), axis=cols)),
        "rows": ((n,), lambda j: fold(case.body(rows, j, *inputs), axis=rows)),
        "all": ((1,), lambda _: fold(case.body(rows, cols, *inputs), axis=[rows, cols])),
    }[case.reduced]
    return te.create_prim_func([*inputs, te.compute(*formula, name="Y")])


def arrays_of(case: Case, m: int, n: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Inputs, and a result to write into. Factors are near 1, arguments of log positive."""
    rng = np.random.default_rng(m * n)
    inputs = [draw(rng, ArgSpec("", shape, Role.IN, case.dtype)) for shape in case.shapes(m, n)]
    if case.fold == "prod":
        inputs = [1 + x / np.float32(1 << 14) for x in inputs]
    if case.name == "log":
        inputs = [np.abs(x) + np.float32(0.01) for x in inputs]
    return inputs, np.empty(case.result(m, n), DTYPES[case.dtype])


def touched(case: Case, inputs: list[np.ndarray], out: np.ndarray) -> int:
    """Bytes that are read and written; of a strided transfer, those that are moved."""
    if case.kind == "transfer":
        return 2 * out.nbytes if inputs[0].size >= out.size else inputs[0].nbytes + out.nbytes
    return sum(x.nbytes for x in inputs) + out.nbytes


@dataclass
class Measured:
    """A program and its peers: median seconds of each."""

    kind: str
    name: str
    what: str
    shape: tuple[int, int]
    touched_bytes: int
    seconds: dict[str, float]
    times: dict[str, list[float]]

    def of_copy(self, engine: str) -> float:
        return self.seconds["copy"] / self.seconds[engine]

    def of_numpy(self, engine: str) -> float:
        return self.seconds["numpy"] / self.seconds[engine]


def measure(case: Case, what: str, machine: tf.Machine, rounds: int) -> Measured:
    m, n = SIZES.get(what, SMALL)
    exe = tf.compile(function_of(case, m, n), machine=machine, cache=False)
    inputs, out = arrays_of(case, m, n)
    want = np.empty_like(out)
    case.numpy(want, *inputs)
    exe.run(*inputs, out=out)
    close = {"rtol": 1e-3, "atol": 1e-3 * math.sqrt(m * n if case.fold == "sum" else 1)}
    assert np.allclose(out.astype(np.float32), want.astype(np.float32), **close), case.name
    size = touched(case, inputs, out)
    src, dst = (np.ones(max(1, size // 2), np.uint8) for _ in range(2))
    times = interleaved({
        "copy": lambda: np.copyto(dst, src),
        "numpy": lambda: case.numpy(want, *inputs),
        "sequential": lambda: exe.run(*inputs, out=out, engine="sequential"),
        "auto": lambda: exe.run(*inputs, out=out),
        "call": lambda: exe(*inputs),
    }, rounds)  # fmt: skip
    median = {name: statistics.median(values) for name, values in times.items()}
    return Measured(case.kind, case.name, what, (m, n), size, median, times)


def table_of(kind: str, rows: list[Measured]) -> Table:
    table = Table(title=f"{kind.capitalize()} programs")
    heads = ("program", "where", "copy\nGB/s", "NumPy\nus", "seq.\nus", "auto\nus", "call\nus",
             "copy /\nseq.", "copy /\nauto", "NumPy /\nseq.", "NumPy /\nauto")  # fmt: skip
    for index, head in enumerate(heads):
        table.add_column(head, justify="left" if index < 2 else "right")
    for row in rows:
        times = [f"{1e6 * row.seconds[name]:.1f}" for name in ("numpy", *ENGINES)]
        ratios = [f"{ratio(engine):.2f}" for ratio in (row.of_copy, row.of_numpy)
                  for engine in ("sequential", "auto")]  # fmt: skip
        rate = row.touched_bytes / row.seconds["copy"] / 1e9
        table.add_row(row.name, row.what, f"{rate:.0f}", *times, *ratios)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="measurements of each (default 9)")
    parser.add_argument("--only", help="kinds and names that contain this")
    parser.add_argument("--sram-bytes", type=int, default=262144)
    parser.add_argument("--json", type=Path, default=Path("build/bench_programs.json"))
    options = parser.parse_args()
    if options.rounds < 7:
        parser.error("--rounds is at least 7, so that a median means something")
    machine = tf.Machine.load("tileflow").replace(sram_bytes=options.sram_bytes)
    wanted = [case for case in cases()
              if options.only is None or options.only in f"{case.kind} {case.name}"]  # fmt: skip
    jobs = [(case, what) for case in wanted for what in SIZES]
    if options.only is None:
        jobs.append((elementwise()[0], "small"))
    with threadpool_limits(limits=1):
        results = [measure(case, what, machine, options.rounds)
                   for case, what in track(jobs, description="measuring")]  # fmt: skip
    console = Console(width=max(120, Console().width))
    for kind in dict.fromkeys(row.kind for row in results):
        console.print(table_of(kind, [row for row in results if row.kind == kind]))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    found = {"machine": machine.to_toml(), "scipy": special is not None,
             "rows": [asdict(row) for row in results]}  # fmt: skip
    options.json.write_text(json.dumps(found, indent=1))
    console.print(f"Every measurement is in {options.json}.")


if __name__ == "__main__":
    main()
