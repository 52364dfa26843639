"""One leaf block to stages: its axes, its stores, and what kind of accumulation it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, combinations
from typing import Any

from tvm.s_tir import SBlock
from tvm.tirx import Bind, BufferStore, Evaluate, IfThenElse, IntImm, SeqStmt

from tileflow_tvm.errors import KernelError
from tileflow_tvm.frontend.affine import Cut, Split
from tileflow_tvm.frontend.compute import (
    COMBINERS,
    IDENTITY,
    INTEGER,
    Access,
    Apply,
    Axis,
    Cast,
    Const,
    Expr,
    Place,
    Stage,
    accesses,
    dtype_of,
    rewrite,
    substituted,
)
from tileflow_tvm.frontend.compute_cells import are_apart
from tileflow_tvm.frontend.compute_domain import Binding
from tileflow_tvm.frontend.compute_expr import ExprReader
from tileflow_tvm.frontend.compute_places import Places
from tileflow_tvm.frontend.tile_ir import Affine, Buffer, Var


@dataclass(frozen=True)
class PlacedBlock:
    """The stages of a block, and for each binding its axis, None where that was dropped."""

    stages: tuple[Stage, ...]
    axes: tuple[tuple[Binding, Axis | None], ...]
    split: bool
    """Whether the stages are of parts of the block's domain."""


@dataclass(frozen=True)
class _Store:
    target: Access
    value: Expr
    place: Place


