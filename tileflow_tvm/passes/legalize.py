"""`legalize`: what of the compute level is accepted, in one normal form.

for io, ii, j in T.grid(4, 8, 50):                    for i_loop, j_loop in T.grid(32, 50):
    with T.sblock("y"):                                   with T.sblock("y"):
        i = T.axis.spatial(32, io * 8 + ii)    ->             i, j = T.axis.remap("SS", ...)
        j, u = T.axis.remap("SS", [j, u])                     Y[i, j] = X[i, j] * T.float32(2)
        Y[i, j + u * 50] = X[i, j] * T.float32(2)
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from tvm.tirx import PrimFunc

from tileflow_tvm.errors import KernelError
from tileflow_tvm.frontend.compute import (
    Access,
    Axis,
    ComputeFunction,
    Place,
    Stage,
    accesses,
    affine_text,
    bounds,
    map_accesses,
)
from tileflow_tvm.frontend.compute_read import read_compute
from tileflow_tvm.frontend.compute_write import write_compute
from tileflow_tvm.frontend.tile_ir import Affine, Buffer, Var
from tileflow_tvm.isa.machine import Machine

MAX_RANK = 2
"""Tensors are vectors and matrices."""


def legalize(func: PrimFunc, machine: Machine) -> PrimFunc:
    """The function in normal form, or a KernelError with its place, cause and hint.

    Requires: a compute-level function (sblocks), by hand, from TOPI or from Relax.
    Ensures: constant shapes of rank 1 or 2, float32; every block alone in its own serial loops
    from 0, one for each of its axes, none of extent 1; one store a block; indices are affine in
    the axes, inside the tensor, and cover it; no lets, predicates or conditions; no cell is
    assigned twice by one block; no temporary is read before it is written.
    """
    return write_compute(accepted(func, machine), func)


def accepted(func: PrimFunc, machine: Machine) -> ComputeFunction:
    """`func` as a checked ComputeFunction."""
    assert "f32" in machine.dtypes
    function = squeeze_temps(read_compute(func))
    for buffer in (*function.params, *function.temps):
        _check_rank(buffer)
    for stage in function.stages:
        _check_stage(stage)
    _check_order(function)
    return function


def squeeze_temps(function: ComputeFunction) -> ComputeFunction:
    """Temporaries of rank 0 as (1,), and those of rank 3 and more without their unit dims."""
    swap: dict[Buffer, tuple[Buffer, tuple[int, ...]]] = {}
    for temp in function.temps:
        kept = tuple(dim for dim, extent in enumerate(temp.shape) if extent != 1)
        if not temp.shape or (len(temp.shape) > MAX_RANK >= len(kept)):
            shape = tuple(temp.shape[dim] for dim in kept) or (1,)
            swap[temp] = replace(temp, shape=shape), kept
    if not swap:
        return function

    def squeezed(access: Access) -> Access:
        if access.buffer not in swap:
            return access
        buffer, kept = swap[access.buffer]
        index = tuple(access.index[dim] for dim in kept) or (Affine(),)
        return replace(access, buffer=buffer, index=index)

    stages = tuple(map_accesses(stage, squeezed) for stage in function.stages)
    temps = tuple(swap[temp][0] if temp in swap else temp for temp in function.temps)
    return replace(function, temps=temps, stages=stages)


def _check_rank(buffer: Buffer) -> None:
    rank = len(buffer.shape)
    if not 1 <= rank <= MAX_RANK:
        raise Place(buffer.loc).error(
            f"tensor '{buffer.name}' has rank {rank}",
            "give it the shape (1,)" if rank == 0 else "supported: ranks 1 and 2",
        )


def _check_stage(stage: Stage) -> None:
    extents = stage.extents
    if prod(extents.values()):
        for access in (stage.target, *stage.sources):
            _check_bounds(stage, access, extents)
    _check_target(stage, extents)
    for access in stage.sources:
        _check_source(stage, access, extents)


def _check_bounds(stage: Stage, access: Access, extents: dict[Var, int]) -> None:
    for dim, (index, size) in enumerate(zip(access.index, access.buffer.shape, strict=True)):
        low, high = bounds(index, extents)
        if low < 0 or high >= size:
            raise access.place.error(
                f"{access} is out of bounds: block '{stage.name}' runs {affine_text(index)} over "
                f"{low}..{high}, but dimension {dim} of '{access.buffer.name}' is {size}",
                "the axes' extents and the tensor's shape must agree",
            )


def _check_target(stage: Stage, extents: dict[Var, int]) -> None:
    """Every cell of the target is assigned by exactly one iteration (of the spatial axes)."""
    target = stage.target
    walked = {var for index in target.index for var, _ in index.terms}
    for axis in stage.axes:
        if not axis.reduce and axis.extent > 1 and axis.var not in walked:
            raise _race(stage, axis)
    for index in target.index:
        if not _injective(index, extents):
            raise stage.place.error(
                f"a write race: iterations of block '{stage.name}' with the same "
                f"{affine_text(index)} assign the same cell of '{target.buffer.name}'",
                "give each axis a dimension of its own",
            )
    if (problem := _not_whole(target, extents)) is not None:
        raise stage.place.error(
            f"block '{stage.name}' does not write all of '{target.buffer.name}' in order: "
            f"{problem}",
            "write whole tensors; slices, strides and concatenation are not supported yet",
        )


def _race(stage: Stage, axis: Axis) -> KernelError:
    accumulates = stage.target in accesses(stage.value) or stage.combine
    return stage.place.error(
        f"a write race: block '{stage.name}' assigns {stage.target} once for each of the "
        f"{axis.extent} values of '{axis.var.name}'",
        f"declare '{axis.var.name}' with T.axis.reduce" if accumulates
        else f"index '{stage.target.buffer.name}' by '{axis.var.name}' too",
    )  # fmt: skip


def _injective(index: Affine, extents: dict[Var, int]) -> bool:
    """Whether different axis values always give different indices."""
    reach = 0
    for var, step in sorted(index.terms, key=lambda term: abs(term[1])):
        if abs(step) <= reach:
            return False
        reach += abs(step) * max(extents[var] - 1, 0)
    return True


def _check_source(stage: Stage, access: Access, extents: dict[Var, int]) -> None:
    if access.buffer is stage.target.buffer and access != stage.target:
        raise access.place.error(
            f"block '{stage.name}' reads {access} while other iterations write "
            f"'{access.buffer.name}'",
            "write the result to another tensor",
        )
    if (problem := _not_whole(access, extents)) is not None:
        raise access.place.error(
            f"block '{stage.name}' does not read all of '{access.buffer.name}' in order: {problem}",
            "read whole tensors; slices, strides and reshapes are not supported yet",
        )


def _not_whole(access: Access, extents: dict[Var, int]) -> str | None:
    """Why the indices are not one axis (or, where the dimension is 1, a 0) for each dimension,
    running over all of it; None where they are."""
    seen: set[Var] = set()
    for dim, (index, size) in enumerate(zip(access.index, access.buffer.shape, strict=True)):
        if index.is_const:
            if size != 1:
                return f"{access} is one of {size} along dimension {dim}"
            continue
        (var, step), *more = index.terms
        if more or step != 1 or index.const:
            return f"the index {affine_text(index)} of {access} is not a plain axis"
        if var in seen:
            return f"{access} is a diagonal"
        if extents[var] != size:
            return f"'{var.name}' runs over {extents[var]} of {size} along dimension {dim}"
        seen.add(var)
    return None


def _check_order(function: ComputeFunction) -> None:
    """No temporary is read before it is written, and something is written at all."""
    written = set(function.params)
    for stage in function.stages:
        needed = list(stage.sources)
        if stage.combine and stage.init is None:
            needed.append(stage.target)
        for access in needed:
            if access.buffer not in written:
                raise access.place.error(
                    f"block '{stage.name}' reads '{access.buffer.name}' before anything is "
                    "written to it",
                    "begin a sum with T.init" if stage.combine else "order the blocks",
                )
        written.add(stage.target.buffer)
    if not any(role != "in" for role in function.roles):
        raise function.place.error("the function writes none of its arguments",
                                   "write the results to parameters")  # fmt: skip
