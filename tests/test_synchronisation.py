"""Random programs through the back end: all are proven well-synchronised and give, in both
engines, bit for bit what the instructions mean one by one."""

from __future__ import annotations

import numpy as np
import pytest
from isa_interpreter import interpret
from random_tiles import SIDE, Generator

from tileflow_tvm.errors import KernelError
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.emit import emit
from tileflow_tvm.passes.pipeline import pipeline
from tileflow_tvm.passes.plan_sram import plan_sram
from tileflow_tvm.sim import Simulator

MACHINE = Machine.load("tileflow")


def check_seed(seed: int, units: int = 1) -> bool:
    """Whether the program of `seed` fits; asserts that it is right if it does."""
    sram = (24, 48, 96, 256)[seed % 4] << 10
    machine = MACHINE.replace(sram_bytes=sram, exec_engines=units)
    try:
        placed = pipeline(plan_sram(Generator(seed, units).program(), machine), machine)
    except KernelError as error:
        lacking = "does not fit", "more than the machine's 63 semaphores"
        assert any(what in error.what for what in lacking)  # noqa: PT017 - the test goes on below
        return False
    program = emit(placed, machine)
    simulator = Simulator(program)
    simulator.verify()
    x = np.random.default_rng(seed).standard_normal((SIDE, SIDE)).astype(np.float32)
    (want,) = interpret(program, x)
    for engine in ("sequential", "threaded"):
        (got,) = simulator.run([x], engine=engine).outputs
        np.testing.assert_array_equal(got, want)
    return True


@pytest.mark.parametrize("start", range(0, 120, 20))
def test_random_programs(start):
    assert sum(check_seed(seed) for seed in range(start, start + 20)) >= 5


@pytest.mark.parametrize("units", [2, 3, 4])
def test_random_programs_on_several_exec_engines(units):
    start = 200 * units
    assert sum(check_seed(seed, units) for seed in range(start, start + 30)) >= 8


@pytest.mark.sweep
@pytest.mark.parametrize("start", range(1000, 4000, 100))
def test_many_random_programs(start):
    units = start // 100 % 4 + 1
    assert sum(check_seed(seed, units) for seed in range(start, start + 100)) >= 25
