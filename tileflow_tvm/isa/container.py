"""The `.bin` container: a `Program` as bytes.

Everything is little-endian, and there is one file for each program: `to_bytes(from_bytes(b)) == b`.
`str` is u16 length and that many bytes of UTF-8. `align(x)` is the next multiple of 16.

Header::

    offset  type        what
    0       8 bytes     magic 54 46 4C 4F 57 0D 0A 1A ("TFLOW\\r\\n\\x1a")
    8       u32         version of this layout, 1
    12      u32         number of sections, 9
    16      u64         size of the whole file, the checksum included
    24      u64         fingerprint of the ISA (`isa_fingerprint`; kIsaFingerprint in the header)
    32      u64         fingerprint of the machine (`Machine.fingerprint`)
    40      u32 x 18    the machine: the fields in the order of MACHINE_INTS, the last of which
                        is the bit set of its dtypes (bit i is DTYPES[i])
    112     9 x entry   the sections: u64 offset from the start of the file, u64 length
    256                 the sections' bytes

The order of MACHINE_INTS: tile, sram_bytes, load_engines, exec_engines, store_engines,
queue_depth, address_generators, extents, semaphores, scalars, loop_levels, tensors, accesses,
macs_per_cycle, vector_lanes, dram_bytes_per_cycle, dram_latency_cycles, dtypes.

Sections lie in the order below without gaps other than zero bytes up to the next multiple
of 16: offset[0] = 256, offset[i] = align(offset[i-1] + length[i-1]). The file ends with a u32
directly after the last section's bytes (no padding): the CRC-32 (zlib's) of all bytes before it.

Sections (no padding inside; a section's content ends exactly at its length)::

    0 info       str program name, str machine name, u64 bytes of DRAM scratch
    1 args       u32 count, then each: str name, u8 dtype (index into DTYPES),
                 u8 role (0 in, 1 out, 2 inout), u8 rank (0..5), u64 x rank shape
    2 scalars    u32 count, then each: str name
    3 tensors    u32 count, then each: str name, u8 dtype, u8 rank (1..5),
                 u8 storage (0 argument, 1 constant, 2 scratch), u32 index (of the argument or
                 constant; 0 for scratch), u64 byte offset in the storage,
                 u64 x rank shape, s64 x rank strides in elements
    4 accesses   u32 count, then each: u8 dims (0..5), then each dim: u32 extent,
                 s8 tensor dim (-1 broadcasts), s32 step, u8 side (0 rows, 1 columns)
    5 constants  u32 count, then each: str name, u8 dtype, u64 offset in `data`, u64 bytes;
                 offset[0] = 0, offset[i] = align(offset[i-1] + bytes[i-1])
    6 data       the constants' bytes, zeros between them; ends with the last byte of the last
    7 text       16-byte words, the instruction at pc p at 16 * p
    8 debug      u32 files, then each: str path
                 u32 runs, then each: u32 pc, u32 file, u32 line, u32 col.
                   A run holds for its pc and those up to the next run's; pcs ascend; before the
                   first run, and where file is FFFFFFFF (line and col 0), the place is unknown
                 u32 buffers, then each: str name, u64 address, u64 bytes, u32 slots,
                   u32 first pc, u32 last pc, u32 file, u32 line, u32 col (as in a run)
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from tileflow_tvm.errors import BinaryError, Loc, MachineError
from tileflow_tvm.isa.encoding import decode, encode, isa_fingerprint
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
)
from tileflow_tvm.isa.table import DTYPES, TILEFLOW, Isa
from tileflow_tvm.isa.validate import problems

T = TypeVar("T")

MAGIC = b"TFLOW\r\n\x1a"
VERSION = 1
SECTIONS = (
    "info", "args", "scalars", "tensors", "accesses", "constants", "data", "text", "debug",
)  # fmt: skip
ALIGNMENT = 16
HEADER = struct.Struct(f"<8sIIQQQ{len(MACHINE_INTS)}I{2 * len(SECTIONS)}Q")
NOWHERE = 0xFFFFFFFF
"""The file index of an unknown place."""


def to_bytes(program: Program) -> bytes:
    """The program's container; raises BinaryError for a program that is not well-formed."""
    for problem in problems(program):
        raise BinaryError(str(problem), hint=problem.hint)
    return _pack(program)


