"""affine_select and iota alone: every level, odd sizes, ways to lie in SRAM, extreme forms."""

from __future__ import annotations

import numpy as np
import pytest
from test_kernels_operands import LEVELS, NUMPY, TILES, Matrix, bits_of, kinds, random_matrix

from tileflow_tvm._sim import kernels

SIZES = [(1, 1), (1, 77), (45, 1), (13, 150), (70, 64), (0, 9)]
FORMS = [
    (0, 1, -1),  # the diagonal
    (-9, -2, 3),
    (40, -1, 0),
    (5, 0, -1),
    (0, 0, 0),
    (-1, 0, 0),
    (1 << 60, -32768, 32767),
    (-(1 << 60), 32767, -32768),
]


def forms(m: int, n: int, form: tuple[int, int, int]) -> np.ndarray:
    base, rstep, cstep = form
    row, col = np.indices((m, n), dtype=np.int64)
    return base + row * rstep + col * cstep


def check_select(
    level: str, m: int, n: int, tile: int, form: tuple[int, int, int], value: float = -3.0,
    *, dtype: str = "f32", dst_kind: dict | None = None, src_kind: dict | None = None,
    in_place: bool = False,
) -> None:  # fmt: skip
    rng = np.random.default_rng(m * 1000 + n)
    src = random_matrix(rng, m, n, tile, dtype=dtype, **(src_kind or {}))
    dst = src if in_place else Matrix(m, n, tile, dtype=dtype, **(dst_kind or {}))
    expected = np.where(forms(m, n, form) >= 0, src.values, NUMPY[dtype].type(value))
    kernels.affine_select(level, dst.operand, src.operand, m, n, *form, value, tile, dtype=dtype)
    dst.check(expected)


def check_iota(
    level: str, m: int, n: int, tile: int, form: tuple[int, int, int], *, dtype: str = "f32",
    **kind: object,
) -> None:  # fmt: skip
    dst = Matrix(m, n, tile, dtype=dtype, **kind)
    kernels.iota(level, dst.operand, m, n, *form, tile, dtype=dtype)
    dst.check(forms(m, n, form).astype(NUMPY[dtype]))  # modulo 2**32, or to the nearest even


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize(("m", "n"), SIZES)
def test_affine_select(level: str, tile: int, m: int, n: int) -> None:
    for number, form in enumerate(FORMS):
        for src_kind in kinds(m, n):
            check_select(level, m, n, tile, form, src_kind=src_kind, in_place=True)
            for dst_kind in kinds(m, n):
                dtype = ("f32", "i32")[number % 2]
                check_select(level, m, n, tile, form, dtype=dtype, src_kind=src_kind,
                             dst_kind=dst_kind)  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
def test_affine_select_takes_no_part_of_what_it_replaces(level: str) -> None:
    """A select, not a product: NaN and Inf behind a mask leave no trace; others keep their bits."""
    src = Matrix(40, 40).set(np.full((40, 40), np.nan))
    row, col = np.indices((40, 40))
    src.memory[src.index[row == col]] = np.inf
    bits_of(src.memory)[src.index[0, 0]] = 0xFF812345
    kernels.affine_select(level, src.operand, src.operand, 40, 40, 0, 1, -1, -np.inf)
    assert bits_of(src.memory)[src.index[0, 0]] == 0xFF812345
    assert (src.values[row < col] == -np.inf).all()
    assert np.isnan(src.values[row > col]).all()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize(("m", "n"), SIZES)
def test_iota(level: str, tile: int, m: int, n: int) -> None:
    large = [
        ((1 << 24) - 5, 1, 2),  # begins to be rounded
        ((1 << 31) - 40, 7, 1),  # leaves int32
        (-(1 << 31) + 40, -7, -1),
        (-(1 << 60), (1 << 31) - 1, -(1 << 31)),
        ((1 << 53) + 1, 3, 1),  # float64 would round twice
    ]
    for form in FORMS[:6] + large:
        for kind in kinds(m, n):
            for dtype in ("f32", "i32"):
                check_iota(level, m, n, tile, form, dtype=dtype, **kind)


def test_other_element_types_are_refused() -> None:
    dst = Matrix(4, 4, dtype="bf16")
    with pytest.raises(ValueError, match="not of this dtype"):
        kernels.iota("scalar", dst.operand, 4, 4, 0, 1, 1, dtype="bf16")
