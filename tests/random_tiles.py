"""Random tile-level programs: nests of loops over loads, element-wise operations and stores.

Made so that they are legal (nothing is read before it was written, every output is stored) and
awkward to synchronise: buffers carried around loops, allocated at any depth, written by two
engines, read by two engines, temporaries in DRAM, operations on any EXEC engine, what only the
last iteration of a loop does.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from placed import load, region, store, unary

from tileflow_tvm.frontend.tile_ir import (
    Affine,
    Alloc,
    Buffer,
    Extent,
    Loop,
    Op,
    Program,
    Region,
    Scope,
    Stmt,
    Var,
)
from tileflow_tvm.isa.table import Engine
from tileflow_tvm.passes.guards import in_last_iteration

TILE = 32
GRID_TILES = 4
"""Every tensor in DRAM is GRID_TILES x GRID_TILES tiles, and so are the trip counts."""

SIDE = TILE * GRID_TILES


@dataclass
class Generator:
    """Draws one program from `seed`, for a machine with `units` EXEC engines."""

    seed: int
    units: int = 1
    draw: random.Random = field(init=False)
    count: int = 0
    trips: dict[Var, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)

    def program(self) -> Program:
        self.x = Buffer("X", (SIDE, SIDE), scope=Scope.DRAM, param=0)
        self.y = Buffer("Y", (SIDE, SIDE), scope=Scope.DRAM, param=1)
        self.temps = [
            Buffer(f"T{i}", (SIDE, SIDE), scope=Scope.DRAM) for i in range(self.draw.randint(0, 2))
        ]
        body: list[Stmt] = [Alloc(temp) for temp in self.temps]
        body += [self._sweep(self.x, temp) for temp in self.temps]
        body.append(self._sweep(self.x, self.y))
        pinned = [self._chip() for _ in range(self.draw.randint(0, 2))]
        body += [Alloc(buffer) for buffer in pinned]
        known: set[Buffer] = set()
        for _ in range(self.draw.randint(1, 3)):
            body += self._block(pinned, known, [], depth=0)
        return Program("random", (self.x, self.y), tuple(body), roles=("in", "out"))

    def _chip(self) -> Buffer:
        self.count += 1
        wide = self.draw.random() < 0.3
        return Buffer(f"b{self.count}", (TILE, SIDE if wide else TILE), scope=Scope.GRID)

    def _sweep(self, src: Buffer, dst: Buffer) -> Loop:
        """dst = src, a row of tiles at a time."""
        i, t = Var("i"), self._chip()
        i_at = (Affine.of(i) * TILE, 0)
        width = t.shape[1]
        if width == SIDE:
            box = (TILE, SIDE)
            body: tuple[Stmt, ...] = (
                Alloc(t),
                load(Region.whole(t), region(src, i_at, box)),
                store(region(dst, i_at, box), Region.whole(t)),
            )
            return Loop(i, Affine(GRID_TILES), body)
        j = Var("j")
        at = (Affine.of(i) * TILE, Affine.of(j) * TILE)
        inner = (
            Alloc(t),
            load(Region.whole(t), region(src, at, t.shape)),
            store(region(dst, at, t.shape), Region.whole(t)),
        )
        return Loop(i, Affine(GRID_TILES), (Loop(j, Affine(GRID_TILES), inner),))

    def _block(
        self, outer: list[Buffer], known: set[Buffer], loops: list[Var], depth: int
    ) -> list[Stmt]:
        mine = [self._chip() for _ in range(self.draw.randint(0, 2))]
        body: list[Stmt] = [Alloc(buffer) for buffer in mine]
        buffers = outer + mine
        for _ in range(self.draw.randint(2, 5)):
            if depth < 3 and self.draw.random() < 0.35:
                body.append(self._loop(buffers, known, loops, depth))
            elif buffers:
                body.append(self._op(buffers, known, loops))
        known.difference_update(mine)
        return body

    def _loop(
        self, buffers: list[Buffer], known: set[Buffer], loops: list[Var], depth: int
    ) -> Loop:
        if loops and self.draw.random() < 0.3:
            return self._guard(buffers, known, loops, depth)
        var = Var(f"l{depth}_{self.count}")
        trips = self.trips[var] = self.draw.randint(1, GRID_TILES)
        inner = self._block(buffers, known, [*loops, var], depth + 1)
        return Loop(var, Affine(trips), tuple(inner), stages=self.draw.choice((0, 0, 1, 2)))

    def _guard(
        self, buffers: list[Buffer], known: set[Buffer], loops: list[Var], depth: int
    ) -> Loop:
        """Something for the last iteration of a loop around it."""
        var = self.draw.choice(loops)
        body = self._block(buffers, set(known), loops, depth + 1)
        return in_last_iteration(var, self.trips[var], body)

    def _op(self, buffers: list[Buffer], known: set[Buffer], loops: list[Var]) -> Stmt:
        ready = [buffer for buffer in buffers if buffer in known]
        kind = self.draw.choice(("load", "unary", "binary", "store"))
        if kind == "load" or not ready:
            target = self.draw.choice(buffers)
            known.add(target)
            source = self.draw.choice([self.x, self.y, *self.temps])
            return load(Region.whole(target), self._dram(source, target, loops))
        src = self.draw.choice(ready)
        if kind == "store":
            target = self.draw.choice([self.y, *self.temps])
            return store(self._dram(target, src, loops), Region.whole(src))
        same = [buffer for buffer in buffers if buffer.shape == src.shape]
        dst = self.draw.choice(same)
        strip = self._strip(dst, loops) if dst in known else None
        dst_region = strip or Region.whole(dst)
        src_region = region(src, dst_region.start, dst_region.shape)
        extents = tuple(Extent(size) for size in dst_region.shape)
        known.add(dst)
        if kind == "unary":
            op = unary(dst_region, src_region, extents, self.draw.choice(("relu", "neg")))
            return replace(op, unit=self._unit())
        other = self.draw.choice([b for b in ready if b.shape == src.shape])
        other_region = region(other, dst_region.start, dst_region.shape)
        return Op(
            "binary", dst_region, (src_region, other_region),
            func=self.draw.choice(("max", "sub")), modes=("full", "full"), extents=extents,
            engine=Engine.EXEC, unit=self._unit(),
        )  # fmt: skip

    def _unit(self) -> int:
        return self.draw.randrange(self.units) if self.units > 1 else 0

    def _strip(self, buffer: Buffer, loops: list[Var]) -> Region | None:
        """A tile of a wide buffer that moves with a loop; None for a whole buffer."""
        if buffer.shape[1] == TILE or not loops or self.draw.random() < 0.5:
            return None
        var = self.draw.choice(loops)
        return region(buffer, (0, Affine.of(var) * TILE), (TILE, TILE))

    def _dram(self, tensor: Buffer, chip: Buffer, loops: list[Var]) -> Region:
        def at(size: int) -> Affine:
            if size == SIDE:
                return Affine()
            if loops and self.draw.random() < 0.7:
                return Affine.of(self.draw.choice(loops)) * TILE
            return Affine(self.draw.randrange(GRID_TILES) * TILE)

        return region(tensor, tuple(at(size) for size in chip.shape), chip.shape)
