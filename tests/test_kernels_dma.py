"""load and store: boxes of tensors in every orientation, and what lies outside."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import numpy as np
import pytest
from test_kernels_operands import LEVELS, NUMPY, TILES, Matrix, guarded, noise, same_bits

from tileflow_tvm._sim import kernels

FILL = -7.0
Dim = tuple[int, int, int, bool]
"""extent, tensor dim or -1, step, along SRAM columns"""


@dataclass
class Tensor:
    """A strided tensor in the middle of watched memory."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    origin: int
    size: int
    dtype: str = "f32"
    memory: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.memory = guarded(self.size, self.dtype)
        self.memory[self.index] = noise(np.random.default_rng(5), self.shape, self.dtype)

    @property
    def index(self) -> np.ndarray:
        places = np.full(self.shape, self.origin)
        for dim, stride in enumerate(self.strides):
            steps = np.arange(self.shape[dim]) * stride
            places += steps.reshape([-1 if d == dim else 1 for d in range(len(self.shape))])
        return places

    @property
    def values(self) -> np.ndarray:
        return self.memory[self.index]


def contiguous(*shape: int, gap: int = 0, dtype: str = "f32") -> Tensor:
    """Row-major, with `gap` foreign elements behind each row."""
    strides = [1]
    for extent in reversed(shape[1:]):
        strides.insert(0, strides[0] * extent + (gap if len(strides) == 1 else 0))
    size = 3 + shape[0] * strides[0] - gap if shape else 4
    return Tensor(shape, tuple(strides), 3, size, dtype)


class Box:
    """The oracle: where each element of the SRAM matrix is in the tensor."""

    def __init__(self, tensor: Tensor, coords: tuple[int, ...], dims: list[Dim]) -> None:
        self.tensor, self.coords, self.dims = tensor, coords, dims
        self.rows = int(np.prod([d[0] for d in dims if not d[3]], dtype=np.int64))
        self.cols = int(np.prod([d[0] for d in dims if d[3]], dtype=np.int64))
        order = sorted(range(len(dims)), key=lambda i: dims[i][3])
        grid = np.indices([dims[i][0] for i in order]).reshape(len(order), self.rows * self.cols)
        place = np.tile(np.array(coords)[:, None], self.rows * self.cols)
        for i, index in zip(order, grid, strict=True):
            _, dim, step, _ = dims[i]
            if dim >= 0:
                place[dim] += step * index
        size = np.array(tensor.shape)[:, None]
        self.inside = ((place >= 0) & (place < size)).all(axis=0)
        self.place = place

    def loaded(self) -> np.ndarray:
        values = np.full(self.rows * self.cols, FILL).astype(NUMPY[self.tensor.dtype])
        values[self.inside] = self.tensor.values[tuple(self.place[:, self.inside])]
        return values.reshape(self.rows, self.cols)

    def stored(self, matrix: np.ndarray) -> np.ndarray:
        values = self.tensor.values
        flat = matrix.ravel()
        inside = np.flatnonzero(self.inside)
        at = np.ravel_multi_index(tuple(self.place[:, inside]), self.tensor.shape)
        last = inside.size - 1 - np.unique(at[::-1], return_index=True)[1]
        values.ravel()[at[last]] = flat[inside[last]]  # row-major: the last one wins
        return values


def transfer(level: str, move: str, tensor: Tensor, box: Box, sram: Matrix) -> int:
    arguments = (
        level, sram.operand, sram.tile, tensor.memory, tensor.origin, list(tensor.shape),
        list(tensor.strides), list(box.coords), box.dims,
    )  # fmt: skip
    if move == "load":
        return int(kernels.load(*arguments, FILL, dtype=tensor.dtype))
    return int(kernels.store(*arguments, dtype=tensor.dtype))


def check(level: str, tensor: Tensor, coords: tuple[int, ...], dims: list[Dim], tile: int) -> None:
    box = Box(tensor, coords, dims)
    for kind in ({}, {"extra_pitch": 1}, {"vector": True}):
        sram = Matrix(box.rows, box.cols, tile, dtype=tensor.dtype, **kind)
        before = tensor.memory.copy()
        moved = transfer(level, "load", tensor, box, sram)
        sram.check(box.loaded())
        same_bits(tensor.memory, before)
        assert moved == box.inside.sum()

        matrix = noise(np.random.default_rng(6), (box.rows, box.cols), tensor.dtype)
        # What is outside the tensor is not read: it may be anything.
        anything = np.nan if matrix.dtype.kind != "i" else 99
        matrix[~box.inside.reshape(matrix.shape)] = anything
        sram.set(matrix)
        expected = before.copy()
        expected[tensor.index] = box.stored(matrix)
        moved = transfer(level, "store", tensor, box, sram)
        same_bits(tensor.memory, expected)
        sram.check(matrix)
        assert moved == box.inside.sum()


