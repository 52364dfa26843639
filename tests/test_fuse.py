"""Which operations `fuse` puts into one nest, and what then reaches DRAM."""

from __future__ import annotations

import pytest
from tile_graphs import Graph, check

from tileflow_tvm.frontend.tile_ir import Alloc, Group, Op, Program
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.fuse import fuse
from tileflow_tvm.passes.tile import tile

SMALL = Machine().replace(tile=8, sram_bytes=64 * 256)


def groups(program: Program, machine: Machine = SMALL) -> list[list[str]]:
    """The names of the results of each nest, in order."""
    fused = fuse(program, machine)
    nests = [stmt for stmt in fused.body if not isinstance(stmt, Alloc)]
    ops = [nest.body if isinstance(nest, Group) else (nest,) for nest in nests]
    return [[op.dst.buffer.name for op in nest if isinstance(op, Op)] for nest in ops]


def stored(program: Program, machine: Machine = SMALL) -> list[str]:
    """The tensors that reach DRAM, in order."""
    return [op.dst.buffer.name for op in tile(fuse(program, machine), machine).ops
            if op.name == "store"]  # fmt: skip


def gemm_with_inputs(m: int = 20, n: int = 28, k: int = 36) -> tuple[Graph, object, object]:
    graph = Graph()
    x = graph.input("x", m, n)
    return graph, x, graph.gemm(graph.input("a", m, k), graph.input("b", k, n))


def test_maps_join_the_contraction_and_nothing_between_reaches_dram(rng):
    graph, x, c = gemm_with_inputs()
    c = graph.binary("add", c, graph.input("bias", 28), ("full", "row"))
    c = graph.binary("mul", graph.input("s", 20), c, ("col", "full"))
    c = graph.binary("mul", c, graph.input("one", 1), ("full", "scalar"))
    c = graph.binary("max", c, 0.0, ("full", "imm"))
    graph.binary("add", c, x)
    program = graph.program()
    assert groups(program) == [["t0", "t1", "t2", "t3", "t4", "t5"]]
    assert stored(program) == ["t5"]
    assert not [s for s in tile(fuse(program, SMALL), SMALL).body
                if isinstance(s, Alloc) and s.buffer.name.startswith("t") and "blk" not in
                s.buffer.name]  # fmt: skip
    traffic = check(program, SMALL, rng)
    assert traffic.stored == 20 * 28


@pytest.mark.parametrize("k", [8, 50])
def test_bias_and_residual_need_no_more_than_the_product(k, rng):
    graph, x, c = gemm_with_inputs(20, 28, k)
    c = graph.binary("add", c, graph.input("bias", 28), ("full", "row"))
    graph.binary("add", c, x)
    machine = SMALL.replace(sram_bytes=3 * SMALL.tile_bytes)
    assert len(groups(graph.program(), machine)) == 1
    check(graph.program(), machine, rng)


@pytest.mark.parametrize("k", [8, 50])
def test_blocks_are_small_enough_for_what_the_maps_hold(k, rng):
    graph, _, c = gemm_with_inputs(40, 60, k)
    several = [graph.unary(func, c) for func in ("tanh", "relu", "sin")]
    for value in (*several[1:], c):
        several[0] = graph.binary("mul", several[0], value)
    machine = SMALL.replace(sram_bytes=4 * SMALL.tile_bytes)
    assert len(groups(graph.program(), machine)) == 1
    check(graph.program(), machine, rng)


def test_a_value_with_another_user_is_kept(rng):
    graph, _, c = gemm_with_inputs()
    y = graph.unary("relu", c)
    z = graph.gemm(c, graph.input("w", 28, 12))
    program = graph.program(y, z)
    assert groups(program) == [["t0", "t1"], ["t2"]]
    assert stored(program) == ["t0", "t1", "t2"]
    check(program, SMALL, rng)


