"""Where each buffer lives, decided from how it is used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tileflow_tvm.errors import KernelError, Loc
from tileflow_tvm.frontend.tile_ir import (
    Alloc,
    Buffer,
    Op,
    Program,
    Region,
    Scope,
    Stmt,
    walk,
)
from tileflow_tvm.passes.validity import allocated


@dataclass(frozen=True)
class _Use:
    """What settles where a buffer is: an operation of this name, or a view (""), and its place."""

    what: str
    loc: Loc | None
    op: str = ""


def assign_scopes(program: Program) -> dict[Buffer, Buffer]:
    """For every buffer of `program`, the same with its scope.

    Parameters are in DRAM, and so are views and what they show, and what is only loaded from and
    stored to. What is computed with is on chip: a vector if it has one dimension, or a unit
    dimension and no part in a matrix product; a tile grid otherwise. Uses that contradict each
    other are a KernelError.
    """
    uses = _collect(program)
    return {buffer: replace(buffer, scope=_scope(buffer, uses)) for buffer in _buffers(program)}


def _buffers(program: Program) -> Iterator[Buffer]:
    yield from program.params
    for stmt in walk(program.body):
        if isinstance(stmt, Alloc):
            yield stmt.buffer


@dataclass
class _Uses:
    dram: dict[Buffer, _Use]
    chip: dict[Buffer, _Use]
    gemm: set[Buffer]


def _collect(program: Program) -> _Uses:
    uses = _Uses({}, {}, set())
    for stmt in walk(program.body):
        if isinstance(stmt, Alloc) and (view := stmt.buffer.view):
            what = f"seen through the view '{stmt.buffer.name}'"
            uses.dram.setdefault(view.base, _Use(what, stmt.buffer.loc))
    copies = []
    for op in program.ops:
        if op.name == "copy":
            copies.append(op)
            continue
        for region, on_chip in _sides(op):
            known = uses.chip if on_chip else uses.dram
            known.setdefault(region.buffer, _Use(_what(op, region), op.loc, op.name))
            if op.name == "gemm":
                uses.gemm.add(region.buffer)
    _collect_copies(copies, uses, _function_level(program.body))
    return uses


def _sides(op: Op) -> Iterator[tuple[Region, bool]]:
    """The regions of `op`, and whether each has to be on chip."""
    for region in op.regions:
        is_dst = region is op.dst
        yield region, is_dst if op.name == "load" else not is_dst if op.name == "store" else True


def _what(op: Op, region: Region) -> str:
    if op.name in ("load", "store"):
        end = "the destination" if region is op.dst else "the source"
        return f"{end} of a {op.name}"
    return f"an operand of {op.name}"


def _in_dram(buffer: Buffer, uses: _Uses) -> bool:
    return buffer.scope is Scope.DRAM or buffer in uses.dram


def _collect_copies(copies: list[Op], uses: _Uses, function_level: set[Buffer]) -> None:
    """A copy's end is on chip if the other end is in DRAM. What the function allocates outside
    loops and only copies from and to blocks is DRAM scratch."""
    pairs = [(op, region, other) for op in copies
             for region, other in (op.regions, reversed(op.regions))]  # fmt: skip
    for op, region, other in pairs:
        if _in_dram(other.buffer, uses) and not _in_dram(region.buffer, uses):
            uses.chip.setdefault(region.buffer, _Use("copied from or to DRAM", op.loc, op.name))
    for op, region, other in pairs:
        undecided = region.buffer not in uses.chip and not _in_dram(region.buffer, uses)
        if not undecided or region.buffer.scope.on_chip:
            continue
        if region.buffer in function_level and other.buffer in uses.chip:
            uses.dram[region.buffer] = _Use("only copied from and to blocks", op.loc, op.name)
        else:
            uses.chip[region.buffer] = _Use("copied on chip", op.loc, op.name)


def _function_level(body: tuple[Stmt, ...]) -> set[Buffer]:
    return {stmt.buffer for stmt in body if isinstance(stmt, Alloc)}


def _scope(buffer: Buffer, uses: _Uses) -> Scope:
    dram, chip = uses.dram.get(buffer), uses.chip.get(buffer)
    if buffer.scope is Scope.DRAM:
        if chip:
            raise _in_dram_error(buffer, chip)
        return Scope.DRAM
    if dram and (chip or buffer.scope.on_chip):
        raise _conflict(buffer, dram, chip)
    if dram:
        return Scope.DRAM
    rank, unit = len(buffer.shape), 1 in buffer.shape
    if chip and rank > 2:
        raise KernelError(
            f"'{buffer.name}' {buffer.shape} is on chip and has rank {rank}", loc=buffer.loc,
            notes=_place(chip), hint="blocks have one or two dimensions; allocate several",
        )  # fmt: skip
    if chip and 0 in buffer.shape:
        raise KernelError(f"'{buffer.name}' {buffer.shape} is an empty block", loc=buffer.loc,
                          notes=_place(chip), hint="blocks have at least one element")  # fmt: skip
    if rank == 1 and buffer.scope is Scope.GRID:
        raise KernelError(
            f"'{buffer.name}' {buffer.shape} is declared a tile grid but is a vector",
            loc=buffer.loc, hint=f"leave the scope out, or allocate it as (1, {buffer.shape[0]})",
        )  # fmt: skip
    if buffer.scope is Scope.VEC and rank == 2 and not unit:
        raise KernelError(
            f"'{buffer.name}' {buffer.shape} is declared a vector but is a matrix",
            loc=buffer.loc, hint=f"leave the scope out, or say {Scope.GRID.value!r}",
        )  # fmt: skip
    if buffer.scope.on_chip:
        return buffer.scope
    if rank > 2:
        return Scope.DRAM
    return Scope.VEC if rank == 1 or (unit and buffer not in uses.gemm) else Scope.GRID


def _in_dram_error(buffer: Buffer, chip: _Use) -> KernelError:
    hint = "load it into a block first; store the result"
    if chip.op == "load":
        hint = "T.tf.store writes to DRAM; T.tf.copy goes either way"
    elif chip.op == "store":
        hint = "T.tf.load reads from DRAM; T.tf.copy goes either way"
    return KernelError(f"'{buffer.name}' is in DRAM and cannot be {chip.what}",
                       loc=chip.loc, notes=allocated(buffer), hint=hint)  # fmt: skip


def _conflict(buffer: Buffer, dram: _Use, chip: _Use | None) -> KernelError:
    notes = allocated(buffer) + (_place(chip) if chip else ())
    where = f"and {chip.what}, on chip" if chip else f"but its scope is {buffer.scope.value!r}"
    return KernelError(
        f"'{buffer.name}' is {dram.what}, in DRAM, {where}", loc=dram.loc, notes=notes,
        hint="a buffer is a tensor in DRAM or a block on chip; use two",
    )  # fmt: skip


def _place(use: _Use) -> tuple[str, ...]:
    return (f"{use.what}: {use.loc}",) if use.loc else ()
