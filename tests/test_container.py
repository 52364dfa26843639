"""The binary container: bytes to program and back, and every way in which bytes can be wrong."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from isa_programs import programs

from tileflow_tvm.errors import BinaryError, FileLoc, Loc
from tileflow_tvm.isa import container
from tileflow_tvm.isa.container import from_bytes, to_bytes
from tileflow_tvm.isa.machine import MACHINE_INTS, Machine
from tileflow_tvm.isa.program import (
    AccessPattern,
    ArgSpec,
    BoxDim,
    BufferInfo,
    Constant,
    Instruction,
    Program,
    Role,
    Storage,
    StorageKind,
    TensorSpec,
    insn,
)
from tileflow_tvm.isa.table import TILEFLOW, Isa

SECTION_TABLE = 40 + 4 * len(MACHINE_INTS)


def small_program() -> Program:
    """Loads a tile, adds a constant row, stores it; every table has an entry."""
    arg = Storage(StorageKind.ARG, 0)
    return Program(
        "small", Machine(),
        (
            insn("sem", dst=0, count=1, loc=Loc("k.py", 3, 5)),
            insn("agen", dst=0, base=0, pitch=1),
            insn("agen", dst=1, base=4096, loc=Loc("k.py", 4, 5)),
            insn("ext", dst=0, limit=7, max=32, loc=Loc("k.py", 4, 5)),
            insn("loop", count=3, loc=Loc("m.py", 9, 1)),
            insn("load", dst=0, tensor=0, access=0, c0=1, fill=float("-inf"), wait0=0, post0=1),
            insn("exec.binary", dst=0, lhs=0, rhs=1, m=0, n=0, func="sub", rmode="row", wait0=1,
                 post0=2),
            insn("store", src=0, tensor=1, access=0, c0=1, wait0=2, post0=0),
            insn("end"),
            insn("halt"),
        ),
        args=(ArgSpec("X", (7, 5), Role.IN), ArgSpec("Y", (5, 7), Role.OUT)),
        scalars=("n",),
        tensors=(
            TensorSpec("X", (7, 5), (5, 1), arg),
            TensorSpec("Y^T", (7, 5), (1, 7), Storage(StorageKind.ARG, 1)),
            TensorSpec("w", (3,), (1,), Storage(StorageKind.CONST, 1, 4)),
        ),
        accesses=(AccessPattern((BoxDim(7, 0), BoxDim(5, 1, column=True))),),
        constants=(Constant("u", b"\x01\x02\x03\x04"), Constant("w", bytes(range(16)))),
        scratch_bytes=64,
        buffers=(BufferInfo("x", 0, 4096, 2, 4, 8, Loc("k.py", 4, 5)),),
    )  # fmt: skip


DATA = to_bytes(small_program())


def sealed(data: bytes) -> bytes:
    """The bytes with the checksum that fits them."""
    return data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little")


def patched(offset: int, code: str, value: int) -> bytes:
    """The small program with one header or section value replaced and a right checksum."""
    data = bytearray(DATA)
    struct.pack_into("<" + code, data, offset, value)
    return sealed(bytes(data))


def section(name: str) -> tuple[int, int]:
    index = container.SECTIONS.index(name)
    return struct.unpack_from("<QQ", DATA, SECTION_TABLE + 16 * index)


def test_round_trip():
    assert from_bytes(DATA) == small_program()


@given(programs())
def test_round_trip_of_random_programs(program):
    data = to_bytes(program)
    assert from_bytes(data) == program
    assert to_bytes(from_bytes(data)) == data


def test_the_documented_header():
    """Read by hand, as the docstring says; the C++ reader relies on these places."""
    assert DATA[:8] == bytes([0x54, 0x46, 0x4C, 0x4F, 0x57, 0x0D, 0x0A, 0x1A])
    version, sections, size = struct.unpack_from("<IIQ", DATA, 8)
    assert (version, sections, size) == (2, 9, len(DATA))
    assert struct.unpack_from("<Q", DATA, 32) == (Machine().fingerprint(),)
    numbers = struct.unpack_from(f"<{len(MACHINE_INTS)}I", DATA, 40)
    assert dict(zip(MACHINE_INTS, numbers, strict=True))["sram_bytes"] == 262144
    assert numbers[-1] == 0b1111
    assert section("info")[0] == 304
    start, length = section("text")
    assert length == 16 * 10
    assert start % 16 == 0
    assert DATA[start] == TILEFLOW.by_mnemonic["sem"].opcode
    assert int.from_bytes(DATA[-4:], "little") == zlib.crc32(DATA[:-4])


def test_the_documented_order_of_machine_values():
    doc = " ".join((container.__doc__ or "").split())
    assert f"The order of MACHINE_INTS: {', '.join(MACHINE_INTS)}." in doc
    for index, name in enumerate(container.SECTIONS):
        assert f"{index} {name} " in doc


def test_every_truncation_is_refused():
    for length in range(len(DATA)):
        with pytest.raises(BinaryError):
            from_bytes(DATA[:length])


def test_every_flipped_bit_is_refused():
    for position in range(len(DATA)):
        for bit in range(8):
            flipped = bytearray(DATA)
            flipped[position] ^= 1 << bit
            with pytest.raises(BinaryError):
                from_bytes(bytes(flipped))


def test_an_altered_constant_is_found_by_the_checksum():
    start, _ = section("data")
    altered = DATA[:start] + b"\xff" + DATA[start + 1 :]
    with pytest.raises(BinaryError, match="the checksum does not match"):
        from_bytes(altered)
    assert from_bytes(sealed(altered)).constants[0].data[0] == 0xFF


def test_a_wrong_byte_with_a_right_checksum_never_escapes_as_another_error():
    for position in range(304, len(DATA) - 4):
        for value in (0, 1, 0x7F, 0xFF):
            data = bytearray(DATA)
            data[position] = value
            try:
                program = from_bytes(sealed(bytes(data)))
            except BinaryError:
                continue
            assert to_bytes(program) == sealed(bytes(data))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "begins with something else"),
        (b".isa tileflow\n", "begins with something else"),
        (DATA[:100], "truncated: 100 bytes are less than a header"),
        (DATA[:-1], f"truncated: the file has {len(DATA) - 1} bytes and says {len(DATA)}"),
        (DATA + b"\0", "too long"),
        (patched(8, "I", 3), "container version 3 is newer than this tool's, 2"),
        (patched(8, "I", 0), "version 0 is older"),
        (patched(12, "I", 8), "8 sections, not 9"),
        (patched(24, "Q", 5), "another instruction set: fingerprint 0000000000000005"),
        (patched(32, "Q", 5), "the machine in the header does not match its own fingerprint"),
        (patched(40, "I", 33), "its machine makes no sense: tile is 33"),
        (patched(SECTION_TABLE, "Q", 1 << 63), "section info is said to be at"),
        (patched(SECTION_TABLE + 16, "Q", 304), "section args is said to be at 304"),
        (patched(SECTION_TABLE + 8, "Q", 1 << 63), "section info is said to be at 304 with"),
        (patched(SECTION_TABLE + 8 * 17, "Q", 1), "bytes follow the last section"),
        (patched(section("args")[0], "I", (1 << 32) - 1), "section args ends in the middle"),
        (patched(section("args")[0], "I", 1), "bytes after its last entry"),
        (patched(section("args")[0] + 8, "B", 9), "section args has role 9, which is none"),
        (patched(section("tensors")[0] + 4 + 3 + 3, "I", 2), "its storage is arg 2"),
        (patched(section("tensors")[0] + 4 + 3 + 7, "Q", 4), "bytes 4..144 lie outside"),
        (patched(section("tensors")[0] + 4 + 3 + 7, "Q", 2), "not aligned to an element"),
        (patched(section("constants")[0] + 8, "Q", 99), "u that points outside its section"),
        (patched(section("text")[0], "B", 0xEE), "pc 0: opcode 0xee is no instruction"),
        (patched(section("text")[0] + 15, "B", 0x80), "pc 0: sem has bit 127 set"),
        (patched(section("debug")[0] + 4, "H", 999), "section debug ends in the middle"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(data, what):
    with pytest.raises(BinaryError) as caught:
        from_bytes(data, file="k.bin")
    assert what in str(caught.value)
    assert str(caught.value).startswith("k.bin: byte ")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("data", "offset", "part"),
    [
        (DATA[:100], 100, "header"),
        (DATA[: section("args")[0] + 5], section("args")[0] + 5, "args"),
        (DATA[:-1], len(DATA) - 1, "debug"),
        (patched(8, "I", 3), 8, "header"),
        (patched(24, "Q", 5), 24, "header"),
        (patched(SECTION_TABLE + 16, "Q", 256), SECTION_TABLE + 16, "header"),
        (patched(section("args")[0] + 8, "B", 9), None, "args"),
        (patched(section("text")[0] + 16, "B", 0xEE), section("text")[0] + 16, "text"),
        (patched(section("info")[0] + section("info")[1], "B", 1), sum(section("info")), "info"),
        (DATA[:40] + b"\xff" + DATA[41:], len(DATA) - 4, "checksum"),
    ],
)
def test_the_place_is_the_file_and_the_byte(data, offset, part):
    with pytest.raises(BinaryError) as caught:
        from_bytes(data, file="k.bin")
    loc = caught.value.loc
    assert isinstance(loc, FileLoc)
    assert (loc.file, loc.section) == ("k.bin", part)
    assert loc.offset == offset or offset is None


def test_bytes_in_the_gaps_are_refused():
    start, length = section("info")
    assert (start + length) % 16
    with pytest.raises(BinaryError, match="in another way"):
        from_bytes(patched(start + length, "B", 1))


def test_another_machine_is_refused_by_name_and_value():
    here = Machine().replace(sram_bytes=65536, name="mini")
    with pytest.raises(BinaryError) as caught:
        from_bytes(DATA, here)
    what = "for machine tileflow, not mini: sram_bytes 262144 there, 65536 here"
    assert what in caught.value.what
    assert from_bytes(DATA, Machine().replace(name="renamed")).machine.name == "tileflow"


def test_another_isa_is_refused():
    other = Isa("other", 1, 128, TILEFLOW.insns)
    with pytest.raises(BinaryError, match="made for another instruction set"):
        from_bytes(DATA, isa=other)


def with_insns(*insns: Instruction) -> Program:
    return replace(small_program(), insns=(*insns, insn("halt")), buffers=())


def with_tensor(**changes: object) -> Program:
    program = small_program()
    return replace(program, tensors=(replace(program.tensors[0], **changes), *program.tensors[1:]))


@pytest.mark.parametrize(
    ("program", "what"),
    [
        (replace(small_program(), insns=(), buffers=()), "does not end in halt"),
        (replace(small_program(), name=""), "a name is empty"),
        (replace(small_program(), name="\ud800"), "not Unicode text"),
        (replace(small_program(), name="x" * 70000), "over 64 KiB"),
        (replace(small_program(), scratch_bytes=-1), "-1 bytes of scratch"),
        (replace(small_program(), scalars=("n", "n")), "scalars[1]: a second 'n'"),
        (replace(small_program(), scalars=tuple("abcdefghijklmnopq")), "17 scalars, but tileflow"),
        (replace(small_program(), constants=(Constant("w", b"abc"),) * 2), "a second 'w'"),
        (replace(small_program(), accesses=(AccessPattern((BoxDim(1 << 32),)),)), "extent 42949"),
        (replace(small_program(), accesses=(AccessPattern((BoxDim(300000),)),)), "larger than the"),
        (replace(small_program(), accesses=(AccessPattern((BoxDim(1, 5),)),)), "dimension 5"),
        (with_tensor(shape=(8, 5)), "bytes 0..160 lie outside its storage of 140 bytes"),
        (with_tensor(strides=(-5, 1)), "bytes -120..20 lie outside"),
        (with_tensor(shape=(-7, 5)), "has a negative size"),
        (with_tensor(shape=(1 << 40, 1 << 40)), "too many to address"),
        (with_tensor(strides=(1,)), "1 strides for rank 2"),
        (with_tensor(dtype="f64"), "dtype f64 is not one of the machine's"),
        (with_insns(insn("loop", count=2)), "pc 1: halt is legal only outside loops"),
        (with_insns(insn("end")), "pc 0: end without a loop"),
        (with_insns(insn("halt")), "pc 1: nothing may follow halt"),
        (with_insns(*[insn("loop", count=2)] * 9), "pc 8: loops nest 9 deep, but tileflow has 8"),
        (with_insns(insn("load.nop"), insn("sem", dst=0, count=0)), "pc 1: sem is legal only"),
        (with_insns(*[insn("sem", dst=4, count=0)] * 2), "pc 1: semaphore 4 is set twice"),
        (with_insns(insn("loop", count=2, by=1)), "by both count and by"),
        (with_insns(insn("load", dst=0, tensor=3, access=0)), "tensor is 3, but the program has 3"),
        (with_insns(insn("load", dst=0, tensor=2, access=0)), "moves along dimension 1, but w has"),
        (with_insns(insn("load", dst=0, tensor=0, access=0, c2=0)), "X has rank 2, no dimension 2"),
        (with_insns(insn("load", dst=63, tensor=0, access=0)), "dst names no register"),
        (with_insns(insn("stride", dst=0, source=9, step=1)), "source is l9, but tileflow has 8"),
        (with_insns(insn("stride", dst=0, source=40, step=1)), "source is s24, but tileflow"),
        (with_insns(insn("exec.fill", dst=0, m=0, n=63, value=0.0)), "n names no register"),
        (with_insns(insn("exec.binary", dst=0, rhs=0, m=0, n=0, func="add")), "lhs is missing"),
        (with_insns(insn("exec.binary", dst=0, lhs=0, rhs=0, lmode="imm", m=0, n=0, func="add")),
         "lhs is the immediate and a register"),
        (with_insns(insn("exec.gemm", dst=0, lhs=0, rhs=0, m=0, n=0, k=0, clear="at0", level=0)),
         "clear=at0 names level l0, but 0 loops are around this"),
        (with_insns(insn("scalar", dst=0, func="add", lhs=0, rhs=1, imm=2)), "by both rhs and imm"),
        (with_insns(Instruction("nosuch", {})), "pc 0: no instruction is called nosuch"),
        (with_insns(Instruction("end", {"x": 1})), "operands missing or unknown: x"),
        (with_insns(Instruction("sem", {"dst": 0, "count": -1})), "count is -1, outside 0.."),
        (with_insns(insn("load.nop", loc=Loc("k.py", -1))), "line -1, column 0 is no place"),
        (replace(small_program(), buffers=(BufferInfo("b", 262140, 8, 1, 0, 1),)), "ends at byte"),
        (replace(small_program(), buffers=(BufferInfo("b", 0, 8, 1, 3, 10),)), "pc 3 to 10, of 10"),
    ],
)  # fmt: skip
def test_a_program_that_is_not_well_formed_becomes_no_binary(program, what):
    with pytest.raises(BinaryError) as caught:
        to_bytes(program)
    assert what in str(caught.value)


def test_a_long_program_needs_few_bytes_for_its_places():
    body = [insn("exec.nop", loc=Loc("k.py", 1 + i // 50, 1)) for i in range(1000)]
    data = to_bytes(with_insns(*body))
    assert len(data) < 1001 * 16 + 1600
