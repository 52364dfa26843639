"""exec.select: every triple of operand modes, conditions of both types."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from test_kernels_elementwise import mode_shape
from test_kernels_operands import LEVELS, TILES, Matrix, kinds, random_matrix

from tileflow_tvm._sim import kernels
from tileflow_tvm.isa.table import ARITHMETIC, OPERAND_MODES

IMM = -3.0


def check(
    level: str, m: int, n: int, tile: int, modes: tuple[str, str, str], cond_dtype: str,
    dtype: str = "f32",
) -> None:  # fmt: skip
    rng = np.random.default_rng(m * 1000 + n)
    for vector_kind in ({"vector": True}, {"extra_pitch": 1}):
        sides = []
        for mode, of in zip(modes, (cond_dtype, dtype, dtype), strict=True):
            shape = mode_shape(mode, m, n)
            kind = vector_kind if 1 in shape else {}
            matrix = random_matrix(rng, *shape, tile, dtype=of, **kind)
            if mode == "imm":
                matrix.set(np.float32(IMM))
            sides.append(matrix)
        cond, a, b = sides
        if modes[0] != "imm":
            cond.set(np.where(rng.random(cond.values.shape) < 0.5, 0, cond.values))
        for dst_kind in kinds(m, n):
            dst = Matrix(m, n, tile, dtype=dtype, **dst_kind)
            run(level, dst, sides, modes, cond_dtype, dtype)
            dst.check(np.broadcast_to(np.where(cond.values != 0, a.values, b.values), (m, n)))


def run(
    level: str, dst: Matrix, sides: list[Matrix], modes: tuple[str, ...], cond_dtype: str,
    dtype: str,
) -> None:  # fmt: skip
    operands = [
        part
        for matrix, mode in zip(sides, modes, strict=True)
        for part in (matrix.operand, OPERAND_MODES.index(mode))
    ]
    kernels.select(level, dst.operand, *operands, IMM, dst.m, dst.n, dst.tile, dtype=dtype,
                   cond_dtype=cond_dtype)  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("modes", list(product(OPERAND_MODES, repeat=3)), ids="-".join)
def test_modes(level: str, modes: tuple[str, str, str]) -> None:
    for m, n in ((1, 1), (1, 77), (45, 1), (13, 70), (66, 64), (0, 3)):
        check(level, m, n, 32, modes, "f32")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize(("cond", "dtype"), list(product(ARITHMETIC, ARITHMETIC)))
def test_types(level: str, tile: int, cond: str, dtype: str) -> None:
    check(level, 35, 75, tile, ("full", "full", "row"), cond, dtype)
    check(level, 35, 75, tile, ("col", "imm", "full"), cond, dtype)


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_true(level: str) -> None:
    """NaN and the smallest number are, zeros of both signs are not."""
    cond = np.array([np.nan, np.inf, 1e-45, -1e-45, 0.0, -0.0, -1.0], np.float32)
    a, b, dst = np.arange(7, dtype=np.float32), np.full(7, -1, np.float32), np.empty(7, np.float32)
    kernels.select(level, (dst, 0), (cond, 0), 0, (a, 0), 0, (b, 0), 0, 0.0, 1, 7)
    np.testing.assert_array_equal(dst, [0, 1, 2, 3, -1, -1, 6])


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("side", [0, 1, 2])
def test_in_place(level: str, side: int) -> None:
    rng = np.random.default_rng(5)
    sides = [random_matrix(rng, 41, 67, 32) for _ in range(3)]
    sides[0].set(np.where(rng.random((41, 67)) < 0.5, 0, sides[0].values))
    cond, a, b = (matrix.values.copy() for matrix in sides)
    run(level, sides[side], sides, ("full",) * 3, "f32", "f32")
    sides[side].check(np.where(cond != 0, a, b))
