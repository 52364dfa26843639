"""Runs tile-level programs in NumPy, in float64: an oracle for `tile`, before infer_scope.

A block remembers for each element whether it was never written, holds a value, or lies outside
the tensor (a load went over the edge). Operations work on the values alone; reading what was
never written, or blocks whose values do not match in extent, fails.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import elementwise_numpy
import numpy as np
from isa_interpreter import SEMIRING, converted

from tileflow_tvm.frontend.tile_ir import (
    ITEMSIZE,
    Affine,
    Alloc,
    BoxDim,
    Buffer,
    Clear,
    Loop,
    Op,
    Program,
    Region,
    Scope,
    Stmt,
    Var,
    View,
)
from tileflow_tvm.frontend.tree import buffers_used
from tileflow_tvm.passes.element_types import ISA_NAME

UNWRITTEN, VALUE, OUTSIDE = 0, 1, 2

_erf = np.vectorize(math.erf, otypes=[np.float64])

UNARY = {
    "identity": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "abs": np.abs,
    "neg": np.negative,
    "sin": np.sin,
    "cos": np.cos,
    "erf": _erf,
    "gelu": lambda x: x / 2 * (1 + _erf(x / math.sqrt(2))),
    "silu": lambda x: x / (1 + np.exp(-x)),
    **elementwise_numpy.UNARY,
}
BINARY = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    **elementwise_numpy.BINARY,
}
REDUCE = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}


@dataclass
class Memory:
    """A buffer's elements and their states."""

    data: np.ndarray
    state: np.ndarray

    @staticmethod
    def empty(shape: tuple[int, ...]) -> Memory:
        return Memory(np.full(shape, np.nan), np.full(shape, UNWRITTEN, np.int8))


@dataclass
class Traffic:
    """What a run moved and held."""

    loaded: int = 0
    stored: int = 0
    peak_bytes: int = 0
    execs: int = 0

    @property
    def words(self) -> int:
        return self.loaded + self.stored


