"""exec.reduce in its fixed order, along columns and along rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from test_kernels_elementwise import larger, smaller
from test_kernels_operands import LEVELS, TILES, Matrix, kinds, random_matrix

from tileflow_tvm._sim import kernels
from tileflow_tvm.isa.table import REDUCE_FUNCS

Combine = Callable[[np.ndarray, np.ndarray], np.ndarray]

COMBINE: dict[str, Combine] = {
    "sum": np.add, "max": larger, "min": smaller, "prod": np.multiply,
}  # fmt: skip
IDENTITY = {"sum": -0.0, "max": -np.inf, "min": np.inf, "prod": 1.0}


def along_cols(name: str, start: np.ndarray | None, src: np.ndarray, tile: int) -> np.ndarray:
    """Each tile of a row in 16 lanes, folded 8, 4, 2, 1; the tiles onto the result in order."""
    combine, identity = COMBINE[name], np.float32(IDENTITY[name])
    m, n = src.shape
    result = np.full(m, identity) if start is None else start
    for c in range(0, n, tile):
        part = src[:, c : c + tile]
        padded = np.full((m, -(-part.shape[1] // 16) * 16), identity)
        padded[:, : part.shape[1]] = part
        lanes = np.full((m, 16), identity)
        for i in range(0, padded.shape[1], 16):
            lanes = combine(lanes, padded[:, i : i + 16])
        for half in (8, 4, 2, 1):
            lanes = combine(lanes[:, :half], lanes[:, half:])
        result = combine(result, lanes[:, 0])
    return result


def along_rows(name: str, start: np.ndarray | None, src: np.ndarray, tile: int) -> np.ndarray:
    """One row after the other."""
    del tile
    result = np.full(src.shape[1], np.float32(IDENTITY[name])) if start is None else start
    for row in src:
        result = COMBINE[name](result, row)
    return result


def check(level: str, name: str, src: Matrix, clear: bool, cols: bool, dst_kind: dict) -> None:
    rng = np.random.default_rng(1)
    shape = (src.m, 1) if cols else (1, src.n)
    dst = random_matrix(rng, *shape, src.tile, **dst_kind)
    start = None if clear else dst.values.ravel()
    function = along_cols if cols else along_rows
    expected = function(name, start, src.values, src.tile).reshape(shape)
    kernels.reduce(level, REDUCE_FUNCS.index(name), dst.operand, src.operand, src.m, src.n,
                   src.tile, cols, clear)  # fmt: skip
    dst.check(expected)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("cols", [True, False], ids=["cols", "rows"])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 77), (77, 1), (13, 150), (70, 64), (37, 43)])
def test_sum(level: str, tile: int, cols: bool, m: int, n: int) -> None:
    rng = np.random.default_rng(m * 1000 + n)
    for src_kind in kinds(m, n):
        src = random_matrix(rng, m, n, tile, **src_kind)
        for clear in (True, False):
            for dst_kind in ({"vector": True}, {"extra_pitch": 1}):
                check(level, "sum", src, clear, cols, dst_kind)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", REDUCE_FUNCS)
@pytest.mark.parametrize("cols", [True, False], ids=["cols", "rows"])
@pytest.mark.parametrize("clear", [True, False])
def test_functions(level: str, name: str, cols: bool, clear: bool) -> None:
    rng = np.random.default_rng(2)
    src = random_matrix(rng, 45, 77, 32)
    check(level, name, src, clear, cols, {"vector": True})
    exact = src.values.astype(np.float64)
    oracle = {"sum": np.sum, "max": np.max, "min": np.min, "prod": np.prod}[name]
    out = np.empty(45 if cols else 77, np.float32)
    kernels.reduce(level, REDUCE_FUNCS.index(name), (out, 0), src.operand, 45, 77, 32, cols)
    np.testing.assert_allclose(out, oracle(exact, axis=1 if cols else 0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", REDUCE_FUNCS)
@pytest.mark.parametrize("cols", [True, False], ids=["cols", "rows"])
def test_specials(level: str, name: str, cols: bool) -> None:
    rng = np.random.default_rng(3)
    src = random_matrix(rng, 40, 50, 32)
    values = src.values
    values[5, 6], values[39, 49], values[20, 3], values[7, 8] = np.nan, np.inf, -np.inf, -0.0
    src.set(values)
    check(level, name, src, True, cols, {"vector": True})


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["max", "min"])
@pytest.mark.parametrize("cols", [True, False], ids=["cols", "rows"])
@pytest.mark.parametrize("tile", [8, 32, 64])
def test_the_signs_of_zeros_and_a_lone_nan(level: str, name: str, cols: bool, tile: int) -> None:
    """Most rows and columns have zeros for their extremes, a few a NaN of either sign."""
    rng = np.random.default_rng(5)
    src = random_matrix(rng, 71, 83, tile)
    zeros = np.where(rng.random((71, 83)) < 0.01, -1.0, 1.0) * 0.0
    values = np.where(rng.random((71, 83)) < 0.5, zeros, -np.abs(src.values))
    values = -values if name == "min" else values
    values[70, 82], values[0, 0], values[17, 64] = np.nan, -np.nan, np.copysign(np.nan, -1)
    src.set(values.astype(np.float32))
    for clear in (True, False):
        check(level, name, src, clear, cols, {"vector": True})


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", REDUCE_FUNCS)
@pytest.mark.parametrize("cols", [True, False], ids=["cols", "rows"])
@pytest.mark.parametrize("vector", [True, False])
def test_nothing_to_reduce(level: str, name: str, cols: bool, vector: bool) -> None:
    m, n = (40, 0) if cols else (0, 40)
    shape = (40, 1) if cols else (1, 40)
    src = Matrix(m, n, 32)
    dst = random_matrix(np.random.default_rng(4), *shape, 32, vector=vector)
    before = dst.values
    function = REDUCE_FUNCS.index(name)
    kernels.reduce(level, function, dst.operand, src.operand, m, n, 32, cols, False)
    dst.check(before)
    kernels.reduce(level, function, dst.operand, src.operand, m, n, 32, cols, True)
    dst.check(np.full(shape, IDENTITY[name] + 0.0))  # the empty sum is +0
