"""Functions of elements as TIR expressions, and how values become those of an element type."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tvm import ir, tirx

from tileflow_tvm.frontend.affine import imm
from tileflow_tvm.frontend.compute_expr import CALL_OF

VALUE = {"float32": "float32", "bfloat16": "float32", "int8": "int32", "int32": "int32"}
"""Element type -> the type in which its values are computed with."""

INTEGER_RANGE = {"int8": (-128, 127), "int32": (-(2**31), 2**31 - 1)}
"""Element types that a cast saturates to."""


def constant(value: float, dtype: str) -> Any:
    """A value of `dtype` as it is computed with."""
    kind = VALUE[dtype]
    return imm(int(value)) if kind == "int32" else tirx.FloatImm(kind, value)


def _is_nan(x: Any) -> Any:
    return tirx.NE(x, x)


def _greater(x: Any, y: Any) -> Any:
    """The larger one, or a NaN; TVM's Max drops one on the left."""
    if str(x.ty.dtype).startswith("int"):
        return tirx.Max(x, y)
    return tirx.Select(tirx.Or(tirx.GT(x, y), _is_nan(x)), x, y)


def _smaller(x: Any, y: Any) -> Any:
    if str(x.ty.dtype).startswith("int"):
        return tirx.Min(x, y)
    return tirx.Select(tirx.Or(tirx.LT(x, y), _is_nan(x)), x, y)


def _call(func: str) -> Callable[[Any], Any]:
    return lambda x: ir.Call(CALL_OF[func], [x], ret_ty="float32")


def _f32(value: float) -> Any:
    return tirx.FloatImm("float32", value)


UNARY: dict[str, Callable[[Any], Any]] = {
    "identity": lambda x: x,
    "relu": lambda x: _greater(x, _f32(0.0)),
    "exp": _call("exp"),
    "log": _call("log"),
    "sqrt": _call("sqrt"),
    "rsqrt": _call("rsqrt"),
    "reciprocal": lambda x: tirx.Div(_f32(1.0), x),
    "tanh": _call("tanh"),
    "sigmoid": _call("sigmoid"),
    "abs": _call("abs"),
    "neg": lambda x: tirx.Mul(x, _f32(-1.0)),
    "sin": _call("sin"),
    "cos": _call("cos"),
    "erf": _call("erf"),
    "gelu": lambda x: x * _f32(0.5) * (_f32(1.0) + UNARY["erf"](x * _f32(math.sqrt(0.5)))),
    "silu": lambda x: x * UNARY["sigmoid"](x),
}
"""func of a unary operation -> its value; one entry for each of `isa.table.UNARY_FUNCS`."""

BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": tirx.Add,
    "sub": tirx.Sub,
    "mul": tirx.Mul,
    "div": tirx.Div,
    "max": _greater,
    "min": _smaller,
}
"""func of a binary operation -> its value; one entry for each of `isa.table.BINARY_FUNCS`."""

REDUCE: dict[str, Callable[[Any, Any], Any]] = {
    "sum": tirx.Add,
    "prod": tirx.Mul,
    "max": _greater,
    "min": _smaller,
}
"""func of a reduction -> how two values become one."""


def scaled(value: Any, scale: float, bias: float) -> Any:
    """value * scale + bias, as it would be written: what changes nothing is left out."""
    if scale != 1.0:
        value = value * _f32(scale)
    if bias or math.copysign(1, bias) > 0:
        value = value + _f32(bias)
    return value


def cast(value: Any, dtype: str) -> Any:
    """`value` as `exec.cast` makes it one of `dtype`: to the nearest even; integers saturate, NaN
    becomes 0."""
    limits = INTEGER_RANGE.get(dtype)
    if limits is None:
        return rounded(tirx.Cast("float32", value), dtype)
    if str(value.ty.dtype).startswith("int"):
        return tirx.Max(tirx.Min(value, imm(limits[1])), tirx.IntImm("int32", limits[0]))
    low, high = (tirx.FloatImm("float64", limit) for limit in limits)
    nearest = tirx.nearbyint(tirx.Cast("float64", value))
    inside = tirx.Cast("int32", tirx.Max(tirx.Min(nearest, high), low))
    return tirx.if_then_else(_is_nan(value), imm(0), inside)


def _to_bfloat16(value: Any) -> Any:
    """To the nearest even, in the upper half of the word. (TVM leaves a cast to bfloat16 and back
    out.)"""
    bits = tirx.reinterpret("uint32", value)
    one, half = tirx.IntImm("uint32", 1), tirx.IntImm("uint32", 16)
    odd = tirx.bitwise_and(tirx.shift_right(bits, half), one)
    upper = tirx.bitwise_and(bits + tirx.IntImm("uint32", 0x7FFF) + odd,
                             tirx.IntImm("uint32", 0xFFFF0000))  # fmt: skip
    return tirx.Select(_is_nan(value), value, tirx.reinterpret("float32", upper))


ROUND: dict[str, Callable[[Any], Any]] = {"bfloat16": _to_bfloat16}
"""Element types that are narrower than what is computed with, and for which two casts of TVM's do
not do."""


def rounded(value: Any, dtype: str) -> Any:
    """`value` as an element of `dtype` holds it, in the type in which it is computed with."""
    kind = VALUE[dtype]
    if str(value.ty.dtype) != kind:
        value = tirx.Cast(kind, value)
    if dtype in ROUND:
        return ROUND[dtype](value)
    return value if dtype == kind else tirx.Cast(kind, tirx.Cast(dtype, value))
