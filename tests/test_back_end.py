"""plan_sram, pipeline and emit, against the NumPy meaning of the ISA and the verifier."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from isa_interpreter import interpret
from placed import gemm_relu, grid, load, region, stage, store, two_stages, unary

from tileflow_tvm.errors import KernelError, Loc
from tileflow_tvm.frontend.tile_ir import (
    Affine,
    Alloc,
    Buffer,
    Extent,
    Loop,
    Program,
    Region,
    Scope,
    Var,
)
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.isa.program import Program as IsaProgram
from tileflow_tvm.isa.table import Engine
from tileflow_tvm.passes.emit import emit
from tileflow_tvm.passes.pipeline import pipeline
from tileflow_tvm.passes.plan_sram import bytes_of, plan_sram
from tileflow_tvm.sim import Simulator

MACHINE = Machine.load("tileflow")


def build(program: Program, machine: Machine = MACHINE) -> IsaProgram:
    return emit(pipeline(plan_sram(program, machine), machine), machine)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def agree(program: IsaProgram, *inputs: np.ndarray) -> list[np.ndarray]:
    """The outputs by the interpreter, after the verifier and both engines agreed with it."""
    want = interpret(program, *inputs)
    simulator = Simulator(program)
    simulator.verify()
    runs = [simulator.run(inputs, engine=name).outputs for name in ("sequential", "threaded")]
    for got, again, expected in zip(*runs, want, strict=True):
        np.testing.assert_array_equal(got, again)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    return want


@pytest.mark.parametrize("hoisted", [False, True])
@pytest.mark.parametrize(("m", "n", "k"), [(1, 1, 1), (100, 70, 90), (33, 129, 31)])
@pytest.mark.parametrize("sram", [24 << 10, 52 << 10, 256 << 10])
def test_gemm_with_an_epilogue(m, n, k, sram, hoisted):
    if sram < 36 << 10 and n > 64:
        pytest.skip("the block of C alone does not fit")
    a, b = normal(m, k), normal(k, n, seed=1)
    rows = 32 if sram < 36 << 10 else 64
    program = build(gemm_relu(m, n, k, rows, hoisted), MACHINE.replace(sram_bytes=sram))
    (got,) = agree(program, a, b)
    want = np.maximum(a.astype(np.float64) @ b, 0)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_a_stage_that_loads_what_another_stored_waits_for_it():
    x = normal(70, 45)
    (got,) = agree(build(two_stages(70, 45)), x)
    np.testing.assert_array_equal(got, -np.maximum(x, 0))


def test_an_alloc_at_the_top_becomes_a_ring_all_the_same():
    placed = plan_sram(gemm_relu(256, 96, 128, hoisted=True), MACHINE)
    slots = {region.buffer.name: region.buffer.slots for op in placed.ops for region in op.regions}
    assert slots["a"] > 1
    assert slots["b"] > 1


def test_live_buffers_do_not_overlap_and_rings_stand_alone():
    machine = MACHINE.replace(sram_bytes=64 << 10)
    placed = plan_sram(gemm_relu(200, 96, 100), machine)
    chips = {r.buffer for op in placed.ops for r in op.regions if r.buffer.scope.on_chip}
    ranges = sorted((b.address, b.address + b.slots * bytes_of(b, machine)) for b in chips)
    assert all(low_end <= high for (_, low_end), (high, _) in itertools.pairwise(ranges))
    assert ranges[-1][1] <= machine.sram_bytes


def temporaries(count: int, loc: Loc | None = None) -> Program:
    """A chain of relus, each into a fresh 32 x 32 tile; never more than two live."""
    x = Buffer("X", (96, 32), scope=Scope.DRAM, param=0)
    y = Buffer("Y", (96, 32), scope=Scope.DRAM, param=1)
    i = Var("i")
    at = (Affine.of(i) * 32, 0)
    tiles = [Buffer(f"t{n}", (32, 32), scope=Scope.GRID, loc=loc) for n in range(count)]
    extents = (Extent(32), Extent(32))
    body = [Alloc(tile) for tile in tiles]
    body.append(load(Region.whole(tiles[0]), region(x, at, (32, 32))))
    for here, there in itertools.pairwise(tiles):
        body.append(unary(Region.whole(there), Region.whole(here), extents, "neg"))
    body.append(store(region(y, at, (32, 32)), Region.whole(tiles[-1])))
    return Program("chain", (x, y), (Loop(i, Affine(3), tuple(body)),), roles=("in", "out"))


@pytest.mark.parametrize("tiles", [3, 4, 5, 64])
def test_dead_ranges_are_used_again(tiles):
    x = normal(96, 32)
    program = build(temporaries(9), MACHINE.replace(sram_bytes=tiles * 4096))
    (got,) = agree(program, x)
    np.testing.assert_array_equal(got, x)


def test_what_does_not_fit_prints_the_live_set():
    i = Var("i")
    x = Buffer("X", (320, 320), scope=Scope.DRAM, param=0)
    y = Buffer("Y", (320, 320), scope=Scope.DRAM, param=1)
    big = Buffer("big", (320, 320), scope=Scope.GRID, loc=Loc("k.py", 7, 5))
    body = (
        Alloc(big),
        load(Region.whole(big), Region.whole(x)),
        store(Region.whole(y), Region.whole(big)),
    )
    program = Program("k", (x, y), (Loop(i, Affine(1), body),), roles=("in", "out"))
    with pytest.raises(KernelError) as caught:
        plan_sram(program, MACHINE)
    text = str(caught.value)
    assert text.startswith("k.py:7:5: error: 'big' needs 409600 B")
    assert "live at once: 409600 B of 262144 B" in text
    assert "hint:" in text


def test_more_registers_than_the_machine_has_are_set_inside_the_loop():
    few = MACHINE.replace(address_generators=7, extents=3)
    program = build(gemm_relu(100, 70, 90), few)
    inside = 0
    depth = 0
    for insn in program.insns:
        depth += {"loop": 1, "end": -1}.get(insn.mnemonic, 0)
        inside += depth > 0 and insn.mnemonic == "agen"
    assert inside
    a, b = normal(100, 90), normal(90, 70, seed=1)
    (got,) = agree(program, a, b)
    np.testing.assert_allclose(got, np.maximum(a.astype(np.float64) @ b, 0), rtol=1e-5, atol=1e-5)


def test_the_text_does_not_grow_with_the_trip_counts():
    small, large = build(gemm_relu(300, 96, 300)), build(gemm_relu(4096, 96, 4096))
    assert len(small.insns) == len(large.insns)


def test_too_deep_a_nest_is_refused_at_its_loop():
    shallow = MACHINE.replace(loop_levels=2)
    with pytest.raises(KernelError, match="deeper than the machine's 2 levels"):
        build(gemm_relu(64, 64, 64), shallow)


def test_too_few_semaphores_is_refused_with_who_holds_them():
    with pytest.raises(KernelError, match="more than the machine's 2 semaphores") as caught:
        build(gemm_relu(64, 64, 64), MACHINE.replace(semaphores=2))
    assert any("->" in note for note in caught.value.notes)


def test_a_long_program_uses_its_semaphores_again():
    """Forty stages through two tensors in DRAM."""
    x = Buffer("X", (70, 45), scope=Scope.DRAM, param=0)
    y = Buffer("Y", (70, 45), scope=Scope.DRAM, param=1)
    temps = [Buffer(f"T{n}", (70, 45), scope=Scope.DRAM) for n in range(39)]
    chain = [x, *temps, y]
    body = [Alloc(temp) for temp in temps]
    body += [stage(src, dst, "neg") for src, dst in itertools.pairwise(chain)]
    program = build(Program("long", (x, y), tuple(body), roles=("in", "out")))
    data = normal(70, 45)
    (got,) = agree(program, data)
    np.testing.assert_array_equal(got, data)


def test_a_ring_has_as_many_tokens_as_slots_and_posts_match_waits():
    placed = pipeline(plan_sram(gemm_relu(200, 96, 100), MACHINE), MACHINE)
    slots = {r.buffer.slots for op in placed.ops for r in op.regions if r.buffer.scope.on_chip}
    assert {semaphore.count for semaphore in placed.semaphores} <= {0, *slots}
    for number, semaphore in enumerate(placed.semaphores):
        posters = {op.runs_on for op in placed.ops if number in op.posts}
        waiters = {op.runs_on for op in placed.ops if number in op.waits}
        assert posters == {semaphore.poster}
        assert waiters == {semaphore.waiter}
        assert semaphore.poster != semaphore.waiter


def test_disjoint_strips_are_not_put_in_line():
    """The epilogue's strips of C do not overlap: EXEC need not wait for STORE between them."""
    placed = pipeline(plan_sram(gemm_relu(200, 96, 100), MACHINE), MACHINE)
    (outer,) = placed.body
    epilogue = next(s for s in reversed(outer.body) if isinstance(s, Loop))
    execs = [op for op in epilogue.body if op.engine is Engine.EXEC]
    assert execs
    assert not any(op.waits for op in execs)


def test_a_buffer_that_is_carried_around_the_loop_keeps_one_slot():
    """acc is filled before the loop and added to in it."""
    x = Buffer("X", (96, 32), scope=Scope.DRAM, param=0)
    y = Buffer("Y", (32, 32), scope=Scope.DRAM, param=1)
    i, acc, t = Var("i"), grid("acc", (32, 32)), grid("t", (32, 32))
    full = (Extent(32), Extent(32))
    from tileflow_tvm.frontend.tile_ir import Op

    body = (
        Alloc(acc),
        Op("fill", Region.whole(acc), extents=full, value=0.5, engine=Engine.EXEC),
        Loop(i, Affine(3), (
            Alloc(t),
            load(Region.whole(t), region(x, (Affine.of(i) * 32, 0), (32, 32))),
            Op("binary", Region.whole(acc), (Region.whole(acc), Region.whole(t)), func="add",
               modes=("full", "full"), extents=full, engine=Engine.EXEC),
        )),
        store(Region.whole(y), Region.whole(acc)),
    )  # fmt: skip
    data = normal(96, 32)
    (got,) = agree(build(Program("acc", (x, y), body, roles=("in", "out"))), data)
    want = 0.5 + data.reshape(3, 32, 32).astype(np.float64).sum(0)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
