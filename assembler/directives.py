"""The directives: everything a program has besides its instructions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tileflow_tvm.errors import Loc, MachineError
from tileflow_tvm.isa.encoding import isa_fingerprint
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.isa.program import (
    BROADCAST,
    AccessPattern,
    ArgSpec,
    BoxDim,
    BufferInfo,
    Constant,
    Program,
    Role,
    Storage,
    StorageKind,
    TensorSpec,
    contiguous,
)
from tileflow_tvm.isa.table import DTYPES, ITEM_BYTES, TILEFLOW, Isa

from .cursor import Cursor
from .lexer import Line, Tok
from .syntax import NONE, parse_f32


@dataclass
class Draft:
    """What the directives have said so far."""

    isa: Isa = TILEFLOW
    name: str = "main"
    machine: Machine | None = None
    """There is one as soon as the first instruction is read."""
    args: list[ArgSpec] = field(default_factory=list)
    scalars: list[str] = field(default_factory=list)
    tensors: list[TensorSpec] = field(default_factory=list)
    accesses: list[AccessPattern] = field(default_factory=list)
    access_names: dict[str, int] = field(default_factory=dict)
    tensor_names: dict[str, int] = field(default_factory=dict)
    constants: list[Constant] = field(default_factory=list)
    scratch_bytes: int = 0
    buffers: list[BufferInfo] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    places: dict[tuple[str, int], tuple[Line, int]] = field(default_factory=dict)
    """Line and column of each entry of a table, for errors."""

    def program(self, machine: Machine) -> Program:
        """The program so far, without instructions."""
        return Program(
            self.name, machine, (), tuple(self.args), tuple(self.scalars), tuple(self.tensors),
            tuple(self.accesses), tuple(self.constants), self.scratch_bytes, tuple(self.buffers),
            self.isa,
        )  # fmt: skip


def directive(draft: Draft, cursor: Cursor) -> None:
    """Reads one directive, up to the end of its line or block."""
    token = cursor.take()
    line = cursor.line
    known = DIRECTIVES[token.text]
    table = known.table
    if table:
        draft.places[table, len(getattr(draft, table, ()))] = line, token.col
    elif (token.text, 0) in draft.places:
        raise cursor.error(f"a second {token.text}", token)
    else:
        draft.places[token.text, 0] = line, token.col
    known.read(draft, cursor)
    cursor.end()


def _isa(draft: Draft, cursor: Cursor) -> None:
    name = cursor.token
    if cursor.name("the name of the instruction set") != draft.isa.name:
        raise cursor.error(f"no instruction set {name.shown()} here", name, f"'{draft.isa.name}'")
    if cursor.token.tok is Tok.NUMBER:
        at = cursor.token
        if cursor.integer("a fingerprint") != isa_fingerprint(draft.isa):
            what = f"written for another version of the instruction set {draft.isa.name}"
            hint = f"this one is {isa_fingerprint(draft.isa):#018x}; leave it out to try anyway"
            raise cursor.error(what, at, hint)


def _program(draft: Draft, cursor: Cursor) -> None:
    draft.name = cursor.name("the program's name")


def _machine(draft: Draft, cursor: Cursor) -> None:
    at = cursor.token
    name = cursor.name("a machine's name")
    keys = _machine_keys(cursor)
    known = [key.name for key in dataclasses.fields(Machine) if key.name != "name"]
    try:
        if set(keys) == set(known):
            draft.machine = Machine(name, **keys)
        else:
            draft.machine = Machine.load(name).replace(**keys)
    except MachineError as error:
        raise cursor.error(error.what, at, error.hint) from error


def _machine_keys(cursor: Cursor) -> dict[str, Any]:
    """`{ key=value ... }`, which may go over several lines; empty where there are no braces."""
    keys: dict[str, Any] = {}
    opening = cursor.line, cursor.token
    if not cursor.accept("{"):
        return keys
    known = [key.name for key in dataclasses.fields(Machine) if key.name != "name"]
    cursor.skip_lines(opening)
    while not cursor.accept("}"):
        token = cursor.token
        key = cursor.word("a key of the machine", known)
        if key in keys:
            raise cursor.error(f"a second {key}", token)
        cursor.expect("=")
        keys[key] = _dtypes(cursor) if key == "dtypes" else cursor.integer("a number")
        cursor.skip_lines(opening)
    return keys


def _dtypes(cursor: Cursor) -> tuple[str, ...]:
    found = [cursor.word("a dtype", DTYPES)]
    while cursor.accept(","):
        found.append(cursor.word("a dtype", DTYPES))
    return tuple(found)


def _arg(draft: Draft, cursor: Cursor) -> None:
    name = cursor.name("the argument's name")
    dtype = cursor.word("a dtype", DTYPES)
    shape = _sizes(cursor)
    role = Role[cursor.word("a role", [role.name.lower() for role in Role]).upper()]
    draft.args.append(ArgSpec(name, shape, role, dtype))


def _sizes(cursor: Cursor) -> tuple[int, ...]:
    """`[4, -5]`."""
    cursor.expect("[")
    sizes: list[int] = []
    while not cursor.accept("]"):
        if sizes:
            cursor.expect(",")
        sizes.append(cursor.integer("a number"))
    return tuple(sizes)


def _scalar(draft: Draft, cursor: Cursor) -> None:
    draft.scalars.append(cursor.name("the scalar's name"))


def _scratch(draft: Draft, cursor: Cursor) -> None:
    draft.scratch_bytes = cursor.integer("a number of bytes")


def _const(draft: Draft, cursor: Cursor) -> None:
    name = cursor.name("the constant's name")
    dtype = cursor.word("a dtype", DTYPES)
    as_hex = cursor.accept("hex")
    opening = cursor.line, cursor.token
    cursor.expect("{")
    data = bytearray()
    cursor.skip_lines(opening)
    while not cursor.accept("}"):
        data += _hex(cursor) if as_hex else _number(cursor, dtype)
        cursor.accept(",")
        cursor.skip_lines(opening)
    draft.constants.append(Constant(name, bytes(data), dtype))


def _hex(cursor: Cursor) -> bytes:
    token = cursor.token
    text = cursor.string()
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise cursor.error("these are not bytes in hex", token) from None


def _number(cursor: Cursor, dtype: str) -> bytes:
    """An element: integers as such, bf16 as a float32 that has its lower half zero."""
    token = cursor.token
    size = ITEM_BYTES[dtype]
    if dtype in ("f32", "bf16"):
        bits = f32_operand(cursor)
        if bits & ((1 << 8 * (4 - size)) - 1):
            what = f"{token.shown()} is no value of {dtype}"
            raise cursor.error(what, token, "write one that it has exactly, or its bytes: hex")
        return bits.to_bytes(4, "little")[4 - size :]
    value = cursor.integer("a number")
    most = 1 << (8 * size - 1)
    if not -most <= value < most:
        hint = f"it has {-most}..{most - 1}"
        raise cursor.error(f"{token.shown()} is no value of {dtype}", token, hint)
    return value.to_bytes(size, "little", signed=True)


def f32_operand(cursor: Cursor) -> int:
    """A float32 as bits: a decimal, inf, nan, or its bits in hex."""
    token = cursor.token
    if token.tok is not Tok.NUMBER and token.text not in ("inf", "nan"):
        raise cursor.error(f"expected a number, found {token.shown()}")
    cursor.take()
    try:
        return parse_f32(token.text)
    except ValueError:
        what = f"{token.shown()} is not a float32"
        raise cursor.error(what, token, "it overflows, or has more than 32 bits") from None


def _tensor(draft: Draft, cursor: Cursor) -> None:
    name = cursor.name("the tensor's name")
    dtype = cursor.word("a dtype", DTYPES)
    shape = _sizes(cursor)
    strides = _sizes(cursor) if cursor.accept("strides") else contiguous(shape)
    cursor.expect("at")
    storage = _storage(draft, cursor)
    draft.tensor_names.setdefault(name, len(draft.tensors))
    draft.tensors.append(TensorSpec(name, shape, strides, storage, dtype))


STORAGE = {"arg": StorageKind.ARG, "const": StorageKind.CONST, "scratch": StorageKind.SCRATCH}


def _storage(draft: Draft, cursor: Cursor) -> Storage:
    """`arg A + 16`, `const W` or `scratch + 4096`."""
    kind = STORAGE[cursor.word("where the tensor lies", STORAGE)]
    index = 0
    if kind is not StorageKind.SCRATCH:
        entries = draft.args if kind is StorageKind.ARG else draft.constants
        names = [entry.name for entry in entries]
        token = cursor.token
        name = cursor.name("a name")
        if name not in names:
            what = f"no {'argument' if kind is StorageKind.ARG else 'constant'} is called '{name}'"
            raise cursor.error(what, token, f"declared before this: {', '.join(names) or 'none'}")
        index = names.index(name)
    offset = cursor.integer("a byte offset") if cursor.accept("+") else 0
    return Storage(kind, index, offset)


def _access(draft: Draft, cursor: Cursor) -> None:
    token = cursor.token
    name = cursor.name("the pattern's name")
    if name in draft.access_names:
        raise cursor.error(f"a second access pattern '{name}'", token)
    dims: list[BoxDim] = []
    while cursor.token.tok is not Tok.END:
        if dims:
            cursor.expect(",")
        dims.append(_box_dim(cursor))
    draft.access_names[name] = len(draft.accesses)
    draft.accesses.append(AccessPattern(tuple(dims)))


def _box_dim(cursor: Cursor) -> BoxDim:
    """`row(32, d0)`, `col(3, d1, 2)`, and `row(4)` for a dimension that broadcasts."""
    side = cursor.word("row(...) or col(...)", ("row", "col"))
    cursor.expect("(")
    extent = cursor.integer("an extent")
    dim, step = BROADCAST, 1
    if cursor.accept(","):
        known = [NONE, *(f"d{dim}" for dim in range(5))]
        dim = known.index(cursor.word("a tensor dimension", known)) - 1
    if cursor.accept(","):
        step = cursor.integer("a step")
    cursor.expect(")")
    return BoxDim(extent, dim, step, side == "col")


def _file(draft: Draft, cursor: Cursor) -> None:
    token = cursor.token
    name = cursor.name("a short name for the file")
    if name in draft.files:
        raise cursor.error(f"a second file {token.shown()}", token)
    draft.files[name] = cursor.string()


def place(draft: Draft, cursor: Cursor) -> Loc | None:
    """`@f0:12:5`, where in the source something comes from; nothing where it is unknown."""
    if not cursor.accept("@"):
        return None
    file = cursor.word("a file", draft.files)
    cursor.expect(":")
    line = cursor.integer("a line")
    cursor.expect(":")
    return Loc(draft.files[file], line, cursor.integer("a column"))


def _buffer(draft: Draft, cursor: Cursor) -> None:
    name = cursor.name("the buffer's name")
    values = []
    for key in ("address", "bytes", "slots", "pcs"):
        cursor.expect(key)
        cursor.expect("=")
        values.append(cursor.integer("a number"))
    cursor.expect("..")
    values.append(cursor.integer("a pc"))
    address, size, slots, first, last = values
    info = BufferInfo(name, address, size, slots, first, last, place(draft, cursor))
    draft.buffers.append(info)


@dataclass(frozen=True)
class Directive:
    """How a directive is read; the table of `Draft` it adds to, or "" for one that stands once;
    how it is written."""

    read: Callable[[Draft, Cursor], None]
    table: str
    form: str


DIRECTIVES = {
    ".isa": Directive(_isa, "", ".isa tileflow [FINGERPRINT]"),
    ".program": Directive(_program, "", ".program NAME"),
    ".machine": Directive(_machine, "", ".machine NAME { KEY=VALUE ... }"),
    ".scratch": Directive(_scratch, "", ".scratch BYTES"),
    ".arg": Directive(_arg, "args", ".arg NAME f32[4, 5] in|out|inout"),
    ".scalar": Directive(_scalar, "scalars", ".scalar NAME"),
    ".const": Directive(_const, "constants", '.const NAME f32 { 1.0, 2.5 }, or hex { "0000803f" }'),
    ".tensor": Directive(
        _tensor, "tensors", ".tensor NAME f32[4, 5] [strides[5, 1]] at arg|const NAME [+ BYTES]"
    ),
    ".access": Directive(_access, "accesses", ".access NAME row(32, d0), col(32, d1)"),
    ".file": Directive(_file, "files", '.file NAME "PATH"'),
    ".buffer": Directive(
        _buffer, "buffers", ".buffer NAME address=0 bytes=4096 slots=2 pcs=4..8 [@FILE:LINE:COL]"
    ),
}
