"""What the nest of a contraction needs: room on chip, DRAM words, instructions."""

from __future__ import annotations

from dataclasses import dataclass

from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.cost import (
    block_bytes,
)
from tileflow_tvm.passes.plan_sram import DEEPEST_RING


@dataclass(frozen=True)
class GemmPlan:
    """Block sizes in elements. One operand's block is *resident*: A's with rows of C, or B's
    with columns of C (`own`); the other one streams by in strips of the `other` dimension.

    whole_k: the resident block has all of K and stays while everything of the other operand
    streams by; `other` is a strip. Otherwise a block of C, own x other, stays while k advances.

    units: so many EXEC engines have an equal `share` of `own` each, and the strips in common.

    early: the maps have room of their own while k advances.
    """

    a_resident: bool
    whole_k: bool
    own: int
    other: int
    k: int
    strip: int
    units: int = 1
    early: bool = False

    @property
    def share(self) -> int:
        return self.own // self.units

    @property
    def out(self) -> int:
        """Length of the strips that the maps work on; a vector is one strip."""
        return self.other if 1 in (self.own, self.other) else self.strip

    @property
    def leaves_early(self) -> bool:
        """Whether the strips of a block of C leave while the others are completed."""
        return self.early and self.out == self.strip


@dataclass(frozen=True)
class GemmNeeds:
    """What there is to do: dims of the product, and what the maps over it add."""

    m: int
    n: int
    k: int
    reads_dst: bool = False
    temporaries: int = 0
    """Blocks as large as a strip of C that the maps use, each at an address of its own."""
    live: int = 0
    """How many of them live at once."""
    loaded: int = 0
    """How many of them are loaded."""
    vectors: int = 0
    """Row and column vectors that the maps read."""
    maps: int = 0
    """How many instructions they are for a strip."""
    transpose_a: bool = False
    transpose_b: bool = False

    def sides(self, *, a_resident: bool) -> tuple[int, int]:
        """Lengths of the own and the other dimension."""
        return (self.m, self.n) if a_resident else (self.n, self.m)


@dataclass(frozen=True)
class _Room:
    """Bytes of one slot of each block."""

    resident: int
    streamed: int
    result: int
    strip: int
    vectors: int


def _room(needs: GemmNeeds, plan: GemmPlan, machine: Machine) -> _Room:
    units, share = plan.units, plan.share
    return _Room(
        units * _bytes(share, plan.k, machine),
        _bytes(plan.k, plan.strip, machine),
        units * _bytes(share, plan.other, machine),
        units * _bytes(share, plan.out, machine),
        needs.vectors * units * _bytes(1, max(share, plan.other), machine),
    )


def bytes_needed(needs: GemmNeeds, plan: GemmPlan, machine: Machine, slots: int) -> int:
    """On chip. With one slot, what lives at once; with two, all blocks at addresses of their
    own, loaded blocks twice, so that nothing makes one engine wait for another's block."""
    of = _room(needs, plan, machine)
    if slots == 1:
        if plan.whole_k:
            return of.resident + of.result + of.vectors + max(of.streamed, needs.live * of.strip)
        return of.result + max(of.resident + of.streamed, of.vectors + needs.live * of.strip)
    temporaries = (needs.temporaries + needs.loaded * plan.leaves_early) * of.strip
    if plan.whole_k:
        return of.resident + 2 * (of.streamed + of.result + temporaries) + of.vectors
    vectors = of.vectors * (2 if plan.leaves_early else 1)
    return 2 * (of.resident + of.streamed) + of.result + temporaries + vectors


@dataclass(frozen=True)
class Rings:
    """How many slots blocks have."""

    resident: int
    streamed: int
    result: int


def rings(needs: GemmNeeds, plan: GemmPlan, machine: Machine) -> Rings:
    """What `plan_sram` makes of the room that a plan with two slots leaves."""
    of = _room(needs, plan, machine)
    left = machine.sram_bytes - bytes_needed(needs, plan, machine, 2)
    _, other_dim = needs.sides(a_resident=plan.a_resident)
    turns = -(-other_dim // plan.strip) if plan.whole_k else plan.other // plan.strip
    if not plan.leaves_early:  # what the maps load has its second slot before all third ones
        left -= min(left // max(1, of.strip), needs.loaded) * of.strip
    sizes = {"streamed": of.streamed, "resident": of.resident, "result": of.result}
    slots = {"streamed": 2, "resident": 2, "result": 1}
    if plan.whole_k:
        slots |= {"resident": 1, "result": 2}
    deepest = {name: DEEPEST_RING for name in slots}
    if turns > 1:
        deepest["streamed"] = min(DEEPEST_RING, turns)
    wishes = [(name, 2) for name in sizes]
    wishes += ((name, depth) for name in sizes for depth in range(3, deepest[name] + 1))
    for name, depth in wishes:
        if slots[name] == depth - 1 and sizes[name] <= left:
            slots[name] = depth
            left -= sizes[name]
    return Rings(slots["resident"], slots["streamed"], slots["result"])


def _bytes(rows: int, cols: int, machine: Machine) -> int:
    """Of a block; with a unit dimension it is a vector."""
    if rows == 1 or cols == 1:
        return block_bytes((rows * cols,), machine)
    return block_bytes((rows, cols), machine)


def traffic(needs: GemmNeeds, plan: GemmPlan) -> int:
    """DRAM words of the contraction itself."""
    own_dim, other_dim = needs.sides(a_resident=plan.a_resident)
    resident = own_dim * needs.k
    if not plan.whole_k:
        resident *= -(-other_dim // plan.other)
    streamed = other_dim * needs.k * -(-own_dim // plan.own)
    return resident + streamed + needs.m * needs.n * (2 if needs.reads_dst else 1)


def execs(needs: GemmNeeds, plan: GemmPlan) -> int:
    """How many gemms each engine runs."""
    own_dim, other_dim = needs.sides(a_resident=plan.a_resident)
    blocks = -(-own_dim // plan.own) * -(-other_dim // plan.other)
    return blocks * -(-needs.k // plan.k) * (plan.other // plan.strip)
