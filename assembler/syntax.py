"""How the operands of each instruction are written, derived from the instruction table.

A row's fields become operands: those that name registers and table entries stand in the table's
order between commas, the others follow as `name=value` and may be left out at their default.
The choice `func` is part of the mnemonic (`exec.unary.relu`), two semaphores are one operand
(`wait=sem0,sem1`), and a tensor takes its coordinates in brackets (`A[a1, a2]`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from tileflow_tvm.isa.program import f32_bits, f32_value
from tileflow_tvm.isa.table import PREFIX as PREFIX
from tileflow_tvm.isa.table import Field, Insn, Isa, Kind

NONE = "none"
"""How a register field that names no register is written."""

SUFFIX = "func"
"""The field whose choice is the end of the mnemonic."""

REGISTERS = (Kind.AGEN, Kind.SCALAR, Kind.SOURCE, Kind.TENSOR, Kind.ACCESS)


@dataclass(frozen=True)
class Operand:
    """What is written as one operand; more than one field for a list."""

    name: str
    fields: tuple[Field, ...]
    positional: bool

    @property
    def required(self) -> bool:
        return self.fields[0].default is None


@dataclass(frozen=True)
class Form:
    """How one row of the table is written."""

    row: Insn
    operands: tuple[Operand, ...]

    @property
    def positional(self) -> tuple[Operand, ...]:
        return tuple(operand for operand in self.operands if operand.positional)

    def find(self, name: str) -> Operand | None:
        return next((operand for operand in self.operands if operand.name == name), None)


@cache
def form_of(row: Insn) -> Form:
    """The operands of a row, in the order in which they are printed."""
    operands: list[Operand] = []
    optional_seen = False
    for field in row.fields:
        if field.name == SUFFIX or _belongs_to_group(row, field):
            continue
        number = field.kind in (Kind.UINT, Kind.SINT) and field.default is None
        positional = (
            field.kind in REGISTERS
            or (field.kind in (Kind.EXTENT, Kind.SEM) and field.name == "dst")
            or (number and not optional_seen)
        )
        optional_seen = optional_seen or field.default is not None
        operands.append(Operand(field.name, _coordinates(row, field), positional))
    return Form(row, (*operands, *_semaphores(row)))


def _belongs_to_group(row: Insn, field: Field) -> bool:
    coordinate = "tensor" in row.by_name and field.name in _coordinate_names(row)
    return coordinate or (field.kind is Kind.SEM and field.name[-1].isdigit())


def _coordinate_names(row: Insn) -> tuple[str, ...]:
    return tuple(f"c{dim}" for dim in range(10) if f"c{dim}" in row.by_name)


def _coordinates(row: Insn, field: Field) -> tuple[Field, ...]:
    if field.kind is not Kind.TENSOR:
        return (field,)
    return (field, *(row.by_name[name] for name in _coordinate_names(row)))


def _semaphores(row: Insn) -> tuple[Operand, ...]:
    groups: dict[str, list[Field]] = {}
    for field in row.fields:
        if field.kind is Kind.SEM and field.name[-1].isdigit():
            groups.setdefault(field.name[:-1], []).append(field)
    return tuple(Operand(name, tuple(fields), False) for name, fields in groups.items())


@cache
def mnemonics(isa: Isa) -> dict[str, tuple[Insn, int]]:
    """Every mnemonic as it is written, with its row and the index of its `func`."""
    table: dict[str, tuple[Insn, int]] = {}
    for row in isa.insns:
        if SUFFIX not in row.by_name:
            table[row.mnemonic] = row, 0
            continue
        for index, choice in enumerate(row.by_name[SUFFIX].choices):
            table[f"{row.mnemonic}.{choice}"] = row, index
    return table


def f32_text(bits: int) -> str:
    """The shortest decimal that reads back as these bits; the bits in hex for an odd NaN."""
    value = f32_value(bits)
    if value != value:
        return "nan" if bits == QUIET_NAN else f"{bits:#010x}"
    if value in (float("inf"), float("-inf")):
        return str(value)
    texts = (f"{value:.{digits}g}" for digits in range(1, 10))
    text = next(text for text in texts if _reads_back(text, bits))
    return text if "." in text or "e" in text else f"{text}.0"


def _reads_back(text: str, bits: int) -> bool:
    try:
        return parse_f32(text) == bits
    except ValueError:  # fewer digits of the largest numbers overflow
        return False


QUIET_NAN = 0x7FC00000
"""The NaN that is written `nan`."""


def parse_f32(text: str) -> int:
    """The bits of a number as written; hex gives the bits. ValueError where it is no float32."""
    if text[:2].lower() == "0x":
        bits = int(text, 16)
        if bits >> 32:
            raise ValueError(f"{text} has more than 32 bits")
        return bits
    if text == "nan":
        return QUIET_NAN
    try:
        return f32_bits(float(text))
    except OverflowError:
        raise ValueError(f"{text} overflows float32") from None
