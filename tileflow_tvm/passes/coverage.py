"""Whether stages write all cells of a tensor, and what is done about those that they do not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations
from math import prod

from tileflow_tvm.frontend.compute import Access, Axis, Const, Place, Stage
from tileflow_tvm.frontend.compute_cells import are_apart, writes_once
from tileflow_tvm.frontend.tile_ir import Affine, Buffer, Var


def fill_gaps(blocks: Iterable[list[Stage]]) -> Iterator[Stage]:
    """The stages of all blocks in order; in front of the first one that writes a tensor, a fill
    with zeros unless all of it is written before something reads it.

    A tensor that is read before it is written keeps what it held.
    """
    stages = [stage for block in blocks for stage in block]
    seen: set[Buffer] = set()
    for at, stage in enumerate(stages):
        buffer = stage.target.buffer
        read = {access.buffer for access in stage.sources}
        begins = buffer not in seen and buffer not in read and not stage.continues
        if begins and not _all_written(buffer, stages[at:]):
            yield _zeros(buffer, stage)
        seen |= read | {buffer}
        yield stage


def _all_written(buffer: Buffer, stages: list[Stage]) -> bool:
    """Whether the stages write every cell before one of them reads the buffer."""
    writers: list[Stage] = []
    for stage in stages:
        reads = any(access.buffer is buffer for access in stage.sources)
        if reads or (stage.continues and stage.target.buffer is buffer):
            break
        if stage.target.buffer is buffer:
            writers.append(stage)
    for writer in writers:
        if not writes_once(writer.target, writer.extents):
            return False
    apart = all(_apart(one, other) for one, other in combinations(writers, 2))
    counts = [_cells(writer) for writer in writers]
    return max(counts, default=0) == buffer.elements or (apart and sum(counts) == buffer.elements)


def _apart(one: Stage, other: Stage) -> bool:
    return are_apart(one.target, one.extents, other.target, other.extents)


def _cells(stage: Stage) -> int:
    return prod(stage.extents[var] for var in stage.target.axes)


def whole_target(buffer: Buffer, place: Place) -> tuple[tuple[Axis, ...], Access]:
    """Axes over all of `buffer`, and the cell that they walk."""
    axes = tuple(
        Axis(Var(f"i{dim}"), extent) for dim, extent in enumerate(buffer.shape) if extent != 1
    )
    walks = iter(axes)
    index = tuple(Affine() if e == 1 else Affine.of(next(walks).var) for e in buffer.shape)
    return axes, Access(buffer, index, place)


def _zeros(buffer: Buffer, before: Stage) -> Stage:
    axes, target = whole_target(buffer, before.place)
    return Stage(f"{buffer.name}_zeros", axes, target, Const(0.0), place=before.place)
