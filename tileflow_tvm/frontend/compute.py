"""Compute-level functions as typed Python values: what `legalize` checks and `lift` reads.

`frontend.compute_read` makes them from a PrimFunc of sblocks, `frontend.compute_write` turns them
back. A block is a `Stage`: over the box of its axes, one cell of one buffer is assigned, or
accumulated into, by a scalar expression with affine indices.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from tileflow_tvm.errors import KernelError, Loc, TileflowError
from tileflow_tvm.frontend.tile_ir import Affine, Buffer, Var

E = TypeVar("E", bound=TileflowError)

COMBINERS = {"add": "sum", "max": "max", "min": "min", "mul": "prod"}
"""Which reduction an accumulating binary function is; functions are named as in `isa.table`."""
INTEGER = "int32_"
"""In front of a function's name: it is that of int32, modulo 2**32."""
SELECT = "select"
"""The function that is its second argument where the first is not 0, else the third."""
CASTS = (
    ("bfloat16", "float32"), ("float32", "bfloat16"), ("int8", "float32"), ("int8", "int32"),
    ("int32", "float32"),
)  # fmt: skip
"""The conversions in which `exec.cast` and TVM agree. (From float32 to integers TVM cuts off, from
int32 to int8 it wraps.)"""
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
    """A value of an element type."""

    value: float
    dtype: str = "float32"


@dataclass(frozen=True)
class Access:
    """One cell of a buffer; as an expression, its value.

    `flat`: the only index is the cell's number in row-major order. With `fill`, an index outside
    of the buffer is legal and reads as that value.
    """

    buffer: Buffer
    index: tuple[Affine, ...]
    place: Place = field(default_factory=Place, compare=False)
    flat: bool = False
    fill: float | None = None

    @property
    def number(self) -> Affine:
        """The cell's number in row-major order."""
        if self.flat:
            return self.index[0]
        total = Affine()
        for index, size in zip(self.index, self.buffer.shape, strict=True):
            total = total * size + index
        return total

    @property
    def axes(self) -> frozenset[Var]:
        return frozenset(var for index in self.index for var, _ in index.terms)

    def __str__(self) -> str:
        flat = ".flat" if self.flat else ""
        return f"{self.buffer.name}{flat}[{', '.join(map(affine_text, self.index))}]"


@dataclass(frozen=True)
class Apply:
    """A unary or binary function of `isa.table` applied to one or two float32 expressions, or with
    `INTEGER` in front of its name to int32 ones; or `SELECT`, with a condition of either."""

    func: str
    args: tuple[Expr, ...]
    place: Place = field(default_factory=Place, compare=False)


@dataclass(frozen=True)
class Cast:
    """`value` converted to another element type, as `exec.cast` does."""

    dtype: str
    value: Expr
    place: Place = field(default_factory=Place, compare=False)


@dataclass(frozen=True)
class Mask:
    """`yes` where none of `conditions` is negative, else `no`."""

    conditions: tuple[Affine, ...]
    yes: Expr
    no: Expr
    place: Place = field(default_factory=Place, compare=False)


@dataclass(frozen=True)
class Index:
    """What `form` is at this iteration, in an element type: float32 to the nearest even, or
    int32."""

    form: Affine
    dtype: str = "float32"
    place: Place = field(default_factory=Place, compare=False)


@dataclass(frozen=True)
class Reduced:
    """`value` reduced over the axes `over`, all of which are on chip at once; `combine` as in a
    `Stage`. What `fuse` makes of a reduction whose result meets what was reduced."""

    combine: str
    value: Expr
    over: tuple[Var, ...]
    place: Place = field(default_factory=Place, compare=False)


@dataclass(frozen=True)
class Result:
    """In what a stage stores: the value that it assigns or has accumulated."""


Expr = Const | Access | Apply | Cast | Mask | Index | Reduced | Result


@dataclass(frozen=True, eq=False)
class Stage:
    """A block: for every point of `axes`, target = value, or with `combine` (sum, max, min,
    prod) target = combine(target, value). `init` is what target holds before the first
    accumulation; None: what it held before the block.

    Where `fuse` has put others behind it, `stores` says what is stored in place of `target`:
    expressions over the axes that are not reduced, in which `Result` is what `target` would hold.
    """

    name: str
    axes: tuple[Axis, ...]
    target: Access
    value: Expr
    combine: str = ""
    init: Expr | None = None
    place: Place = field(default_factory=Place)
    stores: tuple[tuple[Access, Expr], ...] = ()

    @property
    def results(self) -> tuple[tuple[Access, Expr], ...]:
        """Every cell that is stored, and what."""
        return self.stores or ((self.target, Result()),)

    @property
    def continues(self) -> bool:
        """Whether it accumulates onto what `target` held before."""
        return bool(self.combine) and self.init is None

    @property
    def extents(self) -> dict[Var, int]:
        return {axis.var: axis.extent for axis in self.axes}

    @property
    def sources(self) -> tuple[Access, ...]:
        """Every distinct read, in order of writing; without the accumulator itself."""
        exprs = [self.value, *([self.init] if self.init else []), *(e for _, e in self.stores)]
        return tuple(dict.fromkeys(access for expr in exprs for access in accesses(expr)))


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
            if stage.continues:
                read.add(stage.target.buffer)
            read_first |= read - written
            written.update(access.buffer for access, _ in stage.results)
        kinds = {(True, True): "inout", (True, False): "out"}
        return tuple(kinds.get((p in written, p in read_first), "in") for p in self.params)


