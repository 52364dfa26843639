"""A `Program` to a PrimFunc that prints as a TVMScript a person could have written."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import tvm
from tvm import ir, tirx
from tvm.ir import Range
from tvm.sym import Analyzer
from tvm.tirx import FloatImm, PrimFunc
from tvm.tirx.exec_scope import ExecScope
from tvm.tirx.stmt import ForKind

from tileflow_tvm.frontend.affine import extent_to_expr, imm, to_expr
from tileflow_tvm.frontend.formula import formula_text
from tileflow_tvm.frontend.language import number_imm, register
from tileflow_tvm.frontend.location import span_of
from tileflow_tvm.frontend.ops import (
    ADDRESS,
    FIELD_OF,
    GROUP_ATTR,
    OP_PREFIX,
    OPS,
    ROLES_ATTR,
    SCRATCH_SCOPE,
    SEMAPHORES_ATTR,
    SLOTS,
    STAGES,
)
from tileflow_tvm.frontend.tile_ir import (
    Affine,
    Alloc,
    BoxDim,
    Buffer,
    Clear,
    Group,
    Loop,
    Op,
    Operand,
    Program,
    Region,
    Scope,
    Stmt,
    Var,
    View,
)

_SCOPES = {Scope.UNKNOWN: "global", Scope.DRAM: SCRATCH_SCOPE,
           Scope.GRID: Scope.GRID.value, Scope.VEC: Scope.VEC.value}  # fmt: skip
_DEFAULTS = Op("")
_ALWAYS = ("func", "axis", "clear", "value", "where", "form")
"""Keyword arguments that are written even where they have their default value."""

register()


def write(program: Program) -> PrimFunc:
    """The PrimFunc that `read` turns into `program` again."""
    return _Writer().func(program)


class _Writer:
    def __init__(self) -> None:
        self._vars: dict[Var, ir.Var] = {}
        self._buffers: dict[Buffer, ir.Var] = {}
        self._scope = ExecScope("thread")
        self._analyzer = Analyzer()

    def func(self, program: Program) -> PrimFunc:
        params: list[ir.Var] = []
        for buffer in program.params:
            self._buffers[buffer] = _buffer_var(buffer, "global")
            params.append(self._buffers[buffer])
        for scalar in program.scalars:
            self._vars[scalar] = tirx.Var(scalar.name, "int32")
            params.append(self._vars[scalar])
        attrs: dict[str, Any] = {"global_symbol": program.name}
        if program.roles:
            attrs[ROLES_ATTR] = list(program.roles)
        if program.semaphores:
            attrs[SEMAPHORES_ATTR] = [
                [str(sem.poster), str(sem.waiter), sem.count] for sem in program.semaphores
            ]
        body = self._body(program.body)
        return PrimFunc(params, body, attrs=tvm.ir.make_node("ir.DictAttrs", **attrs),
                        span=span_of(program.loc))  # fmt: skip

    def _body(self, body: tuple[Stmt, ...]) -> Any:
        stmts = [self._stmt(stmt) for stmt in body]
        if not stmts:
            return tirx.Evaluate(imm(0))
        return stmts[0] if len(stmts) == 1 else tirx.SeqStmt(stmts)

    def _stmt(self, stmt: Stmt) -> Any:
        if isinstance(stmt, Op):
            return self._op(stmt)
        if isinstance(stmt, Loop):
            return self._loop(stmt)
        if isinstance(stmt, Alloc):
            return self._alloc(stmt.buffer)
        assert isinstance(stmt, Group)
        return tirx.AttrStmt(0, GROUP_ATTR, imm(1), self._body(stmt.body))

    def _loop(self, loop: Loop) -> Any:
        var = tirx.Var(loop.var.name, "int32")
        self._vars[loop.var] = var
        extent = to_expr(loop.extent, self._vars)
        if loop.extent.terms:  # in the parser's order of terms
            extent = self._analyzer.simplify(extent)
        notes = {STAGES: loop.stages} if loop.stages else None
        return tirx.For(var, imm(0), extent, ForKind.SERIAL, self._body(loop.body),
                        annotations=notes, span=span_of(loop.loc))  # fmt: skip

    def _alloc(self, buffer: Buffer) -> Any:
        if buffer.view:
            return self._view(buffer, buffer.view)
        var = _buffer_var(buffer, _SCOPES[buffer.scope])
        self._buffers[buffer] = var
        notes = {}
        if buffer.address is not None:
            notes[ADDRESS] = imm(buffer.address)
        if buffer.slots != 1:
            notes[SLOTS] = imm(buffer.slots)
        return tirx.AllocBuffer(var, notes, span_of(buffer.loc))

    def _view(self, buffer: Buffer, view: View) -> Any:
        base = self._buffers[view.base]
        var = tirx.decl_buffer(
            buffer.shape, buffer.dtype, buffer.name, strides=[imm(s) for s in view.strides],
            elem_offset=imm(view.offset), scope=base.scope(), span=span_of(buffer.loc),
        )  # fmt: skip
        self._buffers[buffer] = var
        return tirx.DeclBuffer(var, data=base.data, span=span_of(buffer.loc))

    def _op(self, op: Op) -> Any:
        spec = OPS[op.name]
        config: dict[str, Any] = {}
        if op.stage is not None:
            axes, formula = formula_text(op.stage, [region.buffer for region in op.regions])
            config = {"axes": axes, "formula": formula, "name": op.stage.name}
        for key in spec.keywords if op.stage is None else ():
            value = getattr(op, FIELD_OF.get(key, key))
            if key in _ALWAYS or not _is_default(key, value):
                config[key] = self._keyword(value)
                if key == "where":
                    config[key] = tirx.GE(config[key], imm(0))
        operands = (op.dst, *op.srcs) if op.dst is not None else op.srcs
        if op.box:  # its corner: one element
            _, dram = op.ends
            corner = replace(dram, shape=(1,) * len(dram.shape))
            operands = tuple(corner if operand is dram else operand for operand in operands)
        return tvm.ir.make_node(
            "tirx.TilePrimitiveCall",
            op=ir.Op.get(OP_PREFIX + op.name),
            args=[self._operand(operand) for operand in operands],
            config=config, workspace={}, dispatch=None, scope=self._scope,
            span=span_of(op.loc),
        )  # fmt: skip

    def _operand(self, operand: Operand) -> Any:
        if not isinstance(operand, Region):
            return number_imm(operand)
        ranges = [
            Range.from_min_extent(to_expr(start, self._vars), imm(size))
            for start, size in zip(operand.start, operand.shape, strict=True)
        ]
        return tirx.BufferRegion(self._buffers[operand.buffer], ranges)

    def _keyword(self, value: Any) -> Any:
        if isinstance(value, Clear):
            if value.var is None:
                return value.always
            return tirx.EQ(self._vars[value.var], imm(0))
        if isinstance(value, Affine):
            return to_expr(value, self._vars)
        if isinstance(value, float):
            return value if math.isfinite(value) else FloatImm("float32", value)
        if isinstance(value, tuple):
            return [self._item(item) for item in value]
        return value if isinstance(value, str | int) else value.value

    def _item(self, item: Any) -> Any:
        if isinstance(item, BoxDim):
            return [item.extent, item.dim, item.step]
        return item if isinstance(item, str | int) else extent_to_expr(item, self._vars)


def _is_default(key: str, value: Any) -> bool:
    default = getattr(_DEFAULTS, FIELD_OF.get(key, key))
    if isinstance(value, float):
        return value == default and math.copysign(1, value) == math.copysign(1, default)
    return bool(value == default)


def _buffer_var(buffer: Buffer, scope: str) -> ir.Var:
    # TVM prints a dense buffer of shape (1,) as a scalar variable, which does not parse back.
    layout = None if buffer.shape == (1,) else "default"
    return tirx.decl_buffer(buffer.shape, buffer.dtype, buffer.name, scope=scope, layout=layout,
                            span=span_of(buffer.loc))  # fmt: skip
