"""Tables for people, JSON for scripts."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    title: str = "",
    right: Sequence[str] = (),
) -> None:
    """Print rows of text; `right` names the columns that hold numbers."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    heading = Text(title, style="bold") if title else None
    table = Table(box=box.SIMPLE_HEAD, title=heading, title_justify="left", pad_edge=False)
    for column in columns:
        table.add_column(Text(column), justify="right" if column in right else "left")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    if sys.stdout.isatty():
        Console(highlight=False).print(table)
        return
    # A pipe has no width to fold lines at.
    plain = io.StringIO()
    Console(file=plain, width=1000).print(table)
    print("\n".join(line.rstrip() for line in plain.getvalue().strip("\n").splitlines()))


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def in_bytes(count: int) -> str:
    """4096 -> "4.0 KiB"; below 1 KiB in plain bytes."""
    size, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
