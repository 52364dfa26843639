"""What the engines share: sets of buffers that overlap in SRAM or in DRAM."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tileflow_tvm.frontend.tile_ir import (
    ITEMSIZE,
    Affine,
    Alloc,
    Buffer,
    Loop,
    Op,
    Program,
    Region,
    Stmt,
    Unit,
    walk,
)
from tileflow_tvm.frontend.tree import buffers_used
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.isa.table import Engine
from tileflow_tvm.passes.plan_sram import slot_bytes


@dataclass(frozen=True)
class Resource:
    """Buffers that overlap, directly or through others; used by at least two engines. Views are
    not among them: their bases are."""

    buffers: frozenset[Buffer]
    execs: frozenset[int]
    """The EXEC engines that use it; the first one where none does."""

    def allocated_in(self, loop: Loop) -> bool:
        """Whether `loop` itself allocates part of it."""
        return any(allocated_in(loop, buffer) for buffer in self.buffers)

    def slots_in(self, loop: Loop) -> int:
        """How many iterations of `loop` may hold the resource at once: the ring's depth where
        the loop allocates the ring and uses nothing else of the resource."""
        inside = [buffer for buffer in self.buffers if buffer in buffers_used(loop)]
        if len(inside) == 1 and allocated_in(loop, inside[0]):
            return inside[0].slots
        return 1


def allocated_in(loop: Loop, buffer: Buffer) -> bool:
    """Whether `loop` itself, not an inner one, allocates `buffer`."""
    return any(isinstance(stmt, Alloc) and stmt.buffer is buffer for stmt in loop.body)


def _allocated_below(loop: Loop, buffer: Buffer) -> bool:
    return any(isinstance(stmt, Alloc) and stmt.buffer is buffer for stmt in walk(loop.body))


def find_resources(program: Program, machine: Machine) -> list[Resource]:
    """The resources of `program`, each as few buffers as overlap allows."""
    engines = _engines(program.ops)
    written = {op.dst.buffer.storage for op in program.ops if op.dst}
    found = []
    for group in _overlapping(list(engines), machine):
        shared = set().union(*(engines[buffer] for buffer in group))
        if len(shared) > 1 and group & written:
            found.append(Resource(frozenset(group), _execs(shared)))
    return found


def parts_in(resource: Resource, loop: Loop, machine: Machine) -> list[Resource]:
    """The parts of a resource that overlap within `loop`: what makes one of them may be a buffer
    that lives elsewhere."""
    ops = [op for op in walk(loop.body) if isinstance(op, Op)]
    engines = {b: units for b, units in _engines(ops).items() if b in resource.buffers}
    return [
        Resource(frozenset(group), _execs(set().union(*(engines[buffer] for buffer in group))))
        for group in _overlapping(list(engines), machine)
    ]


def _engines(ops: Iterable[Op]) -> dict[Buffer, set[Unit]]:
    """Who uses each buffer."""
    engines: dict[Buffer, set[Unit]] = {}
    for op in ops:
        for region in op.regions:
            engines.setdefault(region.buffer.storage, set()).add(op.runs_on)
    return engines


def _execs(units: set[Unit]) -> frozenset[int]:
    return frozenset(unit.number for unit in units if unit.engine is Engine.EXEC) or frozenset({0})


def _overlapping(buffers: list[Buffer], machine: Machine) -> Iterator[set[Buffer]]:
    """Connected components of overlap, on chip and in DRAM; in order of address."""
    for side in (True, False):
        ranges = []
        for buffer in buffers:
            if buffer.scope.on_chip is side and buffer.address is not None:
                size = _footprint(buffer, machine)
                ranges.append((buffer.address, buffer.address + size, buffer))
        group: set[Buffer] = set()
        end = 0
        for low, high, buffer in sorted(ranges, key=lambda r: r[:2]):
            if group and low >= end:
                yield group
                group = set()
            group.add(buffer)
            end = max(end, high)
        if group:
            yield group
    yield from ({buffer} for buffer in buffers if buffer.address is None)


def _footprint(buffer: Buffer, machine: Machine) -> int:
    if not buffer.scope.on_chip:
        return max(1, buffer.elements * ITEMSIZE[buffer.dtype])
    return max(1, slot_bytes(buffer, machine)) * buffer.slots


def iterations_are_disjoint(resource: Resource, loop: Loop) -> bool:
    """Whether no two iterations of `loop` touch the same element of the resource: it is a
    single buffer, seen in one way, and some dimension moves on by at least what an iteration
    spans."""
    inside = [buffer for buffer in resource.buffers if buffer in buffers_used(loop)]
    if len(inside) != 1 or _allocated_below(loop, inside[0]):
        return False
    uses = list(_regions(loop.body, inside[0], {}))
    seen = {region.buffer for region, _ in uses}
    if len(seen) != 1 or (shown := seen.pop()).aliases_itself:
        return False
    return any(_moves_apart(axis, loop, uses) for axis in range(len(shown.shape)))


_Trips = dict[object, int]


def _regions(
    body: tuple[Stmt, ...], buffer: Buffer, trips: _Trips
) -> Iterator[tuple[Region, _Trips]]:
    """The regions of `buffer` that `body` uses, also through views, with the trip counts of the
    loops around."""
    for stmt in body:
        if isinstance(stmt, Loop):
            count = stmt.extent.const if stmt.extent.is_const else 0
            yield from _regions(stmt.body, buffer, {**trips, stmt.var: count})
        elif isinstance(stmt, Op):
            yield from ((r, trips) for r in stmt.touched if r.buffer.storage is buffer)


def _moves_apart(axis: int, loop: Loop, uses: list[tuple[Region, _Trips]]) -> bool:
    steps = set()
    outer = set()
    low, high = None, None
    for region, trips in uses:
        start = region.start[axis]
        first, last = start.const, start.const + region.shape[axis]
        around = []
        for var, step in start.terms:
            if var is loop.var:
                continue
            if var in trips:
                if not trips[var]:
                    return False
                reach = step * (trips[var] - 1)
                first, last = first + min(0, reach), last + max(0, reach)
            else:
                around.append((var, step))
        steps.add(dict(start.terms).get(loop.var, 0))
        outer.add(Affine(0, tuple(around)))
        low = first if low is None else min(low, first)
        high = last if high is None else max(high, last)
    if len(steps) != 1 or len(outer) != 1 or low is None or high is None:
        return False
    return abs(steps.pop()) >= high - low
