"""What can be said of a program without running its control flow.

The C++ verifier proves the rest: synchronisation, SRAM bounds, reads of unwritten bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tileflow_tvm.errors import Loc
from tileflow_tvm.isa.element_types import ElementTypes
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.isa.program import (
    BROADCAST,
    MAX_ARG_RANK,
    MAX_RANK,
    AccessPattern,
    ArgSpec,
    BufferInfo,
    Constant,
    Instruction,
    Program,
    StorageKind,
    TensorSpec,
)
from tileflow_tvm.isa.table import (
    CLEAR_MODES,
    ITEM_BYTES,
    NO_REGISTER,
    OPERAND_MODES,
    PREFIX,
    SCALAR_SOURCE,
    Engine,
    Field,
    Kind,
)

LARGEST_SIZE = 1 << 62
"""Bound of every size in bytes, so that no sum or product of checked sizes overflows 64 bits."""

LIMIT_OF = {
    Kind.AGEN: "address_generators",
    Kind.EXTENT: "extents",
    Kind.SEM: "semaphores",
    Kind.SCALAR: "scalars",
    Kind.LEVEL: "loop_levels",
    Kind.TENSOR: "tensors",
    Kind.ACCESS: "accesses",
}
"""The key of the machine that limits what a field of this kind names."""


def registers(kind: Kind, machine: Machine | None) -> str:
    """Which registers a field of this kind may name: "a0..a62"."""
    if machine is None:
        return ""
    kinds = (Kind.LEVEL, Kind.SCALAR) if kind is Kind.SOURCE else (kind,)
    parts = []
    for each in kinds:
        prefix, count = PREFIX[each], getattr(machine, LIMIT_OF[each])
        only = f"{prefix}0..{prefix}{count - 1}" if count > 1 else f"{prefix}0" * count
        parts.append(only or f"no {each.value}")
    return f"{machine.name} has {' and '.join(parts)}"


@dataclass(frozen=True)
class Problem:
    """Entry `index` of one of the program's tables (a field of `Program`) is wrong; `operand`
    names the instruction's field at fault."""

    table: str
    index: int
    what: str
    hint: str = ""
    operand: str = ""

    def __str__(self) -> str:
        if self.table == "insns":
            return f"pc {self.index}: {self.what}"
        if self.table in ("name", "scratch_bytes"):
            return self.what
        return f"{self.table}[{self.index}]: {self.what}"


def problems(program: Program) -> Iterator[Problem]:
    """Everything that is wrong; the first may be the cause of those that follow."""
    yield from table_problems(program)
    walk = Walk(program)
    for insn in program.insns:
        yield from walk.step(insn)
    yield from walk.finish()
    yield from buffer_problems(program)


def table_problems(program: Program) -> Iterator[Problem]:
    """What is wrong apart from instructions and debug information."""
    yield from _name("name", 0, program.name)
    if not 0 <= program.scratch_bytes < LARGEST_SIZE:
        what = f"{program.scratch_bytes} bytes of scratch"
        yield Problem("scratch_bytes", 0, what, f"0..{LARGEST_SIZE - 1}")
    for table in ("args", "scalars", "tensors", "constants"):
        yield from _names(table, getattr(program, table))
    for limit in ("scalars", "tensors", "accesses"):
        most, count = getattr(program.machine, limit), len(getattr(program, limit))
        if count > most:
            what = f"{count} {limit}, but {program.machine.name} has {most}"
            yield Problem(limit, most, what, f"use fewer, or a machine with more {limit}")
    for index, arg in enumerate(program.args):
        yield from _arg(program, index, arg)
    for index, constant in enumerate(program.constants):
        yield from _constant(program, index, constant)
    for index, tensor in enumerate(program.tensors):
        yield from _tensor(program, index, tensor)
    for index, access in enumerate(program.accesses):
        yield from _access(program, index, access)


def _names(
    table: str, entries: Sequence[str | ArgSpec | TensorSpec | Constant]
) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for index, entry in enumerate(entries):
        name = entry if isinstance(entry, str) else entry.name
        yield from _name(table, index, name)
        if seen.setdefault(name, index) != index:
            what = f"a second '{name}'; the first is entry {seen[name]}"
            yield Problem(table, index, what, "give each a name of its own")


