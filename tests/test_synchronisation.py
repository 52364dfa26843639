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


def check_seed(seed: int) -> bool:
    """Whether the program of `seed` fits; asserts that it is right if it does."""
    sram = (24, 48, 96, 256)[seed % 4] << 10
    machine = MACHINE.replace(sram_bytes=sram)
    try:
        placed = plan_sram(Generator(seed).program(), machine)
    except KernelError as error:
        assert "does not fit" in error.what  # noqa: PT017 - the rest of the test goes on below
        return False
    program = emit(pipeline(placed, machine), machine)
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


@pytest.mark.sweep
@pytest.mark.parametrize("start", range(1000, 4000, 100))
def test_many_random_programs(start):
    assert sum(check_seed(seed) for seed in range(start, start + 100)) >= 25
