"""What compiling takes, from the passes and from the cache on disk: `make bench`.

Each function is compiled without the cache, and then again and again with it, so that each time its
key is made anew and the entry read, checked and decoded. The modules are imported before. Figures
are the least of many times: other work on the host only ever adds to them.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tvm import te, topi
from tvm.tirx import PrimFunc

import tileflow_tvm as tf


def product(size: int) -> PrimFunc:
    x, w = te.placeholder((size, size), name="x"), te.placeholder((size, size), name="w")
    return te.create_prim_func([x, w, topi.matmul(x, w)])


def layers(count: int) -> PrimFunc:
    """Products with bias and ReLU, one behind the other, and a softmax at the end."""
    y = te.placeholder((64, 96), name="x")
    params = [y]
    for layer in range(count):
        w = te.placeholder((96, 96), name=f"w{layer}")
        b = te.placeholder((96,), name=f"b{layer}")
        params += [w, b]
        y = topi.nn.relu(topi.add(topi.matmul(y, w), b))
    return te.create_prim_func([*params, topi.nn.softmax(y)])


def convolution() -> PrimFunc:
    x, w = te.placeholder((2, 16, 28, 28), name="x"), te.placeholder((32, 16, 3, 3), name="w")
    b = te.placeholder((32, 1, 1), name="b")
    return te.create_prim_func([x, w, b, topi.nn.relu(topi.nn.conv2d_nchw(x, w, 1, 1, 1) + b)])


FUNCTIONS: dict[str, Callable[[], PrimFunc]] = {
    "product of 256 cubed": lambda: product(256),
    "product of 4096 cubed": lambda: product(4096),
    "convolution, bias, ReLU": convolution,
    "1 layer and softmax": lambda: layers(1),
    "8 layers and softmax": lambda: layers(8),
    "32 layers and softmax": lambda: layers(32),
}


def least(call: Callable[[], object], times: int) -> float:
    """Seconds of the shortest of so many calls."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)


def measure(make: Callable[[], PrimFunc], rounds: int) -> dict[str, float]:
    func = make()
    passes = least(lambda: tf.compile(func, cache=False), max(2, rounds // 10))
    tf.compile(func)
    return {"passes_s": passes, "cache_s": least(lambda: tf.compile(func), rounds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30, help="hits measured (default 30)")
    parser.add_argument("--json", type=Path, default=Path("build/bench_compile.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(TILEFLOW_CACHE="1", TILEFLOW_CACHE_DIR=folder)
        tf.compile(product(64))  # Imports and one-time set-up.
        rows = {name: measure(make, options.rounds) for name, make in FUNCTIONS.items()}
    table = Table("function", title="Compiling, verified; least times")
    for head in ("passes\nms", "cache\nms"):
        table.add_column(head, justify="right")
    for name, row in rows.items():
        table.add_row(name, f"{1e3 * row['passes_s']:.1f}", f"{1e3 * row['cache_s']:.1f}")
    Console().print(table)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(rows, indent=1))
    print(f"Every measurement is in {options.json}.")


if __name__ == "__main__":
    main()