def test_both_outputs_of_a_group_are_stored(rng):
    graph, _, c = gemm_with_inputs()
    y = graph.unary("relu", c)
    program = graph.program(y, c)
    assert groups(program) == [["t0", "t1"]]
    assert stored(program) == ["t0", "t1"]
    check(program, SMALL, rng)


def test_a_diamond_stays_in_the_group(rng):
    graph, _, c = gemm_with_inputs()
    left, right = graph.unary("tanh", c), graph.unary("relu", c)
    graph.binary("mul", left, right)
    assert groups(graph.program()) == [["t0", "t1", "t2", "t3"]]
    check(graph.program(), SMALL, rng)


def test_a_map_of_an_input_joins_where_its_result_is_used(rng):
    graph, x, _ = gemm_with_inputs()
    e = graph.unary("tanh", x)
    graph.binary("add", e, graph.made[0])
    assert groups(graph.program()) == [["t0", "t1", "t2"]]
    check(graph.program(), SMALL, rng)


def test_two_contractions_do_not_share_a_nest(rng):
    graph = Graph()
    a, b = graph.input("a", 20, 20), graph.input("b", 20, 20)
    one, two = graph.gemm(a, b), graph.gemm(b, a)
    graph.binary("sub", one, two)
    assert groups(graph.program()) == [["t0"], ["t1", "t2"]]
    check(graph.program(), SMALL, rng)


def test_no_path_may_leave_a_group_and_come_back(rng):
    graph, _, c = gemm_with_inputs(24, 24, 24)
    y = graph.unary("relu", c)
    z = graph.gemm(y, graph.input("w", 24, 24))
    graph.binary("add", graph.binary("mul", z, y), c)
    assert groups(graph.program()) == [["t0", "t1"], ["t2", "t3", "t4"]]
    check(graph.program(), SMALL, rng)


def test_groups_that_are_each_convex_do_not_depend_on_each_other(rng):
    graph = Graph()
    x, y = graph.input("x", 20, 24), graph.input("y", 20, 24)
    a, b = graph.unary("tanh", x), graph.unary("relu", y)
    w = graph.input("w", 24, 24)
    graph.gemm(a, w)
    graph.gemm(b, w)
    c, d = graph.binary("add", graph.made[2], b), graph.binary("add", graph.made[3], a)
    check(graph.program(c, d), SMALL, rng)


def test_a_product_of_a_tensor_with_itself_and_a_residual(rng):
    graph = Graph()
    x = graph.input("x", 30, 30)
    graph.binary("add", graph.gemm(x, x), x)
    assert groups(graph.program()) == [["t0", "t1"]]
    check(graph.program(), SMALL, rng)


def test_a_tensor_is_not_overwritten_while_other_blocks_need_it(rng):
    graph = Graph()
    x = graph.input("x", 30, 30)
    c = graph.gemm(x, x)
    graph.unary("relu", c, into=x)
    program = graph.program(x)
    assert groups(program) == [["t0"], ["x"]]
    check(program, SMALL, rng)


def test_maps_may_overwrite_what_they_read(rng):
    graph = Graph()
    x = graph.input("x", 30, 30)
    y = graph.unary("tanh", x)
    graph.binary("sub", y, x, into=x)
    program = graph.program(x)
    assert groups(program) == [["t0", "x"]]
    check(program, SMALL, rng)


def softmax(rows: int, cols: int, axis: str) -> Graph:
    graph = Graph()
    x = graph.input("x", rows, cols)
    mode = ("full", "col" if axis == "cols" else "row")
    e = graph.unary("exp", graph.binary("sub", x, graph.reduce("max", x, axis), mode))
    graph.binary("div", e, graph.reduce("sum", e, axis), mode)
    return graph


@pytest.mark.parametrize("axis", ["cols", "rows"])
def test_softmax_is_one_group_where_a_panel_fits(axis, rng):
    program = softmax(50, 60, axis).program()
    assert groups(program) == [["t0", "t1", "t2", "t3", "t4"]]
    assert check(program, SMALL, rng).words == 2 * 50 * 60


