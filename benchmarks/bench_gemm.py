"""One-thread matrix products through `exe(a, b)`, next to NumPy with one thread: `make bench`.

NumPy and the engines take turns inside one process, so that a drifting clock hits all alike; the
numbers are medians. NumPy is limited to one thread; the sequential engine uses one as well, the
threaded one has a second thread for DMA, which helps with products, so the honest comparison is
the sequential column.

DRAM traffic is given in words of 4 bytes next to 2 MNK / sqrt(S) + MN with S the SRAM in words
(Kwasniewski et al. 2019). Peak memory is what a run adds to the process beyond A, B and C.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from threadpoolctl import threadpool_limits
from tvm import te
from tvm.tirx import PrimFunc

import tileflow_tvm as tf

SIZES = (128, 256, 512, 1024, 2048)
COMPILED_ONLY = 4096
ENGINES = ("sequential", "threaded", "auto")
SHORTEST = 0.02
"""Seconds that one measurement lasts at least, by repetition."""


def matmul(size: int) -> PrimFunc:
    """C = A @ B with all sides of `size`."""
    a = te.placeholder((size, size), name="A", dtype="float32")
    b = te.placeholder((size, size), name="B", dtype="float32")
    k = te.reduce_axis((0, size), name="k")
    c = te.compute((size, size), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="C")
    return te.create_prim_func([a, b, c])


def interleaved(contenders: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of one call, for each contender `rounds` times in turn, after a warm-up."""
    repeats = {}
    for name, call in contenders.items():
        call()
        start = time.perf_counter()
        call()
        repeats[name] = max(1, math.ceil(SHORTEST / (time.perf_counter() - start)))
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            times[name].append((time.perf_counter() - start) / repeats[name])
    return times


def peak_growth(call: Callable[[], Any]) -> int | None:
    """Bytes by which the resident set exceeds, at its highest in `call`, what it was before;
    None where the kernel cannot tell."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        call()
        return _status("VmHWM") - before
    except OSError:
        return None


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {key}")


def compile_timed(size: int, machine: tf.Machine) -> tuple[tf.Executable, dict[str, float]]:
    """The executable, and the seconds that compiling and verifying took."""
    func = matmul(size)
    start = time.perf_counter()
    exe = tf.compile(func, machine=machine, verify=False, cache=False)
    compiled = time.perf_counter()
    exe.simulator.verify()
    return exe, {"compile_s": compiled - start, "verify_s": time.perf_counter() - compiled}


def measure(size: int, machine: tf.Machine, rounds: int) -> dict[str, Any]:
    """One row of the result."""
    exe, costs = compile_timed(size, machine)
    rng = np.random.default_rng(size)
    a, b = (rng.standard_normal((size, size), dtype=np.float32) for _ in range(2))
    first = exe.run(a, b)
    want = a @ b
    assert np.allclose(first.outputs[0], want, rtol=1e-4, atol=1e-4 * math.sqrt(size))
    contenders = {"numpy": lambda: a @ b}
    for engine in ENGINES:
        contenders[engine] = lambda engine=engine: exe.run(a, b, engine=engine)
    contenders["auto"] = lambda: exe(a, b)
    times = interleaved(contenders, rounds)
    median = {name: statistics.median(values) for name, values in times.items()}
    growth = peak_growth(lambda: exe(a, b))
    words = first.stats.total_dram_bytes // 4
    bound = 2 * size**3 / math.sqrt(machine.sram_bytes / 4) + size**2
    return {
        "size": size, "times_s": times, "median_s": median,
        "numpy_over_sequential": median["numpy"] / median["sequential"],
        "numpy_over_auto": median["numpy"] / median["auto"],
        "sequential_over_threaded": median["sequential"] / median["threaded"],
        "gflops": {name: 2 * size**3 / seconds / 1e9 for name, seconds in median.items()},
        "dram_words": words, "dram_bound_words": bound, "dram_over_bound": words / bound,
        **costs,
        "text_bytes": 16 * len(exe.program.insns), "binary_bytes": len(exe.to_bytes()),
        "extra_memory_bytes": None if growth is None else max(0, growth - a.nbytes),
        "stats": {engine: exe.run(a, b, engine=engine).stats.as_dict() for engine in ENGINES},
    }  # fmt: skip


def speed_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="GEMM N x N x N against NumPy with one thread; medians")
    heads = ("N", "NumPy\nms", "seq.\nms", "threaded\nms", "auto\nms", "NumPy /\nseq.",
             "NumPy /\nauto", "seq. /\nthreaded", "NumPy\nGFLOP/s", "seq.\nGFLOP/s",
             "auto\nGFLOP/s")  # fmt: skip
    for head in heads:
        table.add_column(head, justify="right")
    for row in rows:
        ms = [f"{1e3 * row['median_s'][name]:.3f}" for name in ("numpy", *ENGINES)]
        ratios = [f"{row[key]:.2f}" for key in (
            "numpy_over_sequential", "numpy_over_auto", "sequential_over_threaded")]  # fmt: skip
        rates = [f"{row['gflops'][name]:.1f}" for name in ("numpy", "sequential", "auto")]
        table.add_row(str(row["size"]), *ms, *ratios, *rates)
    return table


def cost_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="Traffic, compile time and sizes")
    heads = ("N", "DRAM\nwords", "bound", "ratio", "compile\nms", "verify\nms", "text\nB",
             "memory beyond\ntensors KiB")  # fmt: skip
    for head in heads:
        table.add_column(head, justify="right")
    for row in rows:
        traffic, memory = ["-"] * 3, "-"
        if "dram_words" in row:
            traffic = [f"{row['dram_words']:,}", f"{row['dram_bound_words']:,.0f}",
                       f"{row['dram_over_bound']:.2f}"]  # fmt: skip
        if row.get("extra_memory_bytes") is not None:
            memory = f"{row['extra_memory_bytes'] / 1024:,.0f}"
        table.add_row(str(row["size"]), *traffic, f"{1e3 * row['compile_s']:.0f}",
                      f"{1e3 * row['verify_s']:.1f}", f"{row['text_bytes']:,}", memory)  # fmt: skip
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="measurements of each (default 9)")
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--sram-bytes", type=int, default=262144)
    parser.add_argument("--json", type=Path, default=Path("build/bench_gemm.json"))
    options = parser.parse_args()
    if options.rounds < 7:
        parser.error("--rounds is at least 7, so that a median means something")
    machine = tf.Machine.load("tileflow").replace(sram_bytes=options.sram_bytes)
    tf.compile(matmul(64), machine=machine, cache=False)  # Imports and one-time set-up.
    with threadpool_limits(limits=1):
        rows = [measure(size, machine, options.rounds)
                for size in track(options.sizes, description="measuring")]  # fmt: skip
    exe, costs = compile_timed(COMPILED_ONLY, machine)
    large = {"size": COMPILED_ONLY, **costs, "text_bytes": 16 * len(exe.program.insns)}
    console = Console(width=max(120, Console().width))
    console.print(speed_table(rows))
    console.print(cost_table([*rows, large]))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"machine": machine.to_toml(), "rows": [*rows, large]},
                                       indent=1))  # fmt: skip
    console.print(f"Every measurement is in {options.json}.")


if __name__ == "__main__":
    main()
