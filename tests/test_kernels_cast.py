"""exec.cast at every SIMD level: to the nearest even, saturating, by way of float32."""

from __future__ import annotations

import numpy as np
import pytest
from isa_interpreter import converted
from test_kernels_operands import LEVELS, NUMPY, TILES, Matrix, kinds, noise

from tileflow_tvm._sim import kernels
from tileflow_tvm.isa.table import CASTS


def check(
    level: str, src: str, dst: str, values: np.ndarray, scale: float = 1.0, tile: int = 32
) -> None:
    m, n = values.shape
    with np.errstate(all="ignore"):
        expected = converted(values.astype(np.float32) * np.float32(scale), dst)
    for src_kind in kinds(m, n):
        for dst_kind in kinds(m, n):
            given = Matrix(m, n, tile, dtype=src, **src_kind).set(values)
            target = Matrix(m, n, tile, dtype=dst, **dst_kind)
            kernels.cast(level, target.operand, given.operand, m, n, src, dst, tile, scale)
            target.check(expected)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("src", "dst"), CASTS)
@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 77), (45, 1), (13, 150), (70, 64)])
def test_cast(level: str, src: str, dst: str, tile: int, m: int, n: int) -> None:
    rng = np.random.default_rng(m + 100 * n)
    check(level, src, dst, noise(rng, (m, n), src), 0.37, tile)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("src", "dst"), CASTS)
@pytest.mark.parametrize("scale", [1.0, -0.5, 3.0, 1e30, np.inf, np.nan])
def test_values_at_the_edges(level: str, src: str, dst: str, scale: float) -> None:
    check(level, src, dst, _edges(src).reshape(1, -1), scale)


def _edges(dtype: str) -> np.ndarray:
    """Values around those where rounding, saturation, or the kind of number changes."""
    if dtype == "i8":
        return np.arange(-128, 128).astype(np.int8)
    if dtype == "bf16":
        return np.arange(1 << 16, dtype=np.uint16).view(NUMPY[dtype])
    around = np.arange(-9, 10)
    powers = np.array([[sign * 2**e] for sign in (1, -1) for e in range(31)])
    if dtype == "i32":
        ends = np.array([-(2**31), -(2**31) + 1, 2**31 - 1, 2**31 - 64, 2**31 - 65])
        return (
            np.concatenate([(powers + around).ravel(), ends])
            .clip(-(2**31), 2**31 - 1)
            .astype(np.int32)
        )
    exact = np.concatenate([powers, powers * 1.5, [[0.0], [127.0], [-128.0], [2.0**31]]])
    bits = exact.astype(np.float32).view(np.int32) + around
    halves = np.arange(-300, 300) / 2
    ties = (np.arange(0x3F80_0000, 0x3F90_0000, 0x4000)).astype(np.int32)  # of bfloat16
    special = np.array([0x7F7F_FFFF, 0x7F80_0000, 0xFF80_0000, 0x7FC0_0000, 0x7F80_0001, 1, 0x8000],
                       np.uint32)  # fmt: skip
    return np.concatenate([
        bits.astype(np.int32).ravel().view(np.float32), halves.astype(np.float32),
        ties.view(np.float32), special.view(np.float32),
    ])  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
def test_int32_goes_through_float32(level: str) -> None:
    """The one conversion to float32 that is not exact rounds to the nearest even."""
    values = np.array([[2**24 + 1, 2**24 + 3, -(2**24) - 1, 2**31 - 1]], np.int32)
    check(level, "i32", "f32", values)
    given = Matrix(1, 4, dtype="i32").set(values)
    target = Matrix(1, 4)
    kernels.cast(level, target.operand, given.operand, 1, 4, "i32", "f32")
    target.check([[2**24, 2**24 + 4, -(2**24), 2**31]])
