"""Scalar expressions over a block's axes to element-wise operations on tensors.

Every subexpression becomes a tensor over the axes that it depends on, and no others: what
depends on rows alone is computed once a row.
"""

from __future__ import annotations

from dataclasses import dataclass

from tileflow_tvm.errors import Loc
from tileflow_tvm.frontend.compute import Access, Apply, Const, Expr, Place, Stage
from tileflow_tvm.frontend.tile_ir import Buffer, Op, Var
from tileflow_tvm.passes.constants import folded
from tileflow_tvm.passes.lift_graph import Graph, Value

Form = tuple[Var | None, ...]
"""The axis that each dimension of a tensor follows; None where the dimension is 1."""


def matrix(form: Form) -> tuple[Var | None, Var | None]:
    """The axes of rows and columns; a vector is one row."""
    return (form[0], form[1]) if len(form) == 2 else (None, form[0])


@dataclass(frozen=True)
class Term:
    """A tensor and how the axes index it, or a constant."""

    value: Value | float
    form: Form = ()

    @property
    def axes(self) -> set[Var]:
        return {var for var in self.form if var is not None}


class MapLifter:
    """Lifts the expressions of one stage. `order` has its axes, those of the result first."""

    def __init__(
        self, graph: Graph, stage: Stage, current: dict[Buffer, Value], written: set[Buffer],
        order: list[Var],
    ) -> None:  # fmt: skip
        self.order = order
        self._graph = graph
        self._stage = stage
        self._current = current
        self._written = written
        self._extents = stage.extents
        self._terms: dict[int, Term] = {}
        self._axes: dict[int, frozenset[Var]] = {}

    def axes_of(self, expr: Expr) -> frozenset[Var]:
        """The axes that `expr` depends on."""
        if id(expr) not in self._axes:
            found: frozenset[Var] = frozenset()
            if isinstance(expr, Access):
                found = frozenset(var for index in expr.index for var, _ in index.terms)
            elif isinstance(expr, Apply):
                found = found.union(*(self.axes_of(arg) for arg in expr.args))
            self._axes[id(expr)] = found
        return self._axes[id(expr)]

    def term(self, expr: Expr) -> Term:
        """`expr` over the axes it depends on, at most two."""
        if id(expr) not in self._terms:
            self._terms[id(expr)] = self._term(expr)
        return self._terms[id(expr)]

    def into(self, expr: Expr, form: Form) -> Value:
        """`expr` as a tensor of exactly this form."""
        if isinstance(expr, Apply) and len(expr.args) == 2:
            terms = (self.term(expr.args[0]), self.term(expr.args[1]))
            if not all(isinstance(term.value, float) for term in terms):
                return self.binary(expr.func, terms, form, self._stage.place)
        if isinstance(expr, Apply) and len(expr.args) == 1:
            argument = self.term(expr.args[0])
            if isinstance(argument.value, Value) and argument.axes == set(form) - {None}:
                return self._unary(expr.func, argument, form, self._stage.place)
        return self.place(self.term(expr), form)

    def place(self, term: Term, form: Form) -> Value:
        """`term` as a tensor of exactly this form: itself, copied, transposed or broadcast."""
        if isinstance(term.value, float):
            return self.emit(Op("fill", value=term.value, loc=self._stage.place.loc), form, ())
        if term.form == form and not self._will_be_overwritten(term.value):
            return term.value
        if term.form == form or matrix(term.form) == matrix(form):
            return self._copy(term.value, form)
        if term.axes == set(form) - {None}:
            return self._copy(term.value, form, transposed=True)
        return self.binary("add", (term, Term(-0.0)), form, self._stage.place)

    def binary(self, func: str, terms: tuple[Term, Term], form: Form, place: Place) -> Value:
        """The function of two tensors, or of a tensor and a constant, in this form."""
        other = [term for term in terms if term.value != 0.0]
        if func == "max" and len(other) == 1 and other[0].axes == set(form) - {None}:
            return self._unary("relu", other[0], form, place)
        (lhs, lmode), (rhs, rmode) = (self._operand(term, form) for term in terms)
        op = Op("binary", func=func, modes=(lmode, rmode), loc=self._loc(place))
        return self.emit(op, form, (lhs, rhs))

    def emit(self, op: Op, form: Form, srcs: tuple[Value | float, ...]) -> Value:
        """The operation's result as a tensor of this form."""
        shape = tuple(1 if var is None else self._extents[var] for var in form)
        name = f"{self._stage.target.buffer.name}_{op.func or op.name}"
        return self._graph.emit(op, shape, srcs, name)

    def _term(self, expr: Expr) -> Term:
        if isinstance(expr, Const):
            return Term(expr.value)
        if isinstance(expr, Access):
            form = tuple(index.terms[0][0] if index.terms else None for index in expr.index)
            return Term(self._current[expr.buffer], form)
        args = [self.term(arg) for arg in expr.args]
        if len(args) == 1:
            (argument,) = args
            if isinstance(argument.value, float):
                argument = Term(self.place(argument, (None,)), (None,))
            value = self._unary(expr.func, argument, argument.form, expr.place)
            return Term(value, argument.form)
        lhs, rhs = args
        if isinstance(lhs.value, float) and isinstance(rhs.value, float):
            return Term(folded(expr.func, lhs.value, rhs.value))
        form = self._form_for(args)
        return Term(self.binary(expr.func, (lhs, rhs), form, expr.place), form)

    def _form_for(self, terms: list[Term]) -> Form:
        """The form of a result over all axes of `terms`: one that an operand has already, the
        upright one for a vector, since a row cannot be made from a column in passing."""
        axes = set().union(*(term.axes for term in terms))
        natural: Form = tuple(var for var in self.order if var in axes) or (None,)
        forms = [term.form for term in terms if term.form and term.axes == axes]
        if len(axes) == 2:
            return forms[0] if forms and natural not in forms else natural
        upright = [form for form in forms if len(form) == 2 and form[0] is not None]
        return (upright or forms or [natural])[0]

    def _unary(self, func: str, term: Term, form: Form, place: Place) -> Value:
        """The function of a tensor over the same axes, in this form."""
        assert isinstance(term.value, Value)
        same = matrix(term.form) == matrix(form)
        source = term.value if same else self._copy(term.value, form, transposed=True)
        return self.emit(Op("unary", func=func, loc=self._loc(place)), form, (source,))

    def _copy(self, value: Value, form: Form, transposed: bool = False) -> Value:
        return self.emit(Op("copy", transposed=transposed, loc=self._loc()), form, (value,))

    def _loc(self, place: Place | None = None) -> Loc | None:
        return (place and place.loc) or self._stage.place.loc

    def _operand(self, term: Term, form: Form) -> tuple[Value | float, str]:
        """`term` as an operand of an operation in `form`, and its mode."""
        if isinstance(term.value, float):
            return term.value, "imm"
        row, col = matrix(form)
        own_row, own_col = matrix(term.form)
        if (own_row, own_col) == (row, col):
            return term.value, "full"
        if not term.axes:
            return term.value, "scalar"
        if term.axes == {row}:  # (m,) or (m, 1); a lying (1, m) is copied to (m,)
            lying = len(term.form) == 2 and own_row is None
            return (self._copy(term.value, (row,)) if lying else term.value), "col"
        if term.axes == {col}:  # (n,) or (1, n); a standing (n, 1) is copied to (n,)
            standing = own_col is None
            vector = self._copy(term.value, (col,), transposed=True) if standing else term.value
            return vector, "full" if row is None else "row"
        return self._copy(term.value, form, transposed=True), "full"

    def _will_be_overwritten(self, value: Value) -> bool:
        """Whether `value` is what a parameter holds before the function writes to it."""
        return value.param is not None and value.param in self._written
