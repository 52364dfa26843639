"""Functions of constants, as the instructions compute them."""

from __future__ import annotations

from collections.abc import Callable
from math import copysign, floor, fmod, inf, isfinite, isinf, isnan, nan
from math import pow as pow_of

from tileflow_tvm.frontend.compute import INTEGER, to_f32

COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "lt": lambda a, b: a < b, "le": lambda a, b: a <= b, "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b, "eq": lambda a, b: a == b, "ne": lambda a, b: a != b,
}  # fmt: skip


def folded(func: str, lhs: float, rhs: float) -> float:
    """A binary function of two constants: of float32, rounded to it once, or of int32."""
    plain = func.removeprefix(INTEGER)
    if plain in COMPARISONS:
        return float(COMPARISONS[plain](lhs, rhs))
    if func != plain:
        return float(_of_integers(plain, int(lhs), int(rhs)))
    if func == "pow":
        return _power(lhs, rhs)
    if isnan(lhs) or isnan(rhs):
        return nan
    if func in ("max", "min"):
        return max(lhs, rhs) if func == "max" else min(lhs, rhs)
    if func in ("fmod", "mod"):
        return _remainder(func, lhs, rhs)
    if func == "floordiv":
        quotient = folded("div", lhs, rhs)
        return float(floor(quotient)) if isfinite(quotient) else quotient
    if func == "div" and rhs == 0.0:
        return nan if lhs == 0.0 else copysign(inf, lhs) * copysign(1.0, rhs)
    exact = {
        "add": lambda: lhs + rhs, "sub": lambda: lhs - rhs,
        "mul": lambda: lhs * rhs, "div": lambda: lhs / rhs,
    }[func]()  # fmt: skip
    return _rounded(exact)


def _power(base: float, exponent: float) -> float:
    try:
        return _rounded(pow_of(base, exponent))
    except ValueError:  # of zero, or of a negative number
        odd = isfinite(exponent) and fmod(exponent, 2.0) in (-1.0, 1.0)
        return nan if base else copysign(inf, base) if odd else inf
    except OverflowError:
        return copysign(inf, base if fmod(exponent, 2.0) else 1.0)


def _rounded(exact: float) -> float:
    try:
        return to_f32(exact)
    except OverflowError:
        return copysign(inf, exact)


def _remainder(func: str, lhs: float, rhs: float) -> float:
    if isinf(lhs) or rhs == 0:
        return nan
    rest = fmod(lhs, rhs)
    if func == "fmod":
        return rest
    if rest == 0:
        return copysign(0.0, rhs)
    return to_f32(rest + rhs) if (rest < 0) != (rhs < 0) else rest


def _of_integers(func: str, lhs: int, rhs: int) -> int:
    bits = rhs & 0xFFFFFFFF
    quotient = abs(lhs) // abs(rhs) * (1 if (lhs < 0) == (rhs < 0) else -1) if rhs else 0
    results: dict[str, Callable[[], int]] = {
        "add": lambda: lhs + rhs, "sub": lambda: lhs - rhs, "mul": lambda: lhs * rhs,
        "max": lambda: max(lhs, rhs), "min": lambda: min(lhs, rhs), "div": lambda: quotient,
        "fmod": lambda: lhs - quotient * rhs if rhs else 0,
        "floordiv": lambda: lhs // rhs if rhs else 0, "mod": lambda: lhs % rhs if rhs else 0,
        "bitand": lambda: lhs & rhs, "bitor": lambda: lhs | rhs, "bitxor": lambda: lhs ^ rhs,
        "shl": lambda: lhs << bits if bits < 32 else 0, "shr": lambda: lhs >> min(bits, 31),
    }  # fmt: skip
    return (results[func]() + (1 << 31)) % (1 << 32) - (1 << 31)
