"""Fusion of nests: what moves or maps goes into what reads it, or behind what makes its operand."""

from __future__ import annotations

from dataclasses import replace

from tileflow_tvm.frontend.compute import (
    IDENTITY,
    Access,
    Apply,
    Const,
    Expr,
    Reduced,
    Result,
    Stage,
    accesses,
    has_forms,
    map_accesses,
    rewrite,
    shared,
    substitute_axes,
    substituted,
    transform,
)
from tileflow_tvm.frontend.compute_cells import injective
from tileflow_tvm.frontend.tile_ir import Affine, Alloc, Buffer, Program, Var
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.lift_nests import COMBINE, nest_op
from tileflow_tvm.passes.nest_forms import steps_fit
from tileflow_tvm.passes.nest_layout import resident_sets
from tileflow_tvm.passes.tile_nest import nest_fits


def fuse_nests(program: Program, machine: Machine) -> Program:
    """The nests of `program` with

    (a) what only moves cells, or pads them, read in place of its result, wherever that is read;
    (b) a map computed where its result is read, if each cell of it is read once;
    (c) a map over the result of another nest, cell by cell, computed there before it is stored.

    A nest joins another one only if nothing between the two writes what it reads or uses what it
    writes. A tensor that something else reads is stored as well.

        P = pad(X, 1); C = conv(P, W); Y = relu(C + b)     Y = relu(conv(pad(X, 1), W) + b)
    """
    ops = [op for op in program.ops if op.stage is not None]
    fusion = _Fusion([op.stage for op in ops if op.stage], set(program.params), machine)
    fused = tuple(nest_op(stage) for stage in fusion.run())
    used = {region.buffer for op in fused for region in op.regions}
    kept = (s for s in program.body if isinstance(s, Alloc) and s.buffer in used)
    return replace(program, body=(*kept, *fused))


