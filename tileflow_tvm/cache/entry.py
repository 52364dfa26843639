"""A program in the cache: its .bin, and what the compiler knows beside it, under a checksum."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, replace

from tileflow_tvm.errors import TileflowError
from tileflow_tvm.isa.container import from_bytes
from tileflow_tvm.isa.program import Fusion, Program

MAGIC = b"TFCACHE\x01"
_HEAD = struct.Struct("<8s32s32s")
"""Magic, key, SHA-256 of what follows."""
_FUSION = struct.Struct("<BIQ")
"""Whether it is known, its tensors, its bytes; then the .bin."""


@dataclass(frozen=True)
class Entry:
    """`data` is the .bin of `program`."""

    program: Program
    data: bytes


def pack(key: bytes, entry: Entry) -> bytes:
    fusion = entry.program.fusion
    saved = (fusion.tensors, fusion.bytes) if fusion else (0, 0)
    body = _FUSION.pack(fusion is not None, *saved) + entry.data
    return _HEAD.pack(MAGIC, key, hashlib.sha256(body).digest()) + body


def unpack(key: bytes, packed: bytes) -> Entry | None:
    """None for what is damaged, or was not stored under `key`."""
    body = packed[_HEAD.size :]
    if len(body) < _FUSION.size:
        return None
    if packed[: _HEAD.size] != _HEAD.pack(MAGIC, key, hashlib.sha256(body).digest()):
        return None
    known, tensors, saved = _FUSION.unpack_from(body)
    data = body[_FUSION.size :]
    try:
        program = from_bytes(data)
    except TileflowError:
        return None
    return Entry(replace(program, fusion=Fusion(tensors, saved) if known else None), data)
