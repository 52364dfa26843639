"""What fusion saved: the intermediate tensors that a tiled program has no room in DRAM for."""

from __future__ import annotations

from tileflow_tvm.frontend.tile_ir import ITEMSIZE, Alloc, Buffer, Program, Scope
from tileflow_tvm.isa.program import Fusion
from tileflow_tvm.passes.tile_nest import is_nests
from tileflow_tvm.passes.tile_simplify import simplify


def kept_on_chip(lifted: Program, tiled: Program) -> Fusion:
    """The tensors that operations of `lifted` hand each other and that `tiled`, made of it, never
    stores. They are those that would be in DRAM had `fuse` been left out, so what `simplify` finds
    to be of no use does not count; a result that the caller gets is no intermediate tensor."""
    before = _allocated(lifted if is_nests(lifted) else simplify(lifted))
    after = [buffer for buffer in _allocated(tiled) if buffer.scope is Scope.DRAM]
    return Fusion(len(before) - len(after), _bytes(before) - _bytes(after))


def _allocated(program: Program) -> list[Buffer]:
    """The buffers that come to life outside of loops, have memory of their own, and are used."""
    used = {region.buffer.storage for op in program.ops for region in op.regions}
    allocated = (stmt.buffer for stmt in program.body if isinstance(stmt, Alloc))
    return [buffer for buffer in allocated if buffer in used and buffer.view is None]


def _bytes(buffers: list[Buffer]) -> int:
    return sum(buffer.elements * ITEMSIZE[buffer.dtype] for buffer in buffers)
