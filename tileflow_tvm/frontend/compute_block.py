"""One leaf block to stages: its axes, its stores, and what kind of accumulation it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tvm.s_tir import SBlock
from tvm.tirx import Bind, BufferStore, Evaluate, IfThenElse, IntImm, SeqStmt

from tileflow_tvm.errors import KernelError
from tileflow_tvm.frontend.compute import (
    COMBINERS,
    Access,
    Apply,
    Axis,
    Expr,
    Place,
    Stage,
    accesses,
    rewrite,
)
from tileflow_tvm.frontend.compute_domain import Binding
from tileflow_tvm.frontend.compute_expr import ExprReader
from tileflow_tvm.frontend.compute_places import Places
from tileflow_tvm.frontend.tile_ir import Affine, Buffer, Var


@dataclass(frozen=True)
class PlacedBlock:
    """The stages of a block, and for each binding its axis, None where that was dropped."""

    stages: tuple[Stage, ...]
    axes: tuple[tuple[Binding, Axis | None], ...]


@dataclass(frozen=True)
class _Store:
    target: Access
    value: Expr
    place: Place


def read_block(
    block: SBlock, bindings: tuple[Binding, ...], reader: ExprReader, places: Places
) -> PlacedBlock:
    """The stages of a block whose body is one or more stores."""
    axes = []
    for binding in bindings:
        var = binding.iter_var.var
        axis = Axis(Var(var.name), binding.extent, binding.reduce) if binding.extent != 1 else None
        reader.bind_range(var, Affine.of(axis.var) if axis else Affine(), binding.extent)
        axes.append((binding, axis))
    kept = tuple(axis for _, axis in axes if axis)
    body = _BodyReader(block, reader, places)
    stores = body.stores(block.body)
    if not stores:
        return PlacedBlock((), tuple(axes))
    init = body.init(stores) if block.init is not None else None
    reduces = init is not None or any(binding.reduce for binding in bindings)
    stages = tuple(_stage(block.name_hint, kept, store, init, reduces) for store in stores)
    return PlacedBlock(stages, tuple(axes))


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
        for store in found[:-1]:
            if store.target.buffer in bound:
                raise store.place.error(
                    f"block '{self._block.name_hint}' stores '{store.target.buffer.name}' after "
                    "a let has read it", "split it into one block for each store"
                )  # fmt: skip


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
    if not isinstance(value, Apply) or value.func not in COMBINERS:
        return None
    lhs, rhs = value.args
    term = rhs if lhs == target else lhs if rhs == target else None
    if term is None or target in accesses(term):
        return None
    return COMBINERS[value.func], term
