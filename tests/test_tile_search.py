"""The cost model against the simulator's, and what the search makes of it."""

from __future__ import annotations

import pytest
from test_tile_gemm_time import tiled
from tvm import te, topi

import tileflow_tvm as tf
from tileflow_tvm.driver import Executable
from tileflow_tvm.isa.table import BINARY_FUNCS, UNARY_FUNCS
from tileflow_tvm.passes.emit import emit
from tileflow_tvm.passes.model_time import FREE_OF_FUNCTIONS
from tileflow_tvm.passes.tile import Tiling
from tileflow_tvm.passes.tile_search import Ranked, estimate_of, fastest, place, watched

MACHINE = tf.Machine.load("tileflow")


def simulated(program, machine=MACHINE) -> int:
    return Executable(emit(place(program, machine), machine)).time().cycles


def product(m: int = 200):
    a, b = te.placeholder((m, 333), name="a"), te.placeholder((333, 150), name="b")
    return te.create_prim_func([a, b, topi.nn.relu(topi.matmul(a, b))])


def convolution():
    x, w = te.placeholder((1, 16, 21, 21), name="x"), te.placeholder((24, 16, 3, 3), name="w")
    return te.create_prim_func([x, w, topi.nn.conv2d_nchw(x, w, 2, 1, 1)])


def sums():
    x = te.placeholder((77, 3000), name="x")
    return te.create_prim_func([x, topi.sum(x, axis=1)])


def transposed():
    x = te.placeholder((6, 45, 70), name="x")
    return te.create_prim_func([x, topi.transpose(x, (0, 2, 1))])


@pytest.mark.parametrize("make", [product, convolution, sums, transposed])
def test_the_model_of_a_candidate_is_what_the_simulator_says(make):
    tiling = tiled(make())
    plans = [*dict.fromkeys(tiling.nests[0].candidates())]
    compared = 0
    for plan in plans[:: max(1, len(plans) // 12)]:
        program = tiling.write({0: plan})
        cost = estimate_of(program, MACHINE)
        if cost:
            assert cost.cycles == pytest.approx(simulated(program), rel=0.06, abs=60)
            compared += 1
    assert compared > 3


def test_functions_take_what_the_simulator_takes():
    """`function_cycles` of 7 make a function seven times as long as what is none."""
    machine = MACHINE.replace(function_cycles=7, dram_bytes_per_cycle=1024)
    x = te.placeholder((64, 64), name="x")
    for result in (
        topi.exp(x),
        topi.abs(x),
        topi.nn.relu(x),
        topi.divide(x, 3.0),
        topi.tanh(x),
        x + 2.0,
    ):
        tiling = tiled(te.create_prim_func([x, result]))
        cost = estimate_of(tiling.write(), machine)
        assert cost is not None
        assert cost.cycles == pytest.approx(simulated(tiling.write(), machine), abs=40)
    assert set(UNARY_FUNCS) >= FREE_OF_FUNCTIONS
    assert "div" in BINARY_FUNCS


def test_the_fastest_of_what_fits_is_taken_whatever_the_glance_says():
    tiling = tiled(product())
    plans = [*dict.fromkeys(tiling.nests[0].candidates())][::40]
    alone = Tiling(tiling.program, tiling.nests)
    best = fastest([Ranked(1.0, plan) for plan in plans], lambda p: alone.write({0: p}), MACHINE)
    costs = [cost for plan in plans if (cost := estimate_of(alone.write({0: plan}), MACHINE))]
    assert best is not None
    assert best.glance <= 1.01 * min(cost.cycles for cost in costs)


def test_a_plan_that_does_not_fit_is_passed_over():
    small = MACHINE.replace(sram_bytes=3 * MACHINE.tile_bytes)
    tiling = tiled(product())
    large = max(tiling.nests[0].candidates(), key=lambda plan: plan.own * plan.other)
    assert fastest([Ranked(1.0, large)], lambda p: tiling.write({0: p}), small) is None


def test_a_search_says_how_far_it_is():
    seen = []
    with watched(lambda at, most: seen.append((at, most))):
        tiled(product(211))
    assert seen[0][0] == 0
    assert all(at < 80 and most <= 32 for at, most in seen)


def test_a_nest_like_one_before_gets_its_plan_without_a_search():
    first = tiled(product(223)).nests[0].plan
    seen = []
    with watched(lambda at, most: seen.append((at, most))):
        assert tiled(product(223)).nests[0].plan == first
    assert not seen
