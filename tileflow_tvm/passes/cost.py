"""What a loop nest costs on a machine: DRAM words, cycles, bytes on chip.

`measure` finds the cost of a nest that has been written. Contractions have a model of their own,
`tile_gemm_time`, which compares many nests before one is written.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod

from tileflow_tvm.errors import KernelError
from tileflow_tvm.frontend.tile_ir import (
    ITEMSIZE,
    Affine,
    Alloc,
    Buffer,
    Loop,
    Op,
    Program,
    Region,
    Scope,
    Stmt,
    Var,
    walk,
)
from tileflow_tvm.frontend.tree import buffers_used, substitute_buffers
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.plan_sram import plan_sram

WORD = ITEMSIZE["float32"]
"""Bytes."""


@dataclass(frozen=True)
class Cost:
    """Totals over a nest."""

    words: int = 0
    """DRAM words moved, both directions."""
    transfers: int = 0
    """Loads and stores."""
    exec_cycles: int = 0
    """Padding to whole tiles counted, and what an instruction costs on top of its work."""
    exposed: int = 0
    """Words moved while EXEC has nothing to do: the first blocks in, the last ones out."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.words + other.words,
            self.transfers + other.transfers,
            self.exec_cycles + other.exec_cycles,
            self.exposed + other.exposed,
        )

    def cycles(self, machine: Machine, *, overlapped: bool) -> int:
        """Time for all of it (doc/timing.md). Set-ups and latencies overlap as far as transfers may
        be under way. Transfers and EXEC overlap where blocks have two slots, but for the first
        blocks in and the last out."""
        under_way = min(machine.dma_outstanding, machine.queue_depth)
        ahead = machine.dma_setup_cycles + machine.dram_latency_cycles
        dma = words_cycles(self.words, machine) + self.transfers * ahead // under_way
        if not overlapped:
            return dma + self.exec_cycles
        alone = self.exec_cycles * self.exposed // max(1, self.words)
        exposed = words_cycles(self.exposed, machine) + machine.dram_latency_cycles
        return max(dma + alone, self.exec_cycles + exposed)


