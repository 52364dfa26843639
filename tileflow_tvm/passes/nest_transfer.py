"""Which box of which view of a tensor holds the block of an access."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import gcd

from tileflow_tvm.frontend.compute import Access, Axis, bounds
from tileflow_tvm.frontend.tile_ir import (
    Affine,
    BoxDim,
    Buffer,
    NameSupply,
    Op,
    Region,
    Scope,
    Var,
    View,
    may_meet,
)
from tileflow_tvm.isa.program import BROADCAST
from tileflow_tvm.passes.nest_layout import MAX_RANK, Side


@dataclass
class Views:
    """The views of tensors that nests need, each once."""

    names: NameSupply
    made: dict[tuple[Buffer, int, tuple[int, ...], tuple[int, ...]], Buffer] = field(
        default_factory=dict
    )

    def of(
        self, base: Buffer, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
    ) -> Buffer:
        key = (base, offset, shape, strides)
        if key not in self.made:
            view = View(base, offset, strides)
            self.made[key] = Buffer(self.names.fresh(f"{base.name}_view"), shape, base.dtype,
                                    Scope.DRAM, base.loc, view=view)  # fmt: skip
        return self.made[key]


@dataclass(frozen=True)
class Box:
    """A transfer without its block: the region in DRAM, and the dimensions of rows and columns."""

    region: Region
    rows: tuple[BoxDim, ...]
    cols: tuple[BoxDim, ...]
    fill: float | None = None

    def load(self, block: Region, access: Access) -> Op:
        fill = 0.0 if self.fill is None else self.fill
        return Op("load", block, (self.region,), rows=self.rows, cols=self.cols, value=fill,
                  padded=self.fill is not None, loc=access.place.loc)  # fmt: skip

    def store(self, block: Region, access: Access) -> Op:
        return Op("store", self.region, (block,), rows=self.rows, cols=self.cols,
                  loc=access.place.loc)  # fmt: skip


def box_of(
    access: Access, rows: Side, cols: Side, axes: dict[Var, Axis], start: dict[Var, Affine],
    views: Views, *, stored: bool = False,
) -> Box:  # fmt: skip
    """The box of `access` for a block of these rows and columns, which begins at `start` along
    each axis; a side that the access does not vary along is left out."""
    finder = _Finder(access, (rows, cols), axes, start)
    if access.fill is not None:
        return finder.stepped(views)
    plain = finder.plain()
    if plain is not None:
        return plain
    # A view in which two indices meet cannot be stored through; blocks are whole then.
    shape, strides, _, _ = finder.walk()
    if stored and may_meet(zip(shape, strides, strict=True)):
        return finder.stepped(views)
    return finder.viewed(views)


class _Finder:
    def __init__(
        self, access: Access, sides: tuple[Side, Side], axes: dict[Var, Axis],
        start: dict[Var, Affine],
    ) -> None:  # fmt: skip
        self.access, self.axes, self.start = access, axes, start
        self.sides = tuple(side if side.meets(access.axes) else Side() for side in sides)
        self.boxed = [axis for side in self.sides for axis in side.axes if axis.var in access.axes]

    def plain(self) -> Box | None:
        """On the tensor itself, where each boxed axis is an index and runs over all of it."""
        if self.access.flat or len(self.access.buffer.shape) > MAX_RANK:
            return None
        dims: dict[Var, int] = {}
        for dim, (index, size) in enumerate(
            zip(self.access.index, self.access.buffer.shape, strict=True)
        ):
            inside = [axis for axis in self.boxed if axis.var in dict(index.terms)]
            if not inside:
                continue
            (axis, *more) = inside
            if more or index != Affine.of(axis.var) or axis.extent != size or axis.var in dims:
                return None
            dims[axis.var] = dim
        return self._box(self.access.buffer, self._corner(self.access.index), dims, None)

    def stepped(self, views: Views) -> Box:
        """On the tensor itself (flat, where the index is the cell's number), in steps; what is
        outside reads as the fill value."""
        buffer = self.access.buffer
        if self.access.flat and len(buffer.shape) > 1:
            buffer = views.of(buffer, 0, (buffer.elements,), (1,))
        elif len(self.access.buffer.shape) > MAX_RANK:
            raise self.access.place.error(
                f"{self.access} is padded and has more than {MAX_RANK} indices",
                "merge dimensions that lie next to each other",
            )
        dims: dict[Var, int] = {}
        steps: dict[Var, int] = {}
        for dim, index in enumerate(self.access.index):
            for var, step in index.terms:
                if any(axis.var is var for axis in self.boxed):
                    if var in dims:
                        raise self.access.place.error(
                            f"'{var.name}' moves two indices of {self.access}",
                            "write it to a tensor of its own first",
                        )
                    dims[var], steps[var] = dim, step
        corner = self._corner(self.access.index)
        return self._box(buffer, corner, dims, self.access.fill, steps)

    def viewed(self, views: Views) -> Box:
        """On a view with a dimension for each boxed axis, and one for all that are loops."""
        shape, strides, corner, offset = self.walk()
        dims = {axis.var: dim for dim, axis in enumerate(self.boxed)}
        view = views.of(self.access.buffer, offset, tuple(shape), tuple(strides))
        return self._box(view, tuple(corner), dims, None)

    def walk(self) -> tuple[list[int], list[int], list[Affine], int]:
        """Shape, strides, first indices and offset of that view."""
        number = self.access.number
        steps = dict(number.terms)
        boxed = {axis.var for axis in self.boxed}
        shape = [axis.extent for axis in self.boxed]
        strides = [steps[axis.var] for axis in self.boxed]
        corner = [self.start[axis.var] for axis in self.boxed]
        offset = number.const
        rest = {var: step for var, step in number.terms if var not in boxed}
        if rest:
            common = gcd(*rest.values())
            index = sum(
                (self.start[var] * (step // common) for var, step in rest.items()), Affine()
            )
            extents = {var: self.axes[var].extent for var in rest}
            low, high = bounds(Affine(0, tuple((v, s // common) for v, s in rest.items())), extents)
            shape.append(high - low + 1)
            strides.append(common)
            corner.append(index - low)
            offset += low * common
        if not shape:
            shape, strides, corner = [1], [1], [Affine()]
        return shape, strides, corner, offset

    def _corner(self, indices: Iterable[Affine]) -> tuple[Affine, ...]:
        corner = []
        for index in indices:
            total = Affine(index.const)
            for var, step in index.terms:
                total += self.start[var] * step
            corner.append(total)
        return tuple(corner)

    def _box(
        self, buffer: Buffer, corner: tuple[Affine, ...], dims: dict[Var, int],
        fill: float | None, steps: dict[Var, int] | None = None,
    ) -> Box:  # fmt: skip
        made = [
            tuple(
                BoxDim(side.extent_of(axis), dims.get(axis.var, BROADCAST),
                       (steps or {}).get(axis.var, 1) if axis.var in dims else 0)
                for axis in side.axes
            )
            for side in self.sides
        ]  # fmt: skip
        rows, cols = made
        if rows and not cols:  # a vector
            rows, cols = (), rows
        if not rows and not cols:
            cols = (BoxDim(1, 0, 1),)
        region = Region.of_box(buffer, corner, (*rows, *cols))
        return Box(region, rows, cols, fill)
