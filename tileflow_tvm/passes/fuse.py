"""fuse: which tensor-level operations share a loop nest."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tileflow_tvm.frontend.tile_ir import Alloc, Group, Op, Program, Stmt
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.fuse_nests import fuse_nests
from tileflow_tvm.passes.tile import fits
from tileflow_tvm.passes.tile_group import GroupForm, classify
from tileflow_tvm.passes.tile_nest import is_nests
from tileflow_tvm.passes.tile_simplify import simplify
from tileflow_tvm.passes.tile_values import Dataflow, Value


def fuse(program: Program, machine: Machine) -> Program:
    """Put operations whose intermediate results can stay on chip into one Group.

    A group is either (a) a contraction and maps over its M x N result, whose other operands come
    from outside; or (b) maps over one space with reductions along one axis, which end the group
    or, where all of the axis fits on chip, are used again in it (softmax, norms). Two groups
    merge where one uses or both read a tensor, as long as no path between them leads through a
    third and the smallest blocks have room in SRAM. A value that something outside the group
    uses is kept: tile stores it as well.

    before: C = A @ B; D = relu(C); E = C + 1      after: group: C = A @ B; D = relu(C); E = C + 1

    Requires: lift has run.
    Ensures: the operations are the same but for `simplify`; those of a group are in program
    order, groups in an order that respects what each reads and overwrites.
    """
    if is_nests(program):
        return fuse_nests(program, machine)
    program = simplify(program)
    fusion = _Fusion(Dataflow(program), machine)
    fusion.run()
    allocs = tuple(stmt for stmt in program.body if isinstance(stmt, Alloc))
    return replace(program, body=(*allocs, *fusion.result()))


@dataclass(eq=False)
class _Nest:
    """Operations that will share a loop nest, in program order; no form where there is none."""

    ops: tuple[Op, ...]
    form: GroupForm | None


class _Fusion:
    def __init__(self, flow: Dataflow, machine: Machine) -> None:
        self.flow, self.machine = flow, machine
        self.position = {op: at for at, op in enumerate(flow.ops)}
        self.nest_of = {op: _Nest((op,), classify((op,), flow)) for op in flow.ops}
        self.refused: set[tuple[Op, ...]] = set()

    def run(self) -> None:
        """Until nothing merges any more: what a nest has taken in may make room for others."""
        nests = 0
        while nests != len(set(self.nest_of.values())):
            nests = len(set(self.nest_of.values()))
            self._along_values()
            self._over_shared_inputs()

    def result(self) -> Iterator[Stmt]:
        for nest in self._in_order():
            yield Group(nest.ops) if len(nest.ops) > 1 else nest.ops[0]

    def _along_values(self) -> None:
        """Merge each operation with those that make what it reads: contractions first, whose
        results are largest, then the latest."""
        for op in self.flow.ops:
            makers = {self.flow.maker[v] for v in self._read(op) if v in self.flow.maker}
            for maker in sorted(makers, key=self._preference):
                self._merge(self.nest_of[maker], self.nest_of[op])

    def _over_shared_inputs(self) -> None:
        """Merge maps that read the same tensor block by block, so that it is loaded once."""
        for value, users in self.flow.users.items():
            for one, other in itertools.pairwise(users):
                here, there = self.nest_of[one], self.nest_of[other]
                if self._walks(here, value) and self._walks(there, value):
                    self._merge(here, there)

    def _read(self, op: Op) -> tuple[Value, ...]:
        return self.flow.values_read(op)

    def _preference(self, maker: Op) -> tuple[bool, int]:
        form = self.nest_of[maker].form
        return not (form and form.gemm), -self.position[maker]

    def _walks(self, nest: _Nest, value: Value) -> bool:
        """Whether the nest is of maps, and the value as large as their space."""
        form = nest.form
        return form is not None and not form.gemm and value.buffer.elements == form.space.elements

    def _merge(self, here: _Nest, there: _Nest) -> None:
        if here is there or here.form is None or there.form is None:
            return
        if here.form.gemm and there.form.gemm:
            return
        ops = tuple(sorted((*here.ops, *there.ops), key=self.position.__getitem__))
        if ops in self.refused or self._apart(here, there):
            return
        form = self._form(ops)
        if form is None:
            self.refused.add(ops)
            return
        self.nest_of.update(dict.fromkeys(ops, _Nest(ops, form)))

    def _form(self, ops: tuple[Op, ...]) -> GroupForm | None:
        """The form of a group of `ops`; None where it is illegal or too large."""
        if self._transfers(ops) > self.machine.semaphores // 4:
            return None
        form = classify(ops, self.flow)
        return form if form and fits(form, self.flow, self.machine) else None

    def _transfers(self, ops: tuple[Op, ...]) -> int:
        """Tensors that the group moves: each needs two semaphores, and engines and slots may
        double that."""
        made = {self.flow.writes[op] for op in ops}
        read = {value for op in ops for value in self._read(op)}
        return len(read - made) + len(self.flow.kept(ops))

    def _before(self, nest: _Nest) -> set[_Nest]:
        """The other nests that must come first."""
        first = {self.nest_of[op] for mine in nest.ops for op in self.flow.must_follow(mine)}
        return first - {nest}

    def _apart(self, here: _Nest, there: _Nest) -> bool:
        """Whether a path from one to the other leads through a third nest."""
        return self._detour(here, there) or self._detour(there, here)

    def _detour(self, source: _Nest, target: _Nest) -> bool:
        stack = [nest for nest in self._before(target) if nest is not source]
        seen = set(stack)
        while stack:
            nest = stack.pop()
            new = self._before(nest) - seen
            if source in new:
                return True
            seen |= new
            stack += new
        return False

    def _in_order(self) -> list[_Nest]:
        """Nests such that each follows those it depends on; else in program order."""
        waiting = sorted(set(self.nest_of.values()), key=lambda n: self.position[n.ops[-1]])
        done: dict[_Nest, None] = {}
        while waiting:
            ready = next(nest for nest in waiting if self._before(nest) <= done.keys())
            waiting.remove(ready)
            done[ready] = None
        return list(done)
