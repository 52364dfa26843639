"""fuse and tile on random graphs, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tile_graphs import Graph, check, graphs

from tileflow_tvm.isa.machine import Machine

SMALL = Machine().replace(tile=8)
"""Tiles so small that small tensors have many."""

TILES = (3, 4, 5, 7, 11, 16, 33, 64)


@given(graphs(), st.sampled_from(TILES), st.booleans())
def test_random_graphs_match_numpy(graph: Graph, tiles: int, fused: bool) -> None:
    machine = SMALL.replace(sram_bytes=tiles * SMALL.tile_bytes)
    check(graph.program(), machine, np.random.default_rng(tiles), fused=fused)


@pytest.mark.sweep
@given(graphs(), st.integers(3, 80), st.booleans())
def test_many_random_graphs_match_numpy(graph: Graph, tiles: int, fused: bool) -> None:
    machine = SMALL.replace(sram_bytes=tiles * SMALL.tile_bytes)
    check(graph.program(), machine, np.random.default_rng(tiles), fused=fused)
