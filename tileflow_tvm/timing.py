"""Model time: what a program takes on its machine, and why.

`doc/timing.md` says how the model works. Everything is in cycles of the machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.isa.program import Program, Role, StorageKind


@dataclass(frozen=True)
class EngineTime:
    """What an engine did. Each cycle counts for its oldest unfinished instruction: `busy`, or
    `waiting` for the tokens of another engine ("load", "exec", "store"), for the "sequencer", for
    "dram" that works for another engine, or for DRAM's "latency". `idle` is after the last one.
    """

    busy: int
    waiting: dict[str, int]
    idle: int


@dataclass(frozen=True)
class SequencerTime:
    """`stalled` is by the engine whose queue was full."""

    issuing: int
    stalled: dict[str, int]
    idle: int


@dataclass(frozen=True)
class Traffic:
    """What moved between DRAM and SRAM for one "argument", "constant", or the "scratch" memory.

    `burst_bytes` is what DRAM moved, in whole bursts, both ways; `least` what had to move: an input
    once, an output once, scratch not at all.
    """

    name: str
    kind: str
    loaded: int
    stored: int
    burst_bytes: int
    least: int


@dataclass(frozen=True)
class Timing:
    """What a program takes.

    `critical_path` says where the cycles go: the path is followed back from the end, always to what
    was waited for, and the parts add up to `cycles`. `waits_for_room` counts the steps of the path
    that were a wait for room: in a "queue", for a "slot" of a ring, among the "outstanding"
    transfers. `instructions` are those of the engines, `control` those of the sequencer.
    """

    machine: Machine
    cycles: int
    instructions: int
    control: int
    engines: dict[str, EngineTime]
    sequencer: SequencerTime
    critical_path: dict[str, int]
    waits_for_room: dict[str, int]
    macs: int
    lane_cycles: int
    dram_cycles: int
    dram: tuple[Traffic, ...]

    @property
    def mac_utilisation(self) -> float:
        """Multiply-adds without padding, against the array's peak."""
        return self._of_peak(self.macs, self.machine.macs_per_cycle)

    @property
    def lane_utilisation(self) -> float:
        """Work of the vector lanes, against their peak."""
        return self._of_peak(self.lane_cycles, self.machine.vector_lanes)

    @property
    def dram_utilisation(self) -> float:
        """Bytes that were asked for, against DRAM's bandwidth."""
        return self._of_peak(self.dram_bytes, self.machine.dram_bytes_per_cycle)

    @property
    def burst_utilisation(self) -> float:
        """Bytes in whole bursts, against DRAM's bandwidth."""
        moved = sum(traffic.burst_bytes for traffic in self.dram)
        return self._of_peak(moved, self.machine.dram_bytes_per_cycle)

    @property
    def dram_bytes(self) -> int:
        return sum(traffic.loaded + traffic.stored for traffic in self.dram)

    @property
    def least_dram_bytes(self) -> int:
        return sum(traffic.least for traffic in self.dram)

    @cached_property
    def bounds(self) -> dict[str, int]:
        """Cycles below which no schedule gets: the array at its peak ("mac"), the lanes at theirs
        ("lanes"), and DRAM moving the least bytes ("dram")."""
        return {
            "mac": -(-self.macs // self.machine.macs_per_cycle),
            "lanes": -(-self.lane_cycles // self.machine.vector_lanes),
            "dram": -(-self.least_dram_bytes // self.machine.dram_bytes_per_cycle),
        }

    @property
    def bound(self) -> tuple[str, int]:
        """The roofline: the largest of `bounds`, and which it is."""
        side = max(self.bounds, key=lambda side: self.bounds[side])
        return side, self.bounds[side]

    @cached_property
    def bottleneck(self) -> str:
        """One sentence: what limits the program, and what would relieve it."""
        return advice(self)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        figures = asdict(self)
        del figures["machine"]
        side, cycles = self.bound
        return {
            **figures,
            "mac_utilisation": self.mac_utilisation,
            "lane_utilisation": self.lane_utilisation,
            "dram_utilisation": self.dram_utilisation,
            "burst_utilisation": self.burst_utilisation,
            "bound": {"side": side, "cycles": cycles},
            "bottleneck": self.bottleneck,
        }

    def _of_peak(self, work: int, per_cycle: int) -> float:
        return work / (self.cycles * per_cycle) if self.cycles else 0.0


def timing_of(program: Program, raw: Mapping[str, Any]) -> Timing:
    """The figures of the simulator for a program."""
    figures = dict(raw)
    loads, stores = figures.pop("loads"), figures.pop("stores")
    engines = {name: EngineTime(*time) for name, time in figures.pop("engines").items()}
    return Timing(
        machine=program.machine,
        engines=engines,
        sequencer=SequencerTime(*figures.pop("sequencer")),
        dram=_traffic(program, loads, stores),
        **figures,
    )


def _traffic(program: Program, loads: list[Any], stores: list[Any]) -> tuple[Traffic, ...]:
    """What was not touched is left out."""
    totals: dict[tuple[StorageKind, int], list[int]] = {}
    for tensor, load, store in zip(program.tensors, loads, stores, strict=True):
        if load[0] or store[0]:
            total = totals.setdefault((tensor.storage.kind, tensor.storage.index), [0, 0, 0])
            total[0] += load[1]
            total[1] += store[1]
            total[2] += load[2] + store[2]
    return tuple(
        Traffic(*_name(program, *where), *total, _least(program, *where, *total[:2]))
        for where, total in sorted(totals.items())
    )


def _name(program: Program, kind: StorageKind, index: int) -> tuple[str, str]:
    if kind is StorageKind.ARG:
        return program.args[index].name, "argument"
    if kind is StorageKind.CONST:
        return program.constants[index].name, "constant"
    return "scratch", "scratch"


def _least(program: Program, kind: StorageKind, index: int, loaded: int, stored: int) -> int:
    """Bytes that have to move, at most what did."""
    if kind is StorageKind.SCRATCH:
        return 0
    if kind is StorageKind.CONST:
        return min(len(program.constants[index].data), loaded)
    arg = program.args[index]
    least_loaded = 0 if arg.role is Role.OUT else min(arg.nbytes, loaded)
    return least_loaded + min(arg.nbytes, stored)


_EXEC = ("array", "fill", "lanes", "startup")
_MOSTLY = 0.7
"""Of the critical path: above it, what takes this part limits; below, what is not overlapped."""

_WASTEFUL = 1.5
"""Bytes moved, to bytes asked for or to bytes that had to move."""


def advice(timing: Timing) -> str:
    """One sentence from the critical path: the work that fills it; or, where no work does, what
    there was no room for."""
    if not timing.cycles:
        return "The program takes no time."
    path = timing.critical_path
    in_exec = sum(path[part] for part in _EXEC)
    top = max(path, key=lambda part: path[part])
    if in_exec > _MOSTLY * timing.cycles:
        top = max(_EXEC, key=lambda part: path[part])
    elif path[top] <= _MOSTLY * timing.cycles or top == "latency":
        room = max(timing.waits_for_room, key=lambda room: timing.waits_for_room[room])
        if timing.waits_for_room[room]:
            return _no_room(timing, room)
    return _limited_by(timing, top)


def _part(timing: Timing, *parts: str) -> str:
    """The share of the critical path of some of its parts."""
    cycles = sum(timing.critical_path[part] for part in parts)
    return f"{cycles / timing.cycles:.0%} of {timing.cycles:,} cycles" if cycles else "0 cycles"


def _limited_by(timing: Timing, top: str) -> str:
    if top in _EXEC:
        busy = f"EXEC works {_part(timing, *_EXEC)}"
        return f"{busy}, {_part(timing, top)} {_IN_EXEC[top]}"
    if top == "transfer":
        return f"DRAM's bandwidth limits {_part(timing, top)}: {_less_traffic(timing)}."
    return f"{_ELSEWHERE[top][0]} {_part(timing, top)}: {_ELSEWHERE[top][1]}."


_IN_EXEC = {
    "array": "in the MAC array: more macs_per_cycle would help.",
    "fill": "filling and draining the MAC array: fewer and larger gemms (larger blocks, a longer "
            "k), or fewer mac_fill_cycles and mac_drain_cycles would help.",
    "lanes": "in the vector lanes: more vector_lanes would help.",
    "startup": "starting vector instructions: fewer and larger ones (larger blocks), or fewer "
               "vector_startup_cycles would help.",
}  # fmt: skip

_ELSEWHERE = {
    "latency": ("DRAM's latency takes", "transfers wait for each other in a chain; fewer and "
                "larger transfers, or fewer dram_latency_cycles would help"),
    "setup": ("The set-up of transfers takes", "fewer and larger transfers, or fewer "
              "dma_setup_cycles would help"),
    "issue": ("The sequencer issues instructions for", "fewer and larger instructions (larger "
              "blocks), or fewer issue_cycles would help"),
    "semaphore": ("The semaphores take", "fewer hand-overs between engines (larger blocks), or "
                  "fewer semaphore_cycles would help"),
}  # fmt: skip


def _less_traffic(timing: Timing) -> str:
    moved = sum(traffic.burst_bytes for traffic in timing.dram)
    asked, least = timing.dram_bytes, timing.least_dram_bytes
    if moved > _WASTEFUL * asked:
        return (f"it moves {moved / asked:.1f} times the bytes that are asked for, in bursts of "
                f"{timing.machine.dram_burst_bytes}; longer runs of neighbouring elements, or more "
                "dram_bytes_per_cycle would help")  # fmt: skip
    if least and asked > _WASTEFUL * least:
        return (f"the program moves {asked / least:.1f} times the bytes it has to; larger blocks, "
                "or more dram_bytes_per_cycle would help")  # fmt: skip
    return "more dram_bytes_per_cycle would help"


def _no_room(timing: Timing, room: str) -> str:
    machine = timing.machine
    where, relief = {
        "queue": ("in a full queue", f"a queue_depth above {machine.queue_depth}"),
        "slot": ("for a slot of a ring to be free", "deeper rings (smaller blocks or more SRAM)"),
        "outstanding": (
            "among the transfers under way",
            f"more dma_outstanding than {machine.dma_outstanding}",
        ),
    }[room]
    return (f"The engines wait for each other: EXEC works {_part(timing, *_EXEC)}, transfers take "
            f"{_part(timing, 'transfer')}, and their latency {_part(timing, 'latency')}, one after "
            f"the other; {timing.waits_for_room[room]:,} waits for room {where}: {relief} would "
            "help.")  # fmt: skip


__all__ = ["EngineTime", "SequencerTime", "Timing", "Traffic", "timing_of"]
