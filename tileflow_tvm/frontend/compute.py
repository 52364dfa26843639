"""Compute-level functions as typed Python values: what `legalize` checks and `lift` reads.

`frontend.compute_read` makes them from a PrimFunc of sblocks, `frontend.compute_write` turns them
back. A block is a `Stage`: over the box of its axes, one cell of one buffer is assigned, or
accumulated into, by a scalar expression with affine indices.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

from tileflow_tvm.errors import KernelError, Loc, TileflowError
from tileflow_tvm.frontend.tile_ir import Affine, Buffer, Var

E = TypeVar("E", bound=TileflowError)

COMBINERS = {"add": "sum", "max": "max", "min": "min", "mul": "prod"}
"""Which reduction an accumulating binary function is; functions are named as in `isa.table`."""
IDENTITY = {"sum": 0.0, "max": float("-inf"), "min": float("inf"), "prod": 1.0}
"""What a reduction of nothing gives."""


@dataclass(frozen=True)
class Place:
    """Where something was written. `show` draws it inside the printed function, for functions
    that no text stands behind."""

    loc: Loc | None = None
    show: Callable[[], str] | None = None

    def error(self, what: str, hint: str = "", notes: tuple[str, ...] = ()) -> KernelError:
        return self.give(KernelError(what, hint=hint, notes=notes))

    def give(self, error: E) -> E:
        """`error` with this place."""
        return error.but(loc=self.loc, excerpt=self.show() if not self.loc and self.show else None)


@dataclass(frozen=True, eq=False)
class Axis:
    """One dimension of a block's domain, 0 .. extent-1. There are none of extent 1: their
    variable is replaced by 0."""

    var: Var
    extent: int
    reduce: bool = False


@dataclass(frozen=True)
class Const:
    """A float32 value."""

    value: float


@dataclass(frozen=True)
class Access:
    """One cell of a buffer; as an expression, its value."""

    buffer: Buffer
    index: tuple[Affine, ...]
    place: Place = field(default_factory=Place, compare=False)

    def __str__(self) -> str:
        return f"{self.buffer.name}[{', '.join(map(affine_text, self.index))}]"


@dataclass(frozen=True)
class Apply:
    """A unary or binary function of `isa.table` applied to one or two expressions."""

    func: str
    args: tuple[Expr, ...]
    place: Place = field(default_factory=Place, compare=False)


Expr = Const | Access | Apply


@dataclass(frozen=True, eq=False)
class Stage:
    """A block: for every point of `axes`, target = value, or with `combine` (sum, max, min,
    prod) target = combine(target, value). `init` is what target holds before the first
    accumulation; None: what it held before the block."""

    name: str
    axes: tuple[Axis, ...]
    target: Access
    value: Expr
    combine: str = ""
    init: Expr | None = None
    place: Place = field(default_factory=Place)

    @property
    def extents(self) -> dict[Var, int]:
        return {axis.var: axis.extent for axis in self.axes}

    @property
    def sources(self) -> tuple[Access, ...]:
        """Every distinct read, in order of writing; without the accumulator itself."""
        return accesses(self.value) + (accesses(self.init) if self.init else ())


@dataclass(frozen=True, eq=False)
class ComputeFunction:
    """A function of blocks. `temps` are the buffers it allocates."""

    name: str
    params: tuple[Buffer, ...]
    temps: tuple[Buffer, ...]
    stages: tuple[Stage, ...]
    place: Place = field(default_factory=Place)

    @property
    def roles(self) -> tuple[str, ...]:
        """Of each parameter "in", "out" (written before it is read) or "inout"."""
        read_first: set[Buffer] = set()
        written: set[Buffer] = set()
        for stage in self.stages:
            read = {access.buffer for access in stage.sources}
            if stage.combine and stage.init is None:
                read.add(stage.target.buffer)
            read_first |= read - written
            written.add(stage.target.buffer)
        kinds = {(True, True): "inout", (True, False): "out"}
        return tuple(kinds.get((p in written, p in read_first), "in") for p in self.params)


def walk_expr(expr: Expr) -> Iterator[Expr]:
    """Every distinct node once, arguments before what uses them."""
    seen: set[int] = set()

    def visit(node: Expr) -> Iterator[Expr]:
        if id(node) in seen:
            return
        seen.add(id(node))
        if isinstance(node, Apply):
            for arg in node.args:
                yield from visit(arg)
        yield node

    yield from visit(expr)


def accesses(expr: Expr) -> tuple[Access, ...]:
    """The distinct reads in `expr`."""
    return tuple(dict.fromkeys(node for node in walk_expr(expr) if isinstance(node, Access)))


def rewrite(expr: Expr, leaf: Callable[[Access], Expr]) -> Expr:
    """`expr` with every read replaced by what `leaf` makes of it; shared parts stay shared."""
    done: dict[int, Expr] = {}

    def visit(node: Expr) -> Expr:
        if id(node) not in done:
            if isinstance(node, Access):
                done[id(node)] = leaf(node)
            elif isinstance(node, Apply):
                done[id(node)] = replace(node, args=tuple(map(visit, node.args)))
            else:
                done[id(node)] = node
        return done[id(node)]

    return visit(expr)


def map_accesses(stage: Stage, change: Callable[[Access], Access]) -> Stage:
    """`stage` with every read and its target replaced."""
    init = rewrite(stage.init, change) if stage.init is not None else None
    return replace(
        stage, target=change(stage.target), value=rewrite(stage.value, change), init=init
    )


def to_f32(value: float) -> float:
    """The nearest float32; OverflowError where a finite value has none (TVM makes no such
    constants)."""
    rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return rounded


def bounds(index: Affine, extents: dict[Var, int]) -> tuple[int, int]:
    """Smallest and largest value of `index` over a box that is not empty."""
    spans = [step * (extents[var] - 1) for var, step in index.terms]
    return (
        index.const + sum(span for span in spans if span < 0),
        index.const + sum(span for span in spans if span > 0),
    )


def affine_text(value: Affine) -> str:
    """As one would write it: `2 * i - j + 1`."""
    text = ""
    for var, step in value.terms:
        term = var.name if abs(step) == 1 else f"{abs(step)} * {var.name}"
        sign = "-" if step < 0 else "+"
        text += f" {sign} {term}" if text else f"-{term}" if step < 0 else term
    if value.const or not text:
        sign = "-" if value.const < 0 else "+"
        text += f" {sign} {abs(value.const)}" if text else str(value.const)
    return text