@dataclass(frozen=True)
class _Part:
    """A part of a block's domain: its axes, what each of the block's variables is over them, and
    whether sums begin in it."""

    axes: tuple[Axis, ...]
    values: dict[Binding, Affine]
    begins: bool = True

    def split(self, how: Split | Cut) -> Iterator[_Part]:
        """The same domain in parts."""
        axis = next(axis for axis in self.axes if axis.var is how.var)
        name = axis.var.name
        if isinstance(how, Split):
            end = axis.extent // how.factor * how.factor
            outer = Axis(Var(f"{name}_o"), end // how.factor, axis.reduce)
            inner = Axis(Var(f"{name}_i"), how.factor, axis.reduce)
            value = _index(outer) * how.factor + _index(inner)
            yield self._with(axis, (outer, inner), value, True)
        else:
            end = how.at
            low = Axis(Var(name), end, axis.reduce)
            yield self._with(axis, (low,), _index(low), True)
        if end < axis.extent:
            rest = Axis(Var(name), axis.extent - end, axis.reduce)
            yield self._with(axis, (rest,), _index(rest) + end, not axis.reduce)

    def _with(self, old: Axis, new: tuple[Axis, ...], value: Affine, begins: bool) -> _Part:
        at = self.axes.index(old)
        kept = tuple(axis for axis in new if axis.extent != 1)
        values = {b: substituted(v, {old.var: value}) for b, v in self.values.items()}
        axes = self.axes[:at] + kept + self.axes[at + 1 :]
        return _Part(axes, values, self.begins and begins)


def _index(axis: Axis) -> Affine:
    """What walks the axis; one of extent 1 is 0."""
    return Affine() if axis.extent == 1 else Affine.of(axis.var)


MOST_PARTS = 64
"""Of a block whose axes are split."""


def read_block(
    block: SBlock, bindings: tuple[Binding, ...], new_reader: Callable[[], ExprReader],
    places: Places, guard: Any = None,
) -> PlacedBlock:  # fmt: skip
    """The stages of a block whose body is one or more stores, and which runs where `guard` holds.

    An index with quotients or remainders is affine once the right axes are split in two; where a
    factor does not divide an axis, the block becomes several.
    """
    axis_of: dict[Binding, Axis | None] = {}
    for binding in bindings:
        axis = Axis(Var(binding.iter_var.var.name), binding.extent, binding.reduce)
        axis_of[binding] = axis if binding.extent != 1 else None
    axes = tuple(axis for axis in axis_of.values() if axis)
    values = {b: _index(axis) if axis else Affine() for b, axis in axis_of.items()}
    waiting, stages = [_Part(axes, values)], []
    while waiting:
        part = waiting.pop(0)
        reader = new_reader()
        try:
            stages.append(_read_part(block, part, reader, places, guard))
        except KernelError:
            if reader.wanted is None or len(waiting) + len(stages) >= MOST_PARTS:
                raise
            waiting[:0] = part.split(reader.wanted)
    if len(stages) > 1 and any(len(of_part) > 1 for of_part in stages):
        raise places.of(block).error(
            f"block '{block.name_hint}' has several stores, and axes that do not split evenly",
            "one block for each store",
        )
    _check_apart(block, [stage for of_part in stages for stage in of_part], places)
    split = {b: axis if axis in part.axes else None for b, axis in axis_of.items()}
    return PlacedBlock(tuple(chain(*stages)), tuple(split.items()), len(stages) > 1)


def _check_apart(block: SBlock, parts: list[Stage], places: Places) -> None:
    """No two parts of a block assign the same cell; sums may be continued."""
    for one, other in combinations(parts, 2):
        same = one.target.buffer is other.target.buffer and not one.combine
        if same and not are_apart(one.target, one.extents, other.target, other.extents):
            raise places.of(block.body, block).error(
                f"a write race: iterations of block '{block.name_hint}' assign the same cell of "
                f"'{one.target.buffer.name}', as in {one.target} and {other.target}",
                "give each axis a dimension of its own",
            )


def _read_part(
    block: SBlock, part: _Part, reader: ExprReader, places: Places, guard: Any
) -> tuple[Stage, ...]:
    extents = {axis.var: axis.extent for axis in part.axes}
    for binding, value in part.values.items():
        reader.bind_range(binding.iter_var.var, value, extents)
    body = _BodyReader(block, reader, places)
    stores = body.stores(block.body)
    if not stores:
        return ()
    init = body.init(stores) if block.init is not None else None
    reduces = init is not None or any(binding.reduce for binding in part.values)
    stages = [_stage(block.name_hint, part.axes, store, init, reduces) for store in stores]
    if guard is not None:
        stages = [_where(guard, stage, block, reader) for stage in stages]
    return tuple(s if part.begins or not s.combine else replace(s, init=None) for s in stages)


def _where(guard: Any, stage: Stage, block: SBlock, reader: ExprReader) -> Stage:
    """`stage`, which takes part in its sum only where `guard` holds."""
    if not stage.combine and reader.truth(guard) is not True:
        raise stage.place.error(
            f"block '{stage.name}' assigns its cells only where {guard}",
            "loop over all of them, and choose the value with T.if_then_else",
        )
    if not stage.combine:
        return stage
    nothing = Const(IDENTITY[stage.combine], dtype_of(stage.value))
    return replace(stage, value=reader.where(guard, block, stage.value, nothing))


class _BodyReader:
    """The stores in a block's body, with its lets substituted."""

    def __init__(self, block: SBlock, reader: ExprReader, places: Places) -> None:
        self._block = block
        self._reader = reader
        self._places = places

    def stores(self, body: Any) -> list[_Store]:
        found: list[_Store] = []
        bound: set[Buffer] = set()
        self._collect(body, found, bound)
        self._check_ageing(found, bound)
        return found

    def init(self, stores: list[_Store]) -> Expr:
        """What the T.init of the block stores."""
        inits = self.stores(self._block.init)
        if len(stores) != 1 or len(inits) != 1 or inits[0].target != stores[0].target:
            raise inits[0].place.error(
                f"block '{self._block.name_hint}' initialises something else than the one cell "
                "it accumulates into", "one block, one accumulated cell"
            ) if inits else stores[0].place.error("an empty T.init")  # fmt: skip
        return inits[0].value

    def _collect(self, stmt: Any, found: list[_Store], bound: set[Buffer]) -> None:
        if isinstance(stmt, SeqStmt):
            for child in stmt.seq:
                self._collect(child, found, bound)
        elif isinstance(stmt, BufferStore):
            target = self._reader.access(stmt.buffer, stmt.indices, stmt)
            place = self._places.of(stmt)
            found.append(_Store(target, self._reader.read(stmt.value), place))
        elif isinstance(stmt, Bind):
            self._reader.bind(stmt.var, stmt.value)
            value = self._reader.env[stmt.var]
            if not isinstance(value, Affine):
                bound.update(access.buffer for access in accesses(value))
        elif isinstance(stmt, IfThenElse):
            self._branch(stmt, found, bound)
        elif not (isinstance(stmt, Evaluate) and isinstance(stmt.value, IntImm)):
            raise self._places.of(stmt, self._block).error(
                f"a statement of kind {type(stmt).__name__} in block '{self._block.name_hint}' "
                "is not supported", "a block assigns one cell; loops go around it"
            )  # fmt: skip

    def _branch(self, stmt: IfThenElse, found: list[_Store], bound: set[Buffer]) -> None:
        known = self._reader.truth(stmt.condition)
        if known is None:
            raise self._places.of(stmt, self._block).error(
                f"an if in block '{self._block.name_hint}' whose condition varies",
                "assign every cell; T.max, T.min choose between values"
            )  # fmt: skip
        chosen = stmt.then_case if known else stmt.else_case
        if chosen is not None:
            self._collect(chosen, found, bound)

    def _check_ageing(self, found: list[_Store], bound: set[Buffer]) -> None:
        """A let is substituted, so what it reads must not be stored before it is used."""
        stored: set[Buffer] = set()
        for store in found:
            aged = {access.buffer for access in accesses(store.value)} & stored & bound
            if aged:
                raise store.place.error(
                    f"block '{self._block.name_hint}' uses what a let has read of "
                    f"'{aged.pop().name}' after that was stored",
                    "split it into one block for each store"
                )  # fmt: skip
            stored.add(store.target.buffer)


def _stage(
    name: str, axes: tuple[Axis, ...], store: _Store, init: Expr | None, reduces: bool
) -> Stage:
    """A map, or the accumulation that `store` is."""
    target, value, place = store.target, store.value, store.place
    walked = {var for index in target.index for var, _ in index.terms}
    summed = [axis for axis in axes if axis.reduce and axis.var not in walked]
    if init is not None and any(axis.reduce and axis.var in walked for axis in axes):
        raise place.error(f"block '{name}' indexes the cell that it initialises by a reduction "
                          "axis", "declare that axis T.axis.spatial")  # fmt: skip
    axes = tuple(replace(axis, reduce=axis in summed) for axis in axes)
    split = _accumulation(target, value) if reduces else None
    if split:
        combine, term = split
        if isinstance(init, Const) and init.dtype != dtype_of(term):
            init = Const(init.value, dtype_of(term))
        return Stage(name, axes, target, term, combine, init, place)
    if target not in accesses(value):
        if summed:
            raise _race(name, target, summed[0], place)
        return Stage(name, axes, target, value, place=place)
    if summed:
        raise place.error(
            f"block '{name}' is not a sum, product, maximum or minimum over axis "
            f"'{summed[0].var.name}'",
            f"write {target} = {target} + ..., *, T.max or T.min of what does not read it"
        )  # fmt: skip
    if init is not None:
        value = rewrite(value, lambda access: init if access == target else access)
    return Stage(name, axes, target, value, place=place)


def _race(name: str, target: Access, axis: Axis, place: Place) -> KernelError:
    return place.error(
        f"a write race: block '{name}' assigns {target} once for each of the {axis.extent} "
        f"values of '{axis.var.name}'",
        f"index '{target.buffer.name}' by '{axis.var.name}' too, or accumulate into it"
    )  # fmt: skip


def _accumulation(target: Access, value: Expr) -> tuple[str, Expr] | None:
    """The reduction and the term in `target = target + term` and the like."""
    if isinstance(value, Cast) and dtype_of(value.value) == "float32":
        # Sums of a narrow type are of float32, and rounded once.
        wide = Cast("float32", target)
        found = _accumulation_of(wide, value.value)
        return found if found and target not in accesses(found[1]) else None
    return _accumulation_of(target, value)


def _accumulation_of(target: Expr, value: Expr) -> tuple[str, Expr] | None:
    if not isinstance(value, Apply):
        return None
    if value.func == "sub" and value.args[0] == target:
        return "sum", Apply("neg", value.args[1:], value.place)
    if value.func.removeprefix(INTEGER) not in COMBINERS:
        return None
    lhs, rhs = value.args
    term = rhs if lhs == target else lhs if rhs == target else None
    if term is None or target in accesses(term):
        return None
    return COMBINERS[value.func.removeprefix(INTEGER)], term
