"""How good the tile search is: its pick against every plan that fits, in model time.

Each problem of `tile_problems` is compiled with the plan that the search picks and with all
candidates: every block size and loop order that a planner knows, those included that the search
would leave out by rule; only what does not fit into SRAM is missing. Where there are more than
400, 400 spread evenly stand for them. Of these, --most spread evenly and the --close that the model
takes for the best are timed by the simulator's event model. Nothing here depends on the host, but
for the time of the search: the figures are the same on every machine.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.progress import track
from rich.table import Table
from tile_problems import MACHINES, PROBLEMS, Problem

from tileflow_tvm.driver import Executable
from tileflow_tvm.frontend.tile_ir import Program
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.emit import emit
from tileflow_tvm.passes.fuse import fuse
from tileflow_tvm.passes.legalize import legalize
from tileflow_tvm.passes.lift import lift
from tileflow_tvm.passes.sequence import TO_PLACED
from tileflow_tvm.passes.tile import plan_tiles
from tileflow_tvm.passes.tile_search import estimate_of

MARK = "<!-- bench_tile_search.py --publish -->"

RATED = 400
"""Candidates that the model rates: all that fit, or so many, evenly spread."""

MOST = 60
CLOSE = 30


@dataclass(frozen=True)
class Searched:
    """A problem: cycles of the search's pick, and (model's estimate, cycles) of each candidate."""

    title: str
    plans: int
    """How many candidates there are."""
    seconds: float
    """Of the search, on the host that ran this."""
    estimate: int
    pick: int
    points: list[tuple[int, int]]

    @property
    def best(self) -> int:
        return min(self.pick, *(cycles for _, cycles in self.points))

    @property
    def loss(self) -> float:
        """How much longer the pick takes than the best."""
        return self.pick / self.best - 1

    @property
    def correlation(self) -> float:
        return spearman(self.points)


def cycles_of(program: Program, machine: Machine) -> int:
    """Of a tile-level program."""
    for step in TO_PLACED:
        program = step(program, machine)
    return Executable(emit(program, machine)).time().cycles


def search(problem: Problem, most: int, close: int) -> Searched:
    machine = MACHINES[problem.machine]
    lifted = fuse(lift(legalize(problem.func(), machine), machine), machine)
    start = time.perf_counter()
    tiling = plan_tiles(lifted, machine)
    seconds = time.perf_counter() - start
    (nest,) = tiling.nests
    plans = list(dict.fromkeys(nest.candidates()))
    rated = []
    for plan in evenly(plans, RATED):
        estimate = estimate_of(tiling.write({0: plan}), machine)
        if estimate:  # there is room for it
            rated.append((estimate.cycles, plan))
    points = [
        (estimate, cycles_of(tiling.write({0: plan}), machine))
        for estimate, plan in thinned(rated, most, close)
    ]
    chosen = estimate_of(tiling.write(), machine)
    assert chosen is not None
    pick = cycles_of(tiling.write(), machine)
    return Searched(problem.title, len(plans), seconds, chosen.cycles, pick, points)


def evenly(plans: list, most: int) -> list:
    """At most so many of them."""
    if len(plans) <= most:
        return plans
    return [plans[len(plans) * at // most] for at in range(most)]


def thinned(rated: list, most: int, close: int) -> list:
    """At most `most` of them, evenly, and the `close` with the least estimates."""
    if len(rated) <= most:
        return rated
    even = {len(rated) * at // most for at in range(most)}
    least = sorted(range(len(rated)), key=lambda at: rated[at][0])[:close]
    return [rated[at] for at in sorted(even | set(least))]


def ranks(values: list[float]) -> list[float]:
    """From the least; equal ones share the mean of their ranks."""
    order = sorted(range(len(values)), key=lambda at: values[at])
    found = [0.0] * len(values)
    at = 0
    while at < len(order):
        end = at
        while end < len(order) and values[order[end]] == values[order[at]]:
            end += 1
        for place in order[at:end]:
            found[place] = (at + end - 1) / 2
        at = end
    return found


def spearman(points: list[tuple[int, int]]) -> float:
    """Correlation of the ranks of both coordinates; 1 where one of them does not vary."""
    xs, ys = (ranks([float(point[side]) for point in points]) for side in (0, 1))
    mean = (len(points) - 1) / 2
    over = sum((x - mean) * (y - mean) for x, y in zip(xs, ys, strict=True))
    under = (sum((x - mean) ** 2 for x in xs) * sum((y - mean) ** 2 for y in ys)) ** 0.5
    return over / under if under else 1.0


def summary(done: list[Searched]) -> str:
    losses = [row.loss for row in done]
    every = [point for row in done for point in row.points]
    return (
        f"loss: worst {100 * max(losses):.1f} %, median {100 * median(losses):.1f} %; rank "
        f"correlation: worst {min(row.correlation for row in done):.3f}, of all points "
        f"{spearman(every):.3f}"
    )


def publish(done: list[Searched], folder: Path) -> None:
    """The table, between its marks in tile_search.md, and the picture beside it."""
    page = folder / "tile_search.md"
    head, rest = page.read_text().split(MARK, 1)
    _, tail = rest.split(MARK, 1)
    rows = [
        f"| {row.title} | {len(row.points)} of {row.plans} | {row.estimate} | {row.pick} "
        f"| {row.best} | {100 * row.loss:.1f} % | {row.correlation:.3f} |"
        for row in done
    ]
    table = [
        "| problem | timed plans | model | pick | best | loss | rank correlation |",
        "|---|---:|---:|---:|---:|---:|---:|", *rows, "", f"Of these: {summary(done)}.",
    ]  # fmt: skip
    page.write_text(head + MARK + "\n" + "\n".join(table) + "\n" + MARK + tail)
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "tile search"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 6))
    points = [point for row in done for point in row.points]
    axes.loglog([y for _, y in points], [x for x, _ in points], ".", markersize=3, alpha=0.5,
                label="a plan")  # fmt: skip
    axes.loglog([row.pick for row in done], [row.estimate for row in done], "r+", label="the pick")
    ends = [min(map(min, points)), max(map(max, points))]
    axes.loglog(ends, ends, "k-", linewidth=0.5)
    axes.set_xlabel("cycles, simulator")
    axes.set_ylabel("cycles, cost model")
    axes.legend()
    figure.savefig(folder / "tile_search.svg", metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=MOST)
    parser.add_argument("--close", type=int, default=CLOSE)
    parser.add_argument("--only", default="", help="problems whose title has this in it")
    parser.add_argument("--json", type=Path, default=Path("build/bench_tile_search.json"))
    parser.add_argument("--publish", action="store_true", help="write doc/tile_search.md and .svg")
    options = parser.parse_args()
    chosen = [p for p in PROBLEMS if options.only in p.title]
    console = Console(width=150)
    done = [
        search(problem, options.most, options.close)
        for problem in track(chosen, "Searching", console=console, disable=not console.is_terminal)
    ]
    table = Table("problem", title="The tile search against every plan that fits, in cycles")
    for head in ("plans", "search\nms", "model", "pick", "best", "loss\n%", "rank\ncorrelation"):
        table.add_column(head, justify="right")
    for row in done:
        table.add_row(
            row.title,
            f"{len(row.points)}/{row.plans}",
            f"{1e3 * row.seconds:.0f}",
            str(row.estimate),
            str(row.pick),
            str(row.best),
            f"{100 * row.loss:.1f}",
            f"{row.correlation:.3f}",
        )
    console.print(table)
    print(summary(done))
    if options.publish:
        publish(done, Path(__file__).parents[1] / "doc")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps([asdict(row) for row in done]))


if __name__ == "__main__":
    main()
