"""Which operation makes a value and which ones read it, in a tensor-level program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tileflow_tvm.frontend.tile_ir import Buffer, Op, Program, Region


@dataclass(frozen=True)
class Value:
    """What `buffer` holds after it was written `version` times; 0 is what the caller passed."""

    buffer: Buffer
    version: int


Read = Value | float


def accumulates(op: Op) -> bool:
    """Whether `op` adds to what its destination held before."""
    return op.name in ("gemm", "reduce") and not op.clear.always


class Dataflow:
    """Reads and writes of each operation as values, so that buffers written twice are no
    special case. Operations overwrite whole buffers."""

    def __init__(self, program: Program) -> None:
        self.ops = program.ops
        self.reads: dict[Op, tuple[Read, ...]] = {}
        """What each source holds, in the order of `op.srcs`."""
        self.before: dict[Op, Value] = {}
        """What an accumulating operation adds to."""
        self.writes: dict[Op, Value] = {}
        self.maker: dict[Value, Op] = {}
        self.users: dict[Value, list[Op]] = {}
        versions: Counter[Buffer] = Counter()
        for op in self.ops:
            self._add(op, versions)
        self.results = frozenset(
            Value(param, versions[param]) for param in program.params if versions[param]
        )
        """The values that the caller sees."""

    def _add(self, op: Op, versions: Counter[Buffer]) -> None:
        assert op.dst is not None
        target = op.dst.buffer
        self.reads[op] = tuple(
            Value(src.buffer, versions[src.buffer]) if isinstance(src, Region) else src
            for src in op.srcs
        )
        if accumulates(op):
            self.before[op] = Value(target, versions[target])
        for value in self.values_read(op):
            self.users.setdefault(value, []).append(op)
        versions[target] += 1
        self.writes[op] = Value(target, versions[target])
        self.maker[self.writes[op]] = op

    def values_read(self, op: Op) -> tuple[Value, ...]:
        """The values that `op` needs, each once."""
        values = [read for read in self.reads[op] if isinstance(read, Value)]
        if op in self.before:
            values.append(self.before[op])
        return tuple(dict.fromkeys(values))

    def kept(self, ops: Iterable[Op]) -> frozenset[Value]:
        """The values that `ops` make and that something else sees."""
        inside = set(ops)
        made = {self.writes[op] for op in inside}
        leaving = {value for value in made if not inside.issuperset(self.users.get(value, ()))}
        return frozenset(leaving | (made & self.results))

    def must_follow(self, op: Op) -> set[Op]:
        """The operations that `op` may not overtake: those that make what it reads, and those
        that read what it overwrites. (What nothing reads is not there after `simplify`.)"""
        first = {self.maker[value] for value in self.values_read(op) if value in self.maker}
        made = self.writes[op]
        first.update(self.users.get(Value(made.buffer, made.version - 1), ()))
        first.discard(op)
        return first
