"""`compute.ComputeFunction` to a PrimFunc of sblocks: one loop nest a block, int32 indices."""

from __future__ import annotations

from functools import reduce
from math import prod
from typing import Any

from tvm import ir, tirx
from tvm.ir import Range, TensorRegion
from tvm.s_tir import SBlock, SBlockRealize
from tvm.tirx import BufferStore, For, ForKind, IterVar, PrimFunc, SeqStmt

from tileflow_tvm.frontend.affine import imm, to_expr
from tileflow_tvm.frontend.compute import (
    INTEGER,
    SELECT,
    Access,
    Apply,
    Cast,
    ComputeFunction,
    Const,
    Expr,
    Index,
    Mask,
    Stage,
    bounds,
    dtype_of,
)
from tileflow_tvm.frontend.compute_functions import (
    BINARY_OF,
    CALL_OF,
    COMPARE_OF,
    TRUTH_OF,
    TRUTHS,
)
from tileflow_tvm.frontend.location import span_of
from tileflow_tvm.frontend.tile_ir import Affine, Buffer, Var

_COMBINE = {"sum": tirx.Add, "prod": tirx.Mul, "max": tirx.Max, "min": tirx.Min}


def write_compute(function: ComputeFunction, like: PrimFunc) -> PrimFunc:
    """The function as a PrimFunc with the attributes of `like`."""
    buffers = {buffer: _declare(buffer) for buffer in (*function.params, *function.temps)}
    nests = [_StageWriter(stage, buffers).nest() for stage in function.stages]
    body = nests[0] if len(nests) == 1 else SeqStmt(nests)
    root = SBlock([], [], [], "root", body,
                  alloc_buffers=[buffers[temp] for temp in function.temps])  # fmt: skip
    params = [buffers[param] for param in function.params]
    return PrimFunc(params, SBlockRealize([], True, root), like.ret_type, like.attrs, like.span)


def _declare(buffer: Buffer) -> ir.Var:
    return tirx.decl_buffer(buffer.shape, buffer.dtype, buffer.name,
                            span=span_of(buffer.loc), layout=None)  # fmt: skip


def _loop_name(axis: str) -> str:
    """`i` for `v_i` and `vi`."""
    stripped = axis.removeprefix("v").removeprefix("_")
    return stripped if stripped.isidentifier() and stripped != axis else f"{axis}_loop"


