"""Small tile-level programs, made by hand, for the passes behind infer_scope."""

from __future__ import annotations

from tileflow_tvm.frontend.tile_ir import (
    Affine,
    Alloc,
    Buffer,
    Clear,
    Extent,
    Loop,
    Op,
    Program,
    Region,
    Scope,
    Var,
)
from tileflow_tvm.isa.table import Engine


def region(buffer: Buffer, start: tuple, shape: tuple[int, ...]) -> Region:
    return Region(buffer, tuple(Affine.of(at) for at in start), shape)


def clipped(size: int, total: int, var: Var, step: int) -> Extent:
    return Extent(size, Affine(total, ((var, -step),)))


def load(chip: Region, dram: Region, **fields) -> Op:
    return Op("load", chip, (dram,), engine=Engine.LOAD, **fields)


def store(dram: Region, chip: Region, **fields) -> Op:
    return Op("store", dram, (chip,), engine=Engine.STORE, **fields)


def unary(dst: Region, src: Region, extents: tuple[Extent, ...], func: str = "relu") -> Op:
    return Op("unary", dst, (src,), func=func, extents=extents, engine=Engine.EXEC)


def grid(name: str, shape: tuple[int, int]) -> Buffer:
    return Buffer(name, shape, scope=Scope.GRID)


def gemm_relu(m: int, n: int, k: int, rows: int = 64, hoisted: bool = False) -> Program:
    """relu(A @ B) with blocks of rows x (all n), A in columns of 32, B in tiles of 32.

    With `hoisted`, every buffer is allocated at the top, as people write it.
    """
    dram = {"scope": Scope.DRAM}
    a_all = Buffer("A", (m, k), param=0, **dram)
    b_all = Buffer("B", (k, n), param=1, **dram)
    c_all = Buffer("C", (m, n), param=2, **dram)
    cols = -(-n // 32)
    a, b, c = grid("a", (rows, 32)), grid("b", (32, 32)), grid("c", (rows, cols * 32))
    i, kk, j, j2 = Var("i"), Var("k"), Var("j"), Var("j2")
    at_i, at_k = Affine.of(i) * rows, Affine.of(kk) * 32
    em, ek = clipped(rows, m, i, rows), clipped(32, k, kk, 32)
    strip = region(c, (0, Affine.of(j) * 32), (rows, 32))
    strip2 = region(c, (0, Affine.of(j2) * 32), (rows, 32))
    gemm = Op(
        "gemm", strip, (Region.whole(a), Region.whole(b)), clear=Clear(var=kk),
        extents=(em, clipped(32, n, j, 32), ek), engine=Engine.EXEC,
    )  # fmt: skip
    allocs = {name: () if hoisted else (Alloc(buffer),) for name, buffer in
              (("a", a), ("b", b), ("c", c))}  # fmt: skip
    inner = Loop(j, Affine(cols), (
        *allocs["b"],
        load(Region.whole(b), region(b_all, (at_k, Affine.of(j) * 32), (32, 32))),
        gemm,
    ))  # fmt: skip
    along_k = Loop(kk, Affine(-(-k // 32)), (
        *allocs["a"],
        load(Region.whole(a), region(a_all, (at_i, at_k), (rows, 32))),
        inner,
    ))  # fmt: skip
    epilogue = Loop(j2, Affine(cols), (
        unary(strip2, strip2, (em, clipped(32, n, j2, 32))),
        store(region(c_all, (at_i, Affine.of(j2) * 32), (rows, 32)), strip2),
    ))  # fmt: skip
    outer = Loop(i, Affine(-(-m // rows)), (*allocs["c"], along_k, epilogue))
    top = (Alloc(a), Alloc(b), Alloc(c)) if hoisted else ()
    return Program("gemm_relu", (a_all, b_all, c_all), (*top, outer), roles=("in", "in", "out"))


def stage(src: Buffer, dst: Buffer, func: str) -> Loop:
    """dst = func(src), a row of tiles at a time."""
    m, n = src.shape
    i, tile = Var("i"), grid("t", (32, -(-n // 32) * 32))
    box = (32, tile.shape[1])
    at = (Affine.of(i) * 32, 0)
    extents = (clipped(32, m, i, 32), Extent(n))
    return Loop(i, Affine(-(-m // 32)), (
        Alloc(tile),
        load(Region.whole(tile), region(src, at, box)),
        unary(Region.whole(tile), Region.whole(tile), extents, func),
        store(region(dst, at, box), Region.whole(tile)),
    ))  # fmt: skip


def two_stages(m: int, n: int) -> Program:
    """T = relu(X); Y = -T, through T in DRAM scratch."""
    x = Buffer("X", (m, n), scope=Scope.DRAM, param=0)
    y = Buffer("Y", (m, n), scope=Scope.DRAM, param=1)
    t = Buffer("T", (m, n), scope=Scope.DRAM)

    body = (Alloc(t), stage(x, t, "relu"), stage(t, y, "neg"))
    return Program("two_stages", (x, y), body, roles=("in", "out"))
