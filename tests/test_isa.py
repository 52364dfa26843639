"""The instruction table, its encoding, and what is generated from it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from isa_programs import programs

from tileflow_tvm.errors import BinaryError
from tileflow_tvm.isa import table
from tileflow_tvm.isa.cpp_header import CHOICES, camel, cpp_header
from tileflow_tvm.isa.encoding import decode, encode, isa_fingerprint
from tileflow_tvm.isa.program import Instruction, f32_bits, insn
from tileflow_tvm.isa.reference import isa_page, machine_page
from tileflow_tvm.isa.table import NO_REGISTER, TILEFLOW, Engine, Field, Insn, Isa, Kind

ROOT = Path(__file__).resolve().parents[1]


def test_a_gemm_by_hand():
    """The layout that DESIGN's binaries have: opcode, four semaphores, then the operands."""
    word = encode(
        insn("exec.gemm", dst=3, lhs=1, rhs=2, m=4, n=5, k=6, clear="at0", level=2, tb=True,
             wait0=7, post1=8)
    )  # fmt: skip
    fields = [(0x20, 0), (7, 8), (63, 14), (63, 20), (8, 26), (3, 32), (1, 38), (2, 44), (4, 50)]
    fields += [(5, 56), (6, 62), (2, 68), (2, 70), (0, 74), (1, 75)]
    assert word == sum(value << lo for value, lo in fields)


@given(programs())
def test_every_instruction_survives_encoding(program):
    for pc, one in enumerate(program.insns):
        assert decode(encode(one), pc, one.loc) == one


@given(st.integers(0, (1 << 128) - 1), st.sampled_from(TILEFLOW.insns))
def test_every_word_is_refused_or_is_the_encoding_of_what_it_decodes_to(noise, row):
    word = (noise & row.used_bits & ~0xFF) | row.opcode
    values = [(field, field.unpack(word)) for field in row.fields]
    if all(field.bounds[0] <= value <= field.bounds[1] for field, value in values):
        assert encode(decode(word, 0)) == word
    else:
        with pytest.raises(BinaryError, match="outside"):
            decode(word, 0)


@pytest.mark.parametrize("row", TILEFLOW.insns, ids=lambda row: row.mnemonic)
def test_a_bit_that_means_nothing_is_an_error_with_its_pc(row):
    unused = [bit for bit in range(128) if not row.used_bits >> bit & 1]
    for bit in unused:
        with pytest.raises(BinaryError, match=rf"pc 12: {row.mnemonic} has bit {bit} set"):
            decode(row.opcode | 1 << bit, 12)


def test_an_unknown_opcode_is_an_error_with_its_pc():
    with pytest.raises(BinaryError, match="pc 5: opcode 0xfe is no instruction of tileflow"):
        decode(0xFE, 5)


@pytest.mark.parametrize(
    ("operands", "what"),
    [
        ({"dst": 0}, "exec.fill needs m"),
        ({"dst": 0, "m": 0, "n": 0, "value": 1.0, "x": 3}, "exec.fill has no operand x"),
        ({"dst": 64, "m": 0, "n": 0, "value": 1.0}, "dst=64 is outside 0..63"),
        ({"dst": 0, "m": 0, "n": 0, "value": 1}, "value takes a float, not 1"),
        ({"dst": 0, "m": 0.5, "n": 0, "value": 1.0}, "m takes an integer"),
    ],
)
def test_insn_refuses_operands_that_do_not_fit(operands, what):
    with pytest.raises(ValueError, match=what):
        insn("exec.fill", **operands)


def test_insn_refuses_an_unknown_choice():
    with pytest.raises(ValueError, match="func is one of add, sub"):
        insn("exec.binary", dst=0, lhs=0, rhs=0, m=0, n=0, func="power")


def test_encode_refuses_incomplete_operands():
    with pytest.raises(ValueError, match="operands missing or unknown: count"):
        encode(Instruction("sem", {"dst": 1}))


def test_float_operands_keep_their_bits():
    one = insn("exec.fill", dst=0, m=0, n=0, value=-0.0)
    assert one.operands["value"] == 0x80000000
    assert f32_bits(float("-inf")) == 0xFF800000
    with pytest.raises(OverflowError):
        f32_bits(1e39)


def test_the_fingerprint_follows_the_meaning_of_a_binary():
    def changed(**fields: object) -> int:
        nop = TILEFLOW.by_mnemonic["load.nop"]
        values = {"mnemonic": nop.mnemonic, "opcode": nop.opcode, "engine": nop.engine,
                  "fields": nop.fields, "does": nop.does, **fields}  # fmt: skip
        rows = [row for row in TILEFLOW.insns if row is not nop]
        return isa_fingerprint(Isa("tileflow", 1, 128, (*rows, Insn(**values))))

    assert changed(does="something else") == changed()
    field = Field("x", 100, 2, Kind.UINT, "")
    others = [changed(opcode=0x77), changed(engine=Engine.EXEC), changed(fields=(field,))]
    assert len({changed(), *others}) == 4


