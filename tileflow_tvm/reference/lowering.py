"""A program on its way to plain loops: what the rules of the primitives ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import ir, tirx
from tvm.tirx import ForKind, PrimFunc

from tileflow_tvm.errors import KernelError
from tileflow_tvm.frontend.affine import extent_to_expr, imm, to_expr
from tileflow_tvm.frontend.tile_ir import (
    Affine,
    Alloc,
    Buffer,
    Clear,
    Loop,
    Op,
    Program,
    Region,
    Stmt,
    Var,
    walk,
)
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.block_shapes import Axes, axes_of, per_row_vectors
from tileflow_tvm.reference.memory import Memory, array, sequence

Point = dict[str, Any]
"""Where an operation is: the index along each of its axes."""


class Lowering:
    """One program on its way; the rules in `primitives` ask it for elements and extents.

    Before infer_scope operations have no extents. Then an array beside each block on chip says how
    much of each of its dimensions is inside, and operations look there when they run.
    """

    def __init__(self, program: Program, machine: Machine, rules: Mapping[str, Rule]) -> None:
        self.program = program
        self.rules = rules
        self.memory = Memory(program, machine)
        self.vars: dict[Var, ir.Var] = {
            scalar: tirx.Var(scalar.name, "int32") for scalar in program.scalars
        }
        self.per_row = per_row_vectors(program)
        self.inferred = all(op.extents or op.name == "nop" for op in program.ops)
        self._valid: dict[Buffer, ir.Var] = {}
        if not self.inferred:
            for stmt in walk(program.body):
                if isinstance(stmt, Alloc) and stmt.buffer.scope.on_chip:
                    name, rank = f"inside_{stmt.buffer.name}", len(stmt.buffer.shape)
                    self._valid[stmt.buffer] = array(name, (rank,), "int32")

    def func(self) -> PrimFunc:
        body = self._block(self.program.body)
        start = self.memory.prologue() + [tirx.AllocBuffer(a) for a in self._valid.values()]
        params = [*self.memory.params.values(), *(self.vars[s] for s in self.program.scalars)]
        whole = PrimFunc(params, sequence([*start, *body]))
        return whole.with_attr("global_symbol", self.program.name)

    def _block(self, body: tuple[Stmt, ...]) -> list[Any]:
        return [stmt for child in body for stmt in self._stmt(child)]

    def _stmt(self, stmt: Stmt) -> list[Any]:
        if isinstance(stmt, Alloc):
            return [*self._all_inside(stmt.buffer), *self.memory.comes_to_life(stmt.buffer)]
        if isinstance(stmt, Loop):
            return [self._loop(stmt)]
        return self._op(stmt) if isinstance(stmt, Op) else self._block(stmt.body)

    def _loop(self, loop: Loop) -> Any:
        var = tirx.Var(loop.var.name, "int32")
        extent = tirx.Max(self.affine(loop.extent), imm(0))
        self.vars[loop.var] = var
        return tirx.For(var, imm(0), extent, ForKind.SERIAL, sequence(self._block(loop.body)))

    def _op(self, op: Op) -> list[Any]:
        rule = self.rules.get(op.name)
        if rule is None:
            raise KernelError(
                f"T.tf.{op.name} has no reference lowering", loc=op.loc,
                hint=f"there is one for {', '.join(self.rules)}; give it a rule in "
                     "tileflow_tvm/reference/primitives.py",
            )  # fmt: skip
        return rule(self, op)

    # What rules ask for.

    def affine(self, value: Affine) -> Any:
        return to_expr(value, self.vars)

    def is_first(self, var: Var) -> Any:
        return tirx.EQ(self.vars[var], imm(0))

    def axes(self, op: Op) -> Axes:
        return axes_of(op, self.per_row)

    def indices(self, region: Region, offsets: list[Any]) -> list[Any]:
        """Those of the element that lies `offsets` from the start of `region`."""
        return [self.affine(start) + offset
                for start, offset in zip(region.start, offsets, strict=True)]  # fmt: skip

    def extents(self, axes: Axes) -> tuple[list[Any], dict[str, Any]]:
        """How far each axis is inside, and the statements in front that find it out."""
        op = axes.op
        if op.extents:
            given = [extent_to_expr(extent, self.vars) for extent in op.extents]
            return [], dict(zip(axes.sizes, given, strict=True))
        operands = [pair for pair in zip(op.srcs, axes.srcs, strict=True)
                    if isinstance(pair[0], Region)]  # fmt: skip
        if op.name in ("gemm", "reduce") and op.clear == Clear():
            operands.append((op.dst, axes.dst))
        found: dict[str, Any] = dict(axes.sizes)
        for region, labels in operands:
            for axis, label in enumerate(labels):
                inside = self.inside(region, axis)
                if label and inside is not None:
                    found[label] = tirx.Min(found[label], inside)
        return self.bound(found)

    def bound(self, found: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The values in variables, since what is written may change what they are made of."""
        stmts, known = [], {}
        for label, value in found.items():
            known[label] = value
            if not isinstance(value, int):
                known[label] = tirx.Var(label, "int32")
                stmts.append(tirx.Bind(known[label], value))
        return stmts, known

    def inside(self, region: Region, axis: int) -> Any:
        """How much of a dimension of `region` is inside; None where all of it is."""
        valid = self._valid.get(region.buffer)
        if valid is None:
            return None
        limit = tirx.BufferLoad(valid, [imm(axis)]) - self.affine(region.start[axis])
        return tirx.Max(tirx.Min(limit, imm(region.shape[axis])), imm(0))

    def mark(self, region: Region, labels: tuple[str, ...], extents: dict[str, Any]) -> list[Any]:
        """`region` has been written, as far as `extents` say."""
        valid = self._valid.get(region.buffer)
        if valid is None:
            return []
        stmts = []
        for axis, (label, size) in enumerate(zip(labels, region.shape, strict=True)):
            count = extents[label] if label else size
            count = imm(count) if isinstance(count, int) else count
            start, old = self.affine(region.start[axis]), tirx.BufferLoad(valid, [imm(axis)])
            grown = tirx.Max(old, start + imm(size))
            cut = tirx.Select(tirx.GT(count, imm(0)), start + count, tirx.Min(old, start))
            whole = region.shape[axis] == region.buffer.shape[axis]
            new = count if whole else tirx.Select(tirx.EQ(count, imm(size)), grown, cut)
            stmts.append(tirx.BufferStore(valid, new, [imm(axis)]))
        return stmts

    def _all_inside(self, buffer: Buffer) -> list[Any]:
        valid = self._valid.get(buffer)
        if valid is None:
            return []
        return [tirx.BufferStore(valid, imm(size), [imm(axis)])
                for axis, size in enumerate(buffer.shape)]  # fmt: skip


def region_of(operand: Any) -> Region:
    assert isinstance(operand, Region)
    return operand


Rule = Callable[[Lowering, Op], list[Any]]
"""What an operation means, as statements."""
