"""Which cells accesses name: each once? the same ones?"""

from __future__ import annotations

from math import prod

from tileflow_tvm.frontend.compute import Access, bounds
from tileflow_tvm.frontend.tile_ir import Affine, Var

MOST_ENUMERATED = 1 << 16
"""Cells that are looked at one by one where no rule decides."""


def writes_once(target: Access, extents: dict[Var, int]) -> bool:
    """Whether different values of the axes in `target` always name different cells; provably."""
    if are_nested(target, extents):
        return True
    steps = dict(target.number.terms)
    if any(var not in steps for var in target.axes if extents[var] > 1):
        return False
    count = prod(extents[var] for var in steps)
    if count > MOST_ENUMERATED:
        return False
    cells = {0}
    for var, step in steps.items():
        cells = {cell + step * at for cell in cells for at in range(extents[var])}
    return len(cells) == count


def are_nested(target: Access, extents: dict[Var, int]) -> bool:
    """Whether every axis steps over all that those with smaller steps reach, so that no two
    cells meet, whichever of the axes are walked together."""
    if injective(target.number, extents):
        return True
    # Dimension by dimension, where none shares an axis with another.
    walked = [var for index in target.index for var, _ in index.terms if extents[var] > 1]
    return len(set(walked)) == len(walked) and all(injective(i, extents) for i in target.index)


def injective(index: Affine, extents: dict[Var, int]) -> bool:
    """Whether different axis values always give different indices; provably."""
    reach = 0
    for var, step in sorted(index.terms, key=lambda term: abs(term[1])):
        if extents[var] > 1 and abs(step) <= reach:
            return False
        reach += abs(step) * max(extents[var] - 1, 0)
    return True


def are_apart(
    one: Access, extents: dict[Var, int], other: Access, other_extents: dict[Var, int]
) -> bool:
    """Whether the two never name the same cell of their tensor; provably: some index lies in
    other ranges, or leaves another remainder."""
    if one.flat or other.flat:
        pairs = [(one.number, other.number)]
    else:
        pairs = list(zip(one.index, other.index, strict=True))
    return any(
        _never_equal(mine, extents, theirs, other_extents, by)
        for mine, theirs in pairs
        for by in (0, *{abs(step) for _, step in (*mine.terms, *theirs.terms)})
    )


def _never_equal(
    one: Affine, extents: dict[Var, int], other: Affine, other_extents: dict[Var, int], by: int
) -> bool:
    """Whether the two differ, seen modulo `by`, which steps of its multiples do not change; 0 is
    no modulus."""
    low, high = bounds(_modulo(one, by), extents)
    lowest, highest = bounds(_modulo(other, by), other_extents)
    nearest, farthest = low - highest, high - lowest  # of their difference
    if not by:
        return nearest > 0 or farthest < 0
    return -(-nearest // by) * by > farthest


def _modulo(value: Affine, by: int) -> Affine:
    return Affine(value.const, tuple(term for term in value.terms if not by or term[1] % by))
