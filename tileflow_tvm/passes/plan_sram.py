"""plan_sram: an address for every buffer that the function allocates."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from tileflow_tvm.errors import KernelError
from tileflow_tvm.frontend.tile_ir import (
    ITEMSIZE,
    Alloc,
    Buffer,
    Loop,
    Op,
    Program,
    Scope,
    Stmt,
    walk,
)
from tileflow_tvm.frontend.tree import buffers_used, substitute_buffers
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.guards import counted
from tileflow_tvm.passes.sink_allocs import sink_allocs

ALIGNMENT = 64
"""Bytes; every buffer starts on a cache line of the host, and so does every tile."""

DEEPEST_RING = 8
"""More slots than this hide hardly more latency, however small they are."""


def plan_sram(program: Program, machine: Machine) -> Program:
    """Give every on-chip buffer an address and a ring depth, every DRAM temporary a place.

    Requires: infer_scope has run; shapes are constant.
    Ensures: buffers that live at the same time do not overlap, all on-chip ones lie below
    machine.sram_bytes; a buffer with several slots has them to itself throughout the loop that
    allocates it; the operations are unchanged.
    """
    program = sink_allocs(program)
    spans = _Spans(program, machine)
    placed: dict[Buffer, _Place] = {}
    for together in _apart_in_time(spans.on_chip):
        placed |= _place_on_chip(together, machine)
    placed |= _pack([span.precise for span in spans.dram], None) or {}
    swap = {
        buffer: replace(buffer, address=place.address, slots=place.slots)
        for buffer, place in placed.items()
    }
    return substitute_buffers(program, swap)


def bytes_of(buffer: Buffer, machine: Machine) -> int:
    """Bytes of one slot: whole tiles for a grid."""
    if buffer.scope is Scope.GRID:
        rows, cols = (-(-extent // machine.tile) for extent in buffer.shape)
        return rows * cols * machine.tile**2 * ITEMSIZE[buffer.dtype]
    return buffer.elements * ITEMSIZE[buffer.dtype]


def slot_bytes(buffer: Buffer, machine: Machine) -> int:
    """From one slot of a ring to the next."""
    return _aligned(bytes_of(buffer, machine))


@dataclass(frozen=True)
class _Life:
    """`size` bytes needed from operation `first` to operation `last`, both included."""

    buffer: Buffer
    size: int
    first: int
    last: int

    def meets(self, other: _Life) -> bool:
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class _Place:
    address: int
    slots: int


@dataclass(frozen=True)
class _Span:
    """When a buffer lives: just as long as its content counts; throughout the loop that
    allocates it, as a ring must; throughout the top-level statement that uses it."""

    precise: _Life
    loop: tuple[int, int]
    stage: tuple[int, int]
    depth: int
    deepest: int
    asked: int

    def life(self, slots: int, *, shared: bool) -> _Life:
        life = self.precise
        if not shared:
            first, last = self.stage
        elif slots > 1:
            first, last = self.loop
        else:
            first, last = life.first, life.last
        return replace(life, size=_aligned(life.size) * slots, first=first, last=last)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


class _Spans:
    """The lives of all buffers of a program, on chip and in DRAM."""

    def __init__(self, program: Program, machine: Machine) -> None:
        self.machine = machine
        self.number = {id(op): index for index, op in enumerate(program.ops)}
        self.on_chip: list[_Span] = []
        self.dram: list[_Span] = []
        self._visit(program.body, (), None)

    def _visit(self, body: tuple[Stmt, ...], loops: tuple[Loop, ...], stage: Stmt | None) -> None:
        for stmt in body:
            if isinstance(stmt, Alloc):
                self._add(stmt.buffer, body, loops, stage)
            elif isinstance(stmt, Loop):
                self._visit(stmt.body, (*loops, stmt), stage or stmt)

    def _range(self, body: Iterable[Stmt]) -> tuple[int, int]:
        numbers = [self.number[id(op)] for op in walk(tuple(body)) if isinstance(op, Op)]
        return (min(numbers), max(numbers)) if numbers else (0, 0)

    def _add(
        self, buffer: Buffer, body: tuple[Stmt, ...], loops: tuple[Loop, ...], stage: Stmt | None
    ) -> None:
        users = [stmt for stmt in body if buffer in buffers_used(stmt)]
        if not users or buffer.view:
            return
        first, last = self._range(users)
        life = _Life(buffer, bytes_of(buffer, self.machine), first, last)
        loop = self._range(loops[-1].body) if loops else (first, last)
        whole = self._range([stage]) if stage else self._range(users)
        deepest = _deepest_ring(buffer, loops) if loops else 1
        asked = min(loops[-1].stages, deepest) if loops else 0
        span = _Span(life, loop, whole, len(counted(loops)), deepest, asked)
        (self.on_chip if buffer.scope.on_chip else self.dram).append(span)


def _deepest_ring(buffer: Buffer, loops: tuple[Loop, ...]) -> int:
    """How many slots can be of use: 1 where a single engine uses the buffer, or where the
    iterations cannot be counted by an affine form (an inner loop of variable length)."""
    ops = [op for op in walk(loops[-1].body) if isinstance(op, Op)]
    users = [op for op in ops if any(region.buffer is buffer for region in op.regions)]
    if len({(op.engine, op.unit) for op in users}) < 2:
        return 1
    around = counted(loops)
    if any(not loop.extent.is_const for loop in around[1:]):
        return 1
    starts = [r.start for op in users for r in op.regions if r.buffer is buffer]
    if any(step < 0 for start in starts for axis in start for _, step in axis.terms):
        return 1
    trips = 1
    for loop in around:
        trips *= loop.extent.const if loop.extent.is_const else DEEPEST_RING
    wanted = max(min(DEEPEST_RING, _turns_within(loops)), loops[-1].stages)
    return max(1, min(wanted, trips))


def _turns_within(loops: tuple[Loop, ...]) -> int:
    """How often a ring turns while the blocks of the next loop around it that has some stay: a
    ring that is no deeper keeps in order what changes there (`passes.implied`)."""
    turns = 1
    for at in reversed(range(1, len(loops))):
        turns *= loops[at].extent.const if loops[at].extent.is_const else 1
        if any(
            isinstance(stmt, Alloc) and stmt.buffer.scope.on_chip for stmt in loops[at - 1].body
        ):
            return max(2, turns) if turns > 1 else DEEPEST_RING
    return DEEPEST_RING


def _apart_in_time(spans: list[_Span]) -> Iterator[list[_Span]]:
    """Groups of spans such that no two groups ever live at once: usually the stages."""
    group: list[_Span] = []
    end = -1
    for span in sorted(spans, key=lambda s: s.stage):
        if group and span.stage[0] > end:
            yield group
            group = []
        group.append(span)
        end = max(end, span.stage[1])
    if group:
        yield group


def _place_on_chip(spans: list[_Span], machine: Machine) -> dict[Buffer, _Place]:
    """Without sharing of addresses inside a top-level statement if that fits, since sharing
    puts the engines in line; then rings as deep as the rest allows."""
    limit = machine.sram_bytes
    slots = {span.precise.buffer: max(1, span.asked) for span in spans}
    for shared in (False, True):
        if _try(spans, slots, limit, shared=shared) is not None:
            break
    else:
        raise _too_large(spans, slots, machine)
    for span, depth in _wishes(spans):
        buffer = span.precise.buffer
        if span.asked or depth > span.deepest or slots[buffer] != depth - 1:
            continue
        deeper = slots | {buffer: depth}
        if _try(spans, deeper, limit, shared=shared) is not None:
            slots = deeper
    addresses = _try(spans, slots, limit, shared=shared)
    assert addresses is not None
    return {buffer: replace(place, slots=slots[buffer]) for buffer, place in addresses.items()}


def _wishes(spans: list[_Span]) -> Iterator[tuple[_Span, int]]:
    """Who should have how many slots: all of them two, then those of the innermost loops as many
    as are of use, and so on outwards."""
    inwards = sorted(spans, key=lambda s: -s.depth)
    yield from ((span, 2) for span in inwards)
    for _, level in itertools.groupby(inwards, key=lambda s: s.depth):
        level_spans = list(level)
        for depth in range(3, max(span.deepest for span in level_spans) + 1):
            yield from ((span, depth) for span in level_spans)


def _try(
    spans: list[_Span], slots: dict[Buffer, int], limit: int, *, shared: bool
) -> dict[Buffer, _Place] | None:
    return _pack([s.life(slots[s.precise.buffer], shared=shared) for s in spans], limit)


def _pack(lives: list[_Life], limit: int | None) -> dict[Buffer, _Place] | None:
    """Lowest free address for each, by several orders; None where no order fits."""
    orders = (
        sorted(lives, key=lambda life: (-life.size, life.first)),
        sorted(lives, key=lambda life: (life.first, -life.size)),
        sorted(lives, key=lambda life: (life.first - life.last, -life.size)),
    )
    for order in orders:
        placed: list[tuple[int, _Life]] = []
        for life in order:
            placed.append((_lowest(life, placed), life))
        if limit is None or all(address + life.size <= limit for address, life in placed):
            return {life.buffer: _Place(address, 1) for address, life in placed}
    return None


def _lowest(life: _Life, placed: list[tuple[int, _Life]]) -> int:
    address = 0
    for start, other in sorted(
        ((start, other) for start, other in placed if other.meets(life)), key=lambda p: p[0]
    ):
        if start - address >= life.size:
            break
        address = max(address, _aligned(start + other.size))
    return address


def _too_large(spans: list[_Span], slots: dict[Buffer, int], machine: Machine) -> KernelError:
    lives = [span.life(slots[span.precise.buffer], shared=True) for span in spans]
    at, _ = max(
        ((life.first, _live_bytes(lives, life.first)) for life in lives), key=lambda pair: pair[1]
    )
    live = sorted((life for life in lives if life.first <= at <= life.last), key=lambda s: -s.size)
    total = sum(life.size for life in live)
    notes = [f"live at once: {total} B of {machine.sram_bytes} B"]
    for life in live:
        where = f" ({life.buffer.loc})" if life.buffer.loc else ""
        ring = slots[life.buffer]
        depth = f", {ring} slots asked for" if ring > 1 else ""
        notes.append(f"  {life.buffer.name} {life.buffer.shape}: {life.size} B{depth}{where}")
    if total <= machine.sram_bytes:
        notes.append("  (they would fit one by one, but not between the addresses in use)")
    biggest = live[0].buffer
    return KernelError(
        f"'{biggest.name}' needs {live[0].size} B and does not fit beside what is live with it",
        loc=biggest.loc,
        notes=tuple(notes),
        hint="use smaller blocks, or let a buffer die before the next one is needed",
    )


def _live_bytes(lives: list[_Life], at: int) -> int:
    return sum(life.size for life in lives if life.first <= at <= life.last)
