"""Every stage of a compilation, executed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from tvm.tirx import PrimFunc

from tileflow_tvm.frontend.read import level, read
from tileflow_tvm.frontend.reference import PLAIN, run_llvm
from tileflow_tvm.frontend.tile_ir import Program
from tileflow_tvm.frontend.write import write
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.sequence import Pass, stages
from tileflow_tvm.reference.lower import lowered

Arguments = Sequence[tuple[np.ndarray, bool]]
"""An array for each tensor, in the order of the parameters, and whether it is written."""


def executions(
    func: PrimFunc,
    machine: Machine,
    arguments: Arguments,
    scalars: Mapping[str, int] | None = None,
    *,
    fused: bool = True,
    extra: Mapping[str, Pass] | None = None,
) -> Iterator[tuple[str, list[np.ndarray]]]:
    """The name of each stage, "input" first and then the passes, and what is written by it.

    `fused` and `extra` are those of `sequence.stages`.
    """
    for name, stage in stages(func, machine, fused=fused, extra=extra):
        yield name, execute(stage, machine, arguments, scalars)


def execute(
    stage: PrimFunc | Program,
    machine: Machine,
    arguments: Arguments,
    scalars: Mapping[str, int] | None = None,
) -> list[np.ndarray]:
    """What LLVM makes of a function after any pass. It is run as it prints, through `write` and
    `read`; what is not written in an array stays."""
    printed = write(stage) if isinstance(stage, Program) else stage
    if level(printed) == "compute":
        return run_llvm(printed, arguments, (), PLAIN)
    program = read(printed)
    launch = [(scalars or {})[var.name] for var in program.scalars]
    return run_llvm(lowered(program, machine), arguments, launch, PLAIN)
