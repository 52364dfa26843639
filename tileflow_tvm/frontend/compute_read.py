"""A compute-level PrimFunc (sblocks) to `compute.ComputeFunction`."""

from __future__ import annotations

from typing import Any

from tvm import ir, tirx
from tvm.s_tir import SBlock, SBlockRealize
from tvm.tirx import (
    AllocBuffer,
    Bind,
    BufferStore,
    Evaluate,
    For,
    IfThenElse,
    IntImm,
    PrimFunc,
    SeqStmt,
)
from tvm.tirx.buffer import is_buffer_var
from tvm.tirx.layout import S, TileLayout
from tvm_ffi import structural_equal, structural_walk

from tileflow_tvm.errors import KernelError
from tileflow_tvm.frontend.affine import INT32_MAX
from tileflow_tvm.frontend.compute import Access, ComputeFunction, Expr, Place, accesses
from tileflow_tvm.frontend.compute_block import read_block
from tileflow_tvm.frontend.compute_domain import NestLoop, guard_of, read_bindings, read_loop
from tileflow_tvm.frontend.compute_expr import DTYPES, ExprReader
from tileflow_tvm.frontend.compute_nest import PlacedStage, check_separable
from tileflow_tvm.frontend.compute_places import Places, function_place
from tileflow_tvm.frontend.location import loc_of
from tileflow_tvm.frontend.tile_ir import ITEMSIZE, Affine, Buffer, Scope

Env = dict[ir.Var, Expr | Affine]
"""What variables have been bound to."""


def is_compute_level(func: PrimFunc) -> bool:
    """Whether `func` computes in sblocks (with axes), rather than with tile primitives."""
    found = []
    structural_walk(func, (SBlock, lambda block: found.append(block) if block.iter_vars else None))
    return bool(found)


def is_scalar(param: ir.Var) -> bool:
    """Whether a parameter of a compute-level function is one number."""
    return not is_buffer_var(param) or not len(param.ty.shape)


def read_compute(func: PrimFunc) -> ComputeFunction:
    """The blocks of `func` in program order, normalised.

    Tensors of rank 0 and scalar parameters become tensors of shape (1,). Lets are substituted,
    axes of extent 1 replaced by 0, loops that visit each point of a block's axes once by those
    axes, and loops that several blocks share are taken apart.
    KernelError for what has no such form.
    """
    return _FunctionReader(func).read()


