"""How long the nest of a contraction takes: what doc/timing.md comes to for it, in closed form.

Where transfers and EXEC overlap, EXEC waits in three places. In every step, where the rings are too
short for DRAM's latency: the last strip of a step is asked for when a slot is free, behind it come
the resident block and the first strip of the next step. In every step, where DRAM moves less than
EXEC takes. And between blocks, where a block of C goes out while the first steps of the next one
come in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd

from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.cost import WORD, Cost, gemm_cycles, gemm_overhead, padded, vector_cycles
from tileflow_tvm.passes.tile_gemm_cost import GemmNeeds, GemmPlan, execs, rings, traffic


def cycles(needs: GemmNeeds, plan: GemmPlan, machine: Machine, slots: int) -> int:
    """The time of a plan; nothing overlaps where loaded blocks have a single slot."""
    if slots > 1:
        return _Times(needs, plan, machine).nest()
    own_dim, other_dim = needs.sides(a_resident=plan.a_resident)
    blocks = -(-own_dim // plan.own) * -(-other_dim // plan.other)
    strips = plan.other // plan.strip
    count = execs(needs, plan)
    loads = blocks * -(-needs.k // plan.k) * (plan.units + strips)
    if plan.whole_k:
        loads = -(-own_dim // plan.own) * plan.units + count
    busiest = min(own_dim, -(-own_dim // plan.own) * plan.share)
    rows_and_cols = (busiest, other_dim) if plan.a_resident else (other_dim, busiest)
    gemms = gemm_cycles(*rows_and_cols, needs.k, machine) + (count - 1) * gemm_overhead(machine)
    words, transfers = traffic(needs, plan), loads + blocks * strips * plan.units
    return Cost(words, transfers, gemms).cycles(machine, overlapped=False)


def _pieces(extent: int, block: int) -> Iterator[tuple[int, int]]:
    """How long the blocks are that `extent` is cut into, and how many there are of each."""
    if extent >= block:
        yield block, extent // block
    if extent % block:
        yield extent % block, 1


TOKENS = 2
"""EXEC engines that a load can hand over to by itself."""


@dataclass
class _Times:
    """Cycles of parts of the nest."""

    needs: GemmNeeds
    plan: GemmPlan
    machine: Machine

    def __post_init__(self) -> None:
        machine = self.machine
        self.slots = rings(self.needs, self.plan, machine)
        self.under_way = min(machine.dma_outstanding, machine.queue_depth)
        self.ahead = machine.dma_setup_cycles + machine.dram_latency_cycles
        self.latency = gemm_overhead(machine) + 2 * machine.semaphore_cycles + self.ahead
        """From the last multiply-add that uses a slot to the data that are next in it."""

    def nest(self) -> int:
        """All of it."""
        needs, plan = self.needs, self.plan
        own_dim, other_dim = needs.sides(a_resident=plan.a_resident)
        total = self.latency + self.resident(plan.own) + self.streamed(plan.strip)
        total += self.store(plan.own, plan.strip)
        for own, owns in _pieces(own_dim, plan.own):
            if plan.whole_k:
                total += owns * self.whole_block(own, other_dim)
                continue
            for other, others in _pieces(other_dim, plan.other):
                total += owns * others * self.block(own, other)
        return total

    def block(self, own: int, other: int) -> int:
        """A block of C: all its steps, and what EXEC waits for before the next block."""
        plan = self.plan
        strips, steps = -(-other // plan.strip), -(-self.needs.k // plan.k)
        width = min(plan.strip, other)
        gemm = self.gemm(own, width)
        resident, streamed = self.resident(own), self.streamed(width)
        dram = resident + strips * streamed
        if plan.units > TOKENS:  # nops hand over to the other engines, when the load has ended
            dram += strips * self.ahead
        stores = strips * self.store(own, width)
        maps = strips * self.maps(own, width)
        step = max(strips * gemm + self.stall(strips, gemm, resident, streamed), dram)
        wait = 0
        lead = (self.slots.streamed - 1) * streamed
        if self.slots.result == 1 and plan.leaves_early:
            near = 2 * strips - 2
            window = near * gemm + (strips - 1) * maps // strips
            moved = stores + near * dram // strips
            wait = max(0, moved + self.latency + stores // strips - window - lead)
        elif self.slots.result == 1:
            asked = strips * self.ahead if self.needs.loaded else 0
            wait = max(0, stores + asked + self.latency + resident + streamed - lead)
        return max(steps * step + maps + wait, steps * dram + stores)

    def whole_block(self, own: int, other_dim: int) -> int:
        """A resident block with all of K: everything of the other operand streams by."""
        width = min(self.plan.strip, other_dim)
        strips = -(-other_dim // self.plan.strip)
        gemm = self.gemm(own, width) + self.maps(own, width)
        resident, streamed = self.resident(own), self.streamed(width)
        moved = streamed + self.store(own, width)
        ring = self.latency + streamed - (self.slots.streamed - 1) * gemm
        step = max(gemm, moved, gemm + ring)
        wait = self.latency + resident + moved
        if self.slots.resident > 1:
            wait = max(0, wait - self.slots.streamed * gemm)
        return strips * step + wait

    def stall(self, strips: int, gemm: int, resident: int, streamed: int) -> int:
        """Cycles of a step that EXEC waits for latency."""
        slots = self.slots.streamed
        each = self.latency + streamed - (slots - 1) * gemm
        if strips == 1:
            return max(0, each + resident)
        turn = self.latency + resident + 2 * streamed - slots * gemm
        return max(0, turn, strips * each)

    def gemm(self, own: int, strip: int) -> int:
        """The busiest engine's part of one strip."""
        machine = self.machine
        share = min(own, self.plan.share)
        rows, cols = (share, strip) if self.plan.a_resident else (strip, share)
        depth = padded(min(self.plan.k, self.needs.k), machine)
        work = rows * padded(cols, machine) * depth
        return max(-(-work // machine.macs_per_cycle), gemm_overhead(machine))

    def maps(self, own: int, strip: int) -> int:
        """What the busiest engine spends on the maps over a strip, and on the array's draining."""
        if not self.needs.maps:
            return 0
        elements = min(own, self.plan.share) * strip
        return self.needs.maps * vector_cycles(elements, self.machine) + gemm_overhead(self.machine)

    def resident(self, own: int) -> int:
        return self._operand(own, lhs=self.plan.a_resident)

    def streamed(self, strip: int) -> int:
        return self._operand(strip, lhs=not self.plan.a_resident)

    def store(self, own: int, strip: int) -> int:
        """The result goes out, and what the maps read comes in."""
        rows, cols = (own, strip) if self.plan.a_resident else (strip, own)
        return (1 + self.needs.loaded) * self._transfer(rows, cols, self.needs.n)

    def _operand(self, length: int, *, lhs: bool) -> int:
        """A block of an operand, as it lies in DRAM."""
        needs, depth = self.needs, min(self.plan.k, self.needs.k)
        length = min(length, needs.m if lhs else needs.n)
        by_rows = lhs != (needs.transpose_a if lhs else needs.transpose_b)
        rows, cols = (length, depth) if by_rows else (depth, length)
        return self._transfer(rows, cols, needs.k if by_rows else needs.m if lhs else needs.n)

    def _transfer(self, rows: int, cols: int, pitch: int) -> int:
        """DRAM's time for rows x cols of a matrix with rows of `pitch`, in whole bursts."""
        burst = self.machine.dram_burst_bytes
        row = cols * WORD
        moved = rows * row
        if cols < pitch:  # rows begin anywhere in a burst, as far as their distance allows
            moved += rows * (burst - gcd(pitch * WORD, row, burst))
        cycles = -(-moved // self.machine.dram_bytes_per_cycle)
        return max(cycles, (cycles + self.ahead) // self.under_way)
