"""The `.bin` container: a `Program` as bytes.

Everything is little-endian, and there is one file for each program: `to_bytes(from_bytes(b)) == b`.
`str` is u16 length and that many bytes of UTF-8. `align(x)` is the next multiple of 16.

Header::

    offset  type        what
    0       8 bytes     magic 54 46 4C 4F 57 0D 0A 1A ("TFLOW\\r\\n\\x1a")
    8       u32         version of this layout, 2
    12      u32         number of sections, 9
    16      u64         size of the whole file, the checksum included
    24      u64         fingerprint of the ISA (`isa_fingerprint`; kIsaFingerprint in the header)
    32      u64         fingerprint of the machine (`Machine.fingerprint`)
    40      u32 x 27    the machine: the fields in the order of MACHINE_INTS, the last of which
                        is the bit set of its dtypes (bit i is DTYPES[i])
    148     9 x entry   the sections: u64 offset from the start of the file, u64 length
    304                 the sections' bytes

The order of MACHINE_INTS: tile, sram_bytes, load_engines, exec_engines, store_engines,
queue_depth, address_generators, extents, semaphores, scalars, loop_levels, tensors, accesses,
issue_cycles, semaphore_cycles, macs_per_cycle, mac_fill_cycles, mac_drain_cycles, vector_lanes,
vector_startup_cycles, function_cycles, dma_setup_cycles, dma_outstanding, dram_bytes_per_cycle,
dram_latency_cycles, dram_burst_bytes, dtypes.

Sections lie in the order below without gaps other than zero bytes up to the next multiple
of 16: offset[0] = 304, offset[i] = align(offset[i-1] + length[i-1]). The file ends with a u32
directly after the last section's bytes (no padding): the CRC-32 (zlib's) of all bytes before it.

Sections (no padding inside; a section's content ends exactly at its length)::

    0 info       str program name, str machine name, u64 bytes of DRAM scratch
    1 args       u32 count, then each: str name, u8 dtype (index into DTYPES),
                 u8 role (0 in, 1 out, 2 inout), u8 rank (0..6), u64 x rank shape
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
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from tileflow_tvm.errors import BinaryError, FileLoc, Loc, MachineError
from tileflow_tvm.isa.container_sections import (
    DAMAGED,
    NOWHERE,
    UNNAMED,
    Reader,
    Section,
    read_access,
    read_arg,
    read_constants,
    read_debug,
    read_table,
    read_tensor,
    read_text,
)
from tileflow_tvm.isa.encoding import encode, isa_fingerprint
from tileflow_tvm.isa.machine import MACHINE_INTS, Machine
from tileflow_tvm.isa.program import (
    AccessPattern,
    ArgSpec,
    Constant,
    Program,
    TensorSpec,
)
from tileflow_tvm.isa.table import DTYPES, TILEFLOW, Isa
from tileflow_tvm.isa.validate import problems

T = TypeVar("T")

MAGIC = b"TFLOW\r\n\x1a"
VERSION = 2
SECTIONS = (
    "info", "args", "scalars", "tensors", "accesses", "constants", "data", "text", "debug",
)  # fmt: skip
ALIGNMENT = 16
_FIELDS = f"<8sIIQQQ{len(MACHINE_INTS)}I{2 * len(SECTIONS)}Q"
HEADER = struct.Struct(f"{_FIELDS}{-struct.calcsize(_FIELDS) % ALIGNMENT}x")
VERSION_AT, COUNT_AT, ISA_PRINT_AT, MACHINE_PRINT_AT, MACHINE_AT = 8, 12, 24, 32, 40
TABLE_AT = MACHINE_AT + 4 * len(MACHINE_INTS)
REBUILD = "compile or assemble it again with this version"


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


def from_bytes(
    data: bytes, machine: Machine | None = None, isa: Isa = TILEFLOW, *, file: str = UNNAMED
) -> Program:
    """The program of a container; raises BinaryError for anything that `to_bytes` does not write.

    With `machine`, a program made for another machine is refused. `file` is where the bytes come
    from, for errors.
    """
    try:
        return _from_bytes(data, machine, isa)
    except BinaryError as error:
        raise error.in_file(file) from error.__cause__


def _from_bytes(data: bytes, machine: Machine | None, isa: Isa) -> Program:
    sections, codes = _open(data, isa)
    info = Reader(sections["info"])
    name, machine_name, scratch = info.text(), info.text(), info.one("Q")
    info.close()
    own = _machine(machine_name, codes)
    if own.fingerprint() != HEADER.unpack_from(data)[5]:
        raise _in_header(
            "the machine in the header does not match its own fingerprint", MACHINE_PRINT_AT
        )
    if machine is not None and own.fingerprint() != machine.fingerprint():
        raise _other_machine(own, machine)
    count = len(sections["text"].data) * 8 // isa.word_bits
    locs, buffers = read_debug(sections["debug"], count)
    program = Program(
        name, own, tuple(read_text(sections["text"], locs, isa)),
        args=read_table(sections["args"], read_arg),
        scalars=read_table(sections["scalars"], Reader.text),
        tensors=read_table(sections["tensors"], read_tensor),
        accesses=read_table(sections["accesses"], read_access),
        constants=read_constants(sections["constants"], sections["data"].data),
        scratch_bytes=scratch, buffers=buffers, isa=isa,
    )  # fmt: skip
    for problem in problems(program):
        section = sections.get(SECTION_OF.get(problem.table, problem.table))
        loc = FileLoc(UNNAMED, section.offset, section.name) if section else None
        raise BinaryError(str(problem), loc=loc, hint=problem.hint or DAMAGED)
    again = _pack(program)
    if again != data:
        at = next(i for i, (a, b) in enumerate(zip(again, data, strict=False)) if a != b)
        raise BinaryError(
            "the file says its program in another way than to_bytes writes it",
            loc=FileLoc(UNNAMED, at, _section_at(at, sections)), hint=DAMAGED,
        )  # fmt: skip
    return program


SECTION_OF = {"name": "info", "scratch_bytes": "info", "insns": "text", "buffers": "debug"}
"""Where the container keeps a field of `Program` that no section is named after."""


def _section_at(offset: int, sections: Mapping[str, Section]) -> str:
    """The section that the byte lies in, or in the padding behind."""
    names = [section.name for section in sections.values() if section.offset <= offset]
    return names[-1] if names else "header"


def _in_header(what: str, offset: int, hint: str = DAMAGED) -> BinaryError:
    return BinaryError(what, loc=FileLoc(UNNAMED, offset, "header"), hint=hint)


def _foreign(data: bytes) -> str:
    """What to do with bytes that are no program, from what they look like."""
    if data.startswith(b"\x93NUMPY"):
        return "it is a .npy array; an array is given with --in, or to the call"
    if not data:
        return "it is empty: compile or assemble it again"
    try:
        text = data[:4096].decode()
    except UnicodeDecodeError:
        return "a .bin is written by tileflow compile, tileflow asm, and exe.save"
    if "\0" not in text and any(line.lstrip().startswith(".machine") for line in text.splitlines()):
        return "it is assembly text, which is assembled first: tileflow asm"
    return ("it is text; a .asm is assembled by tileflow asm, a kernel in a .py compiled by "
            "tileflow compile")  # fmt: skip


def _open(data: bytes, isa: Isa) -> tuple[dict[str, Section], tuple[int, ...]]:
    """The sections and the machine's codes of a file whose frame is in order."""
    if data[: len(MAGIC)] != MAGIC[: len(data)] or not data:
        what = "not a tileflow program: the file begins with something else"
        raise _in_header(what, 0, _foreign(data))
    if len(data) < HEADER.size + 4:
        what = f"truncated: {len(data)} bytes are less than a header"
        raise _in_header(what, len(data))
    _, version, count, size, fingerprint, _, *rest = HEADER.unpack_from(data)
    if version != VERSION:
        age = "newer" if version > VERSION else "older"
        what = f"container version {version} is {age} than this tool's, {VERSION}"
        raise _in_header(what, VERSION_AT, REBUILD)
    codes, table = rest[: len(MACHINE_INTS)], rest[len(MACHINE_INTS) :]
    if size != len(data):
        kind = "truncated" if len(data) < size else "too long"
        what = f"{kind}: the file has {len(data)} bytes and says {size}"
        end = min(size, len(data))
        raise BinaryError(
            what, loc=FileLoc(UNNAMED, end, _named_at(end, table)), hint=DAMAGED
        )  # fmt: skip
    checksum = int.from_bytes(data[-4:], "little")
    if zlib.crc32(memoryview(data)[:-4]) != checksum:
        what = "the checksum does not match: the file was altered"
        raise BinaryError(
            what, loc=FileLoc(UNNAMED, len(data) - 4, "checksum"), hint=DAMAGED
        )  # fmt: skip
    if fingerprint != isa_fingerprint(isa):
        what = (
            f"made for another instruction set: fingerprint {fingerprint:016x}, "
            f"{isa.name} {isa.version} has {isa_fingerprint(isa):016x}"
        )
        raise _in_header(what, ISA_PRINT_AT, REBUILD)
    if count != len(SECTIONS):
        raise _in_header(f"{count} sections, not {len(SECTIONS)}", COUNT_AT)
    return _split(data, table), tuple(codes)


