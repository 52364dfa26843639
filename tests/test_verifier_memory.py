"""SRAM: bounds, true extents, unwritten bytes, overlap within an instruction."""

from __future__ import annotations

import pytest
from simulator_programs import core
from verifier_checks import COPY, KERNEL, REGISTERS, check, kernel

# SRAM bounds and unwritten bytes.


def test_beyond_the_end():
    text = KERNEL + "agen a4, 7940 pitch=1\nload a4, X[a0, a0], tile"
    check(
        text, r"dst \(8 x 8\) covers SRAM bytes 7940\.\.8195, but SRAM has bytes 0\.\.8191", "load"
    )


def test_a_true_extent_may_end_at_the_last_byte():
    text = kernel(COPY) + "agen a4, 7968 pitch=1\n"
    assert core(text + "exec.fill a4 m=e1 n=e0 value=0.0").verify([]) > 0
    check(text + "exec.fill a4 m=e0 n=e0 value=0.0", r"bytes 7968\.\.8223", "exec.fill")


def test_before_the_begin():
    text = REGISTERS + "agen a4, -4 pitch=1\nexec.fill a4 m=e0 n=e0 value=0.0"
    check(text, r"dst \(8 x 8\) covers SRAM from byte -4", "exec.fill")


def test_far_away():
    text = REGISTERS + "agen a4, 0\nstride a4, l0, 140737488355324\nloop 1099511627775 {\n"
    text += "exec.fill a4 m=e2 n=e0 value=0.0\n}"
    check(text, "covers SRAM from byte 140737488355324, but", "exec.fill")


def test_misaligned():
    text = REGISTERS + "agen a4, 6\nexec.fill a4 m=e2 n=e0 value=0.0"
    check(text, "dst is at SRAM byte 6, which is not aligned", "exec.fill")


def test_wider_than_the_pitch():
    text = REGISTERS + "ext e3 limit=9 max=9\nexec.fill a1 m=e0 n=e3 value=0.0"
    check(text, "dst is 8 x 9, 2 tiles wide, but its pitch is 1", "exec.fill")


def test_a_vector_with_two_dimensions():
    text = REGISTERS + "exec.fill a0 m=e0 n=e0 value=0.0"
    check(text, r"dst is 8 x 8, but its address generator has pitch 0 \(a vector\)", "exec.fill")


def test_read_of_sram_nobody_wrote():
    text = KERNEL + "exec.fill a1 m=e0 n=e1 value=0.0\n" + COPY
    text = text.replace("load a1, X[a0, a0], tile post=sem0", "load.nop post=sem0")
    # The fill writes 5 of 8 columns.
    check(text, r"reads SRAM bytes 20\.\.31 \(src\), which nothing has written", "exec.unary.relu")


@pytest.mark.parametrize(
    ("insn", "role"),
    [
        ("exec.gemm a1, a2, a3 m=e0 n=e0 k=e0 clear=never", "lhs"),
        ("exec.reduce.sum a2, a1 m=e0 n=e0 axis=cols clear=always", "src"),
        ("exec.transpose a1, a2 m=e0 n=e0", "src"),
        ("exec.binary.add a1, a2 m=e0 n=e0 rmode=imm imm=1.0", "lhs"),
        ("exec.binary.add a1, none, a2 m=e0 n=e0 lmode=imm imm=1.0 rmode=col", "rhs"),
    ],
)
def test_every_source_is_looked_at(insn, role):
    check(REGISTERS + insn, rf"\({role}\), which nothing has written", insn.split(" ")[0])


def test_accumulating_into_nothing():
    text = REGISTERS + "exec.fill a2 m=e0 n=e0 value=1.0\nexec.fill a3 m=e0 n=e0 value=1.0\n"
    gemm = "exec.gemm a1, a2, a3 m=e0 n=e0 k=e0 "
    assert core(text + gemm + "clear=always").verify([]) > 0
    check(
        text + gemm + "clear=never",
        r"bytes 0\.\.255 \(dst\), which nothing has written",
        "exec.gemm",
    )
    loop = f"loop 2 {{\n{gemm}clear=at0 level=l0\n}}"
    assert core(text + loop).verify([]) > 0


# Extents: an instruction touches what its true extents say, and nothing where one is zero.


