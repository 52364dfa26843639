"""Axes that can be walked as one."""

from __future__ import annotations

from dataclasses import replace

from tileflow_tvm.frontend.compute import (
    Access,
    Axis,
    Expr,
    Reduced,
    Stage,
    forms,
    map_forms,
    transform,
    walk_expr,
)
from tileflow_tvm.frontend.tile_ir import Affine, Var
from tileflow_tvm.passes.nest_forms import nodes_with_forms


def collapsed(stage: Stage) -> Stage:
    """`stage` with axes joined that every access walks as if they were one.

    before: Y[n, c, h, w] = relu(X[n, c, h, w])     after: Y.flat[i] = relu(X.flat[i])
    """
    while (pair := _pair(stage)) is not None:
        stage = _joined(stage, *pair)
    return stage


def _pair(stage: Stage) -> tuple[Axis, Axis] | None:
    cells = [stage.target, *(access for access, _ in stage.stores), *stage.sources]
    steps = [(access, dict(access.number.terms)) for access in cells]
    grown = [dict(form.terms) for node in nodes_with_forms(stage) for form in forms(node)]
    over = [set(node.over) for node in _nodes(stage) if isinstance(node, Reduced)]
    for outer in stage.axes:
        for inner in stage.axes:
            if outer is inner or outer.reduce is not inner.reduce:
                continue
            if any((outer.var in axes) is not (inner.var in axes) for axes in over):
                continue
            if not all(_grows_as_one(terms, outer, inner) for terms in grown):
                continue
            if all(_as_one(access, step, outer, inner) for access, step in steps):
                return outer, inner
    return None


def _as_one(access: Access, steps: dict[Var, int], outer: Axis, inner: Axis) -> bool:
    if access.fill is not None:
        return outer.var not in access.axes and inner.var not in access.axes
    return _grows_as_one(steps, outer, inner)


def _grows_as_one(steps: dict[Var, int], outer: Axis, inner: Axis) -> bool:
    return steps.get(outer.var, 0) == steps.get(inner.var, 0) * inner.extent


def _joined(stage: Stage, outer: Axis, inner: Axis) -> Stage:
    axis = Axis(Var(f"{outer.var.name}_{inner.var.name}"), outer.extent * inner.extent,
                outer.reduce)  # fmt: skip

    def form(value: Affine) -> Affine:
        steps = dict(value.terms)
        step = steps.pop(inner.var, 0)
        steps.pop(outer.var, None)
        return Affine(value.const, tuple(steps.items())) + Affine.of(axis.var) * step

    def cell(access: Access) -> Access:
        number = access.number if access.fill is None else Affine()
        steps = dict(number.terms)
        if outer.var not in steps and inner.var not in steps:
            return access
        return replace(access, index=(form(number),), flat=True)

    def change(node: Expr) -> Expr:
        if isinstance(node, Access):
            return cell(node)
        if isinstance(node, Reduced) and inner.var in node.over:
            left = tuple(var for var in node.over if var not in (outer.var, inner.var))
            return replace(node, over=(*left, axis.var))
        return map_forms(node, form)

    axes = tuple(axis if a is outer else a for a in stage.axes if a is not inner)
    stores = tuple((cell(access), transform(expr, change)) for access, expr in stage.stores)
    init = transform(stage.init, change) if stage.init is not None else None
    return replace(stage, axes=axes, target=cell(stage.target), init=init, stores=stores,
                   value=transform(stage.value, change))  # fmt: skip


def _nodes(stage: Stage) -> list[Expr]:
    exprs = [stage.value, *(expr for _, expr in stage.results)]
    return [node for expr in exprs for node in walk_expr(expr)]
