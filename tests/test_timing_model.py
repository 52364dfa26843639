"""What holds for every program: the simulator's model agrees with the slow one cycle for cycle, no
program beats the roofline, and nothing that gets faster makes a program slower."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache

import pytest
from graph_source import load_source, source_of
from graphs import graph_of
from random_tiles import Generator
from simulator_programs import gemm_machine, gemm_text
from simulator_programs import program as assembled
from timed import check_sums, timed_program

import tileflow_tvm as tf
from tileflow_tvm.errors import KernelError
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.isa.program import Program
from tileflow_tvm.passes.emit import emit
from tileflow_tvm.passes.pipeline import pipeline
from tileflow_tvm.passes.plan_sram import plan_sram
from tileflow_tvm.sim import Simulator
from tileflow_tvm.timing import Timing

FASTER = {
    "issue_cycles": lambda x: x // 2,
    "semaphore_cycles": lambda x: x // 2,
    "macs_per_cycle": lambda x: x * 3,
    "mac_fill_cycles": lambda x: x // 3,
    "mac_drain_cycles": lambda x: x // 3,
    "vector_lanes": lambda x: x * 2,
    "vector_startup_cycles": lambda x: x // 2,
    "function_cycles": lambda x: max(1, x // 2),
    "dma_setup_cycles": lambda x: x // 2,
    "dma_outstanding": lambda x: x + 1,
    "dram_bytes_per_cycle": lambda x: x + x // 2 + 1,
    "dram_latency_cycles": lambda x: x * 2 // 3,
    "queue_depth": lambda x: x + 1,
}
"""How each key gets better."""


def random_speeds(rng: random.Random) -> dict[str, int]:
    """Values of the keys that only model time knows; balanced ones, so that much matters."""
    return {
        "queue_depth": rng.choice((1, 2, 3, 8)),
        "issue_cycles": rng.choice((0, 1, 7, 40)),
        "semaphore_cycles": rng.choice((0, 1, 9)),
        "macs_per_cycle": rng.choice((64, 300, 1024)),
        "mac_fill_cycles": rng.choice((0, 5, 32)),
        "mac_drain_cycles": rng.choice((0, 7, 32)),
        "vector_lanes": rng.choice((4, 24, 128)),
        "vector_startup_cycles": rng.choice((0, 8, 50)),
        "function_cycles": rng.choice((1, 4)),
        "dma_setup_cycles": rng.choice((0, 8, 30)),
        "dma_outstanding": rng.choice((1, 2, 4)),
        "dram_bytes_per_cycle": rng.choice((3, 16, 64)),
        "dram_latency_cycles": rng.choice((0, 10, 100, 500)),
        "dram_burst_bytes": rng.choice((4, 32, 64, 256)),
    }


@cache
def tiles_program(seed: int) -> Program | None:
    """A random tile-level program; None where it does not fit."""
    machine = Machine().replace(sram_bytes=(24, 48, 96, 256)[seed % 4] << 10)
    try:
        placed = plan_sram(Generator(seed).program(), machine)
    except KernelError:
        return None
    return emit(pipeline(placed, machine), machine)


@cache
def graph_program(seed: int) -> Program:
    graph = graph_of(seed)
    tile = (8, 16, 32)[seed % 3]
    machine = Machine().replace(tile=tile, sram_bytes=max(graph.sram_bytes, 12 * tile * tile))
    return tf.compile(load_source(source_of(graph)), machine).program


GEMMS = [(100, 70, 90, 32, 2), (64, 64, 256, 32, 3), (33, 128, 65, 64, 1)]


def programs(seeds: range) -> list[Program]:
    """Compiled ones and written ones."""
    made = [graph_program(seed) for seed in seeds]
    made += [program for seed in seeds if (program := tiles_program(seed))]
    return [*made, *(assembled(gemm_text(*g), gemm_machine(*g[3:])) for g in GEMMS)]


def on(program: Program, **keys: int) -> Program:
    return replace(program, machine=program.machine.replace(**keys))


def time(program: Program) -> Timing:
    return Simulator(program).time()


@pytest.mark.parametrize("seed", range(24))
def test_the_slow_model_agrees(seed):
    rng = random.Random(seed)
    for program in (graph_program(seed), tiles_program(seed)):
        if program is not None:
            timed_program(on(program, **random_speeds(rng)))


@pytest.mark.parametrize("seed", range(0, 40, 8))
def test_better_is_never_slower(seed):
    for program in programs(range(seed, seed + 8)):
        rng = random.Random(seed)
        for _ in range(3):
            speeds = random_speeds(rng)
            base = time(on(program, **speeds))
            check_sums(base)
            for key, better in FASTER.items():
                changed = {**speeds, key: better(speeds[key])}
                assert time(on(program, **changed)).cycles <= base.cycles, (key, speeds)


@pytest.mark.parametrize("shape", [(100, 70, 90), (64, 64, 256), (33, 128, 65)])
def test_deeper_rings_are_never_slower(shape):
    rng = random.Random(1)
    for _ in range(20):
        speeds = random_speeds(rng)
        taken = [
            time(on(assembled(gemm_text(*shape, 32, depth), gemm_machine(32, depth)), **speeds))
            for depth in (1, 2, 3, 4)
        ]
        cycles = [timing.cycles for timing in taken]
        assert cycles == sorted(cycles, reverse=True), speeds


def test_the_same_figures_every_time():
    program = graph_program(3)
    simulator = Simulator(program)
    timing = simulator.time()
    arrays = graph_of(3).arrays
    for engine in ("sequential", "threaded", "auto"):
        for simd in ("", "scalar"):
            stats = simulator.run(arrays, engine=engine, simd=simd).stats
            assert stats.timing is timing
            assert stats.cycles == timing.cycles
    assert Simulator(program).time() == timing
