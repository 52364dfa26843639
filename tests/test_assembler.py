"""Assembly text: what it looks like, and that nothing is lost on the way through it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from isa_programs import programs
from test_container import small_program

from tileflow_tvm.assembler import assemble, disassemble
from tileflow_tvm.assembler.syntax import f32_text, parse_f32
from tileflow_tvm.errors import Loc
from tileflow_tvm.isa.container import from_bytes, to_bytes
from tileflow_tvm.isa.encoding import isa_fingerprint
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.isa.program import AccessPattern, BoxDim, Constant, insn

RELU = """\
; y = max(x, 0), a block of 32 rows at a time
.program relu
.machine tileflow
.arg X f32[100, 64] in
.arg Y f32[100, 64] out
.tensor X f32[100, 64] at arg X
.tensor Y f32[100, 64] at arg Y
.access block row(32, d0), col(64, d1)

    sem sem0, 2                     # two slots are free
    agen a0, 0, wrap=16384, pitch=2
    stride a0, l0, 8192
    agen a1, base=0
    stride a1, l0, step=32
    ext e0, a1, limit=100, max=32
    ext e1, limit=64 max=64
loop rows, 4
    load a0, X[a1], block, wait=sem0 post=sem1
    exec.unary.relu a0, a0, m=e0, n=e1, wait=sem1, post=sem2
    store a0, Y[a1, 0], block wait=sem2 post=sem0
end rows
    halt
"""

GOLDEN = (
    f".isa tileflow {isa_fingerprint():#018x}"
    + """
.program small
.machine tileflow {
    tile=32 sram_bytes=262144 load_engines=1 exec_engines=1
    store_engines=1 queue_depth=8 address_generators=63 extents=63
    semaphores=63 scalars=16 loop_levels=8 tensors=1024
    accesses=1024 issue_cycles=1 semaphore_cycles=1 macs_per_cycle=1024
    mac_fill_cycles=32 mac_drain_cycles=32 vector_lanes=128 vector_startup_cycles=8
    function_cycles=1 dma_setup_cycles=8 dma_outstanding=4 dram_bytes_per_cycle=64
    dram_latency_cycles=100 dram_burst_bytes=64 dtypes=f32,bf16,i8,i32
}
.arg X f32[7, 5] in
.arg Y f32[5, 7] out
.scalar n
.scratch 64
.const u f32 {
    1.5399896e-36
}
.const w f32 {
    3.8204714e-37, 1.0082514e-34, 2.6584628e-32, 7.003653e-30
}
.tensor X f32[7, 5] at arg X
.tensor "Y^T" f32[7, 5] strides [1, 7] at arg Y
.tensor w f32[3] at const w + 4
.access p0 row(7, d0), col(5, d1)
.file f0 "k.py"
.file f1 "m.py"
.buffer x address=0 bytes=4096 slots=2 pcs=4..8  @f0:4:5

