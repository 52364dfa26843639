"""What the planner takes a plan's time to be, against model time."""

from __future__ import annotations

import pytest
from test_handovers import dense

import tileflow_tvm as tf
from tileflow_tvm.driver import Executable
from tileflow_tvm.passes.emit import emit
from tileflow_tvm.passes.fuse import fuse
from tileflow_tvm.passes.legalize import legalize
from tileflow_tvm.passes.lift import lift
from tileflow_tvm.passes.tile import Tiling, plan_tiles
from tileflow_tvm.passes.tile_gemm_cost import GemmNeeds, GemmPlan, bytes_needed, rings
from tileflow_tvm.passes.tile_gemm_plan import plan_gemm
from tileflow_tvm.passes.tile_gemm_time import cycles
from tileflow_tvm.passes.tile_search import place

MACHINE = tf.Machine.load("tileflow")
PLANS = (
    GemmPlan(True, False, 176, 256, 32, 32, early=True),
    GemmPlan(True, False, 192, 256, 32, 64, early=True),
    GemmPlan(True, False, 128, 256, 64, 64, early=True),
    GemmPlan(False, False, 128, 256, 32, 128, early=True),
    GemmPlan(True, False, 160, 224, 32, 32),
    GemmPlan(True, True, 32, 32, 512, 32),
)


def tiled(func) -> Tiling:
    return plan_tiles(fuse(lift(legalize(func, MACHINE), MACHINE), MACHINE), MACHINE)


@pytest.mark.parametrize("shape", [(512, 512, 512), (400, 700, 512), (1024, 512, 512)])
@pytest.mark.parametrize("plan", PLANS)
def test_the_time_of_a_plan(shape, plan):
    needs = GemmNeeds(*shape)
    assert bytes_needed(needs, plan, MACHINE, 2) <= MACHINE.sram_bytes
    program = tiled(dense(*shape)).write({0: plan})
    exe = Executable(emit(place(program, MACHINE), MACHINE))
    assert cycles(needs, plan, MACHINE, 2) == pytest.approx(exe.time().cycles, rel=0.16)


def test_rings_are_those_of_plan_sram():
    needs = GemmNeeds(1024, 1024, 1024)
    plan = tiled(dense(1024, 1024, 1024)).nests[0].plan
    exe = tf.compile(dense(1024, 1024, 1024))
    slots = {info.name: info.slots for info in exe.program.buffers}
    got = rings(needs, plan, MACHINE)
    assert (got.resident, got.streamed, got.result) == tuple(slots.values())


def test_rows_that_fill_no_tile_are_shared_out_evenly():
    """1024 rows in blocks of at most 192: five of 192 would leave one of 64, for which DRAM moves
    as much of B."""
    plan = plan_gemm(GemmNeeds(1024, 1024, 1024), MACHINE)
    assert (plan.a_resident, plan.own) == (True, 176)
