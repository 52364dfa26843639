"""NumPy twins of the element-wise functions that work alike in every oracle."""

from __future__ import annotations

import numpy as np


def _truth(of):
    def function(*args):
        return of(*args).astype(args[0].dtype if np.ndim(args[0]) else args[-1].dtype)

    return function


def _sign(x):
    return np.where(np.isnan(x), x, np.sign(x))


def _quotient(a, b):
    """Cut off, and 0 by 0; of int64 that hold int32."""
    safe = np.where(b == 0, 1, b)
    return np.where(b == 0, 0, np.sign(a) * np.sign(safe) * (np.abs(a) // np.abs(safe)))


def _is_integer(a):
    return np.asarray(a).dtype.kind == "i"


def _div(a, b):
    return _quotient(a, b) if _is_integer(a) and _is_integer(b) else np.divide(a, b)


def _floordiv(a, b):
    if _is_integer(a) and _is_integer(b):
        return np.where(b == 0, 0, a // np.where(b == 0, 1, b))
    return np.floor(np.divide(a, b))


def _mod(a, b):
    if _is_integer(a) and _is_integer(b):
        return np.where(b == 0, 0, a % np.where(b == 0, 1, b))
    return np.mod(a, b)


def _fmod(a, b):
    if _is_integer(a) and _is_integer(b):
        return np.where(b == 0, 0, a - _quotient(a, b) * b)
    return np.fmod(a, b)


def _shl(a, b):
    bits = np.asarray(b) & 0xFFFFFFFF
    return np.where(bits < 32, np.asarray(a) << np.minimum(bits, 31), 0)


def _shr(a, b):
    return np.asarray(a) >> np.minimum(np.asarray(b) & 0xFFFFFFFF, 31)


def _pow(a, b):
    """In float64, which is exact enough to be compared with."""
    return np.power(np.asarray(a, np.float64), np.asarray(b, np.float64))


UNARY = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
    "trunc": np.trunc,
    "sign": _sign,
    "isnan": _truth(np.isnan),
    "isinf": _truth(np.isinf),
    "isfinite": _truth(np.isfinite),
    "log2": np.log2,
    "log10": np.log10,
    "log1p": np.log1p,
    "expm1": np.expm1,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
}
BINARY = {
    "lt": _truth(np.less),
    "le": _truth(np.less_equal),
    "gt": _truth(np.greater),
    "ge": _truth(np.greater_equal),
    "eq": _truth(np.equal),
    "ne": _truth(np.not_equal),
    "div": _div,
    "mod": _mod,
    "fmod": _fmod,
    "floordiv": _floordiv,
    "bitand": np.bitwise_and,
    "bitor": np.bitwise_or,
    "bitxor": np.bitwise_xor,
    "shl": _shl,
    "shr": _shr,
    "pow": _pow,
}
