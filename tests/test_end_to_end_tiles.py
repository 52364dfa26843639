"""Tile-level programs as a person writes them, through every pass and both engines."""

from __future__ import annotations

import math

import numpy as np
import pytest
from differential import assert_close, assert_same_bits, check, matmul_bound
from graphs import UNIT, Approx, apply
from tvm.script import tirx as T

import tileflow_tvm as tf


def exact(value: np.ndarray) -> Approx:
    wide = value.astype(np.float64)
    return Approx(wide, np.zeros_like(wide))


def near(value: np.ndarray, relative: float) -> Approx:
    return Approx(value, np.full(value.shape, relative * np.abs(value).max()))


def draw(rng: np.random.Generator, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    return [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]


def blocks(size: int, block: int) -> int:
    return -(-size // block)


def test_gelu_and_silu(rng):
    rows, cols = 45, 70

    @T.prim_func
    def both(
        x: T.Buffer((rows, cols), "float32"), g: T.Buffer((rows, cols), "float32"),
        s: T.Buffer((rows, cols), "float32"),
    ):  # fmt: skip
        for i in range(blocks(rows, 32)):
            for j in range(blocks(cols, 32)):
                a = T.alloc_buffer((32, 32), "float32")
                b = T.alloc_buffer((32, 32), "float32")
                T.tf.load(a, x[i * 32 : i * 32 + 32, j * 32 : j * 32 + 32])
                T.tf.gelu(b, a)
                T.tf.silu(a)
                T.tf.store(g[i * 32 : i * 32 + 32, j * 32 : j * 32 + 32], b)
                T.tf.store(s[i * 32 : i * 32 + 32, j * 32 : j * 32 + 32], a)

    (x,) = draw(rng, (rows, cols))
    wide = x.astype(np.float64)
    normal = np.vectorize(math.erfc)(-wide / math.sqrt(2)) / 2
    expected = [near(wide * normal, 1e-6), near(wide / (1 + np.exp(-wide)), 1e-6)]
    check(both, [x], expected)


@pytest.mark.parametrize("shape", [(1, 1), (33, 7), (70, 333), (5, 5000)])
def test_softmax_in_three_passes(shape, rng):
    """Rows longer than SRAM, and blocks that hang over both edges."""
    rows, cols = shape

    @T.prim_func
    def softmax(x: T.Buffer((rows, cols), "float32"), y: T.Buffer((rows, cols), "float32")):
        for i in range(blocks(rows, 32)):
            top = T.alloc_buffer((32,), "float32")
            total = T.alloc_buffer((32,), "float32")
            for j in range(blocks(cols, 32)):
                a = T.alloc_buffer((32, 32), "float32")
                T.tf.load(a, x[i * 32 : i * 32 + 32, j * 32 : j * 32 + 32])
                T.tf.max(top, a, axis=1, clear=j == 0)
            for j in range(blocks(cols, 32)):
                b = T.alloc_buffer((32, 32), "float32")
                T.tf.load(b, x[i * 32 : i * 32 + 32, j * 32 : j * 32 + 32])
                T.tf.sub(b, top, modes=("full", "col"))
                T.tf.exp(b)
                T.tf.sum(total, b, axis=1, clear=j == 0)
            for j in range(blocks(cols, 32)):
                c = T.alloc_buffer((32, 32), "float32")
                T.tf.load(c, x[i * 32 : i * 32 + 32, j * 32 : j * 32 + 32])
                T.tf.sub(c, top, modes=("full", "col"))
                T.tf.exp(c)
                T.tf.div(c, total, modes=("full", "col"))
                T.tf.store(y[i * 32 : i * 32 + 32, j * 32 : j * 32 + 32], c)

    (x,) = draw(rng, shape)
    odds = np.exp(x.astype(np.float64) - x.max(axis=1, keepdims=True))
    want = near(odds / odds.sum(axis=1, keepdims=True), (cols + 10) * UNIT)
    check(softmax, [x], [want], sram_bytes=16384)


def test_primitives_of_tvm(rng):
    """T.tile.gemm overwrites unless beta is 1: here D = A @ B, then D = A @ B + D."""

    @T.prim_func
    def twice(
        a: T.Buffer((40, 50), "float32"),
        b: T.Buffer((50, 60), "float32"),
        y: T.Buffer((40, 60), "float32"),
    ):
        lhs = T.alloc_buffer((64, 64), "float32")
        rhs = T.alloc_buffer((64, 64), "float32")
        acc = T.alloc_buffer((64, 64), "float32")
        T.tile.copy(lhs[0:64, 0:64], a[0:64, 0:64])
        T.tile.copy(rhs[0:64, 0:64], b[0:64, 0:64])
        T.tile.gemm(acc[0:64, 0:64], lhs[0:64, 0:64], rhs[0:64, 0:64], acc[0:64, 0:64])
        T.tile.gemm(acc[0:64, 0:64], lhs[0:64, 0:64], rhs[0:64, 0:64], acc[0:64, 0:64], beta=1.0)
        T.tile.maximum(acc[0:64, 0:64], acc[0:64, 0:64], T.float32(0.5))
        T.tile.copy(y[0:64, 0:64], acc[0:64, 0:64])

    a, b = draw(rng, (40, 50), (50, 60))
    once = matmul_bound(a, b)
    doubled = Approx(2 * once.value, 4 * once.error)
    check(twice, [a, b], [apply("max", doubled, exact(np.full((40, 60), 0.5, np.float32)))])


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize("stages", [0, 1, 2, 3])
def test_gemm_with_transposed_operands_and_ring_depths(transpose_a, transpose_b, stages, rng):
    m, n, k = 70, 45, 130
    a_shape, a_block = ((k, m), (32, 64)) if transpose_a else ((m, k), (64, 32))
    b_shape, b_block = ((n, k), (64, 32)) if transpose_b else ((k, n), (32, 64))
    # Steps of the two loops in the dimensions of A and B.
    ai, ak = (0, 64), (32, 0)
    if not transpose_a:
        ai, ak = (64, 0), (0, 32)
    bk = (0, 32) if transpose_b else (32, 0)

    @T.prim_func
    def gemm(
        a: T.Buffer(a_shape, "float32"),
        b: T.Buffer(b_shape, "float32"),
        y: T.Buffer((m, n), "float32"),
    ):
        for i in range(2):
            acc = T.alloc_buffer((64, 64), "float32")
            for p in T.tf.pipelined(5, stages=stages):
                lhs = T.alloc_buffer(a_block, "float32")
                rhs = T.alloc_buffer(b_block, "float32")
                T.tf.load(
                    lhs,
                    a[
                        i * ai[0] + p * ak[0] : i * ai[0] + p * ak[0] + a_block[0],
                        i * ai[1] + p * ak[1] : i * ai[1] + p * ak[1] + a_block[1],
                    ],
                )
                T.tf.load(
                    rhs,
                    b[p * bk[0] : p * bk[0] + b_block[0], p * bk[1] : p * bk[1] + b_block[1]],
                )
                T.tf.gemm(
                    acc, lhs, rhs, clear=p == 0, transpose_a=transpose_a, transpose_b=transpose_b
                )
            T.tf.store(y[i * 64 : i * 64 + 64, 0:64], acc)

    a, b = draw(rng, (m, k), (k, n))
    given = [np.ascontiguousarray(a.T) if transpose_a else a, b.T if transpose_b else b]
    check(gemm, given, [matmul_bound(a, b)])


def test_a_triangular_loop(rng):
    """Row block i of Y is the sum over k <= i of A's block (i, k) times B's block k."""

    @T.prim_func
    def triangular(
        a: T.Buffer((100, 100), "float32"),
        b: T.Buffer((100, 20), "float32"),
        y: T.Buffer((100, 20), "float32"),
    ):
        for i in range(4):
            acc = T.alloc_buffer((32, 32), "float32")
            for k in range(i + 1):
                lhs = T.alloc_buffer((32, 32), "float32")
                rhs = T.alloc_buffer((32, 32), "float32")
                T.tf.load(lhs, a[i * 32 : i * 32 + 32, k * 32 : k * 32 + 32])
                T.tf.load(rhs, b[k * 32 : k * 32 + 32, 0:32])
                T.tf.gemm(acc, lhs, rhs, clear=k == 0)
            T.tf.store(y[i * 32 : i * 32 + 32, 0:32], acc)

    a, b = draw(rng, (100, 100), (100, 20))
    block = np.arange(100) // 32
    check(triangular, [a, b], [matmul_bound(np.where(block[None] <= block[:, None], a, 0), b)])


@T.prim_func
def sum_of_rows(n: T.int32, x: T.Buffer((640, 33), "float32"), y: T.Buffer((33,), "float32")):
    """y = the sum over the first 32 n rows of x."""
    total = T.alloc_buffer((64,), "float32")
    T.tf.fill(total, 0.0)
    for i in range(n):
        block = T.alloc_buffer((32, 64), "float32")
        T.tf.load(block, x[i * 32 : i * 32 + 32, 0:64])
        T.tf.sum(total[0:33], block[0:32, 0:33], axis=0, clear=False)
    T.tf.store(y[0:33], total[0:33])


def test_a_launch_scalar_bounds_a_loop(rng):
    (x,) = draw(rng, (640, 33))
    exe = tf.compile(sum_of_rows)
    for n in (0, 1, 7, 20):
        rows = x[: 32 * n].astype(np.float64)
        want = Approx(rows.sum(axis=0), 32 * n * UNIT * np.abs(rows).sum(axis=0))
        first = exe.run(x, engine="sequential", n=n).outputs[0]
        assert_close(first, want, f"n={n}")
        assert_same_bits(exe.run(x, engine="threaded", n=n).outputs[0], first, f"n={n}")


def test_scratch_in_dram_between_two_stages(rng):
    """Z = relu(X) goes to DRAM whole, then Y = Z^T."""

    @T.prim_func
    def two_stages(x: T.Buffer((70, 90), "float32"), y: T.Buffer((90, 70), "float32")):
        z = T.alloc_buffer((70, 90), "float32")
        for i, j in T.grid(3, 3):
            a = T.alloc_buffer((32, 32), "float32")
            T.tf.load(a, x[i * 32 : i * 32 + 32, j * 32 : j * 32 + 32])
            T.tf.relu(a)
            T.tf.store(z[i * 32 : i * 32 + 32, j * 32 : j * 32 + 32], a)
        for i, j in T.grid(3, 3):
            b = T.alloc_buffer((32, 32), "float32")
            T.tf.load(b, z[j * 32 : j * 32 + 32, i * 32 : i * 32 + 32], transposed=True)
            T.tf.store(y[i * 32 : i * 32 + 32, j * 32 : j * 32 + 32], b)

    (x,) = draw(rng, (70, 90))
    check(two_stages, [x], [exact(np.maximum(x, 0).T)])


def test_an_argument_that_is_read_and_written(rng):
    @T.prim_func
    def accumulate(x: T.Buffer((50, 40), "float32"), y: T.Buffer((50, 40), "float32")):
        for i in range(2):
            a = T.alloc_buffer((32, 64), "float32")
            b = T.alloc_buffer((32, 64), "float32")
            T.tf.load(a, x[i * 32 : i * 32 + 32, 0:64])
            T.tf.load(b, y[i * 32 : i * 32 + 32, 0:64])
            T.tf.add(b, a)
            T.tf.store(y[i * 32 : i * 32 + 32, 0:64], b)

    x, y = draw(rng, (50, 40), (50, 40))
    before = y.copy()
    check(accumulate, [x, y], [exact(x + y)])
    assert np.array_equal(y, before)


def test_batches_of_rank_3(rng):
    @T.prim_func
    def batched(
        a: T.Buffer((5, 33, 20), "float32"),
        b: T.Buffer((5, 20, 45), "float32"),
        y: T.Buffer((5, 33, 45), "float32"),
    ):
        for n in range(5):
            lhs = T.alloc_buffer((64, 32), "float32")
            rhs = T.alloc_buffer((32, 64), "float32")
            acc = T.alloc_buffer((64, 64), "float32")
            T.tf.load(lhs, a[n, 0:64, 0:32])
            T.tf.load(rhs, b[n, 0:32, 0:64])
            T.tf.gemm(acc, lhs, rhs)
            T.tf.store(y[n, 0:64, 0:64], acc)

    a, b = draw(rng, (5, 33, 20), (5, 20, 45))
    pairs = [matmul_bound(lhs, rhs) for lhs, rhs in zip(a, b, strict=True)]
    want = Approx(np.stack([p.value for p in pairs]), np.stack([p.error for p in pairs]))
    check(batched, [a, b], [want])


@pytest.mark.parametrize("func", ["sum", "max", "min", "prod"])
@pytest.mark.parametrize("axis", [0, 1])
def test_reductions_of_blocks_over_the_edge(func, axis, rng):
    """What lies outside the tensor never enters: a minimum of positive numbers is not 0."""
    shape = (45, 77)
    kept = shape[1 - axis]
    step = (32, 96) if axis == 0 else (64, 32)
    trips = blocks(shape[axis], step[axis])

    @T.prim_func
    def reduce(x: T.Buffer(shape, "float32"), y: T.Buffer((kept,), "float32")):
        out = T.alloc_buffer((step[1 - axis],), "float32")
        for i in range(trips):
            a = T.alloc_buffer(step, "float32")
            T.tf.load(
                a,
                x[
                    i * (step[0] if axis == 0 else 0) : i * (step[0] if axis == 0 else 0) + step[0],
                    i * (step[1] if axis == 1 else 0) : i * (step[1] if axis == 1 else 0) + step[1],
                ],
            )
            T.tf.reduce(out, a, func=func, axis=axis, clear=i == 0)
        T.tf.store(y[0 : step[1 - axis]], out)

    x = rng.uniform(0.9, 1.1, shape).astype(np.float32)
    value = getattr(np, func)(x.astype(np.float64), axis=axis)
    loose = {"sum": shape[axis] * UNIT, "prod": shape[axis] * UNIT * 1.01}.get(func, 0.0)
    check(reduce, [x], [Approx(value, loose * value)])


def test_a_row_and_a_column_for_a_square_block(rng):
    """modes say which: both vectors have 32 elements."""

    @T.prim_func
    def outer(
        row: T.Buffer((30,), "float32"),
        col: T.Buffer((25,), "float32"),
        y: T.Buffer((25, 30), "float32"),
    ):
        r = T.alloc_buffer((32,), "float32")
        c = T.alloc_buffer((32,), "float32")
        out = T.alloc_buffer((32, 32), "float32")
        T.tf.load(r, row[0:32])
        T.tf.load(c, col[0:32])
        T.tf.sub(out, r, c, modes=("row", "col"))
        T.tf.store(y[0:32, 0:32], out)

    row, col = draw(rng, (30,), (25,))
    check(outer, [row, col], [exact(row[None] - col[:, None])])


def test_loops_that_never_run(rng):
    @T.prim_func
    def never(x: T.Buffer((20, 20), "float32"), y: T.Buffer((20, 20), "float32")):
        a = T.alloc_buffer((32, 32), "float32")
        T.tf.load(a, x[0:32, 0:32])
        for _ in range(0):
            T.tf.exp(a)
        T.tf.store(y[0:32, 0:32], a)

    (x,) = draw(rng, (20, 20))
    check(never, [x], [exact(x)])


def test_nan_and_inf_beside_the_edge(rng):
    """What is in padding meets no real element: 0 * inf would be NaN."""

    @T.prim_func
    def gemm(
        a: T.Buffer((33, 35), "float32"),
        b: T.Buffer((35, 37), "float32"),
        y: T.Buffer((33, 37), "float32"),
    ):
        acc = T.alloc_buffer((64, 64), "float32")
        for k in range(2):
            lhs = T.alloc_buffer((64, 32), "float32")
            rhs = T.alloc_buffer((32, 64), "float32")
            T.tf.load(lhs, a[0:64, k * 32 : k * 32 + 32], fill=float("inf"))
            T.tf.load(rhs, b[k * 32 : k * 32 + 32, 0:64], fill=float("nan"))
            T.tf.gemm(acc, lhs, rhs, clear=k == 0)
        T.tf.relu(acc)
        T.tf.store(y[0:64, 0:64], acc)

    a, b = draw(rng, (33, 35), (35, 37))
    a[5, 34], b[34, 36], a[7, 0] = np.inf, np.nan, -np.inf
    with np.errstate(invalid="ignore"):
        value = a.astype(np.float64) @ b.astype(np.float64)
    finite = np.where(np.isfinite(a), a, 0), np.where(np.isfinite(b), b, 0)
    want = apply("relu", Approx(value, matmul_bound(*finite).error))
    assert np.isnan(want.value).any()
    assert np.isinf(want.value).any()
    check(gemm, [a, b], [want])


def test_a_ring_of_vectors_shorter_than_a_line_over_an_earlier_one(rng):
    """The slots of v lie 64 bytes apart, its second one where the store reads u."""

    @T.prim_func
    def negate(x: T.Buffer((8,), "float32"), y: T.Buffer((8,), "float32")):
        t = T.alloc_buffer((2,), "float32")
        u = T.alloc_buffer((2,), "float32")
        T.tf.load(t, x[6:8])
        T.tf.neg(u, t)
        T.tf.store(y[6:8], u)
        for i in range(3):
            v = T.alloc_buffer((2,), "float32")
            w = T.alloc_buffer((2,), "float32")
            T.tf.load(v, x[i * 2 : i * 2 + 2])
            T.tf.neg(w, v)
            T.tf.store(y[i * 2 : i * 2 + 2], w)

    (x,) = draw(rng, (8,))
    check(negate, [x], [exact(-x)])
