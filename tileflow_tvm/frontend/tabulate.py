"""Index expressions of any form, understood from their values at every point of the domain.

T.max(0, T.min(4, i - 2)) over 0..7      0, 0, 0, 1, 2, 3, 4, 4: affine below 3, up to 7, and there
T.floor(T.float32(0.5) * i) over 0..7    0, 0, 1, 1, 2, 2, 3, 3: affine in i // 2 and i % 2
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from tvm import ir, tirx
from tvm.tirx import FloatImm, IntImm
from tvm_ffi import structural_walk

from tileflow_tvm.frontend.affine import Cut, Split
from tileflow_tvm.frontend.tile_ir import Affine, Var

MOST_POINTS = 1 << 16
"""Of a domain that is tabulated."""
MOST_CUTS = 8
"""Of one axis."""
LONGEST_PERIOD = 16

Values = Any
"""An array over the domain, or a number."""

_INTEGER_OR_FLOAT: dict[type, Callable[[Values, Values], Values]] = {
    tirx.Add: np.add, tirx.Sub: np.subtract, tirx.Mul: np.multiply,
    tirx.Min: np.minimum, tirx.Max: np.maximum,
    tirx.FloorDiv: np.floor_divide, tirx.FloorMod: np.mod,
    tirx.LT: np.less, tirx.LE: np.less_equal, tirx.GT: np.greater, tirx.GE: np.greater_equal,
    tirx.EQ: np.equal, tirx.NE: np.not_equal, tirx.And: np.logical_and, tirx.Or: np.logical_or,
}  # fmt: skip
_CALLS: dict[str, Callable[[Values], Values]] = {
    "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "nearbyint": np.rint,
    "round": lambda value: np.trunc(value + np.copysign(value.dtype.type(0.5), value)),
    "fabs": np.abs, "likely": np.positive,
}  # fmt: skip
"""Functions of numbers, by TVM's name without its prefix."""


class _NoTable(Exception):
    """The expression is not of indices alone."""


def tabulate(
    expr: Any, value_of: Callable[[ir.Var], Affine | None], extents: dict[Var, int]
) -> Affine | Split | Cut | None:
    """The affine form of an integer expression over axes that run over `extents`; or what to do
    with an axis for there to be one; None where neither is found.

    `value_of` is what a variable of `expr` is in terms of the axes.
    """
    used: list[Var] = []
    structural_walk(expr, (ir.Var, lambda var: used.extend(_axes(value_of(var)))))
    axes = tuple(dict.fromkeys(used))
    shape = tuple(extents.get(axis, 0) for axis in axes)
    if not axes or not 0 < prod(shape) <= MOST_POINTS:
        return None
    grid = dict(zip(axes, np.indices(shape, sparse=True), strict=True))
    try:
        with np.errstate(all="ignore"):
            values = np.broadcast_to(_evaluate(expr, value_of, grid), shape)
    except _NoTable:
        return None
    if values.dtype.kind != "i":
        return None
    return _affine(values, axes) or _division(values, axes)


def _axes(value: Affine | None) -> tuple[Var, ...]:
    return tuple(var for var, _ in value.terms) if value is not None else ()


def _evaluate(
    node: Any, value_of: Callable[[ir.Var], Affine | None], grid: dict[Var, np.ndarray]
) -> Values:
    def at(part: Any) -> Values:
        return _evaluate(part, value_of, grid)

    if isinstance(node, IntImm):
        return np.int64(int(node.value))
    if isinstance(node, FloatImm):
        return np.dtype(str(node.ty)).type(float(node.value))
    if isinstance(node, ir.Var) and (value := value_of(node)) is not None:
        terms = (grid[var] * np.int64(step) for var, step in value.terms)
        return sum(terms, np.int64(value.const))
    if function := _INTEGER_OR_FLOAT.get(type(node)):
        return function(at(node.a), at(node.b))
    if isinstance(node, tirx.Div | tirx.Mod):
        return _truncating(at(node.a), at(node.b), remainder=isinstance(node, tirx.Mod))
    if isinstance(node, tirx.Not):
        return np.logical_not(at(node.a))
    if isinstance(node, tirx.Select):
        return np.where(at(node.condition), at(node.true_value), at(node.false_value))
    if isinstance(node, tirx.Cast):
        return _converted(at(node.value), str(node.ty))
    if isinstance(node, ir.Call) and isinstance(node.op, ir.Op):
        if node.op.name == "prim.if_then_else":
            return np.where(*map(at, node.args))
        if call := _CALLS.get(node.op.name.split(".", 1)[-1]):
            return call(at(node.args[0]))
    raise _NoTable


def _truncating(value: Values, divisor: Values, *, remainder: bool) -> Values:
    """Division towards zero; of floats, the plain one."""
    if np.asarray(value).dtype.kind == "f":
        return np.fmod(value, divisor) if remainder else np.divide(value, divisor)
    quotient = np.abs(value) // np.abs(divisor) * np.sign(value) * np.sign(divisor)
    return value - quotient * divisor if remainder else quotient


def _converted(value: Values, dtype: str) -> Values:
    if dtype.startswith(("int", "uint")):
        return np.asarray(value).astype(np.int64)
    if dtype in ("float32", "float64"):
        return np.asarray(value).astype(dtype)
    raise _NoTable


def _affine(values: np.ndarray, axes: tuple[Var, ...]) -> Affine | None:
    """The form that gives these values, if there is one."""
    origin = int(values.flat[0])
    total, expected = Affine(origin), np.int64(origin)
    for dim, (axis, index) in enumerate(
        zip(axes, np.indices(values.shape, sparse=True), strict=True)
    ):
        if values.shape[dim] > 1:
            step = int(values.take(1, dim).flat[0]) - origin
            total, expected = total + Affine.of(axis) * step, expected + index * step
    return total if np.array_equal(np.broadcast_to(expected, values.shape), values) else None


def _division(values: np.ndarray, axes: tuple[Var, ...]) -> Split | Cut | None:
    """What to do with the first axis along which the values have no constant step."""
    for dim, axis in enumerate(axes):
        rows = np.moveaxis(values, dim, 0).reshape(values.shape[dim], -1)
        turns = np.flatnonzero(np.diff(rows, 2, axis=0).any(axis=1))
        if not len(turns):
            continue
        length, parts = len(rows), [_periodic(rows, r) for r in range(2, LONGEST_PERIOD + 1)]
        whole = next((r for r, (start, end) in enumerate(parts, 2)
                      if (start, end) == (0, length) and 2 * r <= length), None)  # fmt: skip
        if whole is not None:
            return Split(axis, whole)
        if len(turns) <= MOST_CUTS:
            return Cut(axis, int(turns[0]) + 2)
        start, end = max(parts, key=lambda part: part[1] - part[0])
        at = start or end
        if end - start > length // 2 and at < length:
            return Cut(axis, at)
    return None


def _periodic(rows: np.ndarray, period: int) -> tuple[int, int]:
    """The longest part, at the beginning or at the end, in which all values are a constant more
    than `period` before."""
    length = len(rows)
    if length <= period:
        return 0, 0
    steps = rows[period:] - rows[:-period]
    from_start = np.flatnonzero((steps != steps[0]).any(axis=1))
    from_end = np.flatnonzero((steps != steps[-1]).any(axis=1))
    end = int(from_start[0]) + period if len(from_start) else length
    start = int(from_end[-1]) + 1 if len(from_end) else 0
    return (0, end) if end >= length - start else (start, length)
