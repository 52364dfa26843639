"""The function after each pass, executed by LLVM, against what it computes as it was written.

Rounding is the same everywhere: float32, sums in ascending order. So passes that leave sums alone
(`infer_scope`, `plan_sram` and `pipeline` always do) change no bit, and the others change what the
order of a sum changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from differential import assert_same_bits
from outcomes import assert_near
from tvm.tirx import PrimFunc

from tileflow_tvm.errors import KernelError
from tileflow_tvm.frontend.compute import ComputeFunction
from tileflow_tvm.frontend.read import level, read
from tileflow_tvm.frontend.tile_ir import Program
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.legalize import accepted
from tileflow_tvm.passes.sequence import stages
from tileflow_tvm.reference.stages import Arguments, execute

MACHINE = Machine.load("tileflow")
COMPUTE = ("input", "legalize", "lift", "fuse", "tile")
PLACED = ("infer_scope", "plan_sram", "pipeline")


def arguments_of(
    function: ComputeFunction | Program, inputs: Sequence[np.ndarray]
) -> list[tuple[np.ndarray, bool]]:
    """The inputs, and zeros for what is only written."""
    given = iter(inputs)
    found = []
    for param, role in zip(function.params, function.roles, strict=True):
        array = np.zeros(param.shape, param.dtype) if role == "out" else next(given)
        found.append((array, role != "in"))
    assert next(given, None) is None, "too many inputs"
    return found


def check_translation(
    func: Any,
    inputs: Sequence[np.ndarray],
    machine: Machine = MACHINE,
    *,
    within: float = 4.0,
    fused: bool = True,
    scalars: Mapping[str, int] | None = None,
) -> list[np.ndarray]:
    """What `func` gives; AssertionError where it gives anything else after a pass. KernelError
    where it is refused."""
    compute = level(func) == "compute"
    function = accepted(func, machine) if compute else read(func)
    arguments = arguments_of(function, inputs)
    # All of them first: a refusal is one of the compiler, not of what executes its stages.
    made = list(stages(func, machine, fused=fused))
    results = {name: executed(stage, machine, arguments, scalars) for name, stage in made}
    names = (COMPUTE if compute else COMPUTE[:1]) + PLACED
    assert list(results) == [name for name in names if fused or name != "fuse"]
    return compared(results, within)


def executed(
    stage: PrimFunc | Program,
    machine: Machine,
    arguments: Arguments,
    scalars: Mapping[str, int] | None = None,
) -> list[np.ndarray]:
    """`execute`; what the compiler made is not to be refused."""
    try:
        return execute(stage, machine, arguments, scalars)
    except KernelError as error:
        raise AssertionError(f"a stage cannot be executed: {error}") from error


def compared(results: Mapping[str, list[np.ndarray]], within: float) -> list[np.ndarray]:
    """The first of them; AssertionError where another one is not like it."""
    (_, first), *others = results.items()
    before = first
    for name, outputs in others:
        for index, (got, want, last) in enumerate(zip(outputs, first, before, strict=True)):
            assert_near(got, want, within, f"output {index} after {name}")
            if name in PLACED:
                assert_same_bits(got, last, f"output {index}, {name} against the pass before it")
        before = outputs
    return first


def check_steps(
    program: Program, machine: Machine, arguments: Arguments, steps: Sequence[Any]
) -> list[np.ndarray]:
    """The same for a program that the passes `steps` are run on."""
    made = {"input": program}
    for step in steps:
        program = made[step.__name__] = step(program, machine)
    return compared(
        {name: executed(stage, machine, arguments) for name, stage in made.items()}, 4.0
    )
