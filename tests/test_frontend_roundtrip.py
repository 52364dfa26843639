"""PrimFunc -> Program -> PrimFunc -> text -> PrimFunc, after every pass, loses nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tvm
from tvm.ir import assert_structural_equal
from tvm.script import tirx as T
from tvm.tirx import PrimFunc

from tileflow_tvm.frontend.read import level, read
from tileflow_tvm.frontend.tile_ir import (
    Affine,
    Alloc,
    BoxDim,
    Buffer,
    Clear,
    Extent,
    Group,
    Loop,
    Op,
    Program,
    Region,
    Scope,
    Semaphore,
    Unit,
    Var,
    View,
    walk,
)
from tileflow_tvm.frontend.write import write
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.isa.table import Engine
from tileflow_tvm.kernels.narrow import gemm_bf16, gemm_i8
from tileflow_tvm.passes.infer_scope import infer_scope
from tileflow_tvm.passes.pipeline import pipeline
from tileflow_tvm.passes.plan_sram import plan_sram

MACHINE = Machine.load("tileflow")


def assert_same(one: Program, two: Program) -> None:
    """Equal but for the identity of variables and buffers, and for places in the source."""
    assert form(one) == form(two)


def form(program: Program) -> object:
    names: dict[object, int] = {}

    def number(thing: object) -> int:
        return names.setdefault(thing, len(names))

    def affine(value: Affine) -> object:
        return value.const, sorted((number(var), step) for var, step in value.terms)

    def operand(value: object) -> object:
        if not isinstance(value, Region):
            return repr(value)
        starts = [affine(start) for start in value.start]
        return buffer(value.buffer), starts, value.shape

    def buffer(value: Buffer) -> object:
        fields = replace(value, loc=None, view=None).__dict__
        view = value.view and (number(value.view.base), value.view.offset, value.view.strides)
        return number(value), fields, view

    def extent(value: Extent) -> object:
        return value.size, affine(value.limit) if value.limit else None

    def stmt(value: object) -> object:
        if isinstance(value, Loop):
            head = number(value.var), value.var.name, affine(value.extent), value.stages
            return head, [stmt(child) for child in value.body]
        if isinstance(value, Group):
            return [stmt(child) for child in value.body]
        if isinstance(value, Alloc):
            return buffer(value.buffer)
        assert isinstance(value, Op)
        clear = value.clear.always, value.clear.var and number(value.clear.var)
        rest = dict(value.__dict__, dst=None, srcs=None, clear=clear, loc=None, extents=None)
        rest = {key: repr(field) for key, field in rest.items()}
        extents = [extent(e) for e in value.extents]
        return rest, operand(value.dst), [operand(src) for src in value.srcs], extents

    params = [buffer(param) for param in program.params]
    scalars = [(number(var), var) for var in program.scalars]
    return (params, [(n, v.name, v.scalar) for n, v in scalars],
            [stmt(child) for child in program.body], program.roles, program.semaphores)  # fmt: skip


def round_trip(program: Program) -> PrimFunc:
    """Asserts that `program` survives `read`, and its text the parser."""
    func = write(program)
    again = read(func)
    assert_same(again, program)
    assert_structural_equal(write(again), func)
    parsed = tvm.script.from_source(func.script())
    assert_structural_equal(parsed, func)
    assert_structural_equal(write(read(parsed)), func)
    locs = [stmt.loc for stmt in walk(program.body) if isinstance(stmt, Loop | Op)]
    assert [stmt.loc for stmt in walk(again.body) if isinstance(stmt, Loop | Op)] == locs
    return func


@T.prim_func
def gemm_bias_relu(
    A: T.Buffer((100, 70), "float32"), B: T.Buffer((70, 50), "float32"),
    bias: T.Buffer((50,), "float32"), C: T.Buffer((100, 50), "float32"),
):  # fmt: skip
    for i in range(4):
        for j in T.tf.pipelined(2, stages=2):
            acc = T.alloc_buffer((32, 32), "float32")
            row = T.alloc_buffer((32,), "float32")
            T.tf.load(row, bias[j * 32 : j * 32 + 32])
            for k in range(3):
                a = T.alloc_buffer((32, 32), "float32")
                b = T.alloc_buffer((32, 32), "float32")
                T.tile.copy(a, A[i * 32 : i * 32 + 32, k * 32 : k * 32 + 32])
                T.tf.load(b, B[k * 32 : k * 32 + 32, j * 32 : j * 32 + 32])
                T.tf.gemm(acc, a, b, clear=k == 0)
            T.tf.add(acc, row)
            T.tf.relu(acc)
            T.tf.store(C[i * 32 : i * 32 + 32, j * 32 : j * 32 + 32], acc)


@T.prim_func
def softmax(X: T.Buffer((70, 100), "float32"), Y: T.Buffer((70, 100), "float32")):
    x = T.alloc_buffer((32, 128))
    top = T.alloc_buffer((32, 1))
    total = T.alloc_buffer((32, 1))
    for i in range(3):
        T.tf.load(x, X[i * 32 : i * 32 + 32, 0:128], fill=float("-inf"))
        T.tf.max(top, x, axis=1)
        T.tf.sub(x, top)
        T.tf.exp(x)
        T.tf.sum(total, x, axis=-1)
        T.tf.div(x, total)
        T.tf.store(Y[i * 32 : i * 32 + 32, 0:128], x)


@T.prim_func
def triangular(A: T.Buffer((90, 90), "float32"), C: T.Buffer((90, 90), "float32")):
    for i in range(3):
        for j in range(i + 1):
            t = T.alloc_buffer((32, 32))
            T.tile.copy(t, A[i * 32 : i * 32 + 32, j * 32 : j * 32 + 32])
            T.tf.mul(t, t, 0.1)
            T.tile.copy(C[i * 32 : i * 32 + 32, j * 32 : j * 32 + 32], t)


@T.prim_func
def launched(A: T.Buffer((4, 64, 64), "float32"), n: T.int32, C: T.Buffer((64, 64), "float32")):
    for i in range(1, n):
        row = i * 8 - 8
        for b in range(4):
            u = T.alloc_buffer((8, 64))
            T.tf.load(u, A[b, row : row + 8, 0:64])
            v = T.alloc_buffer((8, 64))
            T.tf.identity(v, u, scale=2.0, bias=-0.5)
            T.tf.store(C[row : row + 8, 0:64], v)


@T.prim_func
def boxes_and_views(A: T.Buffer((4, 6, 8, 5), "float32"), C: T.Buffer((24, 40), "float32")):
    rows = A.view(24, 40)
    odd = T.decl_buffer((12, 40), "float32", data=C.data, strides=(80, 1), elem_offset=40)
    scratch = T.alloc_buffer((960,), scope="tile.dram")
    for i in range(4):
        behind = T.decl_buffer((24, 40), data=scratch.data, strides=(-40, 1), elem_offset=920)
        t = T.alloc_buffer((6, 48))
        T.tf.load(t, A[i, 5, -1, 0], rows=[(6, 1, -1)], cols=[(48, 3, 1)], fill=1.0, padded=True)
        T.tf.load(t[0:6, 0:40], rows[i * 6, 0], rows=[(6, 0, 1)], cols=[(8, 1, 5), (5, 1, 1)])
        T.tf.neg(t)
        T.tf.store(behind[i * 6 : i * 6 + 6, 0:40], t[0:6, 0:40])
    for i in range(12):
        v = T.alloc_buffer((40,))
        w = T.alloc_buffer((40,))
        T.tf.load(v, scratch[i * 80 : i * 80 + 40])
        T.tf.load(w, scratch[i * 80 + 40], cols=[(40, 0, 1)])
        T.tf.store(odd[i, 0:40], v)
        T.tf.store(C[i * 2, 0:40], w)


KERNELS = [gemm_bias_relu, softmax, triangular, launched, boxes_and_views, gemm_bf16(70, 50, 40),
           gemm_i8(70, 50, 40, 0.1)]  # fmt: skip


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.attrs["global_symbol"])
def test_every_stage_of_a_kernel_survives_text(kernel):
    assert level(kernel) == "tile"
    program = read(kernel)
    round_trip(program)
    for step in (infer_scope, plan_sram, pipeline):
        program = step(program, MACHINE)
        round_trip(program)


def test_infer_scope_of_its_own_text_changes_nothing():
    func = write(infer_scope(read(gemm_bias_relu), MACHINE))
    parsed = tvm.script.from_source(func.script())
    assert_structural_equal(write(infer_scope(read(parsed), MACHINE)), func)


def everything() -> Program:
    """Each field of each operation with a value that is not its default."""
    i, k, n = Var("i"), Var("k"), Var("n", scalar=True)
    a = Buffer("A", (100, 64), scope=Scope.DRAM, param=0)
    twin = Buffer("A", (100,), scope=Scope.DRAM, param=1)
    scratch = Buffer("scratch", (100, 64), scope=Scope.DRAM, address=128)
    x = Buffer("x", (32, 64), scope=Scope.GRID, address=4096, slots=3)
    y = Buffer("x", (64,), scope=Scope.VEC)
    one = Buffer("one", (1,), scope=Scope.UNKNOWN)
    at = Affine(7, ((i, 32), (n, -2)))
    box = Region(a, (at, Affine()), (32, 64))
    narrow = Buffer("narrow", (32, 64), "bfloat16", scope=Scope.GRID)
    whole_x, whole_y, whole_one, whole_narrow = (Region.whole(b) for b in (x, y, one, narrow))
    cut = Extent(32, Affine(100, ((i, -32),)))
    walk = (BoxDim(16, 0, 2), BoxDim(2, -1), BoxDim(64, 1, -3))
    exec_ = {"engine": Engine.EXEC}
    ops = (
        Op("load", whole_x, (box,), value=float("-inf"), transposed=True, engine=Engine.LOAD,
           extents=(cut, Extent(64)), waits=(1, 2), posts=(3,)),
        Op("store", box, (whole_x,), transposed=True, engine=Engine.STORE),
        Op("copy", whole_x, (Region.whole(scratch),), transposed=True),
        Op("load", whole_x, (Region.of_box(a, (at, Affine(9)), walk),), value=-1.5, rows=walk[:2],
           cols=walk[2:], padded=True, engine=Engine.LOAD),
        Op("load", whole_y, (Region.of_box(twin, (Affine(-1),), walk[:1]),), cols=walk[:1],
           engine=Engine.LOAD),
        Op("store", Region.of_box(a, (at, Affine()), walk[2:]), (whole_x,), rows=walk[2:],
           engine=Engine.STORE),
        Op("gemm", whole_x, (whole_x, whole_x), clear=Clear(var=k), transpose_a=True,
           transpose_b=True, extents=(cut, Extent(64), Extent(20)), **exec_),
        Op("gemm", whole_x, (whole_x, whole_x), clear=Clear(always=False), **exec_),
        Op("unary", whole_x, (whole_x,), func="erf", scale=0.1, bias=0.0, **exec_),
        Op("unary", whole_one, (Region(y, (Affine(5),), (1,)),), func="neg", **exec_),
        Op("binary", whole_x, (2.5, whole_y), func="min", modes=("imm", "row"), **exec_),
        Op("binary", whole_x, (whole_x, float("inf")), func="div", **exec_),
        Op("reduce", whole_y, (whole_x,), func="prod", axis="rows", clear=Clear(var=i), **exec_),
        Op("fill", whole_y, value=float("nan"), **exec_),
        Op("fill", whole_y, value=1e-45, **exec_),
        Op("transpose", whole_x, (whole_x,), unit=3, **exec_),
        Op("cast", whole_x, (whole_narrow,), scale=-0.0, **exec_),
        Op("nop", engine=Engine.STORE, waits=(0,)),
        Op("nop", unit=1, waits=(0,), **exec_),
    )  # fmt: skip
    inner = Loop(
        k,
        Affine(3, ((i, 1), (n, 2))),
        (Alloc(x), Alloc(one), Alloc(narrow), *ops),
        stages=2,
    )
    views = (
        Buffer("A", (50, 2, 64), scope=Scope.DRAM, view=View(a, 0, (128, 64, 1))),
        Buffer("turned", (64, 100), scope=Scope.DRAM, view=View(scratch, 0, (1, 64))),
        Buffer("one", (1,), scope=Scope.DRAM, view=View(twin, 99, (1,))),
        Buffer("back", (5, 3), scope=Scope.DRAM, view=View(twin, 40, (-10, 0))),
    )
    show = Op("load", whole_y, (Region(views[0], (Affine(1), Affine(), Affine()), (1, 1, 64)),),
              engine=Engine.LOAD)  # fmt: skip
    body = (
        Alloc(scratch),
        *(Alloc(v) for v in views),
        Alloc(y),
        show,
        Loop(i, Affine.of(n), (Group((inner,)), inner_twin(a))),
        Group(()),
    )
    return Program(
        "everything", (a, twin), body, (n,), ("inout", "in"),
        (Semaphore(Unit(Engine.LOAD), Unit(Engine.EXEC, 2), 0),
         Semaphore(Unit(Engine.EXEC), Unit(Engine.LOAD), 3)),
    )  # fmt: skip


def inner_twin(a: Buffer) -> Loop:
    """An empty loop whose variable has a name that is taken."""
    assert a.name == "A"
    return Loop(Var("A"), Affine(2), ())


def test_every_field_of_every_operation_survives_text():
    round_trip(everything())


def test_an_affine_form_reads_as_written():
    func = write(infer_scope(read(gemm_bias_relu), MACHINE))
    text = func.script()
    assert "extents=[T.max(T.min(100 - i * 32, 32), 0), T.max(T.min(70 - k * 32, 32), 0)]" in text


def test_a_loop_that_starts_elsewhere_is_normalised():
    @T.prim_func
    def kernel(A: T.Buffer((64,), "float32")):
        for i in range(2, 20, 3):
            t = T.alloc_buffer((1,))
            T.tf.load(t, A[i : i + 1])

    loop = read(kernel).body[0]
    assert loop.extent == Affine(6)
    assert loop.body[1].srcs[0].start == (Affine(2, ((loop.var, 3),)),)


def test_grid_and_unrolled_loops_are_serial_loops():
    @T.prim_func
    def kernel(A: T.Buffer((64,), "float32")):
        for i, j in T.grid(3, 4):
            for k in T.unroll(2):
                t = T.alloc_buffer((1,))
                T.tf.load(t, A[i * 8 + j * 2 + k : i * 8 + j * 2 + k + 1])

    program = read(kernel)
    i = program.body[0]
    j = i.body[0]
    k = j.body[0]
    assert [loop.extent.const for loop in (i, j, k)] == [3, 4, 2]
    assert k.body[1].srcs[0].start[0] == Affine(0, ((i.var, 8), (j.var, 2), (k.var, 1)))


def test_integer_variables_stand_for_their_value_at_the_time():
    @T.prim_func
    def kernel(A: T.Buffer((640,), "float32")):
        for i in range(3):
            x = i * 32
            y: T.let = x + 1
            x = x + 100
            t = T.alloc_buffer((32,))
            T.tf.load(t, A[x : x + 32])
            T.tf.load(t, A[y : y + 32])

    loop = read(kernel).body[0]
    starts = [stmt.srcs[0].start[0] for stmt in loop.body if isinstance(stmt, Op)]
    assert starts == [Affine(100, ((loop.var, 32),)), Affine(1, ((loop.var, 32),))]


def test_int64_loops_and_exact_divisions_are_affine():
    @T.prim_func
    def kernel(A: T.Buffer((640,), "float32"), n: T.int64):
        for i in range(n):
            t = T.alloc_buffer((32,))
            T.tf.load(t, A[(i * 64 + 8) // 4 : (i * 64 + 8) // 4 + 32])
            T.tf.load(t, A[(i * 64 + 24) % 16 : (i * 64 + 24) % 16 + 32])

    loop = read(kernel).body[0]
    starts = [stmt.srcs[0].start[0] for stmt in loop.body if isinstance(stmt, Op)]
    assert starts == [Affine(2, ((loop.var, 16),)), Affine(8)]


def test_roles_follow_from_reads_and_writes():
    @T.prim_func
    def kernel(
        a: T.Buffer((32,), "float32"), b: T.Buffer((32,), "float32"),
        c: T.Buffer((32,), "float32"), d: T.Buffer((32,), "float32"),  # noqa: ARG001
    ):  # fmt: skip
        t = T.alloc_buffer((32,))
        T.tf.load(t, a)
        T.tf.store(b, t)
        T.tf.load(t, b)
        T.tf.load(t, c)
        T.tf.store(c, t)

    assert read(kernel).roles == ("in", "out", "inout", "in")


def test_a_loc_is_the_authors_line_and_column():
    program = read(gemm_bias_relu)
    gemm = next(op for op in program.ops if op.name == "gemm")
    assert gemm.loc.file == __file__
    line = Path(__file__).read_text(encoding="utf-8").splitlines()[gemm.loc.line - 1]
    assert line[gemm.loc.col - 1 :].startswith("T.tf.gemm(acc")
