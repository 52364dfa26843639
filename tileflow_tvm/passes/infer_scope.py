"""infer_scope: where every buffer lives, which engine does what, and how much of it is inside."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from tileflow_tvm.errors import KernelError
from tileflow_tvm.frontend.ops import OPS
from tileflow_tvm.frontend.tile_ir import (
    Affine,
    Alloc,
    Buffer,
    Extent,
    Group,
    Loop,
    Op,
    Program,
    Region,
    Scope,
    Stmt,
    Var,
)
from tileflow_tvm.frontend.tree import substitute_buffers
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.isa.validate import units
from tileflow_tvm.passes.block_shapes import (
    Axes,
    Labels,
    axes_of,
    describe,
    identity_of_copy,
    per_row_vectors,
)
from tileflow_tvm.passes.element_types import check_element_types
from tileflow_tvm.passes.ranges import maximum, minimum, show
from tileflow_tvm.passes.scopes import assign_scopes
from tileflow_tvm.passes.tensor_clips import tensor_clips
from tileflow_tvm.passes.validity import (
    Clash,
    Clip,
    Dim,
    State,
    after_loop,
    allocated,
    both,
    carried,
    clash_error,
    clips_of,
    overwrites,
    write_clips,
)


def infer_scope(program: Program, machine: Machine) -> Program:
    """Decide scopes, and carry the true extents of clipped loads through the program.

        a = alloc((32, 32))          a = alloc((32, 32), scope="tile.grid")
        copy(a, A[i*32:+32, :])      load(a, A[i*32:+32, :], extents=[min(100 - i*32, 32), 32])
        relu(a)                      unary(a, func="relu", extents=[min(100 - i*32, 32), 32])

    Requires: a tile-level program.
    Ensures: every buffer has a scope; copies are loads, stores or identities; every operation
    has its engine, extents and modes; shapes and dtypes agree; on-chip regions lie inside their
    buffers and begin at whole tiles; nothing on chip is read before it is written; a store
    writes only what is valid. Everything else is a KernelError.
    """
    for op in program.ops:
        if op.name == "nest":
            raise KernelError("T.tf.nest stands between tensors, not between blocks", loc=op.loc,
                              hint="the passes fuse and tile make loops of it")  # fmt: skip
    program = substitute_buffers(program, assign_scopes(program))
    walker = _Walker(machine, per_row_vectors(program))
    return replace(program, body=walker.block(program.body, {}))


@dataclass
class _Walker:
    machine: Machine
    per_row: frozenset[Buffer]
    loops: list[Loop] = field(default_factory=list)
    homes: dict[Buffer, tuple[Loop, ...]] = field(default_factory=dict)
    """The loops around each allocation."""

    def block(self, body: tuple[Stmt, ...], state: State) -> tuple[Stmt, ...]:
        """`body` with everything inferred; `state` is what holds before, then after it."""
        done: list[Stmt] = []
        born: list[Buffer] = []
        for stmt in body:
            if isinstance(stmt, Alloc):
                born.append(stmt.buffer)
                self.homes[stmt.buffer] = tuple(self.loops)
                done.append(stmt)
            elif isinstance(stmt, Loop):
                done.append(self._loop(stmt, state))
            elif isinstance(stmt, Group):
                done += self.block(stmt.body, state)
            else:
                done.append(self._op(stmt, state))
        for buffer in born:
            state.pop(buffer, None)
        return tuple(done)

    def _loop(self, loop: Loop, state: State) -> Loop:
        """Repeats the body until what holds at the start of an iteration is what the iteration
        before it left."""
        self.loops.append(loop)
        start = {buffer: state[buffer] for buffer in state if not overwrites(loop, buffer)}
        while True:
            end = dict(start)
            body = self.block(loop.body, end)
            again = carried(start, end, loop)
            if again == start:
                break
            start = again
        self.loops.pop()
        left = after_loop(state, end, loop)
        state.clear()
        state.update(left)
        return replace(loop, body=body)

    # Operations.

    def _op(self, op: Op, state: State) -> Op:
        self._check_unit(op)
        if op.name == "nop":
            return op
        op = _resolved(op)
        check_element_types(op, self.machine)
        for region in op.regions:
            if region.buffer.scope.on_chip:
                self._check_place(region, op)
        axes = axes_of(op, self.per_row)
        self._check_overlap(axes.op)
        clips = self._read(axes, state)
        op = replace(
            axes.op, engine=OPS[op.name].engine,
            extents=tuple(_extent(axes.sizes[axis], clips.get(axis)) for axis in axes.sizes),
        )  # fmt: skip
        if op.name == "store":
            self._check_store(axes, clips)
        else:
            self._written(op, axes.dst, clips, state)
        return op

    def _check_unit(self, op: Op) -> None:
        engine = op.engine or OPS[op.name].engine
        if engine is None or op.unit < (count := self.machine.engines_of(engine.value)):
            return
        raise KernelError(
            f"unit={op.unit} of T.tf.{op.name}, but {self.machine.name} has "
            f"{engine.value}_engines = {count}",
            loc=op.loc,
            hint=f"unit is {units(count)} here",
        )

    def _check_place(self, region: Region, op: Op) -> None:
        """On chip, nothing is clipped: a region lies inside its buffer, at whole tiles."""
        buffer, tile = region.buffer, self.machine.tile
        for axis, (start, size) in enumerate(zip(region.start, region.shape, strict=True)):
            low, high = minimum(start, self.loops), maximum(start, self.loops)
            if low is None or high is None or low < 0 or high + size > buffer.shape[axis]:
                reach = "" if low is None or high is None else f", it reaches {low}..{high + size}"
                raise KernelError(
                    f"{op.name}: [{show(start)} : +{size}] is not inside dimension {axis} of the "
                    f"block '{buffer.name}' {buffer.shape}{reach}",
                    loc=op.loc, notes=allocated(buffer),
                    hint="only slices of tensors in DRAM are clipped at the edge",
                )  # fmt: skip
            if buffer.scope is Scope.GRID and not _is_multiple(start, tile):
                raise KernelError(
                    f"{op.name}: a slice of '{buffer.name}' begins at {show(start)}, inside a tile",
                    loc=op.loc, notes=allocated(buffer),
                    hint=f"slices of matrices on chip begin at multiples of {tile}; "
                         "vectors may be cut anywhere",
                )  # fmt: skip

    def _check_overlap(self, op: Op) -> None:
        """dst may be an operand only where element meets element."""
        assert op.dst is not None
        for index, src in enumerate(op.srcs):
            if not isinstance(src, Region) or src.buffer is not op.dst.buffer:
                continue
            of_modes = op.name in ("binary", "select") and op.modes[index] == "full"
            by_element = op.name in ("unary", "affine_select") or of_modes
            if (src == op.dst and by_element) or self._are_apart(op.dst, src):
                continue
            raise KernelError(
                f"{op.name}: dst and an operand overlap in '{src.buffer.name}'", loc=op.loc,
                notes=allocated(src.buffer), hint="write into a block of its own",
            )  # fmt: skip

    def _are_apart(self, one: Region, two: Region) -> bool:
        for axis, start in enumerate(one.start):
            lowest = minimum(two.start[axis] - start, self.loops)
            highest = maximum(two.start[axis] - start, self.loops)
            behind = lowest is not None and lowest >= one.shape[axis]
            before = highest is not None and highest <= -two.shape[axis]
            if behind or before:
                return True
        return False

    def _read(self, axes: Axes, state: State) -> dict[str, Dim]:
        """How far each axis of the operation is inside, from its operands."""
        op = axes.op
        clips: dict[str, Dim] = {}
        for src, labels in zip(op.srcs, axes.srcs, strict=True):
            if not isinstance(src, Region):
                continue
            if src.buffer.scope is Scope.DRAM:
                self._meet(clips, tensor_clips(op, src, labels, self.loops).items(), op)
            else:
                dims = clips_of(src, state, self.loops, op)
                self._meet(clips, zip(labels, dims, strict=True), op)
        assert op.dst is not None
        if op.name in ("gemm", "reduce") and not op.clear.always:
            if op.clear.var is None:
                dims = clips_of(op.dst, state, self.loops, op)
                self._meet(clips, zip(axes.dst, dims, strict=True), op)
            else:
                self._check_first(op, op.clear.var, clips, axes.dst)
        return clips

    def _meet(self, clips: dict[str, Dim], dims: Iterable[tuple[str, Dim]], op: Op) -> None:
        for label, dim in dims:
            met = both(clips.get(label), dim)
            if not label:
                continue
            if isinstance(met, Clash):
                raise clash_error(met, f"its extent {label}", op)
            clips[label] = met

    def _check_first(self, op: Op, var: Var, clips: dict[str, Dim], labels: Labels) -> None:
        """`clear=(var == 0)`: one sum over an enclosing loop, of blocks that are clipped alike."""
        assert op.dst is not None
        names = [loop.var for loop in self.loops]
        if var not in names:
            raise KernelError(
                f"{op.name}: clear=({var.name} == 0), which is not an enclosing loop", loc=op.loc,
                hint="use the variable of the loop that accumulates",
            )  # fmt: skip
        inner = self.loops[names.index(var) :]
        if inner[0] in self.homes.get(op.dst.buffer, ()):
            raise KernelError(
                f"{op.name}: '{op.dst.buffer.name}' is allocated inside the loop over {var.name} "
                "that it accumulates over", loc=op.loc, notes=allocated(op.dst.buffer),
                hint=f"allocate it outside the loop over {var.name}",
            )  # fmt: skip
        for label, start in zip(labels, op.dst.start, strict=True):
            clip = clips.get(label) if label else None
            if not isinstance(clip, Clip):
                continue
            in_buffer = replace(clip, limit=clip.limit + start)
            if any(in_buffer.depends_on(loop.var) for loop in inner):
                clash = Clash(clip, None, "changes while it accumulates")
                raise clash_error(clash, f"its extent {label}", op)

    def _written(self, op: Op, labels: Labels, clips: dict[str, Dim], state: State) -> None:
        assert op.dst is not None
        accumulates = op.name in ("gemm", "reduce") and not op.clear.always
        dims = tuple(clips.get(label) if label else None for label in labels)
        write_clips(op.dst, dims, state, self.loops, accumulates=accumulates, loc=op.loc)

    def _check_store(self, axes: Axes, clips: dict[str, Dim]) -> None:
        """Everything that the store writes has to be valid."""
        op = axes.op
        assert op.dst is not None
        for label, outside in tensor_clips(op, op.dst, axes.dst, self.loops).items():
            clip = clips.get(label)
            if not isinstance(clip, Clip):
                continue
            limit = outside.limit if outside else Affine(axes.sizes[label])
            spare = clip.limit - limit
            lowest = minimum(spare, self.loops)
            if lowest is not None and lowest >= 0:
                continue
            source = op.srcs[0]
            raise KernelError(
                f"store writes up to {show(limit)} of {describe(source)}, but only elements before "
                f"{show(clip.limit)} are valid", loc=op.loc,
                notes=(f"clipped by {clip.loc}",) if clip.loc else (),
                hint=_store_hint(axes, label, spare, clipped=outside is not None),
            )  # fmt: skip


def _store_hint(axes: Axes, label: str, spare: Affine, *, clipped: bool) -> str:
    """What differs between where a store is clipped and where its block was: `spare` elements."""
    dst = axes.op.dst
    assert dst is not None
    if axes.op.box:
        side = "rows" if label == "m" else "cols"
        return (
            f"the block was loaded over the end of its tensor: let {side} and the corner in "
            f"'{dst.buffer.name}' end where those of the load end"
        )
    axis = axes.dst.index(label)
    name = f"dimension {axis} of '{dst.buffer.name}'"
    if not spare.is_const:
        at = f"the slice of '{dst.buffer.name}' begins at {show(dst.start[axis])}"
        return f"{at}; let it begin where the slice that was loaded begins"
    if not clipped:
        return (
            f"the slice lies wholly inside {name}, while the block was loaded over the end of its "
            "tensor: make the tensors' dimensions agree"
        )
    return (
        f"{name} reaches {-spare.const} further than what the block was computed from: make the "
        "tensors' dimensions and the slices' starts agree"
    )


def _resolved(op: Op) -> Op:
    """A copy as what it is; other operations as they are."""
    if op.name != "copy":
        return op
    dst, src = op.regions
    if dst.buffer.scope.on_chip and src.buffer.scope.on_chip:
        return identity_of_copy(op)
    if dst.buffer.scope.on_chip:
        return replace(op, name="load")
    if src.buffer.scope.on_chip:
        return replace(op, name="store")
    raise KernelError(
        f"a copy from '{src.buffer.name}' to '{dst.buffer.name}', both in DRAM", loc=op.loc,
        hint="load into a block, then store the block",
    )  # fmt: skip


def _extent(size: int, clip: Dim) -> Extent:
    if not isinstance(clip, Clip):
        return Extent(size)
    if clip.limit.is_const:
        return Extent(max(0, min(clip.limit.const, size)))
    return Extent(size, clip.limit)


def _is_multiple(start: Affine, tile: int) -> bool:
    return start.const % tile == 0 and all(step % tile == 0 for _, step in start.terms)