@pytest.mark.parametrize("axis", ["cols", "rows"])
def test_longer_softmax_ends_groups_with_its_reductions(axis, rng):
    program = softmax(90, 95, axis).program()
    machine = SMALL.replace(sram_bytes=8 * 256)
    assert groups(program, machine) == [["t0"], ["t1", "t2", "t3"], ["t4"]]
    check(program, machine, rng)


def test_softmax_of_a_vector(rng):
    graph = Graph()
    x = graph.input("x", 1, 1000)
    e = graph.unary("exp", graph.binary("sub", x, graph.reduce("max", x, "cols"), ("full", "col")))
    graph.binary("div", e, graph.reduce("sum", e, "cols", keep=True), ("full", "col"))
    assert len(groups(graph.program())) == 1
    check(graph.program(), SMALL, rng)


def norm(rows: int, cols: int) -> Graph:
    graph = Graph()
    x = graph.input("x", rows, cols)
    mean = graph.binary("mul", graph.reduce("sum", x, "cols"), 1 / cols, ("full", "imm"))
    centred = graph.binary("sub", x, mean, ("full", "col"))
    variance = graph.reduce("sum", graph.binary("mul", centred, centred), "cols", keep=True)
    scale = graph.unary("rsqrt", variance, scale=1 / cols, bias=1e-5)
    y = graph.binary("mul", centred, scale, ("full", "col"))
    y = graph.binary("mul", y, graph.input("gamma", cols), ("full", "row"))
    graph.binary("add", y, graph.input("beta", 1, cols), ("full", "row"))
    return graph


def test_a_norm_is_one_group_with_vectors_between(rng):
    program = norm(50, 60).program()
    assert len(groups(program)) == 1
    assert check(program, SMALL, rng).words == 2 * 50 * 60 + 2 * 60


def test_vectors_after_a_streamed_reduction_join_it(rng):
    graph = Graph()
    x, s = graph.input("x", 90, 95), graph.input("s", 90)
    y = graph.binary("mul", x, graph.binary("add", s, 1.0, ("full", "imm")), ("full", "col"))
    total = graph.reduce("sum", y, "cols")
    graph.unary("tanh", graph.binary("add", total, s))
    machine = SMALL.replace(sram_bytes=3 * 256 + 512)
    program = graph.program()
    assert groups(program, machine) == [["t0", "t1", "t2", "t3", "t4"]]
    assert stored(program, machine) == ["t4"]
    check(program, machine, rng)


def test_reductions_along_both_axes_do_not_share_a_nest(rng):
    graph = Graph()
    x = graph.input("x", 40, 40)
    y = graph.unary("tanh", x)
    one, two = graph.reduce("sum", y, "cols"), graph.reduce("sum", y, "rows")
    program = graph.program(one, two)
    assert groups(program) == [["t0", "t1"], ["t2"]]
    check(program, SMALL, rng)


def test_one_vector_as_row_and_as_column(rng):
    graph = Graph()
    x = graph.input("x", 40, 40)
    s = graph.reduce("max", x, "cols")
    y = graph.binary("sub", x, s, ("full", "col"))
    graph.binary("add", y, s, ("full", "row"))
    assert groups(graph.program()) == [["t0", "t1"], ["t2"]]
    check(graph.program(), SMALL, rng)


def test_maps_that_read_the_same_tensor_load_it_once(rng):
    graph = Graph()
    x = graph.input("x", 50, 60)
    outs = [graph.unary(func, x) for func in ("tanh", "relu", "neg")]
    program = graph.program(*outs)
    assert groups(program) == [["t0", "t1", "t2"]]
    assert check(program, SMALL, rng).loaded == 50 * 60


def test_a_group_moves_no_more_tensors_than_semaphores_allow(rng):
    graph = Graph()
    y = graph.input("x", 20, 30)
    for index in range(24):
        y = graph.binary("add", y, graph.input(f"x{index}", 20, 30))
    sizes = [len(group) for group in groups(graph.program())]
    assert max(sizes) <= SMALL.semaphores // 4
    assert len(sizes) == 2
    check(graph.program(), SMALL, rng)