def _name(table: str, index: int, name: str) -> Iterator[Problem]:
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        yield Problem(table, index, f"the name {name!r} is not Unicode text")
        return
    if not 0 < size < 1 << 16:
        yield Problem(table, index, "a name is empty" if not size else "a name is over 64 KiB")


def _loc(table: str, index: int, loc: Loc | None) -> Iterator[Problem]:
    if loc is None:
        return
    yield from _name(table, index, loc.file)
    if not (0 <= loc.line < 1 << 32 and 0 <= loc.col < 1 << 32):
        yield Problem(table, index, f"line {loc.line}, column {loc.col} is no place in a file")


def _dtype(program: Program, table: str, index: int, dtype: str) -> Iterator[Problem]:
    known = program.machine.dtypes
    if dtype not in known:
        hint = f"{program.machine.name} has {', '.join(known)}"
        yield Problem(table, index, f"dtype {dtype} is not one of the machine's", hint)


def _shape(table: str, index: int, shape: Sequence[int], dtype: str) -> Iterator[Problem]:
    size = ITEM_BYTES.get(dtype, 1)
    for extent in shape:
        if extent < 0:
            what = f"shape {list(shape)} has a negative size"
            yield Problem(table, index, what, "sizes are 0 or more")
        size *= max(extent, 1)
    if size >= LARGEST_SIZE:
        what = f"shape {list(shape)} is {size} bytes, too many to address"
        yield Problem(table, index, what, f"at most {LARGEST_SIZE - 1} bytes")


def _arg(program: Program, index: int, arg: ArgSpec) -> Iterator[Problem]:
    yield from _dtype(program, "args", index, arg.dtype)
    if len(arg.shape) > MAX_ARG_RANK:
        what = f"rank {len(arg.shape)} is over {MAX_ARG_RANK}"
        yield Problem("args", index, what, "merge dimensions that lie next to each other")
    yield from _shape("args", index, arg.shape, arg.dtype)


def _constant(program: Program, index: int, constant: Constant) -> Iterator[Problem]:
    yield from _dtype(program, "constants", index, constant.dtype)
    if len(constant.data) % ITEM_BYTES.get(constant.dtype, 1):
        what = f"{len(constant.data)} bytes are no whole number of {constant.dtype} elements"
        yield Problem("constants", index, what)


def _tensor(program: Program, index: int, tensor: TensorSpec) -> Iterator[Problem]:
    def bad(what: str, hint: str = "") -> Problem:
        return Problem("tensors", index, f"tensor {tensor.name}: {what}", hint)

    wrong_dtype = list(_dtype(program, "tensors", index, tensor.dtype))
    wrong_shape = list(_shape("tensors", index, tensor.shape, tensor.dtype))
    yield from wrong_dtype + wrong_shape
    if not 1 <= tensor.rank <= MAX_RANK:
        yield bad(f"rank {tensor.rank} is outside 1..{MAX_RANK}")
    elif len(tensor.strides) != tensor.rank:
        yield bad(f"{len(tensor.strides)} strides for rank {tensor.rank}", "one for each dimension")
    elif any(abs(stride) >= LARGEST_SIZE for stride in tensor.strides):
        yield bad(f"strides {list(tensor.strides)} are too large to address")
    elif not (wrong_dtype or wrong_shape):
        hint = "check its shape, strides and byte offset against what it lies in"
        yield from (bad(what, hint) for what in _outside_storage(program, tensor))


def _outside_storage(program: Program, tensor: TensorSpec) -> Iterator[str]:
    kind, index, offset = tensor.storage.kind, tensor.storage.index, tensor.storage.offset
    holders: Sequence[ArgSpec | Constant] = ()
    if kind is StorageKind.ARG:
        holders, sizes = program.args, [arg.nbytes for arg in program.args]
    elif kind is StorageKind.CONST:
        holders, sizes = program.constants, [len(each.data) for each in program.constants]
    else:
        sizes = [program.scratch_bytes]
    if not 0 <= index < len(sizes):
        yield f"its storage is {kind.name.lower()} {index}, and there are {len(sizes)}"
        return
    if holders and holders[index].dtype != tensor.dtype:
        yield f"it is {tensor.dtype}, but '{holders[index].name}' is {holders[index].dtype}"
    if offset < 0 or offset % ITEM_BYTES[tensor.dtype]:
        yield f"byte offset {offset} is not aligned to an element"
    low, high = tensor.byte_range()
    if not 0 <= low <= high <= sizes[index]:
        yield f"bytes {low}..{high} lie outside its storage of {sizes[index]} bytes"


