"""tile: loop nests over blocks for tensor-level operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

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
from tileflow_tvm.passes.nest_transfer import Views
from tileflow_tvm.passes.tile_group import GroupForm, classify
from tileflow_tvm.passes.tile_nest import StageNest, is_nests, plan_stage
from tileflow_tvm.passes.tile_plan import GroupNest, Plan, plan_group
from tileflow_tvm.passes.tile_simplify import simplify
from tileflow_tvm.passes.tile_values import Dataflow


def tile(program: Program, machine: Machine) -> Program:
    """Write a loop nest for each Group, and for each operation outside of one.

    Block sizes and loop orders are those of least time by the cost model (`tile_search`). A group
    whose smallest blocks do not fit is split. Where there are several EXEC engines, each has a
    share of a block of C, or every so many-th block of a map, and buffers of its own for it.

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
    return plan_tiles(program, machine).write()


@dataclass(frozen=True)
class Tiling:
    """A program whose nests have their plans, and can be written with these or others."""

    program: Program
    nests: tuple[GroupNest | StageNest, ...]

    def write(self, plans: Mapping[int, Plan] | None = None) -> Program:
        """The program at tile level. `plans` has other plans than its own for some nests, by their
        number; of their candidates, as a rule."""
        names = NameSupply({buffer.name for buffer in _tensors(self.program)})
        views = Views(names)
        body: list[Stmt] = []
        for number, nest in enumerate(self.nests):
            body += nest.write((plans or {}).get(number, nest.plan), names, views)
        body = [*(Alloc(view) for view in views.made.values()), *body]
        used = {buffer.storage for stmt in body for buffer in buffers_used(stmt)}
        scratch = [s for s in self.program.body if isinstance(s, Alloc) and s.buffer in used]
        program = replace(self.program, body=(*scratch, *body))
        return _in_dram(program, [alloc.buffer for alloc in scratch])


def plan_tiles(program: Program, machine: Machine) -> Tiling:
    """The nests that `tile` writes."""
    glanced = _at_a_glance(program, machine)
    nests: list[GroupNest | StageNest] = []
    for nest in glanced.nests:
        alone = Tiling(glanced.program, (nest,))
        nests.append(nest.searched(lambda plan, alone=alone: alone.write({0: plan})))
    return Tiling(glanced.program, tuple(nests))


def _at_a_glance(program: Program, machine: Machine) -> Tiling:
    """The nests with the plans that look best before the cost model has seen them."""
    if is_nests(program):
        nests = [plan_stage(s, machine) for s in program.body if isinstance(s, Op)]
        return Tiling(program, tuple(nests))
    program = simplify(program)
    flow = Dataflow(program)
    groups: list[GroupNest] = []
    for stmt in program.body:
        ops = [op for op in walk((stmt,)) if isinstance(op, Op)]
        groups += _groups(ops, flow, machine) if ops else ()
    return Tiling(program, tuple(groups))


def _in_dram(program: Program, scratch: list[Buffer]) -> Program:
    tensors = [*program.params, *scratch]
    return substitute_buffers(program, {t: replace(t, scope=Scope.DRAM) for t in tensors})


def fits(form: GroupForm, flow: Dataflow, machine: Machine) -> bool:
    """Whether the group's nest has room in SRAM. It has with any number of EXEC engines if it
    has with one: more are used only where their blocks fit."""
    return plan_group(form, flow, machine.replace(exec_engines=1)) is not None


def _groups(ops: Sequence[Op], flow: Dataflow, machine: Machine) -> list[GroupNest]:
    """One nest where that is possible, else one for each half of the operations, and so on.
    Nothing in the first half depends on the second."""
    form = classify(ops, flow)
    nest = plan_group(form, flow, machine) if form else None
    if nest is not None:
        return [nest]
    if len(ops) == 1:
        raise _refused(ops[0])
    half = len(ops) // 2
    first, second = (_groups(part, flow, machine) for part in (ops[:half], ops[half:]))
    return first + second


def _refused(op: Op) -> KernelError:
    assert op.dst is not None
    return KernelError(
        f"{op.name} overwrites '{op.dst.buffer.name}' while it still reads it",
        loc=op.loc, hint="write to another buffer",
    )  # fmt: skip


def _tensors(program: Program) -> list[Buffer]:
    return [*program.params, *(s.buffer for s in program.body if isinstance(s, Alloc))]
