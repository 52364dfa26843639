"""Tile-level programs as typed Python values: what every pass reads and writes.

TVM objects are walked in `frontend` alone: `frontend.read` turns a PrimFunc into a `Program`,
`frontend.write` turns it back. Both directions keep source locations, and what `write` makes
prints as a TVMScript that a person could have written.

The same operations appear at three stages. After `lift`, regions are whole tensors in DRAM
("tensor level"). After `tile`, they are blocks, with loops, loads and stores around them
("tile level"). After `pipeline`, every buffer has an address and every operation its semaphores
("placed").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from tileflow_tvm.errors import Loc
from tileflow_tvm.isa.program import BROADCAST
from tileflow_tvm.isa.table import DTYPE_FACTS, SEMIRINGS, Engine

if TYPE_CHECKING:
    from tileflow_tvm.frontend.compute import Stage

ITEMSIZE = {dtype.numpy: dtype.nbytes for dtype in DTYPE_FACTS}
"""Bytes of an element, by TVM's name of the dtype."""


class Scope(Enum):
    """Where a buffer lives; the value is the storage scope in TVMScript."""

    UNKNOWN = ""
    DRAM = "global"
    GRID = "tile.grid"
    """Rank 2, a row-major grid of contiguous tiles."""
    VEC = "tile.vec"
    """Contiguous; rank 1, or rank 2 with a unit dimension."""

    @property
    def on_chip(self) -> bool:
        return self in (Scope.GRID, Scope.VEC)


@dataclass(frozen=True, eq=False)
class Var:
    """A loop variable, or a scalar parameter known at launch. Compared by identity."""

    name: str
    scalar: bool = False


ROW, COL = Var("row"), Var("col")
"""In the form of an operation: an element's row and column in the block."""


@dataclass(frozen=True)
class Affine:
    """const + sum of coefficient * variable; no zero coefficients, variables in order of use."""

    const: int = 0
    terms: tuple[tuple[Var, int], ...] = ()

    def __add__(self, other: Affine | int) -> Affine:
        other = Affine.of(other)
        merged = dict(self.terms)
        for var, step in other.terms:
            merged[var] = merged.get(var, 0) + step
        return Affine(self.const + other.const, tuple((v, s) for v, s in merged.items() if s))

    def __sub__(self, other: Affine | int) -> Affine:
        return self + Affine.of(other) * -1

    def __mul__(self, factor: int) -> Affine:
        if factor == 0:
            return Affine()
        return Affine(self.const * factor, tuple((v, s * factor) for v, s in self.terms))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Affine):
            return NotImplemented
        return self.const == other.const and dict(self.terms) == dict(other.terms)

    def __hash__(self) -> int:
        return hash((self.const, frozenset(self.terms)))

    @property
    def is_const(self) -> bool:
        return not self.terms

    @staticmethod
    def of(value: Affine | int | Var) -> Affine:
        if isinstance(value, Affine):
            return value
        return Affine(0, ((value, 1),)) if isinstance(value, Var) else Affine(value)


def renamed(value: Affine, by: dict[Var, Var]) -> Affine:
    """`value` with other variables."""
    return Affine(value.const, tuple((by[var], step) for var, step in value.terms))


@dataclass(frozen=True)
class Extent:
    """How much of a block is inside: clamp(limit, 0, size), or size where limit is None."""

    size: int
    limit: Affine | None = None


@dataclass(frozen=True)
class View:
    """Element (i, j, ..) is element `offset` + i * strides[0] + j * strides[1] + .. of `base`, a
    tensor in DRAM that is no view itself, counted in row-major order."""

    base: Buffer
    offset: int
    strides: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Buffer:
    """A tensor in DRAM or a block on chip. Compared by identity: names may repeat.

    With a `view` it has no memory of its own: it is another tensor's, seen with its own shape.
    `param` is the index of the function's parameter, None for what the function allocates.
    After plan_sram, `address` is the byte address of slot 0 and `slots` the ring depth: slot
    s is at address + s * bytes, and iteration i of the loop that allocates it uses i mod slots.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    scope: Scope = Scope.UNKNOWN
    loc: Loc | None = None
    param: int | None = None
    address: int | None = None
    slots: int = 1
    view: View | None = None

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def storage(self) -> Buffer:
        """The buffer whose memory it is: itself, or the base of a view."""
        return self.view.base if self.view else self

    @property
    def aliases_itself(self) -> bool:
        """Whether two indices of a view may meet one element of its base."""
        return bool(self.view) and may_meet(zip(self.shape, self.view.strides, strict=True))


@dataclass(frozen=True)
class Region:
    """The box of `buffer` that begins at `start` and has `shape`; ranks are the buffer's."""

    buffer: Buffer
    start: tuple[Affine, ...]
    shape: tuple[int, ...]

    @staticmethod
    def whole(buffer: Buffer) -> Region:
        return Region(buffer, tuple(Affine() for _ in buffer.shape), buffer.shape)

    @property
    def is_whole(self) -> bool:
        return self.shape == self.buffer.shape and all(a == Affine() for a in self.start)

    @staticmethod
    def of_box(buffer: Buffer, corner: tuple[Affine, ...], dims: tuple[BoxDim, ...]) -> Region:
        """The bounding box of a box transfer, at the coordinates of its corner."""
        shape = [1] * len(buffer.shape)
        for dim in dims:
            if dim.dim != BROADCAST:
                shape[dim.dim] += abs(dim.reach)
        return Region(buffer, corner, tuple(shape))


