"""Tensor-level programs for tests of `fuse` and `tile`: a builder, random graphs, and a check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from tile_interpreter import TileInterpreter, Traffic, run_tensor_level

from tileflow_tvm.errors import Loc
from tileflow_tvm.frontend.tile_ir import (
    Alloc,
    Buffer,
    Clear,
    Op,
    Operand,
    Program,
    Region,
    Scope,
    walk,
)
from tileflow_tvm.frontend.tree import substitute_buffers
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.fuse import fuse
from tileflow_tvm.passes.tile import tile

Shape = tuple[int, ...]


class Graph:
    """Builds a tensor-level program, an operation at a time."""

    def __init__(self) -> None:
        self.inputs: list[Buffer] = []
        self.made: list[Buffer] = []
        self.ops: list[Op] = []
        self.outputs: list[Buffer] = []

    def __repr__(self) -> str:
        def show(operand: Operand) -> str:
            if not isinstance(operand, Region):
                return str(operand)
            return operand.buffer.name + str(list(operand.buffer.shape))

        lines = [
            f"{show(op.dst)} = {op.name}({', '.join(map(show, op.srcs))}) {op.func} {op.axis} "
            f"{op.modes or ''} ta={op.transpose_a} tb={op.transpose_b} t={op.transposed} "
            f"clear={op.clear.always}"
            for op in self.ops
        ]
        return "\n".join(["", *lines, f"return {[out.name for out in self.outputs]}"])

    def input(self, name: str, *shape: int) -> Buffer:
        self.inputs.append(Buffer(name, shape, scope=Scope.DRAM))
        return self.inputs[-1]

    def op(
        self, name: str, shape: Shape, srcs: Sequence[Operand | Buffer] = (), *,
        into: Buffer | None = None, **fields: object,
    ) -> Buffer:  # fmt: skip
        """An operation of this name whose result is new, or overwrites `into`."""
        if into is None:
            into = Buffer(f"t{len(self.made)}", shape, scope=Scope.DRAM)
            self.made.append(into)
        regions = tuple(Region.whole(s) if isinstance(s, Buffer) else s for s in srcs)
        loc = Loc("graph.py", len(self.ops) + 1)
        self.ops.append(Op(name, Region.whole(into), regions, loc=loc, **fields))
        return into

    def gemm(self, a: Buffer, b: Buffer, ta: bool = False, tb: bool = False,
             into: Buffer | None = None, add: bool = False) -> Buffer:  # fmt: skip
        m = 1 if len(a.shape) == 1 else a.shape[1 if ta else 0]
        n = 1 if len(b.shape) == 1 else b.shape[0 if tb else 1]
        shape: Shape = (m, n)
        if len(a.shape) == 1 or len(b.shape) == 1:
            shape = (m * n,)
        return self.op("gemm", shape, (a, b), into=into, transpose_a=ta, transpose_b=tb,
                       clear=Clear(always=not add))  # fmt: skip

    def unary(self, func: str, x: Buffer, into: Buffer | None = None, **fields: float) -> Buffer:
        return self.op("unary", x.shape, (x,), into=into, func=func, **fields)

    def binary(
        self, func: str, x: Buffer | float, y: Buffer | float,
        modes: tuple[str, str] = ("full", "full"), shape: Shape = (), into: Buffer | None = None,
    ) -> Buffer:  # fmt: skip
        shape = shape or next(
            s.shape for s, mode in zip((x, y), modes, strict=True)
            if isinstance(s, Buffer) and mode == "full"
        )  # fmt: skip
        return self.op("binary", shape, (x, y), into=into, func=func, modes=modes)

    def reduce(self, func: str, x: Buffer, axis: str, keep: bool = False,
               into: Buffer | None = None, add: bool = False) -> Buffer:  # fmt: skip
        rows, cols = x.shape if len(x.shape) == 2 else (1, *x.shape)
        shape: Shape = (rows if axis == "cols" else cols,)
        if keep:
            shape = (rows, 1) if axis == "cols" else (1, cols)
        return self.op("reduce", shape, (x,), into=into, func=func, axis=axis,
                       clear=Clear(always=not add))  # fmt: skip

    def copy(self, x: Buffer, shape: Shape = (), transposed: bool = False) -> Buffer:
        return self.op("copy", shape or (x.shape[::-1] if transposed else x.shape), (x,),
                       transposed=transposed)  # fmt: skip

    def program(self, *outputs: Buffer) -> Program:
        """The program whose outputs are these, inputs that are written to among them."""
        outputs = outputs or tuple(self.outputs) or (self.ops[-1].dst.buffer,)
        written = {op.dst.buffer for op in self.ops}
        params = [*self.inputs, *(out for out in outputs if out not in self.inputs)]
        swap = {old: replace(old, param=at) for at, old in enumerate(params)}
        allocs = [Alloc(buffer) for buffer in self.made if buffer not in swap]
        roles = [
            "out" if p not in self.inputs else "inout" if p in written else "in" for p in params
        ]
        program = Program("graph", tuple(params), (*allocs, *self.ops), roles=tuple(roles))
        return substitute_buffers(program, swap)


def data_for(program: Program, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        param.name: rng.standard_normal(param.shape)
        for param, role in zip(program.params, program.roles, strict=True) if role != "out"
    }  # fmt: skip


def check(
    program: Program, machine: Machine, rng: np.random.Generator, *, fused: bool = True
) -> Traffic:
    """Tile, run, compare with NumPy, look at what was promised; returns what was moved."""
    grouped = fuse(program, machine) if fused else program
    tiled = tile(grouped, machine)
    inputs = data_for(program, rng)
    interpreter = TileInterpreter(tiled, machine.tile)
    with np.errstate(all="ignore"):
        got = interpreter.run(inputs)
        want = run_tensor_level(program, inputs)
    for param, role in zip(program.params, program.roles, strict=True):
        if role != "in":
            np.testing.assert_allclose(got[param.name], want[param.name], rtol=1e-9, atol=1e-9)
    assert interpreter.traffic.peak_bytes <= machine.sram_bytes
    assert all(op.loc for op in tiled.ops)
    used = {region.buffer for op in tiled.ops for region in op.regions}
    assert {stmt.buffer for stmt in walk(tiled.body) if isinstance(stmt, Alloc)} <= used
    return interpreter.traffic


UNARY = ("relu", "tanh", "sigmoid", "neg", "abs", "identity", "sin")
BINARY = ("add", "sub", "mul", "max", "min")
REDUCE = ("sum", "max", "min")


@st.composite
def graphs(draw: st.DrawFn, most: int = 6) -> Graph:
    """Graphs of up to `most` operations over a few lengths, with all kinds of sharing."""
    graph = Graph()
    lengths = draw(st.lists(st.integers(1, 40), min_size=2, max_size=3, unique=True))
    length = st.sampled_from(lengths)
    for name in "AB":
        graph.input(name, draw(length), draw(length))
    graph.input("v", draw(length))
    for _ in range(draw(st.integers(1, most))):
        _grow(draw, graph)
    made = st.sampled_from([*graph.made, graph.ops[-1].dst.buffer])
    graph.outputs = draw(st.lists(made, min_size=1, max_size=3, unique=True))
    return graph


def _grow(draw: st.DrawFn, graph: Graph) -> None:
    """Add one operation on what is there."""
    pool = [*graph.inputs, *graph.made]
    x = draw(st.sampled_from(pool[-5:]))
    kind = draw(st.sampled_from(("gemm", "gemm", "unary", "binary", "binary", "reduce", "copy")))
    if kind == "gemm" and _grow_gemm(draw, graph, x, pool):
        return
    if kind == "binary":
        _grow_binary(draw, graph, x, pool)
    elif kind == "reduce":
        axis = draw(st.sampled_from(("rows", "cols")))
        graph.reduce(draw(st.sampled_from(REDUCE)), x, axis, keep=draw(st.booleans()))
    elif kind == "copy":
        transposed = len(x.shape) == 2 and draw(st.booleans())
        graph.copy(x, transposed=transposed)
    else:
        into = _target(draw, graph, x.shape)
        graph.unary(draw(st.sampled_from(UNARY)), x, into, scale=draw(st.sampled_from((1.0, 0.5))))


def _target(draw: st.DrawFn, graph: Graph, shape: Shape) -> Buffer | None:
    """Seldom, a buffer that is there already, to be overwritten."""
    same = [buffer for buffer in (*graph.inputs, *graph.made) if buffer.shape == shape]
    return draw(st.sampled_from(same)) if same and draw(st.integers(0, 5)) == 0 else None


def _grow_gemm(draw: st.DrawFn, graph: Graph, a: Buffer, pool: list[Buffer]) -> bool:
    ta = len(a.shape) == 2 and draw(st.booleans())
    k = a.shape[0] if len(a.shape) == 1 or ta else a.shape[1]
    fitting = [(b, tb) for b in pool for tb in (False, True)
               if (not tb or len(b.shape) == 2) and b.shape[1 if tb else 0] == k]  # fmt: skip
    if not fitting:
        return False
    b, tb = draw(st.sampled_from(fitting))
    result = graph.gemm(a, b, ta, tb)
    if draw(st.integers(0, 4)) == 0:
        graph.gemm(a, b, ta, tb, into=result, add=True)
    return True


def _grow_binary(draw: st.DrawFn, graph: Graph, x: Buffer, pool: list[Buffer]) -> None:
    func = draw(st.sampled_from(BINARY))
    rows, cols = x.shape if len(x.shape) == 2 else (1, *x.shape)
    options: list[tuple[Buffer | float, str]] = [(0.75, "imm")]
    for y in pool:
        if y.shape == x.shape:
            options += [(y, "full")] * 2
        if y.elements == 1:
            options.append((y, "scalar"))
        if y.shape in ((cols,), (1, cols)) and len(x.shape) == 2:
            options.append((y, "row"))
        if y.shape in ((rows,), (rows, 1)) and len(x.shape) == 2:
            options.append((y, "col"))
    y, mode = draw(st.sampled_from(options))
    into = _target(draw, graph, x.shape)
    if isinstance(y, Buffer) and y is into and mode != "full":
        into = None
    pair, modes = ((x, y), ("full", mode))
    if draw(st.booleans()):
        pair, modes = pair[::-1], modes[::-1]
    graph.binary(func, *pair, modes=modes, shape=x.shape, into=into)
