"""Which tokens the engines need and which they do not; blocks that leave in the last step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from isa_interpreter import interpret
from placed import grid, load, region, store, unary
from tvm import te, topi

import tileflow_tvm as tf
from tileflow_tvm.errors import VerifyError
from tileflow_tvm.frontend.tile_ir import (
    Affine,
    Alloc,
    Buffer,
    Clear,
    Extent,
    Loop,
    Op,
    Program,
    Region,
    Scope,
    Stmt,
    Var,
)
from tileflow_tvm.isa.table import Engine
from tileflow_tvm.passes.emit import emit
from tileflow_tvm.passes.guards import counted, guarded_by, in_last_iteration
from tileflow_tvm.passes.pipeline import pipeline
from tileflow_tvm.passes.plan_sram import plan_sram
from tileflow_tvm.sim import Simulator

MACHINE = tf.Machine.load("tileflow")
SIDE = 96
STEPS = 3


def product(*, maps: bool = False, residual: bool = False, early: bool = True) -> Program:
    """C = A @ B (+ X), a block of 32 x 96 of C at a time, in three strips; of k three steps."""
    dram = {"scope": Scope.DRAM}
    a_all, b_all, x_all, c_all = (
        Buffer(name, (SIDE, SIDE), param=at, **dram) for at, name in enumerate("ABXC")
    )
    i, k, n = Var("i"), Var("k"), Var("n")
    a, b, c, x = (
        grid("a", (32, 32)),
        grid("b", (32, 32)),
        grid("c", (32, SIDE)),
        grid("x", (32, 32)),
    )
    whole, full = (32, 32), (Extent(32), Extent(32))
    rows, depth, cols = (Affine.of(var) * 32 for var in (i, k, n))
    strip = region(c, (0, cols), whole)
    out: list[Stmt] = []
    if residual:
        out += [
            Alloc(x),
            load(Region.whole(x), region(x_all, (rows, cols), whole)),
            Op("binary", strip, (strip, Region.whole(x)), func="add", modes=("full", "full"),
               extents=full, engine=Engine.EXEC),
        ]  # fmt: skip
    if maps:
        out.append(unary(strip, strip, full, "neg"))
    out.append(store(region(c_all, (rows, cols), whole), strip))
    gemm = Op(
        "gemm", strip, (Region.whole(a), Region.whole(b)), clear=Clear(var=k),
        extents=(*full, Extent(32)), engine=Engine.EXEC,
    )  # fmt: skip
    inner: list[Stmt] = [Alloc(b), load(Region.whole(b), region(b_all, (depth, cols), whole)), gemm]
    if early:
        inner.append(in_last_iteration(k, STEPS, out))
    steps = Loop(k, Affine(STEPS), (
        Alloc(a),
        load(Region.whole(a), region(a_all, (rows, depth), whole)),
        Loop(n, Affine(3), tuple(inner)),
    ))  # fmt: skip
    behind = () if early else (Loop(n, Affine(3), tuple(out)),)
    body = Loop(i, Affine(3), (Alloc(c), steps, *behind))
    params = (a_all, b_all, x_all, c_all)
    return Program("product", params, (body,), roles=("in", "in", "in", "out"))


def place(program: Program, **keys: int) -> Program:
    machine = MACHINE.replace(**keys)
    return pipeline(plan_sram(program, machine), machine)


def text(program: Program) -> list[str]:
    """The operations of a placed program, with the tokens by who posts them for whom."""

    def token(number: int) -> str:
        semaphore = program.semaphores[number]
        start = f"+{semaphore.count}" if semaphore.count else ""
        return f"{semaphore.poster}>{semaphore.waiter}{start}"

    def visit(body: tuple[Stmt, ...], depth: int) -> list[str]:
        lines = []
        for stmt in body:
            pad = "  " * depth
            if isinstance(stmt, Loop):
                lines += [f"{pad}for {stmt.var.name}:", *visit(stmt.body, depth + 1)]
            elif isinstance(stmt, Op):
                name = stmt.name if stmt.dst is None else f"{stmt.name} {stmt.dst.buffer.name}"
                if stmt.name == "nop":
                    name = f"{stmt.engine.value}.nop"
                waits = "".join(f" wait {token(number)}" for number in stmt.waits)
                posts = "".join(f" post {token(number)}" for number in stmt.posts)
                lines.append(pad + name + waits + posts)
        return lines

    return visit(program.body, 0)


def agree(placed: Program, machine: tf.Machine = MACHINE) -> np.ndarray:
    """The result, after the verifier and both engines agreed with the NumPy meaning."""
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal((SIDE, SIDE), dtype=np.float32) for _ in range(3)]
    program = emit(placed, machine)
    (want,) = interpret(program, *arrays)
    simulator = Simulator(program)
    simulator.verify()
    (one,), (other,) = (
        simulator.run(arrays, engine=name).outputs for name in ("sequential", "threaded")
    )
    np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(one, want, rtol=1e-4, atol=1e-4)
    return one


# What is needless.


def test_a_token_that_another_one_implies_is_not_posted():
    """The gemm waits for a load of b that comes behind that of a; and when that load has a slot,
    the gemms that used the slot of a before are over."""
    placed = place(product(early=False))
    assert text(placed) == [
        "for i:",
        "  exec.nop wait store>exec+3",
        "  for k:",
        "    load a",
        "    for n:",
        "      load b wait exec>load+3 post load>exec",
        "      gemm c wait load>exec post exec>load+3",
        "  exec.nop post exec>store",
        "  store.nop wait exec>store",
        "  for n:",
        "    store C",
        "  store.nop post store>exec+3",
    ]
    agree(placed)


def test_a_ring_that_turns_less_often_than_it_has_slots_implies_nothing():
    """Three strips, four slots asked for: loads of b may be more than a step of k ahead, so a has
    tokens of its own."""
    program = product(early=False)
    (outer,) = program.body
    alloc, steps, behind = outer.body
    ahead = replace(steps.body[-1], stages=4)
    steps = replace(steps, body=(*steps.body[:-1], ahead))
    program = replace(program, body=(replace(outer, body=(alloc, steps, behind)),))
    placed = place(program, sram_bytes=9 << 12)
    lines = [line.strip() for line in text(placed)]
    assert "load a wait exec>load+2" in lines
    assert "exec.nop post exec>load+2" in lines
    assert "load b wait exec>load+4 post load>exec" in lines
    agree(placed)


# What leaves in the last step.


@pytest.mark.parametrize("sram", [1 << 18, 8 << 12])
@pytest.mark.parametrize(
    ("keys", "out"),
    [
        ({}, ["exec.nop post exec>store"]),
        ({"maps": True}, ["unary c post exec>store"]),
        (
            {"residual": True},
            [
                "load x wait exec>load+{x} post load>exec",
                "binary c wait load>exec post exec>store post exec>load+{x}",
            ],
        ),
    ],
)
def test_a_strip_leaves_when_it_is_complete(keys, out, sram):
    """EXEC hands over inside what the last step of k alone does, and waits for the stores before
    the next block: not in every step, nor for every strip."""
    placed = place(product(**keys), sram_bytes=sram)
    slots = {op.dst.buffer.name: op.dst.buffer.slots for op in placed.ops if op.name == "load"}
    (c,) = {r.buffer.slots for op in placed.ops for r in op.regions if r.buffer.name == "c"}
    assert text(placed) == [
        "for i:",
        f"  exec.nop wait store>exec+{c}",
        "  for k:",
        "    load a",
        "    for n:",
        f"      load b wait exec>load+{slots['b']} post load>exec",
        f"      gemm c wait load>exec post exec>load+{slots['b']}",
        "      for last:",
        *("        " + line.format_map(slots) for line in out),
        "        store C wait exec>store",
        f"  store.nop post store>exec+{c}",
    ]
    agree(placed, MACHINE.replace(sram_bytes=sram))


def test_blocks_loaded_in_the_last_step_have_a_ring():
    """It turns once a strip, however many steps there are."""
    placed = place(product(residual=True))
    x = next(op.dst.buffer for op in placed.ops if op.dst and op.dst.buffer.name == "x")
    assert x.slots == 8
    agree(placed)


def test_both_forms_have_the_same_bits():
    got = [agree(place(product(maps=True, early=early))) for early in (False, True)]
    np.testing.assert_array_equal(*got)


@pytest.mark.parametrize("keys", [{"early": False}, {}, {"maps": True}, {"residual": True}])
def test_every_token_is_needed(keys):
    """The verifier refuses the program without any one of its semaphores."""
    placed = place(product(**keys), sram_bytes=8 << 12)

    def without(number: int, body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        return tuple(
            replace(stmt, body=without(number, stmt.body)) if isinstance(stmt, Loop)
            else replace(stmt, waits=tuple(w for w in stmt.waits if w != number),
                         posts=tuple(p for p in stmt.posts if p != number))
            if isinstance(stmt, Op) else stmt
            for stmt in body
        )  # fmt: skip

    for number, _ in enumerate(placed.semaphores):
        broken = replace(placed, body=without(number, placed.body))
        with pytest.raises(VerifyError, match="no semaphore orders the two"):
            Simulator(emit(broken, MACHINE)).verify()


def test_what_a_guard_is():
    k, n, free = Var("k"), Var("n"), Var("free", scalar=True)
    inner = in_last_iteration(k, 5, [])
    around = (Loop(k, Affine(5), ()), Loop(n, Affine(3), ()))
    assert [max(0, inner.extent.const + at) for at in range(5)] == [0, 0, 0, 0, 1]
    assert guarded_by(inner, around) is around[0]
    assert guarded_by(inner, around[1:]) is None
    assert guarded_by(in_last_iteration(k, 6, []), around) is None
    assert guarded_by(Loop(n, Affine.of(k), ()), around) is None
    assert guarded_by(in_last_iteration(free, 5, []), (Loop(free, Affine.of(free), ()),)) is None
    assert counted((*around, inner)) == around[1:]
    assert counted(around) == around


# What comes of it.


def dense(m: int, n: int, k: int, *, maps: bool = False):
    a, b = te.placeholder((m, k), name="a"), te.placeholder((k, n), name="b")
    bias, x = te.placeholder((n,), name="bias"), te.placeholder((m, n), name="x")
    y = topi.matmul(a, b)
    if not maps:
        return te.create_prim_func([a, b, y])
    return te.create_prim_func([a, b, bias, x, topi.nn.relu(y + bias) + x])


def test_a_product_of_1024_cubed_keeps_the_array_busy():
    exe = tf.compile(dense(1024, 1024, 1024))
    timing = exe.time()
    assert timing.mac_utilisation >= 0.95
    assert timing.dram_bytes / 4 <= 1.3 * (2 * 1024**3 / 256 + 1024**2)
    assert 16 * len(exe.program.insns) < 4096


@pytest.mark.parametrize(("size", "of_bound"), [(512, 0.86), (1024, 0.92), (1536, 0.94)])
def test_maps_over_a_product_leave_in_its_last_step(size, of_bound):
    """Bias, ReLU and a residual: the array's work and the lanes' are one after the other."""
    timing = tf.compile(dense(size, size, size, maps=True)).time()
    bounds = timing.bounds
    assert (bounds["mac"] + bounds["lanes"]) / timing.cycles >= of_bound


@pytest.mark.parametrize("sram", [1 << 17, 1 << 18, 1 << 19])
@pytest.mark.parametrize("shape", [(256, 256, 256), (512, 512, 512), (257, 1025, 700)])
@pytest.mark.parametrize("maps", [False, True])
def test_more_engines_never_take_longer(shape, sram, maps):
    cycles = [
        tf.compile(
            dense(*shape, maps=maps), machine=MACHINE.replace(sram_bytes=sram, exec_engines=engines)
        ).time().cycles
        for engines in (1, 2, 3, 4)
    ]  # fmt: skip
    assert cycles == sorted(cycles, reverse=True)


@pytest.mark.parametrize("engines", [1, 2, 4])
@pytest.mark.parametrize("shape", [(300, 200, 170), (176, 96, 1000), (33, 700, 129)])
def test_shapes_with_maps_have_the_bits_of_a_plain_nest(shape, engines, rng):
    """Against a machine whose SRAM is too small for any of it."""
    m, n, k = shape
    arrays = [rng.standard_normal(s, dtype=np.float32) for s in ((m, k), (k, n), (n,), (m, n))]
    got = [
        tf.compile(
            dense(m, n, k, maps=True),
            machine=MACHINE.replace(sram_bytes=sram, exec_engines=engines, **DRAM),
        ).run(*arrays, engine=engine).outputs[0]
        for sram in (4 << 12, 1 << 16, 1 << 18) for engine in ("sequential", "threaded")
    ]  # fmt: skip
    for other in got[1:]:
        np.testing.assert_array_equal(got[0], other)
    want = arrays[0].astype(np.float64) @ arrays[1]
    np.testing.assert_allclose(got[0], np.maximum(want + arrays[2], 0) + arrays[3], atol=1e-3)


DRAM = {"dram_bytes_per_cycle": 512, "dram_latency_cycles": 20}
"""So fast that several engines are of use."""
