"""What a set of tensor-level operations looks like as one loop nest, if it is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import prod

from tileflow_tvm.frontend.tile_ir import Op, Region
from tileflow_tvm.passes.tile_values import Dataflow, Read, Value


class Kind(Enum):
    """How a tensor meets the rows x cols space of its group; the value is the mode of
    `exec.binary`."""

    FULL = "full"
    ROW = "row"
    """One element for each column."""
    COL = "col"
    """One element for each row."""
    ONE = "scalar"


MODE_KIND = {kind.value: kind for kind in Kind}
OF_AXIS = {"cols": Kind.COL, "rows": Kind.ROW}
"""What a reduction along the axis makes."""


@dataclass(frozen=True)
class Space:
    """The rows x cols points that a group computes. With a unit dimension, or of rank 1, it is
    a *vector*: rows is 1, blocks are of rank 1, and FULL is a vector of `cols`."""

    rows: int
    cols: int

    @staticmethod
    def of(shape: Sequence[int]) -> Space:
        if len(shape) == 1 or 1 in shape:
            return Space(1, prod(shape))
        return Space(*shape)

    @property
    def vector(self) -> bool:
        return self.rows == 1

    @property
    def elements(self) -> int:
        return self.rows * self.cols


@dataclass(frozen=True)
class GroupForm:
    """A legal group: at most one contraction, which comes first, then maps over its result;
    or maps over one space with reductions along one axis of it."""

    ops: tuple[Op, ...]
    space: Space
    gemm: Op | None
    axis: str
    """What the reductions run along; empty where there are none."""
    kinds: dict[Value, Kind]
    """Of the values that the group makes."""
    operands: dict[Op, tuple[Kind | None, ...]]
    """Of the sources of each operation but the gemm; None is an immediate."""
    derived: frozenset[Value]
    """The values that depend on a reduction of the group."""
    panel: bool
    """Whether a reduction's result meets the space again: all of the axis must be on chip."""
    kept: frozenset[Value]
    """The values that something outside sees."""

    @property
    def maps(self) -> tuple[Op, ...]:
        return tuple(op for op in self.ops if op is not self.gemm)


def gemm_dims(op: Op) -> tuple[int, int, int]:
    """(M, N, K); a rank-1 lhs is 1 x K, a rank-1 rhs K x 1."""
    lhs, rhs = op.srcs
    assert isinstance(lhs, Region)
    assert isinstance(rhs, Region)
    a, b = lhs.shape, rhs.shape
    m, k = (1, a[0]) if len(a) == 1 else (a[1], a[0]) if op.transpose_a else a
    n = 1 if len(b) == 1 else b[0] if op.transpose_b else b[1]
    return m, n, k


def space_of(op: Op) -> Space:
    """The space that an operation runs over."""
    assert op.dst is not None
    if op.name == "gemm":
        return Space.of(gemm_dims(op)[:2])
    if op.name == "reduce":
        (src,) = op.srcs
        assert isinstance(src, Region)
        return Space.of(src.shape)
    return Space.of(op.dst.shape)


def classify(ops: Sequence[Op], flow: Dataflow) -> GroupForm | None:
    """The form of a group of `ops` (in program order), None where they are not one nest."""
    space = _common_space(ops)
    if space is None:
        return None
    form = _Classifier(tuple(ops), flow, space)
    return form.result() if form.accepts() else None


def _common_space(ops: Sequence[Op]) -> Space | None:
    spaces = {space_of(op) for op in ops}
    largest = max(spaces, key=lambda space: (not space.vector, space.elements))
    inner = {Space(1, 1)} if largest.vector else {s for s in spaces if s.vector}
    return largest if spaces <= inner | {largest} else None