def _access(program: Program, index: int, access: AccessPattern) -> Iterator[Problem]:
    def bad(what: str, hint: str = "") -> Problem:
        return Problem("accesses", index, what, hint)

    if len(access.dims) > MAX_RANK:
        yield bad(f"{len(access.dims)} dimensions, at most {MAX_RANK}")
    for dim in access.dims:
        if not 0 <= dim.extent < 1 << 32:
            yield bad(f"extent {dim.extent} is outside 0..{(1 << 32) - 1}")
        if not BROADCAST <= dim.tensor_dim < MAX_RANK:
            yield bad(f"tensor dimension {dim.tensor_dim} is outside 0..{MAX_RANK - 1}")
        if not -(1 << 31) <= dim.step < 1 << 31:
            yield bad(f"step {dim.step} does not fit 32 bits")
    if access.rows * access.cols * min(ITEM_BYTES.values()) > program.machine.sram_bytes:
        what = f"a box of {access.rows} x {access.cols} is larger than the SRAM"
        yield bad(what, f"{program.machine.name} has {program.machine.sram_bytes} bytes of it")


def buffer_problems(program: Program) -> Iterator[Problem]:
    """What is wrong with the debug information about buffers."""
    for index, buffer in enumerate(program.buffers):
        yield from _buffer(program, index, buffer)


def _buffer(program: Program, index: int, buffer: BufferInfo) -> Iterator[Problem]:
    yield from _name("buffers", index, buffer.name)
    yield from _loc("buffers", index, buffer.loc)
    end = buffer.address + buffer.nbytes * buffer.slots
    if min(buffer.address, buffer.nbytes, buffer.slots - 1) < 0:
        yield Problem("buffers", index, f"buffer {buffer.name} has a size that makes no sense")
    elif end > program.machine.sram_bytes:
        what = f"buffer {buffer.name} ends at byte {end} of {program.machine.sram_bytes}"
        yield Problem("buffers", index, what)
    if not 0 <= buffer.first_pc <= buffer.last_pc < len(program.insns):
        what = f"buffer {buffer.name} lives from pc {buffer.first_pc} to {buffer.last_pc}"
        yield Problem("buffers", index, f"{what}, of {len(program.insns)}")


