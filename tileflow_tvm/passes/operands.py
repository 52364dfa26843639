"""How regions, coordinates and extents become operands: registers, tensors, access patterns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from math import prod

from tileflow_tvm.errors import KernelError
from tileflow_tvm.frontend.tile_ir import (
    ITEMSIZE,
    Affine,
    Buffer,
    Extent,
    Loop,
    NameSupply,
    Op,
    Program,
    Region,
    Scope,
    Var,
)
from tileflow_tvm.frontend.tree import enclosing_loops
from tileflow_tvm.isa import program as isa
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.isa.table import DTYPES, Engine
from tileflow_tvm.passes.element_types import ISA_NAME
from tileflow_tvm.passes.guards import counted
from tileflow_tvm.passes.plan_sram import slot_bytes

Levels = dict[Var, int]
"""The nesting depth of each loop variable in sight."""


@dataclass(frozen=True)
class Key:
    """What a register is set to. Equal keys can share a register.

    An address generator has `terms` of (source field, step) and the code of an element type; an
    extent register has a `size` and a `limit`, base being unused, and `coord` is the generator it
    subtracts.
    """

    base: int = 0
    wrap: int = 0
    pitch: int = 0
    dtype: int = 0
    terms: tuple[tuple[int, int], ...] = ()
    size: int | None = None
    limit: int = 0
    coord: Key | None = None

    @property
    def is_extent(self) -> bool:
        return self.size is not None


@dataclass
class OperandForms:
    """Turns the operands of operations into fields of instructions."""

    program: Program
    machine: Machine
    tensors: TensorTable = field(init=False)
    accesses: AccessTable = field(init=False)
    rings: dict[Buffer, tuple[Loop, ...]] = field(init=False)

    def __post_init__(self) -> None:
        self.tensors = TensorTable(self.program, self.machine)
        self.accesses = AccessTable(self.machine)
        self.rings = enclosing_loops(self.program)
        self.scalars = {var: index for index, var in enumerate(self.program.scalars)}

    def fields(self, op: Op, levels: Levels) -> dict[str, int | float | str | Key]:
        """The fields of the instruction for `op`; register operands as keys."""
        fields: dict[str, int | float | str | Key] = {}
        for side, numbers in (("wait", op.waits), ("post", op.posts)):
            fields |= {f"{side}{at}": number for at, number in enumerate(numbers)}
        fields["unit"] = op.unit
        if op.name == "nop":
            assert op.engine is not None
            return {"mnemonic": f"{op.engine.value}.nop", **fields}
        if op.name in ("load", "store"):
            return fields | self._dma(op, levels)
        fields["mnemonic"] = f"exec.{op.name}"
        assert op.dst is not None
        fields["dst"] = self._sram(op.dst, levels)
        for name, extent in zip("mnk", op.extents, strict=False):
            fields[name] = self._extent(extent, levels)
        return fields | getattr(self, f"_{op.name}")(op, levels)

    def trip_count(self, loop: Loop, levels: Levels) -> int | Key:
        """The loop's count: a number, or the generator that has it."""
        if loop.extent.is_const:
            return max(0, loop.extent.const)
        return self._affine(loop.extent, levels)

    def _gemm(self, op: Op, levels: Levels) -> dict[str, int | str | Key]:
        lhs, rhs = (self._source(src, levels) for src in op.srcs)
        return {
            "lhs": lhs,
            "rhs": rhs,
            "ta": int(op.transpose_a),
            "tb": int(op.transpose_b),
            "semiring": op.semiring,
            **_clear(op, levels),
        }

    def _unary(self, op: Op, levels: Levels) -> dict[str, float | str | Key]:
        source = self._source(op.srcs[0], levels)
        return {"src": source, "func": op.func, "scale": op.scale, "bias": op.bias}

    def _binary(self, op: Op, levels: Levels) -> dict[str, float | str | Key]:
        return {"func": op.func, **self._sides(op, ("lhs", "rhs"), levels)}

    def _select(self, op: Op, levels: Levels) -> dict[str, float | str | Key]:
        return self._sides(op, ("cond", "a", "b"), levels)

    def _sides(
        self, op: Op, sides: tuple[str, ...], levels: Levels
    ) -> dict[str, float | str | Key]:
        """The operands, each a generator or the immediate, and their modes."""
        assert op.dst is not None
        fields: dict[str, float | str | Key] = {}
        for side, src, mode in zip(sides, op.srcs, op.modes, strict=True):
            fields[f"{side[0]}mode"] = mode
            if isinstance(src, Region):
                fields[side] = self._sram(src, levels)
            elif op.dst.buffer.dtype == "int32":
                fields["imm"] = isa.Bits.of_i32(int(src))
            else:
                fields["imm"] = float(src)
        return fields

    def _reduce(self, op: Op, levels: Levels) -> dict[str, int | str | Key]:
        source = self._source(op.srcs[0], levels)
        return {"src": source, "func": op.func, "axis": op.axis, **_clear(op, levels)}

    def _fill(self, op: Op, levels: Levels) -> dict[str, float]:  # noqa: ARG002
        return {"value": op.value}

    def _transpose(self, op: Op, levels: Levels) -> dict[str, Key]:
        return {"src": self._source(op.srcs[0], levels)}

    def _cast(self, op: Op, levels: Levels) -> dict[str, float | Key]:
        return {"src": self._source(op.srcs[0], levels), "scale": op.scale}

    def _affine_select(self, op: Op, levels: Levels) -> dict[str, int | float | Key]:
        source = self._source(op.srcs[0], levels)
        return {"src": source, "value": op.value, **self._form(op, levels)}

    def _iota(self, op: Op, levels: Levels) -> dict[str, int | Key]:
        return self._form(op, levels)

    def _form(self, op: Op, levels: Levels) -> dict[str, int | Key]:
        rstep, cstep = op.steps
        return {"base": self._affine(op.base, levels), "rstep": rstep, "cstep": cstep}

    def _dma(self, op: Op, levels: Levels) -> dict[str, int | float | str | Key]:
        load = op.engine is Engine.LOAD
        chip, dram = op.ends
        fields: dict[str, int | float | str | Key] = {
            "mnemonic": op.name,
            ("dst" if load else "src"): self._sram(chip, levels),
            "tensor": self.tensors.index(dram.buffer),
            "access": self.accesses.index(_pattern(op)),
        }
        for dim, start in enumerate(dram.start):
            if start != Affine():
                fields[f"c{dim}"] = self._affine(start, levels)
        if load:
            fields["fill"] = op.value
        return fields

    def _source(self, src: Region | float, levels: Levels) -> Key:
        assert isinstance(src, Region)
        return self._sram(src, levels)

    def _extent(self, extent: Extent, levels: Levels) -> Key:
        if extent.limit is None:
            return Key(size=extent.size, limit=extent.size)
        moving = Affine(0, extent.limit.terms) * -1
        coord = None if moving.is_const else self._affine(moving, levels)
        return Key(size=extent.size, limit=extent.limit.const, coord=coord)

    def _affine(self, value: Affine, levels: Levels, **layout: int) -> Key:
        return Key(base=value.const, terms=self._terms(value, levels), **layout)

    def _terms(self, value: Affine, levels: Levels) -> tuple[tuple[int, int], ...]:
        terms = []
        for var, step in value.terms:
            source = isa.SCALAR_SOURCE + self.scalars[var] if var.scalar else levels[var]
            terms.append((source, step))
        return tuple(sorted(terms))

    def _sram(self, region: Region, levels: Levels) -> Key:
        """The address generator of an on-chip region: its slot of the ring, then its offset."""
        buffer = region.buffer
        assert buffer.address is not None
        offset = self._offset(region)
        wrap = 0
        if buffer.slots > 1:
            slot = slot_bytes(buffer, self.machine)
            offset += _iteration(self.rings[buffer]) * slot
            wrap = buffer.slots * slot
        pitch = -(-buffer.shape[1] // self.machine.tile) if buffer.scope is Scope.GRID else 0
        dtype = DTYPES.index(ISA_NAME[buffer.dtype])
        return self._affine(offset + buffer.address, levels, wrap=wrap, pitch=pitch, dtype=dtype)

    def _offset(self, region: Region) -> Affine:
        """Bytes from the start of the buffer to the region."""
        buffer, tile = region.buffer, self.machine.tile
        item = ITEMSIZE[buffer.dtype]
        if buffer.scope is Scope.GRID:
            row, col = (_divide(start, tile) for start in region.start)
            pitch = -(-buffer.shape[1] // tile)
            return (row * pitch + col) * (tile * tile * item)
        offset = Affine()
        for axis, start in enumerate(region.start):
            offset += start * prod(buffer.shape[axis + 1 :])
        return offset * item


def _clear(op: Op, levels: Levels) -> dict[str, int | str]:
    if op.clear.var is not None:
        return {"clear": "at0", "level": levels[op.clear.var]}
    return {"clear": "always" if op.clear.always else "never"}


def _divide(value: Affine, by: int) -> Affine:
    assert value.const % by == 0
    assert all(step % by == 0 for _, step in value.terms), "infer_scope checks this"
    return Affine(value.const // by, tuple((var, step // by) for var, step in value.terms))


def _iteration(loops: tuple[Loop, ...]) -> Affine:
    """How many iterations of the innermost loop came before, over all of the outer ones."""
    count = Affine()
    trips = 1
    for loop in reversed(counted(loops)):
        count += Affine(0, ((loop.var, trips),)) if trips else Affine()
        trips *= loop.extent.const if loop.extent.is_const else 0
    return count


def _pattern(op: Op) -> isa.AccessPattern:
    """The access pattern of a transfer; without rows and cols, dimensions meet in order. What
    has an extent of 1 takes no step and is left out."""
    box = _box(op) if op.box else _slice(op)
    return isa.AccessPattern(tuple(box) or (isa.BoxDim(1, 0, 1, column=True),))


def _box(op: Op) -> list[isa.BoxDim]:
    return [
        isa.BoxDim(dim.extent, dim.dim, 1 if dim.dim == isa.BROADCAST else dim.step, column=column)
        for column, side in ((False, op.rows), (True, op.cols))
        for dim in side if dim.extent != 1
    ]  # fmt: skip


def _slice(op: Op) -> list[isa.BoxDim]:
    chip, dram = op.ends
    dims = [(dim, extent) for dim, extent in enumerate(dram.shape) if extent != 1]
    grid = chip.buffer.scope is Scope.GRID
    sides = [(grid and axis == 0, extent) for axis, extent in enumerate(chip.shape) if extent != 1]
    if op.transposed:
        sides.reverse()
    assert [extent for _, extent in dims] == [extent for _, extent in sides], "infer_scope checks"
    return [
        isa.BoxDim(extent, dim, 1, column=not row)
        for (dim, extent), (row, _) in zip(dims, sides, strict=True)
    ]


class AccessTable:
    """The access patterns of a program, each once."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._numbers: dict[isa.AccessPattern, int] = {}

    def index(self, pattern: isa.AccessPattern) -> int:
        number = self._numbers.setdefault(pattern, len(self._numbers))
        _within(number, self._machine.accesses, "access patterns")
        return number

    def table(self) -> tuple[isa.AccessPattern, ...]:
        return tuple(self._numbers)


class TensorTable:
    """The tensor descriptors of a program: one for each buffer in DRAM that it uses."""

    def __init__(self, program: Program, machine: Machine) -> None:
        self._machine = machine
        self._buffers: dict[Buffer, int] = {}
        self._names = NameSupply()
        self._specs: list[isa.TensorSpec] = []
        self._params = set(program.params)

    def index(self, buffer: Buffer) -> int:
        if buffer not in self._buffers:
            self._buffers[buffer] = len(self._specs)
            _within(len(self._specs), self._machine.tensors, "tensor descriptors")
            self._specs.append(self._describe(buffer))
        return self._buffers[buffer]

    def specs(self) -> tuple[isa.TensorSpec, ...]:
        return tuple(self._specs)

    def _describe(self, buffer: Buffer) -> isa.TensorSpec:
        base, view = buffer.storage, buffer.view
        if base.param is not None:
            storage = isa.Storage(isa.StorageKind.ARG, base.param)
        else:
            assert base.address is not None
            storage = isa.Storage(isa.StorageKind.SCRATCH, 0, base.address)
        strides = isa.contiguous(buffer.shape)
        if view:
            offset = storage.offset + view.offset * ITEMSIZE[base.dtype]
            storage, strides = replace(storage, offset=offset), view.strides
        name = self._names.fresh(buffer.name)
        return isa.TensorSpec(name, buffer.shape, strides, storage, ISA_NAME[buffer.dtype])


def _within(number: int, limit: int, what: str) -> None:
    if number >= limit:
        raise KernelError(
            f"the kernel needs more than the machine's {limit} {what}",
            hint="split the kernel, or raise the limit in the machine file",
        )


class RegisterFile:
    """Which register holds what; address generators and extents."""

    def __init__(self, machine: Machine) -> None:
        self._limits = {False: machine.address_generators, True: machine.extents}
        self._held: dict[Key, int] = {}

    def number(self, key: Key) -> int:
        return self._held[key]

    def forget(self) -> None:
        self._held.clear()

    def fits(self, keys: Iterable[Key]) -> bool:
        kinds = [key.is_extent for key in keys]
        return all(kinds.count(kind) <= limit for kind, limit in self._limits.items())

    def load(self, keys: frozenset[Key]) -> Iterator[isa.Instruction]:
        """The instructions that bring `keys` into registers, over what is not needed."""
        for kind in (False, True):
            wanted = [key for key in sorted(keys, key=_order) if key.is_extent is kind]
            missing = [key for key in wanted if key not in self._held]
            kept = [key for key in self._held if key.is_extent is kind]
            if len(kept) + len(missing) > self._limits[kind]:
                self._evict(key for key in kept if key not in keys)
            taken = {number for key, number in self._held.items() if key.is_extent is kind}
            free = (number for number in range(self._limits[kind]) if number not in taken)
            for key, number in zip(missing, free, strict=False):
                self._held[key] = number
                yield from self._set(key, number)

    def _evict(self, keys: Iterable[Key]) -> None:
        """Forget `keys`, and the extents that subtract one of them."""
        for key in list(keys):
            self._held.pop(key, None)
            for other in [held for held in self._held if held.coord == key]:
                del self._held[other]

    def _set(self, key: Key, number: int) -> Iterator[isa.Instruction]:
        if key.size is not None:
            coord = {"coord": self._held[key.coord]} if key.coord else {}
            yield isa.insn("ext", dst=number, limit=key.limit, max=key.size, **coord)
            return
        yield isa.insn("agen", dst=number, base=key.base, wrap=key.wrap, pitch=key.pitch,
                       dtype=DTYPES[key.dtype])  # fmt: skip
        for source, step in key.terms:
            yield isa.insn("stride", dst=number, source=source, step=step)


def _order(key: Key) -> tuple[object, ...]:
    """Total, so that a program is the same in every process."""
    coord = _order(key.coord) if key.coord else ()
    return (key.pitch, key.dtype, key.base, key.terms, key.limit, key.wrap, key.size or 0, coord)
