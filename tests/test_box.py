"""Box transfers: what they move, how they are clipped, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from differential import assert_same_bits, check, matmul_bound
from graphs import Approx
from isa_interpreter import interpret
from random_boxes import Case
from tile_interpreter import TileInterpreter
from tvm.script import tirx as T

import tileflow_tvm as tf
from tileflow_tvm.errors import KernelError
from tileflow_tvm.frontend.read import read
from tileflow_tvm.frontend.write import write
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.emit import emit
from tileflow_tvm.passes.infer_scope import infer_scope
from tileflow_tvm.passes.pipeline import pipeline
from tileflow_tvm.passes.plan_sram import plan_sram

MACHINE = Machine.load("tileflow")


def first_of(inside: np.ndarray) -> bool:
    """Whether what is inside of a block are its first rows and columns."""
    rows, cols = inside.any(axis=1).sum(), inside.any(axis=0).sum()
    want = np.zeros_like(inside)
    want[:rows, :cols] = True
    return np.array_equal(inside, want)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("group", range(12))
def test_random_boxes_mean_what_numpy_says(group, padded, rng):
    """What lies inside is accepted; what is accepted is right, in every engine; whatever is not
    the first rows and columns of its block is refused."""
    accepted = 0
    for seed in range(group * 25, group * 25 + 25):
        case = Case(seed, padded)
        iterations = list(case.iterations())
        try:
            program = infer_scope(case.program(), MACHINE)
        except KernelError:
            print("seed", seed, "is refused")
            assert not padded
            assert not all(inside.all() for _, _, inside in iterations)
            continue
        print("seed", seed, "is accepted")
        accepted += 1
        assert padded or all(first_of(inside) for _, _, inside in iterations)
        compare(case, program, rng)
    assert accepted >= 5


def compare(case: Case, program, rng) -> None:
    """Simulator and the NumPy meaning of the ISA and of tile level against NumPy on coordinates."""
    a = rng.standard_normal(case.shape).astype(np.float32)
    y = rng.standard_normal(program.params[1].shape).astype(np.float32)
    want = case.expected(a, y)
    name = f"seed {case.seed}"
    exe = tf.compile(write(program))
    assert_same_bits(exe.run(a, y, engine="sequential").outputs[0], want, name)
    assert_same_bits(exe.run(a, y, engine="threaded").outputs[0], want, name)
    emitted = emit(pipeline(plan_sram(program, MACHINE), MACHINE), MACHINE)
    assert_same_bits(interpret(emitted, a, y)[0], want, name)
    tiles = TileInterpreter(program, 1).run({"A": a, "Y": y})
    assert_same_bits(tiles["Y"].astype(np.float32), want, name)


def convolution(x: np.ndarray, w: np.ndarray, stride: int, pad: int, dilation: int) -> Approx:
    """NHWC by HWIO in float64, by the definition."""
    kh, kw, channels, out = w.shape
    x = np.pad(x.astype(np.float64), ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    oh, ow = ((s - dilation * (k - 1) - 1) // stride + 1
              for s, k in zip(x.shape[1:3], (kh, kw), strict=True))  # fmt: skip
    columns = np.zeros((x.shape[0], oh, ow, kh, kw, channels))
    for y, z in np.ndindex(kh, kw):
        rows = slice(y * dilation, y * dilation + stride * (oh - 1) + 1, stride)
        cols = slice(z * dilation, z * dilation + stride * (ow - 1) + 1, stride)
        columns[:, :, :, y, z] = x[:, rows, cols]
    bound = matmul_bound(columns.reshape(-1, kh * kw * channels), w.reshape(-1, out))
    shape = (x.shape[0], oh, ow, out)
    return Approx(bound.value.reshape(shape), bound.error.reshape(shape))


@pytest.mark.parametrize("tile", [8, 16, 32])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pad", "dilation"),
    [((13, 11), (3, 3), 1, 1, 1), ((13, 11), (3, 3), 2, 1, 1), ((9, 14), (1, 5), 3, 2, 1),
     ((12, 10), (3, 2), 1, 2, 2), ((7, 7), (7, 7), 1, 3, 1)],
)  # fmt: skip
def test_a_convolution(tile, size, kernel, stride, pad, dilation, rng):
    """Windows of a padded image are the rows of the left operand: halos on all sides, a last block
    of rows that hangs over the result's edge."""
    (h, w), (kh, kw), n, c, k = size, kernel, 2, 5, 9
    oh = (h + 2 * pad - dilation * (kh - 1) - 1) // stride + 1
    ow = (w + 2 * pad - dilation * (kw - 1) - 1) // stride + 1
    bh, bk = 3, 16

    @T.prim_func
    def conv(
        X: T.Buffer((n, h, w, c), "float32"),
        W: T.Buffer((kh, kw, c, k), "float32"),
        Y: T.Buffer((n, oh, ow, k), "float32"),
    ):
        for b, y in T.grid(n, -(-oh // bh)):
            a = T.alloc_buffer((bh * ow, kh * kw * c))
            f = T.alloc_buffer((kh * kw * c, bk))
            s = T.alloc_buffer((bh * ow, bk))
            T.tf.load(
                a,
                X[b, y * bh * stride - pad, -pad, 0],
                rows=[(bh, 1, stride), (ow, 2, stride)],
                cols=[(kh, 1, dilation), (kw, 2, dilation), (c, 3, 1)],
                padded=True,
            )
            T.tf.load(f, W[0, 0, 0, 0], rows=[(kh, 0, 1), (kw, 1, 1), (c, 2, 1)], cols=[(bk, 3, 1)])
            T.tf.gemm(s, a, f)
            T.tf.store(Y[b, y * bh, 0, 0], s, rows=[(bh, 1, 1), (ow, 2, 1)], cols=[(bk, 3, 1)])

    x = rng.standard_normal((n, h, w, c)).astype(np.float32)
    f = rng.standard_normal((kh, kw, c, k)).astype(np.float32)
    check(conv, [x, f], [convolution(x, f, stride, pad, dilation)], tile=tile)


@pytest.mark.parametrize("tile", [8, 16, 32])
@pytest.mark.parametrize("padded", [False, True])
def test_a_convolution_that_sums_over_blocks_of_channels(tile, padded, rng):
    """NCHW by OIHW: the last block of channels is clipped, so k is channels * kh * kw. Where the
    image is padded only the weights are clipped, and they say k; NaN in the padding would show."""
    n, c, h, w, o, kh, kw, block = 2, 7, 6, 9, 11, 2, 3, 3
    oh, ow = h - kh + 1, w - kw + 1
    fill = float("nan")

    @T.prim_func
    def conv(
        X: T.Buffer((n, c, h, w), "float32"),
        W: T.Buffer((o, c, kh, kw), "float32"),
        Y: T.Buffer((n, o, oh, ow), "float32"),
    ):
        for b, y in T.grid(n, oh):
            s = T.alloc_buffer((ow, 16))
            for k in range(-(-c // block)):
                x = T.alloc_buffer((ow, block * kh * kw))
                f = T.alloc_buffer((block * kh * kw, 16))
                T.tf.load(x, X[b, k * block, y, 0], rows=[(ow, 3, 1)], fill=fill, padded=padded,
                          cols=[(block, 1, 1), (kh, 2, 1), (kw, 3, 1)])  # fmt: skip
                T.tf.load(f, W[0, k * block, 0, 0], fill=fill, cols=[(16, 0, 1)],
                          rows=[(block, 1, 1), (kh, 2, 1), (kw, 3, 1)])  # fmt: skip
                T.tf.gemm(s, x, f, clear=k == 0)
            T.tf.store(Y[b, 0, y, 0], s, rows=[(ow, 3, 1)], cols=[(16, 1, 1)])

    x = rng.standard_normal((n, c, h, w)).astype(np.float32)
    f = rng.standard_normal((o, c, kh, kw)).astype(np.float32)
    want = convolution(x.transpose(0, 2, 3, 1), f.transpose(2, 3, 1, 0), 1, 0, 1)
    turned = Approx(want.value.transpose(0, 3, 1, 2), want.error.transpose(0, 3, 1, 2))
    check(conv, [x, f], [turned], tile=tile)


def test_a_padded_box_whose_corner_is_known_at_launch(rng):
    """Y = X moved by n, in either direction and out of sight."""

    @T.prim_func
    def shift(X: T.Buffer((20,), "float32"), Y: T.Buffer((20,), "float32"), n: T.int32):
        a = T.alloc_buffer((20,))
        T.tf.load(a, X[n * 2], cols=[(20, 0, 1)], fill=-1.0, padded=True)
        T.tf.store(Y, a)

    x = rng.standard_normal(20).astype(np.float32)
    exe = tf.compile(shift)
    for n in (0, 1, -3, 9, 10, -10, -11, 1000):
        want = [x[i] if 0 <= i < 20 else -1.0 for i in range(2 * n, 2 * n + 20)]
        for engine in ("sequential", "threaded"):
            got = exe.run(x, engine=engine, n=n).outputs[0]
            assert_same_bits(got, np.array(want, np.float32), f"n={n}")


def test_boxes_into_and_out_of_parts_of_a_block(rng):
    """Four boxes make a block of 64 x 64: even and odd rows, left and right; then it goes out in
    halves, upside down."""

    @T.prim_func
    def parts(X: T.Buffer((64, 64), "float32"), Y: T.Buffer((64, 64), "float32")):
        a = T.alloc_buffer((64, 64))
        for p in range(2):
            for q in range(2):
                T.tf.load(a[p * 32 : p * 32 + 32, q * 32 : q * 32 + 32], X[p, q * 32],
                          rows=[(32, 0, 2)], cols=[(32, 1, 1)])  # fmt: skip
        for q in range(2):
            T.tf.store(Y[63, q * 32], a[0:64, q * 32 : q * 32 + 32],
                       rows=[(64, 0, -1)], cols=[(32, 1, 1)])  # fmt: skip

    x = rng.standard_normal((64, 64)).astype(np.float32)
    want = np.concatenate([x[::2], x[1::2]])[::-1].astype(np.float64)
    check(parts, [x], [Approx(want, np.zeros_like(want))])


def test_a_maximum_over_windows_with_padding_that_never_wins(rng):
    h, w, c = 9, 11, 6
    oh, ow = (h + 1) // 2, (w + 1) // 2

    @T.prim_func
    def pool(X: T.Buffer((h, w, c), "float32"), Y: T.Buffer((oh, ow, c), "float32")):
        for y in range(oh):
            windows = T.alloc_buffer((ow * c, 9))
            best = T.alloc_buffer((ow * c,))
            T.tf.load(windows, X[y * 2 - 1, -1, 0], rows=[(ow, 1, 2), (c, 2, 1)],
                      cols=[(3, 0, 1), (3, 1, 1)], fill=float("-inf"), padded=True)  # fmt: skip
            T.tf.max(best, windows, axis=1)
            T.tf.store(Y[y, 0, 0], best, cols=[(ow, 1, 1), (c, 2, 1)])

    x = rng.standard_normal((h, w, c)).astype(np.float32) - 5
    padded = np.pad(x, ((1, 2), (1, 2), (0, 0)), constant_values=-np.inf)
    want = np.max([padded[i : i + 2 * oh : 2, j : j + 2 * ow : 2][:oh, :ow]
                   for i in range(3) for j in range(3)], axis=0)  # fmt: skip
    check(pool, [x], [Approx(want.astype(np.float64), np.zeros(want.shape))])


@pytest.mark.parametrize("heads", [1, 3])
def test_rows_that_are_clipped_by_whole_inner_products(heads, rng):
    """The last block of tokens is clipped to tokens * heads rows, and so is what follows from it;
    NaN in the rest would show."""
    tokens, width, block = 23, 10, 8

    @T.prim_func
    def norm(
        X: T.Buffer((tokens, heads, width), "float32"),
        Y: T.Buffer((heads, tokens, width), "float32"),
    ):
        for i in range(-(-tokens // block)):
            x = T.alloc_buffer((block * heads, 16))
            top = T.alloc_buffer((block * heads,))
            T.tf.load(x, X[i * block, 0, 0], rows=[(block, 0, 1), (heads, 1, 1)],
                      cols=[(16, 2, 1)], fill=float("nan"))  # fmt: skip
            T.tf.max(top, x, axis=1)
            T.tf.sub(x, top, modes=("full", "col"))
            T.tf.store(Y[0, i * block, 0], x, rows=[(block, 1, 1), (heads, 0, 1)],
                       cols=[(16, 2, 1)])  # fmt: skip

    program = infer_scope(read(norm), MACHINE)
    (loop,) = program.body
    limit = program.ops[1].extents[0].limit
    assert (limit.const, limit.terms) == (tokens * heads, ((loop.var, -block * heads),))
    x = rng.standard_normal((tokens, heads, width)).astype(np.float32)
    want = (x - x.max(axis=2, keepdims=True)).transpose(1, 0, 2)
    check(norm, [x], [Approx(want.astype(np.float64), np.zeros(want.shape))])


@pytest.mark.parametrize("step", [2, 3])
def test_every_step_th_row_in_and_out(step, rng):
    """Phase after phase, until all rows have moved; the last block of each is clipped."""
    rows, cols, block = 41, 7, 4
    trips = -(-rows // (block * step))

    @T.prim_func
    def phases(X: T.Buffer((rows, cols), "float32"), Y: T.Buffer((rows, cols), "float32")):
        for i in range(trips):
            a = T.alloc_buffer((block, 8))
            T.tf.load(a, X[i * block * step, 0], rows=[(block, 0, step)], cols=[(8, 1, 1)])
            T.tf.neg(a)
            T.tf.store(Y[i * block * step, 0], a, rows=[(block, 0, step)], cols=[(8, 1, 1)])
        for i in range(trips):
            b = T.alloc_buffer((block, 8))
            T.tf.load(b, X[i * block * step + 1, 0], rows=[(block, 0, step)], cols=[(8, 1, 1)])
            T.tf.exp(b)
            T.tf.store(Y[i * block * step + 1, 0], b, rows=[(block, 0, step)], cols=[(8, 1, 1)])
        for i in range(trips if step == 3 else 0):
            d = T.alloc_buffer((block, 8))
            T.tf.load(d, X[i * block * step + 2, 0], rows=[(block, 0, step)], cols=[(8, 1, 1)])
            T.tf.abs(d)
            T.tf.store(Y[i * block * step + 2, 0], d, rows=[(block, 0, step)], cols=[(8, 1, 1)])

    x = rng.standard_normal((rows, cols)).astype(np.float32)
    value = x.astype(np.float64)
    value[::step], value[1::step] = -value[::step], np.exp(value[1::step])
    if step == 3:
        value[2::step] = np.abs(value[2::step])
    check(phases, [x], [Approx(value, 4e-7 * np.abs(value))])


def test_backwards_and_repeated(rng):
    """Y[r, j] = X[9 - j] for every r: the data repeats along rows and runs backwards."""

    @T.prim_func
    def flip(X: T.Buffer((10,), "float32"), Y: T.Buffer((6, 10), "float32")):
        a = T.alloc_buffer((6, 10))
        T.tf.load(a, X[9], rows=[(6, -1, 1)], cols=[(10, 0, -1)])
        T.tf.store(Y, a)

    x = rng.standard_normal(10).astype(np.float32)
    want = np.broadcast_to(x[::-1], (6, 10)).astype(np.float64)
    check(flip, [x], [Approx(want, np.zeros_like(want))])


def test_a_padded_slice(rng):
    """Without rows and cols: both ends of a shifted slice read as the fill value."""

    @T.prim_func
    def shift(X: T.Buffer((30, 20), "float32"), Y: T.Buffer((32, 22), "float32")):
        for i in range(2):
            a = T.alloc_buffer((16, 22))
            T.tf.load(a, X[i * 16 - 1 : i * 16 + 15, -1:21], fill=2.5, padded=True)
            T.tf.store(Y[i * 16 : i * 16 + 16, 0:22], a)

    x = rng.standard_normal((30, 20)).astype(np.float32)
    want = np.pad(x, 1, constant_values=2.5).astype(np.float64)
    check(shift, [x], [Approx(want, np.zeros_like(want))])


def test_iterations_that_meet_in_front_of_a_corner_are_ordered(rng):
    """Iteration i stores rows 4i+4.. of t and loads rows 4i+4, 4i+3, 4i+2, 4i+1: three of them
    were stored by the iteration before, although the corner lies behind those."""

    @T.prim_func
    def chain(X: T.Buffer((36, 8), "float32"), Y: T.Buffer((36, 8), "float32")):
        t = T.alloc_buffer((40, 8))
        z = T.alloc_buffer((40, 8))
        T.tf.fill(z, 1.0)
        T.tf.store(t, z)
        for i in range(9):
            a = T.alloc_buffer((4, 8))
            b = T.alloc_buffer((4, 8))
            T.tf.load(a, X[i * 4 : i * 4 + 4, 0:8])
            T.tf.load(b, t[i * 4 + 4, 0], rows=[(4, 0, -1)], cols=[(8, 1, 1)])
            T.tf.add(b, a)
            T.tf.store(t[i * 4 + 4 : i * 4 + 8, 0:8], b)
            T.tf.store(Y[i * 4 : i * 4 + 4, 0:8], b)

    x = rng.standard_normal((36, 8)).astype(np.float32)
    t, want = np.ones((40, 8), np.float32), []
    for i, block in enumerate(x.reshape(9, 4, 8)):
        want.append(t[4 * i + 4 : 4 * i : -1] + block)
        t[4 * i + 4 : 4 * i + 8] = want[-1]
    exe = tf.compile(chain)
    for engine in ("sequential", *["threaded"] * 5):
        got = exe.run(x, engine=engine).outputs[0]
        assert_same_bits(got, np.concatenate(want), engine)
