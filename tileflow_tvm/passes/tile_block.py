"""Writes what one block of a group does: loads at first use, operations, stores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

from tileflow_tvm.errors import Loc
from tileflow_tvm.frontend.tile_ir import (
    Affine,
    Alloc,
    Buffer,
    Clear,
    Loop,
    NameSupply,
    Op,
    Operand,
    Region,
    Stmt,
    Var,
)
from tileflow_tvm.passes.tile_group import GroupForm, Kind
from tileflow_tvm.passes.tile_values import Dataflow, Read, Value


class Axis:
    """A loop to be: `index` counts its iterations, and a single one needs no loop."""

    def __init__(self, name: str, extent: int) -> None:
        self.extent = extent
        self.var = Var(name) if extent > 1 else None

    @property
    def index(self) -> Affine:
        return Affine.of(self.var) if self.var else Affine()

    @property
    def first(self) -> Clear:
        """Clears in the first iteration."""
        return Clear(var=self.var) if self.var else Clear(always=True)

    def wrap(self, body: Iterable[Stmt], loc: Loc | None) -> tuple[Stmt, ...]:
        body = tuple(body)
        if self.var is None or not body:
            return body
        return (Loop(self.var, Affine(self.extent), body, loc=loc),)


@dataclass(frozen=True)
class Span:
    """Part of one dimension of the space: `size` elements from `start` are a block, of which
    `length` from `offset` on are the strip that one run of the body works on."""

    start: Affine
    size: int
    offset: Affine = field(default_factory=Affine)
    length: int = 0

    @property
    def strip(self) -> int:
        return self.length or self.size


class Section(IntEnum):
    """Where in the nest a statement goes, outermost first."""

    SETUP = 0
    """Before all loops."""
    PRE = 1
    """In the outer loop, before the inner one."""
    BODY = 2
    POST = 3
    """In the outer loop, after the inner one."""


Key = tuple[Value, Kind]


class BlockWriter:
    """Turns the maps and reductions of a group into operations on blocks.

    `hoist` names, for each section that stands outside a loop, the loop variables in sight; a
    vector is loaded in the first section that sees what its place depends on. `streamed` is the
    inner loop, where reductions accumulate over its iterations.
    """

    def __init__(
        self,
        form: GroupForm,
        flow: Dataflow,
        names: NameSupply,
        rows: Span,
        cols: Span,
        hoist: dict[Section, frozenset[Var]],
        streamed: Axis | None = None,
    ) -> None:
        self.form, self.flow, self.names = form, flow, names
        self.rows, self.cols = rows, cols
        self.hoist = hoist
        self.streamed = streamed if streamed and streamed.var else None
        self.sections: tuple[list[Stmt], ...] = tuple([] for _ in Section)
        self.blocks: dict[Key, Region] = {}
        self._count_uses()

    def put(self, value: Value, block: Region) -> None:
        """`value`, FULL, is made elsewhere and lies in `block`; it is stored if it is kept."""
        self._made(value, block, Section.BODY, self.flow.maker[value].loc)

    def run(self, ops: Sequence[Op]) -> None:
        for op in ops:
            section = self._section(op)
            write = {"reduce": self._reduce, "fill": self._fill, "copy": self._copy}
            write.get(op.name, self._map)(op, section)

    def _count_uses(self) -> None:
        """How often each block is still needed. A copy shares its source's block."""
        self.same: dict[Key, Key] = {}
        self.left: Counter[Key] = Counter()
        for op in self.form.maps:
            pairs = zip(self.flow.reads[op], self.form.operands[op], strict=True)
            keys = [(read, kind) for read, kind in pairs if isinstance(read, Value) and kind]
            if op.name == "copy" and not self._turned(op):
                self.same[self._key(self.flow.writes[op])] = self._root(keys[0])
            else:
                self.left.update(self._root(key) for key in keys)
        self.stored = {self._root(self._key(value)) for value in self.form.kept}

    def _key(self, value: Value) -> Key:
        return value, self.form.kinds[value]

    def _root(self, key: Key) -> Key:
        return self.same.get(key, key)

    def _turned(self, op: Op) -> bool:
        return op.transposed and not self.form.space.vector

    def _section(self, op: Op) -> Section:
        value = self.flow.writes[op]
        if self.streamed is None or op.name == "reduce" or self.form.kinds[value] is Kind.FULL:
            return Section.BODY
        return Section.POST if value in self.form.derived else Section.PRE

    # One method for each kind of operation.

    def _map(self, op: Op, section: Section) -> None:
        """unary and binary: over a source that dies here, else into a new block."""
        value = self.flow.writes[op]
        kind = self.form.kinds[value]
        kinds = self.form.operands[op]
        pairs = tuple(zip(self.flow.reads[op], kinds, strict=True))
        srcs = tuple(self._operand(read, of, op.loc) for read, of in pairs)
        self._uses_up(pairs)
        dst = self._dying(pairs, kind)
        if dst is None:
            dst = self._alloc(value, section, op.loc)
        modes = tuple(self._mode(of, kind) for of in kinds) if op.name == "binary" else ()
        self.sections[section].append(replace(op, dst=dst, srcs=srcs, modes=modes))
        self._made(value, dst, section, op.loc)

    def _reduce(self, op: Op, section: Section) -> None:
        """Over the iterations of the inner loop where there is one."""
        value = self.flow.writes[op]
        pairs = tuple(zip(self.flow.reads[op], self.form.operands[op], strict=True))
        before, after, clear = section, section, op.clear
        if self.streamed:
            before, after = Section.PRE, Section.POST
            clear = self.streamed.first if op.clear.always else op.clear
        srcs = tuple(self._operand(read, of, op.loc) for read, of in pairs)
        dst = self._alloc(value, before, op.loc)
        if not op.clear.always:
            self._load(dst, value.buffer, self.form.kinds[value], before, op.loc)
        self._uses_up(pairs)
        self.sections[section].append(
            replace(op, dst=dst, srcs=srcs, clear=clear, axis=self.form.axis)
        )
        self._made(value, dst, after, op.loc)

    def _fill(self, op: Op, section: Section) -> None:
        value = self.flow.writes[op]
        outermost = min(self.hoist, default=section)
        dst = self._alloc(value, outermost, op.loc)
        self.sections[outermost].append(replace(op, dst=dst))
        self._made(value, dst, section, op.loc)

    def _copy(self, op: Op, section: Section) -> None:
        """Costs nothing on chip: two values share a block, or a load transposes."""
        value = self.flow.writes[op]
        kind = self.form.kinds[value]
        (read,) = self.flow.reads[op]
        assert isinstance(read, Value)
        if self._turned(op):
            dst = self._alloc(value, section, op.loc)
            self._load(dst, read.buffer, kind, section, op.loc, transposed=True)
        else:
            dst = self._source(read, kind, op.loc)
        self._made(value, dst, section, op.loc)

    def _made(self, value: Value, block: Region, section: Section, loc: Loc | None) -> None:
        """`value` is in `block` from here on; whoever else needs it finds it in DRAM."""
        self.blocks[self._key(value)] = block
        if value in self.form.kept:
            where = self._in_dram(value.buffer, self.form.kinds[value])
            self.sections[section].append(Op("store", where, (block,), loc=loc))

    # Operands.

    def _operand(self, read: Read, kind: Kind | None, loc: Loc | None) -> Operand:
        if isinstance(read, Value) and kind:
            return self._source(read, kind, loc)
        assert not isinstance(read, Value)
        return read

    def _source(self, read: Value, kind: Kind, loc: Loc | None) -> Region:
        """The strip of a block that holds `read`; loaded where that has not been done."""
        if (read, kind) not in self.blocks:
            section = self._load_section(kind)
            block = self._alloc(read, section, loc, kind)
            self._load(block, read.buffer, kind, section, loc)
            self.blocks[read, kind] = block
        return self._strip(self.blocks[read, kind], kind)

    def _strip(self, block: Region, kind: Kind) -> Region:
        """The part of a loaded vector that belongs to the strip; other blocks are no larger."""
        span = {Kind.ROW: self.cols, Kind.COL: self.rows}.get(kind)
        if span is None or span.strip == span.size:
            return block
        return Region(block.buffer, (span.offset,), (span.strip,))

    def _uses_up(self, pairs: Iterable[tuple[Read, Kind | None]]) -> None:
        for read, kind in pairs:
            if isinstance(read, Value) and kind:
                self.left[self._root((read, kind))] -= 1

    def _dying(self, pairs: Iterable[tuple[Read, Kind | None]], kind: Kind) -> Region | None:
        """A source whose block may be overwritten: nothing needs it any more, and no store may
        still be reading it. Another iteration loads or computes it anew, since blocks of the
        result's kind are never made outside the loop that the result is made in."""
        for read, of in pairs:
            if isinstance(read, Value) and of is kind:
                root = self._root((read, of))
                if not self.left[root] and root not in self.stored:
                    return self.blocks[read, of]
        return None

    def _mode(self, of: Kind | None, kind: Kind) -> str:
        """How an operand meets the result, the result being FULL or itself a vector."""
        if of is None:
            return "imm"
        if of is kind:
            return Kind.FULL.value
        return Kind.ONE.value if self.form.space.vector else of.value

    # Blocks and where they come from.

    def _load_section(self, kind: Kind) -> Section:
        if kind is Kind.FULL:
            return Section.BODY
        spans = {Kind.ROW: (self.cols,), Kind.COL: (self.rows,)}.get(kind, ())
        needed = {var for span in spans for var, _ in span.start.terms}
        return next((s for s, seen in sorted(self.hoist.items()) if needed <= seen), Section.BODY)

    def _alloc(
        self, value: Value, section: Section, loc: Loc | None, kind: Kind | None = None
    ) -> Region:
        kind = kind or self.form.kinds[value]
        shape = {
            Kind.FULL: (self.rows.strip, self.cols.strip),
            Kind.ROW: (self.cols.size,),
            Kind.COL: (self.rows.size,),
            Kind.ONE: (1,),
        }[kind]
        if kind is Kind.FULL and self.form.space.vector:
            shape = (self.cols.strip,)
        tensor = value.buffer
        block = Buffer(self.names.fresh(f"{tensor.name}_blk"), shape, tensor.dtype, loc=loc)
        self.sections[section].append(Alloc(block))
        return Region.whole(block)

    def _load(
        self, block: Region, tensor: Buffer, kind: Kind, section: Section, loc: Loc | None, *,
        transposed: bool = False,
    ) -> None:  # fmt: skip
        where = self._in_dram(tensor, kind, transposed=transposed)
        self.sections[section].append(Op("load", block, (where,), transposed=transposed, loc=loc))

    def _in_dram(self, tensor: Buffer, kind: Kind, *, transposed: bool = False) -> Region:
        """Where the block lies in the tensor. It may hang over the edge: transfers clip."""
        rows, cols = self.rows, self.cols
        if kind is Kind.FULL and not self.form.space.vector:
            start = (rows.start + rows.offset, cols.start + cols.offset)
            shape = (rows.strip, cols.strip)
            if transposed:
                start, shape = start[::-1], shape[::-1]
            return Region(tensor, start, shape)
        if kind is Kind.FULL:
            return vector_region(tensor, cols.start + cols.offset, cols.strip)
        if kind is Kind.ONE:
            return vector_region(tensor, Affine(), 1)
        span = cols if kind is Kind.ROW else rows
        return vector_region(tensor, span.start, span.size)


def on_unit(stmts: Iterable[Stmt], unit: int) -> tuple[Stmt, ...]:
    """`stmts` (no loops) with their EXEC operations on the engine `unit`."""
    return tuple(
        replace(stmt, unit=unit)
        if isinstance(stmt, Op) and unit and stmt.name not in ("load", "store")
        else stmt
        for stmt in stmts
    )


def vector_region(tensor: Buffer, start: Affine, length: int) -> Region:
    """`length` elements of a tensor that has at most one dimension other than 1."""
    along = next((axis for axis, extent in enumerate(tensor.shape) if extent != 1), -1)
    starts = [Affine()] * len(tensor.shape)
    shape = [1] * len(tensor.shape)
    starts[along], shape[along] = start, length
    return Region(tensor, tuple(starts), tuple(shape))
