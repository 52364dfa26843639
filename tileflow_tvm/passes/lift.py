"""`lift`: blocks of scalar expressions to operations on whole tensors.

for i, j, k in T.grid(33, 40, 64):
    with T.sblock("mm"): ...; C[i, j] = C[i, j] + A[i, k] * B[j, k]     T.tf.gemm(C, A, B, tb)
for i, j in T.grid(33, 40):                                         ->  T.tf.binary(t, C, b,
    with T.sblock("y"):                                                     add, full row)
        Y[i, j] = T.exp(C[i, j] + b[j])                                 T.tf.unary(Y, t, exp)
"""

from __future__ import annotations

import contextlib
from math import prod

from tvm.tirx import PrimFunc

from tileflow_tvm.frontend.compute import (
    IDENTITY,
    Apply,
    ComputeFunction,
    Stage,
)
from tileflow_tvm.frontend.tile_ir import Buffer, Op, Program
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.isa.table import SEMIRINGS
from tileflow_tvm.passes.legalize import accepted, is_matrix_function
from tileflow_tvm.passes.lift_graph import Graph, Value, to_program
from tileflow_tvm.passes.lift_map import Form, MapLifter, Term, matrix
from tileflow_tvm.passes.lift_nests import COMBINE, nests_of
from tileflow_tvm.passes.semirings import semiring_of


def lift(func: PrimFunc, machine: Machine) -> Program:
    """The function as operations on whole tensors, each written once.

    Requires: what `legalize` ensures (it is checked again).
    Ensures: ops are gemm, unary, binary, reduce, fill and copy; every region is a whole
    buffer, a parameter or one allocated before; a buffer is written by one op. An "inout"
    parameter is written after every read of what it held, or by the op that reads it cell by
    cell. Values are those of the expressions as written, rounding for rounding; sums may be
    taken in any order and a start value other than 0 is added at the end.

    A rank-1 tensor is a 1 x n matrix, except: an operand of mode "col"; the right operand of
    a gemm, which is k x 1 (its dst is then m x 1 if of rank 1); the dst of a reduction along
    "cols" (m x 1). The result of such a reduction may also have the shape (m, 1), that of one
    along "rows" (1, n). Modes "row" and "col" take vectors of either rank, (1, n) and (m, 1);
    "scalar" any tensor of one element. A copy between (n,) and (1, n) is plain.
    """
    return lift_function(accepted(func, machine))


def lift_function(function: ComputeFunction) -> Program:
    """As `lift`, for a function that has been read and checked."""
    if is_matrix_function(function):
        with contextlib.suppress(_NoMatrixProduct):
            return _lift_matrices(function)
    return nests_of(function)


class _NoMatrixProduct(Exception):
    """A reduction over more axes than a matrix has."""


def _lift_matrices(function: ComputeFunction) -> Program:
    graph = Graph(function)
    current = {param: Value(param.shape, param=param) for param in function.params}
    written: set[Buffer] = {stage.target.buffer for stage in function.stages}
    for stage in function.stages:
        target, before = stage.target.buffer, len(graph.values)
        if target.elements:
            value = _StageLifter(graph, stage, current, written).value()
            if value in graph.values[before:]:
                value.name = target.name
            current[target] = value
    outputs = {param: current[param] for param in function.params if param in written}
    return to_program(graph, {param: value for param, value in outputs.items() if param.elements})


