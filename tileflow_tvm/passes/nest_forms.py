"""Conditions on several indices, and values computed from indices, in the blocks of a nest."""

from __future__ import annotations

from collections.abc import Iterator

from tileflow_tvm.frontend.compute import Expr, Index, Mask, Stage, forms, walk_expr
from tileflow_tvm.frontend.tile_ir import Affine
from tileflow_tvm.isa.table import TILEFLOW
from tileflow_tvm.passes.nest_layout import Layout, Side

_INSN = {Mask: "exec.affine_select", Index: "exec.iota"}


def nodes_with_forms(stage: Stage) -> Iterator[Expr]:
    init = () if stage.init is None else (stage.init,)
    for expr in (stage.value, *init, *(expr for _, expr in stage.stores)):
        yield from (node for node in walk_expr(expr) if forms(node))


def check_forms(stage: Stage) -> None:
    """KernelError where an index counts more in a form than an instruction has steps."""
    for node in nodes_with_forms(stage):
        for var, step in (term for form in forms(node) for term in form.terms):
            if not _is_step(node, step):
                low, high = _steps(node)
                assert isinstance(node, Mask | Index)
                raise node.place.error(
                    f"'{var.name}' is taken {step} times here",
                    f"indices in conditions and values are multiplied by {low}..{high}",
                )


def steps_fit(stage: Stage) -> bool:
    return all(
        _is_step(node, step)
        for node in nodes_with_forms(stage) for form in forms(node) for _, step in form.terms
    )  # fmt: skip


def _steps(node: Expr) -> tuple[int, int]:
    """What a form may be multiplied by, so that its negative may as well."""
    _, high = TILEFLOW.by_mnemonic[_INSN[type(node)]].by_name["rstep"].bounds
    return -high, high


def _is_step(node: Expr, step: int) -> bool:
    low, high = _steps(node)
    return low <= step <= high


def holds_forms(stage: Stage, layout: Layout) -> bool:
    """Whether each form grows evenly along the rows and columns of all blocks."""
    sides = [*layout.sides, *((layout.whole_depth,) if layout.resident is not None else ())]
    return all(
        _is_even(form, side)
        for node in nodes_with_forms(stage) for form in forms(node) for side in sides
    )  # fmt: skip


def _is_even(form: Affine, side: Side) -> bool:
    step, terms = step_along(form, side), dict(form.terms)
    for axis in reversed(side.axes):
        if terms.get(axis.var, 0) != step:
            return False
        step *= axis.extent
    return True


def step_along(form: Affine, side: Side) -> int:
    """What one more row (or column) of the side adds to `form`."""
    return dict(form.terms).get(side.axes[-1].var, 0) if side.axes else 0
