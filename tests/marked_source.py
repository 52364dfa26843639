"""Kernels given as text, with the line that an error should point at marked `# HERE`."""

from __future__ import annotations

import importlib.util
import textwrap
from pathlib import Path

from tvm.error import DiagnosticError
from tvm.tirx import PrimFunc

from tileflow_tvm.errors import KernelError
from tileflow_tvm.frontend.location import parse_error

HEAD = """
from tvm.script import tirx as T

@T.prim_func
def kernel({params}):
"""
PARAMS = (
    'A: T.Buffer((100, 64), "float32"), C: T.Buffer((100, 64), "float32"), '
    'V: T.Buffer((64,), "float32"), n: T.int32'
)


def write_source(directory: Path, body: str, params: str = PARAMS) -> Path:
    """A module with `kernel` in it; a marked line of `params` is the `def` line."""
    path = directory / "kernel_under_test.py"
    text = HEAD.format(params=params) + textwrap.indent(textwrap.dedent(body), "    ")
    path.write_text(text, encoding="utf-8")
    return path


def load(path: Path) -> PrimFunc:
    """The function, or the KernelError that a parse error becomes."""
    spec = importlib.util.spec_from_file_location(f"kernel_{abs(hash(path))}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except DiagnosticError as error:
        raise parse_error(error) from error
    return module.kernel


def marked_line(path: Path) -> int:
    """The line with the mark; the `def` line without one."""
    lines = path.read_text(encoding="utf-8").splitlines()
    marked = [number for number, line in enumerate(lines, 1) if "# HERE" in line]
    defined = [number for number, line in enumerate(lines, 1) if line.startswith("def kernel")]
    return (marked or defined)[0]


def assert_points_at_mark(error: KernelError, path: Path) -> None:
    assert error.loc is not None, f"no place: {error}"
    assert error.loc.file == str(path)
    assert error.loc.line == marked_line(path), f"wrong line: {error}"
    assert error.loc.col > 0