class _Fusion:
    def __init__(self, stages: list[Stage], params: set[Buffer], machine: Machine) -> None:
        self.stages, self.params, self.machine = stages, params, machine

    def run(self) -> list[Stage]:
        while self._step():
            pass
        return self.stages

    def _step(self) -> bool:
        for at, stage in enumerate(self.stages):
            for access in stage.sources:
                maker = self._only_writer(access.buffer, at)
                if maker is None:
                    continue
                new = (
                    self._inlined(maker, at, access)
                    or self._reduced_there(maker, at, access)
                    or self._appended(maker, at)
                )
                if new is not None:
                    self.stages = self._without_dead(new)
                    return True
        return False

    def _only_writer(self, buffer: Buffer, reader: int) -> int | None:
        """The one stage that writes `buffer`, if it stands before `reader`."""
        writers = [at for at, stage in enumerate(self.stages) if buffer in _written(stage)]
        return writers[0] if len(writers) == 1 and writers[0] < reader else None

    def _readers(self, buffer: Buffer) -> list[int]:
        return [at for at, stage in enumerate(self.stages) if buffer in _read(stage)]

    def _without_dead(self, stages: list[Stage]) -> list[Stage]:
        """Without what makes temporaries that nothing reads any more."""
        while True:
            read = set().union(*map(_read, stages), self.params)
            kept = []
            for stage in stages:
                results = tuple(r for r in stage.results if r[0].buffer in read)
                if results:
                    stores = results if stage.stores else ()
                    target = stage.target if not stores else stores[0][0]
                    kept.append(replace(stage, stores=stores, target=target))
            if kept == stages or (
                len(kept) == len(stages)
                and all(a.results == b.results for a, b in zip(kept, stages, strict=True))
            ):
                return kept
            stages = kept

    # Into the reader.

    def _inlined(self, maker: int, at: int, access: Access) -> list[Stage] | None:
        """The stages with the maker's expression in place of every read of its result in
        stage `at`."""
        made, reader = self.stages[maker], self.stages[at]
        if made.combine or made.stores or made.target.flat:
            return None
        if self._touched_between(maker, at, _read(made), written=True) or (
            _written(reader) & _read(made)
        ):
            return None
        moves = isinstance(made.value, Access | Const)
        buffer = access.buffer
        reads = [source for source in reader.sources if source.buffer is buffer]
        if not moves:
            alone = len(reads) == 1 and self._readers(buffer) == [at]
            if not alone or buffer in self.params or not _each_once(reads[0], reader):
                return None
        found: dict[Access, Expr] = {}
        for read in reads:
            if not _walks_whole(read, made, reader):
                return None
            expr = _expression_at(made, read)
            if expr is None or not _transferable(expr):
                return None
            found[read] = expr
        if not self._has_room(reader, accesses(made.value)):
            return None

        def leaf(node: Access) -> Expr:
            return found.get(node, node)

        value = rewrite(reader.value, leaf)
        init = rewrite(reader.init, leaf) if reader.init is not None else None
        stores = tuple((target, rewrite(expr, leaf)) for target, expr in reader.stores)
        new = _shared(replace(reader, value=value, init=init, stores=stores))
        if not steps_fit(new):
            return None
        if resident_sets(new) and not nest_fits(new, self.machine):
            return None
        return [*self.stages[:at], new, *self.stages[at + 1 :]]

    def _reduced_there(self, maker: int, at: int, access: Access) -> list[Stage] | None:
        """The stages with the reduction `maker` done where its result is read, by a map that walks
        what is reduced: softmax, norms. All of that has to be on chip at once."""
        made, reader = self.stages[maker], self.stages[at]
        if not made.combine or made.continues or made.stores or reader.combine:
            return None
        if access.buffer in self.params or self._readers(access.buffer) != [at]:
            return None
        if sum(source.buffer is access.buffer for source in reader.sources) != 1:
            return None
        if self._touched_between(maker, at, _read(made), written=True) or (
            _written(reader) & _read(made)
        ):
            return None
        by = _axes_met(made, reader, access)
        if by is None or not isinstance(made.init, Const):
            return None
        over = tuple(_only_axis(by[axis.var]) for axis in made.axes if axis.reduce)
        value: Expr = Reduced(made.combine, substitute_axes(made.value, by), over, made.place)
        if made.init.value != IDENTITY[made.combine]:
            value = Apply(COMBINE[made.combine], (made.init, value), made.place)

        def leaf(node: Access) -> Expr:
            return value if node == access else node

        new = _shared(replace(
            reader, value=rewrite(reader.value, leaf),
            stores=tuple((target, rewrite(expr, leaf)) for target, expr in reader.stores),
        ))  # fmt: skip
        if not self._has_room(new, ()) or not nest_fits(new, self.machine):
            return None
        return [*self.stages[:at], new, *self.stages[at + 1 :]]

    # Behind the maker.

    def _appended(self, maker: int, at: int) -> list[Stage] | None:
        """The stages with stage `at`, a map, computed where the maker stores."""
        made, reader = self.stages[maker], self.stages[at]
        if reader.combine or made.continues or made is reader:
            return None
        others = _read(reader) - _written(made)
        if self._touched_between(maker, at, others, written=True):
            return None
        if self._touched_between(maker, at, _written(reader), written=True, read=True):
            return None
        if _written(reader) & (_read(made) | _written(made)):
            return None
        by = _same_cells(made, reader)
        if by is None or not self._has_room(made, reader.sources):
            return None
        values = {access.buffer: expr for access, expr in made.results}

        def leaf(node: Access) -> Expr:
            return values.get(node.buffer, node)

        stores = list(made.results)
        for target, expr in reader.results:
            whole = _with_result(expr, reader.value)
            moved = rewrite(substitute_axes(whole, by), leaf)
            index = tuple(substituted(i, by) for i in target.index)
            stores.append((replace(target, index=index), moved))
        new = _shared(replace(made, stores=tuple(stores)))
        if not nest_fits(new, self.machine):
            return None
        return [*self.stages[:maker], new, *self.stages[maker + 1 : at], *self.stages[at + 1 :]]

    def _touched_between(
        self, first: int, last: int, buffers: set[Buffer], *, written: bool, read: bool = False
    ) -> bool:
        between = self.stages[first + 1 : last]
        return any(
            (written and buffers & _written(stage)) or (read and buffers & _read(stage))
            for stage in between
        )

    def _has_room(self, stage: Stage, more: tuple[Access, ...]) -> bool:
        """Whether the tensors that the nest moves leave it semaphores enough: each needs two, and
        slots may double that."""
        moved = {*stage.sources, *more, *(access for access, _ in stage.results)}
        return len(moved) <= self.machine.semaphores // 4


def _read(stage: Stage) -> set[Buffer]:
    found = {access.buffer for access in stage.sources}
    return found | ({stage.target.buffer} if stage.continues else set())


def _written(stage: Stage) -> set[Buffer]:
    return {access.buffer for access, _ in stage.results}


def _each_once(read: Access, reader: Stage) -> bool:
    """Whether no two iterations of the reader read the same cell."""
    return (
        all(axis.var in read.axes for axis in reader.axes)
        and read.fill is None
        and (injective(read.number, reader.extents))
    )


def _plain_axes(access: Access, extents: dict[Var, int]) -> dict[Var, int] | None:
    """The dimension that each axis walks, where every index is an axis of its own, or 0."""
    dims: dict[Var, int] = {}
    for dim, (index, size) in enumerate(zip(access.index, access.buffer.shape, strict=True)):
        if index == Affine() and size == 1:
            continue
        if len(index.terms) != 1 or index.const or index.terms[0][1] != 1:
            return None
        var = index.terms[0][0]
        if var in dims or extents[var] != size:
            return None
        dims[var] = dim
    return dims