class _StageLifter:
    """The value that one stage gives its target."""

    def __init__(
        self, graph: Graph, stage: Stage, current: dict[Buffer, Value], written: set[Buffer]
    ) -> None:
        self._stage = stage
        self._before = current.get(stage.target.buffer)
        self._form: Form = tuple(
            index.terms[0][0] if index.terms else None for index in stage.target.index
        )
        self._reduce = [axis for axis in stage.axes if axis.reduce]
        order = [axis for axis in stage.axes if not axis.reduce] + self._reduce
        self._map = MapLifter(graph, stage, current, written, [axis.var for axis in order])

    def value(self) -> Value:
        stage = self._stage
        if not stage.combine:
            return self._map.into(stage.value, self._form)
        start = self._start()
        if not prod(axis.extent for axis in self._reduce):
            return self._map.place(start, self._form)
        if isinstance(start.value, float) and _is_identity(stage.combine, start.value):
            return self._map.place(self._combined(), self._form)
        return self._map.binary(COMBINE[stage.combine], (start, self._combined()), self._form,
                                stage.place)  # fmt: skip

    def _start(self) -> Term:
        """What the accumulation begins with."""
        if self._stage.init is not None:
            return self._map.term(self._stage.init)
        assert self._before is not None
        return Term(self._before, self._form)

    def _combined(self) -> Term:
        """The reduction of the stage's value over its reduction axes."""
        stage = self._stage
        semiring = semiring_of(stage)
        if semiring is not None and isinstance(stage.value, Apply):
            found = self._gemm(stage.value, semiring)
            if found is not None:
                return found
        used = self._map.axes_of(stage.value)
        walked = used | {axis.var for axis in self._reduce}
        if len(walked) > 2:
            raise _NoMatrixProduct
        term = self._map.term(stage.value)
        if term.axes != walked:
            form = tuple(var for var in self._map.order if var in walked) or (None,)
            term = Term(self._map.place(term, form), form)
        return self._reduced(term)

    def _reduced(self, term: Term) -> Term:
        """`term` reduced along its columns, then its rows, as far as the stage asks."""
        over = {axis.var for axis in self._reduce}
        if not over:
            return term
        row, col = matrix(term.form)
        if col in over:
            rest: Form = (row,) if row is not None else (None,)
            term = self._reduction(term, "cols", rest, (row, None))
            return self._reduction(term, "cols", (None,), (None, None)) if row in over else term
        return self._reduction(term, "rows", (col,), (None, col))

    def _reduction(self, term: Term, axis: str, vector: Form, column: Form) -> Term:
        form = self._form if self._form in (vector, column) else vector
        op = Op("reduce", func=self._stage.combine, axis=axis, loc=self._stage.place.loc)
        return Term(self._map.emit(op, form, (term.value,)), form)

    def _gemm(self, product: Apply, semiring: str) -> Term | None:
        """The matrix product that the sum of `product` is, if it is one. What is chosen along a
        vector is left to maps, which share a loop nest with others."""
        if any(len(self._map.axes_of(arg)) > 2 for arg in product.args):
            raise _NoMatrixProduct
        lhs, rhs = (self._map.term(arg) for arg in product.args)
        if isinstance(lhs.value, float) or isinstance(rhs.value, float):
            return None
        used = lhs.axes | rhs.axes
        form: Form = self._form
        if any(var is not None and var not in used for var in form):
            form = tuple(var for var in form if var in used) or (None,)
        if semiring != SEMIRINGS[0] and len([var for var in form if var is not None]) < 2:
            return None
        for left, right in ((lhs, rhs), (rhs, lhs)):
            for transpose_a, transpose_b in ((0, 0), (0, 1), (1, 0), (1, 1)):
                if self._fits(left.form, right.form, form, transpose_a, transpose_b):
                    op = Op("gemm", transpose_a=bool(transpose_a), transpose_b=bool(transpose_b),
                            semiring=semiring, loc=self._stage.place.loc)  # fmt: skip
                    srcs = (left.value, right.value)
                    return Term(self._map.emit(op, form, srcs), form)
        return None

    def _fits(self, lhs: Form, rhs: Form, dst: Form, ta: int, tb: int) -> bool:
        """Whether lhs (m x k, stored k x m with `ta`) times rhs (k x n, n x k) is dst."""
        if (ta and len(lhs) == 1) or (tb and len(rhs) == 1):
            return False
        m, k = matrix(lhs)
        k_too, n = rhs if len(rhs) == 2 else (rhs[0], None)
        if ta:
            m, k = k, m
        if tb:
            k_too, n = n, k_too
        rows_and_cols = matrix(dst)
        if len(dst) == 1 and len(rhs) == 1:
            rows_and_cols = dst[0], None
        summed = {axis.var for axis in self._reduce}
        return k == k_too and ({k} if k is not None else set()) == summed and (
            rows_and_cols == (m, n)
        )  # fmt: skip


def _is_identity(combine: str, start: float) -> bool:
    return start == IDENTITY[combine]
