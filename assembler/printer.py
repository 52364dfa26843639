"""A program as assembly text that `assemble` reads back to the same program."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from tileflow_tvm.errors import Loc
from tileflow_tvm.isa.encoding import isa_fingerprint
from tileflow_tvm.isa.machine import MACHINE_INTS
from tileflow_tvm.isa.program import (
    BROADCAST,
    AccessPattern,
    Constant,
    Instruction,
    Program,
    StorageKind,
    TensorSpec,
    contiguous,
)
from tileflow_tvm.isa.table import (
    CLEAR_MODES,
    ITEM_BYTES,
    NO_REGISTER,
    SCALAR_SOURCE,
    Field,
    Kind,
)

from .syntax import (
    NONE,
    PREFIX,
    SUFFIX,
    Operand,
    f32_text,
    form_of,
)

_INDENT = "    "
_COMMENT_COLUMN = 60
_HEX_LINE_BYTES = 32
_MOST_DECIMALS = 64
"""Constants up to this many elements are printed as numbers, larger ones in hex."""

_LARGEST_SOURCE = 1 << 22
_LONGEST_NOTE = 160


def disassemble(program: Program, *, sources: bool = True) -> str:
    """The program's text. With `sources`, each line that came from a readable file carries what
    is written there as a comment."""
    printer = _Printer(program, sources)
    return "\n".join([*printer.header(), "", *printer.text(), ""])


class _Printer:
    def __init__(self, program: Program, sources: bool) -> None:
        self.program = program
        self.sources = _Sources() if sources else None
        locs = [insn.loc for insn in program.insns] + [buffer.loc for buffer in program.buffers]
        names = dict.fromkeys(loc.file for loc in locs if loc is not None)
        self.files = {file: f"f{index}" for index, file in enumerate(names)}

    def header(self) -> Iterator[str]:
        program = self.program
        yield f".isa {program.isa.name} {isa_fingerprint(program.isa):#018x}"
        yield f".program {_name(program.name)}"
        yield from self._machine()
        for arg in program.args:
            shape = list(arg.shape)
            yield f".arg {_name(arg.name)} {arg.dtype}{shape} {arg.role.name.lower()}"
        yield from (f".scalar {_name(name)}" for name in program.scalars)
        if program.scratch_bytes:
            yield f".scratch {program.scratch_bytes}"
        for constant in program.constants:
            yield from _constant(constant)
        yield from map(self._tensor, program.tensors)
        yield from (f".access p{i}{_box(access)}" for i, access in enumerate(program.accesses))
        yield from (f".file {name} {json.dumps(path)}" for path, name in self.files.items())
        for buffer in program.buffers:
            where = f"address={buffer.address} bytes={buffer.nbytes} slots={buffer.slots}"
            life = f"pcs={buffer.first_pc}..{buffer.last_pc}"
            line = f".buffer {_name(buffer.name)} {where} {life}{self._place(buffer.loc)}"
            yield self._comment(line, self._source(buffer.loc))

    def _machine(self) -> Iterator[str]:
        machine = self.program.machine
        pairs = [f"{key}={getattr(machine, key)}" for key in MACHINE_INTS[:-1]]
        pairs.append(f"dtypes={','.join(machine.dtypes)}")
        yield f".machine {_name(machine.name)} {{"
        yield from (f"{_INDENT}{' '.join(pairs[i : i + 4])}" for i in range(0, len(pairs), 4))
        yield "}"

    def _tensor(self, tensor: TensorSpec) -> str:
        storage = tensor.storage
        where = storage.kind.name.lower()
        if storage.kind is StorageKind.ARG:
            where += f" {_name(self.program.args[storage.index].name)}"
        elif storage.kind is StorageKind.CONST:
            where += f" {_name(self.program.constants[storage.index].name)}"
        if storage.offset:
            where += f" + {storage.offset}"
        shape, strides = list(tensor.shape), ""
        if tensor.strides != contiguous(tensor.shape):
            strides = f" strides {list(tensor.strides)}"
        return f".tensor {_name(tensor.name)} {tensor.dtype}{shape}{strides} at {where}"

    def text(self) -> Iterator[str]:
        depth = 0
        for pc, insn in enumerate(self.program.insns):
            depth -= insn.mnemonic == "end"
            line = f"{_INDENT * depth}{self._insn(insn)}"
            note = f"{pc}: {self._source(insn.loc)}" if self._source(insn.loc) else str(pc)
            yield self._comment(f"{line}{self._place(insn.loc)}", note)
            depth += insn.mnemonic == "loop"

    def _insn(self, insn: Instruction) -> str:
        if insn.mnemonic == "end":
            return "}"
        values = insn.operands
        if insn.mnemonic == "loop":
            trips = values["count"] if values["by"] == NO_REGISTER else f"a{values['by']}"
            return f"loop {trips} {{"
        row = self.program.isa.by_mnemonic[insn.mnemonic]
        form = form_of(row)
        suffix = f".{row.by_name[SUFFIX].choices[values[SUFFIX]]}" if SUFFIX in row.by_name else ""
        positional = list(form.positional)
        while positional and _is_default(positional[-1], values_of(insn, positional[-1])):
            positional.pop()
        written = ", ".join(self._operand(insn, operand) for operand in positional)
        named = [
            f"{operand.name}={self._operand(insn, operand)}"
            for operand in form.operands
            if not operand.positional and _is_worth_saying(insn, operand)
        ]
        return " ".join(filter(None, [insn.mnemonic + suffix, written, *named]))

    def _operand(self, insn: Instruction, operand: Operand) -> str:
        head, *rest = operand.fields
        values = values_of(insn, operand)
        if head.kind is Kind.TENSOR:
            tensor = self.program.tensors[values[0]]
            coords = zip(rest, values[1 : tensor.rank + 1], strict=False)
            shown = ["0" if value == NO_REGISTER else _value(spec, value) for spec, value in coords]
            return f"{_name(tensor.name)}[{', '.join(shown)}]"
        while len(values) > 1 and values[-1] == NO_REGISTER:
            values = values[:-1]
        return ",".join(
            _value(spec, value) for spec, value in zip(operand.fields, values, strict=False)
        )

    def _place(self, loc: Loc | None) -> str:
        return f"  @{self.files[loc.file]}:{loc.line}:{loc.col}" if loc else ""

    def _source(self, loc: Loc | None) -> str:
        return self.sources.line(loc) if self.sources and loc else ""

    @staticmethod
    def _comment(line: str, note: str) -> str:
        return f"{line:<{_COMMENT_COLUMN}}  ; {note}" if note else line


def values_of(insn: Instruction, operand: Operand) -> tuple[int, ...]:
    """The raw values of the fields that make up an operand."""
    return tuple(insn.operands[spec.name] for spec in operand.fields)


def _is_default(operand: Operand, values: tuple[int, ...]) -> bool:
    return values == tuple(spec.default for spec in operand.fields)


def _is_worth_saying(insn: Instruction, operand: Operand) -> bool:
    """A default is left out, but `clear=at0` is hard to read without its level."""
    if operand.fields[0].kind is Kind.LEVEL and insn.operands["clear"] == CLEAR_MODES.index("at0"):
        return True
    return not _is_default(operand, values_of(insn, operand))


def _value(spec: Field, value: int) -> str:
    match spec.kind:
        case Kind.UINT | Kind.SINT | Kind.FLAG:
            return str(value)
        case Kind.F32:
            return f32_text(value)
        case Kind.ENUM:
            return spec.choices[value]
        case Kind.ACCESS:
            return f"p{value}"
        case Kind.SOURCE:
            return f"l{value}" if value < SCALAR_SOURCE else f"s{value - SCALAR_SOURCE}"
        case _ if value == NO_REGISTER and spec.default == NO_REGISTER:
            return NONE
        case _:
            return f"{PREFIX[spec.kind]}{value}"


def _name(name: str) -> str:
    """A name as a word where it is one, else in quotes."""
    return name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", name) else json.dumps(name)


def _constant(constant: Constant) -> Iterator[str]:
    data = constant.data
    head = f".const {_name(constant.name)} {constant.dtype}"
    size = ITEM_BYTES[constant.dtype]
    if len(data) <= size * _MOST_DECIMALS:
        numbers = [_number(data[i : i + size], constant.dtype) for i in range(0, len(data), size)]
        yield f"{head} {{"
        for first in range(0, len(numbers), 8):
            yield _INDENT + ", ".join(numbers[first : first + 8])
    else:
        yield f"{head} hex {{"
        for first in range(0, len(data), _HEX_LINE_BYTES):
            yield f'{_INDENT}"{data[first : first + _HEX_LINE_BYTES].hex()}"'
    yield "}"


def _number(element: bytes, dtype: str) -> str:
    """An element as `.const` takes it: bf16 as the float32 of which it is the upper half."""
    if dtype in ("f32", "bf16"):
        return f32_text(int.from_bytes(bytes(4 - len(element)) + element, "little"))
    return str(int.from_bytes(element, "little", signed=True))


def _box(access: AccessPattern) -> str:
    """The dimensions of an access pattern, with a blank in front of them."""
    shown = []
    for dim in access.dims:
        parts = [str(dim.extent)]
        if dim.tensor_dim != BROADCAST or dim.step != 1:
            parts.append(f"d{dim.tensor_dim}" if dim.tensor_dim != BROADCAST else NONE)
        if dim.step != 1:
            parts.append(str(dim.step))
        shown.append(f"{'col' if dim.column else 'row'}({', '.join(parts)})")
    return " " * bool(shown) + ", ".join(shown)


class _Sources:
    """Lines of the files a program came from; empty where they cannot be read."""

    def __init__(self) -> None:
        self.files: dict[str, list[str]] = {}

    def line(self, loc: Loc) -> str:
        if loc.file not in self.files:
            self.files[loc.file] = self._read(Path(loc.file))
        rows = self.files[loc.file]
        text = rows[loc.line - 1].strip()[:_LONGEST_NOTE] if 0 < loc.line <= len(rows) else ""
        return "".join(char if char.isprintable() else " " for char in text)

    @staticmethod
    def _read(path: Path) -> list[str]:
        try:
            # A device or a pipe that a binary names must not be read to its end.
            if not path.is_file() or path.stat().st_size > _LARGEST_SOURCE:
                return []
            return path.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            return []