class Walk:
    """Checks instructions in program order. Of `program` it needs all but `insns`."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.pc = 0
        self.open_loops: list[int] = []
        self.halted = False
        self.begun = False
        """Whether a loop or an engine's instruction has been seen."""
        self.semaphores: set[int] = set()
        self.element_types = ElementTypes(program)

    def step(self, insn: Instruction) -> Iterator[Problem]:
        """What is wrong with the next instruction."""
        row = self.program.isa.by_mnemonic.get(insn.mnemonic)
        if row is None:
            yield self._bad(f"no instruction is called {insn.mnemonic}", "tileflow isa lists them")
        else:
            found = [*_operands(self.program, self.pc, insn, row.fields)]
            yield from found or self._in_order(insn)
            yield from _loc("insns", self.pc, insn.loc)
            self._advance(insn.mnemonic, row.engine)
        self.pc += 1

    def finish(self) -> Iterator[Problem]:
        """What is wrong with the program's end."""
        for pc in self.open_loops:
            yield Problem("insns", pc, "the loop is never closed", "add its 'end'")
        if not self.halted:
            last = max(self.pc - 1, 0)
            yield Problem("insns", last, "the program does not end in halt", "add 'halt'")

    def _advance(self, mnemonic: str, engine: Engine) -> None:
        if mnemonic == "loop":
            self.open_loops.append(self.pc)
        elif mnemonic == "end" and self.open_loops:
            self.open_loops.pop()
        self.halted = self.halted or mnemonic == "halt"
        self.begun = self.begun or mnemonic == "loop" or engine is not Engine.SEQUENCER

    def _bad(self, what: str, hint: str, operand: str = "") -> Problem:
        return Problem("insns", self.pc, what, hint, operand)

    def _in_order(self, insn: Instruction) -> Iterator[Problem]:
        """What depends on the instructions before this one."""
        yield from self._place(insn)
        for operand, what, hint in self.element_types.step(insn):
            yield self._bad(f"{insn.mnemonic}: {what}", hint, operand)

    def _place(self, insn: Instruction) -> Iterator[Problem]:
        """What depends on where the instruction stands."""
        machine, depth = self.program.machine, len(self.open_loops)
        if self.halted:
            yield self._bad("nothing may follow halt", "halt is the last instruction")
        match insn.mnemonic:
            case "halt" if depth:
                yield self._bad("halt is legal only outside loops", "close the loops before it")
            case "loop" if depth >= machine.loop_levels:
                what = f"loops nest {depth + 1} deep"
                what += f", but {machine.name} has {machine.loop_levels} levels"
                yield self._bad(what, "merge loops, or give the machine more loop_levels")
            case "end" if not depth:
                yield self._bad("end without a loop", "remove it, or begin the loop")
            case "scalar" if depth:
                yield self._bad("scalar is legal only outside loops", "compute it before the loop")
            case "sem":
                yield from self._sem(insn)
        if insn.operands.get("clear") == CLEAR_MODES.index("at0"):
            level = insn.operands["level"]
            if level >= depth:
                what = f"clear=at0 names level l{level}, but {depth} loops are around this"
                inside = f"one of {self._open_levels()}" if depth else "it belongs inside a loop"
                yield self._bad(what, inside, "level")

    def _open_levels(self) -> str:
        return ", ".join(f"{PREFIX[Kind.LEVEL]}{level}" for level in range(len(self.open_loops)))

    def _sem(self, insn: Instruction) -> Iterator[Problem]:
        if self.begun:
            what = "sem is legal only before the first loop and engine instruction"
            yield self._bad(what, "move it to the front")
        if insn.operands["dst"] in self.semaphores:
            what = f"semaphore {insn.operands['dst']} is set twice"
            yield self._bad(what, "one sem for each semaphore gives its first count", "dst")
        self.semaphores.add(insn.operands["dst"])


def _operands(
    program: Program, pc: int, insn: Instruction, fields: tuple[Field, ...]
) -> Iterator[Problem]:
    names = {field.name for field in fields}
    if insn.operands.keys() != names:
        wrong = ", ".join(sorted(insn.operands.keys() ^ names))
        yield Problem("insns", pc, f"{insn.mnemonic}: operands missing or unknown: {wrong}")
        return
    fine = True
    for field in fields:
        what = _field_problem(program, field, insn.operands[field.name])
        if what:
            fine = False
            hint = _field_hint(program, field)
            yield Problem("insns", pc, f"{insn.mnemonic}: {what}", hint, field.name)
    if fine:
        for operand, what, hint in _combination(program, insn):
            yield Problem("insns", pc, f"{insn.mnemonic}: {what}", hint, operand)


def _field_problem(program: Program, field: Field, value: int) -> str:
    """What is wrong with one operand on its own; empty where it is fine."""
    low, high = field.bounds
    if not low <= value <= high:
        return f"{field.name} is {value}, outside {low}..{high}"
    if field.kind in (Kind.AGEN, Kind.EXTENT, Kind.SEM) and value == NO_REGISTER:
        return "" if field.default == NO_REGISTER else f"{field.name} names no register"
    if field.kind is Kind.SOURCE:
        return _source_problem(program, field, value)
    if field.kind is Kind.SCALAR and value == NO_REGISTER and field.default == NO_REGISTER:
        return ""
    limit = LIMIT_OF.get(field.kind)
    if limit is not None and value >= getattr(program.machine, limit):
        most = getattr(program.machine, limit)
        return f"{field.name} is {value}, but {program.machine.name} has {most} {limit}"
    if field.kind in (Kind.TENSOR, Kind.ACCESS) and limit is not None:
        count = len(getattr(program, limit))
        if value >= count:
            return f"{field.name} is {value}, but the program has {count} {limit}"
    return ""


