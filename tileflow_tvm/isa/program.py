"""A program as plain values: what `emit` makes, the text says, and the container stores."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from math import prod

from tileflow_tvm.errors import Loc
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.isa.table import ITEM_BYTES, TILEFLOW, Field, Isa, Kind
from tileflow_tvm.isa.table import SCALAR_SOURCE as SCALAR_SOURCE

MAX_RANK = 5
"""Dimensions of a tensor descriptor, and of the box of an access pattern."""
MAX_ARG_RANK = 6
"""Dimensions of an argument, which descriptors see in parts or with dimensions merged."""


def f32_bits(value: float) -> int:
    """The bits of `value` as float32; raises OverflowError where it is finite but too large."""
    return int.from_bytes(struct.pack("<f", value), "little")


def f32_value(bits: int) -> float:
    """The float32 whose bits these are."""
    value: float = struct.unpack("<f", bits.to_bytes(4, "little"))[0]
    return value


@dataclass(frozen=True)
class Instruction:
    """One instruction. `operands` has a raw value for every field of its row: float32 as bits,
    a choice as its index, a register as its number."""

    mnemonic: str
    operands: Mapping[str, int]
    loc: Loc | None = None


class Bits(int):
    """The bits of a field that holds a float32, where they mean something else: an i32."""

    @staticmethod
    def of_i32(value: int) -> Bits:
        return Bits(value & 0xFFFFFFFF)


def insn(
    mnemonic: str, /, *, loc: Loc | None = None, isa: Isa = TILEFLOW, **operands: int | float | str
) -> Instruction:
    """An instruction from natural values; fields that are left out take their defaults.

    A choice is given by name, a float32 as a float, a flag as a bool. Raises ValueError for a
    missing or unknown operand and for a value that does not fit its field.
    """
    row = isa.by_mnemonic[mnemonic]
    unknown = operands.keys() - row.by_name.keys()
    if unknown:
        raise ValueError(f"{mnemonic} has no operand {', '.join(sorted(unknown))}")
    raw: dict[str, int] = {}
    for spec in row.fields:
        value = operands.get(spec.name, spec.default)
        if value is None:
            raise ValueError(f"{mnemonic} needs {spec.name}")
        # A default is raw already; a value that was handed in is not.
        raw[spec.name] = _raw(spec, value) if spec.name in operands else int(value)
        spec.pack(raw[spec.name])
    return Instruction(mnemonic, raw, loc)


def _raw(spec: Field, value: int | float | str) -> int:
    if spec.kind is Kind.ENUM:
        if value not in spec.choices:
            raise ValueError(f"{spec.name} is one of {', '.join(spec.choices)}, not {value!r}")
        return spec.choices.index(str(value))
    if spec.kind is Kind.F32:
        if isinstance(value, Bits):
            return int(value)
        if not isinstance(value, float):
            raise ValueError(f"{spec.name} takes a float, not {value!r}")
        return f32_bits(value)
    if not isinstance(value, int):
        raise ValueError(f"{spec.name} takes an integer, not {value!r}")
    return int(value)


class Role(IntEnum):
    """What a program does with an argument; the value is its code in the container."""

    IN = 0
    OUT = 1
    INOUT = 2


@dataclass(frozen=True)
class ArgSpec:
    """An array handed over at a call: C-contiguous, of this dtype and shape."""

    name: str
    shape: tuple[int, ...]
    role: Role
    dtype: str = "f32"

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * ITEM_BYTES[self.dtype]


class StorageKind(IntEnum):
    """Whose memory a tensor lies in; the value is its code in the container."""

    ARG = 0
    CONST = 1
    SCRATCH = 2


@dataclass(frozen=True)
class Storage:
    """Byte `offset` of argument `index`, of constant `index`, or of the scratch memory (0)."""

    kind: StorageKind
    index: int = 0
    offset: int = 0


@dataclass(frozen=True)
class TensorSpec:
    """A tensor descriptor: the only way to DRAM. Strides count elements; names are unique."""

    name: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    storage: Storage
    dtype: str = "f32"

    @property
    def rank(self) -> int:
        return len(self.shape)

    def byte_range(self) -> tuple[int, int]:
        """First byte and the byte after the last, of all elements; equal where it is empty."""
        item = ITEM_BYTES[self.dtype]
        if 0 in self.shape:
            return self.storage.offset, self.storage.offset
        spans = [(size - 1) * step for size, step in zip(self.shape, self.strides, strict=True)]
        low = sum(span for span in spans if span < 0)
        high = sum(span for span in spans if span > 0) + 1
        return self.storage.offset + low * item, self.storage.offset + high * item


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of a C-contiguous tensor, in elements."""
    return tuple(prod(shape[dim + 1 :]) for dim in range(len(shape)))


BROADCAST = -1
"""The `tensor_dim` of a box dimension along which the tensor's coordinates stay."""


@dataclass(frozen=True)
class BoxDim:
    """One dimension of a box: `extent` steps of `step` along `tensor_dim` of the tensor, that
    count along the columns (`column`) or the rows of the SRAM operand."""

    extent: int
    tensor_dim: int = BROADCAST
    step: int = 1
    column: bool = False


@dataclass(frozen=True)
class AccessPattern:
    """A box of up to five dimensions, the most significant first within each side."""

    dims: tuple[BoxDim, ...]

    @property
    def rows(self) -> int:
        return prod(dim.extent for dim in self.dims if not dim.column)

    @property
    def cols(self) -> int:
        return prod(dim.extent for dim in self.dims if dim.column)


@dataclass(frozen=True)
class Constant:
    """Bytes that come with the program."""

    name: str
    data: bytes
    dtype: str = "f32"


@dataclass(frozen=True)
class BufferInfo:
    """Debug: `slots` times `nbytes` of SRAM from `address`, alive from `first_pc` to `last_pc`
    (both inside)."""

    name: str
    address: int
    nbytes: int
    slots: int
    first_pc: int
    last_pc: int
    loc: Loc | None = None


@dataclass(frozen=True)
class Fusion:
    """Intermediate `tensors` of a compute-level function that never reach DRAM, and their
    `bytes`."""

    tensors: int
    bytes: int


@dataclass(frozen=True)
class Program:
    """A program of `isa` for `machine`. The index of an instruction in `insns` is its pc.

    Launch scalar i is preloaded into register s<i>. `scratch_bytes` of DRAM are the program's
    own while it runs; they hold nothing at its start. `fusion` is what the compiler saved; it is
    no part of the program, and neither text nor container have it.
    """

    name: str
    machine: Machine
    insns: tuple[Instruction, ...]
    args: tuple[ArgSpec, ...] = ()
    scalars: tuple[str, ...] = ()
    tensors: tuple[TensorSpec, ...] = ()
    accesses: tuple[AccessPattern, ...] = ()
    constants: tuple[Constant, ...] = ()
    scratch_bytes: int = 0
    buffers: tuple[BufferInfo, ...] = ()
    isa: Isa = field(default=TILEFLOW, repr=False)
    fusion: Fusion | None = field(default=None, repr=False, compare=False)
