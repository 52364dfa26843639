"""Loop nests for maps and reductions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tileflow_tvm.frontend.tile_ir import NameSupply, Stmt, Var
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.cost import balanced, measure, packs, padded, total_bytes
from tileflow_tvm.passes.tile_block import Axis, BlockWriter, Section, Span
from tileflow_tvm.passes.tile_group import GroupForm
from tileflow_tvm.passes.tile_values import Dataflow

STEP = 1.4
"""Between the block sizes that are tried."""


@dataclass(frozen=True)
class MapPlan:
    """Elements of a block: 1 row for a vector, else multiples of the tile."""

    rows: int
    cols: int


def smallest_plan(form: GroupForm, machine: Machine) -> MapPlan:
    """The blocks that need the least SRAM."""
    space, tile = form.space, machine.tile
    rows = 1 if space.vector else tile
    cols = tile
    if form.panel:
        rows = rows if form.axis == "cols" else padded(space.rows, machine)
        cols = cols if form.axis == "rows" else padded(space.cols, machine)
    return MapPlan(rows, cols)


def plan_map(form: GroupForm, flow: Dataflow, machine: Machine) -> MapPlan:
    """The blocks that take least time. Those that leave room for two slots of each come first,
    then those where every block has a place of its own; then those that fit at all."""
    best = smallest_plan(form, machine)
    best_key: tuple[int, int] | None = None
    for plans in _candidates(form, machine):
        for plan in plans:
            body = lower_map(form, plan, flow, NameSupply())
            if not packs(body, machine):
                break
            total = total_bytes(body, machine)
            overlapped = 2 * total <= machine.sram_bytes
            rank = 0 if overlapped else 1 if total <= machine.sram_bytes else 2
            key = (rank, measure(body, machine).cycles(machine, overlapped=overlapped))
            if best_key is None or key < best_key:
                best, best_key = plan, key
    return best


def _candidates(form: GroupForm, machine: Machine) -> Iterator[list[MapPlan]]:
    """Parts of a row of tiles, or several whole rows of tiles, smallest first; a panel spans its
    axis."""
    space, least = form.space, smallest_plan(form, machine)
    if not form.panel or form.axis == "rows":
        yield [MapPlan(least.rows, cols) for cols in balanced(space.cols, machine, STEP)]
    if space.vector:
        yield [MapPlan(1, padded(space.cols, machine))]
    elif not form.panel or form.axis == "cols":
        cols = padded(space.cols, machine)
        yield [MapPlan(rows, cols) for rows in balanced(space.rows, machine, STEP)]


def lower_map(
    form: GroupForm, plan: MapPlan, flow: Dataflow, names: NameSupply
) -> tuple[Stmt, ...]:
    """The nest for a group without a contraction.

    Reductions run along the inner loop. What they make is there once that loop is over, unless
    the block spans the whole axis.
    """
    rows = Axis("i", -(-form.space.rows // plan.rows))
    cols = Axis("i" if form.space.vector else "j", -(-form.space.cols // plan.cols))
    outer, inner = (cols, rows) if form.axis == "rows" else (rows, cols)
    seen: frozenset[Var] = frozenset([outer.var] if outer.var else [])
    hoist: dict[Section, frozenset[Var]] = {}
    if outer.var:
        hoist[Section.SETUP] = frozenset()
    if inner.var:
        hoist[Section.PRE] = seen
    writer = BlockWriter(
        form, flow, names,
        Span(rows.index * plan.rows, plan.rows), Span(cols.index * plan.cols, plan.cols),
        hoist, inner if form.axis else None,
    )  # fmt: skip
    writer.run(form.ops)
    setup, pre, body, post = writer.sections
    loc = form.ops[0].loc
    return (*setup, *outer.wrap((*pre, *inner.wrap(body, loc), *post), loc))
