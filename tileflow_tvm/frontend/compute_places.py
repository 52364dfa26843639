"""Where a compute-level node was written, or what it looks like in the printed function."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from tvm.tirx import PrimFunc

from tileflow_tvm.frontend.compute import Place
from tileflow_tvm.frontend.location import loc_of


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
            return f"    {above.rstrip()}\n    {below.rstrip()}"
    return ""


def function_place(func: PrimFunc) -> Place:
    """The function's own place: its span, or that of its first parameter that has one."""
    for node in (func, *func.params):
        if loc := loc_of(node):
            return Place(loc)
    return Place()
