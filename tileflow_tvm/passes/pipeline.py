"""pipeline: which engine posts what to whom."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from tileflow_tvm.errors import KernelError
from tileflow_tvm.frontend.tile_ir import (
    Loop,
    Op,
    Program,
    Semaphore,
    Stmt,
    Unit,
)
from tileflow_tvm.frontend.tree import buffers_used
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.isa.table import Engine
from tileflow_tvm.passes.resources import (
    Resource,
    find_resources,
    iterations_are_disjoint,
    parts_in,
)

SLOTS_PER_INSTRUCTION = 2
"""Semaphores an instruction can wait on, and post."""


def pipeline(program: Program, machine: Machine) -> Program:
    """Order the engines wherever they share bytes, and nowhere else.

    A *resource* is a set of buffers that overlap in memory. Its uses form a chain in program
    order, and each change of engine along the chain is a *hand-over*: the engine that leaves
    posts, the one that comes waits. Several EXECs that read one after the other are one link of
    the chain: each takes over from the link before it and hands over to the one behind it, and
    none waits for another. Inside a loop the chain closes into a ring: the last user of
    iteration i hands over to the first user of iteration i + slots, with `slots` tokens there
    from the start. Where a whole loop leaves or comes, a nop after or before it does so.

        for k:                              for k:
            load(a, A[k])                       load(a, A[k])  wait=[free] post=[full]
            gemm(c, a, b)                       gemm(c, a, b)  wait=[full] post=[free]

    Requires: plan_sram has run.
    Ensures: the program is well-synchronised (the simulator's verifier proves it for each
    program): in program order no wait finds zero, and conflicting uses are ordered.
    """
    build = _Builder(machine)
    body, handovers = build.block(program.body, None, find_resources(program, machine))
    used = _Semaphores(machine)
    return replace(program, body=used.attach_root(body, handovers), semaphores=used.table())


@dataclass(eq=False)
class _HandOver:
    """`poster` posts after child `after` of a block, `waiter` waits before child `before`;
    `count` tokens are there from the start (0 where the post comes first in program order).
    `execs`: the EXEC engines that use what LOAD and STORE hand to each other."""

    poster: Unit
    waiter: Unit
    after: int
    before: int
    count: int = 0
    execs: frozenset[int] = frozenset()

    @property
    def channel(self) -> tuple[Unit, Unit, int, frozenset[int]]:
        """Hand-overs of one channel may share a token. LOAD and STORE have one for each EXEC, or
        the engines would go in step."""
        return self.poster, self.waiter, self.count, self.execs


@dataclass(eq=False)
class _Block:
    """A loop whose body has been worked on: its children and their hand-overs."""

    loop: Loop
    children: list[Stmt | _Block]
    handovers: list[_HandOver]


@dataclass(frozen=True)
class _Use:
    """How a child of a block uses a resource: the engines `first` begin, the engines `last` end.
    Where EXECs do nothing but `read`, these are the same ones, in no order."""

    first: tuple[Unit, ...]
    last: tuple[Unit, ...]
    read: bool


@dataclass
class _Link:
    """Part of a chain: the child at which each engine comes, and the one at which it leaves."""

    comes: dict[Unit, int]
    leaves: dict[Unit, int]
    read: bool

    def extend(self, index: int, use: _Use) -> None:
        self.comes = dict.fromkeys(use.first, index) | self.comes
        self.leaves |= dict.fromkeys(use.last, index)

    def hand_over(self, other: _Link, count: int = 0) -> Iterator[_HandOver]:
        """From each engine here to each engine there."""
        for poster, after in self.leaves.items():
            for waiter, before in other.comes.items():
                if poster != waiter:
                    yield _HandOver(poster, waiter, after, before, count)


@dataclass
class _Builder:
    """Finds the hand-overs of each block, innermost first."""

    machine: Machine
    uses: dict[tuple[Resource, int], _Use] = field(default_factory=dict)
    """Of resources by loops."""
    closed: set[tuple[Resource, int]] = field(default_factory=set)
    """(resource, loop) whose ring is closed: tokens stay behind for the next time it runs."""

    def block(
        self, body: tuple[Stmt, ...], loop: Loop | None, resources: list[Resource]
    ) -> tuple[list[Stmt | _Block], list[_HandOver]]:
        children: list[Stmt | _Block] = []
        for stmt in body:
            if isinstance(stmt, Loop):
                inner = [part for whole in resources for part in self._parts(whole, stmt, loop)]
                children.append(_Block(stmt, *self.block(stmt.body, stmt, inner)))
            else:
                children.append(stmt)
        handovers: list[_HandOver] = []
        for resource in resources:
            for handover in self._handovers(resource, body, loop):
                if Engine.EXEC not in (handover.poster.engine, handover.waiter.engine):
                    handover.execs = resource.execs
                handovers.append(handover)
        return children, _merge(handovers)

    def _parts(self, resource: Resource, child: Loop, loop: Loop | None) -> list[Resource]:
        """What a resource is inside a child of `loop`. Several EXECs would wait for each other at
        the blocks of a statement that only those of another statement connect."""
        if loop or self.machine.exec_engines == 1:
            return [resource]
        return parts_in(resource, child, self.machine)

    def _handovers(
        self, resource: Resource, body: tuple[Stmt, ...], loop: Loop | None
    ) -> Iterator[_HandOver]:
        """Those of one resource in a block."""
        uses = dict(self._uses(resource, body, loop))
        if not uses:
            return
        chain = _links(uses)
        for here, there in itertools.pairwise(chain):
            yield from here.hand_over(there)
        yield from _past_empty_loops(uses, body)
        if loop:
            first, last = tuple(chain[0].comes), tuple(chain[-1].leaves)
            read = len(chain) == 1 and chain[0].read
            self.uses[resource, id(loop)] = _Use(first, last, read)
            yield from self._around(resource, uses, chain, loop)

    def _around(
        self, resource: Resource, uses: dict[int, _Use], chain: list[_Link], loop: Loop
    ) -> Iterator[_HandOver]:
        """The hand-over from the last link of an iteration to the first one of a later iteration;
        none where the only user is an inner loop that keeps its own ring closed."""
        child = loop.body[next(iter(uses))]
        if len(uses) == 1 and (resource, id(child)) in self.closed:
            self.closed.add((resource, id(loop)))
            return
        only_read = len(chain) == 1 and chain[0].read
        around = list(chain[-1].hand_over(chain[0], resource.slots_in(loop)))
        if only_read or not around or iterations_are_disjoint(resource, loop):
            return
        self.closed.add((resource, id(loop)))
        yield from around

    def _uses(
        self, resource: Resource, body: tuple[Stmt, ...], loop: Loop | None
    ) -> Iterator[tuple[int, _Use]]:
        """The children of a block that use a resource."""
        for index, stmt in enumerate(body):
            if resource.buffers.isdisjoint(buffers_used(stmt)):
                continue
            if isinstance(stmt, Op):
                written = stmt.dst is not None and stmt.dst.buffer in resource.buffers
                unit = (stmt.runs_on,)
                yield index, _Use(unit, unit, stmt.engine is Engine.EXEC and not written)
            elif isinstance(stmt, Loop):
                parts = self._parts(resource, stmt, loop)
                yield index, _all(self.uses[part, id(stmt)] for part in parts)


def _all(uses: Iterable[_Use]) -> _Use:
    """The use of a resource by a loop that uses its parts."""
    uses = list(uses)
    first = dict.fromkeys(unit for use in uses for unit in use.first)
    last = dict.fromkeys(unit for use in uses for unit in use.last)
    return _Use(tuple(first), tuple(last), all(use.read for use in uses))


def _links(uses: dict[int, _Use]) -> list[_Link]:
    """The chain of `uses`: what EXECs read one after the other in one link."""
    chain: list[_Link] = []
    for index, use in uses.items():
        if not (chain and chain[-1].read and use.read):
            chain.append(_Link({}, {}, use.read))
        chain[-1].extend(index, use)
    return chain


def _past_empty_loops(uses: dict[int, _Use], body: tuple[Stmt, ...]) -> Iterator[_HandOver]:
    """A loop without an iteration hands nothing over inside: that is done behind it."""
    for index, use in uses.items():
        stmt = body[index]
        if isinstance(stmt, Loop) and not stmt.extent.is_const and not use.read:
            pairs = itertools.product(use.first, use.last)
            yield from (_HandOver(a, b, index, index + 1) for a, b in pairs if a != b)


def _merge(handovers: list[_HandOver]) -> list[_HandOver]:
    """One token where several resources change hands between the same engines at places that
    one post and one wait can serve: after the last leaving, before the first coming."""
    merged: list[_HandOver] = []
    for new in sorted(handovers, key=lambda h: (h.count, h.after, h.before)):
        for old in merged:
            if old.channel != new.channel:
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
            channels[str(semaphore.poster), str(semaphore.waiter)] += 1
        return KernelError(
            f"the kernel needs more than the machine's {self.machine.semaphores} semaphores",
            notes=tuple(f"{a} -> {b}: {n}" for (a, b), n in sorted(channels.items())),
            hint="use fewer buffers in one loop nest, or split the nest",
        )


def _write(children: list[Stmt], numbered: list[tuple[_HandOver, int]]) -> tuple[Stmt, ...]:
    """`children` with the waits and posts on them, and nops where they do not fit."""
    waits: dict[int, list[tuple[Unit, int]]] = defaultdict(list)
    posts: dict[int, list[tuple[Unit, int]]] = defaultdict(list)
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
            mine, before = _split(before, stmt.runs_on)
            own, after = _split(after, stmt.runs_on)
            stmt = replace(stmt, waits=mine, posts=own)
        body += _nops(before, "waits")
        body.append(stmt)
        body += _nops(after, "posts")
    return tuple(body)


def _split(
    tokens: list[tuple[Unit, int]], unit: Unit
) -> tuple[tuple[int, ...], list[tuple[Unit, int]]]:
    """The tokens that fit on an operation of `unit`, and those that need a nop."""
    own = [number for who, number in tokens if who == unit][:SLOTS_PER_INSTRUCTION]
    rest = [(who, number) for who, number in tokens if who != unit or number not in own]
    return tuple(own), rest


def _nops(tokens: list[tuple[Unit, int]], side: str) -> Iterator[Op]:
    for unit in dict.fromkeys(who for who, _ in tokens):
        numbers = [number for who, number in tokens if who == unit]
        for at in range(0, len(numbers), SLOTS_PER_INSTRUCTION):
            pair = tuple(numbers[at : at + SLOTS_PER_INSTRUCTION])
            yield Op("nop", engine=unit.engine, unit=unit.number, **{side: pair})
