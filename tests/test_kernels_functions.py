"""exec.unary: every function over all of float32, against float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import elementwise_numpy
import numpy as np
import pytest
from test_kernels_operands import LEVELS, TILES, Matrix, kinds, random_matrix, same_bits

from tileflow_tvm._sim import kernels
from tileflow_tvm.isa.table import UNARY_FUNCS, UNARY_OF

Function = Callable[[np.ndarray], np.ndarray]

MOST_ULP = {"gelu": 4.0}
"""Where it is more than 2."""

SHAPES = [(1, 1), (1, 77), (45, 1), (13, 150), (70, 64), (33, 8), (0, 5)]


def sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1.0) / (1.0 + e)


def silu(x: np.ndarray) -> np.ndarray:
    return np.where(x == -np.inf, -0.0, x) * sigmoid(x)


def gelu(x: np.ndarray) -> np.ndarray:
    """Exact to 1e-15 also far below zero, where 1 + erf cancels."""
    return np.where(x == -np.inf, -0.0, x) * _tail(-x / math.sqrt(2)) / 2


_tail = np.vectorize(math.erfc, otypes=[np.float64])

ORACLES: dict[str, Function] = {
    "identity": lambda x: x,
    "relu": lambda x: np.maximum(x, 0.0),
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1.0 / np.sqrt(x),
    "reciprocal": lambda x: 1.0 / x,
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "abs": np.abs,
    "neg": np.negative,
    "sin": np.sin,
    "cos": np.cos,
    "erf": np.vectorize(math.erf, otypes=[np.float64]),
    "gelu": gelu,
    "silu": silu,
    **elementwise_numpy.UNARY,
}
TRUTHS = ("isnan", "isinf", "isfinite")


def from_bits(bits: np.ndarray) -> np.ndarray:
    return bits.astype(np.uint32).view(np.float32)


def sweep(step: int) -> np.ndarray:
    """Every step-th float of both signs, with the edges of each exponent and the specials."""
    edges = (np.arange(256)[:, None] << 23) + np.arange(-2, 3)
    special = [0x00000000, 0x00000001, 0x007FFFFF, 0x7F7FFFFF, 0x7F800000, 0x7FC00000]
    bits = np.concatenate([np.arange(0, 0x7F800000, step), edges.ravel(), special])
    bits = bits[(bits >= 0) & (bits <= 0x7FC00000)]
    return from_bits(np.concatenate([bits, bits | 0x80000000]))


def near_multiples_of_half_pi() -> np.ndarray:
    """The floats next to k pi/2, where a sine or cosine is smallest for its argument."""
    spread = np.unique((2.0 ** np.arange(17, 52, 0.01)).astype(int))
    k = np.concatenate([np.arange(1, 84000), spread])
    nearest = (k * (math.pi / 2)).astype(np.float32)
    worst = np.ldexp(np.float32(16367173), [72])  # 2^-30 from a multiple, relative to pi/2
    return np.concatenate([nearest, np.nextafter(nearest, np.float32(0)), -nearest, worst])


def apply(level: str, name: str, x: np.ndarray) -> np.ndarray:
    src, dst = x.copy(), np.empty_like(x)
    kernels.unary(level, UNARY_FUNCS.index(name), (dst, 0), (src, 0), 1, x.size)
    return dst


def ulps(actual: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """How many spacings of float32 at `exact` (float64) `actual` is off; inf where the kind of
    number differs."""
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = exact.astype(np.float32)
        spacing = np.spacing(np.abs(rounded)).astype(np.float64)
        off = np.abs(actual.astype(np.float64) - exact) / spacing
    finite = np.isfinite(rounded) & np.isfinite(actual)
    off[~finite] = np.where(
        np.isnan(rounded) & np.isnan(actual) | (rounded == actual), 0.0, np.inf
    )[~finite]
    # Half a spacing above the largest float, rounding to it or to infinity are both close.
    top = np.finfo(np.float32).max
    off[np.isinf(actual) & (np.abs(exact) > top * (1 - 2.0**-23)) & np.isinf(actual)] = 0.0
    return off


def most_ulp(name: str) -> float:
    return MOST_ULP.get(name, 2.0)


def worst(name: str, x: np.ndarray, actual: np.ndarray) -> tuple[float, float]:
    with np.errstate(all="ignore"):
        exact = ORACLES[name](x.astype(np.float64))
        if name == "rsqrt":  # two roundings by contract: as good as float32 can be
            exact = (np.float32(1.0) / np.sqrt(x)).astype(np.float64)
    off = ulps(actual, exact)
    at = int(off.argmax())
    return float(off[at]), float(x[at])


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", UNARY_FUNCS)
def test_at_most_two_ulp_over_all_of_float32(level: str, name: str) -> None:
    x = sweep(4099 if level == LEVELS[-1] else 65537)
    most, at = worst(name, x, apply(level, name, x))
    assert most <= most_ulp(name), f"{most:.3f} ulp at {at!r}"


@pytest.mark.parametrize("name", UNARY_FUNCS)
def test_at_most_two_ulp_where_functions_bend(name: str) -> None:
    """Densely between -20 and 20: tables change from one interval to the next there."""
    x = np.linspace(-20, 20, 400_001, dtype=np.float32)
    x = np.abs(x) if name in ("log", "sqrt", "rsqrt") else x
    most, at = worst(name, x, apply(LEVELS[-1], name, x))
    assert most <= most_ulp(name), f"{most:.3f} ulp at {at!r}"


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", UNARY_FUNCS)
def test_a_lane_does_not_see_its_neighbours(level: str, name: str) -> None:
    """Where a function takes another way for some arguments, the others keep their bits."""
    x = np.linspace(0.1, 9, 640, dtype=np.float32)
    alone = apply(level, name, x)
    for odd in (-95.0, -np.inf, np.inf, np.nan, 1e-42, -0.0, 200.0, 3e38):
        mixed = x.copy()
        mixed[::5] = odd
        actual = apply(level, name, mixed)
        kept = np.ones(x.size, bool)
        kept[::5] = False
        same_bits(actual[kept], alone[kept])


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_angles_next_to_multiples_of_half_pi(name: str) -> None:
    x = near_multiples_of_half_pi()
    actual = apply(LEVELS[-1], name, x)
    exact = np.array([reduced_exactly(name, float(v)) for v in x])
    off = ulps(actual, exact)
    assert off.max() <= most_ulp(name), f"{off.max():.3f} ulp at {x[off.argmax()]!r}"


def reduced_exactly(name: str, x: float) -> float:
    """sin or cos of x by way of integers: NumPy's own reduction is not taken on trust."""
    numerator, denominator = x.as_integer_ratio()
    half_pi = PI_SCALED >> 1
    quadrant, rest = divmod((numerator << PI_BITS) // denominator, half_pi)
    if 2 * rest > half_pi:
        quadrant, rest = quadrant + 1, rest - half_pi
    r = rest / (1 << PI_BITS)
    quadrant = (quadrant + (name == "cos")) % 4
    value = math.cos(r) if quadrant % 2 else math.sin(r)
    return -value if quadrant >= 2 else value


def machin(bits: int) -> int:
    """pi * 2^bits, by Machin's formula."""
    one = 1 << (bits + 32)

    def arctan_of_inverse(n: int) -> int:
        power, total, k = one // n, 0, 1
        while power:
            total += power // k if k % 4 == 1 else -(power // k)
            power, k = power // (n * n), k + 2
        return total

    return 4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239)) >> 32