def plain(rows: int, cols: int) -> list[Dim]:
    return [(rows, 0, 1, False), (cols, 1, 1, True)]


def transposed(rows: int, cols: int) -> list[Dim]:
    return [(rows, 1, 1, False), (cols, 0, 1, True)]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("box", [plain, transposed])
@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (1, 50), (50, 1), (33, 70), (64, 64), (7, 300)])
def test_matrix(level: str, tile: int, box, rows: int, cols: int) -> None:
    tensor = contiguous(83, 91, gap=5)
    for coords in ((0, 0), (-3, 40), (60, -9), (30, 85), (-200, 0), (83, 91), (17, 23)):
        check(level, tensor, coords, box(rows, cols), tile)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("tile", [8, 32, 64])
@pytest.mark.parametrize("dtype", ["bf16", "i8", "i32"])
@pytest.mark.parametrize("box", [plain, transposed])
@pytest.mark.parametrize(
    ("rows", "cols"), [(1, 1), (1, 50), (50, 1), (33, 70), (64, 64), (7, 2000)]
)
def test_matrix_of_other_elements(
    level: str, tile: int, dtype: str, box, rows: int, cols: int
) -> None:
    tensor = contiguous(83, 2091, gap=5, dtype=dtype)
    for coords in ((0, 0), (-3, 40), (60, -9), (30, 85), (-200, 0), (83, 91), (17, 23)):
        check(level, tensor, coords, box(rows, cols), tile)


LENGTHS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 23, 31, 32, 33, 47, 63, 65, 97, 129, 260, 530]
"""Of rows: every way to cut one into vectors, and rows of several tiles."""


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("dtype", list(NUMPY))
def test_rows_of_every_length(level: str, tile: int, dtype: str) -> None:
    for cols in LENGTHS:
        tensor = contiguous(5, cols + 3, gap=1, dtype=dtype)
        for coords in ((0, 3), (2, 0), (-1, 1), (3, -2), (1, 6)):
            check(level, tensor, coords, plain(4, cols), tile)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("tile", [8, 32])
@pytest.mark.parametrize("dtype", list(NUMPY))
def test_transposed_boxes_of_every_length(level: str, tile: int, dtype: str) -> None:
    """Narrower than a square of registers, one, several, and some more; cut at each side."""
    for rows, cols in [(1, 40), (3, 33), (33, 3), (4, 8), (8, 16), (15, 17), (16, 32), (17, 5),
                       (31, 64), (33, 31), (40, 16), (64, 65)]:  # fmt: skip
        tensor = contiguous(cols + 2, rows + 3, gap=2, dtype=dtype)
        for coords in ((2, 3), (0, 0), (-3, 1), (4, -2), (5, 6)):
            check(level, tensor, coords, transposed(rows, cols), tile)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", list(NUMPY))
@pytest.mark.parametrize("step", [-4, -2, -1, 2, 3, 4, 5])
def test_every_so_many_elements(level: str, dtype: str, step: int) -> None:
    """Rows, and columns, of which the last element needed is the tensor's last or first."""
    for cols in (2, 5, 8, 15, 16, 17, 31, 33, 64, 70):
        reach = abs(step) * (cols - 1)
        tensor = contiguous(4, reach + 1, gap=1, dtype=dtype)
        begin = 0 if step > 0 else reach
        dims: list[Dim] = [(3, 0, 1, False), (cols, 1, step, True)]
        turned: list[Dim] = [(cols, 1, step, False), (3, 0, 1, True)]
        for coords in ((1, begin), (0, begin + 1), (-1, begin - 3)):
            for tile in (8, 32, 64):
                check(level, tensor, coords, dims, tile)
            check(level, tensor, coords, turned, 32)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("tile", [8, 32])
@pytest.mark.parametrize("steps", list(product([-3, -1, 0, 1, 2], [-2, -1, 0, 1, 3])))
def test_steps(level: str, tile: int, steps: tuple[int, int]) -> None:
    tensor = contiguous(29, 31, gap=2)
    dims: list[Dim] = [(19, 0, steps[0], False), (37, 1, steps[1], True)]
    for coords in ((2, 3), (20, 25), (-4, 40)):
        check(level, tensor, coords, dims, tile)
        check(level, tensor, coords, [(e, 1 - d, s, c) for e, d, s, c in dims], tile)


