"""Which function is meant, when a module is handed over."""

from __future__ import annotations

from typing import Any

from tvm.ir import IRModule
from tvm.tirx import PrimFunc

from tileflow_tvm.errors import KernelError


def only_function(kernel: Any) -> PrimFunc:
    """`kernel` itself, or the PrimFunc of a module that has one; KernelError otherwise."""
    if isinstance(kernel, PrimFunc):
        return kernel
    if not isinstance(kernel, IRModule):
        raise KernelError(
            f"a kernel is a tvm PrimFunc or IRModule, not {type(kernel).__name__}",
            hint="decorate the function with @T.prim_func",
        )
    found = {
        var.name_hint: func for var, func in kernel.functions.items() if isinstance(func, PrimFunc)
    }
    if len(found) == 1:
        return next(iter(found.values()))
    if not found:
        raise KernelError("the module has no PrimFunc", hint="run relax.LegalizeOps and FuseTIR")
    raise KernelError(
        f"the module has {len(found)} PrimFuncs: {', '.join(sorted(found))}",
        hint="pass the one to compile, as in module['name']",
    )