class _Classifier:
    """Checks the operations one by one; `kinds` grows along."""

    def __init__(self, ops: tuple[Op, ...], flow: Dataflow, space: Space) -> None:
        self.ops, self.flow, self.space = ops, flow, space
        self.made = {flow.writes[op] for op in ops}
        gemms = [op for op in ops if op.name == "gemm"]
        axes = {self._axis(op) for op in ops if op.name == "reduce"}
        self.gemm = gemms[0] if gemms else None
        self.axis = axes.pop() if axes else ""
        self.one_nest = len(gemms) + bool(self.axis) <= 1 and not axes
        self.kinds: dict[Value, Kind] = {}
        self.operands: dict[Op, tuple[Kind | None, ...]] = {}
        self.derived: set[Value] = set()
        self.panel = False

    def _axis(self, op: Op) -> str:
        return "cols" if self.space.vector else op.axis

    def accepts(self) -> bool:
        return self.one_nest and all(self._accepts(op) for op in self.ops) and self._in_place()

    def result(self) -> GroupForm:
        return GroupForm(
            self.ops, self.space, self.gemm, self.axis, self.kinds, self.operands,
            frozenset(self.derived), self.panel, self.flow.kept(self.ops),
        )  # fmt: skip

    def _accepts(self, op: Op) -> bool:
        if self.flow.before.get(op) in self.made:
            return False
        kind = self._result_kind(op)
        if kind is None:
            return False
        self.kinds[self.flow.writes[op]] = kind
        if op.name == "gemm":
            return self.made.isdisjoint(self.flow.values_read(op))
        return self._accepts_operands(op, kind)

    def _result_kind(self, op: Op) -> Kind | None:
        """None where the operation has no place in the nest."""
        if op.name == "reduce":
            return OF_AXIS[self.axis] if space_of(op) == self.space else None
        if space_of(op) == self.space:
            return Kind.FULL
        kind = OF_AXIS.get(self.axis)
        if kind is None or op.name == "gemm" or space_of(op).elements != self._length(kind):
            return None
        return kind

    def _length(self, kind: Kind) -> int:
        lengths = {Kind.ROW: self.space.cols, Kind.COL: self.space.rows, Kind.ONE: 1}
        return lengths.get(kind, self.space.elements)

    def _accepts_operands(self, op: Op, kind: Kind) -> bool:
        reads = self.flow.reads[op]
        if op.name == "reduce":
            kinds: tuple[Kind | None, ...] = (Kind.FULL,)
        elif op.name == "binary":
            pairs = zip(reads, op.modes, strict=True)
            kinds = tuple(self._operand_kind(read, mode, kind) for read, mode in pairs)
        else:
            kinds = tuple(kind for _ in reads)
        self.operands[op] = kinds
        turned = op.name == "copy" and op.transposed and not self.space.vector
        if turned and not self.made.isdisjoint(self.flow.values_read(op)):
            return False
        if len(self.ops) > 1 and not self._anchored(op, kind):
            return False
        for read, expected in zip(reads, kinds, strict=True):
            if isinstance(read, Value) and self.kinds.get(read, expected) is not expected:
                return False
        self._note_dependence(op, kind)
        return True

    def _operand_kind(self, read: Read, mode: str, kind: Kind) -> Kind | None:
        """Of an operand of a binary operation whose result is of `kind`."""
        if not isinstance(read, Value):
            return None
        if kind is Kind.FULL and not self.space.vector:
            return MODE_KIND[mode]
        if read.buffer.elements == self._length(kind):
            return kind
        assert read.buffer.elements == 1, "an operand is as long as the result, or one element"
        return Kind.COL if self.space.vector else Kind.ONE

    def _anchored(self, op: Op, kind: Kind) -> bool:
        """Whether the operands say how much of a block at the edge is inside the tensor; a
        block of constants would be whole where its neighbours are not."""
        kinds = set(self.operands[op])
        crossing = kind is Kind.FULL and {Kind.ROW, Kind.COL} <= kinds
        return op.name == "reduce" or kind in kinds or crossing

    def _note_dependence(self, op: Op, kind: Kind) -> None:
        value = self.flow.writes[op]
        after = not self.derived.isdisjoint(self.flow.values_read(op))
        if after or op.name == "reduce":
            self.derived.add(value)
        if after and (kind is Kind.FULL or op.name == "reduce"):
            self.panel = True

    def _in_place(self) -> bool:
        """A tensor both read and stored is read in the iteration that stores it, before."""
        stored = {value.buffer for value in self.flow.kept(self.ops)}
        same_place = {Kind.FULL, OF_AXIS.get(self.axis, Kind.FULL)}
        for op in self.ops:
            kinds = self.operands.get(op, (None, None))
            for read, kind in zip(self.flow.reads[op], kinds, strict=True):
                if not isinstance(read, Value) or read in self.made or read.buffer not in stored:
                    continue
                if kind not in same_place or op.name == "gemm" or op.transposed:
                    return False
        return True