@pytest.mark.parametrize("level", LEVELS)
def test_vectors_and_broadcasts(level: str) -> None:
    tensor = contiguous(100)
    for coord in (0, -5, 60):
        check(level, tensor, (coord,), [(77, 0, 1, True)], 32)
        check(level, tensor, (coord,), [(77, 0, 1, False)], 32)
        check(level, tensor, (coord,), [(40, 0, 1, False), (35, -1, 0, True)], 32)
        check(level, tensor, (coord,), [(40, -1, 0, False), (35, 0, 1, True)], 32)
    check(level, tensor, (98,), [(3, -1, 9, False), (4, -1, 0, True)], 32)
    check(level, tensor, (100,), [(3, -1, 9, False), (4, -1, 0, True)], 32)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("stride", [1, 2])
def test_im2col(level: str, stride: int) -> None:
    """NCHW: rows are (y, x) of the result, columns (c, ky, kx)."""
    tensor = contiguous(3, 11, 13)
    dims: list[Dim] = [
        (5, 1, stride, False), (6, 2, stride, False),
        (3, 0, 1, True), (3, 1, 2, True), (3, 2, 2, True),
    ]  # fmt: skip
    for coords in ((0, -2, -2), (1, 3, 4)):
        check(level, tensor, coords, dims, 8)
        check(level, tensor, coords, [(e, d, s, not c) for e, d, s, c in dims], 32)


@pytest.mark.parametrize("level", LEVELS)
def test_any_box(level: str) -> None:
    """Random boxes of random, also negatively strided, tensors."""
    rng = np.random.default_rng(8)
    for _ in range(250):
        rank = int(rng.integers(1, 6))
        shape = tuple(int(x) for x in rng.integers(1, 9, rank))
        order = rng.permutation(rank)
        strides, low, high, step = [0] * rank, 0, 0, 1
        for dim in order:
            sign = int(rng.choice([1, -1]))
            strides[dim] = sign * step
            reach = strides[dim] * (shape[dim] - 1)
            low, high = low + min(reach, 0), high + max(reach, 0)
            step = step * shape[dim] + int(rng.integers(0, 3))
        tensor = Tensor(shape, tuple(strides), 4 - low, 5 - low + high)
        dims: list[Dim] = [
            (int(rng.choice([1, 1, 2, 3, 5, 9, 17])), int(rng.integers(-1, rank)),
             int(rng.integers(-2, 3)), bool(rng.integers(0, 2)))
            for _ in range(int(rng.integers(0, 4)))
        ]  # fmt: skip
        coords = tuple(int(x) for x in rng.integers(-3, 9, rank))
        check(level, tensor, coords, dims, int(rng.choice(TILES)))


@pytest.mark.parametrize("level", LEVELS)
def test_an_empty_box_moves_nothing(level: str) -> None:
    tensor = contiguous(20, 20)
    for dims in ([(0, 0, 1, False), (5, 1, 1, True)], [(5, 0, 1, False), (0, 1, 1, True)]):
        check(level, tensor, (0, 0), dims, 32)


@pytest.mark.parametrize("level", LEVELS)
def test_coordinates_far_away_do_not_overflow(level: str) -> None:
    memory = np.arange(8, dtype=np.float32)
    for coord in (-(2**61), 2**61, 2**40):
        for step in (2**31 - 1, -(2**31)):
            sram = Matrix(3, 4)
            box = [(3, 0, step, False), (4, 1, 1, True)]
            moved = kernels.load(level, sram.operand, 32, memory, 0, [2, 4], [4, 1], [coord, 0],
                                 box, FILL)  # fmt: skip
            assert moved == 0
            sram.check(np.full((3, 4), FILL))
    # One step back into the tensor from 2^31 - 1 outside.
    sram = Matrix(2, 4)
    box = [(2, 0, 2**31 - 1, False), (4, 1, 1, True)]
    moved = kernels.load(level, sram.operand, 32, memory, 0, [2, 4], [4, 1], [-(2**31) + 2, 0],
                         box, FILL)  # fmt: skip
    assert moved == 4
    sram.check(np.array([[FILL] * 4, [4, 5, 6, 7]]))


@pytest.mark.parametrize("level", LEVELS)
def test_a_huge_tensor(level: str) -> None:
    """Places beyond 2^31 bytes; what is not touched takes no memory."""
    rows, cols = 70_000, 10_001
    memory = np.zeros(rows * cols, np.float32)
    memory[-cols - 1 :] = np.arange(cols + 1)
    sram = Matrix(2, 3)
    box = [(2, 0, 1, False), (3, 1, 1, True)]
    arguments = (32, memory, 0, [rows, cols], [cols, 1], [rows - 2, cols - 2], box)
    assert kernels.load(level, sram.operand, *arguments, FILL) == 4
    sram.check(np.array([[0, 0, FILL], [cols - 1, cols, FILL]]))
    sram.set(np.array([[1, 2, 3], [4, 5, 6]]))
    assert kernels.store(level, sram.operand, *arguments) == 4
    assert memory[-cols - 2 :][[0, 1, cols, cols + 1]].tolist() == [1, 2, 4, 5]
