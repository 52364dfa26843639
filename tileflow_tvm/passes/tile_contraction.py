"""Loop nests for a contraction and the maps over its result."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

from tileflow_tvm.frontend.tile_ir import (
    Affine,
    Alloc,
    Buffer,
    NameSupply,
    Op,
    Region,
    Stmt,
    Var,
)
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.cost import block_bytes, peak_bytes
from tileflow_tvm.passes.guards import in_last_iteration
from tileflow_tvm.passes.tile_block import (
    Axis,
    BlockWriter,
    Section,
    Span,
    on_unit,
    vector_region,
)
from tileflow_tvm.passes.tile_gemm_cost import GemmNeeds, GemmPlan
from tileflow_tvm.passes.tile_group import GroupForm, gemm_dims
from tileflow_tvm.passes.tile_values import Dataflow, accumulates


def needs_of(form: GroupForm, flow: Dataflow, machine: Machine) -> GemmNeeds:
    """What the group asks of its nest; the maps are tried on a block of one tile."""
    assert form.gemm is not None
    m, n, k = gemm_dims(form.gemm)
    tile = machine.tile
    rows = Span(Affine(), 1 if form.space.vector else tile)
    writer = BlockWriter(form, flow, NameSupply(), rows, Span(Affine(), tile), {})
    full = (tile,) if form.space.vector else (tile, tile)
    writer.put(flow.writes[form.gemm], Region.whole(Buffer("C", full)))
    writer.run(form.maps)
    body = [stmt for section in writer.sections for stmt in section]
    shapes = [stmt.buffer.shape for stmt in body if isinstance(stmt, Alloc)]
    return GemmNeeds(
        m, n, k, accumulates(form.gemm),
        temporaries=shapes.count(full),
        loaded=sum(isinstance(stmt, Op) and stmt.name == "load" and stmt.dst is not None
                   and stmt.dst.shape == full for stmt in body),
        live=-(-peak_bytes(body, machine) // block_bytes(full, machine)),
        vectors=len(shapes) - shapes.count(full),
        maps=sum(isinstance(stmt, Op) and stmt.name not in ("load", "store") for stmt in body),
        transpose_a=form.gemm.transpose_a,
        transpose_b=form.gemm.transpose_b,
    )  # fmt: skip


def lower_contraction(
    form: GroupForm, plan: GemmPlan, flow: Dataflow, names: NameSupply
) -> tuple[Stmt, ...]:
    """The nest of a group with a contraction; `GemmPlan` tells its two shapes apart."""
    nest = _Nest(form, plan, flow, names)
    return nest.whole_sums() if plan.whole_k else nest.partial_sums()


class _Nest:
    """Written for a resident A: `own` are the rows and `other` the columns of C. With B
    resident they change places. Each EXEC engine has blocks of A and C of its own; what is said
    of them below is done for one engine after the other."""

    def __init__(self, form: GroupForm, plan: GemmPlan, flow: Dataflow, names: NameSupply) -> None:
        assert form.gemm is not None
        self.form, self.plan, self.flow, self.names = form, plan, flow, names
        self.op = form.gemm
        self.m, self.n, k = gemm_dims(self.op)
        own, other = (self.m, self.n) if plan.a_resident else (self.n, self.m)
        own_name, other_name = ("i", "j") if plan.a_resident else ("j", "i")
        self.own = Axis(own_name, -(-own // plan.own))
        self.other = Axis(other_name, -(-other // plan.other))
        self.k = Axis("k", -(-k // plan.k))
        self.units = range(plan.units)

    def whole_sums(self) -> tuple[Stmt, ...]:
        """A block of the resident operand has all of K.

        for i:
            load A_blk = A[i]
            for j: load B_blk = B[j]; C_blk = gemm(A_blk, B_blk); maps over C_blk; store
        """
        resident = [self._load(self.plan.a_resident, *self._spans(None, u)) for u in self.units]
        streamed = self._load(not self.plan.a_resident, *self._spans(None))
        hoist = {Section.PRE: _vars(self.own)} if self.other.var else {}
        first, inner = [*chain(*resident)], [*streamed]
        for unit in self.units:
            spans = self._spans(None, unit)
            c_blk, load_c = self._result(*spans)
            gemm = self._gemm(c_blk, resident[unit], streamed)
            pre, body = self._maps(c_blk, *spans, hoist)
            first += on_unit(pre, unit)
            inner += on_unit((*load_c, gemm, *body), unit)
        return self._wrap(self.own, (*first, *self._wrap(self.other, inner)))

    def partial_sums(self) -> tuple[Stmt, ...]:
        """A block of C stays while k advances, then goes out strip by strip: in the last step of
        k, each strip as soon as it is complete (`leaves_early`), or behind the loop.

        for i: for j:                                          for i: for j:
            for k:                                                 for k:
                load A_blk = A[i, k]                                   load A_blk = A[i, k]
                for n:                                                 for n:
                    load B_blk = B[k, j + n]                               load B_blk = B[k, j + n]
                    C_blk[n] += gemm(A_blk, B_blk)                         C_blk[n] += gemm(...)
                    if k is the last one:                          for n:
                        maps over C_blk[n]; store                      maps over C_blk[n]; store
        """
        early = self.plan.leaves_early
        sums = self._strip_axis(self.plan.strip)
        out = sums if early else self._strip_axis(self.plan.out)
        blocks = [self._result(*self._spans(None, unit)) for unit in self.units]
        resident = [self._load(self.plan.a_resident, *self._spans(sums, u)) for u in self.units]
        streamed = self._load(not self.plan.a_resident, *self._spans(sums))
        inner = [*streamed]
        for unit, (c_blk, _) in enumerate(blocks):
            strip = self._strip(c_blk, *self._spans(sums, unit))
            inner += on_unit((self._gemm(strip, resident[unit], streamed),), unit)
        hoist = {Section.PRE: _vars(self.own, self.other)} if out.var else {}
        first: list[Stmt] = []
        last: list[Stmt] = []
        for unit, (c_blk, _) in enumerate(blocks):
            spans = self._spans(out, unit)
            pre, body = self._maps(self._strip(c_blk, *spans), *spans, hoist)
            first += on_unit(pre, unit)
            last += on_unit(body, unit)
        block = [*chain(*(load_c for _, load_c in blocks))]
        if early:
            inner += self._in_last_step(last)
            block += first
        block += self._wrap(self.k, (*chain(*resident), *self._wrap(sums, inner)))
        if not early:
            block += (*first, *self._wrap(out, last))
        return self._wrap(self.own, self._wrap(self.other, block))

    def _in_last_step(self, body: list[Stmt]) -> list[Stmt]:
        """`body`, when k has come to its end."""
        if self.k.var is None:
            return body
        return [in_last_iteration(self.k.var, self.k.extent, body, self.op.loc)]

    def _strip_axis(self, length: int) -> Axis:
        return Axis("n" if self.plan.a_resident else "m", self.plan.other // length)

    def _spans(self, strip: Axis | None, unit: int = 0) -> tuple[Span, Span]:
        """Rows and columns of C that a strip covers in the share of an EXEC engine; without a
        strip, the whole share."""
        plan = self.plan
        own = Span(self.own.index * plan.own + unit * plan.share, plan.share)
        other = Span(self.other.index * plan.other, plan.other)
        if strip:
            length = plan.other // strip.extent
            other = replace(other, offset=strip.index * length, length=length)
        return (own, other) if plan.a_resident else (other, own)

    def _load(self, lhs: bool, rows: Span, cols: Span) -> tuple[Stmt, ...]:
        """Alloc and load of a block of A (`lhs`) or B: the strip's rows or columns, one k."""
        src = self.op.srcs[0 if lhs else 1]
        assert isinstance(src, Region)
        span, unit = (rows, self.m == 1) if lhs else (cols, self.n == 1)
        start, depth = span.start + span.offset, self.k.index * self.plan.k
        flipped = self.op.transpose_a if lhs else self.op.transpose_b
        if unit:
            block = self._block(src.buffer, (self.plan.k,))
            where = vector_region(src.buffer, depth, self.plan.k)
            return Alloc(block.buffer), self._load_op(block, where)
        starts, shape = (start, depth), (span.strip, self.plan.k)
        if not lhs:
            starts, shape = starts[::-1], shape[::-1]
        block = self._block(src.buffer, shape)
        if flipped:
            starts, shape = starts[::-1], shape[::-1]
        where = Region(src.buffer, starts, shape)
        return Alloc(block.buffer), self._load_op(block, where, transposed=flipped)

    def _result(self, rows: Span, cols: Span) -> tuple[Region, tuple[Stmt, ...]]:
        """A block of C, and the statements that bring it to life with what it begins with."""
        assert self.op.dst is not None
        tensor = self.op.dst.buffer
        if self.form.space.vector:
            span = cols if self.m == 1 else rows
            block = self._block(tensor, (span.size,))
            where = vector_region(tensor, span.start, span.size)
        else:
            block = self._block(tensor, (rows.size, cols.size))
            where = Region(tensor, (rows.start, cols.start), block.shape)
        begin: tuple[Stmt, ...] = (Alloc(block.buffer),)
        if accumulates(self.op):
            begin += (self._load_op(block, where),)
        return block, begin

    def _block(self, tensor: Buffer, shape: tuple[int, ...]) -> Region:
        name = self.names.fresh(f"{tensor.name}_blk")
        return Region.whole(Buffer(name, shape, tensor.dtype, loc=self.op.loc))

    def _load_op(self, block: Region, where: Region, *, transposed: bool = False) -> Op:
        return Op("load", block, (where,), transposed=transposed, loc=self.op.loc)

    def _strip(self, c_blk: Region, rows: Span, cols: Span) -> Region:
        if self.form.space.vector:
            span = cols if self.m == 1 else rows
            return Region(c_blk.buffer, (span.offset,), (span.strip,))
        return Region(c_blk.buffer, (rows.offset, cols.offset), (rows.strip, cols.strip))

    def _gemm(self, dst: Region, resident: tuple[Stmt, ...], streamed: tuple[Stmt, ...]) -> Op:
        lhs, rhs = (resident, streamed) if self.plan.a_resident else (streamed, resident)
        srcs = tuple(_loaded(stmts) for stmts in (lhs, rhs))
        clear = self.op.clear if accumulates(self.op) else self.k.first
        return replace(
            self.op, dst=dst, srcs=srcs, clear=clear, transpose_a=False, transpose_b=False
        )

    def _maps(
        self, block: Region, rows: Span, cols: Span, hoist: dict[Section, frozenset[Var]]
    ) -> tuple[list[Stmt], list[Stmt]]:
        """What becomes of a strip of C: statements before the loop over strips, and in it."""
        if self.form.space.vector:
            rows, cols = Span(Affine(), 1), cols if self.m == 1 else rows
        writer = BlockWriter(self.form, self.flow, self.names, rows, cols, hoist)
        writer.put(self.flow.writes[self.op], block)
        writer.run(self.form.maps)
        return writer.sections[Section.PRE], writer.sections[Section.BODY]

    def _wrap(self, axis: Axis, body: tuple[Stmt, ...] | list[Stmt]) -> tuple[Stmt, ...]:
        return axis.wrap(body, self.op.loc)


def _loaded(stmts: tuple[Stmt, ...]) -> Region:
    """The block that the last of `stmts` loads."""
    load = stmts[-1]
    assert isinstance(load, Op)
    assert load.dst is not None
    return load.dst


def _vars(*axes: Axis) -> frozenset[Var]:
    return frozenset(axis.var for axis in axes if axis.var)
