"""exec.gemm in other semirings at every SIMD level: the bits of the definition, step by step."""

from __future__ import annotations

import numpy as np
import pytest
from isa_interpreter import EMPTY, SEMIRING
from test_kernels_gemm import SHAPES, UNIT_SHAPES
from test_kernels_operands import LEVELS, Matrix, kinds, random_matrix

from tileflow_tvm._sim import kernels
from tileflow_tvm.isa.table import SEMIRINGS

CHOICES = SEMIRINGS[1:]


def chosen(semiring: str, acc: np.ndarray, lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    """A step for each k, in float32: what is not better leaves acc as it is, NaN is best of all."""
    times, plus = SEMIRING[semiring]
    with np.errstate(all="ignore"):
        for k in range(lhs.shape[1]):
            value = times(lhs[:, k, None], rhs[None, k])
            better = value < acc if plus is np.minimum else value > acc
            acc = np.where(better | np.isnan(value), value, acc)
    return acc


def empty(semiring: str, m: int, n: int) -> np.ndarray:
    return np.full((m, n), EMPTY[SEMIRING[semiring][1]], np.float32)


def run(level: str, semiring: str, dst: Matrix, lhs: Matrix, rhs: Matrix, **flags: bool) -> None:
    k = lhs.m if flags.get("lhs_transposed") else lhs.n
    kernels.gemm(level, dst.operand, lhs.operand, rhs.operand, dst.m, dst.n, k, dst.tile,
                 semiring=SEMIRINGS.index(semiring), **flags)  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("semiring", CHOICES)
@pytest.mark.parametrize("tile", [8, 32, 128])
@pytest.mark.parametrize("clear", [True, False])
def test_every_shape(level: str, semiring: str, tile: int, clear: bool) -> None:
    for m, n, k in SHAPES:
        rng = np.random.default_rng(m + 1000 * n + 1000000 * k)
        lhs = random_matrix(rng, m, k, tile, extra_pitch=1)
        rhs = random_matrix(rng, k, n, tile)
        dst = random_matrix(rng, m, n, tile, extra_pitch=2)
        start = empty(semiring, m, n) if clear else dst.values
        expected = chosen(semiring, start, lhs.values, rhs.values)
        run(level, semiring, dst, lhs, rhs, clear=clear)
        dst.check(expected)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("semiring", CHOICES)
@pytest.mark.parametrize(("ta", "tb"), [(True, False), (False, True), (True, True)])
def test_transposed_operands_and_vectors(level: str, semiring: str, ta: bool, tb: bool) -> None:
    for m, n, k in (*SHAPES, *UNIT_SHAPES):
        rng = np.random.default_rng(m + 1000 * n + 1000000 * k)
        lhs_shape, rhs_shape = (k, m) if ta else (m, k), (n, k) if tb else (k, n)
        for lhs_kind, rhs_kind, dst_kind in zip(
            kinds(*lhs_shape), kinds(*rhs_shape), kinds(m, n), strict=False
        ):
            lhs = random_matrix(rng, *lhs_shape, 32, **lhs_kind)
            rhs = random_matrix(rng, *rhs_shape, 32, **rhs_kind)
            dst = Matrix(m, n, 32, **dst_kind)
            run(level, semiring, dst, lhs, rhs, clear=True, lhs_transposed=ta, rhs_transposed=tb)
            a, b = lhs.values.T if ta else lhs.values, rhs.values.T if tb else rhs.values
            dst.check(chosen(semiring, empty(semiring, m, n), a, b))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("semiring", CHOICES)
def test_every_remainder(level: str, semiring: str) -> None:
    rng = np.random.default_rng(3)
    for m in range(1, 20):
        for n in (1, 7, 8, 9, 15, 16, 17, 31, 33, 39, 48, 63):
            lhs, rhs = random_matrix(rng, m, 11, 32), random_matrix(rng, 11, n, 32)
            dst = Matrix(m, n, 32)
            run(level, semiring, dst, lhs, rhs, clear=True)
            dst.check(chosen(semiring, empty(semiring, m, n), lhs.values, rhs.values))


SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -3e38, 3e38], np.float32)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("semiring", CHOICES)
@pytest.mark.parametrize("clear", [True, False])
def test_special_values(level: str, semiring: str, clear: bool) -> None:
    """Each alone, in a few places of either operand or of both: operands in which nothing makes a
    NaN take another way than those in which something does."""
    rng = np.random.default_rng(7)
    for count in (0, 1, 40):
        for first in SPECIAL:
            for second in SPECIAL:
                a, b = (rng.standard_normal(s, np.float32) for s in ((37, 41), (41, 50)))
                a.flat[rng.choice(a.size, count, replace=False)] = first
                b.flat[rng.choice(b.size, count, replace=False)] = second
                dst = random_matrix(rng, 37, 50, 32)
                start = dst.values
                start[:2, :8] = SPECIAL
                dst.set(start)
                lhs, rhs = Matrix(37, 41).set(a), Matrix(41, 50).set(b)
                start = empty(semiring, 37, 50) if clear else start
                run(level, semiring, dst, lhs, rhs, clear=clear)
                dst.check(chosen(semiring, start, a, b))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("semiring", CHOICES)
@pytest.mark.parametrize("clear", [True, False])
def test_without_k(level: str, semiring: str, clear: bool) -> None:
    rng = np.random.default_rng(4)
    dst = random_matrix(rng, 35, 45, 32)
    before = dst.values
    run(level, semiring, dst, Matrix(35, 0), Matrix(0, 45), clear=clear)
    dst.check(empty(semiring, 35, 45) if clear else before)


def test_only_of_f32() -> None:
    lhs, dst = Matrix(4, 4, dtype="bf16"), Matrix(4, 4)
    with pytest.raises(ValueError, match="no semiring of bf16"):
        kernels.gemm("scalar", dst.operand, lhs.operand, lhs.operand, 4, 4, 4, dtype="bf16",
                     semiring=1)  # fmt: skip
