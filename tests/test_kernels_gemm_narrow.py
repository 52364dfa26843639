"""exec.gemm of bf16 and i8 with every function there is for it: the same bits from all."""

from __future__ import annotations

import numpy as np
import pytest
from test_kernels_gemm import SHAPES, UNIT_SHAPES, fused, run
from test_kernels_operands import NUMPY, Matrix, random_matrix

from tileflow_tvm._sim import kernels
from tileflow_tvm.isa.table import GEMM_DTYPES

LEAST = np.float32(2.0**-126)
"""The smallest normal number."""


def functions(*dtypes: str) -> list[tuple[str, str]]:
    """dtype and level of each."""
    return [(dtype, level) for operation, _, dtype, level in kernels.table()
            if operation == "exec.gemm" and dtype in dtypes]  # fmt: skip


def modular(acc: np.ndarray, lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    """acc + lhs @ rhs of integers, modulo 2^32."""
    return (acc.astype(np.int64) + lhs.astype(np.int64) @ rhs.astype(np.int64)).astype(np.int32)


def without_denormals(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < LEAST, np.copysign(np.float32(0), x), x).astype(np.float32)


def step(acc: np.ndarray, lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    """fma(lhs, rhs, acc) of operands that broadcast, where denormals count as zeros.

    A product of two bf16 is exact in float64, and so is whatever float32 makes of a sum by way of
    float64 here, but for one case in 2^29. Whether a result is denormal is settled by its 24
    bits, so before it loses some of them: what rounds to less than LEAST there is less than
    LEAST - 2^-151.
    """
    acc, lhs, rhs = (without_denormals(x).astype(np.float64) for x in (acc, lhs, rhs))
    with np.errstate(all="ignore"):
        wide = lhs * rhs + acc
        tiny = np.abs(wide) < np.float64(LEAST) - 2.0**-151
        return np.where(tiny, np.copysign(np.float32(0), wide), wide.astype(np.float32))


def flushing(acc: np.ndarray, lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    for k in range(lhs.shape[1]):
        acc = step(acc, lhs[:, k, None], rhs[None, k])
    return acc


ORACLES = {"f32": fused, "bf16": flushing, "i8": modular}


@pytest.mark.parametrize(("dtype", "level"), functions("bf16", "i8"))
@pytest.mark.parametrize("tile", [8, 32, 128])
@pytest.mark.parametrize(("m", "n", "k"), [*SHAPES, *UNIT_SHAPES, (35, 45, 0), (64, 20, 513)])
@pytest.mark.parametrize("clear", [True, False])
def test_gemm_of_narrow_operands(
    level: str, tile: int, dtype: str, m: int, n: int, k: int, clear: bool
) -> None:
    rng = np.random.default_rng(m + 1000 * n + 1000000 * k)
    wide = GEMM_DTYPES[dtype]
    for ta in (False, True):
        for tb in (False, True):
            lhs = random_matrix(rng, *((k, m) if ta else (m, k)), tile, dtype=dtype, extra_pitch=1)
            rhs = random_matrix(rng, *((n, k) if tb else (k, n)), tile, dtype=dtype)
            dst = random_matrix(rng, m, n, tile, dtype=wide, extra_pitch=2)
            a = lhs.values.T if ta else lhs.values
            b = rhs.values.T if tb else rhs.values
            start = np.zeros((m, n), NUMPY[wide]) if clear else dst.values
            expected = ORACLES[dtype](start, a, b)
            run(level, dst, lhs, rhs, clear=clear, lhs_transposed=ta, rhs_transposed=tb)
            dst.check(expected)


@pytest.mark.parametrize(("dtype", "level"), functions("bf16", "i8"))
def test_every_remainder(level: str, dtype: str) -> None:
    """All m, n and k around the sizes of register blocks, words and their groups."""
    rng = np.random.default_rng(3)
    sizes = [(m, n, 11) for m in range(1, 30) for n in (1, 7, 8, 9, 15, 16, 17, 31, 33, 39, 48)]
    for m, n, k in [*sizes, *((9, 19, k) for k in range(1, 36)), (3, 5, 255), (3, 5, 257)]:
        for tb in (False, True):
            lhs = random_matrix(rng, m, k, 32, dtype=dtype)
            rhs = random_matrix(rng, *((n, k) if tb else (k, n)), 32, dtype=dtype)
            dst = Matrix(m, n, 32, dtype=GEMM_DTYPES[dtype])
            run(level, dst, lhs, rhs, clear=True, rhs_transposed=tb)
            zeros = np.zeros((m, n), NUMPY[dst.dtype])
            dst.check(ORACLES[dtype](zeros, lhs.values, rhs.values.T if tb else rhs.values))


@pytest.mark.parametrize(("dtype", "level"), functions("i8"))
@pytest.mark.parametrize(("a", "b"), [(-128, -128), (-128, 127), (127, -128), (127, 127)])
def test_sums_of_integers_are_modulo_2_to_the_32(level: str, dtype: str, a: int, b: int) -> None:
    """Also where every product is the largest or smallest there is, from either end."""
    for start in (2**31 - 1000, -(2**31) + 1000):
        lhs = Matrix(9, 1201, dtype=dtype).set(np.full((9, 1201), a))
        rhs = Matrix(1201, 17, dtype=dtype).set(np.full((1201, 17), b))
        dst = Matrix(9, 17, dtype="i32").set(np.full((9, 17), start))
        run(level, dst, lhs, rhs, clear=False)
        total = (start + 1201 * a * b + 2**31) % 2**32 - 2**31
        dst.check(np.full((9, 17), total))


def hostile(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Values of bf16 that cancel, overflow, and are or become denormal; a few are no numbers."""
    sign = rng.choice([-1, 1], shape)
    exponent = rng.choice([-133, -128, -126, -120, -65, -63, -61, -1, 0, 1, 62, 127], shape)
    values = sign * rng.integers(128, 256, shape) / 128 * np.exp2(exponent.astype(float))
    values[rng.random(shape) < 0.05] = 0.0
    values[rng.random(shape) < 0.05] = -0.0
    values[rng.random(shape) < 0.002] = np.inf
    values[rng.random(shape) < 0.002] = np.nan
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


@pytest.mark.parametrize(("dtype", "level"), functions("bf16"))
@pytest.mark.parametrize("k", [1, 2, 3, 8, 45])
def test_hostile_values(level: str, dtype: str, k: int) -> None:
    rng = np.random.default_rng(k)
    m, n = 41, 70
    for _ in range(20):
        lhs = Matrix(m, k, dtype=dtype).set(hostile(rng, (m, k)))
        rhs = Matrix(k, n, dtype=dtype).set(hostile(rng, (k, n)))
        start = hostile(rng, (m, n)) * np.float32(1 + 2**-20)
        dst = Matrix(m, n).set(start)
        expected = flushing(start, lhs.values, rhs.values)
        run(level, dst, lhs, rhs, clear=False)
        dst.check(expected)


DENORMAL = 2.0**-130
DENORMALS = [
    (DENORMAL, [1], [0], 0.0),
    (-DENORMAL, [1], [-0.0], -0.0),
    (0, [DENORMAL], [2.0**100], 0.0),
    (-0.0, [2.0**100], [-DENORMAL], -0.0),
    (2.0**-125, [-(2.0**-63), 1], [2.0**-63, 2.0**-126], 2.0**-126 + 2.0**-126),
    (2.0**-126, [-1.5, 1], [2.0**-126, 2.0**-126], 2.0**-126),  # the sum in between is none
    (LEAST, [-(2.0**-75)], [1.5 * 2.0**-76], 0.0),  # 24 bits are less than LEAST,
    (LEAST, [-(2.0**-76)], [2.0**-76], LEAST),  # and here they are not
    (-0.0, [1, -1], [-0.0, 0.0], -0.0),
]


@pytest.mark.parametrize(("dtype", "level"), functions("bf16"))
@pytest.mark.parametrize(("start", "lhs", "rhs", "expected"), DENORMALS)
def test_denormals_count_as_zeros(
    level: str, dtype: str, start: float, lhs: list[float], rhs: list[float], expected: float
) -> None:
    """In every operand and between any two steps; the sign stays. Twice, as a k of odd length and,
    behind products of zeros that change nothing, of even length."""
    for zeros in (0, 1):
        a = Matrix(1, len(lhs) + zeros, dtype=dtype).set([[0.0] * zeros + lhs])
        b = Matrix(len(rhs) + zeros, 1, dtype=dtype).set([[x] for x in [-0.0] * zeros + rhs])
        dst = Matrix(1, 1).set([[start]])
        run(level, dst, a, b, clear=False)
        dst.check([[expected]])


@pytest.mark.parametrize(("dtype", "level"), functions("bf16"))
def test_without_k_denormals_stay(level: str, dtype: str) -> None:
    dst = Matrix(5, 7).set(np.full((5, 7), DENORMAL))
    run(level, dst, Matrix(5, 0, dtype=dtype), Matrix(0, 7, dtype=dtype), clear=False)
    dst.check(np.full((5, 7), DENORMAL))


@pytest.mark.parametrize(("dtype", "level"), functions("bf16"))
def test_the_mode_of_other_arithmetic_is_left_alone(level: str, dtype: str) -> None:
    one = Matrix(1, 1, dtype=dtype).set([[1.0]])
    run(level, Matrix(1, 1), one, one, clear=True)
    small = np.full(4, LEAST)
    assert (small / 4 > 0).all()
    dst = Matrix(1, 1).set([[DENORMAL]])
    kernels.gemm(level, dst.operand, Matrix(1, 1).set([[0.0]]).operand,
                 Matrix(1, 1).set([[0.0]]).operand, 1, 1, 1, 32, clear=False)  # fmt: skip
    dst.check([[DENORMAL]])
