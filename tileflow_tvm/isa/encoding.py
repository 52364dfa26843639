"""Instructions as words, and back."""

from __future__ import annotations

import hashlib

from tileflow_tvm.errors import BinaryError, Loc
from tileflow_tvm.isa.program import Instruction
from tileflow_tvm.isa.table import OPCODE_BITS, TILEFLOW, Field, Insn, Isa, Kind


def encode(insn: Instruction, isa: Isa = TILEFLOW) -> int:
    """The instruction's word. Raises ValueError for a value that does not fit its field."""
    row = isa.by_mnemonic[insn.mnemonic]
    if insn.operands.keys() != row.by_name.keys():
        wrong = sorted(insn.operands.keys() ^ row.by_name.keys())
        raise ValueError(f"{row.mnemonic}: operands missing or unknown: {', '.join(wrong)}")
    word = row.opcode
    for field in row.fields:
        word |= field.pack(insn.operands[field.name])
    return word


def decode(word: int, pc: int, loc: Loc | None = None, isa: Isa = TILEFLOW) -> Instruction:
    """The instruction whose word this is; raises BinaryError where it is none."""
    row = isa.by_opcode.get(word & ((1 << OPCODE_BITS) - 1))
    if row is None:
        raise BinaryError(f"pc {pc}: opcode {word & 0xFF:#04x} is no instruction of {isa.name}")
    stray = word & ~row.used_bits
    if stray:
        lowest = (stray & -stray).bit_length() - 1
        raise BinaryError(f"pc {pc}: {row.mnemonic} has bit {lowest} set, which means nothing")
    operands = {field.name: field.unpack(word) for field in row.fields}
    for field in row.fields:
        low, high = field.bounds
        if not low <= operands[field.name] <= high:
            what = f"{field.name} is {operands[field.name]}, outside {low}..{high}"
            raise BinaryError(f"pc {pc}: {row.mnemonic}: {what}")
    return Instruction(row.mnemonic, operands, loc)


def isa_fingerprint(isa: Isa = TILEFLOW) -> int:
    """64 bits of SHA-256 over all that gives a binary its meaning: rows, fields and choices."""
    lines = [f"{isa.name} {isa.version} {isa.word_bits} {OPCODE_BITS}"]
    lines += [_row_text(row) for row in isa.insns]
    return int.from_bytes(hashlib.sha256("\n".join(lines).encode()).digest()[:8], "little")


def _row_text(row: Insn) -> str:
    fields = " ".join(_field_text(field) for field in row.fields)
    return f"{row.mnemonic} {row.opcode} {row.engine.value} {fields}"


def _field_text(field: Field) -> str:
    choices = ",".join(field.choices) if field.kind is Kind.ENUM else ""
    return f"{field.name}:{field.lo}:{field.width}:{field.kind.name}:{choices}"
