"""The cost model against what a run moves and holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tile_graphs import Graph, data_for, graphs
from tile_interpreter import TileInterpreter

from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.cost import (
    Cost,
    balanced,
    gemm_cycles,
    measure,
    packs,
    peak_bytes,
    total_bytes,
)
from tileflow_tvm.passes.fuse import fuse
from tileflow_tvm.passes.tile import tile

SMALL = Machine().replace(tile=8)


@given(graphs(most=4), st.sampled_from((3, 5, 16, 64)), st.integers(0, 9))
def test_words_and_bytes_are_what_a_run_measures(graph: Graph, tiles: int, seed: int) -> None:
    machine = SMALL.replace(sram_bytes=tiles * SMALL.tile_bytes)
    program = graph.program()
    tiled = tile(fuse(program, machine), machine)
    interpreter = TileInterpreter(tiled, machine.tile)
    with np.errstate(all="ignore"):
        interpreter.run(data_for(program, np.random.default_rng(seed)))
    assert measure(tiled.body, machine).words == interpreter.traffic.words


@pytest.mark.parametrize("extent", [1, 8, 9, 100, 1024, 12345])
@pytest.mark.parametrize("step", [1.125, 1.4])
def test_balanced_sizes(extent, step):
    sizes = balanced(extent, SMALL, step)
    tiles = -(-extent // 8)
    assert sizes == sorted(set(sizes))
    assert sizes[0] == 8
    assert sizes[-1] == 8 * tiles
    for size in sizes:
        assert size % 8 == 0
        parts = -(-tiles // (size // 8))
        assert -(-tiles // parts) == size // 8, "a smaller size makes as few parts"


def test_time_is_that_of_the_busier_engine():
    machine = Machine()
    dma_bound = Cost(words=64_000, exec_cycles=100)
    exec_bound = Cost(words=64, exec_cycles=100_000)
    assert dma_bound.cycles(machine, overlapped=True) == 4_000
    assert dma_bound.cycles(machine, overlapped=False) == 4_100
    assert exec_bound.cycles(machine, overlapped=True) == 100_100
    assert (dma_bound + exec_bound).words == 64_064


def test_padding_counts_in_gemm():
    machine = Machine()
    assert gemm_cycles(1, 1, 1, machine) == gemm_cycles(1, 32, 32, machine) == 1 + 64
    assert gemm_cycles(33, 32, 32, machine) == 33 + 64
    assert gemm_cycles(33, 33, 32, machine) == 2 * 33 + 64


def test_blocks_that_live_one_after_the_other_share_room():
    """A, B and C fill three tiles; a residual then takes the place of A or B."""
    three, four = (SMALL.replace(sram_bytes=tiles * SMALL.tile_bytes) for tiles in (3, 4))
    graph = Graph()
    c = graph.gemm(graph.input("a", 8, 80), graph.input("b", 80, 16))
    graph.binary("add", c, graph.input("x", 8, 16))
    program = graph.program()
    for machine in (three, four):
        body = tile(fuse(program, machine), machine).body
        assert peak_bytes(body, machine) == machine.sram_bytes < total_bytes(body, machine)
        assert packs(body, machine)
    assert not packs(body, three)
