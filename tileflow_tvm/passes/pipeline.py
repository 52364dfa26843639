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
    Unit,
)
from tileflow_tvm.frontend.tree import buffers_used
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.isa.table import Engine
from tileflow_tvm.passes.guards import guarded_by
from tileflow_tvm.passes.handovers import BEGINNING, Block, HandOver, Use, links, merge
from tileflow_tvm.passes.implied import implied
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
    from the start. Where a whole loop leaves or comes, a nop after or before it does so. A
    hand-over that others imply is left out (`implied`), and what the last iteration alone does
    (`guards`) takes over inside.

        for k:                              for k:
            load(a, A[k])                       load(a, A[k])  wait=[free] post=[full]
            gemm(c, a, b)                       gemm(c, a, b)  wait=[full] post=[free]

    Requires: plan_sram has run.
    Ensures: the program is well-synchronised (the simulator's verifier proves it for each
    program): in program order no wait finds zero, and conflicting uses are ordered.
    """
    build = _Builder(machine)
    body, handovers = build.block(program.body, (), find_resources(program, machine))
    used = _Semaphores(machine)
    return replace(program, body=used.attach_root(body, handovers), semaphores=used.table())


@dataclass
class _Builder:
    """Finds the hand-overs of each block, innermost first."""

    machine: Machine
    uses: dict[tuple[Resource, int], Use] = field(default_factory=dict)
    """Of resources by loops."""
    closed: set[tuple[Resource, int]] = field(default_factory=set)
    """(resource, loop) whose ring is closed: tokens stay behind for the next time it runs."""

    def block(
        self, body: tuple[Stmt, ...], loops: tuple[Loop, ...], resources: list[Resource]
    ) -> tuple[list[Stmt | Block], list[HandOver]]:
        children: list[Stmt | Block] = []
        for stmt in body:
            if isinstance(stmt, Loop):
                inner = [part for whole in resources for part in self._parts(whole, stmt, loops)]
                children.append(Block(stmt, *self.block(stmt.body, (*loops, stmt), inner)))
            else:
                children.append(stmt)
        handovers: list[HandOver] = []
        for resource in resources:
            uses = dict(self._uses(resource, body, loops))
            for handover in self._handovers(resource, uses, body, loops):
                if Engine.EXEC not in (handover.poster.engine, handover.waiter.engine):
                    handover.execs = resource.execs
                guard = children[handover.before] if handover.enters else None
                if isinstance(guard, Block):
                    guard.enter(handover)
                elif handover.behind or not implied(handover, resource, children):
                    handovers.append(handover)
        return children, merge(handovers)

    def _parts(self, resource: Resource, child: Loop, loops: tuple[Loop, ...]) -> list[Resource]:
        """What a resource is inside a child of a block. Several EXECs would wait for each other at
        the blocks of a statement that only those of another statement connect."""
        if loops or self.machine.exec_engines == 1:
            return [resource]
        return parts_in(resource, child, self.machine)

    def _handovers(
        self,
        resource: Resource,
        uses: dict[int, Use],
        body: tuple[Stmt, ...],
        loops: tuple[Loop, ...],
    ) -> Iterator[HandOver]:
        """Those of one resource in a block."""
        if not uses:
            return
        chain = links(uses)
        for here, there in itertools.pairwise(chain):
            for handover in here.hand_over(there):
                yield replace(handover, enters=uses[handover.before].guard)
        yield from self._past_empty_loops(resource, uses, body)
        if loops:
            until, steady = _steady(uses)
            read = len(chain) == 1 and chain[0].read
            first, last = tuple(chain[0].comes), tuple(chain[-1].leaves)
            self.uses[resource, id(loops[-1])] = Use(first, last, read)
            if until not in (None, loops[-1]):
                earlier = tuple(links(steady)[-1].leaves) if steady else ()
                self.uses[resource, id(loops[-1])] = Use(first, last, read, until, earlier)
            if steady:
                yield from self._around(resource, steady, loops)
            if until is loops[-1]:  # its last iteration ends with more than the ring knows of
                self.closed.discard((resource, id(loops[-1])))

    def _around(
        self, resource: Resource, uses: dict[int, Use], loops: tuple[Loop, ...]
    ) -> Iterator[HandOver]:
        """The hand-over from the last link of an iteration to the first one of a later iteration;
        none where the only user is an inner loop that keeps its own ring closed."""
        loop = loops[-1]
        child = loop.body[next(iter(uses))]
        if len(uses) == 1 and (resource, id(child)) in self.closed:
            self.closed.add((resource, id(loop)))
            return
        chain = links(uses)
        only_read = len(chain) == 1 and chain[0].read
        around = list(chain[-1].hand_over(chain[0], resource.slots_in(loop)))
        if only_read or not around or iterations_are_disjoint(resource, loop):
            return
        if guarded_by(loop, loops) and not resource.allocated_in(loop):
            return  # a single iteration
        self.closed.add((resource, id(loop)))
        yield from around

    def _uses(
        self, resource: Resource, body: tuple[Stmt, ...], loops: tuple[Loop, ...]
    ) -> Iterator[tuple[int, Use]]:
        """The children of a block that use a resource."""
        for index, stmt in enumerate(body):
            if resource.buffers.isdisjoint(buffers_used(stmt)):
                continue
            if isinstance(stmt, Op):
                written = stmt.dst is not None and stmt.dst.buffer.storage in resource.buffers
                unit = (stmt.runs_on,)
                yield index, Use(unit, unit, stmt.engine is Engine.EXEC and not written)
            elif isinstance(stmt, Loop):
                parts = self._parts(resource, stmt, loops)
                use = _all([self.uses[part, id(stmt)] for part in parts])
                private = (resource, id(stmt)) in self.closed
                if not private and self._guards(resource, stmt, loops):
                    use = replace(use, until=guarded_by(stmt, loops), earlier=(), guard=True)
                yield index, use

    def _guards(self, resource: Resource, loop: Loop, loops: tuple[Loop, ...]) -> bool:
        """Whether `loop`, in the last iteration of a loop around it, is the last to use a part
        of `resource` there, each time another part. It then takes over inside, and
        what comes in later iterations of the loops between them does not wait for it."""
        outer = guarded_by(loop, loops)
        if outer is None:
            return False
        path = (*loops[loops.index(outer) :], loop)
        return all(
            _last_user(resource, level) is child
            and (level is outer or iterations_are_disjoint(resource, level))
            for level, child in itertools.pairwise(path)
        )

    def _past_empty_loops(
        self, resource: Resource, uses: dict[int, Use], body: tuple[Stmt, ...]
    ) -> Iterator[HandOver]:
        """A loop without an iteration hands nothing over inside: that is done behind it."""
        for index, use in uses.items():
            stmt = body[index]
            if not isinstance(stmt, Loop) or stmt.extent.is_const or use.read or use.until:
                continue
            if len(uses) == 1 and (resource, id(stmt)) in self.closed:
                continue
            pairs = itertools.product(use.first, use.last)
            yield from (HandOver(a, b, index, index + 1, behind=True) for a, b in pairs if a != b)


def _last_user(resource: Resource, loop: Loop) -> Stmt:
    users = [s for s in loop.body if not resource.buffers.isdisjoint(buffers_used(s))]
    return users[-1]


def _steady(uses: dict[int, Use]) -> tuple[Loop | None, dict[int, Use]]:
    """The loop, if any, whose last iteration is not like the others, and the uses in those."""
    until = next((use.until for use in uses.values() if use.until), None)
    others = {
        index: replace(use, last=use.earlier, until=None) if use.until else use
        for index, use in uses.items()
        if use.earlier or not use.until
    }
    return until, others


def _all(uses: list[Use]) -> Use:
    """The use of a resource by a loop that uses its parts."""
    if len(uses) == 1:
        return uses[0]
    first = dict.fromkeys(unit for use in uses for unit in use.first)
    last = dict.fromkeys(unit for use in uses for unit in use.last)
    return Use(tuple(first), tuple(last), all(use.read for use in uses))


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
        self, children: list[Stmt | Block], handovers: list[HandOver]
    ) -> tuple[Stmt, ...]:
        numbered: list[tuple[HandOver, int]] = []
        for handover in sorted(handovers, key=lambda h: (h.after, h.before)):
            self.busy = {number for old, number in numbered if old.before > handover.after}
            numbered.append((handover, self._take(handover)))

        def child(index: int, stmt: Stmt | Block) -> Stmt:
            self.busy = {number for h, number in numbered if h.after < index < h.before}
            return self._attach_loop(stmt) if isinstance(stmt, Block) else stmt

        return _write([child(index, stmt) for index, stmt in enumerate(children)], numbered)

    def _attach_loop(self, block: Block) -> Loop:
        numbered = [(handover, self._take(handover)) for handover in block.handovers]
        children = [
            self._attach_loop(child) if isinstance(child, Block) else child
            for child in block.children
        ]
        return replace(block.loop, body=_write(children, numbered))

    def _take(self, handover: HandOver) -> int:
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


def _write(children: list[Stmt], numbered: list[tuple[HandOver, int]]) -> tuple[Stmt, ...]:
    """`children` with the waits and posts on them, and nops where they do not fit."""
    waits: dict[int, list[tuple[Unit, int]]] = defaultdict(list)
    posts: dict[int, list[tuple[Unit, int]]] = defaultdict(list)
    behind: dict[int, list[Op]] = defaultdict(list)
    for handover, number in numbered:
        post, wait = (handover.poster, number), (handover.waiter, number)
        if handover.behind:
            behind[handover.after] += (*_nops([post], "posts"), *_nops([wait], "waits"))
        else:
            posts[handover.after].append(post)
            waits[handover.before].append(wait)
    body: list[Stmt] = [*_nops(posts[BEGINNING], "posts")]
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
        body += (stmt, *behind[index], *_nops(after, "posts"))
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
