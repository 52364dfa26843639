"""Maps, reductions and copies: every operation at every size of SRAM, edges, and vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from tile_graphs import Graph, Shape, check

from tileflow_tvm.frontend.tile_ir import Alloc, Group, Op, Program, walk
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.fuse import fuse
from tileflow_tvm.passes.tile import tile

SMALL = Machine().replace(tile=8)
LEAST = SMALL.replace(sram_bytes=3 * SMALL.tile_bytes)

Single = Callable[[Graph, Shape], object]


def _binary(*modes: str) -> Single:
    """A binary operation on operands of these modes."""

    def build(graph: Graph, shape: Shape) -> None:
        rows, cols = shape if len(shape) == 2 else (1, *shape)
        shapes = {"full": shape, "row": (cols,), "col": (rows, 1), "scalar": (1,)}
        operands = [
            1.25 if mode == "imm" else graph.input(f"x{at}", *shapes[mode])
            for at, mode in enumerate(modes)
        ]
        graph.binary("sub", *operands, modes=modes, shape=shape)

    return build


def _reduce(func: str, axis: str, **options: bool) -> Single:
    def build(graph: Graph, shape: Shape) -> None:
        graph.reduce(func, graph.input("x", *shape), axis, **options)

    return build


SINGLES: dict[str, Single] = {
    "unary": lambda graph, shape: graph.unary("tanh", graph.input("x", *shape), scale=2.0),
    "fill": lambda graph, shape: graph.op("fill", shape, value=2.5),
    "copy": lambda graph, shape: graph.copy(graph.input("x", *shape)),
    "square": lambda graph, shape: graph.binary("mul", *[graph.input("x", *shape)] * 2),
    "sum of rows": _reduce("sum", "cols"),
    "sum of columns": _reduce("sum", "rows"),
    "max of rows, kept": _reduce("max", "cols", keep=True),
    "min of columns, kept": _reduce("min", "rows", keep=True),
    **{
        f"binary {' '.join(modes)}": _binary(*modes)
        for modes in (
            ("full", "full"), ("full", "row"), ("col", "full"), ("full", "scalar"),
            ("imm", "full"), ("row", "col"), ("col", "row"), ("row", "imm"), ("scalar", "col"),
        )
    },
}  # fmt: skip

SHAPES = ((1, 1), (1, 70), (70, 1), (5, 7), (8, 16), (33, 50), (100, 9), (70,), (1,))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("single", SINGLES)
def test_every_operation_in_three_tiles(single, shape, rng):
    graph = Graph()
    SINGLES[single](graph, shape)
    check(graph.program(), LEAST, rng)


@pytest.mark.parametrize("tiles", [4, 5, 9, 20, 64])
@pytest.mark.parametrize("single", SINGLES)
def test_every_operation_in_more(single, tiles, rng):
    machine = SMALL.replace(sram_bytes=tiles * SMALL.tile_bytes)
    for at in rng.choice(len(SHAPES), 3, replace=False):
        graph = Graph()
        SINGLES[single](graph, SHAPES[at])
        check(graph.program(), machine, rng)


@pytest.mark.parametrize("tiles", [3, 20])
@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (33, 50), (50, 33)])
def test_transposed_copies(shape, tiles, rng):
    graph = Graph()
    graph.copy(graph.input("x", *shape), transposed=True)
    check(graph.program(), SMALL.replace(sram_bytes=tiles * SMALL.tile_bytes), rng)


@pytest.mark.parametrize(("source", "target"), [((50,), (1, 50)), ((50, 1), (50,)), ((1, 1), (1,))])
def test_copies_between_forms_of_a_vector(source, target, rng):
    graph = Graph()
    graph.unary("relu", graph.copy(graph.input("x", *source), target))
    check(graph.program(), LEAST, rng)


def test_a_copy_costs_no_exec(rng):
    graph = Graph()
    x = graph.copy(graph.input("x", 30, 40))
    y = graph.unary("relu", x)
    run = check(graph.program(x, y), SMALL, rng)
    assert run.words == 3 * 30 * 40
    graph = Graph()
    graph.copy(graph.input("x", 30, 40), transposed=True)
    assert check(graph.program(), SMALL, rng).execs == 0


@pytest.mark.parametrize("axis", ["rows", "cols"])
@pytest.mark.parametrize("tiles", [3, 60])
def test_reductions_onto_what_is_there(axis, tiles, rng):
    graph = Graph()
    total = graph.input("total", 50 if axis == "cols" else 70)
    graph.reduce("sum", graph.input("x", 50, 70), axis, into=total, add=True)
    check(graph.program(total), SMALL.replace(sram_bytes=tiles * SMALL.tile_bytes), rng)


def test_total_reductions(rng):
    graph = Graph()
    graph.reduce("sum", graph.reduce("sum", graph.input("x", 50, 70), "cols"), "cols")
    check(graph.program(), LEAST, rng)
    for shape, axis in (((1, 700), "cols"), ((700, 1), "rows"), ((700,), "cols")):
        graph = Graph()
        graph.reduce("max", graph.input("x", *shape), axis)
        check(graph.program(), LEAST, rng)


@pytest.mark.parametrize("func", ["sum", "max", "min", "prod"])
def test_reductions_of_nothing(func, rng):
    graph = Graph()
    first = graph.reduce(func, graph.input("x", 9, 0), "cols")
    second = graph.reduce(func, graph.input("y", 0, 9), "rows", keep=True)
    check(graph.program(first, second), LEAST, rng)
    graph = Graph()
    graph.reduce(func, graph.input("x", 9, 0), "rows")
    assert not tile(fuse(graph.program(), LEAST), LEAST).ops


def test_empty_tensors_need_no_nest():
    graph = Graph()
    graph.binary("add", graph.input("x", 0, 7), graph.input("b", 7), ("full", "row"))
    assert tile(fuse(graph.program(), LEAST), LEAST).body == ()


def test_a_value_that_is_stored_is_not_overwritten_in_place():
    """A store may still be reading the block while EXEC goes on."""
    graph = Graph()
    x = graph.unary("tanh", graph.input("x", 30, 40))
    y = graph.unary("relu", x)
    ops = tile(fuse(graph.program(x, y), SMALL), SMALL).ops
    stores = [op.srcs[0].buffer for op in ops if op.name == "store"]
    assert len(set(stores)) == 2


def test_maps_work_in_place_where_their_source_dies(rng):
    graph = Graph()
    y = graph.input("x", 30, 40)
    for func in ("tanh", "relu", "neg"):
        y = graph.unary(func, y)
    program = graph.program()
    assert len(_blocks(tile(fuse(program, SMALL), SMALL))) == 1
    assert check(program, SMALL, rng).words == 2 * 30 * 40


def _blocks(program: Program) -> list[str]:
    return [s.buffer.name for s in walk(program.body)
            if isinstance(s, Alloc) and s.buffer.name.endswith("blk")]  # fmt: skip


def test_a_group_that_does_not_fit_is_split(rng):
    graph = Graph()
    x, y = graph.input("x", 30, 40), graph.input("y", 30, 40)
    values = [graph.unary(func, x) for func in ("tanh", "neg", "abs", "sin")]
    total = graph.binary("add", graph.gemm(y, x, tb=True), graph.gemm(x, y, tb=True))
    for value in values[1:]:
        values[0] = graph.binary("mul", values[0], value)
    program = graph.program(values[0], total)
    whole = replace(program, body=(
        *(s for s in program.body if isinstance(s, Alloc)), Group(program.ops)
    ))  # fmt: skip
    check(whole, LEAST, rng, fused=False)
    check(whole, SMALL, rng, fused=False)


def test_vectors_are_loaded_once_where_they_stay_the_same(rng):
    graph = Graph()
    graph.binary("add", graph.input("x", 400, 40), graph.input("b", 40), ("full", "row"))
    machine = SMALL.replace(sram_bytes=40 * SMALL.tile_bytes)
    assert check(graph.program(), machine, rng).loaded == 400 * 40 + 40


def test_temporaries_that_are_kept_become_scratch():
    graph = Graph()
    x = graph.input("x", 30, 30)
    graph.gemm(graph.unary("relu", x), x)
    program = tile(fuse(graph.program(), SMALL), SMALL)
    scratch = [s.buffer for s in program.body if isinstance(s, Alloc)]
    assert [(b.name, b.scope.value) for b in scratch if b.name == "t0"] == [("t0", "global")]
    assert all(isinstance(op, Op) for op in program.ops)


def test_the_order_of_a_reduction_does_not_depend_on_the_blocks():
    """Column blocks are whole tiles, so that sums over tiles come in one order."""
    graph = Graph()
    graph.reduce("sum", graph.input("x", 100, 100), "cols")
    for tiles in (3, 5, 8, 64):
        machine = SMALL.replace(sram_bytes=tiles * SMALL.tile_bytes)
        for op in tile(fuse(graph.program(), machine), machine).ops:
            if op.name == "reduce":
                assert op.srcs[0].shape[1] % 8 == 0
                assert all(step % 8 == 0 for _, step in op.srcs[0].start[1].terms)


def test_long_vectors_come_in_long_blocks(rng):
    machine = Machine()
    graph = Graph()
    graph.unary("relu", graph.input("x", 100_000))
    run = check(graph.program(), machine, rng)
    assert run.execs <= 16
    assert np.isfinite(run.words)
