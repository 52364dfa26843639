"""The passes in order, from a PrimFunc to instructions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
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

Watcher = Callable[[str, PrimFunc], None]
"""Called with a pass's name and the function after it."""


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
    fusion = lifted = None
    for name, stage in stages(func, machine, fused=fused):
        if name == "lift":
            lifted = stage
        if name == "tile" and isinstance(lifted, Program) and isinstance(stage, Program):
            fusion = kept_on_chip(lifted, stage)
        if watch:
            watch(name, write(stage) if isinstance(stage, Program) else stage)
    assert isinstance(stage, Program)
    emitted = emit(stage, machine)
    scalar = [lifted is not None and is_scalar(param) for param in func.params]
    args = zip_longest(emitted.args, scalar[: len(emitted.args)])
    shaped = tuple(replace(arg, shape=()) if rank_0 else arg for arg, rank_0 in args)
    return replace(emitted, args=shaped, fusion=fusion)


def stages(
    func: PrimFunc, machine: Machine, *, fused: bool = True, extra: Mapping[str, Pass] | None = None
) -> Iterator[tuple[str, PrimFunc | Program]]:
    """`func` as it came ("input"), and what each pass makes of it, up to what `emit` takes.

    `extra` are further passes, each behind the one it is called after in the mapping ("input" of a
    tile-level function is the function as it was read); their names are those of the functions.
    """
    yield "input", func
    if level(func) == "compute":
        func = legalize(func, machine)
        yield "legalize", func
        name, program = "lift", lift(func, machine)
        yield name, program
        passes = tuple(step for step in TO_TILES if fused or step is not fuse) + TO_PLACED
    else:
        name, program = "input", read(func)
        if not any(role != "in" for role in program.roles):
            what = "the function writes none of its arguments"
            raise KernelError(what, hint="T.tf.store writes a block to a parameter: its results")
        passes = TO_PLACED
    for step in _with_extra(passes, name, extra or {}):
        program = step(program, machine)
        yield step.__name__, program


def _with_extra(passes: Iterable[Pass], first: str, extra: Mapping[str, Pass]) -> Iterator[Pass]:
    if first in extra:
        yield extra[first]
    for step in passes:
        yield step
        if step.__name__ in extra:
            yield extra[step.__name__]
