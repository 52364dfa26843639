"""Programs as text, timed by the simulator and by the slow model, which have to agree."""

from __future__ import annotations

from simulator_programs import program
from timing_model import Model

from tileflow_tvm.isa.program import Program
from tileflow_tvm.sim import Simulator
from tileflow_tvm.timing import Timing

X = """
.arg X f32[8, 8] in
.tensor X f32[8, 8] at arg X
.access tile row(8, d0), col(8, d1)
"""
Y = """
.arg Y f32[8, 8] out
.tensor Y f32[8, 8] at arg Y
"""


def machine(**keys: int) -> str:
    """`tileflow` with tiles of 8 x 8 (256 bytes, 4 bursts) and room for 32 of them."""
    keys = {"tile": 8, "sram_bytes": 8192, **keys}
    return f".machine tileflow {{ {' '.join(f'{key}={value}' for key, value in keys.items())} }}\n"


def timed(text: str, **keys: int) -> Timing:
    return timed_program(program(text, machine(**keys)))


def timed_program(made: Program, **scalars: int) -> Timing:
    """With what holds for every program."""
    timing = Simulator(made).time(scalars)
    model = Model(made, tuple(scalars[name] for name in made.scalars))
    assert timing.cycles == model.run()
    assert timing.macs == model.macs
    assert sum(traffic.burst_bytes for traffic in timing.dram) == model.burst_bytes
    assert timing.dram_bytes == model.asked_bytes
    check_sums(timing)
    return timing


def check_sums(timing: Timing) -> None:
    for name, engine in timing.engines.items():
        parts = (engine.busy, *engine.waiting.values(), engine.idle)
        assert min(parts) >= 0, name
        assert sum(parts) == timing.cycles, name
    sequencer = timing.sequencer
    parts = (sequencer.issuing, *sequencer.stalled.values(), sequencer.idle)
    assert min(parts) >= 0
    assert sum(parts) == timing.cycles
    assert sum(timing.critical_path.values()) == timing.cycles
    assert timing.cycles >= timing.bound[1]
    assert timing.dram_cycles <= timing.cycles
    assert timing.dram_utilisation <= timing.burst_utilisation <= 1