@dataclass
class TileInterpreter:
    """Executes `program` for blocks made of tiles with edge `tile`."""

    program: Program
    tile: int
    traffic: Traffic = field(default_factory=Traffic)
    memory: dict[Buffer, Memory] = field(default_factory=dict)
    loops: dict[Var, int] = field(default_factory=dict)
    live: dict[Buffer, int] = field(default_factory=dict)
    dram: set[Buffer] = field(default_factory=set)

    @property
    def boxes(self) -> bool:
        """Whether there are box transfers: their blocks have any size."""
        return any(op.box for op in self.program.ops)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The parameters after the run, by name; `inputs` are those before it."""
        for param in self.program.params:
            self.dram.add(param)
            self.memory[param] = Memory.empty(param.shape)
            if param.name in inputs:
                self.memory[param] = Memory(
                    inputs[param.name].astype(np.float64), np.full(param.shape, VALUE, np.int8)
                )
        self._block(self.program.body)
        return {param.name: self.memory[param].data for param in self.program.params}

    def _block(self, body: tuple[Stmt, ...]) -> None:
        last = {buffer: at for at, stmt in enumerate(body) for buffer in buffers_used(stmt)}
        for at, stmt in enumerate(body):
            if isinstance(stmt, Alloc):
                self._alloc(stmt.buffer)
            elif isinstance(stmt, Loop):
                self._loop(stmt)
            else:
                assert isinstance(stmt, Op), f"{type(stmt).__name__} is left"
                self._op(stmt)
            for buffer in [b for b, end in last.items() if end == at]:
                self.live.pop(buffer, None)

    def _alloc(self, buffer: Buffer) -> None:
        if buffer.view:
            self._view(buffer, buffer.view)
            return
        self.memory[buffer] = Memory.empty(buffer.shape)
        if buffer.scope is Scope.DRAM:
            self.dram.add(buffer)
            return
        if len(buffer.shape) == 2 and not self.boxes:
            assert all(side % self.tile == 0 for side in buffer.shape), f"{buffer.name} no grid"
        sides = [-(-side // self.tile) * self.tile for side in buffer.shape]
        self.live[buffer] = int(np.prod(sides)) * ITEMSIZE[buffer.dtype]
        self.traffic.peak_bytes = max(self.traffic.peak_bytes, sum(self.live.values()))

    def _view(self, buffer: Buffer, view: View) -> None:
        """The same elements as its base's."""
        base = self.memory[view.base]

        def seen(array: np.ndarray) -> np.ndarray:
            flat = array.reshape(-1)[view.offset :]
            steps = [step * array.itemsize for step in view.strides]
            return np.lib.stride_tricks.as_strided(flat, buffer.shape, steps)

        self.dram.add(buffer)
        self.memory[buffer] = Memory(seen(base.data), seen(base.state))

    def _loop(self, loop: Loop) -> None:
        held = dict(self.live)
        for index in range(self._value(loop.extent)):
            self.loops[loop.var] = index
            self.live = dict(held)
            self._block(loop.body)
        self.live = held

    def _value(self, affine: Affine) -> int:
        return affine.const + sum(self.loops[var] * step for var, step in affine.terms)

    def _op(self, op: Op) -> None:
        on_chip = [region.buffer not in self.dram for region in op.regions]
        if op.name == "load":
            assert on_chip == [True, False]
            self._load(op)
        elif op.name == "store":
            assert on_chip == [False, True]
            self._store(op)
        else:
            assert all(on_chip), f"{op.name} touches DRAM"
            self.traffic.execs += 1
            getattr(self, f"_{op.name}")(op)

    # Memory.

    def _window(self, region: Region) -> tuple[Memory, tuple[slice, ...]]:
        """The part of the buffer that the region covers; only DRAM may be exceeded."""
        memory = self.memory[region.buffer]
        starts = [self._value(start) for start in region.start]
        assert all(start >= 0 for start in starts)
        ends = [start + extent for start, extent in zip(starts, region.shape, strict=True)]
        if region.buffer not in self.dram:
            assert all(end <= size for end, size in zip(ends, region.buffer.shape, strict=True))
            if len(starts) == 2 and not region.is_whole:
                assert all(start % self.tile == 0 for start in starts), "between tiles"
                assert all(extent % self.tile == 0 for extent in region.shape), "between tiles"
        return memory, tuple(slice(a, b) for a, b in zip(starts, ends, strict=True))

    def _read(self, region: Region) -> np.ndarray:
        """The values of an on-chip region: a box in its corner."""
        memory, window = self._window(region)
        state = memory.state[window]
        assert (state != UNWRITTEN).all(), f"{region.buffer.name} is read before it is written"
        box = tuple(
            slice((state == VALUE).any(axis=tuple(set(range(state.ndim)) - {axis})).sum())
            for axis in range(state.ndim)
        )
        assert (state[box] == VALUE).all()
        return memory.data[window][box]

    def _write(self, region: Region, values: np.ndarray) -> None:
        memory, window = self._window(region)
        values = _laid_out(values, region.shape)
        assert all(a <= b for a, b in zip(values.shape, region.shape, strict=True))
        memory.data[window] = np.nan
        memory.state[window] = OUTSIDE
        box = tuple(slice(size) for size in values.shape)
        memory.data[window][box] = values
        memory.state[window][box] = VALUE

    def _load(self, op: Op) -> None:
        (src,) = op.srcs
        assert isinstance(src, Region)
        if op.box or op.padded:
            return self._load_box(op, src)
        memory, window = self._window(src)
        assert (memory.state[window] == VALUE).all(), f"{src.buffer.name} is read too early"
        values = memory.data[window]
        if values.ndim > 2:
            sizes = zip(values.shape, src.shape, strict=True)
            values = values.reshape([size for size, whole in sizes if whole != 1])
        self.traffic.loaded += values.size
        assert src.buffer.elements == 0 or values.size <= np.prod(op.dst.shape)
        assert not op.transposed or len(op.dst.shape) == 2
        self._write(op.dst, values.T if op.transposed else values)

    def _elements(self, op: Op) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        """The coordinates of a box's elements in its tensor, each in the block's shape, and which
        of them are inside."""
        _, dram = op.ends
        extents = [dim.extent for dim in op.box]
        block = [int(np.prod(extents[part])) for part in
                 (slice(len(op.rows)), slice(len(op.rows), None))]  # fmt: skip
        index = np.indices(extents)
        coords = [np.full(extents, self._value(start)) for start in dram.start]
        for along, dim in zip(index, op.box, strict=True):
            if dim.dim >= 0:
                coords[dim.dim] += along * dim.step
        inside = np.ones(block, bool)
        for axis, size in enumerate(dram.buffer.shape):
            coords[axis] = coords[axis].reshape(block)
            inside &= (coords[axis] >= 0) & (coords[axis] < size)
        return tuple(coords), inside

    def _load_box(self, op: Op, src: Region) -> None:
        if not op.box:  # a slice that fills what is outside
            sides = tuple(BoxDim(size, axis) for axis, size in enumerate(src.shape) if size > 1)
            split = max(0, len(sides) - 1)
            op = replace(op, rows=sides[:split], cols=sides[split:])
        memory = self.memory[src.buffer]
        coords, inside = self._elements(op)
        where = tuple(coord[inside] for coord in coords)
        assert (memory.state[where] == VALUE).all(), f"{src.buffer.name} is read too early"
        values = np.full(inside.shape, float(op.value))
        values[inside] = memory.data[where]
        self.traffic.loaded += int(inside.sum())
        if not op.padded:
            corner = inside.any(axis=1).sum(), inside.any(axis=0).sum()
            values = values[: corner[0], : corner[1]]
            assert inside[: corner[0], : corner[1]].all(), "the inside is not a corner"
        values = values.T if op.transposed else values
        self._write(op.dst, values.reshape(-1) if len(op.dst.shape) == 1 else values)

    def _store_box(self, op: Op, src: Region) -> None:
        values = self._read(src)
        values = values.reshape(1, -1) if values.ndim == 1 else values
        memory = self.memory[op.dst.buffer]
        coords, inside = self._elements(op)
        given = np.zeros_like(inside)
        given[: values.shape[0], : values.shape[1]] = True
        assert (given | ~inside).all(), "values are missing"
        block = np.zeros(inside.shape)
        block[: values.shape[0], : values.shape[1]] = values
        where = tuple(coord[inside] for coord in coords)
        memory.data[where] = block[inside]
        memory.state[where] = VALUE
        self.traffic.stored += int(inside.sum())

    def _store(self, op: Op) -> None:
        (src,) = op.srcs
        assert isinstance(src, Region)
        if op.box:
            return self._store_box(op, src)
        values = self._read(src)
        memory, window = self._window(op.dst)
        inside = memory.data[window].shape
        if 0 in inside:
            return
        values = values.T if op.transposed else values
        values = _laid_out(values, op.dst.shape)
        box = tuple(slice(size) for size in inside)
        assert all(a >= b for a, b in zip(values.shape, inside, strict=True)), "values are missing"
        memory.data[window] = values[box]
        memory.state[window] = VALUE
        self.traffic.stored += int(np.prod(inside))

    # EXEC.

    def _cleared(self, clear: Clear) -> bool:
        return clear.always or (clear.var is not None and self.loops[clear.var] == 0)

    def _gemm(self, op: Op) -> None:
        assert not op.transpose_a
        assert not op.transpose_b
        lhs, rhs = (self._read(src) for src in op.srcs)
        lhs = lhs.reshape(1, -1) if lhs.ndim == 1 else lhs
        rhs = rhs.reshape(-1, 1) if rhs.ndim == 1 else rhs
        result = _product(op, lhs, rhs) if lhs.size and rhs.size else np.zeros((0, 0))
        if not self._cleared(op.clear):
            result = SEMIRING[op.semiring][1](result, self._read(op.dst).reshape(result.shape))
        self._write(op.dst, result)

    def _unary(self, op: Op) -> None:
        (src,) = (self._read(src) for src in op.srcs)
        self._write(op.dst, UNARY[op.func](src * op.scale + op.bias))

    def _binary(self, op: Op) -> None:
        shaped = []
        for src, mode in zip(op.srcs, op.modes, strict=True):
            values = np.asarray(src) if mode == "imm" else self._read(src)
            if mode in ("row", "col"):
                assert values.ndim == 1
                values = values.reshape((1, -1) if mode == "row" else (-1, 1))
            if mode == "scalar":
                assert values.size == 1
                values = values.reshape(())
            shaped.append(values)
        if any(values.size == 0 for values in shaped):  # the block lies outside
            self._write(op.dst, np.zeros((0,) * len(op.dst.shape)))
            return
        full = [v.shape for v, mode in zip(shaped, op.modes, strict=True) if mode == "full"]
        result = np.broadcast_shapes(*(v.shape for v in shaped))
        if full:
            assert result == full[0] == full[-1], f"operands differ: {full}, {result}"
        else:
            sides = zip(result or (1,) * len(op.dst.shape), op.dst.shape, strict=True)
            result = tuple(whole if side == 1 else side for side, whole in sides)
        values = _of_elements(op, shaped)
        self._write(op.dst, np.broadcast_to(values, result).copy())

    _select = _binary

    def _reduce(self, op: Op) -> None:
        (src,) = (self._read(src) for src in op.srcs)
        src = src.reshape(1, -1) if src.ndim == 1 else src
        combine = REDUCE[op.func]
        axis = 1 if op.axis == "cols" else 0
        if self._cleared(op.clear):
            assert src.size, "nothing to reduce"
            self._write(op.dst, combine.reduce(src, axis=axis))
        elif src.size:
            self._write(op.dst, combine(combine.reduce(src, axis=axis), self._read(op.dst)))

    def _cast(self, op: Op) -> None:
        assert op.dst is not None
        (src,) = (self._read(src) for src in op.srcs)
        scaled = src.astype(np.float32) * np.float32(op.scale)
        dtype = ISA_NAME[op.dst.buffer.dtype]
        self._write(op.dst, converted(scaled, dtype).astype(np.float64))

    def _form(self, op: Op, shape: tuple[int, ...]) -> np.ndarray:
        row, col = np.indices(shape if len(shape) == 2 else (1, *shape))
        rstep, cstep = op.steps
        return (self._value(op.base) + row * rstep + col * cstep).reshape(shape)

    def _affine_select(self, op: Op) -> None:
        (src,) = (self._read(src) for src in op.srcs)
        self._write(op.dst, np.where(self._form(op, src.shape) >= 0, src, op.value))

    def _iota(self, op: Op) -> None:
        self._write(op.dst, self._form(op, op.dst.shape).astype(op.dst.buffer.dtype))

    def _fill(self, op: Op) -> None:
        self._write(op.dst, np.full(op.dst.shape, op.value))


