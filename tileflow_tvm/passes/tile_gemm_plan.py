"""Block sizes for a contraction: least DRAM traffic, then least time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.cost import (
    Cost,
    balanced,
    block_bytes,
    gemm_cycles,
    gemm_overhead,
    padded,
)

STEP = 1.125
"""Between the block sizes that are tried, once they are more than a few tiles."""

WORTH_OVERLAP = 1.25
"""Traffic that two slots for each loaded block may cost, as a factor."""

NEARLY_EQUAL = 1.02
"""Plans whose traffic differs by no more are compared by time."""

ABOUT_AS_FAST = 1.1
"""Plans whose time differs by no more are compared by the number of EXECs."""

WORTH_ENGINES = 0.95
"""Time that a plan for more EXEC engines may take, as a factor."""

MOST_COMPARED = 8
"""Pairs of block sides that are compared by time."""

LONGEST_STRIP = 16
"""Tiles."""


@dataclass(frozen=True)
class GemmPlan:
    """Block sizes in elements. One operand's block is *resident*: A's with rows of C, or B's
    with columns of C (`own`); the other one streams by in strips of the `other` dimension.

    whole_k: the resident block has all of K and stays while everything of the other operand
    streams by; `other` is a strip. Otherwise a block of C, own x other, stays while k advances.

    units: so many EXEC engines have an equal `share` of `own` each, and the strips in common.
    """

    a_resident: bool
    whole_k: bool
    own: int
    other: int
    k: int
    strip: int
    units: int = 1

    @property
    def share(self) -> int:
        return self.own // self.units

    @property
    def out(self) -> int:
        """Length of the strips that the maps work on; a vector is one strip."""
        return self.other if 1 in (self.own, self.other) else self.strip


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
    vectors: int = 0
    """Row and column vectors that the maps read."""

    def sides(self, *, a_resident: bool) -> tuple[int, int]:
        """Lengths of the own and the other dimension."""
        return (self.m, self.n) if a_resident else (self.n, self.m)


@lru_cache(maxsize=256)
def plan_gemm(needs: GemmNeeds, machine: Machine) -> GemmPlan | None:
    """The best plan, None where not even the smallest blocks fit. It is for as many EXEC engines
    as make it faster."""
    best = _plan_for(1, needs, machine)
    for units in range(2, machine.exec_engines + 1):
        more = _plan_for(units, needs, machine)
        if best and more and more[0] <= WORTH_ENGINES * best[0]:
            best = more
    return best[1] if best else None


def _plan_for(units: int, needs: GemmNeeds, machine: Machine) -> tuple[int, GemmPlan] | None:
    """The best plan for so many EXEC engines, and the cycles that it takes."""
    roomy = _by_traffic(units, needs, machine, slots=2)
    tight = _by_traffic(units, needs, machine, slots=1)
    if not tight:
        return None
    found = [(1, tight)]
    if roomy and roomy[0][0] <= WORTH_OVERLAP * tight[0][0]:
        found = [(2, roomy)]
    elif roomy and units > 1:
        found.append((2, roomy))
    best = [_fastest(needs, plans, machine, slots) for slots, plans in found]
    return min(best, key=lambda plan: plan[0])


def _fastest(
    needs: GemmNeeds, found: list[tuple[int, GemmPlan]], machine: Machine, slots: int
) -> tuple[int, GemmPlan]:
    """Of the plans with about the least traffic, grown as far as they fit."""
    limit = NEARLY_EQUAL * found[0][0]
    near = [plan for words, plan in found[:MOST_COMPARED] if words <= limit]
    grown = [bigger for plan in near for bigger in _grown(needs, plan, machine, slots)]
    return _fewest_steps(needs, grown, machine, slots)


def _fewest_steps(
    needs: GemmNeeds, plans: list[GemmPlan], machine: Machine, slots: int
) -> tuple[int, GemmPlan]:
    """Of the plans that take about the least time, the one with the fewest EXECs: what a host
    or a sequencer spends on each of them is in no machine description."""
    times = [gemm_cost(needs, plan, machine, slots)[1] for plan in plans]
    limit = ABOUT_AS_FAST * min(times)
    near = [(execs(needs, plan), time, at) for at, (plan, time) in
            enumerate(zip(plans, times, strict=True)) if time <= limit]  # fmt: skip
    _, time, at = min(near)
    return time, plans[at]


def _by_traffic(
    units: int, needs: GemmNeeds, machine: Machine, slots: int
) -> list[tuple[int, GemmPlan]]:
    """The plans with the smallest strips and k blocks that fit, least traffic first."""
    found = []
    for plan in _smallest_steps(units, needs, machine, slots):
        if bytes_needed(needs, plan, machine, slots) <= machine.sram_bytes:
            found.append((traffic(needs, plan), plan))
    return sorted(found, key=lambda pair: pair[0])


def _sizes(extent: int, machine: Machine) -> list[int]:
    return [1] if extent == 1 else balanced(extent, machine, STEP)


def _own_sizes(units: int, extent: int, machine: Machine) -> list[int]:
    """Block sizes in which each of `units` engines has an equal share of whole tiles."""
    tiles = -(-extent // machine.tile)
    if units == 1 or tiles < units:
        return _sizes(extent, machine) if units == 1 else []
    share = -(-tiles // units) * machine.tile
    return [units * size for size in balanced(share, machine, STEP)]


def _smallest_steps(
    units: int, needs: GemmNeeds, machine: Machine, slots: int
) -> Iterator[GemmPlan]:
    whole = padded(needs.k, machine)
    for a_resident in (True, False):
        own_dim, other_dim = needs.sides(a_resident=a_resident)
        owns, others = _own_sizes(units, own_dim, machine), _sizes(other_dim, machine)
        least = others[0]
        for own in owns:
            yield GemmPlan(a_resident, True, own, least, whole, least, units)
        if whole == machine.tile and slots > 1:
            continue  # there are no partial sums; but without the resident block maps have room
        for own in owns:
            for other in others:
                yield GemmPlan(a_resident, False, own, other, machine.tile, least, units)


def _grown(needs: GemmNeeds, plan: GemmPlan, machine: Machine, slots: int) -> Iterator[GemmPlan]:
    """`plan` with longer strips and k blocks, as far as they fit."""
    _, other_dim = needs.sides(a_resident=plan.a_resident)
    lengths = _sizes(other_dim if plan.whole_k else plan.other, machine)
    for strip in lengths:
        if strip > LONGEST_STRIP * machine.tile or (not plan.whole_k and plan.other % strip):
            continue
        other = strip if plan.whole_k else plan.other
        depths = [plan.k] if plan.whole_k else _sizes(needs.k, machine)[:-1] or [plan.k]
        for k in depths:
            bigger = replace(plan, other=other, strip=strip, k=k)
            if bytes_needed(needs, bigger, machine, slots) > machine.sram_bytes:
                break
            yield bigger


def bytes_needed(needs: GemmNeeds, plan: GemmPlan, machine: Machine, slots: int) -> int:
    """On chip. With one slot, what lives at once; with two, all blocks at addresses of their
    own, loaded blocks twice, so that nothing makes one engine wait for another's block."""
    resident = _bytes(plan.own, plan.k, machine)
    streamed = _bytes(plan.k, plan.strip, machine)
    result = _bytes(plan.own, plan.other, machine)
    strip = _bytes(plan.own, plan.out, machine)
    vectors = needs.vectors * plan.units * _bytes(1, max(plan.share, plan.other), machine)
    if slots == 1:
        if plan.whole_k:
            return resident + result + vectors + max(streamed, needs.live * strip)
        return result + max(resident + streamed, vectors + needs.live * strip)
    if plan.whole_k:
        return resident + 2 * (streamed + result + needs.temporaries * strip) + vectors
    return 2 * (resident + streamed) + result + needs.temporaries * strip + vectors


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