def words_cycles(words: int, machine: Machine) -> int:
    return -(-words * WORD // machine.dram_bytes_per_cycle)


def gemm_cycles(m: int, n: int, k: int, machine: Machine) -> int:
    """One exec.gemm: m rows through each tile of its right operand."""
    work = m * padded(n, machine) * padded(k, machine)
    return -(-work // machine.macs_per_cycle) + gemm_overhead(machine)


def gemm_overhead(machine: Machine) -> int:
    """What every exec.gemm costs on top of its work."""
    return machine.mac_fill_cycles + machine.mac_drain_cycles


def vector_cycles(elements: int, machine: Machine) -> int:
    """One of the other EXEC instructions."""
    return -(-elements // machine.vector_lanes) + machine.vector_startup_cycles


def padded(extent: int, machine: Machine) -> int:
    """`extent` in whole tiles."""
    return -(-extent // machine.tile) * machine.tile


def balanced(extent: int, machine: Machine, step: float) -> list[int]:
    """Block sizes, ascending, that cut `extent` into nearly equal parts of whole tiles; each at
    least `step` times the one before where that leaves any. The last one is all of it."""
    tiles = -(-extent // machine.tile)
    sizes: list[int] = []
    size = 1
    while True:
        parts = -(-tiles // size)
        sizes.append(-(-tiles // parts) * machine.tile)
        if parts <= 1:
            return sizes
        size = max(-(-tiles // (parts - 1)), min(tiles, int(size * step)))


def block_bytes(shape: Iterable[int], machine: Machine) -> int:
    """On chip: whole tiles, or a vector with an address that is a multiple of a tile's row."""
    return prod(padded(extent, machine) for extent in shape) * WORD


def total_bytes(body: Iterable[Stmt], machine: Machine) -> int:
    """Of all blocks that `body` allocates, each at an address of its own."""
    return sum(
        total_bytes(stmt.body, machine) if isinstance(stmt, Loop)
        else block_bytes(stmt.buffer.shape, machine) if isinstance(stmt, Alloc)
        else 0
        for stmt in body
    )  # fmt: skip


def peak_bytes(body: Iterable[Stmt], machine: Machine) -> int:
    """Of the blocks that live at once; a block lives from its Alloc to its last use."""
    body = tuple(body)
    last = {buffer: at for at, stmt in enumerate(body) for buffer in buffers_used(stmt)}
    live: dict[Buffer, int] = {}
    peak = 0
    for at, stmt in enumerate(body):
        if isinstance(stmt, Alloc) and stmt.buffer in last:
            live[stmt.buffer] = block_bytes(stmt.buffer.shape, machine)
        inner = peak_bytes(stmt.body, machine) if isinstance(stmt, Loop) else 0
        peak = max(peak, inner + sum(live.values()))
        live = {buffer: size for buffer, size in live.items() if last[buffer] > at}
    return peak


def packs(body: tuple[Stmt, ...], machine: Machine) -> bool:
    """Whether `plan_sram` finds room for all blocks."""
    if total_bytes(body, machine) <= machine.sram_bytes:
        return True
    if peak_bytes(body, machine) > machine.sram_bytes:
        return False
    blocks = [stmt.buffer for stmt in walk(body) if isinstance(stmt, Alloc)]
    scopes = {1: Scope.VEC, 2: Scope.GRID}
    swap = {block: replace(block, scope=scopes[len(block.shape)]) for block in blocks}
    try:
        plan_sram(substitute_buffers(Program("nest", (), body), swap), machine)
    except KernelError:
        return False
    return True


def measure(body: Iterable[Stmt], machine: Machine) -> Cost:
    """The cost of a nest whose loops have constant trip counts."""
    return _measure(tuple(body), machine, {})


def _measure(body: tuple[Stmt, ...], machine: Machine, trips: dict[Var, int]) -> Cost:
    total = Cost()
    for stmt in body:
        if isinstance(stmt, Loop):
            total += _measure(stmt.body, machine, _inside(stmt, trips))
        elif isinstance(stmt, Op) and stmt.name in ("load", "store"):
            total += _transfer(stmt, trips)
        elif isinstance(stmt, Op):
            total += Cost(exec_cycles=_exec_cycles(stmt, machine) * prod(trips.values()))
    return total


def _inside(loop: Loop, trips: dict[Var, int]) -> dict[Var, int]:
    """Trip counts of the loops around the body of `loop`; what is guarded runs once for all the
    iterations of a loop around it."""
    if loop.extent.is_const:
        return {**trips, loop.var: loop.extent.const}
    ((outer, _),) = loop.extent.terms
    return {var: count for var, count in trips.items() if var is not outer}


def _transfer(op: Op, trips: dict[Var, int]) -> Cost:
    dram = op.dst if op.name == "store" else op.srcs[0]
    assert isinstance(dram, Region)
    once = prod(map(min, dram.shape, dram.buffer.shape))
    return Cost(_words(dram, trips), prod(trips.values()), exposed=once)


def _words(dram: Region, trips: dict[Var, int]) -> int:
    """Words over all iterations. A dimension that a loop walks is walked from end to end."""
    words = 1
    still = dict(trips)
    for start, extent, size in zip(dram.start, dram.shape, dram.buffer.shape, strict=True):
        words *= min(extent, size) if start == Affine() else size
        for var, _ in start.terms:
            still.pop(var, None)
    return words * prod(still.values())


def _exec_cycles(op: Op, machine: Machine) -> int:
    regions = [src for src in op.srcs if isinstance(src, Region)]
    if op.name == "gemm":
        assert op.dst is not None
        rows, depth = _sides(regions[0], op.transpose_a)
        cols = 1 if len(regions[1].shape) == 1 else _sides(regions[1], op.transpose_b)[1]
        return gemm_cycles(rows, cols, depth, machine)
    return vector_cycles(max(prod(region.shape) for region in op.regions), machine)


def _sides(region: Region, transposed: bool) -> tuple[int, int]:
    shape = region.shape if len(region.shape) == 2 else (1, *region.shape)
    return (shape[1], shape[0]) if transposed else (shape[0], shape[1])
