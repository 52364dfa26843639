"""Every kernel of the registry, hot in cache, next to what one core can do: `make bench`.

exec.gemm stands next to a loop of independent fused multiply-adds; element-wise kernels,
reductions and transfers next to a copy of as many bytes in the same cache, where every byte read
and every byte written counts once (a reduction next to a copy of half of what it reads); exec.fill,
which only writes, next to a memset of what it writes; functions also next to what a user would
write with NumPy and SciPy. All of them run in one process on one thread and take turns; the
numbers are low percentiles, as other work on the host only ever adds to a time. NumPy at the vector
width of AVX2: NPY_DISABLE_CPU_FEATURES="AVX512F X86_V4 AVX512_ICL" and --levels avx2.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

try:
    from scipy import special
except ImportError:
    special = None

from tileflow_tvm._sim import kernels
from tileflow_tvm.isa.program import ArgSpec, Role
from tileflow_tvm.isa.table import (
    BINARY_FUNCS,
    GEMM_DTYPES,
    OPERAND_MODES,
    REDUCE_FUNCS,
    SEMIRINGS,
    UNARY_FUNCS,
)
from tileflow_tvm.sim import DTYPES, draw

TILE = 32
GEMM = (128, 128, 128)
ROWS, COLS = 96, 128
"""A block with which all operands of an operation stay in the second-level cache."""
TENSOR = 1024
"""Side of the tensor that transfers move boxes of."""
SHORTEST = 2e-3
"""Seconds that one measurement lasts at least, by repetition."""

HALF, ROOT_HALF = np.float32(0.5), np.float32(0.5**0.5)
PEERS: dict[str, dict[str, Callable[[np.ndarray], np.ndarray]]] = {
    **{name: {"NumPy": getattr(np, name)} for name in ("exp", "log", "sqrt", "tanh", "sin", "cos")},
    "sigmoid": {"NumPy": lambda x: 1 / (1 + np.exp(-x))},
    "silu": {"NumPy": lambda x: x / (1 + np.exp(-x))},
    "gelu": {"NumPy tanh form": lambda x: HALF * x * (1 + np.tanh(
        np.float32(0.7978845608) * (x + np.float32(0.044715) * (x * x * x))))},
}  # fmt: skip
"""What a user would write instead, where it is more than an instruction a vector."""
if special is not None:
    PEERS["erf"] = {"SciPy": special.erf}
    PEERS["gelu"]["SciPy erf"] = lambda x: HALF * x * (1 + special.erf(x * ROOT_HALF))

PERCENTILE = 20
"""Of the times of a contender, which a neighbour on the host can only lengthen."""

Call = Callable[[int], object]
"""Runs so many times."""


@dataclass
class Measured:
    """A kernel and its peer: seconds a call, and what the ratio of the two rates is called."""

    operation: str
    function: str
    dtype: str
    level: str
    what: str
    seconds: float
    rate: float
    unit: str
    peer: str
    ratio: float


def noise(rng: np.random.Generator, size: int, dtype: str = "f32") -> np.ndarray:
    return draw(rng, ArgSpec("", (size,), Role.IN, dtype))


def low_seconds(contenders: dict[str, Call], rounds: int) -> dict[str, float]:
    """Of one run of each, taking turns."""
    repeats = {}
    for name, call in contenders.items():
        count = 1
        while _seconds(call, count) < SHORTEST:
            count *= 2
        repeats[name] = count
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            times[name].append(_seconds(call, repeats[name]) / repeats[name])
    return {name: float(np.percentile(values, PERCENTILE)) for name, values in times.items()}


def _seconds(call: Call, count: int) -> float:
    start = time.perf_counter()
    call(count)
    return time.perf_counter() - start


def each(call: Callable[[], object]) -> Call:
    def run(count: int) -> None:
        for _ in range(count):
            call()

    return run


PAGE = 4096


def apart(*arrays: np.ndarray) -> list[np.ndarray]:
    """Copies that start in different quarters of a page: where a store and a later load are equal
    modulo the page, the processor makes the load wait."""
    placed = []
    for index, array in enumerate(arrays):
        memory = np.empty(array.nbytes + 2 * PAGE, np.uint8)
        start = -memory.ctypes.data % PAGE + index * PAGE // 4
        placed.append(memory[start : start + array.nbytes].view(array.dtype))
        placed[-1][:] = array
    return placed


def level_of_peers() -> str:
    """The level of the simulator, which TILEFLOW_SIMD may lower."""
    return os.environ.get("TILEFLOW_SIMD", kernels.available()[-1])


def copies_of(size: int) -> dict[str, Call]:
    """Ways to copy so many bytes, which reads and writes them; the fastest is the peer."""
    floats = -(-size // 4)
    src, dst = apart(np.ones(floats, np.float32), np.ones(floats, np.float32))
    level, identity = level_of_peers(), UNARY_FUNCS.index("identity")

    def vectors(count: int) -> None:
        kernels.unary(level, identity, (dst, 0), (src, 0), 1, floats, repeats=count)

    return {"memcpy": each(lambda: np.copyto(dst, src)), "vectors": vectors}


def measure_gemm(
    level: str, semiring: str, dtype: str, rounds: int
) -> list[tuple[str, float, float, str, str, float]]:
    """Of narrow types and other semirings too next to the peak of float32."""
    rng = np.random.default_rng(1)
    m, n, k = GEMM
    lhs, rhs = noise(rng, m * k, dtype), noise(rng, k * n, dtype)
    dst = noise(rng, m * n, GEMM_DTYPES[dtype])
    tiles = [side // TILE for side in (n, k, n)]

    def run(count: int) -> None:
        kernels.gemm(level, (dst, tiles[0]), (lhs, tiles[1]), (rhs, tiles[2]), m, n, k,
                     clear=True, repeats=count, dtype=dtype,
                     semiring=SEMIRINGS.index(semiring))  # fmt: skip

    before = kernels.fma_peak(level)
    seconds = low_seconds({"it": run}, rounds)["it"]
    peak = max(before, kernels.fma_peak(level))
    rate = 2 * m * n * k / seconds / 1e9
    unit = "GOP/s" if dtype == "i8" else "GFLOP/s"
    return [(f"{m}x{n}x{k}", seconds, rate, unit, "fma peak", rate / peak if peak else 0.0)]


def streaming(
    what: str, call: Call, elements: int, rounds: int, item: float = 4
) -> tuple[str, float, float, str, str, float]:
    """A kernel that touches so many `elements` in all, of `item` bytes, next to a copy that touches
    as many bytes."""
    size = int(elements * item)
    seconds = low_seconds({"it": call, **copies_of(size // 2)}, rounds)
    rate = size / seconds["it"] / 1e9
    copy = min(seconds["memcpy"], seconds["vectors"])
    return what, seconds["it"], rate, "GB/s", "copy", copy / seconds["it"]


def measure_unary(level: str, function: str, rounds: int) -> list[tuple]:
    rng = np.random.default_rng(2)
    src, dst = apart(noise(rng, ROWS * COLS), noise(rng, ROWS * COLS))
    if function in ("log", "sqrt", "rsqrt"):
        np.abs(src, out=src)
    pitch, index = COLS // TILE, UNARY_FUNCS.index(function)

    def run(count: int) -> None:
        kernels.unary(level, index, (dst, pitch), (src, pitch), ROWS, COLS, repeats=count)

    rows = [streaming(f"{ROWS}x{COLS}", run, 2 * ROWS * COLS, rounds)]
    peers = {name: each(lambda f=f: f(src)) for name, f in PEERS.get(function, {}).items()}
    seconds = low_seconds({"it": run, **peers}, rounds) if peers else {}
    for name in peers:
        rate = ROWS * COLS / seconds["it"] / 1e9
        ratio = seconds[name] / seconds["it"]
        rows.append((f"{ROWS}x{COLS}", seconds["it"], rate, "G/s", name, ratio))
    return rows


def measure_binary(level: str, function: str, rounds: int) -> list[tuple]:
    rng = np.random.default_rng(3)
    lhs, rhs, dst = apart(*(noise(rng, ROWS * COLS) for _ in range(3)))
    pitch, index = COLS // TILE, BINARY_FUNCS.index(function)
    rows = []
    for mode, other, touched in (("full", (rhs, pitch), 3), ("row", (rhs[:COLS].copy(), 0), 2),
                                 ("col", (rhs[:ROWS].copy(), 0), 2)):  # fmt: skip

        def run(count: int, mode: str = mode, other: tuple = other) -> None:
            kernels.binary(level, index, (dst, pitch), (lhs, pitch), 0, other,
                           OPERAND_MODES.index(mode), 0.0, ROWS, COLS, repeats=count)  # fmt: skip

        rows.append(streaming(mode, run, touched * ROWS * COLS, rounds))
    return rows


def measure_reduce(level: str, function: str, rounds: int) -> list[tuple]:
    rng = np.random.default_rng(4)
    src, dst = apart(noise(rng, ROWS * COLS), noise(rng, max(ROWS, COLS)))
    index = REDUCE_FUNCS.index(function)
    rows = []
    for along_cols in (True, False):

        def run(count: int, along_cols: bool = along_cols) -> None:
            kernels.reduce(level, index, (dst, 0), (src, COLS // TILE), ROWS, COLS,
                           along_cols=along_cols, repeats=count)  # fmt: skip

        rows.append(streaming("along cols" if along_cols else "along rows", run,
                              ROWS * COLS, rounds))  # fmt: skip
    return rows


def measure_fill(level: str, dtype: str, rounds: int) -> list[tuple]:
    dst, other = apart(*(np.zeros(ROWS * COLS, DTYPES[dtype]) for _ in range(2)))

    def run(count: int) -> None:
        kernels.fill(level, (dst, COLS // TILE), ROWS, COLS, repeats=count, dtype=dtype)

    zeros = other.view(np.uint8)

    def vectors(count: int) -> None:
        kernels.fill(level, (other, 0), 1, other.size, repeats=count, dtype=dtype)

    peers = {"memset": each(lambda: zeros.fill(0)), "vectors": vectors}
    seconds = low_seconds({"it": run, **peers}, rounds)
    rate = dst.nbytes / seconds["it"] / 1e9
    ratio = min(seconds["memset"], seconds["vectors"]) / seconds["it"]
    return [(f"{ROWS}x{COLS}", seconds["it"], rate, "GB/s", "memset", ratio)]


def measure_transpose(level: str, dtype: str, rounds: int) -> list[tuple]:
    rng = np.random.default_rng(5)
    src, dst = noise(rng, ROWS * COLS, dtype), noise(rng, ROWS * COLS, dtype)

    def run(count: int) -> None:
        kernels.transpose(level, (dst, ROWS // TILE), (src, COLS // TILE), ROWS, COLS,
                          repeats=count, dtype=dtype)  # fmt: skip

    return [streaming(f"{ROWS}x{COLS}", run, 2 * ROWS * COLS, rounds, src.itemsize)]


def measure_cast(level: str, src_dtype: str, dst_dtype: str, rounds: int) -> list[tuple]:
    rng = np.random.default_rng(7)
    src, dst = apart(noise(rng, ROWS * COLS, src_dtype), noise(rng, ROWS * COLS, dst_dtype))
    pitch = COLS // TILE

    def run(count: int) -> None:
        kernels.cast(level, (dst, pitch), (src, pitch), ROWS, COLS, src_dtype, dst_dtype,
                     repeats=count)  # fmt: skip

    item = (src.itemsize + dst.itemsize) / 2
    return [streaming(f"{ROWS}x{COLS}", run, 2 * ROWS * COLS, rounds, item)]


BOXES = {
    "rows": ((ROWS, 0, 1, False), (COLS, 1, 1, True)),
    "transposed": ((ROWS, 1, 1, False), (COLS, 0, 1, True)),
    "strided": ((ROWS, 0, 2, False), (COLS, 1, 2, True)),
}


def measure_dma(level: str, operation: str, dtype: str, rounds: int) -> list[tuple]:
    """Boxes of a tensor that lies in a cache, next to a copy of as many useful bytes. The copy has
    it easier: a strided box touches the cache lines of twice as many bytes in the tensor, and rows
    that are half a page or less apart, as those of i8 are, meet in few sets of the first-level
    cache, in which the copied bytes stay."""
    rng = np.random.default_rng(6)
    memory, sram = noise(rng, TENSOR * TENSOR, dtype), noise(rng, ROWS * COLS, dtype)
    call = getattr(kernels, operation)
    rows = []
    for what, box in BOXES.items():

        def run(count: int, box: tuple = box) -> None:
            call(level, (sram, COLS // TILE), TILE, memory, 0, [TENSOR, TENSOR], [TENSOR, 1],
                 [8, 16], list(box), repeats=count, dtype=dtype)  # fmt: skip

        rows.append(streaming(what, run, 2 * ROWS * COLS, rounds, memory.itemsize))
    return rows


def measure(row: tuple[str, str, str, str], rounds: int) -> list[Measured]:
    """All figures of one row of the registry."""
    operation, function, dtype, level = row
    found = {
        "exec.gemm": lambda: measure_gemm(level, function, dtype, rounds),
        "exec.unary": lambda: measure_unary(level, function, rounds),
        "exec.binary": lambda: measure_binary(level, function, rounds),
        "exec.reduce": lambda: measure_reduce(level, function, rounds),
        "exec.fill": lambda: measure_fill(level, dtype, rounds),
        "exec.transpose": lambda: measure_transpose(level, dtype, rounds),
        "exec.cast": lambda: measure_cast(level, dtype, function, rounds),
        "load": lambda: measure_dma(level, "load", dtype, rounds),
        "store": lambda: measure_dma(level, "store", dtype, rounds),
    }[operation]()
    return [Measured(*row, *values) for values in found]


def table_of(level: str, rows: list[Measured]) -> Table:
    table = Table(title=f"Kernels at level {level}, one core, hot in cache")
    for head in ("operation", "function", "dtype", "what"):
        table.add_column(head)
    for head in ("us", "rate", "", "of", ""):
        table.add_column(head, justify="right")
    for row in rows:
        table.add_row(row.operation, row.function, row.dtype, row.what, f"{1e6 * row.seconds:.2f}",
                      f"{row.rate:.1f}", row.unit, f"{row.ratio:.2f}", row.peer)  # fmt: skip
    return table


def spare_levels() -> list[str]:
    """Those of which another level uses a part, and has functions of its own for the rest."""
    return [name for name in dict.fromkeys(row[3] for row in kernels.table())
            if name not in kernels.levels()]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="measurements of each (default 15)")
    parser.add_argument(
        "--levels",
        nargs="*",
        default=[level_of_peers(), *spare_levels()],
        help="default: the fastest, or TILEFLOW_SIMD, and what it has on lesser processors",
    )
    parser.add_argument("--only", help="operations and functions that contain this")
    parser.add_argument("--json", type=Path, default=Path("build/bench_kernels.json"))
    options = parser.parse_args()
    wanted = [row for row in kernels.table() if row[3] in options.levels
              and (options.only is None or options.only in f"{row[0]} {row[1]}")]  # fmt: skip
    results = [measured for row in track(wanted, description="measuring")
               for measured in measure(row, options.rounds)]  # fmt: skip
    console = Console(width=max(100, Console().width))
    for level in options.levels:
        console.print(table_of(level, [row for row in results if row.level == level]))
        console.print(f"fma peak at level {level}: {kernels.fma_peak(level):.1f} GFLOP/s")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps([asdict(row) for row in results], indent=1))
    console.print(f"Every figure is in {options.json}.")


if __name__ == "__main__":
    main()
