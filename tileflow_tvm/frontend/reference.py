"""A function run by TVM's own LLVM back end: the executor that nobody here wrote."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tvm
from tvm import ir
from tvm.tirx import PrimFunc
from tvm.tirx.buffer import is_buffer_var

OPTIMISED = "llvm"
PLAIN = {"kind": "llvm", "opt-level": 0}
"""Not optimised: a tenth of the time to compile, and a memory may be seen as several arrays."""


def run_llvm(
    func: PrimFunc,
    arguments: Sequence[tuple[np.ndarray, bool]],
    scalars: Sequence[int] = (),
    target: str | dict[str, object] = OPTIMISED,
) -> list[np.ndarray]:
    """Run `func` on arrays, one for each tensor (and scalar of a compute-level function) with
    whether it is written, and launch `scalars`, which follow; the written ones come back, in order.
    """
    name = "kernel"
    module = tvm.compile(
        tvm.IRModule({name: func.with_attr("global_symbol", name)}),
        target=tvm.target.Target(target),
    )
    values = [
        tvm.runtime.tensor(array.reshape(_shape(param))) if is_buffer_var(param) else array.item()
        for param, (array, _) in zip(func.params, arguments, strict=False)
    ]
    module[name](*values, *scalars)
    return [
        value.numpy().reshape(array.shape)
        for value, (array, written) in zip(values, arguments, strict=True) if written
    ]  # fmt: skip


def _shape(param: ir.Var) -> tuple[int, ...]:
    """What a pass may have made of a scalar is (1,)."""
    return tuple(int(extent) for extent in param.ty.shape)
