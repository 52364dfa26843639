"""Where loads and stores leave their tensors: how much of a block's rows and columns is inside."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from tileflow_tvm.errors import KernelError
from tileflow_tvm.frontend.tile_ir import Affine, Loop, Op, Region
from tileflow_tvm.passes.block_shapes import Labels
from tileflow_tvm.passes.ranges import maximum, minimum, show
from tileflow_tvm.passes.validity import Clip, allocated, needed


def tensor_clips(
    op: Op, dram: Region, labels: Labels, loops: Sequence[Loop]
) -> dict[str, Clip | None]:
    """For rows ("m") and columns ("n") of the block, how many lie inside the tensor; None: all.

    `labels` are those of the dimensions of `dram`. KernelError for what is not clipped to the
    first rows or the first columns. A padded load is whole: what is outside it fills.
    """
    if op.padded:
        return {}
    return _box(op, dram, loops) if op.box else _slice(op, dram, labels, loops)


# A slice: each dimension by itself.


def _slice(op: Op, dram: Region, labels: Labels, loops: Sequence[Loop]) -> dict[str, Clip | None]:
    clips: dict[str, Clip | None] = {}
    for axis, (start, size) in enumerate(zip(dram.start, dram.shape, strict=True)):
        dim = dram.buffer.shape[axis]
        clip = needed(Clip(Affine(dim) - start, op.loc), size, loops)
        low, high = minimum(start, loops), maximum(start, loops)
        past = low is not None and low >= dim
        before = high is not None and high + size <= 0
        if dim and size and (past or before):
            raise _outside(op, dram, axis, "never meets")
        if low is not None and low < 0:
            raise _outside(op, dram, axis, "begins in front of")
        if not labels[axis]:
            if clip or low is None:
                raise _outside(op, dram, axis, "may leave")
            continue
        clips[labels[axis]] = clip
    return clips


def _outside(op: Op, dram: Region, axis: int, what: str) -> KernelError:
    start, buffer = dram.start[axis], dram.buffer
    front = "begin at 0 or later, or load it padded" if op.name == "load" else "begin at 0 or later"
    return KernelError(
        f"{op.name}: index [{show(start)} : +{dram.shape[axis]}] {what} dimension {axis} of "
        f"'{buffer.name}' {buffer.shape}",
        loc=op.loc, notes=allocated(buffer),
        hint={
            "may leave": "give the block a unit dimension for it, which is clipped",
            "begins in front of": f"only the end is clipped; {front}",
        }.get(what, "check the slice's start against the tensor's shape"),
    )  # fmt: skip


# A box.


def _box(op: Op, dram: Region, loops: Sequence[Loop]) -> dict[str, Clip | None]:
    """All of it has to be inside, but for the end of the first entry of rows and of cols: where
    that is clipped, the block's first rows (or columns) are inside."""
    clips: dict[str, Clip | None] = {"m": None, "n": None}
    for axis, start in enumerate(dram.start):
        size = dram.buffer.shape[axis]
        reaches = [dim.reach for dim in op.box if dim.dim == axis]
        low, high = minimum(start, loops), maximum(start, loops)
        if low is not None:
            low += sum(reach for reach in reaches if reach < 0)
        if high is not None:
            high += sum(reach for reach in reaches if reach > 0)
        if size and ((low is not None and low >= size) or (high is not None and high < 0)):
            raise _leaves(op, dram, axis, "never meets", "check its corner and its steps")
        if low is None or low < 0:
            raise _leaves(op, dram, axis, "may begin in front of", "only the end is clipped")
        if high is not None and high < size:
            continue
        label, clip = _clip(op, dram, axis)
        if clips[label] is not None:
            raise _leaves(op, dram, axis, "may leave", "another entry of its side is clipped")
        clips[label] = clip
    return clips


def _clip(op: Op, dram: Region, axis: int) -> tuple[str, Clip]:
    """The clip of the side that moves `axis`, in its rows or columns: whole multiples of what lies
    below one index of its first entry."""

    def refuse(why: str) -> KernelError:
        return _leaves(op, dram, axis, "may leave", why)

    sides = (("m", op.rows), ("n", op.cols))
    entries = [(label, side, at) for label, side in sides
               for at, dim in enumerate(side) if dim.dim == axis]  # fmt: skip
    entries = [entry for entry in entries if entry[1][entry[2]].extent > 1] or entries[:1]
    if not entries:
        raise refuse("neither rows nor cols move along it")
    if len(entries) > 1:
        raise refuse("several entries of rows and cols move along it")
    label, side, at = entries[0]
    step = side[at].step
    if any(dim.extent > 1 for dim in side[:at]):
        raise refuse(f"entry {at} of {_SIDES[label]} moves along it, and only the first is clipped")
    if step < 0:
        raise refuse("a box that steps backwards is not clipped")
    room = Affine(dram.buffer.shape[axis]) - dram.start[axis]
    if any(moves % step for _, moves in room.terms):
        raise refuse(f"its corner moves by what is no multiple of the step {step}")
    count = Affine(-(-room.const // step), tuple((var, moves // step) for var, moves in room.terms))
    return label, Clip(count * prod(dim.extent for dim in side[at + 1 :]), op.loc)


_SIDES = {"m": "rows", "n": "cols"}


def _leaves(op: Op, dram: Region, axis: int, what: str, why: str) -> KernelError:
    """`dram` leaves its tensor along `axis` where it may not."""
    start, buffer = dram.start[axis], dram.buffer
    dims = [dim for dim in op.box if dim.dim == axis and dim.extent > 1]
    walk = "".join(f" + {dim.step} * 0..{dim.extent - 1}" for dim in dims)
    inside = "keep the box inside" if op.name == "store" else (
        "keep the box inside, or say padded=True: what is outside then reads as fill"
    )  # fmt: skip
    return KernelError(
        f"{op.name}: the index {show(start)}{walk} {what} dimension {axis} of '{buffer.name}' "
        f"{buffer.shape}: {why}",
        loc=op.loc, notes=allocated(buffer), hint=inside,
    )  # fmt: skip
