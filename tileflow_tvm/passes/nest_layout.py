"""How the axes of a nest are laid out: rows and columns of blocks, and loops around them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod

from tileflow_tvm.frontend.compute import (
    Access,
    Apply,
    Axis,
    Cast,
    Expr,
    Reduced,
    Stage,
    dtype_of,
    forms,
    parts,
    walk_expr,
)
from tileflow_tvm.frontend.compute_cells import are_nested
from tileflow_tvm.frontend.tile_ir import Affine, Var
from tileflow_tvm.isa.table import SEMIRINGS
from tileflow_tvm.passes.semirings import semiring_of

MAX_RANK = 5
"""Dimensions of a tensor descriptor, and of a box."""


@dataclass(frozen=True)
class Side:
    """Axes that make the rows, or the columns, of blocks; the most significant first. A block
    has `block` indices of the first one, and all of the others."""

    axes: tuple[Axis, ...] = ()
    block: int = 1

    @property
    def inner(self) -> int:
        return prod(axis.extent for axis in self.axes[1:])

    @property
    def length(self) -> int:
        return self.block * self.inner if self.axes else 1

    @property
    def blocks(self) -> int:
        return -(-self.axes[0].extent // self.block) if self.axes else 1

    @property
    def reduced(self) -> bool:
        return bool(self.axes) and self.axes[0].reduce

    @property
    def whole(self) -> bool:
        """Whether blocks never hang over the end."""
        return not self.axes or self.axes[0].extent % self.block == 0

    def extent_of(self, axis: Axis) -> int:
        return self.block if axis is self.axes[0] else axis.extent

    def meets(self, axes: frozenset[Var]) -> bool:
        """Whether something that depends on `axes` varies along the side."""
        return any(axis.var in axes for axis in self.axes)


EMPTY = Side()


@dataclass(frozen=True)
class Layout:
    """The sides of a nest, and the order of its loops: over axes on no side, and over the blocks
    of sides, named by their first axis.

    rows and cols are those of what is stored. With `depth` the nest is a matrix product of lhs
    (rows x depth) and rhs (depth x cols); else the value is computed over rows x cols, of which
    either may be reduced.
    """

    rows: Side
    cols: Side
    depth: Side = EMPTY
    loops: tuple[Axis, ...] = ()
    product: bool = False
    resident: int | None = None
    """The factor, 0 or 1, of which all that one sum needs is on chip at once, outside the loops
    that sum; the steps of the sum use slices of it."""

    @property
    def sides(self) -> tuple[Side, ...]:
        return tuple(side for side in (self.rows, self.cols, self.depth) if side.axes)

    def trips(self, axis: Axis) -> int:
        for side in self.sides:
            if side.axes[0] is axis:
                return side.blocks
        return axis.extent

    def start(self, axis: Axis, loop_of: dict[Var, Var]) -> Affine:
        """The first index of `axis` in a block, or the one index where it is a loop."""
        loop = loop_of.get(axis.var)
        if loop is None:
            return Affine()
        heads = [side for side in self.sides if axis is side.axes[0]]
        return Affine.of(loop) * (heads[0].block if heads else 1)

    @property
    def summed(self) -> tuple[Axis, ...]:
        """Loops that sum, outermost first."""
        return tuple(axis for axis in self.loops if axis.reduce and self.trips(axis) > 1)

    @property
    def whole_depth(self) -> Side:
        """All that is summed, in the order in which the loops walk it."""
        loops = tuple(axis for axis in self.summed if axis not in self.depth.axes)
        axes = (*loops, *self.depth.axes)
        return Side(axes, axes[0].extent)


def axes_of(expr: Expr) -> frozenset[Var]:
    """The axes that the value of `expr` depends on."""
    if isinstance(expr, Access):
        return expr.axes
    if isinstance(expr, Reduced):
        return axes_of(expr.value) - set(expr.over)
    own = (frozenset(var for var, _ in form.terms) for form in forms(expr))
    return frozenset().union(*own, *(axes_of(part) for part in parts(expr)))


@dataclass(frozen=True)
class Roles:
    """What the axes of a stage are to it: to a matrix product the m, n and k of it."""

    spatial: tuple[Axis, ...]
    reduced: tuple[Axis, ...]
    rows: tuple[Axis, ...] = ()
    cols: tuple[Axis, ...] = ()
    product: tuple[Expr, Expr] | None = field(default=None, compare=False)
    """lhs and rhs; None for what is no matrix product."""
    semiring: str = SEMIRINGS[0]
    """What products and their sum are."""
    resident: frozenset[Var] = frozenset()
    """Axes that something is reduced over on chip: they make one side, in one block."""
    serial: tuple[Axis, ...] = ()
    """Axes whose iterations add to the same cells, one after the other."""


def roles_of(stage: Stage) -> Roles:
    spatial = tuple(axis for axis in stage.axes if not axis.reduce)
    reduced = tuple(axis for axis in stage.axes if axis.reduce)
    roles = Roles(spatial, reduced, resident=resident_axes(stage), serial=_serial(stage))
    semiring = semiring_of(stage)
    if semiring is None:
        return roles
    assert isinstance(stage.value, Apply)
    lhs, rhs = _narrow(stage.value.args) if semiring == SEMIRINGS[0] else stage.value.args
    in_lhs, in_rhs = axes_of(lhs), axes_of(rhs)
    if not reduced or any(axis.var not in in_lhs & in_rhs for axis in reduced):
        return roles
    free = [axis for axis in spatial if axis not in roles.serial]
    rows = tuple(a for a in free if a.var in in_lhs and a.var not in in_rhs)
    cols = tuple(a for a in free if a.var in in_rhs and a.var not in in_lhs)
    vector = not rows or not cols
    if vector and (semiring != SEMIRINGS[0] or not (rows or cols)):
        return roles  # a choice along a vector is as well made by lanes
    return replace(roles, rows=rows, cols=cols, product=(lhs, rhs), semiring=semiring)


def _narrow(args: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """The factors as they are before they are widened, which `exec.gemm` does itself."""
    inner = tuple(arg.value if isinstance(arg, Cast) else arg for arg in args)
    narrow = {dtype_of(expr) for expr in inner}
    widened = all(isinstance(arg, Cast) for arg in args)
    return inner if widened and narrow in ({"bfloat16"}, {"int8"}) else args


def resident_sets(stage: Stage) -> set[frozenset[Var]]:
    """What is reduced on chip: each set of axes that something is reduced over."""
    exprs = [stage.value, *(expr for _, expr in stage.results)]
    nodes = (node for expr in exprs for node in walk_expr(expr))
    return {frozenset(node.over) for node in nodes if isinstance(node, Reduced)}


def resident_axes(stage: Stage) -> frozenset[Var]:
    """The axes that something is reduced over on chip; one set of them, which makes a side."""
    sets = resident_sets(stage)
    assert len(sets) <= 1, "fuse joins no reductions over different axes"
    return next(iter(sets), frozenset())


def _serial(stage: Stage) -> tuple[Axis, ...]:
    """The fewest axes whose order has to be kept for no two iterations of the others to meet."""
    extents, serial = stage.extents, []
    target = stage.target
    while not are_nested(target, extents):
        left = [axis for axis in stage.axes if axis.var in target.axes and axis not in serial]
        chosen = min(left, key=lambda axis: (_conflicts(target, axis, extents), axis.extent))
        serial.append(chosen)
        extents = {**extents, chosen.var: 1}
    return tuple(serial)


def _conflicts(target: Access, axis: Axis, extents: dict[Var, int]) -> bool:
    """Whether the other axes still meet where `axis` stands still."""
    return not are_nested(target, {**extents, axis.var: 1})
