"""pipeline: which engine posts what to whom."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tileflow_tvm.errors import KernelError
from tileflow_tvm.frontend.tile_ir import (
    Loop,
    Op,
    Program,
    Semaphore,
    Stmt,
)
from tileflow_tvm.frontend.tree import buffers_used
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.isa.table import Engine
from tileflow_tvm.passes.resources import Resource, find_resources, iterations_are_disjoint

SLOTS_PER_INSTRUCTION = 2
"""Semaphores an instruction can wait on, and post."""


def pipeline(program: Program, machine: Machine) -> Program:
    """Order the engines wherever they share bytes, and nowhere else.

    A *resource* is a set of buffers that overlap in memory. Its uses form a chain in program
    order, and each change of engine along the chain is a *hand-over*: the engine that leaves
    posts, the one that comes waits. Inside a loop the chain closes into a ring: the last user of
    iteration i hands over to the first user of iteration i + slots, with `slots` tokens there
    from the start. Where a whole loop leaves or comes, a nop after or before it does so.

        for k:                              for k:
            load(a, A[k])                       load(a, A[k])  wait=[free] post=[full]
            gemm(c, a, b)                       gemm(c, a, b)  wait=[full] post=[free]

    Requires: plan_sram has run.
    Ensures: the program is well-synchronised (the simulator's verifier proves it for each
    program): in program order no wait finds zero, and conflicting uses are ordered.
    """
    build = _Builder(find_resources(program, machine))
    body, handovers = build.block(program.body, None)
    used = _Semaphores(machine)
    return replace(program, body=used.attach_root(body, handovers), semaphores=used.table())


@dataclass(eq=False)
class _HandOver:
    """`poster` posts after child `after` of a block, `waiter` waits before child `before`;
    `count` tokens are there from the start (0 where the post comes first in program order)."""

    poster: Engine
    waiter: Engine
    after: int
    before: int
    count: int = 0


@dataclass(eq=False)
class _Block:
    """A loop whose body has been worked on: its children and their hand-overs."""

    loop: Loop
    children: list[Stmt | _Block]
    handovers: list[_HandOver]


@dataclass(frozen=True)
class _Use:
    """Child `index` of a block uses a resource, from engine `first` to engine `last`."""

    index: int
    first: Engine
    last: Engine


@dataclass
class _Builder:
    """Finds the hand-overs of each block, innermost first."""

    resources: list[Resource]
    uses: dict[tuple[int, int], tuple[Engine, Engine]] = field(default_factory=dict)
    closed: set[tuple[int, int]] = field(default_factory=set)
    """(resource, loop) whose ring is closed: tokens stay behind for the next time it runs."""

    def block(
        self, body: tuple[Stmt, ...], loop: Loop | None
    ) -> tuple[list[Stmt | _Block], list[_HandOver]]:
        children: list[Stmt | _Block] = []
        for stmt in body:
            if isinstance(stmt, Loop):
                children.append(_Block(stmt, *self.block(stmt.body, stmt)))
            else:
                children.append(stmt)
        handovers: list[_HandOver] = []
        for number, resource in enumerate(self.resources):
            chain = list(self._chain(number, resource, body))
            if chain:
                handovers += _along(chain, body)
                if loop:
                    self.uses[number, id(loop)] = (chain[0].first, chain[-1].last)
                    handovers += self._around(number, chain, loop)
        return children, _merge(handovers)

    def _around(self, number: int, chain: list[_Use], loop: Loop) -> Iterator[_HandOver]:
        """The hand-over from the last use of an iteration to the first use of a later one;
        none where the only user is an inner loop that keeps its own ring closed."""
        first, last = chain[0], chain[-1]
        child = loop.body[first.index]
        if len(chain) == 1 and (number, id(child)) in self.closed:
            self.closed.add((number, id(loop)))
            return
        resource = self.resources[number]
        if first.first is last.last or iterations_are_disjoint(resource, loop):
            return
        self.closed.add((number, id(loop)))
        slots = resource.slots_in(loop)
        yield _HandOver(last.last, first.first, last.index, first.index, slots)

    def _chain(self, number: int, resource: Resource, body: tuple[Stmt, ...]) -> Iterator[_Use]:
        for index, stmt in enumerate(body):
            if resource.buffers.isdisjoint(buffers_used(stmt)):
                continue
            if isinstance(stmt, Op):
                assert stmt.engine is not None
                yield _Use(index, stmt.engine, stmt.engine)
            elif isinstance(stmt, Loop):
                yield _Use(index, *self.uses[number, id(stmt)])


def _along(chain: list[_Use], body: tuple[Stmt, ...]) -> Iterator[_HandOver]:
    """The hand-overs from each use to the next one of the block."""
    for here, there in itertools.pairwise(chain):
        if here.last is not there.first:
            yield _HandOver(here.last, there.first, here.index, there.index)
    for use in chain:
        stmt = body[use.index]
        if isinstance(stmt, Loop) and not stmt.extent.is_const and use.first is not use.last:
            # A loop without an iteration hands nothing over inside; do so behind it.
            yield _HandOver(use.first, use.last, use.index, use.index + 1)


def _merge(handovers: list[_HandOver]) -> list[_HandOver]:
    """One token where several resources change hands between the same engines at places that
    one post and one wait can serve: after the last leaving, before the first coming."""
    merged: list[_HandOver] = []
    for new in sorted(handovers, key=lambda h: (h.count, h.after, h.before)):
        for old in merged:
            if (old.poster, old.waiter, old.count) != (new.poster, new.waiter, new.count):
                continue
            after, before = max(old.after, new.after), min(old.before, new.before)
            if old.count or after < before:
                old.after, old.before = after, before
                break
        else:
            merged.append(replace(new))
    return merged


@dataclass
class _Semaphores:
    """Numbers the hand-overs and writes them onto the operations.

    At the end of a top-level statement every semaphore that it uses is back at its initial
    count, so another one can use it for a hand-over between the same engines with the same
    count; and so can a hand-over between top-level statements, from its post to its wait.
    """

    machine: Machine
    numbers: list[Semaphore] = field(default_factory=list)
    busy: set[int] = field(default_factory=set)

    def table(self) -> tuple[Semaphore, ...]:
        return tuple(self.numbers)

    def attach_root(
        self, children: list[Stmt | _Block], handovers: list[_HandOver]
    ) -> tuple[Stmt, ...]:
        numbered: list[tuple[_HandOver, int]] = []
        for handover in sorted(handovers, key=lambda h: (h.after, h.before)):
            self.busy = {number for old, number in numbered if old.before > handover.after}
            numbered.append((handover, self._take(handover)))

        def child(index: int, stmt: Stmt | _Block) -> Stmt:
            self.busy = {number for h, number in numbered if h.after < index < h.before}
            return self._attach_loop(stmt) if isinstance(stmt, _Block) else stmt

        return _write([child(index, stmt) for index, stmt in enumerate(children)], numbered)

    def _attach_loop(self, block: _Block) -> Loop:
        numbered = [(handover, self._take(handover)) for handover in block.handovers]
        children = [
            self._attach_loop(child) if isinstance(child, _Block) else child
            for child in block.children
        ]
        return replace(block.loop, body=_write(children, numbered))

    def _take(self, handover: _HandOver) -> int:
        wanted = Semaphore(handover.poster, handover.waiter, handover.count)
        for number, semaphore in enumerate(self.numbers):
            if semaphore == wanted and number not in self.busy:
                self.busy.add(number)
                return number
        if len(self.numbers) >= self.machine.semaphores:
            raise self._exhausted()
        self.numbers.append(wanted)
        self.busy.add(len(self.numbers) - 1)
        return len(self.numbers) - 1

    def _exhausted(self) -> KernelError:
        channels: dict[tuple[str, str], int] = defaultdict(int)
        for semaphore in self.numbers:
            channels[semaphore.poster.value, semaphore.waiter.value] += 1
        return KernelError(
            f"the kernel needs more than the machine's {self.machine.semaphores} semaphores",
            notes=tuple(f"{a} -> {b}: {n}" for (a, b), n in sorted(channels.items())),
            hint="use fewer buffers in one loop nest, or split the nest",
        )


def _write(children: list[Stmt], numbered: list[tuple[_HandOver, int]]) -> tuple[Stmt, ...]:
    """`children` with the waits and posts on them, and nops where they do not fit."""
    waits: dict[int, list[tuple[Engine, int]]] = defaultdict(list)
    posts: dict[int, list[tuple[Engine, int]]] = defaultdict(list)
    for handover, number in numbered:
        posts[handover.after].append((handover.poster, number))
        waits[handover.before].append((handover.waiter, number))
    body: list[Stmt] = []
    for index in range(len(children) + 1):
        before = waits[index]
        if index == len(children):
            body += _nops(before, "waits")
            break
        stmt = children[index]
        after = posts[index]
        if isinstance(stmt, Op):
            mine, before = _split(before, stmt.engine)
            own, after = _split(after, stmt.engine)
            stmt = replace(stmt, waits=mine, posts=own)
        body += _nops(before, "waits")
        body.append(stmt)
        body += _nops(after, "posts")
    return tuple(body)


def _split(
    tokens: list[tuple[Engine, int]], engine: Engine | None
) -> tuple[tuple[int, ...], list[tuple[Engine, int]]]:
    """The tokens that fit on an operation of `engine`, and those that need a nop."""
    own = [number for who, number in tokens if who is engine][:SLOTS_PER_INSTRUCTION]
    rest = [(who, number) for who, number in tokens if who is not engine or number not in own]
    return tuple(own), rest


def _nops(tokens: list[tuple[Engine, int]], side: str) -> Iterator[Op]:
    for engine in dict.fromkeys(who for who, _ in tokens):
        numbers = [number for who, number in tokens if who is engine]
        for at in range(0, len(numbers), SLOTS_PER_INSTRUCTION):
            pair = tuple(numbers[at : at + SLOTS_PER_INSTRUCTION])
            yield Op("nop", engine=engine, **{side: pair})
