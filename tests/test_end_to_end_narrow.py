"""bfloat16, int8 and int32 at tile level, from script to numbers."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from differential import assert_same_bits, run_every_way
from isa_interpreter import converted, interpret
from test_kernels_gemm import fused
from timing_model import cycles
from tvm.script import tirx as T

import tileflow_tvm as tf
from tileflow_tvm.kernels.gemm import gemm
from tileflow_tvm.kernels.narrow import (
    gemm_bf16,
    gemm_bf16_reference,
    gemm_i8,
    gemm_i8_reference,
)

SHAPES = [(1, 1, 1), (1, 300, 7), (300, 1, 33), (5, 7, 1), (96, 96, 32), (97, 95, 33),
          (200, 130, 257)]  # fmt: skip
BLOCKS = [(96, 96, 32), (32, 32, 32), (64, 32, 96), (8, 40, 20)]
BF16 = ml_dtypes.bfloat16


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32).astype(BF16)


def integers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(-128, 128, shape).astype(np.int8)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
def test_gemm_of_bfloat16(m, n, k, block, rng):
    """Bit for bit: float32 sums in ascending k, rounded once."""
    a, b = normal(rng, m, k), normal(rng, k, n)
    exe = tf.compile(gemm_bf16(m, n, k, block))
    (c,) = run_every_way(exe, [a, b])
    assert_same_bits(c, fused(np.zeros((m, n), np.float32), a, b).astype(BF16), "fused")
    wide = gemm_bf16_reference(a, b)
    assert (np.abs(c.astype(np.float64) - wide) <= 2.0**-8 * np.abs(wide) + 1e-4).all()
    (by_oracle,) = interpret(exe.program, a, b)
    np.testing.assert_allclose(c.astype(float), by_oracle.astype(float), rtol=2.0**-7, atol=1e-4)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
def test_quantised_gemm(m, n, k, block, rng):
    a, b = integers(rng, m, k), integers(rng, k, n)
    exe = tf.compile(gemm_i8(m, n, k, 0.0037, block))
    (c,) = run_every_way(exe, [a, b])
    assert_same_bits(c, gemm_i8_reference(a, b, 0.0037), "reference")
    assert_same_bits(c, interpret(exe.program, a, b)[0], "interpreter")


def sram(exe: tf.Executable) -> dict[str, int]:
    """Bytes of one slot of each buffer."""
    return {buffer.name: buffer.nbytes for buffer in exe.program.buffers}


def test_blocks_take_a_half_and_a_quarter_of_the_sram():
    size = (192, 192, 64)
    wide = sram(tf.compile(gemm(*size)))
    assert wide == {"a": 96 * 32 * 4, "b": 32 * 96 * 4, "acc": 96 * 96 * 4}
    half = sram(tf.compile(gemm_bf16(*size)))
    assert half == {"a": wide["a"] // 2, "b": wide["b"] // 2, "acc": wide["acc"],
                    "c": wide["acc"] // 2}  # fmt: skip
    quarter = sram(tf.compile(gemm_i8(*size, 1.0)))
    assert quarter == {"a": wide["a"] // 4, "b": wide["b"] // 4, "acc": wide["acc"],
                       "c": wide["acc"] // 4}  # fmt: skip


def test_dram_traffic_is_counted_in_bytes_of_the_dtype(rng):
    exe = tf.compile(gemm_i8(50, 40, 30, 1.0))
    stats = exe.run(integers(rng, 50, 30), integers(rng, 30, 40)).stats
    assert stats.dram_bytes["A"] == {"load": 50 * 30, "store": 0}
    assert stats.dram_bytes["C"] == {"load": 0, "store": 50 * 40}
    exe = tf.compile(gemm_bf16(50, 40, 30))
    stats = exe.run(normal(rng, 50, 30), normal(rng, 30, 40)).stats
    assert stats.dram_bytes["B"] == {"load": 2 * 30 * 40, "store": 0}


CASTS = [
    ("float32", "bfloat16"), ("float32", "int8"), ("float32", "int32"), ("bfloat16", "float32"),
    ("int8", "float32"), ("int8", "int32"), ("int32", "float32"), ("int32", "int8"),
]  # fmt: skip
ISA_NAME = {"float32": "f32", "bfloat16": "bf16", "int8": "i8", "int32": "i32"}


def cast_kernel(src: str, dst: str, m: int, n: int):
    @T.prim_func
    def cast(X: T.Buffer((m, n), src), Y: T.Buffer((n, m), dst)):
        x = T.alloc_buffer((96, 160), src)
        y = T.alloc_buffer((96, 160), dst)
        T.tf.load(x, X[0:96, 0:160])
        T.tf.cast(y, x, scale=0.75)
        T.tf.store(Y[0:160, 0:96], y, transposed=True)

    return cast


@pytest.mark.parametrize(("src", "dst"), CASTS)
def test_cast(src, dst, rng):
    dtype = BF16 if src == "bfloat16" else np.dtype(src)
    x = (300 * rng.standard_normal((83, 131))).clip(-128, 127).astype(dtype)
    exe = tf.compile(cast_kernel(src, dst, 83, 131))
    (y,) = run_every_way(exe, [x])
    want = converted(x.astype(np.float32) * np.float32(0.75), ISA_NAME[dst]).T
    assert_same_bits(y, want, "converted")
    assert_same_bits(y, interpret(exe.program, x)[0], "interpreter")


def test_vectors_of_narrow_types(rng):
    """A product with a vector, cast as a vector, at an odd offset in its tensor."""

    @T.prim_func
    def affine(X: T.Buffer((1, 83), "int8"), W: T.Buffer((70, 83), "int8"),
               Y: T.Buffer((77,), "bfloat16")):  # fmt: skip
        x = T.alloc_buffer((1, 96), "int8")
        w = T.alloc_buffer((96, 96), "int8")
        acc = T.alloc_buffer((1, 96), "int32")
        wide = T.alloc_buffer((1, 96), "float32")
        y = T.alloc_buffer((1, 96), "bfloat16")
        T.tf.load(x, X[0:1, 0:96])
        T.tf.load(w, W[0:96, 0:96])
        T.tf.gemm(acc, x, w, transpose_b=True)
        T.tf.cast(wide, acc, scale=0.5)
        T.tf.relu(wide)
        T.tf.cast(y, wide)
        T.tf.store(Y[7:77], y[0:1, 0:70])
        T.tf.fill(y[0:1, 0:32], -1.5)
        T.tf.store(Y[0:7], y[0:1, 0:7])

    x, w = integers(rng, 1, 83), integers(rng, 70, 83)
    exe = tf.compile(affine)
    (y,) = run_every_way(exe, [x, w])
    want = np.maximum((x.astype(int) @ w.T.astype(int)) * 0.5, 0)[0]
    np.testing.assert_array_equal(y[7:], want.astype(np.float32).astype(BF16))
    np.testing.assert_array_equal(y[:7].astype(float), np.full(7, -1.5))


def test_a_call_takes_arrays_of_the_dtype(rng):
    exe = tf.compile(gemm_bf16(3, 4, 5))
    with pytest.raises(tf.TileflowError, match="'A' takes bfloat16, not float32") as caught:
        exe(np.zeros((3, 5), np.float32), normal(rng, 5, 4))
    assert "A.astype(ml_dtypes.bfloat16)" in caught.value.hint
    exe = tf.compile(gemm_i8(3, 4, 5, 1.0))
    with pytest.raises(tf.TileflowError, match="'B' takes int8, not uint8"):
        exe(np.zeros((3, 5), np.int8), np.zeros((5, 4), np.uint8))


def test_check_compares_narrow_outputs():
    assert tf.check(gemm_bf16(50, 60, 70), oracle=gemm_bf16_reference).max_rel > 0
    report = tf.check(gemm_i8(50, 60, 70, 0.01),
                      oracle=lambda a, b: gemm_i8_reference(a, b, 0.01))  # fmt: skip
    assert report.max_abs == 0
    with pytest.raises(tf.TileflowError, match="elements are off"):
        tf.check(gemm_bf16(50, 60, 70), oracle=lambda a, b: 1.02 * (a @ b))


@pytest.mark.parametrize("kernel", [gemm, gemm_bf16])
def test_model_time_counts_bytes_of_the_dtype(kernel):
    exe = tf.compile(kernel(130, 100, 70))
    assert exe.time().cycles == cycles(exe.program)


def test_model_time_of_narrow_traffic_is_shorter():
    """On a machine that waits for DRAM, bytes decide; rows of a block are whole bursts."""
    slow = tf.Machine.load("tileflow").replace(dram_bytes_per_cycle=1)
    size, block = (128, 128, 128), (64, 64, 64)
    kernels = (gemm(*size, block), gemm_bf16(*size, block), gemm_i8(*size, 1.0, block))
    times = [tf.compile(kernel, slow).time().cycles for kernel in kernels]
    assert times[1] < 0.55 * times[0]
    assert times[2] < 0.55 * times[1]
