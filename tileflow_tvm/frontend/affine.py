"""TVM index expressions to `Affine` and `Extent`, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import ir, tirx
from tvm.ir import TensorLoad
from tvm.tirx import IntImm

from tileflow_tvm.errors import KernelError, Loc
from tileflow_tvm.frontend.tile_ir import Affine, Extent, Var

INT32_MAX = 2**31 - 1

Const = Callable[[Any, Loc | None, str], int]
"""`AffineReader.const`: reads an expression that has to be a constant; the text says what it is."""

_HINT = "an index is a sum of constants times loop variables and integer parameters"


class AffineReader:
    """Reads index expressions over the variables `bind` has told it about."""

    def __init__(self) -> None:
        self._env: dict[int, Affine] = {}

    def bind(self, var: ir.Var, value: Affine | Var) -> None:
        self._env[var.__chandle__()] = Affine.of(value)

    def affine(self, expr: Any, loc: Loc | None, what: str = "the index") -> Affine:
        """`expr` as an affine form; KernelError where it is none."""
        if isinstance(expr, int):
            return Affine(expr)
        value = self._read(expr)
        if isinstance(value, str):
            raise KernelError(f"{what} {expr} {value}", loc=loc, hint=_HINT)
        return value

    def const(self, expr: Any, loc: Loc | None, what: str) -> int:
        """`expr` as a number; KernelError where it varies."""
        value = self.affine(expr, loc, what)
        if value.terms:
            names = ", ".join(var.name for var, _ in value.terms)
            raise KernelError(f"{what} {expr} varies with {names}", loc=loc,
                              hint="it has to be a constant")  # fmt: skip
        return value.const

    def extent(self, expr: Any, loc: Loc | None) -> Extent:
        """`size`, or `max(min(limit, size), 0)`."""
        if isinstance(expr, tirx.Max):
            expr = expr.a if _is_const(expr.b) else expr.b
        if isinstance(expr, tirx.Min):
            limit, size = (expr.a, expr.b) if _is_const(expr.b) else (expr.b, expr.a)
            return Extent(self.const(size, loc, "the extent"), self.affine(limit, loc))
        return Extent(self.const(expr, loc, "the extent"))

    def _read(self, expr: Any) -> Affine | str:
        """The affine form, or why there is none."""
        if isinstance(expr, IntImm):
            return Affine(int(expr))
        if isinstance(expr, ir.Var):
            bound = self._env.get(expr.__chandle__())
            return "uses a variable that is not an integer" if bound is None else bound
        if isinstance(expr, tirx.Add | tirx.Sub | tirx.Mul | tirx.FloorDiv | tirx.FloorMod):
            lhs, rhs = self._read(expr.a), self._read(expr.b)
            if isinstance(lhs, str):
                return lhs
            if isinstance(rhs, str):
                return rhs
            return _combine(expr, lhs, rhs)
        if isinstance(expr, tirx.Cast):
            return self._read(expr.value)
        if isinstance(expr, TensorLoad):
            bound = self._env.get(expr.source.__chandle__())
            return "depends on data" if bound is None else bound
        return "is not affine"


def _is_const(expr: Any) -> bool:
    return isinstance(expr, int | IntImm)


def _combine(expr: Any, lhs: Affine, rhs: Affine) -> Affine | str:
    if isinstance(expr, tirx.Add):
        return lhs + rhs
    if isinstance(expr, tirx.Sub):
        return lhs - rhs
    if isinstance(expr, tirx.Mul):
        if rhs.is_const:
            return lhs * rhs.const
        return rhs * lhs.const if lhs.is_const else "is not affine: a product of variables"
    if not rhs.is_const or rhs.const <= 0:
        return "is not affine: a division by something else than a positive constant"
    divisor = rhs.const
    exact = all(step % divisor == 0 for _, step in lhs.terms)
    if isinstance(expr, tirx.FloorMod):
        return Affine(lhs.const % divisor) if exact else "is not affine: a remainder"
    if not exact:
        return "is not affine: a division with a remainder"
    return Affine(lhs.const // divisor, tuple((var, step // divisor) for var, step in lhs.terms))


def imm(value: int) -> IntImm:
    """An int32 immediate; int64 where it does not fit."""
    return IntImm("int32" if -INT32_MAX <= value <= INT32_MAX else "int64", value)


def to_expr(value: Affine, variables: dict[Var, ir.Var]) -> Any:
    """The expression a person would write, and that parses back to the same nodes."""
    terms = list(value.terms)
    if not terms:
        return imm(value.const)
    const = value.const
    if const and terms[0][1] < 0:
        expr, const = imm(const), 0
    else:
        var, step = terms.pop(0)
        expr = _times(variables[var], step)
    for var, step in terms:
        node = tirx.Sub if step < 0 else tirx.Add
        expr = node(expr, _times(variables[var], abs(step)))
    if const:
        expr = (tirx.Sub if const < 0 else tirx.Add)(expr, imm(abs(const)))
    return expr


def _times(var: Any, step: int) -> Any:
    return var if step == 1 else tirx.Mul(var, imm(step))


def extent_to_expr(extent: Extent, variables: dict[Var, ir.Var]) -> Any:
    """`size`, or `T.max(T.min(limit, size), 0)`."""
    if extent.limit is None:
        return extent.size
    if extent.limit.is_const:
        return max(0, min(extent.limit.const, extent.size))
    clipped = tirx.Min(to_expr(extent.limit, variables), imm(extent.size))
    return tirx.Max(clipped, imm(0))
