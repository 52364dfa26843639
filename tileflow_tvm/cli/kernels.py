"""Finds the kernel that `FILE.py:NAME` means, by running the file."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from tileflow_tvm.cli.files import FileError, read_file
from tileflow_tvm.errors import KernelError, Loc, TileflowError

Shape = tuple[tuple[str, int], ...]
"""Arguments of a function that makes a kernel: (name, or "" by position; value)."""

ORACLE_SUFFIX = "_reference"
"""A function of the kernel's name and this suffix, in the same file, is its oracle."""


@dataclass(frozen=True)
class Kernel:
    """A PrimFunc or IRModule, and what it should compute, where its file says so: a function of
    the inputs in float64 that returns the outputs."""

    name: str
    func: Any
    oracle: Callable[..., Any] | None


def split_kernel(text: str) -> tuple[str, str]:
    """`gemm.py:relu` -> ("gemm.py", "relu"); without a name the second is empty."""
    path, colon, name = text.rpartition(":")
    if colon and name.isidentifier() and not Path(text).exists():
        return path, name
    return text, ""


def find_kernel(text: str, shape: Shape = ()) -> Kernel:
    """What `FILE.py:NAME` means; without a name, the file's only kernel.

    NAME is a PrimFunc or an IRModule, or a function that makes one from the numbers in `shape`.
    """
    path, name = split_kernel(text)
    module = _run_file(path)
    name = name or _only_kernel(module, path)
    value = vars(module).get(name)
    if value is None:
        raise KernelError(f"{path} defines no '{name}'", hint=_listing(module))
    if not _is_kernel(value):
        if not callable(value):
            raise KernelError(
                f"{path}:{name} is no kernel but of type {type(value).__name__}",
                hint=_listing(module),
            )
        value = _make(value, path, name, shape)
    elif shape:
        raise KernelError(
            f"{path}:{name} is a kernel already; it takes no --shape",
            hint="leave --shape out; it is for functions that make a kernel",
        )
    oracle = vars(module).get(name + ORACLE_SUFFIX)
    return Kernel(name, value, _guarded_oracle(path, oracle) if callable(oracle) else None)


def _guarded_oracle(path: str, oracle: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *inputs, **scalars: _guarded(path, lambda: oracle(*inputs, **scalars))


def _make(maker: Callable[..., Any], path: str, name: str, shape: Shape) -> Any:
    positional = [value for key, value in shape if not key]
    named = {key: value for key, value in shape if key}
    try:
        inspect.signature(maker).bind(*positional, **named)
    except (TypeError, ValueError) as error:
        raise KernelError(
            f"{path}:{name} is a function: {error}",
            loc=_defined(maker), hint="give it numbers with --shape 64,96 or --shape m=64,n=96",
        ) from error  # fmt: skip
    made = _guarded(path, lambda: maker(*positional, **named))
    if not _is_kernel(made):
        raise KernelError(
            f"{path}:{name} returned no kernel but a value of type {type(made).__name__}",
            loc=_defined(maker), hint="it is to return a PrimFunc or an IRModule",
        )  # fmt: skip
    return made


def _defined(function: Callable[..., Any]) -> Loc | None:
    """Where a function of Python's is defined."""
    code = getattr(function, "__code__", None)
    return Loc(code.co_filename, code.co_firstlineno) if code else None


def _is_kernel(value: Any) -> bool:
    from tvm.ir import IRModule
    from tvm.tirx import PrimFunc

    return isinstance(value, PrimFunc | IRModule)


def _kernel_names(module: ModuleType) -> list[str]:
    """Names of the kernels in a file, one for each; private ones are parts, not kernels."""
    names: dict[int, str] = {}
    for name, value in vars(module).items():
        if not name.startswith("_") and _is_kernel(value):
            names.setdefault(id(value), name)
    return list(names.values())


def _only_kernel(module: ModuleType, path: str) -> str:
    names = _kernel_names(module)
    if len(names) == 1:
        return names[0]
    if not names:
        raise KernelError(
            f"{path} defines no kernel",
            hint=f"decorate a function with @T.prim_func, or name what makes one: {path}:NAME",
        )
    raise KernelError(f"{path} defines {len(names)} kernels", hint=_listing(module))


def _listing(module: ModuleType) -> str:
    names = _kernel_names(module)
    if not names:
        return "the file defines no kernel; decorate a function with @T.prim_func"
    return f"name one: {', '.join(names)}"


def _run_file(path: str) -> ModuleType:
    read_file(path)
    if not path.endswith(".py"):
        raise FileError(f"{path} is no Python file", hint="a kernel is given as FILE.py:NAME")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its neighbours are importable, as where Python runs a script.
    sys.path.insert(0, str(Path(path).resolve().parent))
    sys.modules[spec.name] = module
    loader = spec.loader
    _guarded(path, lambda: loader.exec_module(module))
    return module


def _guarded(path: str, action: Callable[[], Any]) -> Any:
    """Run code of the user's; what it raises becomes an error at the line in `path`."""
    from tvm.error import DiagnosticError

    from tileflow_tvm.frontend.location import parse_error

    try:
        return action()
    except TileflowError:
        raise
    except DiagnosticError as error:
        raise parse_error(error) from error
    except SyntaxError as error:
        loc = Loc(error.filename or path, error.lineno or 1, error.offset or 0)
        raise KernelError(
            f"not Python: {error.msg}", loc=loc, hint="a kernel's file is run as Python"
        ) from error
    except SystemExit as error:
        what = f"the file exits ({error.code}) while it is imported"
        raise KernelError(
            what, loc=_where(error, path), hint='put what is to run under if __name__ == "__main__"'
        ) from error
    except ImportError as error:
        raise KernelError(
            f"{type(error).__name__}: {error}", loc=_where(error, path),
            hint=f"install it for {sys.executable}, or put the module beside {path}",
        ) from error  # fmt: skip
    except Exception as error:
        raise KernelError(
            f"{type(error).__name__}: {error}", loc=_where(error, path),
            hint="the file's own code raised this; -v prints the whole traceback",
        ) from error  # fmt: skip


def _where(error: BaseException, path: str) -> Loc:
    """The innermost line of the file that the error passed through."""
    same = Path(path).resolve()
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if Path(frame.filename).resolve() == same:
            return Loc(path, frame.lineno or 1)
    return Loc(path, 1)