def _named_at(offset: int, table: Sequence[int]) -> str:
    """The section that a byte lies in, by the table of a header whose file may be cut."""
    starts = zip(SECTIONS, table[::2], strict=True)
    return next((name for name, start in reversed([*starts]) if start <= offset), "header")


def _split(data: bytes, table: Sequence[int]) -> dict[str, Section]:
    sections, end = {}, HEADER.size
    entries = zip(SECTIONS, table[::2], table[1::2], strict=True)
    for index, (name, offset, length) in enumerate(entries):
        start = end + -end % ALIGNMENT
        if offset != start or offset + length > len(data) - 4:
            what = f"section {name} is said to be at {offset} with {length} bytes"
            raise _in_header(
                f"{what}; it begins at {start} and the file has {len(data)}", TABLE_AT + 16 * index
            )
        end = offset + length
        sections[name] = Section(name, offset, data[offset:end])
    if end != len(data) - 4:
        what = f"{len(data) - 4 - end} bytes follow the last section"
        raise BinaryError(what, loc=FileLoc(UNNAMED, end), hint=DAMAGED)
    return sections


def _machine(name: str, codes: tuple[int, ...]) -> Machine:
    try:
        return Machine.of_codes(name, codes)
    except MachineError as error:
        what = f"its machine makes no sense: {error.what}"
        raise _in_header(what, MACHINE_AT, error.hint) from error


def _other_machine(own: Machine, machine: Machine) -> BinaryError:
    differ = [
        f"{key} {mine} there, {theirs} here"
        for key, mine, theirs in zip(MACHINE_INTS, own.codes(), machine.codes(), strict=True)
        if mine != theirs
    ]
    what = f"made for machine {own.name}, not {machine.name}: {'; '.join(differ)}"
    return _in_header(what, MACHINE_AT, "compile it again for this machine")
