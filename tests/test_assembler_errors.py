"""Assembly text that is no program: what is said, and where."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_assembler import GOLDEN, RELU

from tileflow_tvm.assembler import assemble
from tileflow_tvm.errors import AssemblyError

HEADER = """\
.machine tileflow
.arg X f32[100, 64] in
.tensor X f32[100, 64] at arg X
.access block row(32, d0), col(64, d1)
"""
FIRST = HEADER.count("\n") + 1
"""The line that follows the header."""


def complaint(text: str) -> AssemblyError:
    with pytest.raises(AssemblyError) as caught:
        assemble(text, "k.asm")
    error = caught.value
    assert error.loc is not None
    assert error.hint, error
    return error


@pytest.mark.parametrize(
    ("line", "col", "what", "hint"),
    [
        ("exec.gem a0, a1, a2", 1, "unknown instruction 'exec.gem'", "did you mean 'exec.gemm'?"),
        ("exec.unary a0, a1", 1, "unknown instruction 'exec.unary'", "exec.unary.relu"),
        ("exec.unary.rely a0, a1", 1, "unknown instruction", "did you mean 'exec.unary.relu'?"),
        ("agen e0, 0", 6, "dst is written as a0, not the extent register e0", ""),
        ("agen 5, 0", 6, "dst is written as a0, not '5'", ""),
        ("agen a63, 0", 6, "a63 does not exist", "tileflow has a0..a62"),
        ("agen a064, 0", 6, "dst is written as a0, not 'a064'", ""),
        ("agen a0, 99999999999999", 10, "base is 99999999999999, outside -87960", ""),
        ("agen a0, 0 pitch=65536", 18, "pitch is 65536, outside 0..65535", ""),
        ("agen a0, 0 pitch=-1", 18, "pitch is -1, outside 0..65535", ""),
        ("agen a0, 0 dtype=f64", 18, "expected dtype, found 'f64'", "one of f32"),
        ("agen a0", 8, "agen needs base", "it is written: agen dst:a0, base wrap= pitch= dtype="),
        ("agen a0, 0, 5", 13, "agen takes no further operand '5'", "it is written: agen"),
        ("agen a0, 0 piтch=3", 14, "'т' means nothing here", ""),
        ("agen a0, 0 pich=3", 12, "agen has no operand 'pich'", "did you mean 'pitch'?"),
        ("agen a0, 0 pitch=3 pitch=3", 26, "pitch is given twice", ""),
        ("agen a0, 0 pitch", 12, "expected a comma, found 'pitch'", ""),
        ("agen a0, 0,", 12, "an operand is missing after the comma", ""),
        ("agen a0 0", 9, "expected a comma, found '0'", ""),
        ("agen a0, 1.5", 10, "'1.5' is no integer", ""),
        ("agen a0, 0x", 10, "a number runs into something else", ""),
        ("agen a0, 12ab", 10, "a number runs into something else", ""),
        ("agen a0, " + "9" * 5000, 10, "is no integer", ""),
        ("stride a0, l9, 5", 12, "stride: source is l9, but tileflow has 8 loop levels", "l0..l7"),
        ("stride a0, s16, 5", 12, "s16 does not exist", "l0..l7 and s0..s15"),
        ("stride a0, a1, 5", 12, "source is written as l0 or s0, not the address generator", ""),
        ("sem sem63, 1", 5, "sem63 does not exist", "sem0..sem62"),
        ("ext e0, limit=1", 16, "ext needs max", "it is written: ext dst:e0, [coord:a0] limit="),
        ("load a0, Y[a1], block", 10, "no tensor is called 'Y'", "one of X"),
        ("load a0, X[a1], blok", 17, "no access pattern is called 'blok'", "mean 'block'?"),
        ("load a0, X[a1, a2, a3], block", 20, "load: X has rank 2, no dimension 2", ""),
        ("load a0, X[a1, 1], block", 16, "c1 is written as a0, not '1'", ""),
        ("load a0, X[a1, a2, a3, a4, a5, a6], block", 32, "expected ']', found 'a6'", ""),
        ("load a0, X[a1, a2], block wait=sem0,sem1,sem2", 42, "load takes no further", ""),
        ("load a0, X[a1], block fill=1e39", 28, "'1e39' is not a float32", "it overflows"),
        ("load a0, X[a1], block fill=0x123456789", 28, "'0x123456789' is not a float32", ""),
        ("load a0, X[a1], block fill=a0", 28, "expected a number, found 'a0'", ""),
        ("load a0, X[a1, a2 block", 19, "expected ']', found 'block'", ""),
        ("exec.gemm a0, a1, a2, m=e0, n=e1, k=e2, clear=maybe", 47, "expected clear, found", "at0"),
        ("exec.gemm a0, a1, a2, m=e0, n=e1, k=e2, clear=at0", 1, "clear=at0 names level l0", ""),
        ("exec.gemm a0, a1, a2, m=e0, n=e1, k=e2, clear=at0 level=l3", 57, "names level l3", ""),
        ("exec.gemm a0, a1, a2, m=e0, n=e1, k=none, clear=never", 37, "k is written as e0", ""),
        ("exec.binary.add a0, a1, a2 m=e0 n=e0 rmode=imm", 25, "rhs is the immediate and", ""),
        ("loop 4 {\nscalar.add s0, s0 imm=1", 1, "scalar is legal only outside loops", ""),
        ("loop 5x {", 6, "a number runs into", ""),
        ("loop {", 6, "the trips are a number or an address generator, not '{'", "loop 12 {"),
        ("loop e0 {", 6, "the trips are a number or an address generator, not 'e0'", ""),
        ("loop -1 {", 6, "the trips are outside 0..1099511627775", ""),
        ("loop L0, 4 {", 1, "a loop has a label or braces, not both", ""),
        ("loop a0, 4", 6, "expected a label, found 'a0'", ""),
        ("loop L0, 4\nloop L0, 4", 6, "a second label 'L0'", f"the first is on line {FIRST}"),
        ("loop L0, 4\nend L1", 5, "no loop has the label 'L1'", "one of L0"),
        ("loop L0, 4\nloop L1, 4\nend L0", 5, "the innermost loop", ""),
        ("loop 4 {\nend", 1, f"the loop of line {FIRST} is closed by '}}', not by 'end'", ""),
        ("loop 4\n}", 1, f"the loop of line {FIRST} is closed by 'end', not by '}}'", ""),
        ("}", 1, "'}' without a loop", ""),
        ("end", 1, "'end' without a loop", ""),
        ("end L7", 5, "no loop has the label 'L7'", ""),
        ("loop 4 {\nhalt\n}", 1, "halt is legal only outside loops", ""),
        ("halt\nhalt", 1, "nothing may follow halt", ""),
        ("halt halt", 6, "halt takes no further operand 'halt'", ""),
        ("loop 4 { exec.nop }", 10, "'exec.nop' is too much", "a line holds one statement"),
        ("load.nop\nsem sem0, 1", 1, "sem is legal only before the first loop", ""),
        ("sem sem0, 1\nsem sem0, 1", 5, "semaphore 0 is set twice", ""),
        ("halt @f0:1:1", 7, "expected a file, found 'f0'", ""),
        (".file f0 \"k.py\"\nhalt @f0:1", 11, "expected ':', found the end of the line", ""),
        ('.file f0 "k.py', 10, "the string is not closed", ""),
        ('.file f0 "\\q"', 10, "the text in quotes has a wrong escape", ""),
        ('.file f0 "a"\n.file f0 "b"', 7, "a second file 'f0'", ""),
        (".tensr Y f32[4] at arg X", 1, "unknown directive '.tensr'", "did you mean '.tensor'?"),
        (".machine tileflow", 1, "a second .machine", ""),
        (".isa rvm", 6, "no instruction set 'rvm' here", "'tileflow'"),
        (".isa tileflow 0x1234", 15, "another version of the instruction set", "this one is 0x"),
        (".arg Y f32[4] both", 15, "expected a role, found 'both'", "one of in, out, inout"),
        (".arg X f32[4] in\nhalt", 1, "a second 'X'; the first is entry 0", ""),
        (".arg Y f16[4] in", 8, "expected a dtype, found 'f16'", "did you mean 'bf16'?"),
        (".arg Y f32[4 in", 14, "expected ',', found 'in'", ""),
        (".tensor Y f32[4] at arg Z", 25, "no argument is called 'Z'", "declared before this: X"),
        (".tensor Y f32[4] at const Z", 27, "no constant is called 'Z'", ""),
        (".tensor Y f32[6401] at arg X\nhalt", 1, "lie outside its storage of 25600 bytes", ""),
        (".tensor Y f32[4] at scratch\nhalt", 1, "bytes 0..16 lie outside its storage of 0", ""),
        (".access block row(1)", 9, "a second access pattern 'block'", ""),
        (".access p row(1, d5)", 18, "expected a tensor dimension, found 'd5'", ""),
        (".access p side(1)", 11, "expected row(...) or col(...), found 'side'", ""),
        (".access p row(-1)\nhalt", 1, "extent -1 is outside", ""),
        (".const c f32 { 1.0, x }", 21, "expected a number, found 'x'", ""),
        ('.const c f32 hex { "0g" }', 20, "these are not bytes in hex", ""),
        (".const c f32 {\n1.0\n", 14, "this '{' is never closed", ""),
        (".scratch -4\nhalt", 1, "-4 bytes of scratch", ""),
        (".buffer b address=0 bytes=4 slots=1 pcs=0..9\nhalt", 1, "pc 0 to 9, of 1", ""),
        ("halt\n.scalar n", 1, "directives come before the first instruction", ""),
        ("= 5", 1, "expected an instruction, found '='", ""),
        ("halt ?", 6, "'?' means nothing here", ""),
    ],
)  # fmt: skip
def test_what_is_wrong_and_where(line, col, what, hint):
    text = HEADER + line + "\n"
    error = complaint(text)
    assert what in error.what
    assert hint in error.hint
    loc = error.loc
    assert loc is not None
    assert loc.file == "k.asm"
    assert loc.col == col
    row = text.splitlines()[loc.line - 1]
    caret = str(error).splitlines()[2]
    shown = str(error).splitlines()[1]
    assert loc.line >= FIRST
    assert caret.strip() == "^"
    assert shown[caret.index("^") :][:1] == row[col - 1 : col]


def test_how_an_error_reads():
    error = complaint(RELU.replace("exec.unary.relu a0", "exec.unary.rely a0"))
    assert str(error) == (
        "k.asm:19:5: error: unknown instruction 'exec.unary.rely'\n"
        "        exec.unary.rely a0, a0, m=e0, n=e1, wait=sem1, post=sem2\n"
        "        ^\n"
        "hint: did you mean 'exec.unary.relu'?"
    )


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "there is no .machine"),
        ("halt", "there is no .machine"),
        (".machine tileflow", "does not end in halt"),
        (".machine tileflow\nexec.nop", "does not end in halt"),
        (".machine nosuch", "no machine is called 'nosuch'"),
        (".machine tileflow { tile=33 }", "tile is 33, which is not a power of two"),
        (".machine tileflow { tile=16 tile=16 }", "a second tile"),
        (".machine tileflow { til=16 }", "expected a key of the machine, found 'til'"),
        (".machine tileflow { tile=16", "this '{' is never closed"),
        (HEADER + "loop 4 {\nloop 5 {\n}", "this loop is never closed"),
        (HEADER + "loop 4\n", "this loop is never closed"),
    ],
)
def test_texts_that_are_wrong_as_a_whole(text, what):
    error = complaint(text)
    assert what in error.what
    assert error.loc is not None


def test_an_unclosed_loop_is_reported_where_it_begins():
    error = complaint(HEADER + "loop 4 {\nloop 5 {\n}\n")
    assert error.loc is not None
    assert (error.loc.line, error.loc.col) == (FIRST, 1)
    assert error.hint == "add '}'"


def test_registers_are_those_of_the_machine():
    limits = "address_generators=4 semaphores=2 loop_levels=1"
    text = HEADER.replace("tileflow", f"tileflow {{ {limits} }}")
    for line, what in [
        ("agen a4, 0", "dst is 4, but tileflow has 4 address_generators"),
        ("load.nop wait=sem2", "wait0 is 2, but tileflow has 2 semaphores"),
        ("loop a7 {", "by is 7, but tileflow has 4 address_generators"),
        ("loop 2 {\nloop 2 {", "loops nest 2 deep, but tileflow has 1 levels"),
        ("stride a0, l1, 4", "source is l1, but tileflow has 1 loop levels"),
    ]:
        assert what in complaint(text + line).what


MIB = 1 << 20


@pytest.mark.parametrize(
    ("head", "piece", "count"),
    [
        ("", "\x00", 100 * MIB),
        ("", "a", 100 * MIB),
        ("", "a", MIB),
        ("", "9", MIB),
        ('"', "x", MIB - 2),
        (HEADER, "loop 1 {\n", 11 * MIB),
        (HEADER + "exec.nop ", "a0, ", 25 * MIB),
        (HEADER + "exec.nop ", "a0, ", MIB // 5),
        (HEADER + "agen a0, 0 ", "pitch=1 ", MIB // 10),
        ("", "\n", MIB),
        ("", ".const c f32 {\n", MIB),
        ("", "{", MIB - 5),
    ],
)
def test_noise_is_refused_at_its_first_token(head, piece, count):
    error = complaint(head + piece * count)
    assert len(str(error)) < 1000


@given(st.text(max_size=200))
def test_any_text_is_a_program_or_an_assembly_error(text):
    with pytest.raises(AssemblyError):
        assemble(text)


@given(st.data())
def test_a_damaged_program_is_a_program_or_an_assembly_error(data):
    """Deletes, doubles or replaces a piece of a real program."""
    pieces = re.findall(r"\w+|\s+|[^\w\s]", data.draw(st.sampled_from([RELU, GOLDEN])))
    at = data.draw(st.integers(0, len(pieces) - 1))
    others = ["", "99999999999", "sem0", "{", "}", ",", '"', pieces[at] * 2]
    instead = data.draw(st.sampled_from(others))
    try:
        program = assemble("".join([*pieces[:at], instead, *pieces[at + 1 :]]))
    except AssemblyError:
        return
    assert program.insns[-1].mnemonic == "halt"
