"""Contractions: shapes, SRAM sizes, traffic, and the text that `tile` writes."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import sqrt

import numpy as np
import pytest
from tile_graphs import Graph, check

from tileflow_tvm.errors import KernelError
from tileflow_tvm.frontend.tile_ir import Alloc, Buffer, Loop, Program, walk
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.fuse import fuse
from tileflow_tvm.passes.ranges import show
from tileflow_tvm.passes.tile import plan_tiles, tile
from tileflow_tvm.passes.tile_gemm_cost import GemmNeeds, GemmPlan, traffic

SIZES = (1, 5, 8, 17, 40, 61)
"""With tiles of 8: less than one, several, several and a part."""

SMALL = Machine().replace(tile=8)
TILES = (3, 4, 5, 6, 7, 8, 11, 16, 23, 33, 64, 100)


def product_of(m: int, n: int, k: int, ta: bool = False, tb: bool = False) -> Graph:
    graph = Graph()
    a = graph.input("a", *((k, m) if ta else (m, k)))
    b = graph.input("b", *((n, k) if tb else (k, n)))
    graph.gemm(a, b, ta, tb)
    return graph


@pytest.mark.parametrize("tiles", TILES)
def test_every_shape_at_every_size_of_sram(tiles, rng):
    machine = SMALL.replace(sram_bytes=tiles * SMALL.tile_bytes)
    shapes = list(product(SIZES, repeat=3))
    for at in rng.choice(len(shapes), 12, replace=False):
        m, n, k = shapes[at]
        graph = product_of(m, n, k, *rng.integers(0, 2, 2).astype(bool))
        _random_epilogue(graph, m, n, rng)
        check(graph.program(), machine, rng)


@pytest.mark.sweep
@pytest.mark.parametrize("tiles", TILES)
def test_all_shapes_at_every_size_of_sram(tiles, rng):
    machine = SMALL.replace(sram_bytes=tiles * SMALL.tile_bytes)
    for m, n, k in product(SIZES, repeat=3):
        graph = product_of(m, n, k, *rng.integers(0, 2, 2).astype(bool))
        _random_epilogue(graph, m, n, rng)
        check(graph.program(), machine, rng)


def _random_epilogue(graph: Graph, m: int, n: int, rng: np.random.Generator) -> None:
    """Bias, residual and ReLU, some of them."""
    bias, residual, relu = rng.integers(0, 2, 3).astype(bool)
    if bias:
        vector = graph.input("bias", n)
        graph.binary("add", graph.made[-1], vector, ("full", "row" if m > 1 else "full"))
    if residual:
        graph.binary("sub", graph.input("x", m, n), graph.made[-1])
    if relu:
        graph.unary("relu", graph.made[-1])


@pytest.mark.parametrize("tiles", [3, 9, 64])
@pytest.mark.parametrize(("m", "n", "k"), [(1, 50, 70), (50, 1, 70), (1, 1, 70), (50, 70, 1)])
def test_vectors(m, n, k, tiles, rng):
    machine = SMALL.replace(sram_bytes=tiles * SMALL.tile_bytes)
    check(product_of(m, n, k).program(), machine, rng)
    check(product_of(m, n, k, ta=True, tb=True).program(), machine, rng)
    graph = Graph()
    a = graph.input("a", k) if m == 1 else graph.input("a", m, k)
    b = graph.input("b", k) if n == 1 else graph.input("b", k, n)
    y = graph.gemm(a, b)
    if len(y.shape) == 1:
        y = graph.binary("mul", y, graph.input("x", *y.shape))
        y = graph.binary("add", y, graph.input("s", 1), ("full", "scalar"))
    graph.unary("relu", y)
    check(graph.program(), machine, rng)


@pytest.mark.parametrize("tiles", [3, 4, 40])
def test_accumulation_onto_what_is_there(tiles, rng):
    machine = SMALL.replace(sram_bytes=tiles * SMALL.tile_bytes)
    graph = Graph()
    c = graph.input("c", 20, 30)
    graph.gemm(graph.input("a", 20, 50), graph.input("b", 50, 30), into=c, add=True)
    y = graph.unary("relu", c)
    check(graph.program(c, y), machine, rng)


def test_a_product_over_nothing_is_zero_and_one_of_nothing_is_nothing(rng):
    graph = product_of(20, 30, 0)
    graph.unary("relu", graph.made[-1])
    check(graph.program(), SMALL, rng)
    for m, n in ((0, 30), (20, 0)):
        program = product_of(m, n, 16).program()
        assert not tile(fuse(program, SMALL), SMALL).ops
    graph = Graph()
    c = graph.input("c", 20, 30)
    graph.gemm(graph.input("a", 20, 0), graph.input("b", 0, 30), into=c, add=True)
    check(graph.program(c), SMALL, rng)


def picked(program: Program, machine: Machine) -> GemmPlan:
    """The plan of the program's one nest."""
    (nest,) = plan_tiles(fuse(program, machine), machine).nests
    assert isinstance(nest.plan, GemmPlan)
    return nest.plan


def test_traffic_is_near_the_bound():
    machine = Machine()
    for size in (512, 1024, 2048, 4096):
        needs = GemmNeeds(size, size, size)
        words = traffic(needs, picked(product_of(size, size, size).program(), machine))
        assert words <= 1.3 * (2 * size**3 / sqrt(machine.sram_bytes / 4) + size**2)


