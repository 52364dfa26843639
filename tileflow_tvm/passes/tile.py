"""tile: loop nests over blocks for tensor-level operations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tileflow_tvm.errors import KernelError
from tileflow_tvm.frontend.tile_ir import (
    Alloc,
    Buffer,
    NameSupply,
    Op,
    Program,
    Scope,
    Stmt,
    walk,
)
from tileflow_tvm.frontend.tree import buffers_used, substitute_buffers
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.cost import packs
from tileflow_tvm.passes.tile_contraction import lower_contraction, needs_of
from tileflow_tvm.passes.tile_gemm_plan import plan_gemm
from tileflow_tvm.passes.tile_group import GroupForm, classify
from tileflow_tvm.passes.tile_map import lower_map, plan_map
from tileflow_tvm.passes.tile_nest import is_nests, tile_nests
from tileflow_tvm.passes.tile_simplify import simplify
from tileflow_tvm.passes.tile_values import Dataflow


def tile(program: Program, machine: Machine) -> Program:
    """Write a loop nest for each Group, and for each operation outside of one.

    Block sizes are those of least time, as far as little DRAM traffic allows (`tile_gemm_plan`), or
    of least traffic (`tile_map`, by the model of `cost`). A group whose smallest blocks do not fit
    is split. Where there are several EXEC engines, each has a share of a block of C, or every so
    many-th block of a map, and buffers of its own for it.

    before: group: C = A @ B; D = relu(C)      after: for i: for j:
                                                          C_blk = alloc
                                                          for k:
                                                              A_blk = alloc; load(A_blk, A[i, k])
                                                              for n:
                                                                  ...
                                                                  if k is the last one:
                                                                      relu(C_blk[n])
                                                                      store(D, C_blk[n])

    Requires: operations are on whole tensors of rank 1 or 2.
    Ensures: operations other than load and store touch blocks only, every block fits; the
    length does not depend on trip counts; regions may hang over the edge of a tensor in DRAM,
    and then only what is inside counts.
    """
    names = NameSupply({buffer.name for buffer in _tensors(program)})
    if is_nests(program):
        allocs = tuple(stmt for stmt in program.body if isinstance(stmt, Alloc))
        program = replace(program, body=(*allocs, *tile_nests(program.body, machine, names)))
        return _in_dram(program, [alloc.buffer for alloc in allocs])
    program = simplify(program)
    flow = Dataflow(program)
    nests: list[Stmt] = []
    for stmt in program.body:
        ops = [op for op in walk((stmt,)) if isinstance(op, Op)]
        nests += _nests(ops, flow, machine, names) if ops else ()
    used = {buffer for stmt in nests for buffer in buffers_used(stmt)}
    scratch = [s for s in program.body if isinstance(s, Alloc) and s.buffer in used]
    program = replace(program, body=(*scratch, *nests))
    return _in_dram(program, [alloc.buffer for alloc in scratch])


def _in_dram(program: Program, scratch: list[Buffer]) -> Program:
    tensors = [*program.params, *scratch]
    return substitute_buffers(program, {t: replace(t, scope=Scope.DRAM) for t in tensors})


def fits(form: GroupForm, flow: Dataflow, machine: Machine) -> bool:
    """Whether the group's nest has room in SRAM. It has with any number of EXEC engines if it
    has with one: more are used only where their blocks fit."""
    return _nest_for(1, form, flow, machine, NameSupply()) is not None


def _nest(
    form: GroupForm, flow: Dataflow, machine: Machine, names: NameSupply
) -> tuple[Stmt, ...] | None:
    """The nest with the best blocks, None where the smallest ones are too large."""
    for units in range(machine.exec_engines, 0, -1):
        tried = NameSupply(set(names.taken))
        body = _nest_for(units, form, flow, machine, tried)
        if body is not None:
            names.taken |= tried.taken
            return body
    return None


def _nest_for(
    units: int, form: GroupForm, flow: Dataflow, machine: Machine, names: NameSupply
) -> tuple[Stmt, ...] | None:
    """As `_nest`, for at most so many EXEC engines."""
    machine = machine.replace(exec_engines=units)
    if form.gemm:
        plan = plan_gemm(needs_of(form, flow, machine), machine)
        body = lower_contraction(form, plan, flow, names) if plan else None
    else:
        body = lower_map(form, plan_map(form, flow, machine), flow, names)
    return body if body is not None and packs(body, machine) else None


def _nests(
    ops: Sequence[Op], flow: Dataflow, machine: Machine, names: NameSupply
) -> tuple[Stmt, ...]:
    """One nest where that is possible, else one for each half of the operations, and so on.
    Nothing in the first half depends on the second."""
    form = classify(ops, flow)
    body = _nest(form, flow, machine, names) if form else None
    if body is not None:
        return body
    if len(ops) == 1:
        raise _refused(ops[0])
    half = len(ops) // 2
    first, second = (_nests(part, flow, machine, names) for part in (ops[:half], ops[half:]))
    return first + second


def _refused(op: Op) -> KernelError:
    assert op.dst is not None
    return KernelError(
        f"{op.name} overwrites '{op.dst.buffer.name}' while it still reads it",
        loc=op.loc, hint="write to another buffer",
    )  # fmt: skip


def _tensors(program: Program) -> list[Buffer]:
    return [*program.params, *(s.buffer for s in program.body if isinstance(s, Alloc))]
