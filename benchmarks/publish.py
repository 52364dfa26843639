"""Writes the tables of doc/performance.md anew, from what `make bench` left in build/.

A table stands between `<!-- figures: NAME -->` and `<!-- end -->`; what is around it is written by
hand, the name of the host and the day included.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]
ROOT = Path(__file__).resolve().parents[1]


def table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def gemm(found: dict[str, Any]) -> str:
    heads = ["N x N x N", "NumPy GFLOP/s", "sequential", "auto", "NumPy time / sequential",
             "/ auto", "sequential / threaded"]  # fmt: skip
    keys = ("numpy_over_sequential", "numpy_over_auto", "sequential_over_threaded")
    rates = ("numpy", "sequential", "auto")
    return table(heads, [
        [str(row["size"]), *(f"{row['gflops'][name]:.1f}" for name in rates),
         *(f"{row[key]:.2f}" for key in keys)]
        for row in found["rows"] if "gflops" in row])  # fmt: skip


def programs(found: dict[str, Any]) -> str:
    """A line for each program, both sizes side by side."""
    lines: dict[tuple[str, str], dict[str, str]] = {}
    places = ("in cache", "out of cache")
    for row in found["rows"]:
        time = row["seconds"]
        ratios = [f"{time[peer] / time['auto']:.2f}" for peer in ("copy", "numpy")]
        lines.setdefault((row["kind"], row["name"]), {})[row["what"]] = " / ".join(ratios)
    rows = [[kind, name, *(of[place] for place in places)]
            for (kind, name), of in lines.items()]  # fmt: skip
    return table(["", "program", *(f"{place}: of a copy / of NumPy" for place in places)], rows)


def kernels(found: Rows) -> str:
    """Float32, and products of all types; functions that meet the same peer share a line."""
    lines: dict[tuple[str, str, str], list[str]] = {}
    level = found[0]["level"]
    for row in found:
        if row["level"] != level or (row["dtype"] != "f32" and row["operation"] != "exec.gemm"):
            continue
        what = row["what"] if row["what"] in ("rows", "transposed", "strided") else ""
        what = row["what"] if row["operation"] in ("exec.binary", "exec.reduce") else what
        name = row["function"] or row["dtype"]
        key = row["operation"], what, row["peer"]
        lines.setdefault(key, []).append(f"{name} {row['ratio']:.2f}")
    rows = [[f"`{operation}` {what}".strip(), ", ".join(ratios), peer]
            for (operation, what, peer), ratios in lines.items()]  # fmt: skip
    return table(["kernel", "how fast", "times"], rows)


TABLES: dict[str, Callable[[Any], str]] = {"gemm": gemm, "programs": programs, "kernels": kernels}


def publish(text: str, figures: Path) -> str:
    for name, make in TABLES.items():
        file = figures / f"bench_{name}.json"
        if not file.exists():
            continue
        made = make(json.loads(file.read_text(encoding="utf-8")))
        between = re.compile(rf"(<!-- figures: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text, places = between.subn(lambda m, made=made: f"{m[1]}{made}\n{m[2]}", text)
        if places != 1:
            raise SystemExit(f"error: {places} places for the figures of {name}, not one")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figures", type=Path, default=ROOT / "build")
    parser.add_argument("--doc", type=Path, default=ROOT / "doc" / "performance.md")
    options = parser.parse_args()
    text = options.doc.read_text(encoding="utf-8")
    options.doc.write_text(publish(text, options.figures), encoding="utf-8")


if __name__ == "__main__":
    main()
