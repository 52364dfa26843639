"""Model time as tables: what `tileflow run --timing-only` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tileflow_tvm.cli.tables import in_bytes, print_table

if TYPE_CHECKING:
    from tileflow_tvm.timing import Timing

ENGINES = ("load", "exec", "store")
WAITS = (*ENGINES, "sequencer", "dram", "latency")


def print_timing(timing: Timing) -> None:
    """What a program takes, where each engine's time goes, what DRAM moves, and the bottleneck."""
    side, bound = timing.bound
    path = sorted(timing.critical_path.items(), key=lambda part: -part[1])
    rows = [
        ("cycles", f"{timing.cycles:,}"),
        ("least possible", f"{bound:,} ({side})"),
        ("of peak", utilisation(timing)),
        ("critical path", ", ".join(f"{part} {_share(c, timing)}" for part, c in path if c)),
    ]
    print_table(("model time", ""), rows)
    print()
    _print_engines(timing)
    if timing.dram:
        print()
        _print_traffic(timing)
    print(f"\n {timing.bottleneck}")


def utilisation(timing: Timing) -> str:
    """Of the array, the lanes, and DRAM, against their peaks."""
    return (f"MACs {timing.mac_utilisation:.1%}, lanes {timing.lane_utilisation:.1%}, "
            f"DRAM {timing.burst_utilisation:.1%}")  # fmt: skip


def _share(cycles: int, timing: Timing) -> str:
    return f"{cycles / timing.cycles:.1%}" if cycles else "-"


def _print_engines(timing: Timing) -> None:
    rows = [
        (name, *_shares([time.busy, *(time.waiting[w] for w in WAITS), time.idle], timing))
        for name, time in timing.engines.items()
    ]
    own = timing.sequencer
    stalled = [own.stalled[engine] for engine in ENGINES]
    rows.append(("sequencer", *_shares([own.issuing, *stalled, 0, 0, 0, own.idle], timing)))
    columns = ("waits for", "busy", *WAITS, "idle")
    print_table(columns, rows, right=columns[1:])


def _shares(cycles: list[int], timing: Timing) -> list[str]:
    return [_share(part, timing) for part in cycles]


def _print_traffic(timing: Timing) -> None:
    columns = ("DRAM", "read", "written", "in bursts", "least possible")
    rows = [
        (
            f"{traffic.name} ({traffic.kind})" if traffic.kind == "constant" else traffic.name,
            *(
                in_bytes(size)
                for size in (traffic.loaded, traffic.stored, traffic.burst_bytes, traffic.least)
            ),
        )
        for traffic in timing.dram
    ]
    print_table(columns, rows, right=columns[1:])