def test_every_row_has_a_mnemonic_of_its_engine():
    for row in TILEFLOW.insns:
        if row.engine is not Engine.SEQUENCER:
            assert row.mnemonic.split(".")[0] == row.engine.value
            assert [f.name for f in row.fields if f.kind is Kind.SEM] == [
                "wait0", "wait1", "post0", "post1",
            ]  # fmt: skip


def test_isa_reference_is_current():
    page = (ROOT / "doc/isa.md").read_text(encoding="utf-8")
    assert page == isa_page(TILEFLOW), "run: python -m tileflow_tvm.isa.generate --doc doc/isa.md"


def test_machine_reference_is_current():
    page = (ROOT / "doc/machine.md").read_text(encoding="utf-8")
    command = "python -m tileflow_tvm.isa.generate --machine-doc doc/machine.md"
    assert page == machine_page(), f"run: {command}"


def test_the_generator_runs_without_an_installation(tmp_path):
    """As the C++ build calls it: by path, from anywhere, with no site-packages."""
    header = tmp_path / "isa.h"
    script = ROOT / "tileflow_tvm/isa/generate.py"
    subprocess.run(
        [sys.executable, "-I", "-S", str(script), "--header", str(header)], cwd=tmp_path, check=True
    )
    assert header.read_text(encoding="utf-8") == cpp_header(TILEFLOW)


def test_every_set_of_choices_has_a_name_in_cpp():
    used = {f.choices for row in TILEFLOW.insns for f in row.fields if f.kind is Kind.ENUM}
    assert used <= set(CHOICES)
    for choices, name in CHOICES.items():
        assert f"enum class {name} " in cpp_header(TILEFLOW), choices


COMPILER = shutil.which("c++") or shutil.which("g++")


def _printing_program(words: list[tuple[Insn, int]]) -> str:
    """C++ that prints every field of every word as the generated structs decode it."""
    lines = ['#include "isa.h"', "#include <cstdio>", "using namespace tileflow::isa;"]
    lines += ["template <class T> void show(T v) {",
              "  if constexpr (std::is_same_v<T, float>)",
              '    std::printf("%lld ", (long long)std::bit_cast<std::uint32_t>(v));',
              '  else std::printf("%lld ", (long long)v);', "}", "int main() {"]  # fmt: skip
    for row, word in words:
        lo, hi = word & ((1 << 64) - 1), word >> 64
        name = camel(row.mnemonic)
        lines.append(f"  {{ auto v = std::get<{name}>(decode({lo:#x}ull, {hi:#x}ull));")
        lines.append(f"    show(check({lo:#x}ull, {hi:#x}ull).fault == Fault::kNone); (void)v;")
        lines += [f"    show(v.{field.name});" for field in row.fields]
        lines.append('    std::puts(""); }')
    lines += [
        "  show(check(0xFE, 0).fault == Fault::kOpcode);",
        "  show(check(0x1, 1).fault == Fault::kStray);",
        "  show(check(0x20, std::uint64_t{3} << 4).fault == Fault::kChoice);",
        "}",
    ]
    return "\n".join(lines)


def _extreme(field: Field, high: bool) -> int:
    return field.bounds[1] if high else field.bounds[0]


@pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler")
def test_cpp_decodes_what_python_encodes(tmp_path):
    insns = []
    for row in TILEFLOW.insns:
        for turn in range(4):
            high = [index % 2 == turn % 2 if turn < 2 else turn == 3 for index in range(40)]
            values = {f.name: _extreme(f, high[i]) for i, f in enumerate(row.fields)}
            insns.append((row, Instruction(row.mnemonic, values)))
    (tmp_path / "isa.h").write_text(cpp_header(TILEFLOW), encoding="utf-8")
    source = tmp_path / "main.cpp"
    source.write_text(_printing_program([(row, encode(one)) for row, one in insns]))
    binary = tmp_path / "main"
    flags = ["-std=c++20", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    subprocess.run([str(COMPILER), *flags, str(source), "-o", str(binary)], check=True)
    ran = subprocess.run([str(binary)], check=True, capture_output=True, text=True)
    *rows, faults = ran.stdout.splitlines()
    expected = [[1, *one.operands.values()] for _, one in insns]
    assert [list(map(int, row.split())) for row in rows] == expected
    assert faults.split() == ["1", "1", "1"]


def test_no_register_is_the_last_value_of_a_register_field():
    for row in TILEFLOW.insns:
        for field in row.fields:
            if field.kind in (Kind.AGEN, Kind.EXTENT, Kind.SEM):
                assert field.mask == NO_REGISTER


def test_sources_name_levels_and_scalars_without_overlap():
    for row in TILEFLOW.insns:
        for field in row.fields:
            if field.kind is Kind.LEVEL:
                assert field.mask < table.SCALAR_SOURCE
