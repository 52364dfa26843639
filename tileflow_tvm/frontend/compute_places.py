"""Where a compute-level node was written, or what it looks like in the printed function."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from tvm.tirx import PrimFunc

from tileflow_tvm.frontend.compute import Place
from tileflow_tvm.frontend.location import loc_of

WIDTH = 100
"""Columns of a printed line that an error shows."""


class Places:
    """Places inside one function."""

    def __init__(self, func: PrimFunc) -> None:
        self._func = func

    def of(self, node: Any, *instead: Any) -> Place:
        """The place of `node`, else of the first of `instead` that has one, else a drawing."""
        for candidate in (node, *instead):
            if loc := loc_of(candidate):
                return Place(loc)
        return Place(None, lambda: underlined(self._func, node))


def underlined(func: PrimFunc, node: Any) -> str:
    """The line of the printed function that `node` begins on, with carets below the node."""
    lines = func.script(obj_to_underline=[node], show_meta=False).splitlines()
    for above, below in pairwise(lines):
        if below.strip() and set(below.strip()) == {"^"}:
            return _clipped(above.rstrip(), below.rstrip())
    return ""


def _clipped(line: str, carets: str) -> str:
    """Both lines, indented by four and cut to `WIDTH` columns around the first caret."""
    margin = len(line) - len(line.lstrip())
    first = carets.index("^")
    start = margin if first - margin < WIDTH else first - WIDTH // 2
    head = "... " if start > margin else ""
    tail = " ..." if len(line) > start + WIDTH else ""
    shown = carets[start : start + WIDTH]
    blank = " " * len(head)
    return f"    {head}{line[start : start + WIDTH]}{tail}\n    {blank}{shown}"


def function_place(func: PrimFunc) -> Place:
    """The function's own place: its span, or that of its first parameter that has one, else a
    drawing of its head."""
    for node in (func, *func.params):
        if loc := loc_of(node):
            return Place(loc)
    return Place(None, lambda: _head(func))


def _head(func: PrimFunc) -> str:
    """The line of the printed function that says its name and parameters."""
    lines = func.script(show_meta=False).splitlines()
    head = next((line for line in lines if line.startswith("def ")), "")
    return f"    {head if len(head) <= WIDTH else head[:WIDTH] + ' ...'}"
