"""The tensors of a function in SSA form, while `lift` builds it, and their way into buffers."""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from tileflow_tvm.errors import Loc
from tileflow_tvm.frontend.compute import ComputeFunction
from tileflow_tvm.frontend.tile_ir import (
    Alloc,
    Buffer,
    NameSupply,
    Op,
    Program,
    Region,
    Scope,
    Stmt,
)


@dataclass(eq=False)
class Value:
    """A tensor that is computed once, by the operation `op` (without its regions) from `srcs`;
    or, without `op`, what parameter `param` holds at the start."""

    shape: tuple[int, ...]
    op: Op | None = None
    srcs: tuple[Value | float, ...] = ()
    name: str = ""
    param: Buffer | None = None

    @property
    def inputs(self) -> tuple[Value, ...]:
        return tuple(src for src in self.srcs if isinstance(src, Value))


@dataclass
class Graph:
    """Values in program order. Equal operations on equal operands are one value."""

    function: ComputeFunction
    values: list[Value] = field(default_factory=list)
    _known: dict[Any, Value] = field(default_factory=dict)

    def emit(
        self, op: Op, shape: tuple[int, ...], srcs: tuple[Value | float, ...], name: str
    ) -> Value:
        """The value of `op` on `srcs`; `name` is what its buffer is called."""
        key = (shape, _key(op), tuple(_bits(s) if isinstance(s, float) else s for s in srcs))
        if key not in self._known:
            self._known[key] = self.fresh(op, shape, srcs, name)
        return self._known[key]

    def fresh(
        self, op: Op, shape: tuple[int, ...], srcs: tuple[Value | float, ...], name: str
    ) -> Value:
        """As `emit`, but always a value of its own."""
        value = Value(shape, op, srcs, name)
        self.values.append(value)
        return value


def _bits(value: float) -> bytes:
    """Tells -0.0 from 0.0 and finds NaN equal to itself."""
    return struct.pack("<d", value)


def _key(op: Op) -> tuple[Any, ...]:
    return (op.name, op.func, op.transpose_a, op.transpose_b, op.semiring, op.transposed, op.modes,
            op.axis, _bits(op.value))  # fmt: skip


def to_program(graph: Graph, outputs: dict[Buffer, Value]) -> Program:
    """The program that leaves `outputs` in the parameters; what they do not need is dropped."""
    values = _fold_scales(_live(graph.values, outputs.values()), set(outputs.values()))
    homes, copies = _homes(values, outputs)
    function = graph.function
    names = NameSupply({param.name for param in function.params})
    body: list[Stmt] = []
    for value in values:
        assert value.op is not None
        if value not in homes:
            homes[value] = Buffer(names.fresh(value.name), value.shape, scope=Scope.UNKNOWN,
                                  loc=value.op.loc)  # fmt: skip
            body.append(Alloc(homes[value]))
        srcs = tuple(s if isinstance(s, float) else Region.whole(_home(s, homes))
                     for s in value.srcs)  # fmt: skip
        body.append(replace(value.op, dst=Region.whole(homes[value]), srcs=srcs))
    for param, value, loc in copies:
        body.append(Op("copy", Region.whole(param), (Region.whole(_home(value, homes)),), loc=loc))
    return Program(function.name, function.params, tuple(body), roles=function.roles,
                   loc=function.place.loc)  # fmt: skip


def _home(value: Value, homes: dict[Value, Buffer]) -> Buffer:
    return value.param if value.param is not None else homes[value]


def _live(values: list[Value], outputs: Any) -> list[Value]:
    """The values that `outputs` are computed from, in order."""
    needed = set(outputs)
    for value in reversed(values):
        if value in needed:
            needed.update(value.inputs)
    return [value for value in values if value in needed]


def _homes(
    values: list[Value], outputs: dict[Buffer, Value]
) -> tuple[dict[Value, Buffer], list[tuple[Buffer, Value, Loc | None]]]:
    """Which values are computed into a parameter at once, and the copies that do the rest."""
    homes: dict[Value, Buffer] = {}
    copies = []
    for param, value in outputs.items():
        if value.param is param:
            continue
        if value.op and value not in homes and _may_overwrite(value, param, values):
            homes[value] = param
        else:
            copies.append((param, value, value.op.loc if value.op else param.loc))
    return homes, copies


def _may_overwrite(value: Value, param: Buffer, values: list[Value]) -> bool:
    """Whether `value` can be computed into `param`: what that held at the start is not read
    later, and by `value` itself only cell by cell."""
    if value.shape != param.shape:
        return False
    readers = [v for v in values if any(src.param is param for src in v.inputs)]
    if value in readers and not _cell_by_cell(value, param):
        return False
    order = {v: position for position, v in enumerate(values)}
    return all(order[reader] <= order[value] for reader in readers)


def _cell_by_cell(value: Value, param: Buffer) -> bool:
    op = value.op
    assert op is not None
    if op.name == "unary":
        return True
    if op.name != "binary":
        return False
    return all(
        mode == "full"
        for src, mode in zip(value.srcs, op.modes, strict=True)
        if isinstance(src, Value) and src.param is param
    )


def _fold_scales(values: list[Value], kept: set[Value]) -> list[Value]:
    """f(x * c), f(x + c), f(c - x) as one unary with a scale or a bias, which rounds as often,
    where nothing else uses the argument."""
    uses = Counter(src for value in values for src in value.inputs)
    gone: set[Value] = set()
    for value in values:
        if value.op is None or value.op.name != "unary":
            continue
        (argument,) = value.inputs
        if uses[argument] != 1 or argument in kept or argument.shape != value.shape:
            continue
        if (folded := _scale_and_bias(argument)) is not None:
            src, scale, bias = folded
            value.op, value.srcs = replace(value.op, scale=scale, bias=bias), (src,)
            gone.add(argument)
    return [value for value in values if value not in gone]


def _scale_and_bias(value: Value) -> tuple[Value, float, float] | None:
    """x, scale and bias where `value` is x * scale or x + bias, rounded once."""
    if value.op is None or value.op.name != "binary" or "imm" not in value.op.modes:
        return None
    if "full" not in value.op.modes:
        return None
    match value.op.func, value.srcs:
        case ("mul", (Value() as x, float(c))) | ("mul", (float(c), Value() as x)):
            return x, c, -0.0
        case ("add", (Value() as x, float(c))) | ("add", (float(c), Value() as x)):
            return x, 1.0, c
        case "sub", (Value() as x, float(c)):
            return x, 1.0, -c
        case "sub", (float(c), Value() as x):
            return x, -1.0, c
    return None