def gemm_cost(needs: GemmNeeds, plan: GemmPlan, machine: Machine, slots: int) -> tuple[Cost, int]:
    """The cost of a plan, and the cycles that it takes."""
    own_dim, other_dim = needs.sides(a_resident=plan.a_resident)
    blocks = -(-own_dim // plan.own) * -(-other_dim // plan.other)
    steps = -(-needs.k // plan.k)
    strips = plan.other // plan.strip
    count = execs(needs, plan)
    stores = blocks * strips * plan.units
    loads = blocks * steps * (plan.units + strips)
    if plan.whole_k:
        loads = -(-own_dim // plan.own) * plan.units + count
    busiest = min(own_dim, -(-own_dim // plan.own) * plan.share)
    rows_and_cols = (busiest, other_dim) if plan.a_resident else (other_dim, busiest)
    cost = Cost(
        words=traffic(needs, plan),
        transfers=loads + stores,
        exec_cycles=gemm_cycles(*rows_and_cols, needs.k, machine)
        + (count - 1) * gemm_overhead(machine),
        exposed=(plan.own + plan.strip) * plan.k + plan.own * plan.strip
        + _waits(needs, plan, machine, slots, blocks),
    )  # fmt: skip
    return cost, cost.cycles(machine, overlapped=slots > 1)


def _waits(needs: GemmNeeds, plan: GemmPlan, machine: Machine, slots: int, blocks: int) -> int:
    """Words whose transfer EXEC waits for because a block that changes seldom has one slot."""
    needed = bytes_needed(needs, plan, machine, slots)
    seldom = (plan.own, plan.k) if plan.whole_k else (plan.own, plan.other)
    if needed + _bytes(*seldom, machine) <= machine.sram_bytes:
        return 0
    own_dim, _ = needs.sides(a_resident=plan.a_resident)
    times = -(-own_dim // plan.own) if plan.whole_k else blocks
    return (times - 1) * seldom[0] * seldom[1]
