"""Buffers of a tile-level PrimFunc: parameters, allocations, and views of tensors in DRAM."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tvm import ir, tirx
from tvm_ffi import structural_equal

from tileflow_tvm.errors import KernelError, Loc
from tileflow_tvm.frontend.affine import Const
from tileflow_tvm.frontend.tile_ir import ITEMSIZE, Buffer, Scope, View
from tileflow_tvm.isa.program import MAX_ARG_RANK, contiguous


def read_buffer(var: Any, loc: Loc | None, scope: Scope, **fields: Any) -> Buffer:
    """A parameter or an allocation; KernelError where it is not dense."""
    buffer = _plain(var, loc, scope, **fields)
    _check_contiguous(var.name, var.ty, buffer.shape, loc)
    return buffer


def _plain(var: Any, loc: Loc | None, scope: Scope, **fields: Any) -> Buffer:
    """Name, dtype and shape."""
    ty, name = var.ty, var.name
    dtype = str(ty.dtype)
    if dtype not in ITEMSIZE:
        raise KernelError(f"'{name}' has dtype {dtype}", loc=loc,
                          hint=f"supported: {', '.join(ITEMSIZE)}")  # fmt: skip
    shape = tuple(_dim(name, dim, loc) for dim in ty.shape)
    if not 1 <= len(shape) <= MAX_ARG_RANK:
        raise KernelError(f"'{name}' has rank {len(shape)}", loc=loc,
                          hint=f"ranks 1 to {MAX_ARG_RANK} are supported")  # fmt: skip
    return Buffer(name, shape, dtype, scope, loc, **fields)


def _dim(name: str, dim: Any, loc: Loc | None) -> int:
    if not isinstance(dim, int | tirx.IntImm):
        raise KernelError(f"'{name}' has a dimension {dim} that is not a constant", loc=loc,
                          hint="integer parameters may bound loops, not shapes")  # fmt: skip
    if int(dim) < 0:
        raise KernelError(f"'{name}' has a dimension of {int(dim)}", loc=loc,
                          hint="dimensions are 0 (an empty tensor) or more")  # fmt: skip
    return int(dim)


def _check_contiguous(name: str, ty: Any, shape: tuple[int, ...], loc: Loc | None) -> None:
    offset = ty.elem_offset
    if isinstance(offset, int | tirx.IntImm) and int(offset) == 0:
        offset = None
    strides = [str(stride) for stride in ty.strides]
    step, dense = 1, []
    for dim in reversed(shape):
        dense.insert(0, str(step))
        step *= dim
    if offset is not None or (strides and strides != dense):
        raise KernelError(
            f"'{name}' has strides or an offset of its own", loc=loc,
            hint="tensors are dense and row-major; slice them in the kernel",
        )  # fmt: skip


_DATA = "tirx.buffer_data"


def read_view(
    stmt: Any, lookup: Callable[[Any, Loc | None], Buffer], const: Const, loc: Loc | None
) -> Buffer:
    """`T.decl_buffer(shape, dtype, data=A.data, strides=, elem_offset=)`; KernelError for what is
    no view of a tensor in DRAM, or leaves it."""
    var = stmt.buffer
    data = stmt.data
    if not (isinstance(data, ir.Call) and getattr(data.op, "name", "") == _DATA):
        raise KernelError(f"'{var.name}' is not a view of a buffer", loc=loc,
                          hint="say whose memory it is, as in data=A.data")  # fmt: skip
    base = lookup(data.args[0], loc)
    buffer = _plain(var, loc, Scope.DRAM)
    where = (f"'{base.name}' {base.shape}: {base.loc}",) if base.loc else ()
    if base.view:
        raise KernelError(f"'{var.name}' is a view of the view '{base.name}'", loc=loc, notes=where,
                          hint=f"make it a view of '{base.storage.name}'")  # fmt: skip
    if base.scope.on_chip:
        raise KernelError(f"'{var.name}' is a view of '{base.name}', which is on chip", loc=loc,
                          notes=where, hint="views are of tensors in DRAM")  # fmt: skip
    if buffer.dtype != base.dtype:
        raise KernelError(
            f"'{var.name}' is {buffer.dtype}, but '{base.name}' is {base.dtype}", loc=loc,
            notes=where, hint="a view has the dtype of its tensor; T.tf.cast converts",
        )  # fmt: skip
    _check_layout(var, data.args[0], loc)
    strides = tuple(const(stride, loc, "the stride") for stride in var.ty.strides)
    strides = strides or contiguous(buffer.shape)
    if len(strides) != len(buffer.shape):
        raise KernelError(f"'{var.name}' {buffer.shape} has {len(strides)} strides", loc=loc,
                          hint="one for each dimension, or none for a reshape")  # fmt: skip
    offset = const(var.ty.elem_offset, loc, "the offset")
    _check_inside(buffer, base, offset, strides, where)
    return replace(buffer, view=View(base, offset, strides))


def _check_layout(var: Any, base: Any, loc: Loc | None) -> None:
    """TVM gives a buffer the row-major layout of its shape, and what `A.view` makes that of A."""
    layout = var.ty.layout
    plain = [tirx.decl_buffer(shape).ty.layout for shape in (var.ty.shape, base.ty.shape)]
    if layout is not None and not any(structural_equal(layout, each) for each in plain):
        raise KernelError(f"'{var.name}' has a layout of its own", loc=loc,
                          hint="say strides= and elem_offset= instead")  # fmt: skip


def _check_inside(
    buffer: Buffer, base: Buffer, offset: int, strides: tuple[int, ...], where: tuple[str, ...]
) -> None:
    reaches = [(size - 1) * step for size, step in zip(buffer.shape, strides, strict=True)]
    low = offset + sum(reach for reach in reaches if reach < 0)
    high = offset + sum(reach for reach in reaches if reach > 0)
    if 0 in buffer.shape:
        low, high = offset, offset - 1
    if low >= 0 and high < base.elements:
        return
    raise KernelError(
        f"the view '{buffer.name}' {buffer.shape} reaches elements {low}..{high} of "
        f"'{base.name}', which has {base.elements}",
        loc=buffer.loc, notes=where, hint="check its shape, strides and elem_offset",
    )  # fmt: skip
