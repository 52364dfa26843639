"""Small programs against NumPy, in both engines and at every SIMD level."""

from __future__ import annotations

import numpy as np
import pytest
from simulator_programs import SMALL, core, gemm_arrays, gemm_core

from tileflow_tvm import _sim

ENGINES = ("sequential", "threaded")


def both(text: str, arrays: list[np.ndarray], machine: str = SMALL, scalars=()) -> dict:
    """Runs in both engines, threads from the first instruction on; asserts equal bits.
    `arrays` end as the engines left them."""
    results = []
    for engine, extra in (("sequential", {}), ("threaded", {"threads": 3, "hand_over": 0})):
        copies = [array.copy() for array in arrays]
        stats = core(text, machine).run(copies, list(scalars), engine, **extra)
        results.append([copy.tobytes() for copy in copies])
    assert results[0] == results[1]
    for array, copy in zip(arrays, copies, strict=True):
        array[...] = copy
    return stats


@pytest.mark.parametrize("shape", [(1, 1, 1), (70, 50, 90), (64, 64, 64), (129, 33, 200)])
@pytest.mark.parametrize("level", _sim.levels())
@pytest.mark.parametrize("engine", ENGINES)
def test_gemm(rng, shape, level, engine):
    arrays = gemm_arrays(rng, *shape)
    a, b, c = arrays
    stats = gemm_core(*shape).run(arrays, [], engine, level)
    np.testing.assert_allclose(c, a.astype(float) @ b, rtol=1e-4, atol=1e-4)
    assert (stats["engine"], stats["simd"]) == (engine, level)
    m, n, k = shape
    assert stats["flops"] == 2 * m * n * k


def test_the_numbers_of_a_run(rng):
    arrays = gemm_arrays(rng, 70, 50, 90)
    program_ = gemm_core(70, 50, 90)
    stats = program_.run(arrays, [])
    assert stats["instructions"] == {"load": 8, "exec.gemm": 4, "exec.nop": 4, "store": 2}
    assert stats["dram_bytes"] == {
        "A": {"load": 70 * 90 * 4, "store": 0},
        "B": {"load": 2 * 90 * 50 * 4, "store": 0},
        "C": {"load": 0, "store": 70 * 50 * 4},
    }
    assert stats["wall_ns"] > 0
    assert stats["verify_ns"] > 0
    assert stats["overlap_ns"] == 0
    assert program_.run(arrays, [])["verify_ns"] == 0


LAYOUTS = """
.arg X f32[3, 4, 5] in
.arg Y f32[{y}] out
.tensor X f32[3, 4, 5] at arg X
.tensor Y f32[{y}] at arg Y
.access in {box}
.access out row({r}, d0), col({c}, d1)
agen a0, 0
agen a1, 0 pitch=3
agen a2, {at}
load a1, X[{coords}], in fill=-7.0 post=sem0
store a1, Y[a0, a0], out wait=sem0
"""


def padded(values: np.ndarray, *index: np.ndarray) -> np.ndarray:
    """Elements of a vector at the sum of these indices; -7 outside."""
    at = sum(index)
    inside = (at >= 0) & (at < len(values))
    return np.where(inside, values[np.where(inside, at, 0)], np.float32(-7))


STEPS = np.arange(3)
BOXES = {
    "a slice and padding": (
        "row(12, d1), col(5, d2)",
        "a2, a0, a0",
        1,
        lambda x: np.pad(x[1], ((0, 8), (0, 0)), constant_values=-7),
    ),
    "transposed": ("row(5, d2), col(4, d1)", "a0, a0, a0", 0, lambda x: x[0].T),
    "two dims of rows": (
        "row(3, d0), row(4, d1), col(5, d2)",
        "a0, a0, a0",
        0,
        lambda x: x.reshape(12, 5),
    ),
    "two dims of columns": (
        "row(4, d1), col(3, d0), col(5, d2)",
        "a0, a0, a0",
        0,
        lambda x: x.transpose(1, 0, 2).reshape(4, 15),
    ),
    "repeated": (
        "row(2), row(3, d0), col(2), col(4, d1)",
        "a0, a0, a2",
        3,
        lambda x: np.tile(x[:, :, 3], (2, 2)),
    ),
    "backwards and strided": (
        "row(3, d0, -1), col(3, d2, 2)",
        "a2, a2, a0",
        2,
        lambda x: x[::-1, 2, ::2],
    ),
    "sliding windows": (
        "row(3, d2), col(3, d2)",
        "a0, a0, a0",
        0,
        lambda x: padded(x[0, 0], STEPS[:, None], STEPS),
    ),
    "dilated windows with a halo": (
        "row(3, d2), col(3, d2, 2)",
        "a0, a0, a2",
        -1,
        lambda x: padded(x[0, 0], STEPS[:, None], 2 * STEPS - 1),
    ),
    "one element": ("row(2), col(3)", "a2, a2, a2", 2, lambda x: np.full((2, 3), x[2, 2, 2])),
    "outside": ("row(2), col(3)", "a2, a0, a0", 3, lambda _: np.full((2, 3), -7)),
}
"""Access pattern, coordinates, the value of a2, and what arrives of a 3 x 4 x 5 tensor."""


