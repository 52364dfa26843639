"""TVM index expressions to `Affine` and `Extent`, and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import ir, tirx
from tvm.ir import TensorLoad
from tvm.tirx import IntImm

from tileflow_tvm.errors import KernelError, Loc
from tileflow_tvm.frontend.ops import PLACE_PREFIX
from tileflow_tvm.frontend.tile_ir import COL, ROW, Affine, Extent, Var

INT32_MAX = 2**31 - 1

Const = Callable[[Any, Loc | None, str], int]
"""`AffineReader.const`: reads an expression that has to be a constant; the text says what it is."""

_PLACES = {PLACE_PREFIX + "row": ROW, PLACE_PREFIX + "col": COL}

_BINARY = (
    tirx.Add, tirx.Sub, tirx.Mul, tirx.FloorDiv, tirx.FloorMod, tirx.Div, tirx.Mod,
    tirx.Min, tirx.Max,
)  # fmt: skip
_HINT = "an index is a sum of constants times loop variables and integer parameters"


@dataclass(frozen=True)
class Split:
    """Let `var` be outer * factor + inner."""

    var: Var
    factor: int


@dataclass(frozen=True)
class Cut:
    """Take the values of `var` below `at` apart from the others."""

    var: Var
    at: int


SMALL = 8
"""Values that a variable takes, for them to be taken one by one."""


class AffineReader:
    """Reads index expressions over the variables `bind` has told it about.

    Quotients and remainders are affine where `extents`, what the variables run over, leave no
    doubt about them. Where they do not, `wanted` says how to split a variable so that they do.
    """

    def __init__(self) -> None:
        self._env: dict[int, Affine] = {}
        self.extents: dict[Var, int] = {}
        self.wanted: Split | Cut | None = None
        self._in_form = False

    def bind(self, var: ir.Var, value: Affine | Var) -> None:
        self._env[var.__chandle__()] = Affine.of(value)

    def is_bound(self, var: ir.Var) -> bool:
        return var.__chandle__() in self._env

    def value_of(self, var: ir.Var) -> Affine | None:
        return self._env.get(var.__chandle__())

    def affine(self, expr: Any, loc: Loc | None, what: str = "the index") -> Affine:
        """`expr` as an affine form; KernelError where it is none."""
        if isinstance(expr, int):
            return Affine(expr)
        value = self._read(expr)
        if isinstance(value, str):
            raise KernelError(f"{what} {expr} {value}", loc=loc, hint=_HINT)
        return value

    def form(self, expr: Any, loc: Loc | None, what: str) -> Affine:
        """`expr` as an affine form that may also have an element's row and column in it."""
        self._in_form = True
        try:
            return self.affine(expr, loc, what)
        finally:
            self._in_form = False

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
            return f"uses '{expr.name}', which is not known here" if bound is None else bound
        if isinstance(expr, _BINARY):
            lhs, rhs = self._read(expr.a), self._read(expr.b)
            if isinstance(lhs, str):
                return lhs
            if isinstance(rhs, str):
                return rhs
            return self._combine(expr, lhs, rhs)
        if isinstance(expr, tirx.Cast):
            return self._read(expr.value)
        if isinstance(expr, TensorLoad):
            bound = self._env.get(expr.source.__chandle__())
            return "depends on data" if bound is None else bound
        if isinstance(expr, ir.Call) and (place := _PLACES.get(expr.op.name)):
            if self._in_form:
                return Affine.of(place)
            return f"has T.tf.{place.name}(), which T.tf.affine_select and T.tf.iota take"
        return "is not affine"

    def _combine(self, expr: Any, lhs: Affine, rhs: Affine) -> Affine | str:
        if isinstance(expr, tirx.Add):
            return lhs + rhs
        if isinstance(expr, tirx.Sub):
            return lhs - rhs
        if isinstance(expr, tirx.Mul):
            if rhs.is_const:
                return lhs * rhs.const
            return rhs * lhs.const if lhs.is_const else "is not affine: a product of variables"
        if isinstance(expr, tirx.Min | tirx.Max):
            return self._chosen(lhs, rhs, smaller=isinstance(expr, tirx.Min))
        if not rhs.is_const or rhs.const <= 0:
            return "is not affine: a division by something else than a positive constant"
        reach = self._reach(lhs)
        if isinstance(expr, tirx.Div | tirx.Mod) and (reach is None or reach[0] < 0):
            return "is not affine: a division of what may be negative"
        return self._divided(lhs, rhs.const, remainder=isinstance(expr, tirx.FloorMod | tirx.Mod))

    def _chosen(self, lhs: Affine, rhs: Affine, *, smaller: bool) -> Affine | str:
        """The minimum or maximum of two forms, where it is always the same one."""
        reach = self._reach(lhs - rhs)
        if reach is None or reach[0] < 0 < reach[1]:
            return "is not affine: a minimum or maximum"
        return lhs if (reach[1] <= 0) is smaller else rhs

    def _reach(self, value: Affine) -> tuple[int, int] | None:
        """The smallest and the largest value, None where a variable's extent is not known."""
        low = high = value.const
        for var, step in value.terms:
            if var not in self.extents:
                return None
            end = step * max(0, self.extents[var] - 1)
            low, high = low + min(0, end), high + max(0, end)
        return low, high

    def _divided(self, value: Affine, divisor: int, *, remainder: bool) -> Affine | str:
        """`value` // `divisor`, or what is left of it."""
        what = "a remainder" if remainder else "a division with a remainder"
        even = tuple((var, step) for var, step in value.terms if step % divisor == 0)
        rest = Affine(value.const, tuple(t for t in value.terms if t[1] % divisor))
        reach = self._reach(rest)
        if reach is None:
            return f"is not affine: {what}"
        low, high = reach
        if low // divisor != high // divisor:
            self._want_split(rest, divisor)
            return f"is not affine: {what}"
        if remainder:
            return rest - low // divisor * divisor
        return Affine(low // divisor, tuple((var, step // divisor) for var, step in even))

    def _want_split(self, rest: Affine, divisor: int) -> None:
        """What would make a quotient of `rest` affine: a variable in multiples of the divisor;
        else one cut where the quotient changes, or into its few values."""
        if self.wanted is not None:
            return
        steps = [
            (abs(step), var) for var, step in rest.terms
            if divisor % abs(step) == 0 and divisor // abs(step) < self.extents[var]
        ]  # fmt: skip
        few = [(self.extents[var], at) for at, (var, _) in enumerate(rest.terms)
               if 1 < self.extents[var] <= SMALL]  # fmt: skip
        if steps and (rest.const % divisor == 0 or len(rest.terms) > 1):
            step, var = max(steps, key=lambda pair: pair[0])
            self.wanted = Split(var, divisor // step)
        elif len(rest.terms) == 1:
            ((var, step),) = rest.terms
            after = rest.const // divisor + 1 if step > 0 else rest.const // divisor
            first = (
                -((rest.const - after * divisor) // step)
                if step > 0
                else ((rest.const - after * divisor) // -step + 1)
            )
            if 0 < first < self.extents[var]:
                self.wanted = Cut(var, first)
        elif few:
            self.wanted = Cut(rest.terms[min(few)[1]][0], 1)


def _is_const(expr: Any) -> bool:
    return isinstance(expr, int | IntImm)


def imm(value: int) -> IntImm:
    """An int32 immediate; int64 where it does not fit."""
    return IntImm("int32" if -INT32_MAX <= value <= INT32_MAX else "int64", value)


def to_expr(value: Affine, variables: dict[Var, ir.Var]) -> Any:
    """The expression a person would write, and that parses back to the same nodes."""
    variables = variables | {var: tirx.call_intrin("int32", name) for name, var in _PLACES.items()}
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
