"""tileflow_tvm: TVM kernels compiled for, and run on, a simulated tile accelerator.

`import tileflow_tvm as tf` is cheap: TVM and NumPy are imported by the names that need them.
"""

from __future__ import annotations

import time
from importlib import import_module
from typing import Any

_LOADED_AT = time.time()
"""A source file that is newer may not be what runs in this process; see `cache.key`."""

_HOMES = {
    "compile": "driver",
    "load": "driver",
    "check": "golden",
    "CheckError": "golden",
    "Executable": "driver",
    "Machine": "isa.machine",
    "Loc": "errors",
    "TileflowError": "errors",
    "KernelError": "errors",
    "MachineError": "errors",
    "AssemblyError": "errors",
    "BinaryError": "errors",
    "VerifyError": "errors",
    "CallError": "errors",
    "RunError": "errors",
}
"""Public name -> the module it lives in."""

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tileflow_tvm' has no attribute {name!r}")
    value = getattr(import_module(f"tileflow_tvm.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


def _autoload() -> None:
    """TVM calls this at `import tvm` (entry point group `tvm.backends`): `T.tf.*` is there."""
    from tileflow_tvm.frontend.language import register

    register()
