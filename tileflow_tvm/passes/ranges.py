"""Bounds of affine forms over the iterations of the loops around them."""

from __future__ import annotations

from collections.abc import Sequence

from tileflow_tvm.frontend.tile_ir import Affine, Loop, Var


def substitute(value: Affine, var: Var, by: Affine) -> Affine:
    """`value` with `by` in place of `var`."""
    steps = dict(value.terms)
    step = steps.pop(var, 0)
    if not step:
        return value
    return Affine(value.const, tuple(steps.items())) + by * step


def maximum(value: Affine, loops: Sequence[Loop]) -> int | None:
    """The largest value that `value` takes inside `loops` (outermost first), or more where a
    loop may be empty; None where a launch parameter leaves it open."""
    for loop in reversed(loops):
        step = dict(value.terms).get(loop.var, 0)
        if step:
            value = substitute(value, loop.var, loop.extent - 1 if step > 0 else Affine())
    return value.const if value.is_const else None


def minimum(value: Affine, loops: Sequence[Loop]) -> int | None:
    """The smallest value, as `maximum`."""
    negated = maximum(value * -1, loops)
    return None if negated is None else -negated


def show(value: Affine) -> str:
    """`value` as a person writes it."""
    parts = [(step, var.name) for var, step in value.terms]
    text = " + ".join(name if step == 1 else f"{name} * {step}" for step, name in parts if step > 0)
    if value.const > 0 or not parts:
        text = f"{text} + {value.const}" if text else str(value.const)
    for step, name in parts:
        if step < 0:
            term = name if step == -1 else f"{name} * {-step}"
            text = f"{text} - {term}" if text else f"-{term}"
    return f"{text} - {-value.const}" if value.const < 0 and parts else text
