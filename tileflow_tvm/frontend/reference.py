"""A compute-level function run by TVM's own LLVM back end: the oracle that nobody here wrote."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tvm
from tvm.tirx import PrimFunc
from tvm.tirx.buffer import is_buffer_var


def run_llvm(func: PrimFunc, arguments: Sequence[tuple[np.ndarray, bool]]) -> list[np.ndarray]:
    """Run `func` on arrays, one for each parameter and whether it is written; the written ones
    come back, in order."""
    name = "kernel"
    module = tvm.compile(tvm.IRModule({name: func.with_attr("global_symbol", name)}), target="llvm")
    values = [
        tvm.runtime.tensor(array) if is_buffer_var(param) else array.item()
        for param, (array, _) in zip(func.params, arguments, strict=True)
    ]
    module[name](*values)
    written = [flag for _, flag in arguments]
    return [value.numpy() for value, flag in zip(values, written, strict=True) if flag]
