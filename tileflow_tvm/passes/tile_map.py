"""Loop nests for maps and reductions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product

from tileflow_tvm.frontend.tile_ir import NameSupply, Stmt, Var
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.cost import balanced, measure, packs, padded, total_bytes
from tileflow_tvm.passes.tile_block import Axis, BlockWriter, Section, Span, on_unit
from tileflow_tvm.passes.tile_group import GroupForm
from tileflow_tvm.passes.tile_search import Ranked
from tileflow_tvm.passes.tile_values import Dataflow

STEP = 1.4
"""Between the block sizes that are tried."""

ABOUT_AS_FAST = 1.02
"""What the cycles of a plan for more engines may be, as a factor: what a host spends on an
instruction is in no machine description."""

WORTH_IT = 0.9
"""The same where blocks lose their second slot by it, or are handed on by an inner loop."""


@dataclass(frozen=True)
class MapPlan:
    """Elements of a block: 1 row for a vector, else multiples of the tile. So many EXEC engines
    take blocks in turn."""

    rows: int
    cols: int
    units: int = 1


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
    then those where every block has a place of its own; then those that fit at all. Of plans that
    are about as fast, the one for the most EXEC engines.

    The bits of a reduction depend on what its inner loop hands it at once, so that is what one
    engine would take.
    """
    alone = _plan_for(1, form, flow, machine, None)
    if alone is None:
        return smallest_plan(form, machine)
    best = alone
    streams = bool(form.axis) and not form.panel
    for units in range(2, machine.exec_engines + 1):
        more = _plan_for(units, form, flow, machine, alone.plan)
        if more and more.rank <= (alone.rank if streams else max(alone.rank, 1)):
            limit = WORTH_IT if streams or more.rank > alone.rank else ABOUT_AS_FAST
            best = more if more.cycles <= limit * alone.cycles else best
    return best.plan


@dataclass(frozen=True, order=True)
class _Rated:
    """A plan; the smaller, the better. Rank 0: room for two slots of each block, 1: a place for
    each, 2: places that are used again."""

    rank: int
    cycles: int
    plan: MapPlan = field(compare=False)


def _plan_for(
    units: int, form: GroupForm, flow: Dataflow, machine: Machine, alone: MapPlan | None
) -> _Rated | None:
    """The best plan for so many engines. `alone` is the one for one engine."""
    plans = [plan for part in _candidates(form, machine) for plan in part]
    return min(_rated(plans, units, form, flow, machine, alone), default=None)


def rank_map_plans(
    units: int, form: GroupForm, flow: Dataflow, machine: Machine, alone: MapPlan | None
) -> list[Ranked[MapPlan]]:
    """All plans for so many engines that fit. `alone` is the one for one engine, if known."""
    plans = [plan for plan in all_map_plans(form, machine) if plan.units == 1]
    found = _rated(plans, units, form, flow, machine, alone)
    return [Ranked(one.cycles, one.plan) for one in found]


def _rated(
    plans: list[MapPlan], units: int, form: GroupForm, flow: Dataflow, machine: Machine,
    alone: MapPlan | None,
) -> Iterator[_Rated]:  # fmt: skip
    for plan in plans:
        if alone and form.axis and _along_axis(form, plan) != _along_axis(form, alone):
            continue
        _, blocks = _in_turn(form, plan)
        shared = replace(plan, units=units)
        if 0 < blocks < units:
            continue
        body = lower_map(form, shared, flow, NameSupply())
        if not packs(body, machine):
            continue
        total = total_bytes(body, machine)
        rank = 0 if 2 * total <= machine.sram_bytes else 1 if total <= machine.sram_bytes else 2
        yield _Rated(rank, _cycles(form, plan, flow, machine, units, rank), shared)


def _cycles(
    form: GroupForm, plan: MapPlan, flow: Dataflow, machine: Machine, units: int, rank: int
) -> int:
    """Time of the nest on so many engines, from what it costs on one."""
    cost = measure(lower_map(form, plan, flow, NameSupply()), machine)
    if units == 1:
        return cost.cycles(machine, overlapped=rank == 0)
    _, blocks = _in_turn(form, plan)
    rounds = -(-blocks // units)
    cost = replace(cost, exec_cycles=cost.exec_cycles * rounds // max(1, blocks))
    together = cost.cycles(machine, overlapped=True)
    if rank == 0:
        return together
    # Each engine waits for its own transfers; those of the others go on meanwhile.
    own = replace(cost, words=cost.words // units, transfers=cost.transfers // units)
    return max(together, own.cycles(machine, overlapped=False))


def _along_axis(form: GroupForm, plan: MapPlan) -> int:
    return plan.rows if form.axis == "rows" else plan.cols


def _in_turn(form: GroupForm, plan: MapPlan) -> tuple[bool, int]:
    """What the engines share out: whether it is blocks of columns, not of rows; how many there
    are. These are the blocks of the outer loop, or of the inner one where there is only that and
    no reduction runs along it."""
    by_rows, by_cols = -(-form.space.rows // plan.rows), -(-form.space.cols // plan.cols)
    if form.axis == "rows" or (by_rows == 1 and not form.axis):
        return True, by_cols
    return False, by_rows


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


def all_map_plans(form: GroupForm, machine: Machine) -> Iterator[MapPlan]:
    """Every block of whole tiles, for every number of engines."""
    space, least = form.space, smallest_plan(form, machine)
    rows, cols = ([least.rows], [least.cols])
    if not space.vector and (not form.panel or form.axis == "cols"):
        rows = balanced(space.rows, machine, STEP)
    if not form.panel or form.axis == "rows":
        cols = balanced(space.cols, machine, STEP)
    for units in range(1, machine.exec_engines + 1):
        for row, col in product(rows, cols):
            plan = MapPlan(row, col, units)
            _, blocks = _in_turn(form, plan)
            if units <= max(1, blocks):
                yield plan


def lower_map(
    form: GroupForm, plan: MapPlan, flow: Dataflow, names: NameSupply
) -> tuple[Stmt, ...]:
    """The nest for a group without a contraction.

    Reductions run along the inner loop. What they make is there once that loop is over, unless
    the block spans the whole axis. With several engines, an iteration of the loop over their
    blocks has one block of each.
    """
    in_cols, _ = _in_turn(form, plan)
    row_units, col_units = (1, plan.units) if in_cols else (plan.units, 1)
    rows = Axis("i", -(-form.space.rows // (plan.rows * row_units)))
    cols = Axis("i" if form.space.vector else "j", -(-form.space.cols // (plan.cols * col_units)))
    outer, inner = (cols, rows) if form.axis == "rows" else (rows, cols)
    seen: frozenset[Var] = frozenset([outer.var] if outer.var else [])
    hoist: dict[Section, frozenset[Var]] = {}
    if outer.var:
        hoist[Section.SETUP] = frozenset()
    if inner.var:
        hoist[Section.PRE] = seen
    sections: tuple[list[Stmt], ...] = tuple([] for _ in Section)
    for unit in range(plan.units):
        row, col = (0, unit) if in_cols else (unit, 0)
        writer = BlockWriter(
            form, flow, names,
            Span((rows.index * row_units + row) * plan.rows, plan.rows),
            Span((cols.index * col_units + col) * plan.cols, plan.cols),
            hoist, inner if form.axis else None,
        )  # fmt: skip
        writer.run(form.ops)
        for section, stmts in zip(sections, writer.sections, strict=True):
            section += on_unit(stmts, unit)
    setup, pre, body, post = sections
    loc = form.ops[0].loc
    return (*setup, *outer.wrap((*pre, *inner.wrap(body, loc), *post), loc))