def _pack(program: Program) -> bytes:
    sections = _sections(program)
    body, table = bytearray(), []
    for name in SECTIONS:
        body += bytes(-len(body) % ALIGNMENT)
        table += [HEADER.size + len(body), len(sections[name])]
        body += sections[name]
    size = HEADER.size + len(body) + 4
    header = HEADER.pack(
        MAGIC, VERSION, len(SECTIONS), size, isa_fingerprint(program.isa),
        program.machine.fingerprint(), *program.machine.codes(), *table,
    )  # fmt: skip
    checksum = zlib.crc32(body, zlib.crc32(header))
    return b"".join((header, body, checksum.to_bytes(4, "little")))


def _sections(program: Program) -> dict[str, bytes]:
    word_bytes = program.isa.word_bits // 8
    text = (encode(insn, program.isa).to_bytes(word_bytes, "little") for insn in program.insns)
    constants, data = _constants(program.constants)
    return {
        "info": _str(program.name) + _str(program.machine.name) + _u64(program.scratch_bytes),
        "args": _table(map(_arg, program.args)),
        "scalars": _table(map(_str, program.scalars)),
        "tensors": _table(map(_tensor, program.tensors)),
        "accesses": _table(map(_access, program.accesses)),
        "constants": constants,
        "data": data,
        "text": b"".join(text),
        "debug": _debug(program),
    }


def _u64(value: int) -> bytes:
    return value.to_bytes(8, "little")


def _str(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "little") + data


def _table(entries: Iterable[bytes]) -> bytes:
    rows = list(entries)
    return len(rows).to_bytes(4, "little") + b"".join(rows)


def _arg(arg: ArgSpec) -> bytes:
    head = struct.pack("<BBB", DTYPES.index(arg.dtype), arg.role, len(arg.shape))
    return _str(arg.name) + head + struct.pack(f"<{len(arg.shape)}Q", *arg.shape)


def _tensor(tensor: TensorSpec) -> bytes:
    kind, index, offset = tensor.storage.kind, tensor.storage.index, tensor.storage.offset
    head = struct.pack("<BBBIQ", DTYPES.index(tensor.dtype), tensor.rank, kind, index, offset)
    sizes = struct.pack(f"<{tensor.rank}Q{tensor.rank}q", *tensor.shape, *tensor.strides)
    return _str(tensor.name) + head + sizes


def _access(access: AccessPattern) -> bytes:
    dims = (
        struct.pack("<IbiB", dim.extent, dim.tensor_dim, dim.step, dim.column)
        for dim in access.dims
    )
    return bytes([len(access.dims)]) + b"".join(dims)


def _constants(constants: Sequence[Constant]) -> tuple[bytes, bytes]:
    rows, data = [], bytearray()
    for constant in constants:
        data += bytes(-len(data) % ALIGNMENT)
        head = struct.pack("<BQQ", DTYPES.index(constant.dtype), len(data), len(constant.data))
        rows.append(_str(constant.name) + head)
        data += constant.data
    return _table(rows), bytes(data)


def _debug(program: Program) -> bytes:
    files: dict[str, int] = {}

    def place(loc: Loc | None) -> tuple[int, int, int]:
        if loc is None:
            return NOWHERE, 0, 0
        return files.setdefault(loc.file, len(files)), loc.line, loc.col

    runs = []
    before: Loc | None = None
    for pc, insn in enumerate(program.insns):
        if insn.loc != before:
            runs.append(struct.pack("<4I", pc, *place(insn.loc)))
        before = insn.loc
    buffers = [
        _str(buffer.name)
        + struct.pack(
            "<QQIII3I", buffer.address, buffer.nbytes, buffer.slots,
            buffer.first_pc, buffer.last_pc, *place(buffer.loc),
        )
        for buffer in program.buffers
    ]  # fmt: skip
    return _table(map(_str, files)) + _table(runs) + _table(buffers)


