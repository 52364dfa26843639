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
    for plan in _candidates(form, machine):
        body = lower_map(form, plan, flow, NameSupply())
        if not packs(body, machine):
            continue
        total = total_bytes(body, machine)
        overlapped = 2 * total <= machine.sram_bytes
        rank = 0 if overlapped else 1 if total <= machine.sram_bytes else 2
        key = (rank, measure(body, machine).cycles(machine, overlapped=overlapped))
        if best_key is None or key < best_key:
            best, best_key = plan, key
    return best


def _candidates(form: GroupForm, machine: Machine) -> Iterator[MapPlan]:
    """Parts of a row of tiles, or several whole rows of tiles; a panel spans its axis."""
    least = smallest_plan(form, machine)
    all_rows = 1 if form.space.vector else padded(form.space.rows, machine)
    all_cols = padded(form.space.cols, machine)
    if form.panel and form.axis == "rows":
        yield from (MapPlan(least.rows, cols) for cols in balanced(all_cols, machine, STEP))
        return
    if not form.panel:
        yield from (MapPlan(least.rows, cols) for cols in balanced(all_cols, machine, STEP))
    if not form.space.vector:
        yield from (MapPlan(rows, all_cols) for rows in balanced(all_rows, machine, STEP))
    elif form.panel:
        yield least




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
