"""A tile-level PrimFunc to a `Program`.

Accepted are serial loops (`range`, `T.serial`, `T.unroll`, `T.grid`, `T.tf.pipelined`) with bounds
affine in outer loop variables and integer parameters, `T.alloc_buffer` in any block, views of
tensors in DRAM (`T.decl_buffer`), and tile primitives on boxes with affine starts and constant
lengths. Everything else is a `KernelError` with its place. What `write` makes is read back exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm_ffi
from tvm import tirx
from tvm.ir import TensorLoad
from tvm.s_tir import SBlock
from tvm.tirx import BufferType, PrimFunc
from tvm.tirx.stmt import ForKind
from tvm.tirx.tile_primitive import TilePrimitiveCall

from tileflow_tvm.errors import KernelError, Loc
from tileflow_tvm.frontend.affine import AffineReader
from tileflow_tvm.frontend.language import register
from tileflow_tvm.frontend.location import loc_of
from tileflow_tvm.frontend.ops import (
    ADDRESS,
    GROUP_ATTR,
    ROLES_ATTR,
    SCRATCH_SCOPE,
    SEMAPHORES_ATTR,
    SLOTS,
    STAGES,
)
from tileflow_tvm.frontend.read_buffer import read_buffer, read_view
from tileflow_tvm.frontend.read_ops import OpReader
from tileflow_tvm.frontend.tile_ir import (
    Affine,
    Alloc,
    Buffer,
    Group,
    Loop,
    Op,
    Program,
    Region,
    Scope,
    Semaphore,
    Stmt,
    Unit,
    Var,
    walk,
)

_INTEGERS = ("int32", "int64")
_SERIAL = (ForKind.SERIAL, ForKind.UNROLLED, ForKind.PARALLEL)
_HARMLESS = ("pragma_", "disable_unroll")
"""Loop annotations about how another target should emit the loop."""
_SCOPES = {"global": Scope.UNKNOWN, SCRATCH_SCOPE: Scope.DRAM,
           Scope.GRID.value: Scope.GRID, Scope.VEC.value: Scope.VEC}  # fmt: skip

register()


def read(func: PrimFunc) -> Program:
    """`func` as a `Program`; KernelError for what is not a tile-level program."""
    return _Reader(func).program()


def level(func: PrimFunc) -> str:
    """Whether `func` is at "compute" level (sblocks, element-wise stores) or "tile" level (tile
    primitives); KernelError if both."""
    tile = _first(func.body, TilePrimitiveCall)
    compute = _first(func.body, SBlock)
    if compute is None:
        compute = _first(func.body, tirx.BufferStore, lambda stmt: not _is_integer(stmt.buffer))
    if tile is not None and compute is not None:
        raise KernelError(
            "tile primitives and element-wise code in one function", loc=loc_of(compute),
            notes=(f"tile primitive: {loc_of(tile)}",) if loc_of(tile) else (),
            hint="write the function at one level: T.sblock, or T.tf and T.tile on slices",
        )  # fmt: skip
    return "compute" if compute is not None else "tile"


def _first(body: Any, kind: type, accept: Callable[[Any], bool] = lambda _: True) -> Any:
    found: list[Any] = []
    tvm_ffi.structural_walk(body, (kind, found.append))
    return next((node for node in found if accept(node)), None)


class _Reader:
    def __init__(self, func: PrimFunc) -> None:
        self.func = func
        self.index = AffineReader()
        self.ops = OpReader(self.index)
        self._depth = 0
        self._depths: dict[int, int] = {}
        self._statements: dict[type, Callable[[Any], list[Stmt]]] = {
            tirx.SeqStmt: self._seq,
            tirx.For: self._for,
            tirx.AllocBuffer: self._alloc,
            tirx.DeclBuffer: self._view,
            TilePrimitiveCall: lambda stmt: list(self.ops.read(stmt)),
            tirx.Bind: self._bind,
            tirx.AttrStmt: self._attr,
            tirx.BufferStore: self._assign,
            tirx.Evaluate: self._evaluate,
        }

    def program(self) -> Program:
        params: list[Buffer] = []
        scalars: list[Var] = []
        for param in self.func.params:
            if isinstance(param.ty, BufferType):
                buffer = read_buffer(param, loc_of(param), Scope.DRAM, param=len(params))
                self.ops.declare(param, buffer)
                params.append(buffer)
            else:
                scalars.append(self._scalar(param))
        body = tuple(self._stmt(self.func.body))
        attrs = self.func.attrs or {}
        roles = tuple(str(role) for role in attrs.get(ROLES_ATTR, ()))
        return Program(
            str(attrs.get("global_symbol", "main")), tuple(params), body, tuple(scalars),
            roles or find_roles(tuple(params), body),
            tuple(Semaphore(Unit.of(str(p)), Unit.of(str(w)), int(n))
                  for p, w, n in attrs.get(SEMAPHORES_ATTR, ())),
            loc=loc_of(self.func),
        )  # fmt: skip

    def _scalar(self, param: Any) -> Var:
        if str(param.ty).removeprefix("T.") not in _INTEGERS:
            raise KernelError(
                f"parameter '{param.name}' is neither a tensor nor an integer",
                loc=self._head(), hint="pass a float as a tensor of shape (1,)",
            )  # fmt: skip
        var = Var(param.name, scalar=True)
        self.index.bind(param, var)
        return var

    def _head(self) -> Loc | None:
        """About where the parameters are; TVM keeps no place for scalar ones."""
        tensors = [param for param in self.func.params if isinstance(param.ty, BufferType)]
        return next((loc_of(node) for node in (*tensors, self.func.body) if loc_of(node)), None)

    # Statements.

    def _stmt(self, stmt: Any) -> list[Stmt]:
        handler = self._statements.get(type(stmt))
        if handler is None:
            raise _not_tile_level(stmt)
        return handler(stmt)

    def _seq(self, stmt: Any) -> list[Stmt]:
        return [inner for child in stmt.seq for inner in self._stmt(child)]

    def _for(self, stmt: Any) -> list[Stmt]:
        loc = loc_of(stmt) or loc_of(stmt.body)
        if stmt.kind not in _SERIAL:
            raise KernelError(f"a {ForKind(stmt.kind).name.lower()} loop", loc=loc,
                              hint="use range, T.serial, T.grid or T.tf.pipelined")  # fmt: skip
        start = self.index.affine(stmt.min, loc, "the loop's start")
        extent = self.index.affine(stmt.extent, loc, "the loop bound")
        step = 1
        if stmt.step is not None:
            step = self.index.const(stmt.step, loc, "the loop's step")
            extent = _trips(extent, step, loc)
        if extent.is_const and extent.const < 0:
            extent = Affine()
        var = Var(stmt.loop_var.name)
        self.index.bind(stmt.loop_var, Affine.of(var) * step + start)
        self._depth += 1
        body = tuple(self._stmt(stmt.body))
        self._depth -= 1
        return [Loop(var, extent, body, _stages(stmt, loc), loc)]

    def _alloc(self, stmt: Any) -> list[Stmt]:
        loc = loc_of(stmt)
        if _is_integer(stmt.buffer):
            self._depths[stmt.buffer.__chandle__()] = self._depth
            return []
        notes = dict(stmt.annotations.items())
        numbers = {key: self.index.const(notes.pop(key), loc, key)
                   for key in (ADDRESS, SLOTS) if key in notes}  # fmt: skip
        if notes:
            raise KernelError(f"unknown annotation {next(iter(notes))!r} of an allocation", loc=loc,
                              hint=f"{ADDRESS!r} and {SLOTS!r} are what passes write")  # fmt: skip
        scope = _SCOPES.get(stmt.buffer.scope(), Scope.UNKNOWN)
        buffer = read_buffer(stmt.buffer, loc, scope, **numbers)
        self.ops.declare(stmt.buffer, buffer)
        return [Alloc(buffer)]

    def _view(self, stmt: Any) -> list[Stmt]:
        loc = loc_of(stmt.buffer)  # TVM gives the statement all lines from `def` on
        buffer = read_view(stmt, self.ops.buffer, self.index.const, loc)
        self.ops.declare(stmt.buffer, buffer)
        return [Alloc(buffer)]

    def _bind(self, stmt: Any) -> list[Stmt]:
        self.index.bind(stmt.var, self.index.affine(stmt.value, loc_of(stmt), "the value"))
        return []

    def _assign(self, stmt: Any) -> list[Stmt]:
        """`x = i * 32`: an integer variable, which stands for its value from here on."""
        if not _is_integer(stmt.buffer):
            raise _not_tile_level(stmt)
        loc = loc_of(stmt)
        if self._depths.get(stmt.buffer.__chandle__()) != self._depth:
            raise KernelError(
                f"'{stmt.buffer.name}' is carried from one iteration to the next", loc=loc,
                hint="compute it from the loop variables: an affine index has no memory",
            )  # fmt: skip
        self.index.bind(stmt.buffer, self.index.affine(stmt.value, loc, "the value"))
        return []

    def _attr(self, stmt: Any) -> list[Stmt]:
        if stmt.attr_key != GROUP_ATTR:
            raise KernelError(f"the attribute {stmt.attr_key!r} means nothing here",
                              loc=loc_of(stmt) or loc_of(stmt.body),
                              hint="leave T.attr out")  # fmt: skip
        return [Group(tuple(self._stmt(stmt.body)))]

    def _evaluate(self, stmt: Any) -> list[Stmt]:
        if isinstance(stmt.value, int | tirx.IntImm):
            return []
        raise _not_tile_level(stmt)


def _is_integer(buffer: Any) -> bool:
    """A scalar variable of the script (`x = i * 32`), which TVM holds as a local buffer."""
    return bool(buffer.is_scalar()) and str(buffer.ty.dtype) in _INTEGERS


def _trips(extent: Affine, step: int, loc: Loc | None) -> Affine:
    if step < 1:
        raise KernelError(f"a loop with step {step}", loc=loc, hint="steps are positive")
    if step == 1:
        return extent
    if not extent.is_const:
        raise KernelError("a loop with a step and a variable bound", loc=loc,
                          hint="loop over range(n) and multiply the variable")  # fmt: skip
    return Affine(-(-extent.const // step))


def _stages(stmt: Any, loc: Loc | None) -> int:
    stages = 0
    for key, value in stmt.annotations.items():
        if key == STAGES:
            stages = int(value)
        elif not key.startswith(_HARMLESS):
            raise KernelError(f"unknown loop annotation {key!r}", loc=loc,
                              hint=f"{STAGES!r} asks for a ring depth")  # fmt: skip
    if stages < 0:
        raise KernelError(f"{stages} stages", loc=loc, hint="0 is automatic")
    return stages


_UNSUPPORTED = {
    "tirx.IfThenElse": (
        "'if' is not supported in tile-level code",
        "tails need none: a slice over the tensor's edge is clipped; "
        "for the first iteration write clear=(var == 0)",
    ),
    "tirx.While": ("'while' is not supported", "loops have affine bounds: range(n)"),
    "tirx.BufferStore": (
        "single elements cannot be written at tile level",
        "T.tf.fill writes a slice; x[i:i+1] is a slice of one element",
    ),
}  # fmt: skip


def _not_tile_level(stmt: Any) -> KernelError:
    kind = stmt._type_key if hasattr(stmt, "_type_key") else f"tirx.{type(stmt).__name__}"
    what, hint = _UNSUPPORTED.get(
        f"tirx.{type(stmt).__name__}",
        (f"{kind} is not a tile-level statement", "loops, T.alloc_buffer, T.tf.* and T.tile.*"),
    )
    if isinstance(stmt, tirx.BufferStore) and _first(stmt.value, TensorLoad) is not None:
        what = "single elements cannot be read or written at tile level"
    return KernelError(what, loc=loc_of(stmt), hint=hint)


def find_roles(params: tuple[Buffer, ...], body: tuple[Stmt, ...]) -> tuple[str, ...]:
    """A parameter that is written, also through a view, is "out", or "inout" if the program reads
    it first."""
    roles = dict.fromkeys(params, "in")
    read_first: set[Buffer] = set()
    for stmt in walk(body):
        if not isinstance(stmt, Op):
            continue
        sources = [src.buffer.storage for src in stmt.srcs if isinstance(src, Region)]
        if stmt.dst is not None and stmt.name in ("gemm", "reduce") and not stmt.clear.always:
            sources.append(stmt.dst.buffer)
        read_first.update(buffer for buffer in sources if roles.get(buffer) == "in")
        if stmt.dst is not None and (target := stmt.dst.buffer.storage) in roles:
            roles[target] = "out"
    return tuple(
        "inout" if role == "out" and buffer in read_first else role
        for buffer, role in roles.items()
    )
