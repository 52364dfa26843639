"""Random graphs of 1 to 6 operators with sharing, against NumPy float64 and across engines."""

from __future__ import annotations

import random

import hypothesis
import numpy as np
import pytest
from differential import check_graph
from graph_source import source_of
from graphs import BINARY, LOOSEST, UNARY, graph_of, random_graph
from hypothesis import strategies as st

SAMPLE = 60
WHOLE = 1500
CHUNK = 50


def replay(seed: int, **machine: int) -> None:
    """Check the graph of this number; a failure prints what replays it."""
    graph = graph_of(seed)
    print(f"python tests/differential.py {seed}  # sram_bytes={graph.sram_bytes} {machine}")
    print(source_of(graph))
    check_graph(graph, **machine)


def test_no_tolerance_is_loose():
    """The bounds come from the sums' lengths; half of the outputs are bound to 1e-5."""
    bounds = [out.looseness for seed in range(200) for out in graph_of(seed).expected()]
    assert max(bounds) < LOOSEST
    assert np.median(bounds) < 1e-5


def test_the_generator_covers_what_it_promises():
    graphs = [graph_of(seed) for seed in range(SAMPLE)]
    nodes = [node for graph in graphs for node in graph.nodes]
    leaves = {(expr.mode, expr.func) for node in nodes if node.expr for expr in walk(node.expr)}
    assert {"full", "row", "col", "scalar"} <= {mode for mode, _ in leaves}
    assert {*UNARY, *BINARY, "const"} <= {func for _, func in leaves}
    reductions = {(node.func, node.axis, node.keep) for node in nodes if node.kind == "reduce"}
    assert len(reductions) == 8
    matmuls = {(node.ta, node.tb) for node in nodes if node.kind == "matmul"}
    assert len(matmuls) == 4
    assert any(node.lhs is node.rhs for node in nodes if node.kind == "matmul")
    assert any(len(graph.outputs) > 1 for graph in graphs)
    assert {graph.style for graph in graphs} == {"script", "te"}


def walk(expr):
    yield expr
    for arg in expr.args:
        yield from walk(arg)


@pytest.mark.parametrize("seed", range(SAMPLE))
def test_a_sample_of_graphs(seed):
    replay(seed)


@pytest.mark.parametrize("seed", range(SAMPLE, SAMPLE + 15))
def test_graphs_on_machines_with_other_tiles(seed):
    tile = (8, 16, 64)[seed % 3]
    replay(seed, tile=tile, sram_bytes=(3 + seed % 9) * tile * tile * 4)


@pytest.mark.parametrize("seed", range(100, 125))
def test_nan_and_inf_go_where_numpy_puts_them(seed):
    graph = graph_of(seed)
    numbers = np.random.default_rng(seed)
    data = {}
    for node in graph.inputs:
        data[node] = graph.data[node].copy()
        spots = numbers.random(node.shape) < 0.02
        data[node][spots] = numbers.choice([np.nan, np.inf, -np.inf], spots.sum())
    print(source_of(graph))
    check_graph(graph, data)


@pytest.mark.sweep
@pytest.mark.parametrize("first", range(0, WHOLE, CHUNK))
def test_every_graph(first):
    for seed in range(first, first + CHUNK):
        replay(seed)


@pytest.mark.sweep
@hypothesis.settings(max_examples=200)
@hypothesis.given(st.randoms(use_true_random=False), st.integers(1, 40))
def test_graphs_that_hypothesis_finds_and_shrinks(rng: random.Random, largest: int):
    graph = random_graph(rng, largest)
    hypothesis.note(source_of(graph))
    check_graph(graph)
