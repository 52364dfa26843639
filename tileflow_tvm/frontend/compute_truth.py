"""Conditions on data: values of float32 or int32 that are not 0 where they hold."""

from __future__ import annotations

from typing import Any

from tvm import ir, tirx
from tvm.ir import TensorLoad
from tvm_ffi import structural_walk

from tileflow_tvm.frontend.compute import (
    INTEGER,
    SELECT,
    Apply,
    Cast,
    Const,
    Expr,
    Place,
    dtype_of,
)
from tileflow_tvm.frontend.compute_functions import COMPARES


def of_data(condition: Any) -> bool:
    """Whether no part of a condition is a comparison of indices."""
    if isinstance(condition, ir.Call) and condition.op.name == "prim.likely":
        return of_data(condition.args[0])
    if isinstance(condition, tirx.And | tirx.Or):
        return of_data(condition.a) and of_data(condition.b)
    if isinstance(condition, tirx.Not):
        return of_data(condition.a)
    if type(condition) not in COMPARES or not str(condition.a.ty).startswith(("int", "uint")):
        return True
    found: list[Any] = []
    structural_walk(condition, (TensorLoad, found.append))
    return bool(found)


def _zero(like: Expr) -> Const:
    return Const(0.0, dtype_of(like))


def _apply(func: str, args: tuple[Expr, ...], place: Place) -> Apply:
    """A function of values that are all float32 or all int32."""
    return Apply((INTEGER if dtype_of(args[0]) == "int32" else "") + func, args, place)


def chosen(func: str, left: Expr, right: Expr, place: Place) -> Expr:
    """A comparison; that of a truth taken as a number with 0 is the truth itself."""
    swapped = {"lt": "gt", "ne": "ne"}
    if _is_zero(left) and func in swapped:
        left, right, func = right, left, swapped[func]
    match left:
        case Apply(func=name, args=(truth, Const(1.0), Const(0.0))) if (
            name == SELECT and _is_zero(right) and func in ("gt", "ne")
        ):
            return truth
    return _apply(func, (left, right), place)


def _is_zero(expr: Expr) -> bool:
    return isinstance(expr, Const) and expr.value == 0


def inverse(truth: Expr, place: Place) -> Expr:
    """1 where `truth` is 0, else 0."""
    return _apply("eq", (truth, _zero(truth)), place)


def both(one: Expr, other: Expr, place: Place, *, either: bool) -> Expr:
    """1 where both hold, or with `either` where one does, else 0."""
    one, other = _as_one(one, place), _as_one(other, place)
    if dtype_of(one) != dtype_of(other):
        one, other = (
            Cast("float32", side, place) if dtype_of(side) == "int32" else side
            for side in (one, other)
        )
    return _apply("max" if either else "mul", (one, other), place)


def _as_one(truth: Expr, place: Place) -> Expr:
    """A truth as 1 or 0."""
    if isinstance(truth, Const):
        return Const(float(truth.value != 0), truth.dtype)
    return truth if _is_one(truth) else _apply("ne", (truth, _zero(truth)), place)


def _is_one(truth: Expr) -> bool:
    """Whether a truth is 1 or 0 by what makes it."""
    if not isinstance(truth, Apply):
        return False
    func = truth.func.removeprefix(INTEGER)
    if func in ("mul", "max"):
        return all(map(_is_one, truth.args))
    return func in _TRUTHS


_TRUTHS = frozenset({*COMPARES.values(), "isnan", "isinf", "isfinite"})


def one_of(truth: Expr, yes: Expr, no: Expr, place: Place) -> Expr:
    """`yes` where `truth` is not 0, else `no`."""
    if isinstance(truth, Const):
        return yes if truth.value else no
    match truth:
        case Apply(func=func, args=(inner, Const(0.0))) if func.removeprefix(INTEGER) == "ne":
            truth = inner
    return Apply(SELECT, (truth, yes, no), place)


def wrapped(value: Expr, place: Place) -> Expr:
    """An int32 value modulo 2^8, as int8 has it."""
    bits = Const(24.0, "int32")
    match value:
        case Apply(func="int32_shr", args=(Apply(func="int32_shl", args=(_, by)), back)) if (
            by == back == bits
        ):
            return value
    return Apply(INTEGER + "shr", (Apply(INTEGER + "shl", (value, bits), place), bits), place)