def test_traffic_is_what_the_plan_says(rng):
    machine = SMALL.replace(sram_bytes=20 * SMALL.tile_bytes)
    for m, n, k in ((100, 90, 80), (33, 200, 17), (200, 33, 17), (70, 70, 300), (1, 90, 80)):
        needs = GemmNeeds(m, n, k)
        plan = picked(product_of(m, n, k).program(), machine)
        run = check(product_of(m, n, k).program(), machine, rng)
        assert run.words == traffic(needs, plan)


def test_one_operand_that_fits_is_loaded_once(rng):
    machine = SMALL.replace(sram_bytes=40 * SMALL.tile_bytes)
    for m, n in ((400, 32), (32, 400)):
        run = check(product_of(m, n, 32).program(), machine, rng)
        assert run.words == 400 * 32 + 32 * 32 + 400 * 32


def test_a_small_problem_is_a_single_block(rng):
    run = check(product_of(128, 128, 128).program(), Machine(), rng)
    assert run.words == 3 * 128 * 128


def test_every_block_has_room_for_a_second_one():
    """At the default machine what is loaded in the inner loops can be double-buffered."""
    machine = Machine()
    body = tile(fuse(product_of(1024, 1024, 1024).program(), machine), machine).body
    sizes = {s.buffer.name: s.buffer.elements * 4 for s in walk(body) if isinstance(s, Alloc)}
    assert set(sizes) == {"a_blk", "b_blk", "t0_blk"}
    assert 2 * (sizes["a_blk"] + sizes["b_blk"]) + sizes["t0_blk"] <= machine.sram_bytes


def test_the_text_does_not_grow_with_the_problem():
    machine = Machine()
    lengths = {
        len(list(walk(tile(fuse(product_of(size, size, size).program(), machine), machine).body)))
        for size in (1024, 4096, 100_000)
    }
    assert len(lengths) == 1


def test_what_the_nest_looks_like():
    machine = Machine()
    graph = product_of(1024, 1024, 1024)
    graph.unary("relu", graph.binary("add", graph.made[0], graph.input("bias", 1024),
                                     ("full", "row")))  # fmt: skip
    assert outline(tile(fuse(graph.program(), machine), machine)) == [
        "for j in 7",
        "  for i in 4",
        "    alloc t0_blk 256x160",
        "    alloc bias_blk 160",
        "    load bias_blk",
        "    for k in 32",
        "      alloc b_blk 32x160",
        "      load b_blk",
        "      for m in 4",
        "        alloc a_blk 64x32",
        "        load a_blk",
        "        gemm t0_blk 64x160",
        "        for last in k - 30",
        "          binary t0_blk 64x160",
        "          unary t0_blk 64x160",
        "          store t2",
    ]


def test_where_sram_is_small_the_maps_come_behind_the_loop():
    """A and B have made room for what they load."""
    machine = SMALL.replace(sram_bytes=3 * SMALL.tile_bytes)
    graph = product_of(8, 8, 40)
    graph.binary("add", graph.made[0], graph.input("x", 8, 8))
    lines = outline(tile(fuse(graph.program(), machine), machine))
    assert lines.index("for k in 5") < lines.index("load x_blk") < lines.index("store t1")
    assert not any("last" in line for line in lines)


def outline(program: Program) -> list[str]:
    def shape(extents: tuple[int, ...]) -> str:
        return "x".join(map(str, extents))

    def visit(body: tuple, depth: int) -> list[str]:
        lines = []
        for stmt in body:
            pad = "  " * depth
            if isinstance(stmt, Loop):
                lines += [f"{pad}for {stmt.var.name} in {show(stmt.extent)}"]
                lines += visit(stmt.body, depth + 1)
            elif isinstance(stmt, Alloc):
                lines.append(f"{pad}alloc {stmt.buffer.name} {shape(stmt.buffer.shape)}")
            else:
                part = "" if stmt.name in ("load", "store") else f" {shape(stmt.dst.shape)}"
                lines.append(f"{pad}{stmt.name} {stmt.dst.buffer.name}{part}")
        return lines

    return visit(program.body, 0)


def test_a_program_that_is_not_of_whole_tensors_is_refused():
    program = product_of(20, 20, 20).program()
    (op,) = program.ops
    part = replace(op.srcs[0], shape=(10, 20))
    broken = replace(program, body=(replace(op, srcs=(part, op.srcs[1])),))
    with pytest.raises(KernelError, match=r"graph.py:1: error: gemm of a part of a tensor"):
        tile(broken, SMALL)


def test_a_product_over_its_own_operand_is_refused():
    graph = Graph()
    a = graph.input("a", 20, 20)
    graph.gemm(a, graph.input("b", 20, 20), into=a)
    with pytest.raises(KernelError, match=r"graph.py:1: error: gemm overwrites 'a' while"):
        tile(fuse(graph.program(a), SMALL), SMALL)


def test_blocks_have_names_of_their_own():
    graph = Graph()
    x = graph.input("x", 100, 100)
    graph.gemm(x, x)
    machine = SMALL.replace(sram_bytes=9 * SMALL.tile_bytes)
    blocks = [s.buffer for s in walk(tile(fuse(graph.program(), machine), machine).body)
              if isinstance(s, Alloc)]  # fmt: skip
    assert [block.name for block in blocks] == ["t0_blk", "x_blk", "x_blk_1"]
    assert all(isinstance(block, Buffer) and block.loc.line == 1 for block in blocks)
