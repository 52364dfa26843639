"""The layout of a nest: which axes make blocks, how large they are, how the loops are ordered.

All layouts that are worth a thought are rated by a model of DMA time, EXEC time and their
overlap (`cost.Cost`), those that cannot fit into SRAM are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product as pairs
from math import prod

from tileflow_tvm.frontend.compute import (
    Access,
    Apply,
    Axis,
    Index,
    Mask,
    Stage,
    accesses,
    walk_expr,
)
from tileflow_tvm.frontend.tile_ir import ITEMSIZE
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.cost import (
    Cost,
    block_bytes,
    gemm_cycles,
    padded,
    vector_cycles,
)
from tileflow_tvm.passes.nest_forms import holds_forms
from tileflow_tvm.passes.nest_layout import EMPTY, MAX_RANK, Layout, Roles, Side
from tileflow_tvm.passes.tile_search import Ranked

LONGEST = 8192
"""Elements of a side of a block."""

PARTS = (1, 2, 3, 4, 5, 6, 8, 12, 16)
"""Into how many blocks an axis is cut; powers of two are tried besides."""

STEP = 1.3
"""Between the block sizes that are tried."""


def plan_nest(stage: Stage, roles: Roles, machine: Machine) -> Iterator[Layout]:
    """Layouts, the best one first; those behind it need less SRAM."""
    planner = _Planner(stage, roles, machine)
    rated = sorted(planner.rated(), key=lambda pair: pair[0])
    least = [(rating[1], at) for at, (rating, _) in enumerate(rated)]
    best = float("inf")
    for bytes_needed, at in least:
        if bytes_needed < best:
            best = bytes_needed
            yield rated[at][1]


_COMPUTED = (Apply, Mask, Index)
"""Expressions that take an instruction."""


def all_layouts(stage: Stage, roles: Roles, machine: Machine) -> Iterator[Layout]:
    """Every layout that `plan_nest` rates, or leaves out for its size."""
    yield from _Planner(stage, roles, machine).layouts()


def rank_layouts(stage: Stage, roles: Roles, machine: Machine) -> list[Ranked[Layout]]:
    """All layouts but those that are certain not to fit."""
    rated = _Planner(stage, roles, machine).rated(at_best=True)
    return [Ranked(rating[0], layout) for rating, layout in rated]


LESS_OVERLAP = 1.1
"""What it costs, as a factor, that not all blocks have two slots."""

Rating = tuple[int, int, int]
"""Cycles, bytes on chip, instructions."""


@dataclass(frozen=True)
class _Load:
    """A read or a store: how its cell's number moves with each axis."""

    access: Access
    inner: bool
    """Whether it is part of what is summed, not of what becomes of the sum."""

    @cached_property
    def steps(self) -> dict[object, int]:
        return dict(self.access.number.terms)


