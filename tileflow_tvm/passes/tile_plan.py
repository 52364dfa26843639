"""A group of operations with the plan of its nest, and the plans that it could have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from tileflow_tvm.frontend.tile_ir import NameSupply, Program, Stmt
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.cost import packs
from tileflow_tvm.passes.nest_layout import Layout
from tileflow_tvm.passes.nest_transfer import Views
from tileflow_tvm.passes.tile_contraction import lower_contraction, needs_of
from tileflow_tvm.passes.tile_gemm_cost import GemmPlan
from tileflow_tvm.passes.tile_gemm_plan import (
    WORTH_ENGINES,
    all_gemm_plans,
    plan_gemm,
    rank_gemm_plans,
)
from tileflow_tvm.passes.tile_group import GroupForm
from tileflow_tvm.passes.tile_map import (
    ABOUT_AS_FAST,
    WORTH_IT,
    MapPlan,
    all_map_plans,
    lower_map,
    plan_map,
    rank_map_plans,
)
from tileflow_tvm.passes.tile_search import Ranked, estimate_of, fastest
from tileflow_tvm.passes.tile_values import Dataflow

Plan = GemmPlan | MapPlan | Layout

MOST_REMEMBERED = 1024
"""Nests whose plans are remembered."""

_found: dict[object, Plan] = {}


@dataclass(frozen=True)
class GroupNest:
    """The nest of a group: `plan` is what the search chose."""

    form: GroupForm
    flow: Dataflow
    machine: Machine
    plan: Plan

    def candidates(self) -> Iterator[Plan]:
        """Every plan of which the search could think, whether it fits or not."""
        if self.form.gemm:
            yield from all_gemm_plans(needs_of(self.form, self.flow, self.machine), self.machine)
        else:
            yield from all_map_plans(self.form, self.machine)

    def searched(self, write: Callable[[Plan], Program]) -> GroupNest:
        """With the plan that the cost model prefers, for as many EXEC engines as are worth it.
        `write` gives a program that has the nest. A nest like one before gets its plan."""
        key = self._key()
        known = _found.get(key)
        if known and estimate_of(write(known), self.machine):
            return replace(self, plan=known)
        searched = self._searched(write)
        if len(_found) >= MOST_REMEMBERED:
            _found.clear()
        _found[key] = searched.plan
        return searched

    def _key(self) -> object:
        """What the time of the nest depends on, as far as a search is concerned."""
        form = self.form
        needs = needs_of(form, self.flow, self.machine) if form.gemm else None
        ops = tuple(
            (op.name, op.func, op.axis, op.transposed, form.operands.get(op)) for op in form.ops
        )
        return needs, form.space, form.axis, form.panel, len(form.kept), ops, self.machine

    def _searched(self, write: Callable[[Plan], Program]) -> GroupNest:
        alone = fastest(self._ranked(1, None), write, self.machine)
        if alone is None:
            return self
        best = alone
        for units in range(2, self.machine.exec_engines + 1):
            more = fastest(self._ranked(units, alone.plan), write, self.machine)
            if more and more.cost <= self._worth * best.cost:
                best = more
        return replace(self, plan=best.plan)

    @property
    def _worth(self) -> float:
        """The time that a plan for more engines may take, as a factor."""
        if self.form.gemm:
            return WORTH_ENGINES
        return WORTH_IT if self.form.axis and not self.form.panel else ABOUT_AS_FAST

    def _ranked(self, units: int, alone: Plan | None) -> list[Ranked[Plan]]:
        if self.form.gemm:
            needs = needs_of(self.form, self.flow, self.machine)
            ranked = rank_gemm_plans(needs, self.machine)
            return [one for one in ranked if one.plan.units == units]
        assert alone is None or isinstance(alone, MapPlan)
        return [*rank_map_plans(units, self.form, self.flow, self.machine, alone)]

    def write(self, plan: Plan, names: NameSupply, _views: Views) -> tuple[Stmt, ...]:
        return write_group(self.form, plan, self.flow, names)


def write_group(form: GroupForm, plan: Plan, flow: Dataflow, names: NameSupply) -> tuple[Stmt, ...]:
    if isinstance(plan, GemmPlan):
        return lower_contraction(form, plan, flow, names)
    assert isinstance(plan, MapPlan)
    return lower_map(form, plan, flow, names)


def plan_group(form: GroupForm, flow: Dataflow, machine: Machine) -> GroupNest | None:
    """The nest with the best blocks, None where the smallest ones are too large."""
    for units in range(machine.exec_engines, 0, -1):
        fewer = machine.replace(exec_engines=units)
        plan: Plan | None
        if form.gemm:
            plan = plan_gemm(needs_of(form, flow, fewer), fewer)
        else:
            plan = plan_map(form, flow, fewer)
        if plan and packs(write_group(form, plan, flow, NameSupply()), fewer):
            return GroupNest(form, flow, machine, plan)
    return None
