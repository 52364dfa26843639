"""An instruction for products of bf16 is used only if it gives the bits that exec.gemm promises."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from test_kernels_gemm_narrow import LEAST, step, without_denormals

from tileflow_tvm._sim import kernels

Half = np.ndarray
Dot = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

own_instructions = getattr(kernels, "own_instructions", None)
pytestmark = pytest.mark.skipif(own_instructions is None, reason="not built for x86")


def halves(words: np.ndarray) -> tuple[Half, Half]:
    """The upper ones and the lower ones, as floats."""
    bits = words.view(np.uint32)
    upper, lower = bits & 0xFFFF0000, bits << 16
    return upper.view(np.float32), lower.view(np.float32)


def in_order(first: int, each: Callable[[np.ndarray, Half, Half], np.ndarray]) -> Dot:
    """Two steps, of the upper halves first where `first` is 0."""

    def dot(acc: np.ndarray, lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
        a, b = halves(lhs), halves(rhs)
        acc = each(acc, a[first], b[first])
        return each(acc, a[1 - first], b[1 - first])

    return dot


def exact_step(acc: np.ndarray, lhs: Half, rhs: Half) -> np.ndarray:
    """With denormals."""
    with np.errstate(all="ignore"):
        return (lhs.astype(np.float64) * rhs + acc).astype(np.float32)


def flushed_late(acc: np.ndarray, lhs: Half, rhs: Half) -> np.ndarray:
    """Denormal is what is so after it lost bits."""
    return without_denormals(exact_step(*map(without_denormals, (acc, lhs, rhs))))


def flushed_early(acc: np.ndarray, lhs: Half, rhs: Half) -> np.ndarray:
    """Denormal is what is so before any rounding."""
    x, y, z = (without_denormals(v).astype(np.float64) for v in (acc, lhs, rhs))
    with np.errstate(all="ignore"):
        wide = y * z + x
        tiny = np.abs(wide) < np.float64(LEAST)
        return np.where(tiny, np.copysign(np.float32(0), wide), wide.astype(np.float32))


def inputs_only(acc: np.ndarray, lhs: Half, rhs: Half) -> np.ndarray:
    return exact_step(*map(without_denormals, (acc, lhs, rhs)))


def results_only(acc: np.ndarray, lhs: Half, rhs: Half) -> np.ndarray:
    return without_denormals(exact_step(acc, lhs, rhs))


def positive_zeros(acc: np.ndarray, lhs: Half, rhs: Half) -> np.ndarray:
    result = step(acc, lhs, rhs)
    return np.where(result == 0, np.float32(0), result)


def truncated(acc: np.ndarray, lhs: Half, rhs: Half) -> np.ndarray:
    """Towards zero."""
    nearest = step(acc, lhs, rhs)
    with np.errstate(all="ignore"):
        wide = lhs.astype(np.float64) * rhs + acc
        away = np.abs(nearest) > np.abs(wide)
        return np.where(away, np.nextafter(nearest, np.float32(0)), nearest)


def product_rounded(acc: np.ndarray, lhs: Half, rhs: Half) -> np.ndarray:
    """The product is flushed before the sum."""
    with np.errstate(all="ignore"):
        product = without_denormals(without_denormals(lhs) * without_denormals(rhs))
        return without_denormals(without_denormals(acc) + product)


def sum_first(acc: np.ndarray, lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    """The sum of both products is rounded, then that with acc."""
    (a0, a1), (b0, b1) = halves(lhs), halves(rhs)
    with np.errstate(all="ignore"):
        both = a0.astype(np.float64) * b0 + a1.astype(np.float64) * b1
        return without_denormals(without_denormals(both.astype(np.float32)) + acc)


def rounded_once(acc: np.ndarray, lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    """The exact sum of all three, where it is one."""
    right = in_order(0, step)(acc, lhs, rhs)
    (a0, a1), (b0, b1) = halves(lhs), halves(rhs)
    for i, terms in enumerate(zip(a0, b0, a1, b1, acc, strict=True)):
        if np.isfinite(right[i]) and np.isfinite(terms).all() and right[i] != 0:
            x, y, z, w, c = (Fraction(float(t)) for t in terms)
            right[i] = float(x * y + z * w + c)
    return right


def test_what_does_as_promised_is_used() -> None:
    assert own_instructions(in_order(0, step)) == ["bf16", "i8"]


@pytest.mark.parametrize(
    "dot",
    [in_order(1, step), in_order(0, exact_step), in_order(0, flushed_late),
     in_order(0, flushed_early), in_order(0, inputs_only), in_order(0, results_only),
     in_order(0, positive_zeros), in_order(0, truncated), in_order(0, product_rounded), sum_first,
     rounded_once],
    ids=["lower first", "denormals", "flushed late", "flushed early", "inputs only",
         "results only", "positive zeros", "truncated", "product rounded", "sum first",
         "rounded once"],
)  # fmt: skip
def test_what_does_not_is_left_alone(dot: Dot) -> None:
    with np.errstate(all="ignore"):
        assert own_instructions(dot) == ["i8"]


@pytest.mark.parametrize("lane", [0, 7, 15])
def test_a_single_wrong_lane_is_found(lane: int) -> None:
    def dot(acc: np.ndarray, lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
        sums = in_order(0, step)(acc, lhs, rhs)
        sums[lane] = in_order(1, step)(acc, lhs, rhs)[lane]
        return sums

    assert own_instructions(dot) == ["i8"]
