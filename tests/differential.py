"""Comparisons that the end-to-end tests share: float64 oracle, engines, SIMD levels.

`python tests/differential.py SEED...` replays generated graphs.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from graph_source import load_source, source_of
from graphs import UNIT, Approx, Graph, graph_of

import tileflow_tvm as tf
from tileflow_tvm import _sim


def bits(array: np.ndarray) -> np.ndarray:
    """The array as integers, every NaN the same: payloads are nobody's business."""
    plain = array.copy()
    if array.dtype.kind != "i":
        plain[np.isnan(array)] = np.nan
    return plain.view(np.dtype(f"u{array.itemsize}"))


def assert_same_bits(got: np.ndarray, want: np.ndarray, what: str) -> None:
    assert got.shape == want.shape, what
    assert got.dtype == want.dtype, what
    wrong = np.argwhere(bits(got) != bits(want))
    assert not len(wrong), (
        f"{what}: {len(wrong)} of {got.size} differ, first at {tuple(wrong[0])}: "
        f"{got[tuple(wrong[0])]!r} and {want[tuple(wrong[0])]!r}"
    )


def assert_close(got: np.ndarray, want: Approx, what: str = "") -> None:
    """Every element within its bound; NaN and Inf exactly where the oracle has them."""
    assert got.dtype == np.float32, f"{what}: dtype {got.dtype}"
    assert got.shape == want.value.shape, f"{what}: shape {got.shape}, not {want.value.shape}"
    finite = np.isfinite(want.value)
    good = np.where(finite, False, got == want.value) | (np.isnan(got) & np.isnan(want.value))
    with np.errstate(invalid="ignore"):
        good |= finite & (np.abs(got - want.value) <= want.error)
    wrong = np.argwhere(~good)
    assert not len(wrong), (
        f"{what}: {len(wrong)} of {got.size} wrong, first at {tuple(wrong[0])}: "
        f"{got[tuple(wrong[0])]!r}, not {want.value[tuple(wrong[0])]!r} "
        f"within {want.error[tuple(wrong[0])]!r}"
    )


def run_every_way(exe: Any, arrays: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    """The outputs of the sequential engine, after the threaded one, and every SIMD level in
    both, have given the same bits."""
    outputs = exe.run(*arrays, engine="sequential").outputs
    for level in ("", *_sim.levels()):
        for engine in ("sequential", "threaded"):
            again = exe.run(*arrays, engine=engine, simd=level).outputs
            for index, (got, want) in enumerate(zip(again, outputs, strict=True)):
                assert_same_bits(got, want, f"output {index}, {engine}, simd={level!r}")
    return outputs


def check(func: Any, arrays: list[np.ndarray], wants: list[Approx], **machine: int) -> Any:
    """Compile for a machine with these changes, run every way, compare; the executable."""
    exe = tf.compile(func, machine=tf.Machine.load("tileflow").replace(**machine))
    outputs = run_every_way(exe, arrays)
    for index, (got, want) in enumerate(zip(outputs, wants, strict=True)):
        assert_close(got, want, f"output {index}")
    return exe


def check_graph(graph: Graph, data: dict[Any, np.ndarray] | None = None, **machine: int) -> Any:
    """`check` for a generated graph, on its own inputs or on `data`."""
    changes = {"sram_bytes": graph.sram_bytes, **machine}
    arrays = [(data or graph.data)[node] for node in graph.inputs]
    return check(load_source(source_of(graph)), arrays, graph.expected(data), **changes)


def matmul_bound(a: np.ndarray, b: np.ndarray) -> Approx:
    """a @ b in float64, with the error of `k` fused multiply-adds in float32."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return Approx(a @ b, (a.shape[1] * UNIT) * (np.abs(a) @ np.abs(b)) + 2.0**-149)


def main() -> None:
    for word in sys.argv[1:]:
        graph = graph_of(int(word))
        print(source_of(graph), f"# sram_bytes={graph.sram_bytes}", sep="\n")
        check_graph(graph)
        print("equal")


if __name__ == "__main__":
    main()
