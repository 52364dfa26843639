"""What each tile primitive means, element by element: `PRIMITIVES` has one rule for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from math import prod
from typing import Any

from tvm import tirx

from tileflow_tvm.frontend.affine import imm
from tileflow_tvm.frontend.compute import IDENTITY
from tileflow_tvm.frontend.tile_ir import COL, ROW, Affine, BoxDim, Op, Region
from tileflow_tvm.isa.program import BROADCAST
from tileflow_tvm.passes.block_shapes import Axes, identity_of_copy
from tileflow_tvm.passes.semirings import empty_sum
from tileflow_tvm.reference import functions
from tileflow_tvm.reference.functions import BINARY, REDUCE, UNARY, VALUE, constant, scaled
from tileflow_tvm.reference.lowering import Lowering, Point, Rule, region_of
from tileflow_tvm.reference.memory import loops, scalar, sequence
from tileflow_tvm.reference.nests import nest


class Elements:
    """The operands of an operation, element by element."""

    def __init__(self, low: Lowering, op: Op) -> None:
        self.low = low
        self.axes: Axes = low.axes(op)
        self.op = self.axes.op
        self.dst = region_of(op.dst)
        self.before, self.extents = low.extents(self.axes)

    def _indices(self, region: Region, labels: tuple[str, ...], point: Point) -> list[Any]:
        return self.low.indices(region, [point[label] if label else imm(0) for label in labels])

    def read(self, number: int, point: Point) -> Any:
        """Source `number`; a number is itself."""
        src = self.op.srcs[number]
        if not isinstance(src, Region):
            return constant(src, self.dst.buffer.dtype)
        where = self._indices(src, self.axes.srcs[number], point)
        return self.low.memory.read(src.buffer, where)

    def result(self, point: Point) -> Any:
        """What dst holds."""
        where = self._indices(self.dst, self.axes.dst, point)
        return self.low.memory.read(self.dst.buffer, where)

    def form(self, point: Point) -> Any:
        """The operation's form of rows, columns and loops, in int64."""
        form = self.op.form
        assert form is not None
        places = {ROW: point["m"], COL: point["n"]}
        wide: Any = tirx.IntImm("int64", form.const)
        for var, step in form.terms:
            value = places[var] if var in places else self.low.affine(Affine.of(var))
            wide = wide + tirx.Cast("int64", value) * tirx.IntImm("int64", step)
        return wide

    def write(self, point: Point, value: Any) -> Any:
        where = self._indices(self.dst, self.axes.dst, point)
        return self.low.memory.write(self.dst.buffer, where, value)

    def over(self, labels: Sequence[str], body: Callable[[Point], Any]) -> Any:
        """`body` for every point of these axes."""
        return loops(
            [self.extents[label] for label in labels],
            lambda *at: body(dict(zip(labels, at, strict=True))),
        )

    def done(self, *stmts: Any) -> list[Any]:
        """`stmts` with what belongs in front of and behind them."""
        after = self.low.mark(self.dst, self.axes.dst, self.extents)
        return [*self.before, *stmts, *after]

    def cleared(self, point: Point, value: Any) -> list[Any]:
        """dst begins with `value` where the operation says so."""
        clear = self.op.clear
        begin = self.write(point, value)
        if clear.var is not None:
            return [tirx.IfThenElse(self.low.is_first(clear.var), begin, None)]
        return [begin] if clear.always else []


# EXEC.


def _map(value: Callable[[Op, Elements, Point], Any]) -> Rule:
    """The rule of an operation that gives each element of dst a value of its own."""

    def rule(low: Lowering, op: Op) -> list[Any]:
        operands = Elements(low, op)
        return operands.done(operands.over(
            ("m", "n"), lambda at: operands.write(at, value(operands.op, operands, at))
        ))  # fmt: skip

    return rule


def _unary(op: Op, operands: Elements, at: Point) -> Any:
    return UNARY[op.func](scaled(operands.read(0, at), op.scale, op.bias))


def _binary(op: Op, operands: Elements, at: Point) -> Any:
    return BINARY[op.func](operands.read(0, at), operands.read(1, at))


def _select(op: Op, operands: Elements, at: Point) -> Any:  # noqa: ARG001
    cond, yes, no = (operands.read(number, at) for number in range(3))
    return tirx.Select(functions.is_true(cond), yes, no)


