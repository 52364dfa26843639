"""`fuse=False`: each operation alone gives the bits that the fused program gives, since sums run in
an order that does not depend on blocks."""

from __future__ import annotations

import pytest
from differential import assert_close, assert_same_bits, run_every_way
from fusible import FUNCTIONS, convolution, softmax, tensor
from graph_source import load_source, source_of
from graphs import graph_of
from tvm import te, topi

import tileflow_tvm as tf
from tileflow_tvm.sim import draw


def scratch(exe) -> int:
    return exe.program.scratch_bytes


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_operation_alone_gives_the_same(name, rng):
    func = FUNCTIONS[name]()
    fused, alone = tf.compile(func), tf.compile(func, fuse=False)
    assert scratch(alone) > scratch(fused)
    arrays = [draw(rng, arg) for arg in fused.simulator.reads]
    for got, want in zip(run_every_way(alone, arrays), fused.run(*arrays).outputs, strict=True):
        assert_same_bits(got, want, name)
    assert alone.run(*arrays).stats.total_dram_bytes > fused.run(*arrays).stats.total_dram_bytes


def test_what_adds_nothing_up_has_the_same_bits(rng):
    x, y = tensor(50, 40), tensor(50, 40, name="y")
    func = te.create_prim_func([x, y, topi.tanh(topi.exp(x - y) * topi.sigmoid(y))])
    fused, alone = tf.compile(func), tf.compile(func, fuse=False)
    arrays = [draw(rng, arg) for arg in fused.simulator.reads]
    assert_same_bits(alone(*arrays), fused(*arrays), "maps")
    assert scratch(fused) == 0
    assert scratch(alone) > 0


@pytest.mark.parametrize("seed", range(0, 48, 2))
def test_random_graphs(seed):
    graph = graph_of(seed)
    machine = tf.Machine.load("tileflow").replace(sram_bytes=graph.sram_bytes)
    func = load_source(source_of(graph))
    fused, alone = tf.compile(func, machine), tf.compile(func, machine, fuse=False)
    outputs = run_every_way(alone, graph.arrays)
    for got, want in zip(outputs, graph.expected(), strict=True):
        assert_close(got, want, f"seed {seed}")
    for got, want in zip(outputs, fused.run(*graph.arrays).outputs, strict=True):
        assert_same_bits(got, want, f"seed {seed}")


def test_check_takes_it():
    assert tf.check(convolution(), fuse=False).max_abs < 1e-4


def test_a_kernel_at_tile_level_is_as_written():
    from tileflow_tvm.kernels.gemm import gemm_bias_relu

    func = gemm_bias_relu(64, 64, 64)
    assert tf.compile(func, fuse=False).to_bytes() == tf.compile(func).to_bytes()


def test_the_pass_is_left_out(tmp_path):
    tf.compile(softmax(), dump_passes=tmp_path, fuse=False)
    assert "fuse" not in " ".join(path.name for path in tmp_path.iterdir())
    assert any("tile" in path.name for path in tmp_path.iterdir())