PI_BITS = 320
PI_SCALED = machin(PI_BITS)


@pytest.mark.parametrize("level", LEVELS[1:])
@pytest.mark.parametrize("name", UNARY_FUNCS)
def test_levels_agree_bit_for_bit(level: str, name: str) -> None:
    x = np.concatenate([sweep(16411), near_multiples_of_half_pi()[::7]])
    same_bits(apply(level, name, x), apply("scalar", name, x))


@pytest.mark.parametrize("level", LEVELS)
def test_signs_of_zero_and_limits(level: str) -> None:
    zero = np.array([-0.0, 0.0], np.float32)
    for name in ("identity", "sqrt", "tanh", "sin", "erf", "gelu", "silu"):
        same_bits(apply(level, name, zero), zero)
    same_bits(apply(level, "relu", zero), np.abs(zero))  # maximum(-0, +0) is +0
    same_bits(apply(level, "neg", zero), -zero)
    inf = np.array([-np.inf, np.inf], np.float32)
    expected = {
        "exp": [0, np.inf], "log": [np.nan, np.inf], "tanh": [-1, 1], "sigmoid": [0, 1],
        "erf": [-1, 1], "sin": [np.nan] * 2, "cos": [np.nan] * 2, "sqrt": [np.nan, np.inf],
        "relu": [0, np.inf], "rsqrt": [np.nan, 0], "reciprocal": [-0.0, 0],
        "gelu": [-0.0, np.inf], "silu": [-0.0, np.inf],
    }  # fmt: skip
    for name, values in expected.items():
        same_bits(apply(level, name, inf), np.array(values, np.float32))
    for name in UNARY_FUNCS:
        of_nan = apply(level, name, np.array([np.nan], np.float32))
        assert name in TRUTHS or np.isnan(of_nan).all(), name


