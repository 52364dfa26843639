"""Random box transfers: a program that copies boxes, and what it means in NumPy.

`Y[c'(i)] = -A[c(i)]` for the elements that two boxes with one shape pair up; tensors of rank 1 to
5, steps of either sign, dimensions moved by several entries of the box, repeated data, corners
that move with two loops, boxes that hang over edges.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from tileflow_tvm.frontend.tile_ir import (
    Affine,
    Alloc,
    BoxDim,
    Buffer,
    Loop,
    Op,
    Program,
    Region,
    Scope,
    Var,
)

FILL = 7.0


@dataclass
class Case:
    """A program over A ("in") and Y ("inout"), drawn from `seed`."""

    seed: int
    padded: bool
    draw: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.draw = random.Random(f"{self.seed} {self.padded}")
        rank = self.draw.randint(1, 5)
        self.shape = tuple(self.draw.randint(1, 9 if rank < 4 else 5) for _ in range(rank))
        self.trips = (self.draw.randint(1, 3), self.draw.randint(1, 3))
        self.loops = (Var("i"), Var("j"))
        self.rows, self.cols = self._sides(rank)
        self.corner = tuple(self._start(axis) for axis in range(rank))
        self.block = tuple(prod(d.extent for d in side) for side in (self.rows, self.cols))

    def _sides(self, rank: int) -> tuple[tuple[BoxDim, ...], tuple[BoxDim, ...]]:
        axes = list(range(rank))
        self.draw.shuffle(axes)
        count = self.draw.randint(1, 5)
        dims = []
        for at in range(count):
            axis = axes[at] if at < rank else self.draw.randrange(rank)
            if self.draw.random() < 0.15:
                axis = -1 if self.draw.random() < 0.5 else self.draw.randrange(rank)
            size = self.shape[axis] if axis >= 0 else 3
            step = self.draw.choice((1, 1, 1, 1, 2, 2, 3, -1, -2))
            extent = self.draw.randint(1, max(1, min(size // abs(step) + (not at), 8)))
            dims.append(BoxDim(extent, axis, step))
        split = self.draw.randint(0, count)
        if self.draw.random() < 0.2:
            split = 0  # a vector
        return tuple(dims[:split]), tuple(dims[split:])

    def _start(self, axis: int) -> Affine:
        size = self.shape[axis]
        back = sum(min(0, dim.reach) for dim in self.rows + self.cols if dim.dim == axis)
        start = Affine(min(self.draw.choice((0, 0, 0, 0, 1, size // 2)) - back, size))
        if self.draw.random() < (0.5 if self.padded else 0.05):
            start += -self.draw.randint(0, 4)
        for var in self.loops:
            entries = [d for d in self.rows + self.cols if d.dim == axis]
            leads = any(side[:1] == (d,) for side in self.sides for d in entries)
            if self.draw.random() < (0.6 if leads else 0.1):
                by = entries[0].extent * entries[0].step if entries else 1
                start += Affine.of(var) * self.draw.choice((abs(by), abs(by), 1, 2))
        return start

    def _result(self) -> tuple[Buffer, Region, dict]:
        """Where the block goes: the same box of a tensor like A, its dimensions in another order;
        of what is padded or repeats, the whole block behind those of other iterations."""
        i, j = self.loops
        if self.padded or self._repeats():
            y = Buffer("Y", (*self.trips, *self.block), scope=Scope.DRAM, param=1)
            start = (Affine.of(i), Affine.of(j), Affine(), Affine())
            rows, cols = (BoxDim(self.block[0], 2),), (BoxDim(self.block[1], 3),)
            return y, Region.of_box(y, start, rows + cols), {"rows": rows, "cols": cols}
        order = list(range(len(self.shape)))
        random.Random(self.seed).shuffle(order)  # Y's dimension order[a] is A's dimension a
        there = {axis: order.index(axis) for axis in order} | {-1: -1}
        y = Buffer("Y", tuple(self.shape[a] for a in order), scope=Scope.DRAM, param=1)
        rows, cols = (tuple(replace(d, dim=there[d.dim]) for d in s) for s in self.sides)
        corner = tuple(self.corner[a] for a in order)
        return y, Region.of_box(y, corner, rows + cols), {"rows": rows, "cols": cols}

    @property
    def sides(self) -> tuple[tuple[BoxDim, ...], tuple[BoxDim, ...]]:
        return self.rows, self.cols

    def _repeats(self) -> bool:
        """Whether two indices may meet one element."""
        dims = [d for d in self.rows + self.cols if d.extent > 1]
        axes = [d.dim for d in dims]
        return -1 in axes or len(set(axes)) < len(axes)

    def program(self) -> Program:
        a = Buffer("A", self.shape, scope=Scope.DRAM, param=0)
        y, result, box = self._result()
        shape = self.block if self.rows else self.block[1:]
        t, u = Buffer("t", shape), Buffer("u", shape)
        src = Region.of_box(a, self.corner, self.rows + self.cols)
        body = (
            Alloc(t), Alloc(u),
            Op("load", Region.whole(t), (src,), value=FILL, rows=self.rows, cols=self.cols,
               padded=self.padded),
            Op("unary", Region.whole(u), (Region.whole(t),), func="neg"),
            Op("store", result, (Region.whole(u),), **box),
        )  # fmt: skip
        for var, trips in zip(reversed(self.loops), reversed(self.trips), strict=True):
            body = (Loop(var, Affine(trips), body),)
        return Program("boxes", (a, y), body, roles=("in", "inout"))

    def iterations(self):
        """For each iteration its numbers, the coordinates of the box (block's shape, one array a
        dimension), and which of them are inside A."""
        for at in itertools.product(*map(range, self.trips)):
            value = dict(zip(self.loops, at, strict=True))
            corner = [s.const + sum(step * value[v] for v, step in s.terms) for s in self.corner]
            coords = box_coords(corner, self.rows, self.cols)
            inside = np.ones(self.block, bool)
            for coord, size in zip(coords, self.shape, strict=True):
                inside &= (coord >= 0) & (coord < size)
            yield at, coords, inside

    def expected(self, a: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Y after the program, for A and Y before it."""
        y = y.copy()
        order = list(range(len(self.shape)))
        random.Random(self.seed).shuffle(order)
        for at, coords, inside in self.iterations():
            block = np.full(self.block, FILL, np.float32)
            block[inside] = a[tuple(coord[inside] for coord in coords)]
            if self.padded or self._repeats():
                y[at] = -block
            else:
                y[tuple(coords[axis][inside] for axis in order)] = -block[inside]
        return y


def box_coords(
    corner: list[int], rows: tuple[BoxDim, ...], cols: tuple[BoxDim, ...]
) -> list[np.ndarray]:
    """For each dimension of the tensor, the coordinate that each element of the block has."""
    dims = rows + cols
    index = np.indices([dim.extent for dim in dims])
    block = prod(d.extent for d in rows), prod(d.extent for d in cols)
    coords = []
    for axis, start in enumerate(corner):
        moved = sum((index[n] * d.step for n, d in enumerate(dims) if d.dim == axis), start)
        coords.append(np.broadcast_to(moved, index.shape[1:]).reshape(block))
    return coords