def test_transposed_copies_are_read_at_their_source(rng):
    graph = Graph()
    a, b = graph.input("a", 36, 20), graph.input("b", 28, 36)
    graph.gemm(graph.copy(a, transposed=True), graph.copy(b, transposed=True))
    program = graph.program()
    assert groups(program) == [["t2"]]
    check(program, SMALL, rng)


def test_a_transposed_copy_is_not_bypassed_when_its_source_changes(rng):
    graph = Graph()
    a, b = graph.input("a", 36, 20), graph.input("b", 36, 28)
    turned = graph.copy(a, transposed=True)
    graph.unary("neg", a, into=a)
    graph.gemm(turned, b)
    check(graph.program(a, graph.made[-1]), SMALL, rng)


def test_a_value_that_is_made_in_the_group_is_not_read_transposed(rng):
    graph = Graph()
    x = graph.input("x", 30, 30)
    turned = graph.copy(graph.unary("relu", x), transposed=True)
    graph.binary("sub", turned, x)
    assert groups(graph.program()) == [["t0"], ["t1", "t2"]]
    check(graph.program(), SMALL, rng)


def test_a_broadcast_constant_does_not_join_blocks_that_are_clipped(rng):
    graph = Graph()
    x, row = graph.input("x", 20, 30), graph.input("row", 30)
    spread = graph.binary("add", row, 0.0, ("row", "imm"), shape=(20, 30))
    graph.binary("mul", spread, x)
    assert groups(graph.program()) == [["t0"], ["t1"]]
    check(graph.program(), SMALL, rng)


def test_a_buffer_is_overwritten_after_its_last_reader(rng):
    """The reader's nest ends behind the writer in program order."""
    graph = Graph()
    x, w = graph.input("x", 20, 30), graph.input("w", 30, 30)
    t = graph.unary("tanh", x)
    c = graph.gemm(t, w)
    graph.unary("neg", x, into=t)
    y = graph.unary("relu", c)
    program = graph.program(y, t)
    assert groups(program)[-2:] == [["t1", "t2"], ["t0"]]
    check(program, SMALL, rng)


def test_a_filled_buffer_that_is_overwritten_is_no_constant(rng):
    graph = Graph()
    x = graph.input("x", 20, 30)
    t = graph.op("fill", (20, 30), value=0.5)
    y = graph.binary("add", x, t)
    graph.unary("tanh", x, into=t)
    graph.binary("mul", y, t)
    check(graph.program(), SMALL, rng)


def test_filled_operands_become_immediates():
    graph = Graph()
    x = graph.input("x", 20, 30)
    graph.binary("mul", graph.op("fill", (20, 30), value=0.5), x)
    (op,) = fuse(graph.program(), SMALL).ops
    assert (op.srcs[0], op.modes) == (0.5, ("imm", "full"))


def test_what_nothing_sees_is_dropped():
    graph = Graph()
    x = graph.input("x", 20, 30)
    y = graph.unary("relu", x)
    graph.unary("tanh", x)
    assert groups(graph.program(y)) == [["t0"]]


def test_operations_keep_their_place_in_the_source():
    graph, _, c = gemm_with_inputs()
    graph.unary("relu", c)
    tiled = tile(fuse(graph.program(), SMALL), SMALL)
    lines = {op.loc.line for op in tiled.ops if op.name == "unary"}
    assert lines == {2}
    assert all(op.loc.line == 1 for op in tiled.ops if op.name == "gemm")


def test_a_buffer_written_twice_holds_two_values(rng):
    graph = Graph()
    x = graph.input("x", 20, 30)
    t = graph.unary("tanh", x)
    y = graph.gemm(t, graph.input("w", 30, 30))
    graph.unary("neg", x, into=t)
    z = graph.binary("add", y, t)
    check(graph.program(z), SMALL, rng)
