"""exec.binary: every function, every pair of operand modes."""

from __future__ import annotations

from itertools import product

import elementwise_numpy
import numpy as np
import pytest
from test_kernels_functions import ulps
from test_kernels_operands import LEVELS, TILES, Matrix, kinds, random_matrix, same_bits

from tileflow_tvm._sim import kernels
from tileflow_tvm.isa.table import BINARY_FUNCS, BINARY_OF, OPERAND_MODES


def larger(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IEEE 754-2019 maximum: as numpy.maximum, and +0 above -0."""
    with np.errstate(invalid="ignore"):  # inf - inf, where it is not taken
        return np.where((a == 0) & (b == 0), a + b, np.maximum(a, b))


def smaller(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return -larger(-a, -b)


ORACLES = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "max": larger, "min": smaller,
    **elementwise_numpy.BINARY,
}  # fmt: skip
FUNCTIONS = [(dtype, name) for dtype, names in BINARY_OF.items() for name in names]
INTEGERS = [0, 1, -1, 2, 7, -8, 31, 32, 33, -(2**31), 2**31 - 1, -(2**31) + 1, 1 << 30, 123456789]


def expected_of(name: str, dtype: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        if dtype == "f32":
            return ORACLES[name](a, b).astype(np.float32)
        plain = np.maximum if name == "max" else np.minimum if name == "min" else ORACLES[name]
        return plain(a.astype(np.int64), b.astype(np.int64)).astype(np.int32)


def mode_shape(mode: str, m: int, n: int) -> tuple[int, int]:
    return {"full": (m, n), "row": (1, n), "col": (m, 1)}.get(mode, (1, 1))


def run(
    level: str, name: str, dst: Matrix, lhs: tuple, rhs: tuple, imm: float = 0.0,
    dtype: str = "f32",
) -> None:  # fmt: skip
    function = BINARY_FUNCS.index(name)
    modes = OPERAND_MODES.index(lhs[1]), OPERAND_MODES.index(rhs[1])
    kernels.binary(level, function, dst.operand, lhs[0].operand, modes[0], rhs[0].operand,
                   modes[1], imm, dst.m, dst.n, dst.tile, dtype=dtype)  # fmt: skip


def check(
    level: str, name: str, m: int, n: int, tile: int, lmode: str, rmode: str, dtype: str = "f32"
) -> None:
    rng = np.random.default_rng(m * 1000 + n)
    imm = 0.75 if dtype == "f32" else -3.0
    for vector_kind in ({"vector": True}, {"extra_pitch": 1}):
        sides = []
        for mode in (lmode, rmode):
            shape = mode_shape(mode, m, n)
            kind = vector_kind if 1 in shape else {}
            matrix = random_matrix(rng, *shape, tile, dtype=dtype, **kind)
            if mode == "imm":
                matrix.set(np.float32(imm))
            sides.append((matrix, mode))
        for dst_kind in kinds(m, n):
            dst = Matrix(m, n, tile, dtype=dtype, **dst_kind)
            run(level, name, dst, *sides, imm=imm, dtype=dtype)
            expected = expected_of(name, dtype, sides[0][0].values, sides[1][0].values)
            dst.check(np.broadcast_to(expected, (m, n)))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("lmode", "rmode"), list(product(OPERAND_MODES, OPERAND_MODES)))
@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 77), (45, 1), (13, 70), (66, 64), (0, 3)])
def test_modes(level: str, lmode: str, rmode: str, m: int, n: int) -> None:
    check(level, "sub", m, n, 32, lmode, rmode)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("dtype", "name"), FUNCTIONS)
@pytest.mark.parametrize("tile", TILES)
def test_functions(level: str, dtype: str, name: str, tile: int) -> None:
    for lmode, rmode in product(("full", "col"), ("full", "row")):
        check(level, name, 35, 75, tile, lmode, rmode, dtype)


def pairs(level: str, dtype: str, name: str, values: np.ndarray) -> None:
    """The function of each of `values` with each."""
    a, b = (np.ascontiguousarray(x.ravel()) for x in np.meshgrid(values, values))
    dst = np.empty_like(a)
    kernels.binary(level, BINARY_FUNCS.index(name), (dst, 0), (a, 0), 0, (b, 0), 0, 0.0, 1, a.size,
                   dtype=dtype)  # fmt: skip
    same_bits(dst, expected_of(name, dtype, a, b))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", BINARY_OF["f32"])
def test_specials(level: str, name: str) -> None:
    """NaN, infinities and zeros of both signs, each with each."""
    special = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, 3e38, -1.5, 1.5, 7.0, -2.0, 0.1, 3e-38]
    pairs(level, "f32", name, np.array(special, np.float32))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", BINARY_OF["i32"])
def test_integers_at_the_ends_of_their_range(level: str, name: str) -> None:
    """Nothing traps: neither a division by 0 nor -2^31 / -1."""
    pairs(level, "i32", name, np.array(INTEGERS, np.int32))


def power(level: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y, dst = x.copy(), y.copy(), np.empty_like(x)
    kernels.binary(level, BINARY_FUNCS.index("pow"), (dst, 0), (x, 0), 0, (y, 0), 0, 0.0, 1, x.size)
    return dst


@pytest.mark.parametrize("level", LEVELS)
def test_powers(level: str) -> None:
    """Within 2 ulp of float64 wherever x^y is a float, alike on every level."""
    rng = np.random.default_rng(8)
    x = np.exp2(rng.uniform(-149, 128, 60000)).astype(np.float32)
    x[::3] = (1 + rng.uniform(-1e-3, 1e-3, 20000)).astype(np.float32)
    y = (rng.uniform(-160, 160, 60000) / np.log2(x.astype(np.float64) + (x == 1))).astype(
        np.float32
    )
    negative = slice(0, 60000, 7)
    x[negative] = -x[negative]
    y[negative] = np.rint(y[negative])
    actual = power(level, x, y)
    with np.errstate(all="ignore"):
        exact = np.power(x.astype(np.float64), y.astype(np.float64))
    off = ulps(actual, exact)
    at = int(off.argmax())
    assert off[at] <= 2, f"{off[at]:.3f} ulp at {x[at]!r}, {y[at]!r}"
    same_bits(actual, power("scalar", x, y))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["mod", "fmod"])
def test_remainders_are_exact_whatever_the_quotient(level: str, name: str) -> None:
    rng = np.random.default_rng(3)
    a, b = (
        (rng.standard_normal(20000) * 2.0 ** rng.integers(-100, 100, 20000)).astype(np.float32)
        for _ in range(2)
    )
    b[::2] = a[::2] / rng.integers(1, 1 << 22, 10000).astype(np.float32)  # about whole quotients
    dst = np.empty_like(a)
    kernels.binary(level, BINARY_FUNCS.index(name), (dst, 0), (a, 0), 0, (b, 0), 0, 0.0, 1, a.size)
    same_bits(dst, expected_of(name, "f32", a, b))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("side", ["lhs", "rhs"])
@pytest.mark.parametrize("other", ["full", "row", "col", "scalar", "imm"])
def test_in_place(level: str, side: str, other: str) -> None:
    rng = np.random.default_rng(11)
    dst = random_matrix(rng, 41, 67, 32)
    matrix = random_matrix(rng, *mode_shape(other, 41, 67), 32)
    if other == "imm":
        matrix.set(np.float32(-3.5))
    pair = [(dst, "full"), (matrix, other)]
    if side == "rhs":
        pair.reverse()
    expected = pair[0][0].values / pair[1][0].values
    run(level, "div", dst, *pair, imm=-3.5)
    dst.check(expected)
