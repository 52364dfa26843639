"""What `pipeline` finds out: which engine hands which part of memory to which, and where."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from tileflow_tvm.frontend.tile_ir import Loop, Op, Stmt, Unit, walk
from tileflow_tvm.passes.resources import Resource

BEGINNING = -1
"""`after` of a hand-over whose post comes before all children of a block."""


@dataclass(eq=False)
class HandOver:
    """`poster` posts after child `after` of a block, `waiter` waits before child `before`;
    `count` tokens are there from the start (0 where the post comes first in program order).
    `execs`: the EXEC engines that use what LOAD and STORE hand to each other. `enters`: child
    `before` may be passed over, and both sides are at the beginning of it. `behind`: child `after`
    may have been passed over, and both sides come before anything else behind it."""

    poster: Unit
    waiter: Unit
    after: int
    before: int
    count: int = 0
    execs: frozenset[int] = frozenset()
    enters: bool = False
    behind: bool = False

    @property
    def channel(self) -> tuple[Unit, Unit, int, frozenset[int], bool]:
        """Hand-overs of one channel may share a token. LOAD and STORE have one for each EXEC, or
        the engines would go in step."""
        return self.poster, self.waiter, self.count, self.execs, self.behind


@dataclass(eq=False)
class Block:
    """A loop whose body has been worked on: its children and their hand-overs."""

    loop: Loop
    children: list[Stmt | Block]
    handovers: list[HandOver] = field(default_factory=list)

    @property
    def trips(self) -> int:
        """0 where they are not known."""
        return max(0, self.loop.extent.const) if self.loop.extent.is_const else 0

    def enter(self, handover: HandOver) -> None:
        """Take over what comes from outside at the beginning of the body."""
        entered = replace(handover, after=BEGINNING, before=0, enters=False)
        self.handovers = merge([*self.handovers, entered])

    def inner(self) -> Iterator[tuple[int, Block]]:
        for index, child in enumerate(self.children):
            if isinstance(child, Block):
                yield index, child


@dataclass(frozen=True)
class Use:
    """How a child of a block uses a resource: the engines `first` begin, the engines `last` end.
    Where EXECs do nothing but `read`, these are the same ones, in no order. In all but the last
    iteration of the loop `until`, where there is one, it is the engines `earlier` that end."""

    first: tuple[Unit, ...]
    last: tuple[Unit, ...]
    read: bool
    until: Loop | None = None
    earlier: tuple[Unit, ...] = ()
    guard: bool = False
    """Whether the child is what runs in that last iteration alone."""


@dataclass
class Link:
    """Part of a chain: the child at which each engine comes, and the one at which it leaves."""

    comes: dict[Unit, int]
    leaves: dict[Unit, int]
    read: bool

    def extend(self, index: int, use: Use) -> None:
        self.comes = dict.fromkeys(use.first, index) | self.comes
        self.leaves |= dict.fromkeys(use.last, index)

    def hand_over(self, other: Link, count: int = 0) -> Iterator[HandOver]:
        """From each engine here to each engine there."""
        for poster, after in self.leaves.items():
            for waiter, before in other.comes.items():
                if poster != waiter:
                    yield HandOver(poster, waiter, after, before, count)


def links(uses: dict[int, Use]) -> list[Link]:
    """The chain of `uses`: what EXECs read one after the other in one link."""
    chain: list[Link] = []
    for index, use in uses.items():
        if not (chain and chain[-1].read and use.read):
            chain.append(Link({}, {}, use.read))
        chain[-1].extend(index, use)
    return chain


def merge(handovers: Iterable[HandOver]) -> list[HandOver]:
    """One token where several resources change hands between the same engines at places that
    one post and one wait can serve: after the last leaving, before the first coming."""
    merged: list[HandOver] = []
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


def places(unit: Unit, resource: Resource, children: Iterable[Stmt | Block]) -> list[int]:
    """The children that let `unit` use `resource`."""

    def uses(stmt: Stmt | Block) -> bool:
        ops = walk(stmt.loop.body) if isinstance(stmt, Block) else (stmt,)
        return any(
            isinstance(op, Op) and op.engine and op.runs_on == unit
            and any(region.buffer.storage in resource.buffers for region in op.regions)
            for op in ops
        )  # fmt: skip

    return [index for index, child in enumerate(children) if uses(child)]
