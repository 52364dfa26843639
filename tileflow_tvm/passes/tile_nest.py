"""Loop nests for `nest` operations: what `lift` does not know as matrix operations."""

from __future__ import annotations

from tileflow_tvm.errors import KernelError
from tileflow_tvm.frontend.compute import Stage
from tileflow_tvm.frontend.tile_ir import Alloc, NameSupply, Op, Program, Stmt
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.cost import packs
from tileflow_tvm.passes.nest_axes import collapsed
from tileflow_tvm.passes.nest_layout import resident_sets, roles_of
from tileflow_tvm.passes.nest_plan import plan_nest
from tileflow_tvm.passes.nest_transfer import Views
from tileflow_tvm.passes.nest_write import lower_nest

MOST_TRIED = 40
"""Layouts that are written out to see whether they fit."""


def tile_nests(body: tuple[Stmt, ...], machine: Machine, names: NameSupply) -> tuple[Stmt, ...]:
    """The statements of a program of nests, each as loops over blocks, behind the views of
    tensors that they need."""
    views = Views(names)
    done: list[Stmt] = []
    for stmt in body:
        if isinstance(stmt, Op):
            done += _lowered(stmt, machine, views, names)
    return (*(Alloc(view) for view in views.made.values()), *done)


def _lowered(op: Op, machine: Machine, views: Views, names: NameSupply) -> tuple[Stmt, ...]:
    assert op.stage is not None
    stage = collapsed(op.stage)
    roles = roles_of(stage)
    for count, layout in enumerate(plan_nest(stage, roles, machine)):
        tried, kept = NameSupply(set(names.taken)), dict(views.made)
        body = lower_nest(stage, roles, layout, Views(tried, views.made), tried)
        if packs(body, machine):
            names.taken |= tried.taken
            return body
        views.made.clear()
        views.made.update(kept)
        if count == MOST_TRIED:
            break
    raise KernelError(
        f"no blocks of '{stage.name}' fit into {machine.sram_bytes} B of SRAM", loc=op.loc,
        hint="raise sram_bytes in the machine file, or split the block",
    )  # fmt: skip


def nest_fits(stage: Stage, machine: Machine) -> bool:
    """Whether some blocks of the nest fit, and one side can hold all that is reduced on chip."""
    if len(resident_sets(stage)) > 1:
        return False
    stage = collapsed(stage)
    roles = roles_of(stage)
    for count, layout in enumerate(plan_nest(stage, roles, machine)):
        names = NameSupply()
        if packs(lower_nest(stage, roles, layout, Views(names), names), machine):
            return True
        if count == MOST_TRIED:
            break
    return False


def is_nests(program: Program) -> bool:
    """Whether the program is of nests."""
    return any(op.name == "nest" for op in program.ops)
