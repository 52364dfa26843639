"""Kernels that are refused: building their source, and checking what is said and where."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from graph_source import load_source
from lifted import MACHINE

from tileflow_tvm.errors import KernelError
from tileflow_tvm.passes.legalize import legalize
from tileflow_tvm.passes.lift import lift

MARK = "  # <--"
"""Ends the line that an error must point at."""


def block_func(params: str, body: str) -> str:
    """The source of a function; a parameter is written `A(4, 5)`, or `A(4, 5)int32`."""
    params = re.sub(r"(\w+)(\([-\d, ]*\))(\w*)", _param, params)
    lines = "\n".join(f"    {line}" for line in body.strip("\n").splitlines())
    return f"@T.prim_func(s_tir=True)\ndef graph({params}):\n{lines}\n"


def _param(match: re.Match[str]) -> str:
    return f'{match[1]}: T.Buffer({match[2]}, "{match[3] or "float32"}")'


def map_block(params: str, value: str, loops: str = "4, 5") -> str:
    """C[vi, vj] = value, on the line that is marked."""
    return block_func(
        params,
        f"""
for i, j in T.grid({loops}):
    with T.sblock("c"):
        vi, vj = T.axis.remap("SS", [i, j])
        C[vi, vj] = {value}{MARK}
""",
    )


def at_header(source: str) -> str:
    """`source` with the mark on the line of the parameters instead."""
    return source.replace(MARK, "").replace("):\n", f"):{MARK}\n", 1)


def check_refusal(name: str, source: str, what: str, hint: str) -> None:
    """`legalize` or `lift` refuses `source` with this message and hint, at the marked line."""
    func = load_source(source, stem=re.sub(r"\W", "_", name))
    with pytest.raises(KernelError) as caught:
        lift(legalize(func, MACHINE), MACHINE)
    error = caught.value
    assert re.search(what, error.what), error.what
    assert re.search(hint, error.hint), error.hint
    assert error.loc is not None
    line = Path(error.loc.file).read_text().splitlines()[error.loc.line - 1]
    assert line.endswith(MARK), f"points at: {line}"
    assert error.loc.col > 0
    with pytest.raises(KernelError, match=re.escape(error.what)):
        lift(func, MACHINE)
