"""Moves each allocation to where its content begins, which is what lets a buffer be a ring."""

from __future__ import annotations

from dataclasses import replace

from tileflow_tvm.frontend.tile_ir import Alloc, Buffer, Loop, Op, Program, Stmt
from tileflow_tvm.frontend.tree import buffers_used


def sink_allocs(program: Program) -> Program:
    """Put each on-chip Alloc into the innermost loop that holds all uses of the buffer, as long
    as each iteration of that loop begins by overwriting all of it.

    before:                           after:
        a = alloc                         for i:
        for i:                                a = alloc
            load(a, A[i])                     load(a, A[i])
            gemm(c, a, b)                     gemm(c, a, b)
    """
    body = program.body
    for stmt in _allocs(body):
        if stmt.buffer.scope.on_chip:
            body = _sink(body, stmt)
    return replace(program, body=body)


def _allocs(body: tuple[Stmt, ...]) -> list[Alloc]:
    found: list[Alloc] = []
    for stmt in body:
        if isinstance(stmt, Alloc):
            found.append(stmt)
        elif isinstance(stmt, Loop):
            found += _allocs(stmt.body)
    return found


def _sink(body: tuple[Stmt, ...], alloc: Alloc) -> tuple[Stmt, ...]:
    if alloc not in body:
        return tuple(
            replace(stmt, body=_sink(stmt.body, alloc)) if isinstance(stmt, Loop) else stmt
            for stmt in body
        )
    users = [stmt for stmt in body if alloc.buffer in buffers_used(stmt)]
    if len(users) != 1 or not isinstance(users[0], Loop):
        return body
    loop = users[0]
    if not _begins_anew(loop.body, alloc.buffer):
        return body
    inner = replace(loop, body=_sink((alloc, *loop.body), alloc))
    return tuple(inner if stmt is loop else stmt for stmt in body if stmt is not alloc)


def _begins_anew(body: tuple[Stmt, ...], buffer: Buffer, loops: tuple[Loop, ...] = ()) -> bool:
    """Whether the first use of `buffer` in `body` overwrites all of it."""
    first = next((stmt for stmt in body if buffer in buffers_used(stmt)), None)
    if isinstance(first, Loop):
        runs = first.extent.is_const and first.extent.const > 0
        return runs and _begins_anew(first.body, buffer, (*loops, first))
    if not isinstance(first, Op) or first.dst is None or first.dst.buffer is not buffer:
        return False
    if not first.dst.is_whole or any(r.buffer is buffer for r in first.regions[1:]):
        return False
    if first.name not in ("gemm", "reduce") or first.clear.always:
        return True
    return any(first.clear.var is loop.var for loop in loops)
