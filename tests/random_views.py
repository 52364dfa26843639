"""Random programs over views: what one view stores another one loads, all of one tensor.

In a nest of two loops, blocks go from a view of A through views of B and back to B, so that every
hazard between loads and stores comes up, within iterations and across them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

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
    Stmt,
    Var,
    View,
)


@dataclass
class Generator:
    """Draws one program over A ("in") and B ("inout") from `seed`, for a machine with `units`
    EXEC engines."""

    seed: int
    units: int = 1
    draw: random.Random = field(init=False)
    count: int = 0

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)
        self.a, self.b = (
            Buffer(name, self._shape(1, 5, 6), scope=Scope.DRAM, param=at)
            for at, name in enumerate("AB")
        )
        self.loops: list[tuple[Var, int]] = []

    def program(self) -> Program:
        return Program("views", (self.a, self.b), self._body(), roles=("in", "inout"))

    def _body(self) -> tuple[Stmt, ...]:
        """Moves, and up to two loops with more of them."""
        depth = len(self.loops)
        body: list[Stmt] = []
        for _ in range(self.draw.randint(depth // 2, 2)):
            body += self._move()
        for _ in range(self.draw.randint(1, 2 - depth // 2) if depth < 2 else 0):
            var, trips = Var("ij"[depth]), self.draw.randint(1, 4)
            self.loops.append((var, trips))
            body.append(Loop(var, Affine(trips), self._body()))
            self.loops.pop()
        if depth and self.draw.random() < 0.5:
            body += self._move()
        return tuple(body)

    def _shape(self, least: int, most: int, side: int) -> tuple[int, ...]:
        return tuple(self.draw.randint(1, side) for _ in range(self.draw.randint(least, most)))

    def _move(self) -> list[Stmt]:
        """A block from one view to another."""
        source = self._view(self.draw.choice((self.a, self.b, self.b)), store=False)
        target = self._view(self.b, store=True)
        length = self.draw.randint(1, min(max(source.shape), max(target.shape)))
        self.count += 1
        t, u = Buffer(f"t{self.count}", (length,)), Buffer(f"u{self.count}", (length,))
        src, walk = self._region(source, length)
        dst, back = self._region(target, length)
        return [
            *(Alloc(buffer) for buffer in dict.fromkeys((source, target)) if buffer.view),
            Alloc(t), Alloc(u),
            Op("load", Region.whole(t), (src,), cols=walk),
            Op("unary", Region.whole(u), (Region.whole(t),), func="neg", bias=1.0,
               unit=self.draw.randrange(self.units)),
            Op("store", dst, (Region.whole(u),), cols=back),
        ]  # fmt: skip

    def _view(self, base: Buffer, *, store: bool) -> Buffer:
        if self.draw.random() < 0.2:
            return base
        size, self.count = base.elements, self.count + 1
        walk = self._apart(size) if store or self.draw.random() < 0.5 else self._any(size)
        offset = -sum((extent - 1) * step for extent, step in walk if step < 0)
        reach = sum((extent - 1) * abs(step) for extent, step in walk)
        offset += self.draw.randint(0, size - 1 - reach)
        shape, strides = zip(*walk, strict=True)
        view = View(base, offset, strides)
        return Buffer(f"v{self.count}", shape, scope=Scope.DRAM, view=view)

    def _apart(self, size: int) -> list[tuple[int, int]]:
        """A walk (extents and strides) of up to `size` elements that comes nowhere twice."""
        walk, reach = [], 0
        for _ in range(self.draw.randint(1, 5)):
            step = reach + 1 + (self.draw.randint(0, 3) if self.draw.random() < 0.3 else 0)
            extent = self.draw.randint(1, max(1, min(7, 1 + (size - 1 - reach) // step)))
            walk.append((extent, self.draw.choice((step, step, -step))))
            reach += (extent - 1) * step
        self.draw.shuffle(walk)
        return walk

    def _any(self, size: int) -> list[tuple[int, int]]:
        walk, left = [], size - 1
        for _ in range(self.draw.randint(1, 5)):
            step = self.draw.randint(-4, 4)
            extent = self.draw.randint(1, max(1, min(6, 1 + left // max(1, abs(step)))))
            walk.append((extent, step))
            left -= (extent - 1) * abs(step)
        return walk

    def _region(self, buffer: Buffer, length: int) -> tuple[Region, tuple[BoxDim, ...]]:
        """A slice along the longest dimension, or a box that walks it in steps, which moves with
        the loops and stays inside."""
        along = buffer.shape.index(max(buffer.shape))
        longest = (buffer.shape[along] - 1) // max(1, length - 1)
        step = self.draw.choice((1, -1)) * self.draw.randint(1, max(1, min(3, longest)))
        reach = (length - 1) * step
        sizes = [abs(reach) + 1 if axis == along else 1 for axis in range(len(buffer.shape))]
        starts = [self._start(dim - size) for dim, size in
                  zip(buffer.shape, sizes, strict=True)]  # fmt: skip
        if step == 1 and self.draw.random() < 0.5:
            return Region(buffer, tuple(starts), tuple(sizes)), ()
        starts[along] -= min(0, reach)
        cols = (BoxDim(length, along, step),)
        return Region.of_box(buffer, tuple(starts), cols), cols

    def _start(self, room: int) -> Affine:
        start = Affine()
        for var, trips in self.loops:
            step = self.draw.randint(0, room // max(1, trips - 1))
            if step and self.draw.random() < 0.7:
                start += Affine.of(var) * step
                room -= step * (trips - 1)
        return start + self.draw.randint(0, room)
