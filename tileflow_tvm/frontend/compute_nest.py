"""Loops that several blocks share: taken apart where that changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from tileflow_tvm.frontend.compute import Access, Axis, Stage
from tileflow_tvm.frontend.compute_domain import NestLoop
from tileflow_tvm.frontend.tile_ir import Affine, Buffer


@dataclass(frozen=True)
class PlacedStage:
    """A stage, the loops around it, and which of its axes a loop walks alone."""

    stage: Stage
    loops: tuple[NestLoop, ...]
    axis_of: dict[NestLoop, Axis]
    block: object = None
    """The same for the parts of one block whose domain is split."""


def check_separable(stages: list[PlacedStage]) -> None:
    """KernelError unless running each stage over its whole domain, one after the other, is the
    same as what was written.

    It is where every buffer that one of two stages writes and the other touches is indexed, in
    some dimension and at every access, by the shared loop alone: then no iteration of that loop
    sees another's cells.
    """
    for first, second in combinations(stages, 2):
        if first.block is not None and first.block is second.block:
            continue
        shared = [
            loop for loop, other in zip(first.loops, second.loops, strict=False) if loop is other
        ]
        for loop in shared:
            if loop.extent > 1:
                _check_pair(first, second, loop)


def _check_pair(first: PlacedStage, second: PlacedStage, loop: NestLoop) -> None:
    for buffer in _conflicts(first.stage, second.stage):
        dims = _private_dims(first, buffer, loop) & _private_dims(second, buffer, loop)
        if not dims:
            raise second.stage.place.error(
                f"blocks '{first.stage.name}' and '{second.stage.name}' share loop "
                f"'{loop.var.name}' and exchange '{buffer.name}' across its iterations",
                "give each block its own loops, and what they exchange a dimension for the loop"
            )  # fmt: skip


def touched(stage: Stage) -> tuple[Access, ...]:
    return (stage.target, *stage.sources)


def _conflicts(first: Stage, second: Stage) -> list[Buffer]:
    written = {first.target.buffer, second.target.buffer}
    mine = {access.buffer for access in touched(first)}
    return [b for b in dict.fromkeys(a.buffer for a in touched(second))
            if b in written and b in mine]  # fmt: skip


def _private_dims(placed: PlacedStage, buffer: Buffer, loop: NestLoop) -> set[int]:
    """The dimensions that every access of `buffer` indexes by `loop` alone."""
    axis = placed.axis_of.get(loop)
    if axis is None:
        return set()
    indices = [a.index for a in touched(placed.stage) if a.buffer is buffer]
    return {
        dim for dim in range(len(buffer.shape))
        if all(index[dim] == Affine.of(axis.var) for index in indices)
    }  # fmt: skip
