"""Functions that are not of vectors and matrices alone: a nest for each block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod

from tileflow_tvm.frontend.compute import (
    IDENTITY,
    INTEGER,
    Apply,
    Cast,
    ComputeFunction,
    Const,
    Expr,
    Stage,
    dtype_of,
)
from tileflow_tvm.frontend.compute_cells import writes_once
from tileflow_tvm.frontend.tile_ir import Alloc, Op, Program, Region
from tileflow_tvm.passes.coverage import whole_target

COMBINE = {"sum": "add", "max": "max", "min": "min", "prod": "mul"}
"""The binary function that continues a reduction."""


def nests_of(function: ComputeFunction) -> Program:
    """The function with an op `nest` for each block, in order.

    Requires: the function is as `legalize` leaves it.
    Ensures: no nest is empty; a sum that begins in its nest assigns each cell in one place.
    """
    ops = [nest_op(stage) for block in function.stages for stage in _begun(_not_empty(block))]
    used = {region.buffer for op in ops for region in op.regions}
    allocs = [Alloc(temp) for temp in function.temps if temp in used]
    return Program(function.name, function.params, (*allocs, *ops), roles=function.roles,
                   loc=function.place.loc)  # fmt: skip


def nest_op(stage: Stage) -> Op:
    """The operation that does what `stage` says; dst first, then whatever else it touches."""
    touched = [access.buffer for access, _ in stage.results]
    touched += [access.buffer for access in stage.sources]
    if stage.continues:
        touched.append(stage.target.buffer)
    dst, *srcs = dict.fromkeys(touched)
    return Op("nest", Region.whole(dst), tuple(map(Region.whole, srcs)), stage=stage,
              loc=stage.place.loc)  # fmt: skip


def _not_empty(stage: Stage) -> Iterator[Stage]:
    """`stage`, or what it is where it has nothing to sum, or nothing where it has nothing to do."""
    spatial = [axis for axis in stage.axes if not axis.reduce]
    if not prod(axis.extent for axis in spatial):
        return
    if stage.combine and len(spatial) == len(stage.axes):
        yield replace(stage, value=_of_one(stage), combine="", init=None)
    elif all(axis.extent for axis in stage.axes):
        yield stage
    elif stage.init is not None:
        yield replace(stage, axes=tuple(spatial), value=stage.init, combine="", init=None)


def _of_one(stage: Stage) -> Expr:
    """What a sum of one term is."""
    value, begin = stage.value, stage.target if stage.continues else stage.init
    assert begin is not None
    if isinstance(begin, Const) and begin.value == IDENTITY[stage.combine]:
        return value
    if dtype_of(begin) != dtype_of(value):
        begin = Cast(dtype_of(value), begin)
    of = INTEGER if dtype_of(value) == "int32" else ""
    return Apply(of + COMBINE[stage.combine], (begin, value), stage.place)


def _begun(stages: Iterator[Stage]) -> Iterator[Stage]:
    """Sums that several iterations of the spatial axes add to are begun by a stage of their own."""
    for stage in stages:
        scatters = stage.combine and not writes_once(stage.target, stage.extents)
        if scatters and stage.init is not None:
            yield _start(stage)
            stage = replace(stage, init=None)
        yield stage


def _start(stage: Stage) -> Stage:
    axes, target = whole_target(stage.target.buffer, stage.place)
    assert stage.init is not None
    return Stage(stage.name, axes, target, stage.init, place=stage.place)