def _of_elements(op: Op, values: list[np.ndarray]) -> np.ndarray:
    """A binary function or a select of arrays that broadcast; int32 are held exactly."""
    if op.name == "select":
        return np.where(values[0] != 0, *values[1:])
    if op.dst.buffer.dtype != "int32":
        return BINARY[op.func](*values)
    integers = (np.asarray(value).astype(np.int64) for value in values)
    return BINARY[op.func](*integers).astype(np.int32).astype(np.float64)


def _laid_out(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """`values` as part of a block or slice of this shape: vectors may lie or stand, and unit
    dimensions be in between."""
    if len(shape) > 2:
        kept = tuple(size for size in shape if size != 1)
        sizes = iter(_laid_out(values, kept or (1,)).shape)
        return values.reshape([1 if size == 1 else next(sizes) for size in shape])
    if len(shape) == 2 and 1 not in shape:
        assert values.ndim == 2
        return values
    assert max(values.shape, default=1) == values.size or 0 in values.shape
    if len(shape) == 1:
        return values.reshape(-1)
    return values.reshape((1, -1) if shape[0] == 1 else (-1, 1))


def run_tensor_level(program: Program, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same for tensor-level programs: operations on whole tensors, in program order."""
    memory = {p: inputs[p.name].astype(np.float64) for p in program.params if p.name in inputs}
    for op in program.ops:
        _tensor_op(op, memory)
    return {p.name: memory[p] for p in program.params if p in memory}


def _tensor_op(op: Op, memory: dict[Buffer, np.ndarray]) -> None:
    target = op.dst.buffer
    srcs = [memory[src.buffer] if isinstance(src, Region) else np.asarray(src) for src in op.srcs]
    if op.name == "gemm":
        a, b = (src.T if flag else src for src, flag in
                zip(srcs, (op.transpose_a, op.transpose_b), strict=True))  # fmt: skip
        result = _product(op, a, b)
    elif op.name == "unary":
        result = UNARY[op.func](srcs[0] * op.scale + op.bias)
    elif op.name == "binary":
        shape = target.shape if len(target.shape) == 2 else (1, *target.shape)
        shaped = [_meeting(src, mode, shape) for src, mode in zip(srcs, op.modes, strict=True)]
        result = np.broadcast_to(BINARY[op.func](*shaped), shape)
    elif op.name == "reduce":
        src = srcs[0] if srcs[0].ndim == 2 else srcs[0].reshape(1, -1)
        initial = {"sum": 0.0, "prod": 1.0, "max": -np.inf, "min": np.inf}[op.func]
        result = REDUCE[op.func].reduce(src, axis=1 if op.axis == "cols" else 0, initial=initial)
    elif op.name == "fill":
        result = np.full(target.shape, op.value)
    else:
        assert op.name == "copy"
        result = srcs[0].T if op.transposed else srcs[0]
    result = np.array(result).reshape(target.shape)
    if op.name in ("gemm", "reduce") and not op.clear.always:
        combine = SEMIRING[op.semiring][1] if op.name == "gemm" else REDUCE[op.func]
        result = combine(memory[target], result)
    memory[target] = result


def _product(op: Op, lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    times, plus = SEMIRING[op.semiring]
    return lhs @ rhs if plus is np.add else plus.reduce(times(lhs[..., None], rhs), axis=-2)


def _meeting(values: np.ndarray, mode: str, shape: tuple[int, ...]) -> np.ndarray:
    """An operand of a binary operation, shaped to broadcast over the result."""
    reshaped = {"full": shape, "row": (1, -1), "col": (-1, 1), "scalar": (1, 1), "imm": (1, 1)}
    return values.reshape(reshaped[mode])
