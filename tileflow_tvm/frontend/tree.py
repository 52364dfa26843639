"""Questions about, and rewrites of, tile-level programs that several passes need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from tileflow_tvm.frontend.tile_ir import (
    Alloc,
    Buffer,
    Group,
    Loop,
    Op,
    Operand,
    Program,
    Region,
    Stmt,
    walk,
)


@lru_cache(maxsize=4096)
def buffers_used(stmt: Stmt) -> frozenset[Buffer]:
    """The buffers that operations in `stmt` touch; with a view, the tensor that it shows."""
    return frozenset(
        buffer
        for op in walk((stmt,)) if isinstance(op, Op)
        for region in op.regions
        for buffer in (region.buffer, region.buffer.storage)
    )  # fmt: skip


def substitute_buffers(program: Program, swap: Mapping[Buffer, Buffer]) -> Program:
    """`program` with each buffer replaced as `swap` says, and views of it made views of what
    replaces it."""
    views = [stmt.buffer for stmt in walk(program.body) if isinstance(stmt, Alloc)]
    swap = dict(swap) | {
        buffer: replace(swap.get(buffer, buffer), view=replace(buffer.view, base=swap[base]))
        for buffer in views
        if buffer.view and (base := buffer.view.base) in swap
    }

    def region(old: Region) -> Region:
        return replace(old, buffer=swap.get(old.buffer, old.buffer))

    def operand(old: Operand) -> Operand:
        return region(old) if isinstance(old, Region) else old

    def stmt(old: Stmt) -> Stmt:
        if isinstance(old, Alloc):
            return Alloc(swap.get(old.buffer, old.buffer))
        if isinstance(old, Loop | Group):
            return replace(old, body=tuple(stmt(child) for child in old.body))
        dst = region(old.dst) if old.dst else None
        return replace(old, dst=dst, srcs=tuple(operand(src) for src in old.srcs))

    return replace(
        program,
        params=tuple(swap.get(param, param) for param in program.params),
        body=tuple(stmt(child) for child in program.body),
    )


def enclosing_loops(program: Program) -> dict[Buffer, tuple[Loop, ...]]:
    """The loops around the Alloc of each buffer, outermost first."""
    found: dict[Buffer, tuple[Loop, ...]] = {}

    def visit(body: tuple[Stmt, ...], loops: tuple[Loop, ...]) -> None:
        for stmt in body:
            if isinstance(stmt, Alloc):
                found[stmt.buffer] = loops
            elif isinstance(stmt, Loop):
                visit(stmt.body, (*loops, stmt))

    visit(program.body, ())
    return found
