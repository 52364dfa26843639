"""Reads the sections of a container (its layout is described in `container`): entries as values."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tileflow_tvm.errors import BinaryError, FileLoc, Loc
from tileflow_tvm.isa.encoding import decode
from tileflow_tvm.isa.program import (
    AccessPattern,
    ArgSpec,
    BoxDim,
    BufferInfo,
    Constant,
    Instruction,
    Role,
    Storage,
    StorageKind,
    TensorSpec,
)
from tileflow_tvm.isa.table import DTYPES, Isa

T = TypeVar("T")

NOWHERE = 0xFFFFFFFF
"""The file index of an unknown place."""
UNNAMED = "<bytes>"
"""The file of bytes that come from none."""

DAMAGED = "the file is damaged: copy it anew, or compile or assemble it again"


@dataclass(frozen=True)
class Section:
    name: str
    offset: int
    data: bytes


class Reader:
    """Takes values off the front of a section; running over its end is a BinaryError."""

    def __init__(self, section: Section) -> None:
        self.section, self.data, self.at = section, section.data, 0

    def error(self, what: str) -> BinaryError:
        """An error at the next byte."""
        loc = FileLoc(UNNAMED, self.section.offset + self.at, self.section.name)
        return BinaryError(f"section {self.section.name} {what}", loc=loc, hint=DAMAGED)

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.at:
            raise self.error("ends in the middle of an entry")
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
            raise self.error("has a name that is not UTF-8") from None

    def entries(self, read: Callable[[Reader], T]) -> tuple[T, ...]:
        """A count and as many entries; a count that lies runs over the end at once."""
        return tuple(read(self) for _ in range(self.one("I")))

    def pick(self, what: str, choices: Sequence[T], index: int) -> T:
        if index >= len(choices):
            raise self.error(f"has {what} {index}, which is none")
        return choices[index]

    def close(self) -> None:
        left = len(self.data) - self.at
        if left:
            raise self.error(f"has {left} bytes after its last entry")


def read_table(section: Section, read: Callable[[Reader], T]) -> tuple[T, ...]:
    reader = Reader(section)
    entries = reader.entries(read)
    reader.close()
    return entries


def read_arg(reader: Reader) -> ArgSpec:
    name = reader.text()
    dtype, role, rank = reader.many("BBB")
    shape = reader.many(f"{rank}Q")
    return ArgSpec(
        name, shape, reader.pick("role", tuple(Role), role), reader.pick("dtype", DTYPES, dtype)
    )


def read_tensor(reader: Reader) -> TensorSpec:
    name = reader.text()
    dtype, rank, kind, index, offset = reader.many("BBBIQ")
    shape, strides = reader.many(f"{rank}Q"), reader.many(f"{rank}q")
    storage = Storage(reader.pick("storage", tuple(StorageKind), kind), index, offset)
    return TensorSpec(name, shape, strides, storage, reader.pick("dtype", DTYPES, dtype))


def read_access(reader: Reader) -> AccessPattern:
    dims = (reader.many("IbiB") for _ in range(reader.one("B")))
    return AccessPattern(tuple(
        BoxDim(extent, dim, step, reader.pick("side", (False, True), side))
        for extent, dim, step, side in dims
    ))  # fmt: skip


def read_constants(table: Section, data: bytes) -> tuple[Constant, ...]:
    def read(reader: Reader) -> Constant:
        name = reader.text()
        dtype, offset, size = reader.many("BQQ")
        if offset + size > len(data):
            what = f"bytes {offset}..{offset + size} of {len(data)}"
            raise reader.error(f"has a constant {name} that points outside its section: {what}")
        return Constant(name, data[offset : offset + size], reader.pick("dtype", DTYPES, dtype))

    return read_table(table, read)


def read_text(section: Section, locs: Sequence[Loc | None], isa: Isa) -> Iterator[Instruction]:
    reader, size = Reader(section), isa.word_bits // 8
    if len(section.data) % size:
        what = f"has {len(section.data)} bytes, no whole number of instructions"
        raise reader.error(what)
    for pc, loc in enumerate(locs):
        at = FileLoc(UNNAMED, section.offset + reader.at, section.name)
        try:
            yield decode(int.from_bytes(reader.take(size), "little"), pc, loc, isa)
        except BinaryError as error:
            raise error.but(loc=at, hint=error.hint or DAMAGED) from error.__cause__


def read_debug(section: Section, count: int) -> tuple[list[Loc | None], tuple[BufferInfo, ...]]:
    """The place of each of `count` instructions, and the buffers."""
    reader = Reader(section)
    files = reader.entries(Reader.text)

    def place(file: int, line: int, col: int) -> Loc | None:
        return None if file == NOWHERE else Loc(reader.pick("file", files, file), line, col)

    def buffer(reader: Reader) -> BufferInfo:
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
            raise reader.error(f"places pc {pc}, out of order or past the end")
        locs[pc:end] = [place(*where)] * (end - pc)
    return locs, buffers