@pytest.mark.parametrize(("box", "coords", "at", "want"), BOXES.values(), ids=BOXES)
def test_boxes(rng, box, coords, at, want):
    x = rng.standard_normal((3, 4, 5), np.float32)
    expected = np.asarray(want(x), np.float32)
    r, c = expected.shape
    y = np.full((r, c), np.nan, np.float32)
    both(LAYOUTS.format(y=f"{r}, {c}", box=box, coords=coords, at=at, r=r, c=c), [x, y])
    np.testing.assert_array_equal(y, expected)


def test_a_view_with_strides_into_an_argument(rng):
    text = """
.arg X f32[6, 10] inout
.tensor X f32[3, 5] strides [-20, 2] at arg X + 164
.tensor W f32[3, 5] strides [20, 2] at arg X
.access tile row(3, d0), col(5, d1)
agen a0, 0
agen a1, 0 pitch=1
load a1, X[a0, a0], tile post=sem0
store a1, W[a0, a0], tile wait=sem0
"""
    x = rng.standard_normal((6, 10), np.float32)
    want = x.copy()
    want[0::2, 0::2] = x[[4, 2, 0], 1::2]
    both(text, [x])
    np.testing.assert_array_equal(x, want)


def test_constants_scratch_and_every_kind_of_instruction(rng):
    text = """
.arg X f32[6, 8] in
.arg Y f32[8, 8] out
.scratch 4096
.const W f32 { 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0 }
.tensor X f32[6, 8] at arg X
.tensor Y f32[8, 8] at arg Y
.tensor W f32[8] at const W
.tensor S f32[6, 8] at scratch + 1024
.access tile row(6, d0), col(8, d1)
.access square row(8, d0), col(8, d1)
.access vector col(8, d0)
agen a0, 0
agen a1, 0 pitch=1
agen a2, 256 pitch=1
agen a3, 512
agen a4, 1024 pitch=1
agen a5, 544
agen a6, 1280 pitch=1
ext e0 limit=6 max=8
ext e1 limit=8 max=8
load a1, X[a0, a0], tile
load a3, W[a0], vector post=sem0
exec.binary.mul a2, a1, a3 m=e0 n=e1 rmode=row wait=sem0 post=sem1
store a2, S[a0, a0], tile wait=sem1 post=sem2
load a1, S[a0, a0], tile wait=sem2 post=sem3
exec.unary.abs a1, a1 m=e0 n=e1 scale=-2.0 bias=0.5 wait=sem3
exec.reduce.max a5, a1 m=e0 n=e1 axis=cols clear=always
exec.binary.div a1, a1, a5 m=e0 n=e1 rmode=col
exec.transpose a4, a1 m=e0 n=e1
exec.fill a6 m=e1 n=e1 value=1.0
exec.gemm a6, a1, a1 m=e1 n=e1 k=e0 clear=never ta=1
exec.gemm a6, a4, a4 m=e1 n=e1 k=e0 clear=never tb=1 post=sem4
store a6, Y[a0, a0], square wait=sem4
"""
    x = rng.standard_normal((6, 8), np.float32)
    y = np.zeros((8, 8), np.float32)
    both(text, [x, y])
    t = np.abs(x.astype(float) * np.arange(1, 9) * -2 + 0.5)
    t /= t.max(axis=1, keepdims=True)
    np.testing.assert_allclose(y, 1 + 2 * t.T @ t, rtol=1e-5)