@dataclass(frozen=True)
class BoxDim:
    """`extent` indices of a block's rows or columns, each `step` further along dimension `dim` of
    the tensor; along BROADCAST (-1) the tensor's coordinates stay."""

    extent: int
    dim: int
    step: int = 1

    @property
    def reach(self) -> int:
        """From the first coordinate to the last."""
        return 0 if self.dim == BROADCAST else (self.extent - 1) * self.step


def may_meet(walk: Iterable[tuple[int, int]]) -> bool:
    """Whether a walk of (extent, step) pairs may come to one place twice; certainly not where
    every step is longer than all that smaller ones reach."""
    reach = 0
    for extent, step in sorted(walk, key=lambda pair: abs(pair[1])):
        if extent > 1 and abs(step) <= reach:
            return True
        reach += max(0, extent - 1) * abs(step)
    return False


Operand = Region | float


@dataclass(frozen=True)
class Clear:
    """When an accumulating operation takes dst as empty: never, always, or at iteration 0 of
    loop `var`."""

    always: bool = False
    var: Var | None = None


class Unit(NamedTuple):
    """An engine of the machine: its kind, and which one of that kind."""

    engine: Engine
    number: int = 0

    def __str__(self) -> str:
        return self.engine.value + (str(self.number) if self.number else "")

    @staticmethod
    def of(text: str) -> Unit:
        """The inverse of `str`: "exec" is the first EXEC, "exec1" the second."""
        kind = text.rstrip("0123456789")
        return Unit(Engine(kind), int(text.removeprefix(kind) or 0))