class _StageWriter:
    def __init__(self, stage: Stage, buffers: dict[Buffer, ir.Var]) -> None:
        self._stage = stage
        self._buffers = buffers
        self._span = span_of(stage.place.loc)
        self._loops = {axis.var: ir.Var(_loop_name(axis.var.name), "int32") for axis in stage.axes}
        self._vars = {axis.var: ir.Var(axis.var.name, "int32") for axis in stage.axes}
        self._written: dict[int, Any] = {}

    def nest(self) -> Any:
        """The block inside its own serial loops."""
        stage = self._stage
        node: Any = self._realize()
        for axis in reversed(stage.axes):
            node = For(self._loops[axis.var], imm(0), imm(axis.extent), ForKind.SERIAL, node,
                       span=self._span)  # fmt: skip
        return node

    def _realize(self) -> SBlockRealize:
        stage = self._stage
        iter_vars = [
            IterVar(Range.from_min_extent(imm(0), imm(axis.extent)), self._vars[axis.var],
                    IterVar.CommReduce if axis.reduce else IterVar.DataPar)
            for axis in stage.axes
        ]  # fmt: skip
        values: list[Any] = [self._loops[axis.var] for axis in stage.axes]
        if stage.combine and not any(axis.reduce for axis in stage.axes):
            unit = Range.from_min_extent(imm(0), imm(1))
            iter_vars.append(IterVar(unit, ir.Var("unit", "int32"), IterVar.CommReduce))
            values.append(imm(0))
        value = self._expr(stage.value)
        own, summed = stage.target.buffer.dtype, dtype_of(stage.value)
        if stage.combine:
            before = self._load(stage.target)
            before = before if own == summed else tirx.Cast(summed, before)
            value = _COMBINE[stage.combine](before, value)
            value = value if own == summed else tirx.Cast(own, value)
        start = stage.init
        if isinstance(start, Const):
            start = Const(start.value, own)
        init = self._store(self._expr(start)) if start is not None else None
        reads = [self._region(source) for source in stage.sources]
        if stage.combine and init is None:
            reads.append(self._region(stage.target))
        block = SBlock(iter_vars, reads, [self._region(stage.target)], stage.name,
                       self._store(value), init, span=self._span)  # fmt: skip
        return SBlockRealize(values, True, block, span=self._span)

    def _store(self, value: Any) -> BufferStore:
        target = self._stage.target
        return BufferStore(self._buffers[target.buffer], value, self._indices(target), self._span)

    def _load(self, access: Access) -> Any:
        indices, span = self._indices(access), span_of(access.place.loc)
        load = tirx.BufferLoad(self._buffers[access.buffer], indices, span)
        if access.fill is None:
            return load
        conditions = []
        for index, form, size in zip(indices, access.index, access.buffer.shape, strict=True):
            low, high = bounds(form, self._stage.extents)
            conditions += [tirx.GE(index, imm(0))] if low < 0 else []
            conditions += [tirx.LT(index, imm(size))] if high >= size else []
        if not conditions:
            return load
        fill = self._expr(Const(access.fill, access.buffer.dtype))
        return tirx.if_then_else(reduce(tirx.And, conditions), load, fill, span)

    def _region(self, access: Access) -> TensorRegion:
        whole = access.flat or access.fill is not None
        ranges = [
            Range.from_min_extent(0, size) if whole else Range.from_min_extent(index, 1)
            for index, size in zip(self._indices(access), access.buffer.shape, strict=True)
        ]
        return tirx.BufferRegion(self._buffers[access.buffer], ranges)

    def _indices(self, access: Access) -> list[Any]:
        if access.flat:
            return self._indices_of(access.number, access.buffer.shape)
        return [self._index(index) for index in access.index]

    def _indices_of(self, number: Affine, shape: tuple[int, ...]) -> list[Any]:
        """The indices of a cell from its number in row-major order."""
        indices = []
        step = prod(shape)
        for dim, size in enumerate(shape):
            step //= max(size, 1)
            index = (
                tirx.FloorDiv(self._index(number), imm(step)) if step > 1 else self._index(number)
            )
            indices.append(tirx.FloorMod(index, imm(size)) if dim else index)
        return indices

    def _index(self, index: Affine) -> Any:
        variables: dict[Var, ir.Var] = self._vars
        return to_expr(index, variables)

    def _expr(self, expr: Expr) -> Any:
        if id(expr) not in self._written:
            self._written[id(expr)] = self._fresh(expr)
        return self._written[id(expr)]

    def _fresh(self, expr: Expr) -> Any:
        if isinstance(expr, Const):
            if expr.dtype.startswith("int"):
                return tirx.IntImm(expr.dtype, int(expr.value))
            return tirx.FloatImm(expr.dtype, expr.value)
        if isinstance(expr, Cast):
            return tirx.Cast(expr.dtype, self._expr(expr.value), span_of(expr.place.loc))
        if isinstance(expr, Access):
            return self._load(expr)
        if isinstance(expr, Mask):
            held = [tirx.GE(self._index(c), imm(0)) for c in expr.conditions]
            yes, no = self._expr(expr.yes), self._expr(expr.no)
            return tirx.if_then_else(reduce(tirx.And, held), yes, no, span_of(expr.place.loc))
        if isinstance(expr, Index):
            value = self._index(expr.form)
            same = expr.dtype == "int32"
            return value if same else tirx.Cast(expr.dtype, value, span_of(expr.place.loc))
        assert isinstance(expr, Apply)
        return self._apply(expr)

    def _condition(self, expr: Expr) -> Any:
        """Whether `expr` is not 0, as a bool."""
        if isinstance(expr, Apply) and (func := expr.func.removeprefix(INTEGER)) in TRUTHS:
            args, span = [self._expr(arg) for arg in expr.args], span_of(expr.place.loc)
            if func in COMPARE_OF:
                return COMPARE_OF[func](*args, span)
            return ir.Call(TRUTH_OF[func], args, span=span, ret_ty="bool")
        return tirx.NE(self._expr(expr), tirx.const(0, dtype_of(expr)))

    def _apply(self, expr: Apply) -> Any:
        span = span_of(expr.place.loc)
        if expr.func == SELECT:
            condition, yes, no = expr.args
            return tirx.Select(self._condition(condition), self._expr(yes), self._expr(no), span)
        func = expr.func.removeprefix(INTEGER)
        if func in TRUTHS:
            return tirx.Cast(dtype_of(expr), self._condition(expr), span)
        args = [self._expr(arg) for arg in expr.args]
        if func == "neg":
            return tirx.Mul(*args, tirx.const(-1, dtype_of(expr)))
        if node := BINARY_OF.get(func):
            return node(*args, span)
        if func == "pow":
            return ir.Call("tirx.pow", args, span=span, ret_ty="float32")
        return ir.Call(CALL_OF[expr.func], args, span=span, ret_ty="float32")