@pytest.mark.parametrize("level", LEVELS)
def test_of_integers(level: str) -> None:
    values = np.array([0, 1, -1, 7, -(2**31), 2**31 - 1, -5], np.int32)
    wanted = {"identity": values, "abs": np.abs(values), "neg": -values}
    assert wanted.keys() == set(UNARY_OF["i32"])
    for name, expected in wanted.items():
        dst = np.empty_like(values)
        kernels.unary(level, UNARY_FUNCS.index(name), (dst, 0), (values.copy(), 0), 1, values.size,
                      dtype="i32")  # fmt: skip
        np.testing.assert_array_equal(dst, expected)


@pytest.mark.parametrize("level", LEVELS)
def test_truths_and_signs_of_rounded_zeros(level: str) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 3e38, -0.25, 0.5, 2.5, 8388609.0], np.float32)
    same_bits(apply(level, "isnan", x), np.isnan(x).astype(np.float32))
    same_bits(apply(level, "isinf", x), np.isinf(x).astype(np.float32))
    same_bits(apply(level, "isfinite", x), np.isfinite(x).astype(np.float32))
    for name, rounded in (("floor", np.floor), ("ceil", np.ceil), ("trunc", np.trunc)):
        same_bits(apply(level, name, x), rounded(x))
    same_bits(apply(level, "round", x), np.rint(x))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize(("m", "n"), SHAPES)
@pytest.mark.parametrize("name", ["identity", "exp", "sin"])
def test_every_place_of_the_operands(level: str, tile: int, m: int, n: int, name: str) -> None:
    rng = np.random.default_rng(m * 1000 + n)
    for src_kind in kinds(m, n):
        for dst_kind in kinds(m, n):
            src = random_matrix(rng, m, n, tile, **src_kind)
            dst = Matrix(m, n, tile, **dst_kind)
            kernels.unary(level, UNARY_FUNCS.index(name), dst.operand, src.operand, m, n, tile)
            dst.check(apply("scalar", name, src.values.ravel()).reshape(m, n))


@pytest.mark.parametrize("level", LEVELS)
def test_in_place_with_scale_and_bias(level: str) -> None:
    rng = np.random.default_rng(9)
    matrix = random_matrix(rng, 41, 67, 32)
    x = matrix.values.astype(np.float64)
    argument = (x * np.float32(-1.7) + np.float32(0.3)).astype(np.float32)  # one rounding
    expected = apply("scalar", "tanh", argument.ravel()).reshape(41, 67)
    place = matrix.operand
    kernels.unary(level, UNARY_FUNCS.index("tanh"), place, place, 41, 67, 32, -1.7, 0.3)
    matrix.check(expected)