def test_an_empty_extent_touches_nothing():
    text = REGISTERS + "ext e3 limit=0 max=8\nagen a4, 900000 pitch=1\n"
    for insn in (
        "exec.fill a4 m=e3 n=e0 value=0.0",
        "exec.fill a4 m=e0 n=e3 value=0.0",
        "exec.unary.exp a4, a4 m=e3 n=e0",
        "exec.gemm a4, a4, a4 m=e0 n=e3 k=e0 clear=always",
        "exec.gemm a4, a4, a4 m=e0 n=e0 k=e3 clear=never",
        "exec.reduce.sum a4, a4 m=e3 n=e0 axis=cols clear=always",
        "exec.reduce.sum a4, a4 m=e0 n=e3 axis=cols clear=never",
    ):
        assert core(text + insn).verify([]) > 0
    check(text + "exec.gemm a4, a4, a4 m=e0 n=e0 k=e3 clear=always", "dst", "exec.gemm")


def test_a_store_reads_only_what_lies_inside_the_tensor():
    text = kernel("""
exec.fill a1 m=e0 n=e1 value=1.0 post=sem0
store a1, Y[a0, a0], tile wait=sem0
""").replace("8, 8", "8, 5")
    assert core(text).verify([]) > 0
    short = text.replace("exec.fill a1 m=e0 n=e1", "ext e3 limit=4 max=8\nexec.fill a1 m=e0 n=e3")
    check(short, r"reads SRAM bytes 16\.\.19 \(src\), which nothing has written", "store")


def test_a_store_whose_sides_move_along_one_dimension():
    """Box (r, c) is element 4 r + c of a vector of 10: rows of 4, 4 and 2."""
    text = """
.arg Y f32[10] out
.tensor Y f32[10] at arg Y
.access window row(8, d0, 4), col(4, d0)
agen a0, 0
agen a1, 0 pitch=1
ext e0 limit=2 max=8
ext e1 limit=4 max=8
agen a2, 64 pitch=1
ext e2 limit=1 max=8
exec.fill a1 m=e0 n=e1 value=1.0
exec.fill a2 m=e2 n=e0 value=1.0 post=sem0
store a1, Y[a0], window wait=sem0
"""
    assert core(text).verify([]) > 0
    check(
        text.replace("a2 m=e2", "a1 m=e2"), r"SRAM bytes 64\.\.71 \(src\), which nothing", "store"
    )


# Aliasing within one instruction.

FILLED = REGISTERS + "".join(f"exec.fill a{i} m=e0 n=e0 value=1.0\n" for i in (1, 2, 3))


@pytest.mark.parametrize(
    ("insn", "message"),
    [
        (
            "exec.gemm a1, a1, a2 m=e0 n=e0 k=e0 clear=never",
            r"dst and lhs overlap in SRAM bytes 0\.\.255",
        ),
        ("exec.gemm a1, a2, a1 m=e0 n=e0 k=e0 clear=never", "dst and rhs overlap"),
        ("exec.transpose a1, a1 m=e0 n=e0", "dst and src overlap"),
        ("exec.reduce.sum a1, a1 m=e0 n=e0 axis=rows clear=always", "dst and src overlap"),
        ("exec.unary.exp a4, a1 m=e2 n=e0", r"dst and src overlap in SRAM bytes 4\.\.31"),
        ("exec.binary.add a4, a1, a2 m=e2 n=e0", "dst and lhs overlap"),
        ("exec.binary.add a1, a2, a1 m=e0 n=e0 rmode=row", "dst and rhs overlap"),
        ("exec.binary.add a1, a1, a2 m=e0 n=e0 lmode=scalar", "dst and lhs overlap"),
    ],
)
def test_overlap(insn, message):
    check(f"{FILLED}agen a4, 4\n{insn}", message, insn.split(" ")[0])


@pytest.mark.parametrize(
    "insn",
    [
        "exec.unary.exp a1, a1 m=e0 n=e0",
        "exec.binary.add a1, a1, a1 m=e0 n=e0",
        "exec.binary.add a1, a1, a2 m=e0 n=e0 rmode=row",
        "exec.gemm a1, a2, a2 m=e0 n=e0 k=e0 clear=never",
    ],
)
def test_in_place(insn):
    assert core(f"{FILLED}{insn}").verify([]) > 0


def test_operands_between_each_other_do_not_overlap():
    """5 columns of a tile, and the 3 columns beside them."""
    text = FILLED + "agen a4, 20 pitch=1\next e3 limit=3 max=8\n"
    assert core(text + "exec.unary.exp a4, a1 m=e0 n=e3").verify([]) > 0
    check(
        text + "exec.unary.exp a4, a1 m=e0 n=e1",
        r"overlap in SRAM bytes 32\.\.39",
        "exec.unary.exp",
    )
