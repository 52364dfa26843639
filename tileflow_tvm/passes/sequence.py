"""The passes in order, from a PrimFunc to instructions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import zip_longest

from tvm.tirx import PrimFunc

from tileflow_tvm.errors import KernelError, TileflowError
from tileflow_tvm.frontend.compute_places import function_place
from tileflow_tvm.frontend.compute_read import is_scalar
from tileflow_tvm.frontend.read import level, read
from tileflow_tvm.frontend.tile_ir import Program
from tileflow_tvm.frontend.write import write
from tileflow_tvm.isa import program as isa
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.emit import emit
from tileflow_tvm.passes.fuse import fuse
from tileflow_tvm.passes.fusion_count import kept_on_chip
from tileflow_tvm.passes.infer_scope import infer_scope
from tileflow_tvm.passes.legalize import legalize
from tileflow_tvm.passes.lift import lift
from tileflow_tvm.passes.pipeline import pipeline
from tileflow_tvm.passes.plan_sram import plan_sram
from tileflow_tvm.passes.tile import tile

Pass = Callable[[Program, Machine], Program]

TO_TILES: tuple[Pass, ...] = (fuse, tile)
"""What takes a tensor-level program to tile level; without `fuse` each operation has a loop nest
of its own."""

TO_PLACED: tuple[Pass, ...] = (infer_scope, plan_sram, pipeline)
"""What takes a tile-level program to one that `emit` accepts."""

Watcher = Callable[[str, str], None]
"""Called with a pass's name and the TVMScript after it."""


def run_passes(
    func: PrimFunc, machine: Machine, watch: Watcher | None = None, *, fused: bool = True
) -> isa.Program:
    """Compile `func`, whichever level it is written at.

    `watch` sees the function as it came ("input") and after each pass. Unless `fused`, `fuse` is
    left out. An error that no line is to blame for is at the function.
    """
    try:
        return _run_passes(func, machine, watch, fused)
    except TileflowError as error:
        if error.has_place:
            raise
        raise function_place(func).give(error) from error.__cause__


def _run_passes(
    func: PrimFunc, machine: Machine, watch: Watcher | None, fused: bool
) -> isa.Program:
    def show(name: str, shown: PrimFunc) -> None:
        if watch:
            watch(name, shown.script())

    show("input", func)
    lifted = None
    scalars: tuple[bool, ...] = ()
    if level(func) == "compute":
        scalars = tuple(is_scalar(param) for param in func.params)
        func = legalize(func, machine)
        show("legalize", func)
        lifted = program = lift(func, machine)
        if watch:
            show("lift", write(program))
        passes = tuple(step for step in TO_TILES if fused or step is not fuse) + TO_PLACED
    else:
        program = read(func)
        if not any(role != "in" for role in program.roles):
            what = "the function writes none of its arguments"
            raise KernelError(what, hint="T.tf.store writes a block to a parameter: its results")
        passes = TO_PLACED
    fusion = None
    for step in passes:
        program = step(program, machine)
        if step is tile and lifted is not None:
            fusion = kept_on_chip(lifted, program)
        if watch:
            show(step.__name__, write(program))
    emitted = emit(program, machine)
    args = zip_longest(emitted.args, scalars)
    shaped = tuple(replace(arg, shape=()) if scalar else arg for arg, scalar in args)
    return replace(emitted, args=shaped, fusion=fusion)
