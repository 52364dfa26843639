"""Where elements are: each buffer is an array of its own or, once it has an address, cells of a
memory that it shares with all others.

A shared memory is one array of float64, which holds every value of every element type, and a cell
stands for as many bytes as the smallest element has. So buffers that share bytes share cells, and
an address that is used too early loses a value as it would on the machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from tvm import ir, tirx
from tvm.tirx import ForKind

from tileflow_tvm.frontend.affine import imm
from tileflow_tvm.frontend.tile_ir import ITEMSIZE, Alloc, Buffer, Program, Scope, walk
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.plan_sram import slot_bytes
from tileflow_tvm.reference.functions import VALUE, rounded

CELL = "float64"


@dataclass(frozen=True)
class _Shared:
    """Memory of buffers with addresses; a cell is `unit` bytes."""

    cells: ir.Var
    unit: int


class Memory:
    """The buffers of `program`, for `machine`."""

    def __init__(self, program: Program, machine: Machine) -> None:
        self._tile = machine.tile
        self._machine = machine
        self.params = {
            param: _array(param.name, param.shape, param.dtype) for param in program.params
        }
        self._arrays = dict(self.params)
        self._turns: dict[Buffer, ir.Var] = {}
        self._shared: dict[bool, _Shared] = {}
        allocated = [stmt.buffer for stmt in walk(program.body) if isinstance(stmt, Alloc)]
        own = [buffer for buffer in allocated if not buffer.view]
        for buffer in own:
            if buffer.address is None:
                self._arrays[buffer] = _array(buffer.name, buffer.shape, VALUE[buffer.dtype])
            if buffer.slots > 1:
                self._turns[buffer] = _array(f"turn_{buffer.name}", (1,), "int32")
        for on_chip in (True, False):
            placed = [b for b in own if b.address is not None and b.scope.on_chip is on_chip]
            if placed:
                self._shared[on_chip] = self._share("sram" if on_chip else "scratch", placed)

    def _share(self, name: str, placed: list[Buffer]) -> _Shared:
        unit = math.gcd(*(ITEMSIZE[buffer.dtype] for buffer in placed))
        ends = [_address(buffer) + buffer.slots * self._slot(buffer) for buffer in placed]
        return _Shared(_array(name, (max(*ends, unit) // unit,), CELL), unit)

    def _slot(self, buffer: Buffer) -> int:
        return slot_bytes(buffer, self._machine) if buffer.scope.on_chip else (
            buffer.elements * ITEMSIZE[buffer.dtype]
        )  # fmt: skip

    # Life.

    def prologue(self) -> list[Any]:
        """Allocations, and what shared memory holds before the program: nothing, which is NaN."""
        params = set(self.params)
        owned = [array for buffer, array in self._arrays.items() if buffer not in params]
        shared = [shared.cells for shared in self._shared.values()]
        stmts: list[Any] = [tirx.AllocBuffer(a) for a in (*owned, *self._turns.values(), *shared)]
        stmts += [tirx.BufferStore(turn, imm(-1), [imm(0)]) for turn in self._turns.values()]
        return stmts + [_spoiled(cells) for cells in shared]

    def comes_to_life(self, buffer: Buffer) -> list[Any]:
        """What happens where `buffer` is allocated: its ring turns, or it holds nothing yet."""
        if (turn := self._turns.get(buffer)) is not None:
            before = tirx.BufferLoad(turn, [imm(0)])
            after = tirx.floormod(before + imm(1), imm(buffer.slots))
            return [tirx.BufferStore(turn, after, [imm(0)])]
        if buffer in self._arrays:
            return [_spoiled(self._arrays[buffer])]
        return []

    # Elements.

    def read(self, buffer: Buffer, indices: Sequence[Any]) -> Any:
        """The element at `indices`, in the type in which it is computed with."""
        array, where = self._place(buffer, indices)
        value = tirx.BufferLoad(array, where)
        kind = VALUE[buffer.dtype]
        return value if str(array.ty.dtype) == kind else tirx.Cast(kind, value)

    def write(self, buffer: Buffer, indices: Sequence[Any], value: Any) -> Any:
        """The element at `indices` becomes `value`, rounded to its type."""
        array, where = self._place(buffer, indices)
        value = rounded(value, buffer.dtype)
        stored = str(array.ty.dtype)
        if str(value.ty.dtype) != stored:
            value = tirx.Cast(stored, value)
        return tirx.BufferStore(array, value, where)

    def unflattened(self, buffer: Buffer, number: Any) -> list[Any]:
        """The indices of the element with this number in row-major order."""
        indices, rest = [], prod(buffer.shape)
        for dim, size in enumerate(buffer.shape):
            rest //= max(size, 1)
            index = tirx.floordiv(number, imm(rest)) if rest > 1 else number
            indices.append(tirx.floormod(index, imm(size)) if dim else index)
        return indices

    def _place(self, buffer: Buffer, indices: Sequence[Any]) -> tuple[ir.Var, list[Any]]:
        if view := buffer.view:
            number = _dot(indices, view.strides) + imm(view.offset)
            return self._place(view.base, self.unflattened(view.base, number))
        if buffer in self._arrays:
            return self._arrays[buffer], list(indices)
        shared = self._shared[buffer.scope.on_chip]
        at = self._offset(buffer, indices, ITEMSIZE[buffer.dtype] // shared.unit)
        at = at + imm(_address(buffer) // shared.unit)
        if (turn := self._turns.get(buffer)) is not None:
            slot = imm(self._slot(buffer) // shared.unit)
            at = at + tirx.BufferLoad(turn, [imm(0)]) * slot
        return shared.cells, [at]

    def _offset(self, buffer: Buffer, indices: Sequence[Any], item: int) -> Any:
        """From the start of the buffer, an element being `item` long: a grid is a row-major grid
        of row-major tiles, everything else is row-major."""
        if buffer.scope is not Scope.GRID:
            steps = [prod(buffer.shape[dim + 1 :]) * item for dim in range(len(buffer.shape))]
            return _dot(indices, steps)
        tile, (row, col) = self._tile, indices
        pitch = -(-buffer.shape[1] // tile)
        tiles = tirx.floordiv(row, imm(tile)), tirx.floordiv(col, imm(tile))
        inside = tirx.floormod(row, imm(tile)), tirx.floormod(col, imm(tile))
        whole = tile * tile * item
        return _dot((*tiles, *inside), (pitch * whole, whole, tile * item, item))


def loops(extents: Sequence[Any], body: Callable[..., Any], names: str = "ijkl") -> Any:
    """A loop from 0 for each extent, `body` being called with their variables. Bounds are int32."""
    variables = [tirx.Var(names[at % len(names)], "int32") for at in range(len(extents))]
    stmt = body(*variables)
    for var, extent in reversed(list(zip(variables, extents, strict=True))):
        bound = imm(extent) if isinstance(extent, int) else extent
        stmt = tirx.For(var, imm(0), bound, ForKind.SERIAL, stmt)
    return stmt


def sequence(stmts: Sequence[Any]) -> Any:
    """One statement for any number of them."""
    if not stmts:
        return tirx.Evaluate(imm(0))
    return stmts[0] if len(stmts) == 1 else tirx.SeqStmt(list(stmts))


def _address(buffer: Buffer) -> int:
    assert buffer.address is not None
    return buffer.address


def _array(name: str, shape: tuple[int, ...], dtype: str) -> ir.Var:
    return tirx.decl_buffer(shape, dtype, name, layout=None)


def scalar(name: str, dtype: str) -> ir.Var:
    """A variable that can be assigned to: an array of one element."""
    return _array(name, (1,), dtype)


def array(name: str, shape: tuple[int, ...], dtype: str) -> ir.Var:
    """An array of values of `dtype`; of one element where `shape` is ()."""
    return _array(name, shape or (1,), dtype)


def _dot(indices: Sequence[Any], steps: Sequence[int]) -> Any:
    total: Any = imm(0)
    for index, step in zip(indices, steps, strict=True):
        total = total + index * imm(step)
    return total


def _spoiled(array: ir.Var) -> Any:
    """What nobody should read: NaN, or an odd integer."""
    dtype = str(array.ty.dtype)
    value = tirx.FloatImm(dtype, math.nan) if "float" in dtype else tirx.IntImm(dtype, -101)
    shape = [int(extent) for extent in array.ty.shape]
    return loops(shape, lambda *at: tirx.BufferStore(array, value, list(at)))