def from_bytes(data: bytes, machine: Machine | None = None, isa: Isa = TILEFLOW) -> Program:
    """The program of a container; raises BinaryError for anything that `to_bytes` does not write.

    With `machine`, a program made for another machine is refused.
    """
    sections, codes = _open(data, isa)
    info = _Reader("info", sections["info"])
    name, machine_name, scratch = info.text(), info.text(), info.one("Q")
    info.close()
    own = _machine(machine_name, codes)
    if own.fingerprint() != HEADER.unpack_from(data)[5]:
        raise BinaryError("the machine in the header does not match its own fingerprint")
    if machine is not None and own.fingerprint() != machine.fingerprint():
        raise _other_machine(own, machine)
    locs, buffers = _read_debug(sections["debug"], len(sections["text"]) * 8 // isa.word_bits)
    program = Program(
        name, own, tuple(_read_text(sections["text"], locs, isa)),
        args=_read_table("args", sections["args"], _read_arg),
        scalars=_read_table("scalars", sections["scalars"], _Reader.text),
        tensors=_read_table("tensors", sections["tensors"], _read_tensor),
        accesses=_read_table("accesses", sections["accesses"], _read_access),
        constants=_read_constants(sections["constants"], sections["data"]),
        scratch_bytes=scratch, buffers=buffers, isa=isa,
    )  # fmt: skip
    for problem in problems(program):
        raise BinaryError(str(problem), hint=problem.hint)
    if _pack(program) != data:
        raise BinaryError("the file says its program in another way than to_bytes writes it")
    return program


def _open(data: bytes, isa: Isa) -> tuple[dict[str, bytes], tuple[int, ...]]:
    """The sections and the machine's codes of a file whose frame is in order."""
    if data[: len(MAGIC)] != MAGIC[: len(data)] or not data:
        raise BinaryError("not a tileflow program: the file begins with something else",
                          hint="a .asm file is assembled first: tileflow asm")  # fmt: skip
    if len(data) < HEADER.size + 4:
        raise BinaryError(f"truncated: {len(data)} bytes are less than a header")
    _, version, count, size, fingerprint, _, *rest = HEADER.unpack_from(data)
    if version != VERSION:
        age = "newer" if version > VERSION else "older"
        raise BinaryError(f"container version {version} is {age} than this tool's, {VERSION}")
    if size != len(data):
        what = "truncated" if len(data) < size else "too long"
        raise BinaryError(f"{what}: the file has {len(data)} bytes and says {size}")
    checksum = int.from_bytes(data[-4:], "little")
    if zlib.crc32(memoryview(data)[:-4]) != checksum:
        raise BinaryError("the checksum does not match: the file was altered")
    if fingerprint != isa_fingerprint(isa):
        raise BinaryError(
            f"made for another instruction set: fingerprint {fingerprint:016x}, "
            f"{isa.name} {isa.version} has {isa_fingerprint(isa):016x}",
            hint="compile or assemble it again with this version",
        )
    if count != len(SECTIONS):
        raise BinaryError(f"{count} sections, not {len(SECTIONS)}")
    codes, table = rest[: len(MACHINE_INTS)], rest[len(MACHINE_INTS) :]
    return _split(data, table), tuple(codes)


def _split(data: bytes, table: Sequence[int]) -> dict[str, bytes]:
    sections, end = {}, HEADER.size
    for name, offset, length in zip(SECTIONS, table[::2], table[1::2], strict=True):
        start = end + -end % ALIGNMENT
        if offset != start or offset + length > len(data) - 4:
            what = f"section {name} is said to be at {offset} with {length} bytes"
            raise BinaryError(f"{what}; it begins at {start} and the file has {len(data)}")
        end = offset + length
        sections[name] = data[offset:end]
    if end != len(data) - 4:
        raise BinaryError(f"{len(data) - 4 - end} bytes follow the last section")
    return sections


def _machine(name: str, codes: tuple[int, ...]) -> Machine:
    try:
        return Machine.of_codes(name, codes)
    except MachineError as error:
        raise BinaryError(f"its machine makes no sense: {error.what}") from error


def _other_machine(own: Machine, machine: Machine) -> BinaryError:
    differ = [
        f"{key} {mine} there, {theirs} here"
        for key, mine, theirs in zip(MACHINE_INTS, own.codes(), machine.codes(), strict=True)
        if mine != theirs
    ]
    what = f"made for machine {own.name}, not {machine.name}: {'; '.join(differ)}"
    return BinaryError(what, hint="compile it again for this machine")


class _Reader:
    """Takes values off the front of a section; running over its end is a BinaryError."""

    def __init__(self, section: str, data: bytes) -> None:
        self.section, self.data, self.at = section, data, 0

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.at:
            raise BinaryError(f"section {self.section} ends in the middle of an entry")
        self.at += size
        return self.data[self.at - size : self.at]

    def many(self, codes: str) -> tuple[int, ...]:
        layout = struct.Struct("<" + codes)
        return layout.unpack(self.take(layout.size))

    def one(self, code: str) -> int:
        return self.many(code)[0]

    def text(self) -> str:
        try:
            return self.take(self.one("H")).decode()
        except UnicodeDecodeError:
            raise BinaryError(f"section {self.section} has a name that is not UTF-8") from None

    def entries(self, read: Callable[[_Reader], T]) -> tuple[T, ...]:
        """A count and as many entries; a count that lies runs over the end at once."""
        return tuple(read(self) for _ in range(self.one("I")))

    def pick(self, what: str, choices: Sequence[T], index: int) -> T:
        if index >= len(choices):
            raise BinaryError(f"section {self.section} has {what} {index}, which is none")
        return choices[index]

    def close(self) -> None:
        left = len(self.data) - self.at
        if left:
            raise BinaryError(f"section {self.section} has {left} bytes after its last entry")


def _read_table(section: str, data: bytes, read: Callable[[_Reader], T]) -> tuple[T, ...]:
    reader = _Reader(section, data)
    entries = reader.entries(read)
    reader.close()
    return entries


def _read_arg(reader: _Reader) -> ArgSpec:
    name = reader.text()
    dtype, role, rank = reader.many("BBB")
    shape = reader.many(f"{rank}Q")
    return ArgSpec(
        name, shape, reader.pick("role", tuple(Role), role), reader.pick("dtype", DTYPES, dtype)
    )


def _read_tensor(reader: _Reader) -> TensorSpec:
    name = reader.text()
    dtype, rank, kind, index, offset = reader.many("BBBIQ")
    shape, strides = reader.many(f"{rank}Q"), reader.many(f"{rank}q")
    storage = Storage(reader.pick("storage", tuple(StorageKind), kind), index, offset)
    return TensorSpec(name, shape, strides, storage, reader.pick("dtype", DTYPES, dtype))


def _read_access(reader: _Reader) -> AccessPattern:
    dims = (reader.many("IbiB") for _ in range(reader.one("B")))
    return AccessPattern(tuple(
        BoxDim(extent, dim, step, reader.pick("side", (False, True), side))
        for extent, dim, step, side in dims
    ))  # fmt: skip


def _read_constants(table: bytes, data: bytes) -> tuple[Constant, ...]:
    def read(reader: _Reader) -> Constant:
        name = reader.text()
        dtype, offset, size = reader.many("BQQ")
        if offset + size > len(data):
            what = f"bytes {offset}..{offset + size} of {len(data)}"
            raise BinaryError(f"constant {name} points outside its section: {what}")
        return Constant(name, data[offset : offset + size], reader.pick("dtype", DTYPES, dtype))

    return _read_table("constants", table, read)


def _read_text(text: bytes, locs: Sequence[Loc | None], isa: Isa) -> Iterator[Instruction]:
    size = isa.word_bits // 8
    if len(text) % size:
        raise BinaryError(f"section text has {len(text)} bytes, no whole number of instructions")
    for pc, loc in enumerate(locs):
        yield decode(int.from_bytes(text[pc * size : (pc + 1) * size], "little"), pc, loc, isa)


def _read_debug(data: bytes, count: int) -> tuple[list[Loc | None], tuple[BufferInfo, ...]]:
    """The place of each of `count` instructions, and the buffers."""
    reader = _Reader("debug", data)
    files = reader.entries(_Reader.text)

    def place(file: int, line: int, col: int) -> Loc | None:
        return None if file == NOWHERE else Loc(reader.pick("file", files, file), line, col)

    def buffer(reader: _Reader) -> BufferInfo:
        name = reader.text()
        address, size, slots, first, last, *loc = reader.many("QQIII3I")
        return BufferInfo(name, address, size, slots, first, last, place(*loc))

    runs = reader.entries(lambda reader: reader.many("4I"))
    buffers = reader.entries(buffer)
    reader.close()
    locs: list[Loc | None] = [None] * count
    ends = [run[0] for run in runs[1:]] + [count]
    for (pc, *where), end in zip(runs, ends, strict=False):
        if not pc < end <= count:
            raise BinaryError(f"section debug places pc {pc}, out of order or past the end")
        locs[pc:end] = [place(*where)] * (end - pc)
    return locs, buffers
