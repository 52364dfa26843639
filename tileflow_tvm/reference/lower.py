"""`reference`: a function at tensor, tile or placed level as loops over single elements.

T.tf.load(a, A[i * 32 : i * 32 + 32])       for j in range(32):
                                       ->       a[j] = A[i * 32 + j] if i * 32 + j < 100 else 0
T.tf.exp(a)                                 for j in range(max(min(100 - i * 32, 32), 0)):
                                                a[j] = T.exp(a[j])
"""

from __future__ import annotations

from tvm.tirx import PrimFunc

from tileflow_tvm.frontend.read import level, read
from tileflow_tvm.frontend.tile_ir import Program, Scope
from tileflow_tvm.frontend.tree import substitute_buffers
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.registry import is_tensor_level, machine_of
from tileflow_tvm.passes.scopes import assign_scopes
from tileflow_tvm.reference.lowering import Lowering
from tileflow_tvm.reference.primitives import PRIMITIVES


def reference(func: PrimFunc, machine: Machine | None = None) -> PrimFunc:
    """`func`, as any pass leaves it, as a PrimFunc without tile primitives that TVM's LLVM runs.

    Its parameters are the tensors, then the scalars. Executing operations one by one in program
    order is their meaning, so semaphores vanish. Buffers that have an address share memory where
    their bytes do, and a ring has its slots. What is computed is computed in float32 (or int32),
    sums in ascending order. At compute level a function is such loops already and comes back as
    it is. `machine` is the one it was compiled for, which `func` names by default.
    Raises KernelError for what is no program of ours.
    """
    if level(func) == "compute":
        return func
    return lowered(read(func), machine or machine_of(func))


def lowered(program: Program, machine: Machine) -> PrimFunc:
    """The same of a `Program`."""
    return Lowering(_settled(program), machine, PRIMITIVES).func()


def _settled(program: Program) -> Program:
    """`program` with a scope for every buffer; tensors outside of loops need none."""
    scopes = {region.buffer.scope for op in program.ops for region in op.regions}
    if is_tensor_level(program) or Scope.UNKNOWN not in scopes:
        return program
    return substitute_buffers(program, assign_scopes(program))
