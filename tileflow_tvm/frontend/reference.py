"""A function run by TVM's own LLVM back end: the executor that nobody here wrote."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tvm
from tvm.tirx import PrimFunc

OPTIMISED = "llvm"
PLAIN = {"kind": "llvm", "opt-level": 0}
"""Not optimised: a tenth of the time to compile, and a memory may be seen as several arrays."""


def run_llvm(
    func: PrimFunc,
    arguments: Sequence[tuple[np.ndarray, bool]],
    scalars: Sequence[int] = (),
    target: str | dict[str, object] = OPTIMISED,
) -> list[np.ndarray]:
    """Run `func` on arrays, one for each tensor and whether it is written, and `scalars`, which
    follow; the written ones come back, in order."""
    name = "kernel"
    module = tvm.compile(
        tvm.IRModule({name: func.with_attr("global_symbol", name)}),
        target=tvm.target.Target(target),
    )
    tensors = [tvm.runtime.tensor(array) for array, _ in arguments]
    module[name](*tensors, *scalars)
    written = [flag for _, flag in arguments]
    return [tensor.numpy() for tensor, flag in zip(tensors, written, strict=True) if flag]
