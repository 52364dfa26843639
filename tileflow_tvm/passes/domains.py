"""Conditions on indices: settled, read as padding, or taken apart with the domain of the stage.

Y[i] = X[i - 1] if i >= 1 else 0        Y[i] = pad(X[i - 1], 0)
Y[i] = A[i] if i < 4 else B[i - 4]      Y[i] = A[i] for i < 4;  Y[i + 4] = B[i]
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace

from tileflow_tvm.frontend.compute import (
    Access,
    Axis,
    Const,
    Expr,
    Mask,
    Stage,
    bounds,
    rewrite,
    substitute_axes,
    substituted,
    transform,
    walk_expr,
)
from tileflow_tvm.frontend.tile_ir import Affine, Var

MOST_PARTS = 64
"""Of a stage; what needs more is left with its conditions."""


def settle_conditions(stage: Stage) -> list[Stage]:
    """Stages that together do what `stage` does, one after the other, with as few `Mask`s as
    there can be: only those remain whose conditions involve several axes, or too many parts."""
    waiting, done = [stage], []
    while waiting:
        part = _simplified(waiting.pop(0))
        cut = _cut(part)
        if cut is None or len(waiting) + len(done) >= MOST_PARTS:
            done.append(part)
        else:
            waiting[:0] = _split(part, *cut)
    return done


def masks(stage: Stage) -> Iterator[Mask]:
    """The conditions that are left in `stage`."""
    for expr in _exprs(stage):
        yield from (node for node in walk_expr(expr) if isinstance(node, Mask))


def _exprs(stage: Stage) -> list[Expr]:
    return [stage.value, *([stage.init] if stage.init is not None else [])]


def _simplified(stage: Stage) -> Stage:
    extents = stage.extents

    def change(node: Expr) -> Expr:
        return _settled(node, extents) if isinstance(node, Mask) else node

    init = transform(stage.init, change) if stage.init is not None else None
    return replace(stage, value=transform(stage.value, change), init=init)


def _settled(mask: Mask, extents: dict[Var, int]) -> Expr:
    """`mask` without the conditions that always hold, and as padding where it is that."""
    if not all(extents.values()):
        return mask.yes
    open_ones = [c for c in mask.conditions if bounds(c, extents)[0] < 0]
    if any(bounds(condition, extents)[1] < 0 for condition in open_ones):
        return mask.no
    if not open_ones:
        return mask.yes
    mask = replace(mask, conditions=tuple(open_ones))
    return _as_padding(mask, extents) or mask


def _as_padding(mask: Mask, extents: dict[Var, int]) -> Expr | None:
    """A read that is guarded against leaving its tensor, and by a constant; what other
    conditions there are stay around it."""
    cell, default = mask.yes, mask.no
    if not isinstance(cell, Access) or not isinstance(default, Const) or cell.flat:
        return None
    if cell.fill is not None and _bits(cell.fill) != _bits(default.value):
        return None
    guards: set[Affine] = set()
    padded = False
    for index, size in zip(cell.index, cell.buffer.shape, strict=True):
        low, high = bounds(index, extents)
        sides = ((low < 0, index), (high >= size, index * -1 + (size - 1)))
        for leaves, guard in sides:
            if leaves and guard not in mask.conditions and cell.fill is None:
                return None
            padded |= leaves
            guards.add(guard)
    if not padded and cell.fill is None:
        return None
    rest = tuple(c for c in mask.conditions if c not in guards)
    cell = replace(cell, fill=default.value)
    return replace(mask, conditions=rest, yes=cell) if rest else cell


def _bits(value: float) -> bytes:
    return struct.pack("<f", value)


def _cut(stage: Stage) -> tuple[Axis, int] | None:
    """An axis and where to cut it, so that a condition is settled on either side."""
    axes = {axis.var: axis for axis in stage.axes}
    for mask in masks(stage):
        for condition in mask.conditions:
            if len(condition.terms) != 1:
                continue
            ((var, step),) = condition.terms
            first = -(condition.const // step) if step > 0 else condition.const // -step + 1
            return axes[var], first
    return None


def _split(stage: Stage, axis: Axis, at: int) -> list[Stage]:
    """The stage below and from `at` on; a sum that was begun below is continued."""
    low = Axis(Var(axis.var.name), at, axis.reduce)
    high = Axis(Var(axis.var.name), axis.extent - at, axis.reduce)
    parts = [_restricted(stage, axis, low, 0), _restricted(stage, axis, high, at)]
    if axis.reduce:
        parts[1] = replace(parts[1], init=None)
    return parts


def _restricted(stage: Stage, axis: Axis, to: Axis, start: int) -> Stage:
    walk = Affine(start) + (Affine.of(to.var) if to.extent != 1 else 0)
    by = {axis.var: walk}
    axes = tuple(to if a is axis else a for a in stage.axes if a is not axis or to.extent != 1)
    init = substitute_axes(stage.init, by) if stage.init is not None else None
    target = replace(stage.target, index=tuple(substituted(i, by) for i in stage.target.index))
    return replace(stage, axes=axes, target=target, init=init,
                   value=substitute_axes(stage.value, by))  # fmt: skip


def pad_below_masks(stage: Stage) -> Stage:
    """Reads below a `Mask` that may leave their tensor, where nobody looks at the value, as reads
    of 0 there."""
    extents = stage.extents

    def harmless(access: Access) -> Access:
        return access if stays_inside(access, extents) else replace(access, fill=0.0)

    def change(node: Expr) -> Expr:
        if not isinstance(node, Mask):
            return node
        return replace(node, yes=rewrite(node.yes, harmless), no=rewrite(node.no, harmless))

    init = transform(stage.init, change) if stage.init is not None else None
    return replace(stage, value=transform(stage.value, change), init=init)


def stays_inside(access: Access, extents: dict[Var, int]) -> bool:
    """Whether reading it is legal all over the (not empty) domain."""
    if access.fill is not None:
        return True
    sizes = (access.buffer.elements,) if access.flat else access.buffer.shape
    reach = (bounds(index, extents) for index in access.index)
    return all(low >= 0 and high < size for (low, high), size in zip(reach, sizes, strict=True))