def walk_expr(expr: Expr) -> Iterator[Expr]:
    """Every distinct node once, arguments before what uses them."""
    seen: set[int] = set()

    def visit(node: Expr) -> Iterator[Expr]:
        if id(node) in seen:
            return
        seen.add(id(node))
        for part in parts(node):
            yield from visit(part)
        yield node

    yield from visit(expr)


def parts(expr: Expr) -> tuple[Expr, ...]:
    """The expressions that `expr` is made of."""
    if isinstance(expr, Apply):
        return expr.args
    if isinstance(expr, Reduced | Cast):
        return (expr.value,)
    return (expr.yes, expr.no) if isinstance(expr, Mask) else ()


def with_parts(expr: Expr, new: tuple[Expr, ...]) -> Expr:
    """`expr` made of `new` instead."""
    if isinstance(expr, Apply):
        return replace(expr, args=new)
    if isinstance(expr, Reduced | Cast):
        return replace(expr, value=new[0])
    return replace(expr, yes=new[0], no=new[1]) if isinstance(expr, Mask) else expr


def forms(node: Expr) -> tuple[Affine, ...]:
    """The affine forms of axes that the value of this one node depends on, but for cells."""
    if isinstance(node, Mask):
        return node.conditions
    return (node.form,) if isinstance(node, Index) else ()


def map_forms(node: Expr, change: Callable[[Affine], Affine]) -> Expr:
    """`node` with each of its `forms` replaced."""
    if isinstance(node, Mask):
        return replace(node, conditions=tuple(map(change, node.conditions)))
    return replace(node, form=change(node.form)) if isinstance(node, Index) else node


def has_forms(expr: Expr) -> bool:
    return any(forms(node) for node in walk_expr(expr))


def accesses(expr: Expr) -> tuple[Access, ...]:
    """The distinct reads in `expr`."""
    return tuple(dict.fromkeys(node for node in walk_expr(expr) if isinstance(node, Access)))


def rewrite(expr: Expr, leaf: Callable[[Access], Expr]) -> Expr:
    """`expr` with every read replaced by what `leaf` makes of it; shared parts stay shared."""
    return transform(expr, lambda node: leaf(node) if isinstance(node, Access) else node)


def transform(expr: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """`expr` with every node replaced by what `change` makes of it, parts before wholes."""
    done: dict[int, tuple[Expr, Expr]] = {}

    def visit(node: Expr) -> Expr:
        if id(node) not in done:
            old = parts(node)
            new = tuple(map(visit, old))
            same = all(a is b for a, b in zip(old, new, strict=True))
            done[id(node)] = node, change(node if same else with_parts(node, new))
        return done[id(node)][1]

    return visit(expr)


def substitute_axes(expr: Expr, by: dict[Var, Affine]) -> Expr:
    """`expr` with affine forms in place of axes."""

    def change(node: Expr) -> Expr:
        if isinstance(node, Access):
            return replace(node, index=tuple(substituted(i, by) for i in node.index))
        if isinstance(node, Reduced):
            return replace(node, over=tuple(_axis_for(var, by) for var in node.over))
        return map_forms(node, lambda form: substituted(form, by))

    return transform(expr, change)


def _axis_for(var: Var, by: dict[Var, Affine]) -> Var:
    ((new, step),) = by[var].terms if var in by else ((var, 1),)
    assert step == 1, "axes that are reduced on chip are renamed, never moved"
    return new


def shared(exprs: Sequence[Expr]) -> tuple[Expr, ...]:
    """`exprs` with equal parts made one."""
    known: dict[object, Expr] = {}

    def change(node: Expr) -> Expr:
        own = tuple(id(part) for part in parts(node))
        if isinstance(node, Const):
            key: object = ("const", node.dtype, struct.pack("<d", node.value))
        elif isinstance(node, Access):
            fill = None if node.fill is None else struct.pack("<d", node.fill)
            key = (node.buffer, node.index, node.flat, fill)
        elif isinstance(node, Apply):
            key = (node.func, own)
        elif isinstance(node, Cast):
            key = ("cast", node.dtype, own)
        elif isinstance(node, Index):
            key = ("index", node.dtype, node.form)
        elif isinstance(node, Reduced):
            key = (node.combine, node.over, own)
        else:
            key = (node.conditions, own) if isinstance(node, Mask) else "result"
        return known.setdefault(key, node)

    return tuple(transform(expr, change) for expr in exprs)


def dtype_of(expr: Expr) -> str:
    """The element type of `expr`, which has no `Result` in it."""
    if isinstance(expr, Const | Cast | Index):
        return expr.dtype
    if isinstance(expr, Access):
        return expr.buffer.dtype
    if isinstance(expr, Apply):
        if expr.func == SELECT:
            return dtype_of(expr.args[1])
        return "int32" if expr.func.startswith(INTEGER) else "float32"
    return dtype_of(parts(expr)[0])


def substituted(value: Affine, by: dict[Var, Affine]) -> Affine:
    total = Affine(value.const)
    for var, step in value.terms:
        total += by[var] * step if var in by else Affine(0, ((var, step),))
    return total


def map_accesses(stage: Stage, change: Callable[[Access], Access]) -> Stage:
    """`stage` with every read and its target replaced."""
    init = rewrite(stage.init, change) if stage.init is not None else None
    stores = tuple((change(access), rewrite(expr, change)) for access, expr in stage.stores)
    return replace(
        stage, target=change(stage.target), value=rewrite(stage.value, change), init=init,
        stores=stores,
    )  # fmt: skip


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