def _walks_whole(read: Access, made: Stage, reader: Stage) -> bool:
    """Whether `read` walks all of each axis that `made` reduces on chip, as it is."""
    over = set().union(*resident_sets(made))
    if not over:
        return True
    dims = _plain_axes(made.target, made.extents)
    if dims is None or read.flat or read.fill is not None:
        return False
    for var in over:
        index = read.index[dims[var]]
        axis = next(iter(index.terms), (None, 0))[0]
        if axis is None or index != Affine.of(axis):
            return False
        shared = sum(axis in dict(other.terms) for other in read.index) > 1
        if shared or reader.extents[axis] != made.extents[var]:
            return False
    return True


def _expression_at(made: Stage, read: Access) -> Expr | None:
    """What `made` writes to the cell that `read` names; None where that has no such form."""
    dims = _plain_axes(made.target, made.extents)
    if dims is None or len(dims) != len(made.axes):
        return None
    if read.fill is not None:
        return None
    if not read.flat:
        return substitute_axes(made.value, {var: read.index[dim] for var, dim in dims.items()})
    if has_forms(made.value):
        return None
    if any(source.fill is not None or source.number != made.target.number
           for source in accesses(made.value)):  # fmt: skip
        return None
    return map_accesses(
        Stage("", (), read, made.value),
        lambda source: source if source is read else Access(
            source.buffer, read.index, source.place, flat=True),
    ).value  # fmt: skip


def _transferable(expr: Expr) -> bool:
    """Whether a transfer can bring every padded read: an axis moves one of its indices."""
    for access in accesses(expr):
        walked = [var for index in access.index for var, _ in index.terms]
        if access.fill is not None and len(set(walked)) != len(walked):
            return False
    return True


def _same_cells(made: Stage, reader: Stage) -> dict[Var, Affine] | None:
    """The axes of `made` for those of `reader`, where iteration meets iteration: each read of
    what `made` writes is of the cell that it has just made."""
    by: dict[Var, Affine] = {}
    targets = {access.buffer: access for access, _ in made.results}
    for read in reader.sources:
        target = targets.get(read.buffer)
        if target is None:
            continue
        if read.flat or read.fill is not None or target.flat:
            return None
        mine, theirs = _plain_axes(target, made.extents), _plain_axes(read, reader.extents)
        if mine is None or theirs is None:
            return None
        made_by_dim = {dim: var for var, dim in mine.items()}
        for var, dim in theirs.items():
            walk = Affine.of(made_by_dim[dim])
            if by.setdefault(var, walk) != walk:
                return None
    spatial = [axis for axis in made.axes if not axis.reduce]
    if len(by) != len(reader.axes) or len(by) != len(spatial):
        return None
    return by


def _axes_met(made: Stage, reader: Stage, access: Access) -> dict[Var, Affine] | None:
    """For the axes of the reduction `made` those of the map that reads its result as `access`:
    the same cells of what both read."""
    dims = _plain_axes(made.target, made.extents)
    if dims is None or access.flat or access.fill is not None:
        return None
    by = {var: access.index[dim] for var, dim in dims.items()}
    lengths = reader.extents
    for source in accesses(made.value):
        for other in reader.sources:
            if other.buffer is not source.buffer or other.flat or source.flat:
                continue
            for mine, theirs in zip(source.index, other.index, strict=True):
                if len(mine.terms) != 1 or mine.const or mine.terms[0][1] != 1:
                    continue
                var = mine.terms[0][0]
                plain = len(theirs.terms) == 1 and theirs == Affine.of(_only_axis(theirs))
                if var not in by and plain and lengths[_only_axis(theirs)] == made.extents[var]:
                    by[var] = theirs
    if any(axis.var not in by for axis in made.axes):
        return None
    over = [by[axis.var] for axis in made.axes if axis.reduce]
    kept = set(access.axes)
    if len(set(over)) != len(over) or any(_only_axis(walk) in kept for walk in over):
        return None
    return by


def _only_axis(walk: Affine) -> Var:
    return walk.terms[0][0]


def _shared(stage: Stage) -> Stage:
    """`stage` with equal parts of its expressions made one."""
    value, *stored = shared([stage.value, *(expr for _, expr in stage.stores)])
    stores = zip((access for access, _ in stage.stores), stored, strict=True)
    return replace(stage, value=value, stores=tuple(stores))


def _with_result(expr: Expr, value: Expr) -> Expr:
    """What a map stores, with its value in place of `Result`."""
    return transform(expr, lambda node: value if isinstance(node, Result) else node)
