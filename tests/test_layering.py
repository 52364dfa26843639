"""Who may import whom: every import statement of the package, lazy ones too, against one table."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "tileflow_tvm"
FOLDERS = {
    PACKAGE: ROOT / "tileflow_tvm",
    f"{PACKAGE}.assembler": ROOT / "assembler",
    f"{PACKAGE}.kernels": ROOT / "kernels",
}
"""Import name of each folder of Python files."""

LAYERS = {
    "errors": set(),
    "isa": {"errors"},
    "assembler": {"errors", "isa"},
    "frontend": {"errors", "isa"},
    "passes": {"errors", "isa", "frontend"},
    "reference": {"errors", "isa", "frontend", "passes"},
    "kernels": set(),
    "timing": {"isa"},
    "sim": {"errors", "isa", "timing", "_sim"},
    "files": set(),
    "progress": set(),
    "cache": {"", "errors", "files", "isa"},
    "driver": {
        "errors", "files", "isa", "assembler", "frontend", "passes", "sim", "timing", "cache",
        "progress",
    },
    "golden": {"errors", "isa", "frontend", "reference", "driver", "sim"},
    "cli": {
        "", "errors", "isa", "assembler", "frontend", "passes", "kernels", "sim", "timing",
        "files", "cache", "driver", "golden",
    },
    "": {"frontend"},
}  # fmt: skip
"""Layer -> the layers it may import. "" is the package's own __init__, which has no imports but
that of the plugin: its public names are looked up when they are first used."""

OUTSIDE = {
    "errors": set(),
    "isa": {"tomli"},
    "assembler": set(),
    "frontend": {"tvm", "tvm_ffi", "numpy"},
    "passes": {"tvm.tirx"},
    "reference": {"tvm", "numpy"},
    "kernels": {"tvm", "numpy"},
    "timing": set(),
    "sim": {"numpy", "ml_dtypes"},
    "files": set(),
    "progress": {"rich"},
    "cache": {"platformdirs"},
    "driver": {"tvm", "numpy"},
    "golden": {"tvm", "numpy"},
    "cli": {"tvm", "numpy", "rich"},
    "": set(),
}
"""Layer -> what it may import from outside the standard library. tomli: Python 3.10 only."""

WRAPPERS = {"tileflow_tvm.passes.registry": {"tvm", "tvm_ffi"}}
"""Modules whose task it is to know more: this one makes TVM passes of the passes."""


def python_files() -> list[tuple[str, Path]]:
    """Every module's dotted name and file."""
    found = []
    for prefix, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            name = ".".join((prefix, *parts)).removesuffix(".__init__")
            found.append((name, path))
    return found


def layer_of(module: str) -> str:
    """`tileflow_tvm.isa.table` -> `isa`; `tileflow_tvm` -> ``."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imports(tree: ast.AST, module: str, *, is_package: bool) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, wherever the statement stands, and its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".") if is_package else module.split(".")[:-1]
                above = above[: len(above) - (node.level - 1)]
                base = ".".join([*above, *([base] if base else [])])
            if base == PACKAGE:
                yield from ((f"{PACKAGE}.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield base, node.lineno


def _parents(module: str) -> Iterator[str]:
    """`tvm.tirx.stmt` -> `tvm`, `tvm.tirx`, `tvm.tirx.stmt`."""
    parts = module.split(".")
    yield from (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def violations(module: str, path: Path, source: str) -> list[str]:
    """The imports of a file that its layer does not allow."""
    layer = layer_of(module)
    if layer not in LAYERS:
        return [f"{path}: layer '{layer}' is not in LAYERS: say what it may import"]
    found = []
    tree = ast.parse(source)
    for name, line in imports(tree, module, is_package=path.name == "__init__.py"):
        top = name.split(".")[0]
        if top == PACKAGE:
            target = layer_of(name)
            fine = target == layer or target in LAYERS[layer]
        else:
            allowed = OUTSIDE[layer] | WRAPPERS.get(module, set())
            fine = top in sys.stdlib_module_names or not allowed.isdisjoint(_parents(name))
        if not fine:
            found.append(f"{path}:{line}: {layer or PACKAGE} may not import {name}")
    return found


@pytest.mark.parametrize(("module", "path"), python_files(), ids=lambda value: str(value))
def test_imports_go_down_only(module, path):
    assert violations(module, path, path.read_text(encoding="utf-8")) == []


def test_tables_agree_and_have_no_cycles():
    assert LAYERS.keys() == OUTSIDE.keys()
    done: set[str] = {"_sim"}
    rest = dict(LAYERS)
    while rest:
        ready = [layer for layer, below in rest.items() if below <= done]
        assert ready, f"a cycle among {sorted(rest)}"
        done.update(ready)
        for layer in ready:
            del rest[layer]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("tileflow_tvm.isa.table", "import numpy"),
        ("tileflow_tvm.isa.table", "from tileflow_tvm.frontend import read"),
        ("tileflow_tvm.isa.table", "def f():\n    from ..passes.emit import emit"),
        ("tileflow_tvm.errors", "from tileflow_tvm import driver"),
        ("tileflow_tvm.assembler.lexer", "import tvm.ir"),
        ("tileflow_tvm.passes.emit", "import tileflow_tvm.driver"),
        ("tileflow_tvm.passes.tile", "from tvm import tirx"),
        ("tileflow_tvm.driver", "from .cli import main"),
        ("tileflow_tvm.novel", ""),
    ],
)
def test_a_violation_is_seen(module, source):
    assert len(violations(module, Path("x.py"), source)) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "import tileflow_tvm",
        "import tileflow_tvm.errors",
        "import tileflow_tvm.isa.container, tileflow_tvm.isa.validate",
        "import tileflow_tvm.assembler",
        "import tileflow_tvm.cli",
        "import tileflow_tvm; tileflow_tvm.Machine.load('tileflow'); tileflow_tvm.KernelError",
    ],
)
def test_neither_tvm_nor_numpy_is_loaded(statement):
    code = f"import sys\n{statement}\nprint(sorted({{'tvm', 'numpy'}} & sys.modules.keys()))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