def test_what_an_extent_of_zero_leaves_behind():
    """Row r of Y: k = 0 with and without clear, and reductions over nothing."""
    text = """
.arg Y f32[6, 8] out
.tensor Y f32[6, 8] at arg Y
.access box row(6, d0), col(8, d1)
ext e0 limit=1 max=1
ext e1 limit=8 max=8
ext e2 limit=-3 max=8
agen a0, 0
agen a9, 0
agen a1, 0
agen a2, 32
agen a3, 64
agen a4, 96
agen a5, 128
agen a6, 160
ext e6 limit=6 max=6
agen a8, 0
ext e7 limit=48 max=48
exec.fill a8 m=e0 n=e7 value=5.0
exec.gemm a1, a8, a8 m=e0 n=e1 k=e2 clear=always
exec.gemm a2, a8, a8 m=e0 n=e1 k=e2 clear=never
exec.reduce.sum a3, a8 m=e2 n=e1 axis=rows clear=always
exec.reduce.max a4, a8 m=e2 n=e1 axis=rows clear=always
exec.reduce.prod a5, a8 m=e2 n=e1 axis=rows clear=always
exec.reduce.min a6, a8 m=e2 n=e1 axis=rows clear=never post=sem0
store a0, Y[a9, a9], box wait=sem0
"""
    y = np.zeros((6, 8), np.float32)
    both(text, [y])
    np.testing.assert_array_equal(y.T, np.tile(np.float32([0, 5, 0, -np.inf, 1, 5]), (8, 1)))
    assert not np.signbit(y).any() or np.signbit(y)[3].all()


def test_scalars_decide_at_launch(rng):
    """Y[:n] = X[:n] doubled, Y[n:] = -1, for any n: a loop by a scalar, and a true extent."""
    text = """
.arg X f32[100] in
.arg Y f32[100] inout
.scalar n
.tensor X f32[100] at arg X
.tensor Y f32[100] at arg Y
.access piece col(16, d0)
sem sem2, 1
scalar.add s1, s0 imm=15
scalar.div s1, s1 imm=16
agen a0, 0
stride a0, s1, 1
agen a1, 0
stride a1, l0, 16
agen a2, 0
agen a3, 0
stride a3, l0, 16
stride a3, s0, -1
ext e0 limit=1 max=1
ext e1, a3 limit=0 max=16
loop a0 {
    load a2, X[a1], piece fill=-0.5 wait=sem2 post=sem0
    exec.binary.add a2, a2, a2 m=e0 n=e1 wait=sem0 post=sem1
    store a2, Y[a1], piece wait=sem1 post=sem2
}
"""
    x = rng.standard_normal(100, np.float32)
    for n in (0, 1, 16, 17, 90, 100):
        y = np.full(100, -1, np.float32)
        both(text, [x, y], scalars=[n])
        want = np.full(100, -1, np.float32)
        want[:n] = 2 * x[:n]
        tail = slice(n, min(100, -(-n // 16) * 16))
        want[tail] = x[tail]
        np.testing.assert_array_equal(y, want)


def test_registers_may_be_set_anew_inside_loops():
    text = """
.arg Y f32[3, 8] out
.tensor Y f32[3, 8] at arg Y
.access row col(8, d1)
sem sem1, 1
agen a1, 0
ext e0 limit=1 max=1
ext e1 limit=8 max=8
loop 3 {
    agen a0, 64
    stride a0, l0, 128
    agen a2, 0
    stride a2, l0, 1
    exec.fill a0 m=e0 n=e1 value=3.0 wait=sem1
    exec.nop post=sem0
    loop 2 {
        agen a0, 64
        stride a0, l0, 100
        stride a0, l0, 28
    }
    store a0, Y[a2, a1], row wait=sem0 post=sem1
}
"""
    y = np.zeros((3, 8), np.float32)
    both(text, [y])
    np.testing.assert_array_equal(y, 3)


def test_the_environment_picks_the_level(rng, monkeypatch):
    arrays = gemm_arrays(rng, 8, 8, 8)
    for level in _sim.levels():
        monkeypatch.setenv("TILEFLOW_SIMD", level)
        assert _sim.default_level() == level
        assert gemm_core(8, 8, 8).run(arrays, [])["simd"] == level
    assert gemm_core(8, 8, 8).run(arrays, [], level="scalar")["simd"] == "scalar"
    monkeypatch.setenv("TILEFLOW_SIMD", "neon")
    with pytest.raises(
        _sim.Fault, match=r"TILEFLOW_SIMD: no SIMD level 'neon' .* there are: scalar"
    ):
        gemm_core(8, 8, 8).run(arrays, [])
    monkeypatch.delenv("TILEFLOW_SIMD")
    assert _sim.default_level() == _sim.levels()[-1]
    with pytest.raises(_sim.Fault, match=r"^no SIMD level 'sse'") as caught:
        gemm_core(8, 8, 8).run(arrays, [], level="sse")
    assert caught.value.kind == "run"