@dataclass(frozen=True, eq=False)
class Op:
    """One operation. Which fields count depends on `name`:

    ========= ======================== ==================================================
    name      dst, srcs                fields
    ========= ======================== ==================================================
    load      chip, (dram,)            value (the fill), transposed, rows, cols, padded
    store     dram, (chip,)            transposed, rows, cols
    copy      any, (any,)              transposed; infer_scope makes it load, store or unary
    gemm      (m,n), (A, B)            clear, transpose_a, transpose_b, semiring
    unary     (m,n), (x,)              func, scale, bias
    binary    (m,n), (lhs, rhs)        func, modes; a float operand has mode "imm"
    select    (m,n), (cond, a, b)      modes
    reduce    (m,) or (n,), (x,)       func, axis ("cols": along columns, m results), clear
    fill      (m,n), ()                value
    transpose (n,m), (x,)
    cast      (m,n), (x,)              scale
    affine_select (m,n), (x,)          form, value
    iota      (m,n), ()                form
    nest      any, any                 stage: what a block computes, on whole tensors
    nop       None, ()                 engine
    ========= ======================== ==================================================

    func, axis, modes and semiring take the names of `isa.table`. A `form` is affine in ROW, COL,
    loop variables and scalars; affine_select keeps the elements where it is not negative. `extents`
    (after infer_scope) are the true extents: (m, n, k) of a gemm, (m, n) of the others, m and n
    those of the source where source and destination differ (reduce, transpose). A rank-1 operand
    is a 1 x n matrix unless its mode is "col" or it is the result of a reduction along "cols".

    A load or store with `rows` or `cols` is a *box transfer*: these are the dimensions that make
    the block's rows and columns, the most significant first, and the region in DRAM begins at the
    box's corner (where all indices are 0) and has the shape of its bounding box. What a `padded`
    load reads outside the tensor is the fill value and counts as valid.

    `unit` says which EXEC engine of the machine runs it; the other kinds have one engine each.
    """

    name: str
    dst: Region | None = None
    srcs: tuple[Operand, ...] = ()
    func: str = ""
    clear: Clear = Clear(always=True)
    transpose_a: bool = False
    transpose_b: bool = False
    semiring: str = SEMIRINGS[0]
    transposed: bool = False
    rows: tuple[BoxDim, ...] = ()
    cols: tuple[BoxDim, ...] = ()
    padded: bool = False
    modes: tuple[str, ...] = ()
    axis: str = ""
    value: float = 0.0
    form: Affine = Affine()
    scale: float = 1.0
    bias: float = -0.0
    engine: Engine | None = None
    unit: int = 0
    extents: tuple[Extent, ...] = ()
    waits: tuple[int, ...] = ()
    posts: tuple[int, ...] = ()
    stage: Stage | None = None
    loc: Loc | None = None

    @property
    def runs_on(self) -> Unit:
        """Requires: the engine is known, as it is after infer_scope."""
        assert self.engine is not None
        return Unit(self.engine, self.unit)

    @property
    def base(self) -> Affine:
        """What `form` is at the first row and column."""
        return self.form - Affine(0, ((ROW, self.steps[0]), (COL, self.steps[1])))

    @property
    def steps(self) -> tuple[int, int]:
        """What a row and what a column adds to `form`."""
        terms = dict(self.form.terms)
        return terms.get(ROW, 0), terms.get(COL, 0)

    @property
    def regions(self) -> tuple[Region, ...]:
        """dst, then the sources that are regions."""
        head = (self.dst,) if self.dst else ()
        return head + tuple(src for src in self.srcs if isinstance(src, Region))

    @property
    def ends(self) -> tuple[Region, Region]:
        """The end of a load or store that is on chip, then the one in DRAM."""
        assert self.name in ("load", "store")
        dst, src = self.regions
        return (dst, src) if self.name == "load" else (src, dst)

    @property
    def box(self) -> tuple[BoxDim, ...]:
        """The dimensions of a box transfer; () for every other operation."""
        return self.rows + self.cols

    @property
    def touched(self) -> tuple[Region, ...]:
        """`regions`, each moved to its lowest coordinates: a box that steps backwards lies in
        front of its corner."""
        if not any(dim.reach < 0 for dim in self.box):
            return self.regions
        _, dram = self.ends
        back = [sum(min(0, d.reach) for d in self.box if d.dim == axis)
                for axis in range(len(dram.shape))]  # fmt: skip
        lowest = tuple(start + shift for start, shift in zip(dram.start, back, strict=True))
        moved = replace(dram, start=lowest)
        return tuple(moved if region is dram else region for region in self.regions)


@dataclass(frozen=True, eq=False)
class Alloc:
    """`buffer` comes to life here and lives to the end of the enclosing block. A view gets no
    memory: from here on it can be used."""

    buffer: Buffer


@dataclass(frozen=True, eq=False)
class Loop:
    """`body` for var = 0 .. extent-1. `stages` asks for a ring depth; 0 is automatic."""

    var: Var
    extent: Affine
    body: tuple[Stmt, ...]
    stages: int = 0
    loc: Loc | None = None


@dataclass(frozen=True, eq=False)
class Group:
    """Tensor-level operations that `fuse` wants in one loop nest."""

    body: tuple[Stmt, ...]


Stmt = Op | Alloc | Loop | Group


@dataclass(frozen=True)
class Semaphore:
    """A one-way channel: `poster` increments it, `waiter` decrements it."""

    poster: Unit
    waiter: Unit
    count: int


@dataclass(frozen=True, eq=False)
class Program:
    """A function. `params` are its tensors in order of declaration, `scalars` its launch
    parameters; `roles` says of each tensor whether it is "in", "out" or "inout"."""

    name: str
    params: tuple[Buffer, ...]
    body: tuple[Stmt, ...]
    scalars: tuple[Var, ...] = ()
    roles: tuple[str, ...] = ()
    semaphores: tuple[Semaphore, ...] = ()
    loc: Loc | None = None

    @cached_property
    def ops(self) -> tuple[Op, ...]:
        return tuple(stmt for stmt in walk(self.body) if isinstance(stmt, Op))


def walk(body: tuple[Stmt, ...]) -> Iterator[Stmt]:
    """Every statement in program order, a loop before what is in it."""
    for stmt in body:
        yield stmt
        if isinstance(stmt, Loop | Group):
            yield from walk(stmt.body)


@dataclass
class NameSupply:
    """Fresh names that a printed script can use without clashes."""

    taken: set[str] = field(default_factory=set)

    def fresh(self, stem: str) -> str:
        name, count = stem, 0
        while name in self.taken:
            count += 1
            name = f"{stem}_{count}"
        self.taken.add(name)
        return name
