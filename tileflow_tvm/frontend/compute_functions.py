"""Which functions of `isa.table` TVM's nodes and operators are, and the other way round."""

from __future__ import annotations

from tvm import tirx

BINARY: dict[type, str] = {
    tirx.Add: "add", tirx.Sub: "sub", tirx.Mul: "mul", tirx.Div: "div", tirx.Mod: "fmod",
    tirx.Max: "max", tirx.Min: "min", tirx.FloorDiv: "floordiv", tirx.FloorMod: "mod",
    tirx.BitwiseAnd: "bitand", tirx.BitwiseOr: "bitor", tirx.BitwiseXor: "bitxor",
    tirx.LShift: "shl", tirx.RShift: "shr",
}  # fmt: skip
COMPARES: dict[type, str] = {
    tirx.LT: "lt", tirx.LE: "le", tirx.GT: "gt", tirx.GE: "ge", tirx.EQ: "eq", tirx.NE: "ne",
}  # fmt: skip
"""Comparisons of values."""
CALLS = {
    "tirx.exp": "exp", "tirx.log": "log", "tirx.sqrt": "sqrt", "tirx.rsqrt": "rsqrt",
    "tirx.tanh": "tanh", "tirx.sigmoid": "sigmoid", "tirx.fabs": "abs", "tirx.sin": "sin",
    "tirx.cos": "cos", "tirx.erf": "erf", "tirx.floor": "floor", "prim.ceil": "ceil",
    "tirx.trunc": "trunc", "tirx.nearbyint": "round", "prim.log2": "log2", "tirx.log10": "log10",
    "tirx.log1p": "log1p", "tirx.tan": "tan", "tirx.asin": "asin", "tirx.acos": "acos",
    "tirx.atan": "atan", "tirx.sinh": "sinh", "tirx.cosh": "cosh", "tirx.asinh": "asinh",
    "tirx.acosh": "acosh", "tirx.atanh": "atanh",
}  # fmt: skip
"""Of one float32."""
TRUTH_CALLS = {"tirx.isnan": "isnan", "tirx.isinf": "isinf", "tirx.isfinite": "isfinite"}
"""Of one float32, with a bool for a result."""

BINARY_OF = {func: node for node, func in BINARY.items()}
COMPARE_OF = {func: node for node, func in COMPARES.items()}
CALL_OF = {func: name for name, func in CALLS.items()}
TRUTH_OF = {func: name for name, func in TRUTH_CALLS.items()}
TRUTHS = frozenset({*COMPARE_OF, *TRUTH_OF})
"""Functions whose result is 1 or 0, for which TVM has a bool."""