sem sem0, 1  @f0:3:5                                          ; 0
agen a0, 0 pitch=1                                            ; 1
agen a1, 4096  @f0:4:5                                        ; 2
ext e0 limit=7 max=32  @f0:4:5                                ; 3
loop 3 {  @f1:9:1                                             ; 4
    load a0, X[a1, 0], p0 fill=-inf wait=sem0 post=sem1       ; 5
    exec.binary.sub a0, a0, a1 m=e0 n=e0 rmode=row wait=sem1 post=sem2  ; 6
    store a0, "Y^T"[a1, 0], p0 wait=sem2 post=sem0            ; 7
}                                                             ; 8
halt                                                          ; 9
"""
)


def through_text(data: bytes) -> bytes:
    return to_bytes(assemble(disassemble(from_bytes(data))))


def test_golden_text():
    assert disassemble(small_program(), sources=False) == GOLDEN
    assert assemble(GOLDEN) == small_program()


@given(programs())
def test_asm_of_disasm_is_the_same_to_the_byte(program):
    data = to_bytes(program)
    assert through_text(data) == data


@given(programs())
def test_the_text_is_the_same_on_every_turn(program):
    text = disassemble(program)
    assert disassemble(assemble(text)) == text


@given(st.integers(0, (1 << 32) - 1))
def test_every_float32_is_printed_so_that_it_reads_back(bits):
    assert parse_f32(f32_text(bits)) == bits


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        (0, "0.0"), (1 << 31, "-0.0"), (0x3F800000, "1.0"), (0x3DCCCCCD, "0.1"),
        (0x7F800000, "inf"), (0xFF800000, "-inf"), (0x7FC00000, "nan"), (0xFFC00000, "0xffc00000"),
        (0x7F800001, "0x7f800001"), (1, "1e-45"), (0x7F7FFFFF, "3.4028235e+38"),
        (0x4B800000, "16777216.0"), (0x3EAAAAAB, "0.33333334"),
    ],
)  # fmt: skip
def test_how_a_float_is_printed(bits, text):
    assert f32_text(bits) == text


def test_a_program_as_a_person_writes_it():
    program = assemble(RELU, "relu.asm")
    assert program.name == "relu"
    assert program.machine == Machine.load("tileflow")
    assert [one.mnemonic for one in program.insns[7:]] == [
        "loop", "load", "exec.unary", "store", "end", "halt",
    ]  # fmt: skip
    assert program.insns[8] == insn("load", dst=0, tensor=0, access=0, c0=1, wait0=0, post0=1)
    assert program.insns[9] == insn(
        "exec.unary", dst=0, src=0, m=0, n=1, func="relu", wait0=1, post0=2
    )
    assert program.insns[5] == insn("ext", dst=0, coord=1, limit=100, max=32)


def test_labels_and_braces_are_the_same_loop():
    braces = RELU.replace("loop rows, 4", "loop 4 {").replace("end rows", "}")
    bare = RELU.replace("loop rows, 4", "loop 4").replace("end rows", "end")
    assert assemble(braces) == assemble(RELU) == assemble(bare)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.rstrip("\n"),
        lambda text: text.replace("\n", "\n\n; more\n"),
        lambda text: text.replace("    ", "\t"),
        lambda text: text.replace(", ", " ,  "),
    ],
    ids=["CRLF", "BOM", "no final newline", "comments", "tabs", "blanks"],
)
def test_what_does_not_matter(change):
    assert assemble(change(RELU)) == assemble(RELU)


def test_every_operand_can_be_named():
    text = RELU.replace("load a0, X[a1], block,", "load access=block, tensor=X[a1] dst=a0")
    assert assemble(text) == assemble(RELU)


def test_lists_of_semaphores():
    text = RELU.replace("wait=sem1, post=sem2", "wait=none,sem1, post=sem2,sem3")
    changed = assemble(text).insns[9].operands
    assert [changed[f] for f in ("wait0", "wait1", "post0", "post1")] == [63, 1, 2, 3]
    assert "wait=none,sem1 post=sem2,sem3" in disassemble(assemble(text))


def test_a_machine_may_be_changed_inline():
    text = RELU.replace(".machine tileflow", ".machine tileflow {\n sram_bytes=65536\ntile=16 }")
    assert assemble(text).machine == Machine().replace(sram_bytes=65536, tile=16)


def test_a_float_may_be_written_in_any_way():
    for written, bits in [("1", 0x3F800000), ("0x7fc00001", 0x7FC00001), ("-2.5e0", 0xC0200000)]:
        text = RELU.replace("X[a1], block", f"X[a1], block fill={written}")
        assert assemble(text).insns[8].operands["fill"] == bits


def test_access_patterns_keep_their_order():
    dims = (BoxDim(3, 1, -2, True), BoxDim(4, -1), BoxDim(2, 0, column=True), BoxDim(5, -1, 7))
    program = replace(small_program(), accesses=(AccessPattern(dims), AccessPattern(())))
    text = disassemble(program)
    assert ".access p0 col(3, d1, -2), row(4), col(2, d0), row(5, none, 7)\n" in text
    assert assemble(text) == program


def test_a_large_constant_is_printed_in_hex():
    data = bytes(range(256)) * 40
    program = replace(small_program(), constants=(Constant("u", b""), Constant("w", data)))
    text = disassemble(program)
    assert f'"{data[:32].hex()}"' in text
    assert assemble(text) == program


def test_the_source_line_stands_beside_each_instruction(tmp_path):
    source = tmp_path / "kernel.py"
    source.write_text("def f():\n    T.tf.relu(y, x)\t# \x1b[31m\n", encoding="utf-8")
    loc = Loc(str(source), 2, 5)
    program = assemble(RELU)
    program = replace(program, insns=tuple(replace(one, loc=loc) for one in program.insns))
    text = disassemble(program)
    shown = next(row for row in text.splitlines() if "exec.unary" in row)
    assert shown.endswith("@f0:2:5  ; 9: T.tf.relu(y, x) #  [31m")
    assert assemble(text) == program
    assert "T.tf.relu" not in disassemble(program, sources=False)


def test_sources_that_cannot_be_read_are_left_out(tmp_path):
    missing = [tmp_path / "absent.py", tmp_path, Path("/dev/zero"), Path("a\0b")]
    for path in missing:
        program = replace(
            small_program(), insns=(insn("halt", loc=Loc(str(path), 2, 1)),), buffers=()
        )
        last = disassemble(program).splitlines()[-1]
        assert last.split() == ["halt", "@f0:2:1", ";", "0"]


def test_a_deep_nest_is_written_and_read_without_recursion():
    machine = Machine().replace(loop_levels=16)
    insns = (insn("loop", count=1),) * 16 + (insn("end"),) * 16 + (insn("halt"),)
    program = replace(small_program(), machine=machine, insns=insns, buffers=())
    assert assemble(disassemble(program)) == program
