"""The search for a nest's plan: what a glance takes for the fastest, compared by the cost model.

Each planner ranks its plans by a closed form (`tile_gemm_time`, `cost`, `nest_plan`), which leaves
out what SRAM has no room for. Of the first ones of that ranking, the nest is written and placed,
and `model_time` says how long it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Generic, TypeVar

from tileflow_tvm.errors import KernelError
from tileflow_tvm.frontend.tile_ir import Program
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.infer_scope import infer_scope
from tileflow_tvm.passes.model_time import Estimate, estimate
from tileflow_tvm.passes.pipeline import pipeline
from tileflow_tvm.passes.plan_sram import plan_sram

MOST_COMPARED = 32
"""Plans that the cost model looks at."""

MOST_PLACED = 80
"""Plans that are written, with those that turn out not to fit."""

PATIENCE = 16
"""Plans in a row, none of which is faster, after which the search is over."""

ABOUT_AS_FAST = 1.01
"""Plans whose time differs by no more are compared by the number of their instructions: what a host
spends on an instruction is in no machine description."""

P = TypeVar("P")


@dataclass(frozen=True)
class Ranked(Generic[P]):
    """A plan before the cost model has seen it: `glance` is what a closed form takes its time to
    be, `price` a factor for what else it costs."""

    glance: float
    plan: P
    price: float = 1.0

    @property
    def cost(self) -> float:
        return self.glance * self.price


Watcher = Callable[[int, int], None]
"""Called with how many plans have been looked at, and how many there may be."""

_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Searches inside report to `watcher`."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def place(program: Program, machine: Machine) -> Program:
    """A tile-level program with addresses and semaphores."""
    return pipeline(plan_sram(infer_scope(program, machine), machine), machine)


def estimate_of(program: Program, machine: Machine) -> Estimate | None:
    """What a tile-level program costs; None where it does not fit."""
    try:
        return estimate(place(program, machine), machine)
    except KernelError:
        return None


def fastest(
    ranked: list[Ranked[P]], write: Callable[[P], Program], machine: Machine
) -> Ranked[P] | None:
    """The best of `ranked`, with its time in place of the glance; None where none fits. `write`
    gives the program that has the nest."""
    watch = _watcher.get()
    order = sorted(ranked, key=lambda one: one.cost)[:MOST_PLACED]
    found: list[tuple[float, int, Ranked[P]]] = []
    least, since = float("inf"), 0
    for number, one in enumerate(order):
        if watch:
            watch(number, min(len(order), MOST_COMPARED))
        cost = estimate_of(write(one.plan), machine)
        if cost is None:
            continue
        price = cost.cycles * one.price
        found.append((price, cost.instructions, Ranked(cost.cycles, one.plan, one.price)))
        since = 0 if price < least else since + 1
        least = min(least, price)
        if len(found) >= MOST_COMPARED or since >= PATIENCE:
            break
    if not found:
        return None
    near = [entry for entry in found if entry[0] <= ABOUT_AS_FAST * least]
    return min(near, key=lambda entry: (entry[1], entry[0]))[2]
