"""exec.gemm at every SIMD level: fma in ascending k, one rounding each."""

from __future__ import annotations

import numpy as np
import pytest
from test_kernels_operands import LEVELS, TILES, Matrix, kinds, random_matrix

from tileflow_tvm._sim import kernels

UNIT_SHAPES = [(1, 50, 70), (50, 1, 70), (9, 40, 1), (1, 1, 45), (1, 50, 1)]


def fused(acc: np.ndarray, lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    """acc + lhs @ rhs as the contract says it: a product is exact in float64, and so, but for one
    case in 2^29, is the rounding of the sum by way of float64."""
    for k in range(lhs.shape[1]):
        product = np.multiply.outer(lhs[:, k].astype(np.float64), rhs[k].astype(np.float64))
        acc = (acc.astype(np.float64) + product).astype(np.float32)
    return acc


def run(level: str, dst: Matrix, lhs: Matrix, rhs: Matrix, **flags: bool) -> None:
    k = lhs.m if flags.get("lhs_transposed") else lhs.n
    kernels.gemm(level, dst.operand, lhs.operand, rhs.operand, dst.m, dst.n, k, dst.tile,
                 dtype=lhs.dtype, **flags)  # fmt: skip


SHAPES = [
    (1, 1, 1), (1, 77, 5), (3, 40, 33), (4, 65, 9), (6, 16, 32), (7, 31, 64), (13, 10, 41),
    (33, 17, 70), (64, 64, 64), (41, 130, 19), (100, 3, 260), (20, 50, 300), (310, 70, 33),
    (35, 290, 20),
]  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
@pytest.mark.parametrize("clear", [True, False])
def test_gemm(level: str, tile: int, m: int, n: int, k: int, clear: bool) -> None:
    rng = np.random.default_rng(m + 1000 * n + 1000000 * k)
    lhs = random_matrix(rng, m, k, tile, extra_pitch=1)
    rhs = random_matrix(rng, k, n, tile)
    dst = random_matrix(rng, m, n, tile, extra_pitch=2)
    start = np.zeros((m, n), np.float32) if clear else dst.values
    expected = fused(start, lhs.values, rhs.values)
    run(level, dst, lhs, rhs, clear=clear)
    dst.check(expected)
    wide = start + lhs.values.astype(np.float64) @ rhs.values.astype(np.float64)
    np.testing.assert_allclose(dst.values, wide, rtol=0, atol=1e-6 * (k + 1))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("tile", [8, 32, 128])
@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
@pytest.mark.parametrize(("ta", "tb"), [(True, False), (False, True), (True, True)])
def test_gemm_of_transposed_operands(
    level: str, tile: int, m: int, n: int, k: int, ta: bool, tb: bool
) -> None:
    rng = np.random.default_rng(m + 1000 * n + 1000000 * k)
    lhs = random_matrix(rng, *((k, m) if ta else (m, k)), tile)
    rhs = random_matrix(rng, *((n, k) if tb else (k, n)), tile, extra_pitch=1)
    dst = Matrix(m, n, tile)
    run(level, dst, lhs, rhs, clear=True, lhs_transposed=ta, rhs_transposed=tb)
    a = lhs.values.T if ta else lhs.values
    b = rhs.values.T if tb else rhs.values
    dst.check(fused(np.zeros((m, n), np.float32), a, b))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("tile", [8, 32])
@pytest.mark.parametrize(("m", "n", "k"), UNIT_SHAPES)
@pytest.mark.parametrize("ta", [True, False])
@pytest.mark.parametrize("tb", [True, False])
def test_gemm_of_vectors(level: str, tile: int, m: int, n: int, k: int, ta: bool, tb: bool) -> None:
    rng = np.random.default_rng(m + 1000 * n + 1000000 * k)
    lhs_shape = (k, m) if ta else (m, k)
    rhs_shape = (n, k) if tb else (k, n)
    for lhs_kind in kinds(*lhs_shape):
        for rhs_kind in kinds(*rhs_shape):
            for dst_kind in kinds(m, n):
                lhs = random_matrix(rng, *lhs_shape, tile, **lhs_kind)
                rhs = random_matrix(rng, *rhs_shape, tile, **rhs_kind)
                dst = Matrix(m, n, tile, **dst_kind)
                run(level, dst, lhs, rhs, clear=True, lhs_transposed=ta, rhs_transposed=tb)
                a = lhs.values.T if ta else lhs.values
                b = rhs.values.T if tb else rhs.values
                dst.check(fused(np.zeros((m, n), np.float32), a, b))


@pytest.mark.parametrize("level", LEVELS)
def test_every_remainder(level: str) -> None:
    """All m and n around the sizes of the register blocks."""
    rng = np.random.default_rng(3)
    for m in range(1, 30):
        for n in (1, 7, 8, 9, 15, 16, 17, 31, 33, 39, 48, 63):
            lhs = random_matrix(rng, m, 11, 32)
            rhs = random_matrix(rng, 11, n, 32)
            dst = Matrix(m, n, 32)
            run(level, dst, lhs, rhs, clear=True)
            dst.check(fused(np.zeros((m, n), np.float32), lhs.values, rhs.values))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("clear", [True, False])
def test_gemm_without_k(level: str, clear: bool) -> None:
    rng = np.random.default_rng(4)
    lhs, rhs = Matrix(35, 0), Matrix(0, 45)
    dst = random_matrix(rng, 35, 45, 32)
    before = dst.values
    run(level, dst, lhs, rhs, clear=clear)
    dst.check(np.zeros((35, 45)) if clear else before)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("m", "n"), [(0, 5), (5, 0), (0, 0)])
def test_gemm_of_nothing_touches_nothing(level: str, m: int, n: int) -> None:
    rng = np.random.default_rng(5)
    dst = random_matrix(rng, 8, 8, 32)
    before = dst.values
    kernels.gemm(level, dst.operand, dst.operand, dst.operand, m, n, 8, 32)
    dst.check(before)


@pytest.mark.parametrize("level", LEVELS)
def test_nan_and_infinity_stay_in_their_row_and_column(level: str) -> None:
    rng = np.random.default_rng(6)
    lhs = random_matrix(rng, 40, 37, 32)
    rhs = random_matrix(rng, 37, 50, 32)
    a, b = lhs.values, rhs.values
    a[33, 5], b[36, 49], a[2, 3], b[3, 1] = np.nan, np.inf, np.inf, 0.0
    lhs.set(a)
    rhs.set(b)
    dst = Matrix(40, 50, 32)
    run(level, dst, lhs, rhs, clear=True)
    with np.errstate(invalid="ignore"):
        dst.check(fused(np.zeros((40, 50), np.float32), a, b))
    nan = np.isnan(dst.values)
    assert nan[33].all()
    assert nan.sum() == 50 + 1
