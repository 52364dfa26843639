"""Block sizes for a contraction: least time, as far as DRAM traffic is about the least."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import product
from math import sqrt

from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.cost import WORD, balanced, padded
from tileflow_tvm.passes.tile_gemm_cost import (
    GemmNeeds,
    GemmPlan,
    bytes_needed,
    execs,
    traffic,
)
from tileflow_tvm.passes.tile_gemm_time import cycles
from tileflow_tvm.passes.tile_search import Ranked

STEP = 1.125
"""Between the block sizes that are tried, once they are more than a few tiles."""

MORE_TRAFFIC = 1.25
"""Plans whose traffic differs by no more are compared by time, as a factor."""

LITTLE_TRAFFIC = 1.28
"""Traffic that counts for no more than the time it takes, as a factor of `_least_traffic`."""

PRICE_OF_TRAFFIC = 1.0
"""Share of the time that twice as much has to save."""

ABOUT_AS_FAST = 1.01
"""Plans whose time differs by no more are compared by the number of EXECs."""

WORTH_ENGINES = 0.98
"""Time that a plan for more EXEC engines may take, as a factor."""

MOST_COMPARED = 40
"""Pairs of block sides that are compared by time."""

LONGEST_STRIP = 16
"""Tiles."""


@lru_cache(maxsize=256)
def plan_gemm(needs: GemmNeeds, machine: Machine) -> GemmPlan | None:
    """The plan that looks best at a glance, None where not even the smallest blocks fit. It is for
    as many EXEC engines as make it faster."""
    ranked = rank_gemm_plans(needs, machine)
    best: Ranked[GemmPlan] | None = None
    for units in range(1, machine.exec_engines + 1):
        mine = [one for one in ranked if one.plan.units == units]
        more = _fewest_execs(needs, mine) if mine else None
        if units == 1 or (best and more and more.cost <= WORTH_ENGINES * best.cost):
            best = more
    return best.plan if best else None


def _fewest_execs(needs: GemmNeeds, ranked: list[Ranked[GemmPlan]]) -> Ranked[GemmPlan]:
    limit = ABOUT_AS_FAST * min(one.cost for one in ranked)
    near = [one for one in ranked if one.cost <= limit]
    return min(near, key=lambda one: (execs(needs, one.plan), one.cost))


@lru_cache(maxsize=256)
def rank_gemm_plans(needs: GemmNeeds, machine: Machine) -> tuple[Ranked[GemmPlan], ...]:
    """Plans with little traffic, grown as far as they fit; with the cycles that they take at a
    glance, and a price for their traffic."""
    found: dict[GemmPlan, Ranked[GemmPlan]] = {}
    for units in range(1, machine.exec_engines + 1):
        for slots in (1, 2) if units == 1 else (2,):  # blocks that share room put engines in line
            for one in _ranked(units, needs, machine, slots):
                known = found.get(one.plan)
                if known is None or one.glance < known.glance:
                    found[one.plan] = one
    return tuple(found.values())


def _ranked(
    units: int, needs: GemmNeeds, machine: Machine, slots: int
) -> Iterator[Ranked[GemmPlan]]:
    plans = _by_traffic(units, needs, machine, slots)
    if not plans:
        return
    least = plans[0][0]
    little = max(least, LITTLE_TRAFFIC * _least_traffic(needs, machine))
    for words, smallest in plans[:MOST_COMPARED]:
        if words > MORE_TRAFFIC * least:
            break
        price = 1 + PRICE_OF_TRAFFIC * max(0, words / max(1, little) - 1)
        for plan in _grown(needs, smallest, machine, slots):
            yield Ranked(cycles(needs, plan, machine, slots), plan, price)


def all_gemm_plans(needs: GemmNeeds, machine: Machine) -> Iterator[GemmPlan]:
    """Every plan of blocks that fit in one way or the other, for every number of engines."""
    for units in range(1, machine.exec_engines + 1):
        for slots in (1, 2) if units == 1 else (2,):
            for smallest in _smallest_steps(units, needs, machine, slots):
                yield from _grown(needs, smallest, machine, slots)


def _least_traffic(needs: GemmNeeds, machine: Machine) -> float:
    """Words that the largest blocks would move: one of C, as large as SRAM."""
    m, n, k = needs.m, needs.n, needs.k
    return 2 * m * n * k / sqrt(machine.sram_bytes / WORD) + m * n


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


def _own_sizes(units: int, extent: int, machine: Machine, *, rows: bool) -> list[int]:
    """Block sizes in which each of `units` engines has an equal share. Columns come in whole
    tiles; rows that fill none take no time, and equal blocks leave none that is much smaller."""
    tiles = -(-extent // machine.tile)
    if extent == 1 or tiles < units:
        return [1] if extent == units == 1 else []
    sizes = []
    for share in balanced(-(-tiles // units) * machine.tile, machine, STEP):
        parts = -(-extent // (units * share))
        grain = min(machine.tile, max(1, machine.dram_burst_bytes // WORD)) if rows else share
        even = -(-extent // (parts * units))
        sizes.append(units * min(share, -(-even // grain) * grain))
    return sizes


def _smallest_steps(
    units: int, needs: GemmNeeds, machine: Machine, slots: int
) -> Iterator[GemmPlan]:
    whole = padded(needs.k, machine)
    for a_resident in (True, False):
        own_dim, other_dim = needs.sides(a_resident=a_resident)
        owns = _own_sizes(units, own_dim, machine, rows=a_resident)
        others = _sizes(other_dim, machine)
        least = others[0]
        for own in owns:
            yield GemmPlan(a_resident, True, own, least, whole, least, units)
        if whole == machine.tile and slots > 1:
            continue  # there are no partial sums; but without the resident block maps have room
        forms = [True, False] if needs.temporaries + needs.vectors else [True]
        for own, other, early in product(owns, others, forms if slots > 1 else [False]):
            yield GemmPlan(a_resident, False, own, other, machine.tile, least, units, early=early)


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
