"""The passes as TVM passes: composable in `tvm.transform.Sequential`, seen by instruments.

>>> mod = tvm.transform.Sequential(passes("tileflow"))(tvm.IRModule({"main": func}))
>>> program = emit(read(mod["main"]), Machine.load("tileflow"))
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import tvm
from tvm.error import register_error
from tvm.tirx import PrimFunc

from tileflow_tvm.errors import KernelError, TileflowError
from tileflow_tvm.frontend.ops import MACHINE_ATTR
from tileflow_tvm.frontend.read import level, read
from tileflow_tvm.frontend.tile_ir import Program, Region
from tileflow_tvm.frontend.write import write
from tileflow_tvm.isa.machine import Machine

NAMES = ("legalize", "lift", "fuse", "tile", "infer_scope", "plan_sram", "pipeline")
"""The passes in order; each is the function of its name in the module of its name. `emit`,
which follows, leaves TVM: Program -> isa.Program."""

_FROM_COMPUTE = ("legalize", "lift")
_FROM_TENSORS = ("fuse", "tile")


def passes(machine: Machine | str | None = None) -> list[Any]:
    """All passes, for `tvm.transform.Sequential`. A function that is at tile level already goes
    through the first four unchanged."""
    return [as_pass(name, machine) for name in NAMES]


def as_pass(name: str, machine: Machine | str | None = None) -> Any:
    """The TVM pass called `name`. Without `machine`, each function's attribute
    "tileflow.machine" says which it is for: a name, or the path of a machine file."""
    if name not in NAMES:
        raise ValueError(f"no pass {name!r}; there are {', '.join(NAMES)}")
    known = Machine.load(machine) if isinstance(machine, str) else machine
    apply = partial(_transform, name, known)

    @tvm.tirx.transform.prim_func_pass(opt_level=0, name=name)
    def run(func: PrimFunc, _mod: Any, _context: Any) -> PrimFunc:
        try:
            return apply(func)
        except TileflowError as error:
            raise _keep_through_tvm(error) from None

    return run


_raised: dict[str, TileflowError] = {}
"""Errors on their way through TVM, which carries no more than their text and class name."""


class _Revived(TileflowError):
    """Made from an error's text, it is the error that a pass raised, as it was."""

    def __new__(cls, text: str) -> TileflowError:  # type: ignore[misc]
        return _raised.pop(text, None) or KernelError(text)


def _keep_through_tvm(error: TileflowError) -> TileflowError:
    name = f"tileflow_tvm.{type(error).__name__}"
    register_error(name, type(error))  # on the way in, the class's name
    register_error(name, _Revived)  # on the way out, what makes an error from its text
    _raised.clear()
    _raised[str(error)] = error
    return error


def _transform(name: str, machine: Machine | None, func: PrimFunc) -> PrimFunc:
    machine = machine or machine_of(func)
    if name in _FROM_COMPUTE and level(func) != "compute":
        return func
    step: Callable[..., Any] = getattr(import_module(f"tileflow_tvm.passes.{name}"), name)
    if name in _FROM_COMPUTE:
        result = step(func, machine)
    else:
        program = read(func)
        if name in _FROM_TENSORS and not is_tensor_level(program):
            return func
        result = step(program, machine)
    after = write(result) if isinstance(result, Program) else result
    return _with_attributes_of(func, after)


def is_tensor_level(program: Program) -> bool:
    """Whether operations work on tensors in DRAM, as `lift` leaves them."""
    return any(
        isinstance(region, Region) and region.buffer.param is not None
        for op in program.ops if op.name not in ("load", "store", "copy")
        for region in op.regions
    ) or any(
        op.name == "copy" and all(region.buffer.param is not None for region in op.regions)
        for op in program.ops
    )  # fmt: skip


def machine_of(func: PrimFunc) -> Machine:
    """The machine that `func` names; the default one if it names none."""
    return Machine.load(str((func.attrs or {}).get(MACHINE_ATTR, "tileflow")))


def _with_attributes_of(before: PrimFunc, after: PrimFunc) -> PrimFunc:
    """What others attached to the function stays; what `write` says wins."""
    for key, value in (before.attrs or {}).items():
        if key not in after.attrs and key != "s_tir":
            after = after.with_attr(key, value)
    return after