def _affine_select(op: Op, operands: Elements, at: Point) -> Any:
    kept = tirx.GE(operands.form(at), tirx.IntImm("int64", 0))
    value = constant(op.value, operands.dst.buffer.dtype)
    return tirx.Select(kept, operands.read(0, at), value)


def _iota(op: Op, operands: Elements, at: Point) -> Any:  # noqa: ARG001
    return tirx.Cast(VALUE[operands.dst.buffer.dtype], operands.form(at))


def _fill(op: Op, operands: Elements, at: Point) -> Any:  # noqa: ARG001
    return constant(op.value, operands.dst.buffer.dtype)


def _transpose(op: Op, operands: Elements, at: Point) -> Any:  # noqa: ARG001
    return operands.read(0, at)


def _cast(op: Op, operands: Elements, at: Point) -> Any:
    value = operands.read(0, at)
    if op.scale != 1.0:
        value = scaled(tirx.Cast("float32", value), op.scale, -0.0)
    return functions.cast(value, operands.dst.buffer.dtype)


def _gemm(low: Lowering, op: Op) -> list[Any]:
    operands = Elements(low, op)
    kind = VALUE[operands.dst.buffer.dtype]
    start = constant(empty_sum(op.semiring), operands.dst.buffer.dtype)

    def product(at: Point) -> Any:
        lhs, rhs = (tirx.Cast(kind, operands.read(number, at)) for number in (0, 1))
        both, into = functions.SEMIRING[op.semiring]
        return operands.write(at, into(operands.result(at), both(lhs, rhs)))

    def cell(at: Point) -> Any:
        steps = operands.over("k", lambda inner: product(at | inner))
        return sequence([*operands.cleared(at, start), steps])

    return operands.done(operands.over(("m", "n"), cell))


def _reduce(low: Lowering, op: Op) -> list[Any]:
    operands = Elements(low, op)
    kept, along = ("m", "n") if op.axis == "cols" else ("n", "m")

    def step(at: Point) -> Any:
        value = REDUCE[op.func](operands.result(at), operands.read(0, at))
        return operands.write(at, value)

    def cell(at: Point) -> Any:
        steps = operands.over(along, lambda inner: step(at | inner))
        start = constant(IDENTITY[op.func], operands.dst.buffer.dtype)
        return sequence([*operands.cleared(at, start), steps])

    return operands.done(operands.over(kept, cell))


# DMA.


def _copy(low: Lowering, op: Op) -> list[Any]:
    dst, src = op.regions
    if dst.buffer.scope.on_chip is src.buffer.scope.on_chip:
        vector = 1 in (len(dst.shape), len(src.shape))  # a row or a column: the order is the same
        same = identity_of_copy(replace(op, transposed=op.transposed and not vector))
        return PRIMITIVES[same.name](low, same)
    name = "load" if dst.buffer.scope.on_chip else "store"
    return PRIMITIVES[name](low, replace(op, name=name))


