"""Which hand-overs others make needless.

Engines work in order. So a token says more than what it is posted for: that its poster is through
with all that comes before the post. Where such a token is waited for in time, a hand-over between
the same two engines needs none of its own:

    load(a)                 post=full_a            load(a)
    exec.nop                wait=full_a            for n:
    for n:                                   ->        load(b)       wait=free_b post=full_b
        load(b)             wait=free_b post=full_b    gemm(c, a, b) wait=full_b post=free_b
        gemm(c, a, b)       wait=full_b post=free_b
    exec.nop                post=free_a

The first gemm waits for a load of b that comes after the load of a.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tileflow_tvm.frontend.tile_ir import Stmt, Unit
from tileflow_tvm.passes.handovers import Block, HandOver, places
from tileflow_tvm.passes.resources import Resource


def implied(handover: HandOver, resource: Resource, children: list[Stmt | Block]) -> bool:
    """Whether the hand-overs inside `children`, which are final, order what `handover` does."""
    if handover.count:
        return _around(handover, resource, children)
    after, before = handover.after + 1, handover.before
    between = (child for child in children[after:before] if isinstance(child, Block))
    if any(_meets(child, handover) for child in between):
        return True
    last = children[before] if before < len(children) else None
    return isinstance(last, Block) and _meets(last, handover, resource)


def _meets(block: Block, handover: HandOver, resource: Resource | None = None) -> bool:
    """Whether the waiter is sure to wait in `block` for a post that was made in it; before it
    uses `resource` there, where one is given."""
    if block.trips < 1:
        return False
    users = places(handover.waiter, resource, block.children) if resource else []
    end = users[0] if users else len(block.children)
    for inner in block.handovers:
        if _same_way(inner, handover) and not inner.count and inner.before <= end:
            return True
    for index, child in block.inner():
        if index < end and _meets(child, handover):
            return True
        if index == end and _meets(child, handover, resource):
            return True
    return False


def _same_way(inner: HandOver, handover: HandOver) -> bool:
    return (inner.poster, inner.waiter) == (handover.poster, handover.waiter)


@dataclass(frozen=True)
class _Ring:
    """A hand-over inside a child of a loop's body, with tokens from the start: the blocks around
    it, outermost first, and how often they run it in an iteration of that loop."""

    path: tuple[Block, ...]
    trips: int
    inner: HandOver


def _rings(block: Block, path: tuple[Block, ...] = (), trips: int = 1) -> Iterator[_Ring]:
    path, trips = (*path, block), trips * block.trips
    if not trips:
        return
    yield from (_Ring(path, trips, inner) for inner in block.handovers if inner.count)
    for _, child in block.inner():
        yield from _rings(child, path, trips)


def _around(handover: HandOver, resource: Resource, children: list[Stmt | Block]) -> bool:
    """`handover` makes iteration t of its loop wait for iteration t - count.

    A ring with `tokens` that turns `trips` times an iteration has, before iteration t waits in
    child `before`, seen t * trips waits, and as many more as are in front of that in iteration t.
    The last of these takes the post that is `tokens` before it. Post number p of iteration
    t - count, or a later one, has to be among those: the first one that comes after the last use.
    """
    for at, child in enumerate(children):
        if not isinstance(child, Block):
            continue
        for ring in _rings(child):
            if not _same_way(ring.inner, handover):
                continue
            waits = ring.trips if at < handover.before else 0
            post = 0 if handover.after < at else ring.trips
            if handover.after == at and _posts_last(ring, handover.poster, resource):
                post = ring.trips - 1
            if handover.count * ring.trips + waits - 1 - ring.inner.count >= post:
                return True
    return False


def _posts_last(ring: _Ring, unit: Unit, resource: Resource) -> bool:
    """Whether the last post of an iteration comes after the last use of `resource`."""
    steps = zip(ring.path, (*ring.path[1:], None), strict=True)
    for block, following in steps:
        post = ring.inner.after if following is None else block.children.index(following)
        if any(place > post for place in places(unit, resource, block.children)):
            return False
    return True
