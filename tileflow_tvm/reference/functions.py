"""Functions of elements as TIR expressions, and how values become those of an element type."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tvm import ir, tirx

from tileflow_tvm.frontend.affine import imm
from tileflow_tvm.frontend.compute_functions import CALL_OF, TRUTH_OF
from tileflow_tvm.isa.table import SEMIRINGS

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


def is_true(x: Any) -> Any:
    return tirx.NE(x, imm(0) if _is_integer(x) else _f32(0.0))


def _truth(condition: Any, like: Any) -> Any:
    """1 or 0 in the type of `like`."""
    return tirx.Cast(str(like.ty.dtype), condition)


def _is(func: str) -> Callable[[Any], Any]:
    return lambda x: _truth(ir.Call(TRUTH_OF[func], [x], ret_ty="bool"), x)


def _compare(node: type) -> Callable[[Any, Any], Any]:
    return lambda x, y: _truth(node(x, y), x)


def _is_integer(x: Any) -> bool:
    return str(x.ty.dtype).startswith("int")


def _divided(of_integers: type, of_floats: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A quotient or remainder; of integers 0 where the divisor is 0, and modulo 2^32."""

    def function(x: Any, y: Any) -> Any:
        if not _is_integer(x):
            return of_floats(x, y)
        wide = of_integers(tirx.Cast("int64", x), tirx.Cast("int64", y))
        return tirx.if_then_else(tirx.EQ(y, imm(0)), imm(0), tirx.Cast("int32", wide))

    return function


def _fmod(x: Any, y: Any) -> Any:
    """The remainder of the division that cuts off, in float64 and exact."""
    wide = [tirx.Cast("float64", value) for value in (x, y)]
    return tirx.Cast("float32", ir.Call("tirx.fmod", wide, ret_ty="float64"))


def _mod(x: Any, y: Any) -> Any:
    """The remainder that has the sign of the divisor."""
    rest = _fmod(x, y)
    other = tirx.And(tirx.NE(rest, _f32(0.0)), tirx.NE(tirx.LT(rest, _f32(0.0)),
                                                       tirx.LT(y, _f32(0.0))))  # fmt: skip
    return tirx.Select(other, rest + y, rest)


def _left(x: Any, bits: Any) -> Any:
    inside = tirx.And(tirx.GE(bits, imm(0)), tirx.LT(bits, imm(32)))
    return tirx.if_then_else(inside, tirx.shift_left(x, bits), imm(0))


def _right(x: Any, bits: Any) -> Any:
    inside = tirx.And(tirx.GE(bits, imm(0)), tirx.LT(bits, imm(32)))
    return tirx.shift_right(x, tirx.if_then_else(inside, bits, imm(31)))


def _wide(func: str, x: Any, more: float) -> Any:
    """func(x) + more, in float64."""
    value = ir.Call(func, [tirx.Cast("float64", x)], ret_ty="float64")
    return tirx.Cast("float32", value + tirx.FloatImm("float64", more))


def _sign(x: Any) -> Any:
    zero, one = _f32(0.0), _f32(1.0)
    negative = tirx.Select(tirx.LT(x, zero), _f32(-1.0), tirx.Select(_is_nan(x), x, zero))
    return tirx.Select(tirx.GT(x, zero), one, negative)


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
    "abs": lambda x: tirx.Select(x < imm(0), imm(0) - x, x) if _is_integer(x) else _call("abs")(x),
    "neg": lambda x: imm(0) - x if _is_integer(x) else tirx.Mul(x, _f32(-1.0)),
    "sin": _call("sin"),
    "cos": _call("cos"),
    "erf": _call("erf"),
    "gelu": lambda x: x * _f32(0.5) * (_f32(1.0) + UNARY["erf"](x * _f32(math.sqrt(0.5)))),
    "silu": lambda x: x * UNARY["sigmoid"](x),
    "floor": _call("floor"),
    "ceil": _call("ceil"),
    "round": _call("round"),
    "trunc": _call("trunc"),
    "sign": _sign,
    "isnan": _is("isnan"),
    "isinf": _is("isinf"),
    "isfinite": _is("isfinite"),
    "log2": _call("log2"),
    "log10": _call("log10"),
    "log1p": _call("log1p"),
    "expm1": lambda x: _wide("tirx.exp", x, -1.0),
    "tan": _call("tan"),
    "asin": _call("asin"),
    "acos": _call("acos"),
    "atan": _call("atan"),
    "sinh": _call("sinh"),
    "cosh": _call("cosh"),
    "asinh": _call("asinh"),
    "acosh": _call("acosh"),
    "atanh": _call("atanh"),
}
"""func of a unary operation -> its value; one entry for each of `isa.table.UNARY_FUNCS`."""

BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": tirx.Add,
    "sub": tirx.Sub,
    "mul": tirx.Mul,
    "div": _divided(tirx.Div, tirx.Div),
    "max": _greater,
    "min": _smaller,
    "lt": _compare(tirx.LT),
    "le": _compare(tirx.LE),
    "gt": _compare(tirx.GT),
    "ge": _compare(tirx.GE),
    "eq": _compare(tirx.EQ),
    "ne": _compare(tirx.NE),
    "mod": _divided(tirx.FloorMod, _mod),
    "fmod": _divided(tirx.Mod, _fmod),
    "floordiv": _divided(tirx.FloorDiv, lambda x, y: UNARY["floor"](tirx.Div(x, y))),
    "bitand": tirx.bitwise_and,
    "bitor": tirx.bitwise_or,
    "bitxor": tirx.bitwise_xor,
    "shl": _left,
    "shr": _right,
    "pow": tirx.pow,
}
"""func of a binary operation -> its value; one entry for each of `isa.table.BINARY_FUNCS`."""

REDUCE: dict[str, Callable[[Any, Any], Any]] = {
    "sum": tirx.Add,
    "prod": tirx.Mul,
    "max": _greater,
    "min": _smaller,
}
"""func of a reduction -> how two values become one."""


SEMIRING: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]] = {
    f"{times}_{plus}": (BINARY[times], BINARY[plus])
    for times, plus in (name.split("_") for name in SEMIRINGS)
}
"""semiring of a gemm -> what two elements make, and how it is summed."""


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
