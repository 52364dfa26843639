"""Loop nests for `nest` operations: what `lift` does not know as matrix operations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from tileflow_tvm.errors import KernelError
from tileflow_tvm.frontend.compute import Stage
from tileflow_tvm.frontend.tile_ir import NameSupply, Op, Program, Stmt
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.cost import packs
from tileflow_tvm.passes.nest_axes import collapsed
from tileflow_tvm.passes.nest_layout import Layout, Roles, resident_sets, roles_of
from tileflow_tvm.passes.nest_plan import all_layouts, plan_nest, rank_layouts
from tileflow_tvm.passes.nest_transfer import Views
from tileflow_tvm.passes.nest_write import lower_nest
from tileflow_tvm.passes.tile_search import fastest

MOST_TRIED = 40
"""Layouts that are written out to see whether they fit."""


@dataclass(frozen=True)
class StageNest:
    """The nest of a stage: `plan` is what the search chose."""

    stage: Stage
    roles: Roles
    machine: Machine
    plan: Layout

    def candidates(self) -> Iterator[Layout]:
        """Every layout of which the search could think, whether it fits or not."""
        return all_layouts(self.stage, self.roles, self.machine)

    def searched(self, write: Callable[[Layout], Program]) -> StageNest:
        """With the layout that the cost model prefers. `write` gives a program with the nest."""
        best = fastest(rank_layouts(self.stage, self.roles, self.machine), write, self.machine)
        return replace(self, plan=best.plan) if best else self

    def write(self, plan: object, names: NameSupply, views: Views) -> tuple[Stmt, ...]:
        assert isinstance(plan, Layout)
        return lower_nest(self.stage, self.roles, plan, views, names)


def plan_stage(op: Op, machine: Machine) -> StageNest:
    """The best layout that fits for the stage of a `nest`; KernelError where none does."""
    assert op.stage is not None
    stage = collapsed(op.stage)
    roles = roles_of(stage)
    layout = _first_that_fits(stage, roles, machine)
    if layout is None:
        raise KernelError(
            f"no blocks of '{stage.name}' fit into {machine.sram_bytes} B of SRAM", loc=op.loc,
            hint="raise sram_bytes in the machine file, or split the block",
        )  # fmt: skip
    return StageNest(stage, roles, machine, layout)


def _first_that_fits(stage: Stage, roles: Roles, machine: Machine) -> Layout | None:
    for layout in islice(plan_nest(stage, roles, machine), MOST_TRIED):
        names = NameSupply()
        if packs(lower_nest(stage, roles, layout, Views(names), names), machine):
            return layout
    return None


def nest_fits(stage: Stage, machine: Machine) -> bool:
    """Whether some blocks of the nest fit, and one side can hold all that is reduced on chip."""
    if len(resident_sets(stage)) > 1:
        return False
    stage = collapsed(stage)
    return _first_that_fits(stage, roles_of(stage), machine) is not None


def is_nests(program: Program) -> bool:
    """Whether the program is of nests."""
    return any(op.name == "nest" for op in program.ops)