class _Planner:
    def __init__(self, stage: Stage, roles: Roles, machine: Machine) -> None:
        self.stage, self.roles, self.machine = stage, roles, machine
        inner = accesses(stage.value)
        outer = [a for _, expr in stage.results for a in accesses(expr) if a not in inner]
        self.loads = [_Load(a, True) for a in inner]
        self.loads += [_Load(a, False) for a in dict.fromkeys(outer)]
        self.stores = [_Load(access, False) for access, _ in stage.results]
        if stage.continues:
            self.loads.append(_Load(stage.target, False))
        self.inner_ops = sum(isinstance(n, _COMPUTED) for n in walk_expr(stage.value))
        self.outer_ops = sum(
            isinstance(n, _COMPUTED) for _, expr in stage.results for n in walk_expr(expr)
        )
        self.target = dict(stage.target.number.terms)

    def rated(self, *, at_best: bool = False) -> Iterator[tuple[Rating, Layout]]:
        """`at_best`: with overlap even where not every block has two slots, for there may be."""
        for layout in self.layouts():
            rating = self._rating(layout, at_best=at_best)
            if rating is not None:
                yield rating, layout

    def _holds_resident(self, layout: Layout) -> bool:
        resident = self.roles.resident
        if not resident:
            return True
        return any(
            {axis.var for axis in side.axes} == resident and side.blocks == 1
            for side in (layout.rows, layout.cols)
        )

    # Candidates.

    def layouts(self) -> Iterator[Layout]:
        found = self._products() if self.roles.product else self._maps()
        return (
            layout for layout in found
            if self._holds_resident(layout) and holds_forms(self.stage, layout)
        )  # fmt: skip

    def _products(self) -> Iterator[Layout]:
        roles = self.roles
        lhs, rhs = (self._steps_in(expr) for expr in roles.product or ())
        rows = [*self._sides(_by_step(roles.rows, lhs)), *self._resident_side(roles.rows, lhs)]
        cols = [*self._sides(_by_step(roles.cols, rhs)), *self._resident_side(roles.cols, rhs)]
        depths = list(self._sides(_by_step(roles.reduced, lhs)))
        for row, col, depth in pairs(rows or [EMPTY], cols or [EMPTY], depths):
            ranks = [len(side.axes) for side in (row, col, depth)]
            if sum(ranks) - min(ranks) >= MAX_RANK:
                continue
            for layout in self._ordered(Layout(row, col, depth, product=True)):
                yield layout
                steps = depth.length % self.machine.tile == 0 and depth.whole
                if layout.summed and steps and len(layout.whole_depth.axes) < MAX_RANK:
                    yield replace(layout, resident=0)
                    yield replace(layout, resident=1)

    def _maps(self) -> Iterator[Layout]:
        free = [axis for axis in self.roles.spatial if axis not in self.roles.serial]
        spatial = _by_step(free, self.target)
        largest = max(self.loads, key=lambda load: len(load.steps), default=None)
        reduced = _by_step(self.roles.reduced, largest.steps if largest else {})
        held = [axis for axis in spatial if axis.var in self.roles.resident]
        spatial = [axis for axis in spatial if axis not in held]
        groups = [group for group in (spatial, reduced, held) if group] or [[]]
        seen: set[Layout] = set()
        for group in groups:
            for col in self._sides(group):
                left = [axis for axis in group if axis not in col.axes]
                others = [left, *(g for g in groups if g is not group)]
                for rows in others:
                    for row in (EMPTY, *self._sides(rows), *self._single(rows)):
                        layout = Layout(row, col)
                        if layout not in seen and len(row.axes) + len(col.axes) < MAX_RANK:
                            seen.add(layout)
                            yield from self._ordered(layout)
        if not seen:
            yield from self._ordered(Layout(EMPTY, EMPTY))

    def _steps_in(self, expr) -> dict[object, int]:  # type: ignore[no-untyped-def]
        """How the largest read of `expr` moves with each axis."""
        reads = [dict(access.number.terms) for access in accesses(expr)]
        return max(reads, key=len, default={})

    def _sides(self, axes: Sequence[Axis]) -> Iterator[Side]:
        """Sides of the last few of `axes`; the first of these in blocks."""
        for first in range(len(axes)):
            taken = tuple(axes[first:])
            if {axis.var for axis in taken} == self.roles.resident:
                yield Side(taken, taken[0].extent)
                continue
            inner = prod(axis.extent for axis in taken[1:])
            if inner > LONGEST or len(taken) >= MAX_RANK:
                continue
            for block in self._blocks(taken[0], inner):
                yield Side(taken, block)

    def _resident_side(self, axes: Sequence[Axis], steps: dict[object, int]) -> Iterator[Side]:
        held = _by_step([axis for axis in axes if axis.var in self.roles.resident], steps)
        if held:
            yield Side(tuple(held), held[0].extent)

    def _single(self, axes: Sequence[Axis]) -> Iterator[Side]:
        for axis in axes[:-1]:
            for block in self._blocks(axis, 1):
                yield Side((axis,), block)

    def _blocks(self, axis: Axis, inner: int) -> list[int]:
        """Block sizes along `axis`, each `inner` elements an index; smallest first, and none
        close to another."""
        tile, most = self.machine.tile, max(1, LONGEST // inner)
        unit = tile if inner == 1 else 1
        sizes = {padded(-(-axis.extent // parts), self.machine) if inner == 1
                 else -(-axis.extent // parts) for parts in PARTS}  # fmt: skip
        sizes |= {unit << power for power in range(most.bit_length())}
        sizes = {min(size, axis.extent) for size in sizes if size <= most or size >= axis.extent}
        found: list[int] = []
        for size in sorted((size for size in sizes if size <= most), reverse=True):
            if size * inner < tile and found and found[-1] * inner >= tile:
                break
            if axis.extent % size and (self.roles.serial or self._may_overhang(axis)):
                continue
            if not found or size * STEP <= found[-1]:
                found.append(size)
        return found[::-1] or [1]

    def _may_overhang(self, axis: Axis) -> bool:
        """Whether a block over the end of a reduced axis would be summed: padding counts."""
        if not axis.reduce:
            return False
        users = [load.access for load in self.loads if load.inner and axis.var in load.steps]
        return all(access.fill is not None for access in users)

    def _ordered(self, layout: Layout) -> Iterator[Layout]:
        """`layout` with its loops: serial ones, those of the result, then those of the sum."""
        boxed = {axis for side in layout.sides for axis in side.axes[1:]}
        loops = [axis for axis in self.stage.axes if axis not in boxed]
        serial = [axis for axis in loops if axis in self.roles.serial]
        rest = [axis for axis in loops if axis not in serial]
        summed = [axis for axis in rest if axis.reduce]
        free = [axis for axis in rest if not axis.reduce]
        heads = [side.axes[0] for side in (layout.rows, layout.cols)
                 if side.axes and not side.axes[0].reduce]  # fmt: skip
        others = [axis for axis in free if axis not in heads]
        for order in dict.fromkeys((tuple(heads), tuple(reversed(heads)))):
            yield replace(layout, loops=(*serial, *others, *order, *summed))
        if others and layout.product:
            mine = [a for a in others if a in self.roles.rows]
            theirs = [a for a in others if a not in mine]
            head = {True: [a for a in heads if a in self.roles.rows],
                    False: [a for a in heads if a not in self.roles.rows]}  # fmt: skip
            yield replace(
                layout, loops=(*serial, *theirs, *head[False], *mine, *head[True], *summed)
            )

    # Rating.

    def _rating(self, layout: Layout, *, at_best: bool) -> Rating | None:
        machine = self.machine
        loops = [axis for axis in layout.loops if layout.trips(axis) > 1]
        outside = [axis for axis in loops if not axis.reduce or axis in self.roles.serial]
        onchip, words, transfers, exposed = 0, 0, 0, 0
        resident = self._resident(layout)
        for load in (*self.loads, *self.stores):
            blocks = layout
            if load.access in resident:
                blocks = replace(layout, depth=layout.whole_depth)
            shape = self._shape(load, blocks)
            around = loops if load.inner and load.access not in resident else outside
            depth = max((at for at, axis in enumerate(around, 1) if axis.var in load.steps),
                        default=0)  # fmt: skip
            times = len(around) if load in self.stores else depth
            count = prod(layout.trips(axis) for axis in around[:times])
            moved = self._words(load, blocks)
            words += moved * count
            transfers += count
            exposed += moved
            onchip += (2 if depth else 1) * block_bytes(shape, machine)
        acc = [side.length for side in (layout.rows, layout.cols) if side.axes and not side.reduced]
        temps = 1 + (self.outer_ops > 0) + (not layout.product and self.inner_ops > 1)
        onchip += (1 + temps) * block_bytes(acc or (1,), machine)
        if not layout.product and (layout.rows.reduced or layout.cols.reduced):
            onchip += 2 * block_bytes((layout.rows.length, layout.cols.length), machine)
        if onchip > 2 * machine.sram_bytes:
            return None
        steps = prod(layout.trips(axis) for axis in loops)
        results = prod(layout.trips(axis) for axis in outside)
        cost = Cost(words, transfers, self._exec(layout, steps, results), exposed)
        roomy = onchip <= machine.sram_bytes
        cycles = cost.cycles(machine, overlapped=roomy or at_best)
        return round(cycles * (1 if roomy else LESS_OVERLAP)), onchip, steps + results

    def _resident(self, layout: Layout) -> tuple[Access, ...]:
        if layout.resident is None or self.roles.product is None:
            return ()
        return accesses(self.roles.product[layout.resident])

    def _exec(self, layout: Layout, steps: int, results: int) -> int:
        machine, block = self.machine, layout.rows.length * layout.cols.length
        if layout.product:
            one = gemm_cycles(layout.rows.length, layout.cols.length, layout.depth.length, machine)
            inner = one + self._vector(layout, layout.depth.length)
        else:
            count = self.inner_ops + bool(self.stage.combine)
            inner = count * vector_cycles(block, machine)
        return inner * steps + self.outer_ops * vector_cycles(block, machine) * results

    def _vector(self, layout: Layout, depth: int) -> int:
        """Operations on the factors of a product."""
        block = max(layout.rows.length, layout.cols.length) * depth
        return (self.inner_ops - 1) * vector_cycles(block, self.machine)

    def _shape(self, load: _Load, layout: Layout) -> tuple[int, ...]:
        sides = [side for side in layout.sides if any(a.var in load.steps for a in side.axes)]
        return tuple(side.length for side in sides) or (1,)

    def _words(self, load: _Load, layout: Layout) -> int:
        """Words of whole bursts that a block takes: neighbours in memory share bursts."""
        burst = self.machine.dram_burst_bytes // ITEMSIZE[load.access.buffer.dtype]
        moves = sorted(
            (abs(load.steps[axis.var]), side.extent_of(axis))
            for side in layout.sides for axis in side.axes
            if axis.var in load.steps
        )  # fmt: skip
        run, rows = 1, 1
        for step, extent in moves:
            if rows == 1 and step <= run:
                run = max(run, step * (extent - 1) + run)
            else:
                rows *= extent
        whole = run if run % burst == 0 else -(-run // burst) * burst + burst // 2
        return rows * (whole if rows > 1 or run > burst else burst)


def _by_step(axes: Sequence[Axis], steps: dict[object, int]) -> list[Axis]:
    """`axes`, those that move farthest first."""
    return sorted(axes, key=lambda axis: -abs(steps.get(axis.var, 0)))
