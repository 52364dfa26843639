"""Binaries that are not programs: every one is a clear error, and none is run."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import re
import struct
import zlib

import pytest
from simulator_programs import SMALL, gemm_machine, gemm_text, program

from tileflow_tvm import _sim
from tileflow_tvm.errors import Loc
from tileflow_tvm.isa.container import HEADER, _pack, to_bytes
from tileflow_tvm.isa.machine import MACHINE_INTS
from tileflow_tvm.isa.program import (
    AccessPattern,
    BoxDim,
    Program,
    Storage,
    StorageKind,
    TensorSpec,
    insn,
)
from tileflow_tvm.isa.table import UNARY_FUNCS

SECTION_TABLE = 40 + 4 * len(MACHINE_INTS)
GEMM = to_bytes(program(gemm_text(70, 40, 50), gemm_machine()))
TABLES = """
.arg X f32[4, 6] in
.arg Y f32[4, 6] out
.scalar n
.scratch 96
.const W f32 { 1.0 2.0 3.0 }
.tensor X f32[4, 6] at arg X
.tensor Y f32[4, 6] at arg Y
.tensor S f32[24] at scratch
.tensor W f32[3] at const W
.access tile row(4, d0), col(6, d1)
.access flat col(6, d0)
agen a0, 0
agen a1, 0 pitch=1
ext e0 limit=4 max=4
load a1, X[a0, a0], tile post=sem0
store a1, Y[a0, a0], tile wait=sem0
"""


def resealed(data: bytes, at: int, new: bytes) -> bytes:
    """`data` with other bytes at one place and a checksum that fits."""
    body = data[:at] + new + data[at + len(new) : -4]
    return body + zlib.crc32(body).to_bytes(4, "little")


def fault_of(data: bytes) -> _sim.Fault:
    with pytest.raises(_sim.Fault) as caught:
        _sim.Program(data)
    assert caught.value.kind == "binary"
    return caught.value


def refuse(message: str, base: str = TABLES, pc: int | None = None, **changes) -> None:
    """The program of `base` with some fields replaced is refused with this message."""
    fault = fault_of(_pack(dataclasses.replace(program(base), **changes)))
    assert re.search(message, fault.message), fault.message
    assert fault.pc == pc


def test_truncated_at_every_byte():
    for size in range(len(GEMM)):
        fault_of(GEMM[:size])


def test_each_bit_flipped():
    for bit in range(8 * len(GEMM)):
        flipped = bytearray(GEMM)
        flipped[bit // 8] ^= 1 << bit % 8
        fault_of(bytes(flipped))


def test_more_bytes_than_it_says():
    assert "too long: the file has" in fault_of(GEMM + b"\0").message


def test_random_bytes_behind_a_right_checksum(request):
    """Whatever the tables say, the answer is a program or a fault."""
    draw = random.Random(request.config.getoption("--seed"))
    binaries = (GEMM, to_bytes(program(TABLES)))
    accepted = 0
    for _ in range(3000):
        data = draw.choice(binaries)
        for _ in range(draw.randint(1, 3)):
            at = draw.randrange(HEADER.size, len(data) - 8)
            width = draw.choice((1, 1, 1, 2, 4, 8))
            data = resealed(data, at, draw.randbytes(width))
        with contextlib.suppress(_sim.Fault):
            _sim.Program(data)
            accepted += 1
    assert 0 < accepted < 3000


@pytest.mark.parametrize(
    ("at", "new", "message"),
    [
        (0, b"ELF", "begins with something else"),
        (8, struct.pack("<I", 3), "container version 3 is newer than this tool's, 2"),
        (12, b"\1", "1 sections, not 9"),
        (24, b"\1", "made for another instruction set"),
        (32, b"\1", "does not match its fingerprint"),
        (40, struct.pack("<I", 16), "does not match its fingerprint"),
        (SECTION_TABLE, struct.pack("<Q", 320), "section info lies outside"),
        (SECTION_TABLE + 8, struct.pack("<Q", 1 << 63), "section info lies outside"),
    ],
)
def test_header(at, new, message):
    assert message in fault_of(resealed(GEMM, at, new)).message


def test_places_of_instructions():
    """They are for messages alone, and still nothing in them is believed."""
    loc = Loc("k.py", 3, 7)
    base = program(TABLES)
    insns = tuple(dataclasses.replace(insn, loc=loc) for insn in base.insns)
    data = _pack(dataclasses.replace(base, insns=insns))
    at = data.rindex(struct.pack("<6I", 1, 0, 0, 3, 7, 0))
    assert "debug: no such file" in fault_of(resealed(data, at + 8, b"\1")).message
    far = (dataclasses.replace(insns[0], loc=Loc("k.py", 4, 7)), *insns[1:])
    data = _pack(dataclasses.replace(base, insns=far))
    second = data.rindex(struct.pack("<4I", 1, 0, 3, 7))
    assert "debug: pc 0 is out of order" in fault_of(resealed(data, second, b"\0")).message


@pytest.mark.parametrize(
    ("key", "value"),
    [("tile", 24), ("sram_bytes", 8194), ("sram_bytes", 764), ("load_engines", 2), ("dtypes", ()),
     ("semaphores", 64), ("queue_depth", 0), ("macs_per_cycle", 0), ("dram_bytes_per_cycle", 0),
     ("dma_outstanding", 0), ("dma_outstanding", 1025), ("dram_burst_bytes", 48)],
)  # fmt: skip
def test_a_machine_that_makes_no_sense(key, value):
    machine = program(TABLES).machine
    object.__setattr__(machine, key, value)
    refuse("values out of range", machine=machine)


def tensor(name: str, shape, strides, kind=StorageKind.ARG, index=0, offset=0) -> TensorSpec:
    return TensorSpec(name, shape, strides, Storage(kind, index, offset))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (tensor("T", (5, 6), (6, 1)), "'T' leaves its storage of 96 bytes"),
        (tensor("T", (4, 6), (6, 1), offset=4), "leaves its storage"),
        (tensor("T", (4, 6), (6, -1)), "leaves its storage"),
        (tensor("T", (4, 6), (6, -1), offset=24), "leaves its storage"),
        (tensor("T", (4, 6), (1 << 61, 1)), "leaves its storage"),
        (tensor("T", (1 << 61, 1 << 61), (0, 1)), "leaves its storage"),
        (tensor("T", (4,), (1,), offset=2), "not aligned"),
        (tensor("T", (4,), (1,), index=2), "argument 2, which does not exist"),
        (tensor("T", (4,), (1,), StorageKind.CONST, 1), "constant 1, which does not exist"),
        (tensor("T", (4,), (1,), StorageKind.CONST), "leaves its storage of 12 bytes"),
        (tensor("T", (25,), (1,), StorageKind.SCRATCH), "leaves its storage of 96 bytes"),
        (tensor("T", (0, 6), (1, 1), offset=100), "leaves its storage"),
        (tensor("T", (), ()), "has no dimension"),
    ],
)
def test_tensors_stay_inside(spec, message):
    tensors = (*program(TABLES).tensors, spec)
    refuse(message, tensors=tensors)


def test_tensors_that_do_stay_inside():
    tensors = (
        tensor("reversed", (4, 6), (-6, -1), offset=92),
        tensor("broadcast", (1 << 60, 6), (0, 1)),
        tensor("last", (1,), (1 << 61,), offset=92),
        tensor("empty", (0, 1 << 60), (1 << 60, 1 << 60), offset=96),
        tensor("skewed", (3, 3), (7, -1), offset=8),
    )
    _sim.Program(
        _pack(dataclasses.replace(program(TABLES), tensors=(*program(TABLES).tensors, *tensors)))
    )


def test_access_patterns():
    def access(*dims: BoxDim) -> tuple[AccessPattern, ...]:
        return (*program(TABLES).accesses, AccessPattern(dims))

    refuse("a box is larger than any SRAM", accesses=access(BoxDim(1 << 29, 0)))
    refuse("a box too large", accesses=access(*[BoxDim(1 << 31, 0)] * 5))
    refuse("more access patterns", accesses=program(TABLES).accesses * 600)
    refuse("more tensors", tensors=program(TABLES).tensors * 300)
    refuse("more launch scalars", scalars=tuple("abcdefghijklmnopq"))


def change_insn(text: str, pc: int, **operands: int) -> Program:
    base = program(text)
    insns = list(base.insns)
    insns[pc] = dataclasses.replace(insns[pc], operands={**insns[pc].operands, **operands})
    return dataclasses.replace(base, insns=tuple(insns))


@pytest.mark.parametrize(
    ("pc", "operands", "message"),
    [
        (0, {"dst": 63}, "dst names address generator 63, but there are 63"),
        (2, {"dst": 63}, "dst names extent register 63"),
        (3, {"tensor": 4}, "tensor names tensor 4, but there are 4"),
        (3, {"access": 2}, "access names access pattern 2, but there are 2"),
        (3, {"dst": 63}, "dst names address generator 63"),
        (3, {"tensor": 3, "c1": 63}, "moves along dimension 1, but tensor 'W' has rank 1"),
        (
            3,
            {"tensor": 3, "access": 1},
            "gives a coordinate of dimension 1, but tensor 'W' has rank 1",
        ),
        (4, {"tensor": 0}, "stores into the input argument 'X'"),
        (4, {"tensor": 3, "access": 1, "c1": 63}, "stores into the constant of tensor 'W'"),
    ],
)
def test_operands(pc, operands, message):
    fault = fault_of(_pack(change_insn(TABLES, pc, **operands)))
    assert message in fault.message
    mnemonic = program(TABLES).insns[pc].mnemonic
    assert fault.message.startswith(f"pc {pc} {mnemonic}: ")
    assert fault.pc == pc


def test_registers_a_smaller_machine_lacks():
    keys = "address_generators=2 extents=1 semaphores=3 scalars=2 loop_levels=2"
    machine = SMALL.replace("}", f"{keys} }}")
    insns = {
        "agen": insn("agen", dst=2, base=0),
        "ext": insn("ext", dst=1, limit=1, max=1),
        "sem": insn("sem", dst=3, count=0),
        "scalar": insn("scalar", dst=2, func="add", lhs=0, imm=1),
        "level": insn("stride", dst=0, source=2, step=1),
        "source": insn("stride", dst=0, source=18, step=1),
        "coord": insn("ext", dst=0, coord=2, limit=1, max=1),
        "by": insn("loop", by=2),
        "wait": insn("exec.nop", wait1=3),
    }
    base = program("agen a0, 0", machine)
    for what, bad in insns.items():
        wrong = dataclasses.replace(base, insns=(base.insns[0], bad, base.insns[1]))
        fault = fault_of(_pack(wrong))
        assert "names" in fault.message, what
        assert fault.pc == 1


GEMM_REGISTERS = ("dst", "lhs", "rhs", "m", "n", "k")
LOOP, END, NOP, HALT = insn("loop", count=2), insn("end"), insn("exec.nop"), insn("halt")


@pytest.mark.parametrize(
    ("insns", "pc", "message"),
    [
        ((NOP,), 0, "does not end in halt"),
        ((LOOP, NOP, HALT), 0, "loop: this loop has no end"),
        ((LOOP, END, END, HALT), 2, "no loop is open"),
        ((HALT, NOP), 1, "an instruction after halt"),
        ((HALT, HALT), 1, "an instruction after halt"),
        ((*[LOOP] * 9, *[END] * 9, HALT), 8, "deeper than the machine's 8 levels"),
        ((insn("loop", count=2, by=0), END, HALT), 0, "both count and by"),
        ((NOP, insn("sem", dst=1, count=1), HALT), 1, "legal only before"),
        ((LOOP, END, insn("sem", dst=1, count=1), HALT), 2, "legal only before"),
        ((*[insn("sem", dst=1, count=1)] * 2, HALT), 1, "sets sem1 a second time"),
        ((LOOP, insn("scalar", dst=0, func="add", lhs=0), END, HALT), 1, "only outside loops"),
        ((insn("scalar", dst=0, func="add", lhs=0, rhs=0, imm=1), HALT), 0, "both rhs and imm"),
        (
            (LOOP, insn("exec.gemm", **dict.fromkeys(GEMM_REGISTERS, 0), clear="at0", level=1)),
            1,
            "iteration 0 of loop level 1, but only 1 loops are open",
        ),
        (
            (insn("exec.binary", dst=0, lhs=0, m=0, n=0, func="add"), HALT),
            0,
            "rhs names no generator",
        ),
        (
            (insn("exec.binary", dst=0, lhs=0, rhs=0, m=0, n=0, func="add", lmode="imm"), HALT),
            0,
            "lhs is the immediate and names a generator",
        ),
    ],
)  # fmt: skip
def test_text(insns, pc, message):
    refuse(message, base="", pc=pc, insns=insns)


def test_no_text_at_all():
    refuse("not a whole number of instructions", base="", insns=())


def test_words_that_are_no_instruction():
    data = to_bytes(program("exec.nop"))
    at = struct.unpack_from("<Q", data, SECTION_TABLE + 16 * 7)[0]
    assert "opcode 0" in fault_of(resealed(data, at, b"\0")).message
    assert "opcode 255" in fault_of(resealed(data, at, b"\xff")).message
    assert "exec.nop: bits that mean nothing" in fault_of(resealed(data, at + 15, b"\x20")).message
    unary = to_bytes(program("exec.unary.erf a0, a0 m=e0 n=e0"))
    assert (
        "exec.unary: no such func"
        in fault_of(resealed(unary, at + 7, bytes([len(UNARY_FUNCS)]))).message
    )


def test_stores_that_would_write_an_element_twice():
    def store(shape, strides, *dims: BoxDim) -> bytes:
        base = program(".arg Y f32[64] out\n")
        return _pack(
            dataclasses.replace(
                base,
                tensors=(tensor("Y", shape, strides),),
                accesses=(AccessPattern(dims),),
                insns=(insn("store", src=0, tensor=0, access=0), HALT),
            )
        )

    twice = "writes an element more than once"
    assert twice in fault_of(store((8, 8), (8, 1), BoxDim(4), BoxDim(8, 1))).message
    assert twice in fault_of(store((8, 8), (8, 1), BoxDim(4, 0, 0), BoxDim(8, 1))).message
    assert twice in fault_of(store((64,), (1,), BoxDim(4, 0, 2), BoxDim(3, 0))).message
    _sim.Program(store((64,), (1,), BoxDim(4, 0, 3), BoxDim(3, 0)))
    _sim.Program(store((64,), (1,), BoxDim(3, 0), BoxDim(4, 0, -3)))
    _sim.Program(store((8, 8), (8, 1), BoxDim(1), BoxDim(8, 1)))
    shared = "elements of tensor 'Y' share memory"
    assert shared in fault_of(store((8, 8), (0, 1), BoxDim(8, 0))).message
    assert shared in fault_of(store((8, 8), (7, 1), BoxDim(8, 0))).message
    _sim.Program(store((8, 8), (1, 8), BoxDim(8, 0)))
    _sim.Program(store((1, 8), (0, 1), BoxDim(8, 0)))
