"""Loops that stand for a condition: what they hold runs once, in the last iteration of a loop
around them.

    for k in range(8):
        ...
        for last in range(k - 6):     # no iteration for k < 7, one for k = 7
            ...
"""

from __future__ import annotations

from collections.abc import Sequence

from tileflow_tvm.errors import Loc
from tileflow_tvm.frontend.tile_ir import Affine, Loop, Stmt, Var


def in_last_iteration(of: Var, trips: int, body: Sequence[Stmt], loc: Loc | None = None) -> Loop:
    """`body`, in the last iteration alone of the loop over `of`, which makes `trips` of them."""
    return Loop(Var("last"), Affine.of(of) - (trips - 2), tuple(body), loc=loc)


def guarded_by(loop: Loop, around: Sequence[Loop]) -> Loop | None:
    """The loop among `around` in whose last iteration `loop` runs once, and in no other."""
    for outer in around:
        if outer.extent.is_const and loop.extent == Affine.of(outer.var) - (outer.extent.const - 2):
            return outer
    return None


def counted(loops: Sequence[Loop]) -> tuple[Loop, ...]:
    """Of nested loops those that say how often the innermost body runs, and when: not a guard,
    which lets through one iteration of the loop it is guarded by, nor that loop."""
    left = list(loops)
    for at, loop in enumerate(loops):
        outer = guarded_by(loop, loops[:at])
        if outer is not None and outer in left:
            left = [other for other in left if other is not loop and other is not outer]
    return tuple(left)