class _Transfer:
    """A load or a store: which element of the tensor meets element (m, n) of the block."""

    def __init__(self, low: Lowering, op: Op) -> None:
        self.low, self.op = low, op
        self.chip, self.dram = op.ends
        axes = low.axes(op)
        self.sizes = axes.sizes
        ends = (axes.dst, axes.srcs[0])
        self.chip_labels, self.dram_labels = ends if op.name == "load" else ends[::-1]

    def block(self, at: Point) -> list[Any]:
        """The indices of the block's element."""
        return self.low.indices(self.chip, [at[label] for label in self.chip_labels])

    def tensor(self, at: Point) -> list[Any]:
        """The indices of the tensor's element, which may lie outside."""
        if not self.op.box:
            return self.low.indices(
                self.dram, [at[label] if label else imm(0) for label in self.dram_labels]
            )
        offsets: list[Any] = [imm(0)] * len(self.dram.shape)
        for index, side in ((at["m"], self.op.rows), (at["n"], self.op.cols)):
            for dim, along in zip(side, _digits(index, side), strict=True):
                if dim.dim != BROADCAST:
                    offsets[dim.dim] = offsets[dim.dim] + along * imm(dim.step)
        return self.low.indices(self.dram, offsets)

    def is_inside(self, indices: Sequence[Any], axes: Sequence[int]) -> Any:
        """Whether the tensor has these indices, looking at `axes` alone."""
        held: list[Any] = []
        for axis in axes:
            size = imm(self.dram.buffer.shape[axis])
            held += [tirx.GE(indices[axis], imm(0)), tirx.LT(indices[axis], size)]
        return reduce(tirx.And, held)

    @property
    def all_axes(self) -> range:
        return range(len(self.dram.shape))

    def over(self, body: Callable[[Point], Any]) -> Any:
        sizes = [self.sizes["m"], self.sizes["n"]]
        return loops(sizes, lambda m, n: body({"m": m, "n": n}))

    def reach(self) -> tuple[list[Any], dict[str, Any]]:
        """How many of the block's rows and columns are inside the tensor."""
        if self.low.inferred or self.op.padded:
            return [], dict(self.sizes)
        if self.op.box:
            counts = [self._count("m", self.op.rows, self.op.cols),
                      self._count("n", self.op.cols, self.op.rows)]  # fmt: skip
            return [*counts[0][0], *counts[1][0]], {"m": counts[0][1], "n": counts[1][1]}
        found: dict[str, Any] = dict(self.sizes)
        for axis, label in enumerate(self.dram_labels):
            if label:
                left = imm(self.dram.buffer.shape[axis]) - self.low.affine(self.dram.start[axis])
                found[label] = tirx.Max(tirx.Min(found[label], left), imm(0))
        return self.low.bound(found)

    def _count(
        self, label: str, side: tuple[BoxDim, ...], other: tuple[BoxDim, ...]
    ) -> tuple[list[Any], Any]:
        """The rows (or columns) of a box that are inside, as far as `side` alone decides."""
        axes = sorted({dim.dim for dim in side} - {dim.dim for dim in other} - {BROADCAST})
        if not axes:
            return [], self.sizes[label]
        count = scalar(f"count_{label}", "int32")

        def step(index: Any) -> Any:
            at = {"m": imm(0), "n": imm(0)} | {label: index}
            more = tirx.BufferStore(count, tirx.BufferLoad(count, [imm(0)]) + imm(1), [imm(0)])
            return tirx.IfThenElse(self.is_inside(self.tensor(at), axes), more, None)

        start = [tirx.AllocBuffer(count), tirx.BufferStore(count, imm(0), [imm(0)])]
        return [*start, loops([self.sizes[label]], step)], tirx.BufferLoad(count, [imm(0)])


def _digits(index: Any, side: tuple[BoxDim, ...]) -> list[Any]:
    """`index` taken apart into an index for each entry, the most significant first."""
    digits = []
    for at, dim in enumerate(side):
        below = prod(inner.extent for inner in side[at + 1 :])
        digit = tirx.floordiv(index, imm(below)) if below > 1 else index
        digits.append(tirx.floormod(digit, imm(dim.extent)) if at else digit)
    return digits


def _load(low: Lowering, op: Op) -> list[Any]:
    move = _Transfer(low, op)
    fill = constant(op.value, move.chip.buffer.dtype)

    def element(at: Point) -> Any:
        where = move.tensor(at)
        value = low.memory.read(move.dram.buffer, where)
        value = tirx.if_then_else(move.is_inside(where, move.all_axes), value, fill)
        return low.memory.write(move.chip.buffer, move.block(at), value)

    before, extents = move.reach()
    return [*before, move.over(element), *low.mark(move.chip, move.chip_labels, extents)]


def _store(low: Lowering, op: Op) -> list[Any]:
    move = _Transfer(low, op)

    def element(at: Point) -> Any:
        where = move.tensor(at)
        value = low.memory.read(move.chip.buffer, move.block(at))
        write = low.memory.write(move.dram.buffer, where, value)
        return tirx.IfThenElse(move.is_inside(where, move.all_axes), write, None)

    return [move.over(element)]


def _nop(low: Lowering, op: Op) -> list[Any]:  # noqa: ARG001
    return []


PRIMITIVES: dict[str, Rule] = {
    "load": _load,
    "store": _store,
    "copy": _copy,
    "gemm": _gemm,
    "unary": _map(_unary),
    "binary": _map(_binary),
    "reduce": _reduce,
    "select": _map(_select),
    "affine_select": _map(_affine_select),
    "iota": _map(_iota),
    "fill": _map(_fill),
    "transpose": _map(_transpose),
    "cast": _map(_cast),
    "nest": nest,
    "nop": _nop,
}
"""Name of a primitive -> its statements; one entry for each of `frontend.ops.OPS`."""
