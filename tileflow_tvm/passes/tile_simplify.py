"""Rewrites of tensor-level programs that leave `fuse` and `tile` fewer cases."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import inf, prod

from tileflow_tvm.errors import KernelError
from tileflow_tvm.frontend.tile_ir import (
    Alloc,
    Buffer,
    Clear,
    Group,
    Op,
    Operand,
    Program,
    Region,
    Stmt,
)
from tileflow_tvm.frontend.tree import buffers_used
from tileflow_tvm.passes.semirings import empty_sum
from tileflow_tvm.passes.tile_group import Space, gemm_dims
from tileflow_tvm.passes.tile_values import accumulates

NOTHING = {"sum": 0.0, "prod": 1.0, "max": -inf, "min": inf}
"""What each reduction of no elements gives."""

COMBINE = {"sum": "add", "prod": "mul", "max": "max", "min": "min"}
"""The binary function that adds one element to a reduction."""


def simplify(program: Program) -> Program:
    """The same results from no operation that is empty, trivial or unseen.

    Ensures: every destination has elements; sums have at least one term, reductions at least
    two; a filled buffer is no operand of a binary operation where an immediate will do; gemms
    read transposed copies at their source; every operation contributes to a parameter.
    """
    rewriter = _Rewriter()
    body = tuple(new for stmt in program.body for new in rewriter.stmt(stmt))
    return replace(program, body=_without_unused(_without_unseen(body, set(program.params))))


@dataclass
class _Rewriter:
    """Walks the operations in order and remembers what the buffers are known to hold."""

    filled: dict[Buffer, float] = field(default_factory=dict)
    flipped: dict[Buffer, Buffer] = field(default_factory=dict)
    """Buffer → the buffer whose transpose it holds."""

    def stmt(self, stmt: Stmt) -> tuple[Stmt, ...]:
        if isinstance(stmt, Group):
            body = tuple(new for child in stmt.body for new in self.stmt(child))
            return (Group(body),) if body else ()
        if not isinstance(stmt, Op):
            return (stmt,)
        assert stmt.dst is not None
        if any(not region.is_whole for region in stmt.regions):
            raise KernelError(f"{stmt.name} of a part of a tensor", loc=stmt.loc)
        if not prod(stmt.dst.shape):
            return ()
        new = self._rewrite(stmt)
        if new is None:
            return ()
        self._note(new)
        return (new,)

    def _rewrite(self, op: Op) -> Op | None:
        if op.name == "gemm":
            return self._gemm(op)
        if op.name == "reduce":
            return _reduce(op)
        if op.name == "binary":
            return self._binary(op)
        return op

    def _gemm(self, op: Op) -> Op | None:
        if gemm_dims(op)[2] == 0:
            return None if accumulates(op) else _fill(op, empty_sum(op.semiring))
        lhs, rhs = (self._unturned(src, op) for src in op.srcs)
        return replace(
            op,
            srcs=(lhs, rhs),
            transpose_a=op.transpose_a != (lhs is not op.srcs[0]),
            transpose_b=op.transpose_b != (rhs is not op.srcs[1]),
        )

    def _unturned(self, src: Operand, op: Op) -> Operand:
        """What `src` is the transpose of, if that is known; else itself."""
        assert isinstance(src, Region)
        assert op.dst is not None
        source = self.flipped.get(src.buffer)
        if source is None or source is op.dst.buffer:
            return src
        return Region.whole(source)

    def _binary(self, op: Op) -> Op:
        for side in (0, 1):
            src, other = op.srcs[side], op.srcs[1 - side]
            if not isinstance(src, Region) or not isinstance(other, Region):
                continue
            if src.buffer in self.filled:
                value = self.filled[src.buffer]
                srcs = (value, other) if side == 0 else (other, value)
                modes = ("imm", op.modes[1]) if side == 0 else (op.modes[0], "imm")
                return replace(op, srcs=srcs, modes=modes)
        return op

    def _note(self, op: Op) -> None:
        assert op.dst is not None
        target = op.dst.buffer
        self.filled.pop(target, None)
        self.flipped.pop(target, None)
        for copy, source in list(self.flipped.items()):
            if source is target:
                del self.flipped[copy]
        if op.name == "fill":
            self.filled[target] = op.value
        if op.name == "copy" and op.transposed and not Space.of(op.dst.shape).vector:
            (src,) = op.srcs
            assert isinstance(src, Region)
            if src.buffer is not target:
                self.flipped[target] = src.buffer


def _fill(op: Op, value: float) -> Op:
    return Op("fill", op.dst, value=value, loc=op.loc)


def _reduce(op: Op) -> Op | None:
    """A reduction of nothing is a constant, one of single elements a copy."""
    (src,) = op.srcs
    assert isinstance(src, Region)
    assert op.dst is not None
    shape = src.shape if len(src.shape) == 2 else (1, src.shape[0])
    length = shape[1] if op.axis == "cols" else shape[0]
    if length == 0:
        return None if accumulates(op) else _fill(op, NOTHING[op.func])
    if length > 1:
        return op
    if accumulates(op):
        return Op("binary", op.dst, (op.dst, src), COMBINE[op.func], modes=("full", "full"),
                  loc=op.loc)  # fmt: skip
    return Op("copy", op.dst, (src,), clear=Clear(always=True), loc=op.loc)


def _without_unseen(body: tuple[Stmt, ...], seen: set[Buffer]) -> tuple[Stmt, ...]:
    """Backwards: an operation stays where its result is among the `seen` buffers, and then
    what it reads is seen too."""
    kept: list[Stmt] = []
    for stmt in reversed(body):
        if isinstance(stmt, Group):
            inner = _without_unseen(stmt.body, seen)
            kept += [replace(stmt, body=inner)] if inner else []
            continue
        if isinstance(stmt, Op):
            assert stmt.dst is not None
            if stmt.dst.buffer not in seen:
                continue
            if not accumulates(stmt):
                seen.discard(stmt.dst.buffer)
            seen.update(src.buffer for src in stmt.srcs if isinstance(src, Region))
        kept.append(stmt)
    return tuple(reversed(kept))


def _without_unused(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
    used = {buffer for stmt in body for buffer in buffers_used(stmt)}
    return tuple(stmt for stmt in body if not isinstance(stmt, Alloc) or stmt.buffer in used)
