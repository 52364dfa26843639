"""rows= and cols= of a load or store: the dimensions of a box transfer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tvm import ir

from tileflow_tvm.errors import KernelError, Loc
from tileflow_tvm.frontend.affine import Const
from tileflow_tvm.frontend.tile_ir import BoxDim, Op, Region
from tileflow_tvm.isa.program import BROADCAST, MAX_RANK

_ENTRY = (
    "write [(extent, dim, step), ...]: one index further along the block is `step` further along "
    "dimension `dim` of the tensor"
)
_LARGEST = 2**31 - 1
"""An extent or step of the instruction set fits in 32 bits."""


def box_dims(key: str, value: Any, const: Const, loc: Loc | None) -> tuple[BoxDim, ...]:
    """The entries of `key`; KernelError for what is no list of three integers each."""
    if not _is_list(value):
        raise KernelError(f"{key}={value} is not a list", loc=loc, hint=_ENTRY)
    return tuple(_box_dim(f"entry {at} of {key}", entry, const, loc)
                 for at, entry in enumerate(value))  # fmt: skip


def _box_dim(what: str, entry: Any, const: Const, loc: Loc | None) -> BoxDim:
    if not _is_list(entry) or len(entry) != 3:
        raise KernelError(f"{what} is {entry}", loc=loc, hint=_ENTRY)
    extent, dim, step = (const(item, loc, f"a number in {what},") for item in entry)
    if not 1 <= extent <= _LARGEST:
        raise KernelError(f"{what} has extent {extent}", loc=loc,
                          hint=f"extents are 1..{_LARGEST}")  # fmt: skip
    if dim != BROADCAST and (step == 0 or abs(step) > _LARGEST):
        raise KernelError(
            f"{what} has step {step}", loc=loc,
            hint=f"steps are {-_LARGEST}..{_LARGEST}, but not 0: dim {BROADCAST} repeats the data",
        )  # fmt: skip
    return BoxDim(extent, dim, step)


def _is_list(value: Any) -> bool:
    return isinstance(value, ir.Array | list | tuple)


def with_bounds(op: Op) -> Op:
    """`op`, a box transfer as it is written, with the bounds of its box in DRAM."""
    _, dram = op.ends
    rank = len(dram.shape)
    if op.transposed:
        raise KernelError(f"{op.name}: transposed beside rows and cols", loc=op.loc,
                          hint="exchange rows and cols instead")  # fmt: skip
    if any(size != 1 for size in dram.shape):
        shape = " x ".join(str(size) for size in dram.shape)
        raise KernelError(
            f"{op.name}: a {shape} slice of '{dram.buffer.name}' beside rows and cols", loc=op.loc,
            hint=f"name one element, '{dram.buffer.name}' with {rank} indices: rows and cols say "
                 "how the block goes on from there",
        )  # fmt: skip
    if len(op.box) > MAX_RANK:
        raise KernelError(f"{op.name}: rows and cols have {len(op.box)} entries", loc=op.loc,
                          hint=f"there may be {MAX_RANK} in all")  # fmt: skip
    for dim in op.box:
        if not BROADCAST <= dim.dim < rank:
            raise KernelError(
                f"{op.name}: dimension {dim.dim} of '{dram.buffer.name}' {dram.buffer.shape}",
                loc=op.loc, hint=f"its dimensions are 0..{rank - 1}; {BROADCAST} repeats the data",
            )  # fmt: skip
    bounds = Region.of_box(dram.buffer, dram.start, op.box)
    dst, src = (bounds if region is dram else region for region in op.regions)
    return replace(op, dst=dst, srcs=(src,))
