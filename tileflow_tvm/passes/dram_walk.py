"""How many bursts of DRAM a load or store moves, in closed form (doc/timing.md, *DRAM*).

Exact for a run of neighbours, and for rows of them, but that it is a mean over the iterations of
the loops around where the box begins here and there in a burst.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import product
from math import gcd, prod

from tileflow_tvm.frontend.tile_ir import ITEMSIZE, Affine, Buffer, Op, Var
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.isa.program import BROADCAST

At = Callable[[Affine], int]
"""The value of an affine form in the iteration that is looked at."""


Inside = tuple[tuple[int, ...], int]
"""How many indices of each entry of a dimension are inside the tensor, and how far the first of
them is from the corner of the box."""

MOST_WALKED = 1024
"""Elements that are looked at one by one."""


class Walk:
    """A transfer's box: what it moves where it lies inside of its tensor."""

    def __init__(self, op: Op, trips: Mapping[Var, int], machine: Machine) -> None:
        """`trips` are those of the loops around."""
        _, self.dram = op.ends
        buffer = self.dram.buffer
        self.item = ITEMSIZE[buffer.dtype]
        self.burst = machine.dram_burst_bytes
        self.sizes = buffer.shape
        self.strides = _strides(buffer)
        offset = buffer.view.offset if buffer.view else 0
        box = [(dim.extent, dim.step, dim.dim) for dim in op.box if dim.dim != BROADCAST]
        if not op.box:
            box = [(extent, 1, axis) for axis, extent in enumerate(self.dram.shape)]
        self.dims = [
            [(extent, step, at) for at, (extent, step, of) in enumerate(box) if of == axis]
            for axis in range(len(self.sizes))
        ]
        corner = zip(self.dram.start, self.strides, strict=True)
        first = sum((start * (stride * self.item) for start, stride in corner), Affine())
        steps = [(step, trips.get(var, 1)) for var, step in first.terms]
        self.leads = _places(
            {(first.const + offset * self.item) % self.burst: 1}, steps, self.burst
        )
        """Where in a burst the box begins, and how often."""
        self.moves = any(not start.is_const for start in self.dram.start)
        self.known: dict[object, float] = {}

    def bursts(self, at: At) -> float:
        """In an iteration of the loops around; a mean where the box begins here and there."""
        inside = tuple(
            _inside(dims, at(start), size)
            for dims, start, size in zip(self.dims, self.dram.start, self.sizes, strict=True)
        )
        if inside not in self.known:
            self.known[inside] = self._count(inside)
        return self.known[inside]

    def _count(self, inside: tuple[Inside, ...]) -> float:
        if any(count == 0 for counts, _ in inside for count in counts):
            return 0
        steps = sorted(
            (abs(step * stride) * self.item, -at, count)
            for (counts, _), dims, stride in zip(inside, self.dims, self.strides, strict=True)
            for count, (_, step, at) in zip(counts, dims, strict=True)
            if count > 1 and step * stride
        )
        skipped = zip(inside, self.strides, strict=True)
        ahead = sum(before * stride for (_, before), stride in skipped) * self.item
        run = _Run(self.item, self.burst, [(step, count) for step, _, count in steps])
        total = sum(
            times * run.bursts((lead + ahead) % self.burst) for lead, times in self.leads.items()
        )
        return total / sum(self.leads.values())


def _places(first: dict[int, int], steps: Iterable[tuple[int, int]], burst: int) -> dict[int, int]:
    """Where in a burst, and how often each, one comes from the places `first` in so many steps of
    each length."""
    places = first
    for step, count in steps:
        turns = burst // gcd(burst, step)
        moved: dict[int, int] = {}
        for place, times in places.items():
            for turn in range(min(count, turns)):
                at = (place + turn * step) % burst
                moved[at] = moved.get(at, 0) + times * -(-(count - turn) // turns)
        places = moved
    return places


class _Run:
    """A walk in steps of (bytes, count), the innermost first: a run, in which the walk goes on from
    burst to burst or to and fro between neighbours, and steps from run to run."""

    def __init__(self, item: int, burst: int, steps: list[tuple[int, int]]) -> None:
        self.burst, self.length, self.forward = burst, item, True
        self.inner: list[tuple[int, int]] = []
        self.outer: list[tuple[int, int]] = []
        for step, count in steps:
            if self.outer or not (step < burst or (self.forward and step == self.length)):
                self.outer.append((step, count))
                continue
            self.forward = self.forward and step >= self.length
            self.length += step * (count - 1)
            self.inner.append((step, count))
        self.known: dict[int, float] = {}

    def bursts(self, lead: int) -> float:
        """Of all runs, the first of which begins `lead` bytes into a burst."""
        begins = _places({lead: 1}, self.outer, self.burst)
        return sum(times * self._one(first) for first, times in begins.items())

    def _one(self, lead: int) -> float:
        """Of a run, without the burst that it shares with the run before."""
        if lead not in self.known:
            found: float = (lead + self.length - 1) // self.burst + 1
            if not self.forward:
                found = self._to_and_fro(lead)
            if self.outer:
                step, count = self.outer[0]
                if (lead + self.length - 1) // self.burst == (lead + step) // self.burst:
                    found -= (count - 1) / count
            self.known[lead] = found
        return self.known[lead]

    def _to_and_fro(self, lead: int) -> float:
        """Element by element, as far as a few hundred of them."""
        counts = [count for _, count in self.inner]
        whole = prod(counts)
        counts[-1] = max(1, min(counts[-1], MOST_WALKED * counts[-1] // whole))
        walked = prod(counts)
        last, found = -1, 0
        ranges = [
            range(0, step * count, step)
            for (step, _), count in zip(reversed(self.inner), reversed(counts), strict=True)
        ]
        for place in product(*ranges):
            burst = (lead + sum(place)) // self.burst
            found += burst != last
            last = burst
        return found * whole / walked


def _strides(buffer: Buffer) -> tuple[int, ...]:
    if buffer.view:
        return buffer.view.strides
    shape = buffer.shape
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _inside(dims: Iterable[tuple[int, int, int]], start: int, size: int) -> Inside:
    """Of a dimension of the tensor; where several entries move along it, of each as if the others
    were at their middle."""
    dims = list(dims)
    low = start + sum(min(0, (extent - 1) * step) for extent, step, _ in dims)
    high = start + sum(max(0, (extent - 1) * step) for extent, step, _ in dims)
    if low >= 0 and high < size:
        return tuple(extent for extent, _, _ in dims), 0
    counts, moved = [], 0
    for extent, step, _ in dims:
        base = start if len(dims) == 1 else (low + high - (extent - 1) * step) // 2
        found = [i for i in range(extent) if 0 <= base + i * step < size]
        counts.append(len(found))
        moved += found[0] * step if found else 0
    return tuple(counts) if dims else (0,), moved
