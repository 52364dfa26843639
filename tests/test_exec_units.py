"""Machines with several EXEC engines: the instructions, the verifier, threads, and kernels that
say which engine runs what."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from simulator_programs import core, gemm_arrays, program
from tvm.error import DiagnosticError
from tvm.script import tirx as T
from verifier_checks import ARGS, REGISTERS, check

import tileflow_tvm as tf
from tileflow_tvm import _sim
from tileflow_tvm.assembler import assemble, disassemble
from tileflow_tvm.errors import AssemblyError, KernelError
from tileflow_tvm.isa.container import _pack
from tileflow_tvm.isa.program import insn

MACHINE = tf.Machine.load("tileflow")
TWO = ".machine tileflow { tile=8 sram_bytes=8192 exec_engines=2 }\n"
PAIR = f"""{ARGS}{REGISTERS}
load a1, X[a0, a0], tile post=sem0
exec.unary.relu a2, a1 m=e0 n=e0 wait=sem0 post=sem2
exec.unary.neg a3, a2 m=e0 n=e0 unit=1 wait=sem2 post=sem1
store a3, Y[a0, a0], tile wait=sem1
"""
"""Y = -relu(X): the second operation on the second engine."""


# Instructions.


def test_the_unit_is_an_operand_of_text_and_word():
    made = program(PAIR, TWO)
    assert [i.operands["unit"] for i in made.insns if i.mnemonic == "exec.unary"] == [0, 1]
    text = disassemble(made)
    assert text.count("unit=") == 1
    assert assemble(text) == made


@pytest.mark.parametrize(
    ("line", "what", "hint"),
    [
        ("exec.nop unit=2", "unit is 2, but tileflow has exec_engines = 2", "unit is in 0..1 here"),
        ("load.nop unit=1", "unit is 1, but tileflow has load_engines = 1", "unit is 0 here"),
        ("store.nop unit=3", "unit is 3, but tileflow has store_engines = 1", "unit is 0 here"),
        ("exec.nop unit=4", "unit is 4, outside 0..3", "exec.nop unit= wait= post="),
    ],
)
def test_a_unit_that_is_not_there(line, what, hint):
    with pytest.raises(AssemblyError) as caught:
        assemble(f".isa tileflow\n{TWO}exec.nop unit=1\n{line}\nhalt\n", "k.asm")
    error = caught.value
    assert what in error.what
    assert hint in error.hint
    assert error.loc is not None
    assert (error.loc.line, error.loc.col) == (4, line.index("=") + 2)


@pytest.mark.parametrize(
    ("mnemonic", "unit", "engines"), [("exec.nop", 2, 2), ("load.nop", 1, 1), ("store.nop", 1, 1)]
)
def test_a_binary_with_a_unit_that_is_not_there(mnemonic, unit, engines):
    bad = dataclasses.replace(
        program("exec.nop", TWO), insns=(insn("exec.nop"), insn(mnemonic, unit=unit), insn("halt"))
    )
    with pytest.raises(_sim.Fault, match=f"runs on unit {unit}, but the machine has {engines} eng"):
        _sim.Program(_pack(bad))


# Semaphores and races.


def test_two_exec_engines_are_ordered_by_a_semaphore_alone(rng):
    assert core(PAIR, TWO).verify([]) > 0
    one = core(PAIR.replace("unit=1 wait=sem2", "").replace("post=sem2", ""), TWO)
    assert one.verify([]) > 0
    text = PAIR.replace("wait=sem2 ", "")
    check(text, r"reads SRAM .* \(src\), .* writes; no semaphore", "exec.unary.neg",
          "exec.unary.relu", machine=TWO)  # fmt: skip
    text = PAIR.replace("neg a3, a2", "neg a1, a1").replace("wait=sem2 ", "wait=sem0 ")
    text = text.replace("post=sem0", "post=sem0,sem4").replace(
        "unit=1 wait=sem0", "unit=1 wait=sem4"
    )
    check(text, r"writes SRAM .* \(dst\), .* reads; no semaphore", "exec.unary.neg",
          "exec.unary.relu", machine=TWO)  # fmt: skip
    x, y = rng.standard_normal((2, 8, 8), dtype=np.float32)
    core(PAIR, TWO).run([x, y], [], "threaded", threads=4, hand_over=0)
    np.testing.assert_array_equal(y, -np.maximum(x, 0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("exec.nop post=sem5\nexec.nop unit=1 post=sem5", "pc 2 exec.nop: posts sem5, but so does"),
        ("exec.nop unit=1 wait=sem5\nexec.nop wait=sem5", "pc 2 exec.nop: waits on sem5, but so"),
    ],
)
def test_a_semaphore_has_one_engine_on_each_side(text, message):
    with pytest.raises(_sim.Fault, match=f"{message}.* of another engine"):
        core(f"sem sem5, 2\n{text}", TWO)


# Kernels that name the engines, and threads.


def gemm(m: int, n: int, k: int):
    """Two rows of blocks at once, one an engine; they share the blocks of B."""

    @T.prim_func
    def func(
        A: T.Buffer((m, k), "float32"),
        B: T.Buffer((k, n), "float32"),
        C: T.Buffer((m, n), "float32"),
    ):
        for i, j in T.grid(-(-m // 64), -(-n // 32)):
            c0 = T.alloc_buffer((32, 32), "float32")
            c1 = T.alloc_buffer((32, 32), "float32")
            for p in range(-(-k // 32)):
                a0 = T.alloc_buffer((32, 32), "float32")
                a1 = T.alloc_buffer((32, 32), "float32")
                b = T.alloc_buffer((32, 32), "float32")
                T.tf.load(b, B[p * 32 : p * 32 + 32, j * 32 : j * 32 + 32])
                T.tf.load(a0, A[i * 64 : i * 64 + 32, p * 32 : p * 32 + 32])
                T.tf.load(a1, A[i * 64 + 32 : i * 64 + 64, p * 32 : p * 32 + 32])
                T.tf.gemm(c0, a0, b, clear=p == 0)
                T.tf.gemm(c1, a1, b, clear=p == 0, unit=1)
            T.tf.relu(c1, unit=1)
            T.tf.relu(c0)
            T.tf.store(C[i * 64 : i * 64 + 32, j * 32 : j * 32 + 32], c0)
            T.tf.store(C[i * 64 + 32 : i * 64 + 64, j * 32 : j * 32 + 32], c1)

    return func


def order(exe: tf.Executable) -> set[tuple[str, str]]:
    """Who posts to whom in a program, as (mnemonic's engine and unit) pairs."""
    sides: dict[int, list[set[str]]] = {}
    for instruction in exe.program.insns:
        operands = instruction.operands
        if "unit" not in operands:
            continue
        who = f"{instruction.mnemonic.split('.')[0]}{operands['unit']}"
        for side, names in enumerate((("post0", "post1"), ("wait0", "wait1"))):
            for name in names:
                sides.setdefault(operands[name], [set(), set()])[side].add(who)
    del sides[63]
    return {(*posters, *waiters) for posters, waiters in sides.values()}


@pytest.mark.parametrize("shape", [(100, 90, 70), (33, 40, 65), (129, 33, 200)])
def test_a_kernel_that_names_its_engines(rng, shape):
    """Engines that read the same block do not wait for each other."""
    m, n, k = shape
    exe = tf.compile(gemm(m, n, k), machine=MACHINE.replace(exec_engines=2))
    assert order(exe) == {
        ("load0", "exec0"), ("load0", "exec1"), ("exec0", "load0"), ("exec1", "load0"),
        ("exec0", "store0"), ("exec1", "store0"), ("store0", "exec0"), ("store0", "exec1"),
    }  # fmt: skip
    a, b, c = gemm_arrays(rng, m, n, k)
    want = np.maximum(a.astype(np.float64) @ b, 0)
    simulator = _sim.Program(exe.to_bytes())
    assert simulator.verify([]) > 0
    bits = set()
    for level in _sim.levels():
        for threads in (1, 2, 3, 4):
            for hand_over in (0, 5, 23):
                c[:] = np.nan
                simulator.run([a, b, c], [], "threaded", level, threads=threads,
                              hand_over=hand_over)  # fmt: skip
                bits.add(c.tobytes())
        c[:] = np.nan
        simulator.run([a, b, c], [], "sequential", level)
        bits.add(c.tobytes())
    assert len(bits) == 1
    np.testing.assert_allclose(c, want, rtol=1e-5, atol=1e-4)


def test_a_kernel_for_more_engines_than_there_are():
    with pytest.raises(KernelError) as caught:
        tf.compile(gemm(64, 64, 64), machine=MACHINE)
    error = caught.value
    assert error.what == "unit=1 of T.tf.gemm, but tileflow has exec_engines = 1"
    assert error.hint == "unit is 0 here"
    assert error.loc is not None
    line = Path(__file__).read_text().splitlines()[error.loc.line - 1]
    assert "T.tf.gemm(c1, a1, b, clear=p == 0, unit=1)" in line


def test_a_transfer_has_no_unit():
    with pytest.raises(DiagnosticError, match=r"T.tf.load\(\) has no keyword 'unit'"):

        @T.prim_func
        def func(A: T.Buffer((32, 32), "float32")):
            a = T.alloc_buffer((32, 32), "float32")
            T.tf.load(a, A, unit=1)
