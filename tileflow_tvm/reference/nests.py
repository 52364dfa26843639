"""A nest (`T.tf.nest`) point by point, as its formula says."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

from tvm import ir, tirx

from tileflow_tvm.frontend.affine import imm, to_expr
from tileflow_tvm.frontend.compute import (
    IDENTITY,
    INTEGER,
    SELECT,
    Access,
    Apply,
    Axis,
    Cast,
    Const,
    Expr,
    Index,
    Mask,
    Reduced,
    Result,
    Stage,
    parts,
    walk_expr,
)
from tileflow_tvm.frontend.tile_ir import Affine, Op, Var
from tileflow_tvm.reference.functions import BINARY, REDUCE, UNARY, cast, constant, is_true
from tileflow_tvm.reference.lowering import Lowering
from tileflow_tvm.reference.memory import array, loops, scalar, sequence

Env = dict[Var, ir.Var]


def nest(low: Lowering, op: Op) -> list[Any]:
    """First what is accumulated, then each reduction on chip over its own points, then what is
    stored, so that nothing is overwritten before it has been read."""
    assert op.stage is not None
    return _Nest(low, op.stage).statements()


class _Nest:
    def __init__(self, low: Lowering, stage: Stage) -> None:
        self._memory = low.memory
        self._stage = stage
        self._spatial = [axis for axis in stage.axes if not axis.reduce]
        self._sums: ir.Var | None = None
        self._reduced: dict[int, tuple[ir.Var, list[Axis]]] = {}

    def statements(self) -> list[Any]:
        stage = self._stage
        stmts: list[Any] = []
        if not stage.combine:
            stmts += self._reductions([stage.value])
            return [*stmts, *self._reductions([e for _, e in stage.stores]), self._stores()]
        stmts += self._reductions([stage.value, *([stage.init] if stage.init else [])])
        stmts += self._accumulate()
        return [*stmts, *self._reductions([e for _, e in stage.stores]), self._stores()]

    # Parts.

    def _accumulate(self) -> list[Any]:
        """An array with what `target` would hold at each point."""
        stage = self._stage
        points = dict.fromkeys((axis.var for axis in self._spatial), imm(0))
        zeros = points | {axis.var: imm(0) for axis in stage.axes}
        dtype = str(self._expr(stage.value, zeros).ty.dtype)
        sums = self._sums = array("sums", tuple(a.extent for a in self._spatial), dtype)
        inner = [axis for axis in stage.axes if axis.reduce]

        def cell(env: Env) -> Any:
            where = self._where(self._spatial, env)
            start = self._start(env, dtype)

            def step(more: Env) -> Any:
                value = REDUCE[stage.combine](
                    tirx.BufferLoad(sums, where), self._expr(stage.value, env | more)
                )
                return tirx.BufferStore(sums, value, where)

            return sequence([tirx.BufferStore(sums, start, where), self._over(inner, step)])

        return [tirx.AllocBuffer(sums), self._over(self._spatial, cell)]

    def _start(self, env: Env, dtype: str) -> Any:
        """What a sum begins with."""
        stage = self._stage
        start = self._expr(stage.target if stage.init is None else stage.init, env)
        return start if str(start.ty.dtype) == dtype else tirx.Cast(dtype, start)

    def _reductions(self, exprs: Sequence[Expr]) -> list[Any]:
        """An array for each `Reduced`, over the axes that it depends on."""
        stmts: list[Any] = []
        for expr in exprs:
            for node in walk_expr(expr):
                if isinstance(node, Reduced) and id(node) not in self._reduced:
                    stmts += self._reduction(node)
        return stmts

    def _reduction(self, node: Reduced) -> list[Any]:
        used = self._free(node)
        free = [axis for axis in self._stage.axes if axis.var in used]
        over = [axis for axis in self._stage.axes if axis.var in node.over]
        values = array(f"on_chip_{node.combine}", tuple(a.extent for a in free), "float32")

        def cell(env: Env) -> Any:
            where = self._where(free, env)

            def step(more: Env) -> Any:
                value = self._expr(node.value, env | more)
                value = REDUCE[node.combine](tirx.BufferLoad(values, where), value)
                return tirx.BufferStore(values, value, where)

            start = tirx.BufferStore(values, constant(IDENTITY[node.combine], "float32"), where)
            return sequence([start, self._over(over, step)])

        stmts = [tirx.AllocBuffer(values), self._over(free, cell)]
        self._reduced[id(node)] = values, free
        return stmts

    def _free(self, expr: Expr) -> set[Var]:
        """The axes that the value of `expr` depends on."""
        if isinstance(expr, Reduced):
            return self._free(expr.value) - set(expr.over)
        own: set[Var] = set()
        if isinstance(expr, Access):
            own = set(expr.axes)
        elif isinstance(expr, Mask):
            own = {var for condition in expr.conditions for var, _ in condition.terms}
        elif isinstance(expr, Index):
            own = {var for var, _ in expr.form.terms}
        elif isinstance(expr, Result):
            own = {axis.var for axis in self._spatial}
        return own.union(*(self._free(part) for part in parts(expr)))

    def _stores(self) -> Any:
        stage = self._stage

        def point(env: Env) -> Any:
            values = [self._expr(expr, env) for _, expr in stage.results]
            stmts: list[Any] = []
            if len(values) > 1:
                held = [scalar("value", str(value.ty.dtype)) for value in values]
                stmts += [tirx.AllocBuffer(each) for each in held]
                stmts += [tirx.BufferStore(each, value, [imm(0)])
                          for each, value in zip(held, values, strict=True)]  # fmt: skip
                values = [tirx.BufferLoad(each, [imm(0)]) for each in held]
            for (access, _), value in zip(stage.results, values, strict=True):
                stmts.append(self._memory.write(access.buffer, self._indices(access, env), value))
            return sequence(stmts)

        return self._over(self._spatial, point)

    # Points.

    def _over(self, axes: list[Axis], body: Any) -> Any:
        variables = [axis.var for axis in axes]
        return loops([axis.extent for axis in axes],
                     lambda *at: body(dict(zip(variables, at, strict=True))))  # fmt: skip

    def _where(self, axes: list[Axis], env: Env) -> list[Any]:
        return [env[axis.var] for axis in axes] or [imm(0)]

    def _affine(self, value: Affine, env: Env) -> Any:
        return to_expr(value, env)

    def _indices(self, access: Access, env: Env) -> list[Any]:
        if access.flat:
            return self._memory.unflattened(access.buffer, self._affine(access.number, env))
        return [self._affine(index, env) for index in access.index]

    # Expressions.

    def _expr(self, expr: Expr, env: Env) -> Any:
        return _Evaluation(self, env).value(expr)

    def element(self, access: Access, env: Env) -> Any:
        """The value of a cell; outside of its tensor, the fill."""
        where = self._indices(access, env)
        value = self._memory.read(access.buffer, where)
        if access.fill is None:
            return value
        held: list[Any] = []
        for index, size in zip(where, access.buffer.shape, strict=True):
            held += [tirx.GE(index, imm(0)), tirx.LT(index, imm(size))]
        fill = constant(access.fill, access.buffer.dtype)
        return tirx.if_then_else(reduce(tirx.And, held), value, fill)

    def reduced(self, node: Reduced, env: Env) -> Any:
        values, free = self._reduced[id(node)]
        return tirx.BufferLoad(values, self._where(free, env))

    def result(self, env: Env) -> Any:
        if self._sums is None:
            return self._expr(self._stage.value, env)
        return tirx.BufferLoad(self._sums, self._where(self._spatial, env))

    def index(self, node: Index, env: Env) -> Any:
        wide: Any = tirx.IntImm("int64", node.form.const)
        for var, step in node.form.terms:
            wide = wide + tirx.Cast("int64", env[var]) * tirx.IntImm("int64", step)
        return wide

    def held(self, mask: Mask, env: Env) -> Any:
        return reduce(tirx.And, [tirx.GE(self._affine(c, env), imm(0)) for c in mask.conditions])


class _Evaluation:
    """Expressions at one point; what is shared stays shared."""

    def __init__(self, nest: _Nest, env: Env) -> None:
        self._nest, self._env = nest, env
        self._known: dict[int, Any] = {}

    def value(self, expr: Expr) -> Any:
        if id(expr) not in self._known:
            self._known[id(expr)] = self._fresh(expr)
        return self._known[id(expr)]

    def _fresh(self, expr: Expr) -> Any:
        if isinstance(expr, Const):
            return constant(expr.value, expr.dtype)
        if isinstance(expr, Access):
            return self._nest.element(expr, self._env)
        if isinstance(expr, Cast):
            return cast(self.value(expr.value), expr.dtype)
        if isinstance(expr, Mask):
            yes, no = self.value(expr.yes), self.value(expr.no)
            return tirx.if_then_else(self._nest.held(expr, self._env), yes, no)
        if isinstance(expr, Index):
            return tirx.Cast(expr.dtype, self._nest.index(expr, self._env))
        if isinstance(expr, Reduced):
            return self._nest.reduced(expr, self._env)
        if isinstance(expr, Result):
            return self._nest.result(self._env)
        assert isinstance(expr, Apply)
        args = [self.value(arg) for arg in expr.args]
        func = expr.func.removeprefix(INTEGER)
        if func == SELECT:
            cond, yes, no = args
            return tirx.Select(is_true(cond), yes, no)
        return UNARY[func](*args) if len(args) == 1 else BINARY[func](*args)
