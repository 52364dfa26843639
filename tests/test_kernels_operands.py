"""What the kernel tests work on: matrices in SRAM whose surroundings are watched."""

from __future__ import annotations

import ctypes
import mmap
from dataclasses import dataclass, field

import ml_dtypes
import numpy as np
import pytest

from tileflow_tvm._sim import kernels
from tileflow_tvm.isa.table import DTYPE_FACTS

LEVELS = kernels.levels()
TILES = (8, 16, 32, 64, 128)
CANARY = 0x7FA1C0DE
"""A NaN: where padding enters a result, it shows. Narrow elements are parts of it."""
NUMPY = {d.name: np.dtype(getattr(ml_dtypes, d.numpy, d.numpy)) for d in DTYPE_FACTS}

_libc = ctypes.CDLL(None, use_errno=True)


def guarded(count: int, dtype: str = "f32") -> np.ndarray:
    """`count` canaries; the page behind the last one cannot be read."""
    page, item = mmap.PAGESIZE, NUMPY[dtype].itemsize
    size = -(-max(count, 1) * item // page) * page
    memory = mmap.mmap(-1, size + page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert _libc.mprotect(ctypes.c_void_p(start + size), page, 0) == 0
    array = np.frombuffer(memory, NUMPY[dtype], count, size - item * count)
    bits_of(array)[:] = CANARY & ((1 << 8 * item) - 1)
    return array


def bits_of(array: np.ndarray) -> np.ndarray:
    return array.view(np.dtype(f"u{array.itemsize}"))


def same_bits(actual: np.ndarray, expected: np.ndarray) -> None:
    """Equal bit for bit, where any NaN equals any other."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    differ = bits_of(actual) != bits_of(expected)
    differ &= ~(np.isnan(actual) & np.isnan(expected))
    if differ.any():
        at = tuple(int(i) for i in np.argwhere(differ)[0])
        what = f"{actual[at]!r}, not {expected[at]!r}"
        pytest.fail(f"{int(differ.sum())} differ, first at {at}: {what}")


@dataclass
class Matrix:
    """An m x n matrix as a tile grid, or contiguous; it ends where its last element does."""

    m: int
    n: int
    tile: int = 32
    vector: bool = False
    extra_pitch: int = 0
    """Tiles of a grid row that do not belong to the matrix."""
    dtype: str = "f32"
    memory: np.ndarray = field(init=False)
    index: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        r, c = np.indices((self.m, self.n), dtype=np.int64)
        if self.vector:
            self.index = r * self.n + c
        else:
            tiles = r // self.tile * self.pitch + c // self.tile
            self.index = tiles * self.tile**2 + r % self.tile * self.tile + c % self.tile
        self.memory = guarded(int(self.index.max(initial=-1)) + 1, self.dtype)

    @property
    def pitch(self) -> int:
        return 0 if self.vector else -(-self.n // self.tile) + self.extra_pitch

    @property
    def operand(self) -> tuple[np.ndarray, int]:
        return self.memory, self.pitch

    @property
    def values(self) -> np.ndarray:
        return self.memory[self.index]

    def set(self, values: np.ndarray) -> Matrix:
        self.memory[self.index] = values
        return self

    def check(self, expected: np.ndarray) -> None:
        """The matrix is as expected and nothing around it was written."""
        same_bits(self.values, np.asarray(expected, NUMPY[self.dtype]))
        around = np.ones(self.memory.size, bool)
        around[self.index] = False
        canary = CANARY & ((1 << 8 * self.memory.itemsize) - 1)
        assert (bits_of(self.memory)[around] == canary).all(), "padding was written"


def random_matrix(rng: np.random.Generator, m: int, n: int, tile: int, **kind: object) -> Matrix:
    matrix = Matrix(m, n, tile, **kind)  # type: ignore[arg-type]
    return matrix.set(noise(rng, (m, n), matrix.dtype))


def noise(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Normal values, or integers of which every one of int8 is likely."""
    if NUMPY[dtype].kind == "i":
        return rng.integers(-128, 128, shape).astype(NUMPY[dtype])
    return rng.standard_normal(shape, np.float32).astype(NUMPY[dtype])


def kinds(m: int, n: int) -> list[dict[str, object]]:
    """The ways an m x n matrix can lie in SRAM."""
    grids: list[dict[str, object]] = [{}, {"extra_pitch": 2}]
    return [*grids, {"vector": True}] if 1 in (m, n) else grids


def test_levels_are_listed_slowest_first() -> None:
    assert LEVELS[0] == "scalar"
    assert set(kernels.available()) <= set(LEVELS)
    assert "avx2x2" not in kernels.available()


def test_a_matrix_that_does_not_fit_is_refused() -> None:
    matrix = Matrix(33, 40)
    with pytest.raises(ValueError, match="larger than its array"):
        kernels.fill("scalar", matrix.operand, 34, 40)
    with pytest.raises(ValueError, match="more columns than the pitch"):
        kernels.fill("scalar", matrix.operand, 33, 65)
    with pytest.raises(ValueError, match="no SIMD level 'sse'"):
        kernels.fill("sse", matrix.operand, 33, 40)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 77), (45, 1), (13, 150), (70, 64), (0, 9)])
def test_fill(level: str, tile: int, m: int, n: int) -> None:
    for kind in kinds(m, n):
        matrix = Matrix(m, n, tile, **kind)
        kernels.fill(level, matrix.operand, m, n, tile, 2.5)
        matrix.check(np.full((m, n), 2.5))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 77), (45, 1), (13, 150), (70, 64), (33, 8)])
def test_transpose(level: str, tile: int, m: int, n: int) -> None:
    rng = np.random.default_rng(m * 1000 + n)
    for src_kind in kinds(m, n):
        for dst_kind in kinds(n, m):
            src = random_matrix(rng, m, n, tile, **src_kind)
            dst = Matrix(n, m, tile, **dst_kind)
            kernels.transpose(level, dst.operand, src.operand, m, n, tile)
            dst.check(src.values.T)
