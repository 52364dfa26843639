"""How much of each on-chip block is inside its tensor, followed in program order.

A load over a tensor's edge clips a dimension of the block; what is computed from clipped blocks is
clipped alike. Two different clips of one dimension cannot both hold: that is a `Clash`, which is
an error where the block is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tileflow_tvm.errors import KernelError, Loc
from tileflow_tvm.frontend.tile_ir import Affine, Buffer, Loop, Op, Region, Var, walk
from tileflow_tvm.passes.ranges import minimum, show, substitute


@dataclass(frozen=True)
class Clip:
    """Only elements before `limit` are inside; `loc` is what clipped them."""

    limit: Affine
    loc: Loc | None = field(default=None, compare=False)

    def depends_on(self, var: Var) -> bool:
        return any(term is var for term, _ in self.limit.terms)


@dataclass(frozen=True)
class Clash:
    """A dimension whose clips differ."""

    one: Clip | None = field(default=None, compare=False)
    other: Clip | None = field(default=None, compare=False)
    why: str = field(default="is clipped differently at two places", compare=False)


Dim = Clip | Clash | None
"""What is known of a dimension; None: all of it is inside."""


def both(one: Dim, other: Dim) -> Dim:
    """What is inside of two dimensions that meet; the clipped one where only one is."""
    if one is None or isinstance(other, Clash):
        return other
    if other is None or isinstance(one, Clash) or one == other:
        return one
    return Clash(one, other)


@dataclass(frozen=True)
class Valid:
    """What is inside of a buffer, by dimension; `whole`: all of it was written at once."""

    dims: tuple[Dim, ...]
    whole: bool = False


State = dict[Buffer, Valid]
"""The on-chip buffers that something has been written to."""


def clips_of(region: Region, state: State, loops: Sequence[Loop], op: Op) -> tuple[Dim, ...]:
    """What is inside of `region`, counted from its start; KernelError where that is unknown."""
    valid = state.get(region.buffer)
    if valid is None:
        raise KernelError(
            f"{op.name} reads '{region.buffer.name}' before anything writes it", loc=op.loc,
            notes=allocated(region.buffer),
            hint="load, fill or zero it first"
                 + (", or accumulate with clear=(var == 0)" if op.dst is region else ""),
        )  # fmt: skip
    clips: list[Dim] = []
    for axis, dim in enumerate(valid.dims):
        if isinstance(dim, Clash):
            raise clash_error(dim, f"dimension {axis} of '{region.buffer.name}'", op)
        if dim is None:
            clips.append(None)
            continue
        clip = replace(dim, limit=dim.limit - region.start[axis])
        clips.append(needed(clip, region.shape[axis], loops))
    return tuple(clips)


def needed(clip: Clip, size: int, loops: Sequence[Loop]) -> Clip | None:
    """`clip`, or None where it never cuts into `size` elements."""
    lowest = minimum(clip.limit, loops)
    return None if lowest is not None and lowest >= size else clip


def write_clips(
    region: Region,
    clips: tuple[Dim, ...],
    state: State,
    loops: Sequence[Loop],
    *,
    accumulates: bool,
    loc: Loc | None,
) -> None:
    """Record that `region` was written and that `clips` of it is inside."""
    buffer = region.buffer
    shifted = tuple(
        replace(clip, limit=clip.limit + start) if isinstance(clip, Clip) else clip
        for clip, start in zip(clips, region.start, strict=True)
    )
    if region.is_whole:
        state[buffer] = Valid(shifted, whole=True)
        return
    old = state.get(buffer)
    if old is None:
        state[buffer] = Valid(tuple(_stable(dim, region) for dim in shifted))
        return
    dims = []
    for axis, (before, after) in enumerate(zip(old.dims, shifted, strict=True)):
        dim = both(before, _stable(after, region))
        end = region.start[axis] + region.shape[axis]
        if isinstance(before, Clip) and after is None and not _inside(end, before.limit, loops):
            dim = Clash(before, Clip(end, loc), "is written beyond where it was clipped")
        if before is None and isinstance(after, Clip) and old.whole and not accumulates:
            dim = Clash(after, None, "was written as a whole before a part of it was clipped")
        dims.append(dim)
    state[buffer] = Valid(tuple(dims), old.whole)


def _stable(dim: Dim, region: Region) -> Dim:
    """A part that moves with a loop must not take its clip along."""
    if isinstance(dim, Clip):
        moving = {var for start in region.start for var, _ in start.terms}
        if any(dim.depends_on(var) for var in moving):
            return Clash(dim, None, "is clipped differently in each part")
    return dim


def _inside(end: Affine, limit: Affine, loops: Sequence[Loop]) -> bool:
    lowest = minimum(limit - end, loops)
    return lowest is not None and lowest >= 0


def carried(before: State, after: State, loop: Loop) -> State:
    """What holds at the start of any iteration of `loop`, the body having made `after` of it."""
    state = dict(before)
    for buffer, valid in after.items():
        dims = tuple(
            Clash(dim, None, "is clipped differently in each iteration")
            if isinstance(dim, Clip) and dim.depends_on(loop.var) else dim
            for dim in valid.dims
        )  # fmt: skip
        state[buffer] = _join(before.get(buffer), Valid(dims, valid.whole))
    return state


def after_loop(before: State, after: State, loop: Loop) -> State:
    """What holds behind `loop`: the clips of its last iteration, or, where there may be none,
    also those from before."""
    last = loop.extent - 1
    state = dict(before)
    for buffer, valid in after.items():
        dims = tuple(
            replace(dim, limit=substitute(dim.limit, loop.var, last))
            if isinstance(dim, Clip) else dim
            for dim in valid.dims
        )  # fmt: skip
        known = Valid(dims, valid.whole)
        runs = loop.extent.is_const and loop.extent.const > 0
        state[buffer] = known if runs else _join(before.get(buffer), known)
    return state


def _join(one: Valid | None, other: Valid) -> Valid:
    if one is None:
        return other
    dims = tuple(both(a, b) for a, b in zip(one.dims, other.dims, strict=True))
    return Valid(dims, one.whole or other.whole)


def overwrites(loop: Loop, buffer: Buffer) -> bool:
    """Whether `loop` writes all of `buffer` anew, part by part, and uses no part but the one it
    has just written."""
    path, op = [loop], _first_use(loop, buffer)
    while isinstance(op, Loop):
        path.append(op)
        op = _first_use(op, buffer)
    if op is None or op.dst is None or op.dst.buffer is not buffer:
        return False
    if op.name in ("gemm", "reduce") and not op.clear.always:
        return False
    users = [stmt for stmt in walk(loop.body) if isinstance(stmt, Op)]
    regions = {region for user in users for region in user.regions if region.buffer is buffer}
    if regions != {op.dst} or op.dst in op.srcs or op.dst.is_whole:
        return False
    trips = {step.var: step.extent.const for step in path if step.extent.is_const}
    if len(trips) != len(path) or min(trips.values()) < 1:
        return False
    return all(_covers(op.dst, axis, trips) for axis in range(len(buffer.shape)))


def _first_use(loop: Loop, buffer: Buffer) -> Op | Loop | None:
    for stmt in loop.body:
        used = any(
            region.buffer is buffer
            for inner in walk((stmt,)) if isinstance(inner, Op) for region in inner.regions
        )  # fmt: skip
        if used and isinstance(stmt, Op | Loop):
            return stmt
    return None


def _covers(region: Region, axis: int, trips: dict[Var, int]) -> bool:
    """Whether the region's interval along `axis` moves over the whole dimension, step by step."""
    start, size, dim = region.start[axis], region.shape[axis], region.buffer.shape[axis]
    if start == Affine() and size == dim:
        return True
    if len(start.terms) != 1 or start.const:
        return False
    var, step = start.terms[0]
    return step == size and trips.get(var, 0) * size == dim


def clash_error(clash: Clash, what: str, op: Op) -> KernelError:
    sides = [clip for clip in (clash.one, clash.other) if clip is not None]
    notes = tuple(
        f"valid up to {show(clip.limit)}" + (f": {clip.loc}" if clip.loc else "") for clip in sides
    )
    return KernelError(
        f"{op.name}: {what} {clash.why}", loc=op.loc, notes=notes,
        hint="blocks that meet have to be clipped alike: make the slices' starts and the tensors' "
             "dimensions agree, or use separate blocks",
    )  # fmt: skip


def allocated(buffer: Buffer) -> tuple[str, ...]:
    return (f"'{buffer.name}' {buffer.shape}: {buffer.loc}",) if buffer.loc else ()
