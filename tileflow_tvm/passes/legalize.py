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
    INTEGER,
    SELECT,
    Access,
    Apply,
    Axis,
    Cast,
    ComputeFunction,
    Const,
    Place,
    Result,
    Stage,
    accesses,
    affine_text,
    bounds,
    dtype_of,
    has_forms,
    map_accesses,
    walk_expr,
)
from tileflow_tvm.frontend.compute_cells import injective, writes_once
from tileflow_tvm.frontend.compute_read import read_compute
from tileflow_tvm.frontend.compute_write import write_compute
from tileflow_tvm.frontend.tile_ir import Affine, Buffer, Var
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.isa.program import MAX_ARG_RANK
from tileflow_tvm.passes.coverage import fill_gaps
from tileflow_tvm.passes.domains import pad_below_masks, settle_conditions, stays_inside
from tileflow_tvm.passes.nest_forms import check_forms

MATRIX_RANK = 2
"""Up to here tensors are vectors and matrices."""
MAX_RANK = MAX_ARG_RANK


def legalize(func: PrimFunc, machine: Machine) -> PrimFunc:
    """The function in normal form, or a KernelError with its place, cause and hint.

    Requires: a compute-level function (sblocks), by hand, from TOPI or from Relax.
    Ensures: constant shapes, float32; every block alone in its own serial loops from 0, one for
    each of its axes, none of extent 1; one store a block; indices are affine in the axes, or
    the number of the cell in row-major order is, and inside the tensor or guarded by a condition
    that gives a constant; other conditions that are left involve several indices; no lets and
    predicates; no cell is assigned twice by one block; no temporary is read before it is
    written; what is written in part is zero elsewhere.
    """
    return write_compute(accepted(func, machine), func)


def accepted(func: PrimFunc, machine: Machine) -> ComputeFunction:
    """`func` as a checked ComputeFunction."""
    assert "f32" in machine.dtypes
    function = squeeze_temps(read_compute(func))
    for buffer in (*function.params, *function.temps):
        _check_rank(buffer)
    parts = [_settled(stage) for stage in function.stages]
    _check_order(function)
    return replace(function, stages=tuple(fill_gaps(parts)))


def _settled(stage: Stage) -> list[Stage]:
    """The stage in parts without conditions, each checked."""
    somewhere = any(isinstance(node, Result) for node in walk_expr(stage.value))
    if prod(stage.extents.values()) and not somewhere:
        _check_bounds(stage, stage.target, stage.extents)
    _check_target(stage, stage.extents)
    parts = [pad_below_masks(part) for part in settle_conditions(stage) if not _is_idle(part)]
    if not parts:
        raise stage.place.error(f"block '{stage.name}' never does anything: its T.where is false "
                                "everywhere", "remove it, or mend the condition")  # fmt: skip
    for part in parts:
        _check_stage(part)
        check_forms(part)
        if any(isinstance(node, Result) for node in walk_expr(part.value)):
            raise part.place.error(
                f"block '{part.name}' assigns its cells only where a condition on several indices "
                "holds", "loop over all of them, and choose the value with T.if_then_else",
            )  # fmt: skip
    return parts


def _is_idle(stage: Stage) -> bool:
    """Whether a condition keeps all of it from being done."""
    return isinstance(stage.value, Result)


def is_matrix_function(function: ComputeFunction) -> bool:
    """Whether all tensors are float32 vectors and matrices, read and written whole and in order,
    and nothing is computed in another type, chosen, or depends on indices otherwise."""
    exprs = [e for stage in function.stages for e in (stage.value, stage.init) if e is not None]
    return not any(map(has_forms, exprs)) and all(
        buffer.dtype == "float32" for buffer in (*function.params, *function.temps)
    ) and not any(
        isinstance(node, Cast) or (isinstance(node, Apply)
                                   and node.func.startswith((SELECT, INTEGER)))
        for expr in exprs for node in walk_expr(expr)
    ) and all(
        len(access.buffer.shape) <= MATRIX_RANK and not access.flat and access.fill is None
        and _not_whole(access, stage.extents) is None
        for stage in function.stages for access in (stage.target, *stage.sources)
    )  # fmt: skip


def squeeze_temps(function: ComputeFunction) -> ComputeFunction:
    """Temporaries of rank 0 as (1,), and those of rank 3 and more without their unit dims."""
    swap: dict[Buffer, tuple[Buffer, tuple[int, ...]]] = {}
    for temp in function.temps:
        kept = tuple(dim for dim, extent in enumerate(temp.shape) if extent != 1)
        if not temp.shape or (len(temp.shape) > MATRIX_RANK >= len(kept)):
            shape = tuple(temp.shape[dim] for dim in kept) or (1,)
            swap[temp] = replace(temp, shape=shape), kept
    if not swap:
        return function

    def squeezed(access: Access) -> Access:
        if access.buffer not in swap:
            return access
        buffer, kept = swap[access.buffer]
        if access.flat:
            return replace(access, buffer=buffer)
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
            "give it the shape (1,)" if rank == 0 else f"supported: ranks 1 to {MAX_RANK}",
        )


def _check_stage(stage: Stage) -> None:
    _check_types(stage)
    extents = stage.extents
    if prod(extents.values()):
        for access in (stage.target, *stage.sources):
            _check_bounds(stage, access, extents)
    _check_target(stage, extents)
    for access in stage.sources:
        _check_source(stage, access)


def _check_types(stage: Stage) -> None:
    """Integers are summed in matrix products alone."""
    value, dtype = stage.value, dtype_of(stage.value)
    if stage.combine and dtype != "float32":
        product = isinstance(value, Apply) and value.func == f"{INTEGER}mul" and all(
            isinstance(arg, Cast) and dtype_of(arg.value) == "int8" for arg in value.args
        )  # fmt: skip
        zero = isinstance(stage.init, Const) and stage.init.value == 0
        if stage.combine != "sum" or not product or not zero:
            raise stage.place.error(
                f"block '{stage.name}' accumulates {dtype}",
                "sums are of float32, or from 0 of products of int8 that are cast to int32",
            )


def _check_bounds(stage: Stage, access: Access, extents: dict[Var, int]) -> None:
    if stays_inside(access, extents):
        return
    sizes = (access.buffer.elements,) if access.flat else access.buffer.shape
    for dim, (index, size) in enumerate(zip(access.index, sizes, strict=True)):
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
    for axis in stage.axes:
        if not axis.reduce and axis.extent > 1 and axis.var not in target.axes:
            raise _race(stage, axis)
    if stage.combine or writes_once(target, extents):
        return
    index = next((i for i in target.index if not injective(i, extents)), target.number)
    raise stage.place.error(
        f"a write race: iterations of block '{stage.name}' with the same "
        f"{affine_text(index)} assign the same cell of '{target.buffer.name}'",
        "give each axis a dimension of its own",
    )


def _race(stage: Stage, axis: Axis) -> KernelError:
    accumulates = stage.target in accesses(stage.value) or stage.combine
    return stage.place.error(
        f"a write race: block '{stage.name}' assigns {stage.target} once for each of the "
        f"{axis.extent} values of '{axis.var.name}'",
        f"declare '{axis.var.name}' with T.axis.reduce" if accumulates
        else f"index '{stage.target.buffer.name}' by '{axis.var.name}' too",
    )  # fmt: skip


def _check_source(stage: Stage, access: Access) -> None:
    if access.buffer is stage.target.buffer and access != stage.target:
        raise access.place.error(
            f"block '{stage.name}' reads {access} while other iterations write "
            f"'{access.buffer.name}'",
            "write the result to another tensor",
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