def _field_hint(program: Program, field: Field) -> str:
    """What may be written for an operand."""
    if field.kind is Kind.SOURCE or field.kind in PREFIX:
        return registers(field.kind, program.machine)
    if field.kind in (Kind.TENSOR, Kind.ACCESS):
        count = len(getattr(program, LIMIT_OF[field.kind]))
        return f"the program has {field.kind.value} 0..{count - 1}" if count else (
            f"the program has no {field.kind.value}"
        )  # fmt: skip
    low, high = field.bounds
    return f"{field.name} is in {low}..{high}"


def _source_problem(program: Program, field: Field, value: int) -> str:
    machine = program.machine
    if value < SCALAR_SOURCE:
        name, most, what = f"l{value}", machine.loop_levels, "loop levels"
        fits = value < most
    else:
        name, most, what = f"s{value - SCALAR_SOURCE}", machine.scalars, "scalars"
        fits = value - SCALAR_SOURCE < most
    return "" if fits else f"{field.name} is {name}, but {machine.name} has {most} {what}"


def _combination(program: Program, insn: Instruction) -> Iterator[tuple[str, str, str]]:
    """Operands that are fine by themselves and make no sense together: (operand, what, hint)."""
    values = insn.operands
    if insn.mnemonic == "loop" and values["count"] and values["by"] != NO_REGISTER:
        yield "by", "the trips are given by both count and by", "give one of the two"
    if insn.mnemonic == "scalar" and values["imm"] and values["rhs"] != NO_REGISTER:
        yield "imm", "the right operand is given by both rhs and imm", "give one of the two"
    sides = {"exec.binary": ("lhs", "rhs"), "exec.select": ("cond", "a", "b")}
    if insn.mnemonic in sides:
        for side in sides[insn.mnemonic]:
            immediate = values[f"{side[0]}mode"] == OPERAND_MODES.index("imm")
            if immediate and values[side] != NO_REGISTER:
                hint = f"{side}=none, or another {side[0]}mode"
                yield side, f"{side} is the immediate and a register", hint
            if not immediate and values[side] == NO_REGISTER:
                hint = f"give {side} an address generator, or say {side[0]}mode=imm"
                yield side, f"{side} is missing", hint
    if "unit" in values:
        yield from _unit(program, insn)
    if "tensor" in values:
        yield from _transfer(program, insn)


def _unit(program: Program, insn: Instruction) -> Iterator[tuple[str, str, str]]:
    kind = program.isa.by_mnemonic[insn.mnemonic].engine.value
    unit, count = insn.operands["unit"], program.machine.engines_of(kind)
    if unit >= count:
        what = f"unit is {unit}, but {program.machine.name} has {kind}_engines = {count}"
        yield "unit", what, f"unit is {units(count)} here"


def units(count: int) -> str:
    """Which units there are of `count` engines of a kind."""
    return "0" if count == 1 else f"in 0..{count - 1}"


def _transfer(program: Program, insn: Instruction) -> Iterator[tuple[str, str, str]]:
    tensor = program.tensors[insn.operands["tensor"]]
    for dim in range(tensor.rank, MAX_RANK):
        if insn.operands[f"c{dim}"] != NO_REGISTER:
            what = f"{tensor.name} has rank {tensor.rank}, no dimension {dim}"
            yield f"c{dim}", what, f"give {tensor.rank} coordinates: {_indexed(tensor)}"
    for box in program.accesses[insn.operands["access"]].dims:
        if box.tensor_dim >= tensor.rank:
            what = f"the pattern moves along dimension {box.tensor_dim}"
            hint = f"a pattern for {tensor.name} moves along d0..d{tensor.rank - 1}"
            yield "access", f"{what}, but {tensor.name} has rank {tensor.rank}", hint


def _indexed(tensor: TensorSpec) -> str:
    return f"{tensor.name}[{', '.join(f'a{dim}' for dim in range(tensor.rank))}]"