class _FunctionReader:
    def __init__(self, func: PrimFunc) -> None:
        self._func = func
        self._places = Places(func)
        self._buffers: dict[ir.Var, Buffer] = {}
        self._temps: list[Buffer] = []
        self._scalars: Env = {}
        self._stages: list[PlacedStage] = []
        self._where: Any = None

    def read(self) -> ComputeFunction:
        func = self._func
        params = tuple(self._param(i, param) for i, param in enumerate(func.params))
        self._visit(func.body, (), self._scalars)
        check_separable(self._stages)
        attrs = func.attrs
        name = str(attrs["global_symbol"]) if attrs and "global_symbol" in attrs else "main"
        stages = tuple(placed.stage for placed in self._stages)
        return ComputeFunction(name, params, tuple(self._temps), stages, function_place(func))

    def _param(self, index: int, param: ir.Var) -> Buffer:
        if is_buffer_var(param):
            return self._declare(param, index)
        dtype, place = str(param.ty), self._head_of(param)
        if dtype not in DTYPES:
            raise place.error(f"parameter '{param.name}' is a scalar of type {dtype}",
                              f"supported: {', '.join(DTYPES)}")  # fmt: skip
        buffer = Buffer(param.name, (1,), dtype, Scope.DRAM, place.loc, index)
        self._scalars[param] = Access(buffer, (Affine(),), place)
        return buffer

    def _head_of(self, param: ir.Var) -> Place:
        """Where a parameter is declared, else the function's head."""
        loc = loc_of(param)
        return Place(loc) if loc else function_place(self._func)

    def _declare(self, var: ir.Var, param: int | None = None) -> Buffer:
        name = var.name
        place = self._places.of(var) if param is None else self._head_of(var)
        if var in self._buffers:
            raise place.error(f"tensor '{name}' is declared twice",
                              "an output needs a tensor of its own")  # fmt: skip
        dtype = str(var.ty.dtype)
        if dtype not in DTYPES:
            raise place.error(f"tensor '{name}' has dtype {dtype}",
                              f"supported: {', '.join(DTYPES)}{_narrow(dtype)}")  # fmt: skip
        shape = tuple(int(d) if isinstance(d, IntImm) else None for d in var.ty.shape)
        for dim, extent in enumerate(shape):
            if extent is None:
                raise place.error(
                    f"dimension {dim} of tensor '{name}' is symbolic: {var.ty.shape[dim]}",
                    "specialize the function for each size"
                )  # fmt: skip
            if not 0 <= extent <= INT32_MAX:
                raise place.error(f"dimension {dim} of tensor '{name}' is {extent}",
                                  f"a dimension is 0..{INT32_MAX}")  # fmt: skip
        plain = var.ty.layout is None or structural_equal(
            var.ty.layout, TileLayout(S[shape]) if shape else None)  # fmt: skip
        if len(var.ty.strides) or not _is_zero(var.ty.elem_offset) or not plain:
            raise place.error(f"tensor '{name}' has strides, an offset or a layout",
                              "tensors are contiguous, row-major")  # fmt: skip
        scope = Scope.UNKNOWN if param is None else Scope.DRAM
        buffer = Buffer(name, shape or (1,), dtype, scope, place.loc, param)  # type: ignore[arg-type]
        self._buffers[var] = buffer
        if param is None:
            self._temps.append(buffer)
        return buffer

    def _buffer(self, source: Any, node: Any) -> Buffer:
        """The buffer that a load or store at `node` names."""
        if isinstance(source, ir.Var) and source in self._buffers:
            return self._buffers[source]
        raise self._places.of(node).error(f"'{source}' is not a tensor of this function",
                                          "views of tensors are not supported")  # fmt: skip

    def _visit(self, stmt: Any, loops: tuple[NestLoop, ...], env: Env) -> None:
        """Collects the stages in `stmt`; `env` is what has been bound before it."""
        if isinstance(stmt, SeqStmt):
            inner = dict(env)
            for child in stmt.seq:
                self._visit(child, loops, inner)
        elif isinstance(stmt, For):
            self._visit(stmt.body, (*loops, read_loop(stmt, self._places, loops)), dict(env))
        elif isinstance(stmt, SBlockRealize):
            self._block(stmt, loops, env)
        elif isinstance(stmt, AllocBuffer):
            self._declare(stmt.buffer)
        elif isinstance(stmt, Bind):
            self._bind(stmt, env)
        elif isinstance(stmt, IfThenElse):
            self._branch(stmt, loops, env)
        elif not (isinstance(stmt, Evaluate) and isinstance(stmt.value, IntImm)):
            raise self._unexpected(stmt)

    def _block(self, realize: SBlockRealize, loops: tuple[NestLoop, ...], env: Env) -> None:
        block = realize.block
        place = self._places.of(realize, block, block.body)
        if len(block.match_buffers):
            raise place.error(f"block '{block.name_hint}' matches a part of a tensor as another "
                              "tensor", "index the tensor itself")  # fmt: skip
        for buffer in block.alloc_buffers:
            self._declare(buffer)
        if not len(block.iter_vars) and _holds_blocks(block.body):
            self._visit(block.body, loops, dict(env))
            return
        if self._where is not None:
            where = tirx.And(self._where, realize.predicate)
            realize = SBlockRealize(realize.iter_values, where, block, realize.span)
        realize, guard = guard_of(realize, loops, place)
        bindings = read_bindings(realize, loops, place)
        placed = read_block(
            block, bindings, guard, lambda: ExprReader(self._places, self._buffer, env),
            self._places,
        )  # fmt: skip
        walks = {binding.loop: axis for binding, axis in placed.axes if binding.loop and axis}
        parts_of = block if placed.split else None
        self._stages += [PlacedStage(stage, loops, walks, parts_of) for stage in placed.stages]

    def _unexpected(self, stmt: Any) -> KernelError:
        place, kind = self._places.of(stmt), type(stmt).__name__
        if isinstance(stmt, BufferStore):
            return place.error("a store outside of a block",
                               "put it into `with T.sblock(...):` with its axes")  # fmt: skip
        return place.error(f"a statement of kind {kind} is not supported in a compute-level "
                           "function", "use loops around blocks (T.sblock)")  # fmt: skip

    def _bind(self, stmt: Bind, env: Env) -> None:
        """A constant outside of blocks; what is read from a tensor there would age."""
        reader = ExprReader(self._places, self._buffer, env)
        reader.bind(stmt.var, stmt.value)
        value = reader.env[stmt.var]
        if not isinstance(value, Affine) and accesses(value):
            raise self._places.of(stmt).error(
                f"'{stmt.var.name}' is read from a tensor outside of any block",
                "read it inside the block that uses it"
            )  # fmt: skip
        env[stmt.var] = value

    def _branch(self, stmt: IfThenElse, loops: tuple[NestLoop, ...], env: Env) -> None:
        """Blocks under a condition that varies have it as a T.where."""
        known = ExprReader(self._places, self._buffer, env).truth(stmt.condition)
        outer = self._where
        for chosen, holds in ((stmt.then_case, True), (stmt.else_case, False)):
            if chosen is None or known is (not holds):
                continue
            if known is None:
                own = stmt.condition if holds else tirx.Not(stmt.condition)
                self._where = own if outer is None else tirx.And(outer, own)
            self._visit(chosen, loops, dict(env))
            self._where = outer


def _holds_blocks(body: Any) -> bool:
    found: list[Any] = []
    structural_walk(body, (SBlock, found.append))
    return bool(found)


def _is_zero(value: Any) -> bool:
    return isinstance(value, IntImm) and int(value) == 0


def _narrow(dtype: str) -> str:
    return " here; tile-level kernels (T.tf) take it" if dtype in ITEMSIZE else ""
