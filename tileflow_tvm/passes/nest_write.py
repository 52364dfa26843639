"""Loops over blocks for one nest, its layout given."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tileflow_tvm.frontend.compute import (
    IDENTITY,
    INTEGER,
    SELECT,
    Access,
    Apply,
    Cast,
    Const,
    Expr,
    Index,
    Mask,
    Reduced,
    Result,
    Stage,
    dtype_of,
    parts,
    substituted,
    walk_expr,
)
from tileflow_tvm.frontend.compute_expr import constant
from tileflow_tvm.frontend.tile_ir import (
    COL,
    ROW,
    Affine,
    Alloc,
    Buffer,
    Clear,
    Loop,
    NameSupply,
    Op,
    Operand,
    Region,
    Stmt,
    Var,
)
from tileflow_tvm.passes.constants import folded
from tileflow_tvm.passes.lift_nests import COMBINE
from tileflow_tvm.passes.nest_forms import step_along
from tileflow_tvm.passes.nest_layout import Layout, Roles, Side
from tileflow_tvm.passes.nest_transfer import Box, Views, box_of

_MOST_IN_F32 = 1 << 24
"""Up to here float32, in which a fill is written, has every integer."""
Kind = tuple[bool, bool]
"""Whether a block varies along the rows, and along the columns."""


@dataclass(frozen=True)
class Block:
    """A value on chip, or a number. What is `owned` may be overwritten by its one user."""

    operand: Operand
    kind: Kind = (False, False)
    owned: bool = False


@dataclass
class _Context:
    """Where expressions are computed: the sides of its blocks, the loops around, and the list
    that its statements go to."""

    rows: Side
    cols: Side
    depth: int
    body: list[Stmt]
    start: dict[Var, Affine]
    """The first index of each axis."""
    uses: Counter[object]
    result: Block | None = None
    done: dict[object, Block] = field(default_factory=dict)


def lower_nest(
    stage: Stage, roles: Roles, layout: Layout, views: Views, names: NameSupply
) -> tuple[Stmt, ...]:
    """The statements that do what `stage` says.

    for i: for j:                                one loop for each axis on no side
        load X_blk = X[...]                      as far outside as what it depends on allows
        for k:                                   loops over reduced axes are innermost
            load W_blk = W[...]
            acc = gemm(X_blk, W_blk)             or element-wise operations and a reduce
        store(Y[...], relu(acc))
    """
    return _NestWriter(stage, roles, layout, views, names).write()


class _NestWriter:
    def __init__(
        self, stage: Stage, roles: Roles, layout: Layout, views: Views, names: NameSupply
    ) -> None:
        self.stage, self.roles, self.layout = stage, roles, layout
        self.views, self.names = views, names
        self.loc = stage.place.loc
        self.axes = {axis.var: axis for axis in stage.axes}
        self.loops = [axis for axis in layout.loops if layout.trips(axis) > 1]
        self.loop_of = {axis.var: Var(axis.var.name) for axis in self.loops}
        self.summing = [axis for axis in layout.summed if axis not in roles.serial]
        self.outside = len(self.loops) - len(self.summing)
        """Loops around a sum."""
        self.summed_in = dtype_of(stage.value)
        self.before: list[list[Stmt]] = [[] for _ in range(len(self.loops) + 1)]
        self.behind: list[list[Stmt]] = [[] for _ in range(len(self.loops) + 1)]
        self.loaded: dict[tuple[object, Side, Side], Region] = {}

    def write(self) -> tuple[Stmt, ...]:
        result = self._product() if self.layout.product else self._value()
        self._store(self._finished(result))
        body: tuple[Stmt, ...] = ()
        for depth in range(len(self.loops), -1, -1):
            body = (*self.before[depth], *body, *self.behind[depth])
            if depth:
                axis = self.loops[depth - 1]
                trips = Affine(self.layout.trips(axis))
                body = (Loop(self.loop_of[axis.var], trips, body, loc=self.loc),)
        return body

    # What is summed.

    def _inner(self, rows: Side, cols: Side, exprs: Sequence[Expr]) -> _Context:
        return _Context(rows, cols, len(self.loops), self.before[-1], self._start(len(self.loops)),
                        _count_uses(exprs))  # fmt: skip

    def _start(self, depth: int) -> dict[Var, Affine]:
        """Where the blocks inside the first `depth` loops begin along each axis."""
        seen = {axis.var: self.loop_of[axis.var] for axis in self.loops[:depth]}
        return {var: self.layout.start(axis, seen) for var, axis in self.axes.items()}

    def _product(self) -> Block:
        assert self.roles.product is not None
        lhs, rhs = self.roles.product
        layout = self.layout
        rows, cols, depth = layout.rows, layout.cols, layout.depth
        whole = [layout.whole_depth if layout.resident == factor else depth for factor in (0, 1)]
        left = self._factor(lhs, rows, whole[0], 0)
        right = self._factor(rhs, whole[1], cols, 1)
        kind = (bool(rows.axes), bool(cols.axes))
        clear, acc = self._accumulator(kind, rows, cols)
        self.before[-1].append(
            Op("gemm", acc, (left, right), clear=clear, semiring=self.roles.semiring, loc=self.loc)
        )
        return Block(acc, kind, owned=True)

    def _factor(self, expr: Expr, rows: Side, cols: Side, factor: int) -> Region:
        """A factor of a product as a block that varies along both of its sides."""
        resident = self.layout.resident == factor
        context = self._inner(rows, cols, [expr])
        if resident:
            context.depth, context.body = self.outside, self.before[self.outside]
            context.start = self._start(self.outside)
        block = self._eval(expr, context)
        kind = (bool(rows.axes), bool(cols.axes))
        operand = self._spread(block, kind, context).operand
        assert isinstance(operand, Region)
        return self._step_of(operand, factor) if resident else operand

    def _step_of(self, block: Region, factor: int) -> Region:
        """The slice of a resident factor that a step of the sum uses."""
        depth, offset, span = self.layout.depth, Affine(), self.layout.depth.length
        for axis in reversed(self.summing):
            offset += Affine.of(self.loop_of[axis.var]) * span
            span *= self.layout.trips(axis)
        along = len(block.shape) - 1 if factor == 0 else 0
        start, shape = list(block.start), list(block.shape)
        start[along], shape[along] = offset, depth.length
        return Region(block.buffer, tuple(start), tuple(shape))

    def _value(self) -> Block:
        stage, layout = self.stage, self.layout
        context = self._inner(layout.rows, layout.cols, [stage.value])
        value = self._eval(stage.value, context)
        if not stage.combine:
            return value
        over = (layout.rows.reduced, layout.cols.reduced)
        if any(over):
            return self._reduced(value, over, context)
        if not self.summing:
            return value
        if not isinstance(value.operand, Region):
            value = self._spread(value, (False, False), context)
        _, acc = self._accumulator(value.kind, layout.rows, layout.cols, begin=True)
        func = COMBINE[stage.combine]
        context.body.append(self._binary(func, acc, (Block(acc, value.kind), value), value.kind))
        return Block(acc, value.kind, owned=True)

    def _reduced(self, value: Block, over: Kind, context: _Context) -> Block:
        """`value` reduced along the sides that are."""
        func = self.stage.combine
        kind = (value.kind[0] or over[0], value.kind[1] or over[1])
        value = self._spread(value, kind, context)
        assert isinstance(value.operand, Region)
        if all(over):
            part = self._alloc((True, False), context)
            context.body.append(Op("reduce", part, (value.operand,), func=func, axis="cols",
                                   loc=self.loc))  # fmt: skip
            value, kind, over = Block(part, (True, False)), (True, False), (True, False)
        left = (kind[0] and not over[0], kind[1] and not over[1])
        clear, acc = self._accumulator(left, context.rows, context.cols)
        assert isinstance(value.operand, Region)
        axis = "rows" if over[0] and kind[1] else "cols"
        context.body.append(Op("reduce", acc, (value.operand,), func=func, axis=axis, clear=clear,
                               loc=self.loc))  # fmt: skip
        return Block(acc, left, owned=True)

    def _accumulator(
        self, kind: Kind, rows: Side, cols: Side, *, begin: bool = False
    ) -> tuple[Clear, Region]:
        """A block outside of the loops that sum, and when it is taken as empty. With several
        loops, or with `begin`, it is filled with what a sum of nothing is."""
        where = self.before[self.outside]
        acc = self._block(kind, rows, cols, self.summed_in)
        where.append(Alloc(acc.buffer))
        if not begin and len(self.summing) < 2:
            loops = [self.loop_of[axis.var] for axis in self.summing]
            return (Clear(var=loops[0]) if loops else Clear(always=True)), acc
        where.append(Op("fill", acc, value=IDENTITY[self.stage.combine], loc=self.loc))
        return Clear(always=False), acc

    # What becomes of it.

    def _finished(self, result: Block) -> Block:
        """The result joined with what the sum begins with."""
        stage = self.stage
        self.end = _Context(
            self._spatial(self.layout.rows), self._spatial(self.layout.cols), self.outside,
            self.behind[self.outside] if self.summing else self.before[-1],
            self._start(self.outside), _count_uses([expr for _, expr in stage.results]),
        )  # fmt: skip
        if not stage.combine:
            return result
        init: Expr | None = stage.target if stage.continues else stage.init
        assert init is not None
        if isinstance(init, Const) and init.value == IDENTITY[stage.combine]:
            return result
        if dtype_of(init) != self.summed_in:
            init = Cast(self.summed_in, init)
        begin = self._eval(init, self.end)
        of = INTEGER if self.summed_in == "int32" else ""
        return self._apply(of + COMBINE[stage.combine], (begin, result), self.end)

    def _spatial(self, side: Side) -> Side:
        return Side() if side.reduced else side

    def _store(self, result: Block) -> None:
        context = self.end
        context.result = result
        for access, expr in self.stage.results:
            block = self._eval(expr, context)
            kind = (context.rows.meets(access.axes), context.cols.meets(access.axes))
            block = self._spread(block, kind, context, access.buffer.dtype)
            block = self._converted(block, access.buffer.dtype, context)
            assert isinstance(block.operand, Region)
            box = self._box(access, context, stored=True)
            context.body.append(box.store(block.operand, access))

    # Expressions.

    def _eval(self, expr: Expr, context: _Context) -> Block:
        key = _key(expr)
        if key not in context.done:
            context.done[key] = self._fresh(expr, context)
        block = context.done[key]
        return replace(block, owned=block.owned and context.uses[key] < 2)

    def _fresh(self, expr: Expr, context: _Context) -> Block:
        if isinstance(expr, Const):
            return Block(expr.value)
        if isinstance(expr, Result):
            assert context.result is not None
            return context.result
        if isinstance(expr, Access):
            return self._load(expr, context)
        if isinstance(expr, Reduced):
            return self._reduced_on_chip(expr, context)
        if isinstance(expr, Cast):
            return self._cast(expr, context)
        if isinstance(expr, Mask):
            return self._mask(expr, context)
        if isinstance(expr, Index):
            return self._index(expr, context)
        assert isinstance(expr, Apply)
        blocks = tuple(self._eval(arg, context) for arg in expr.args)
        dtype = dtype_of(expr) if expr.func == SELECT else "float32"
        return self._apply(expr.func, blocks, context, dtype)

    def _cast(self, expr: Cast, context: _Context) -> Block:
        return self._converted(self._eval(expr.value, context), expr.dtype, context)

    def _converted(self, block: Block, dtype: str, context: _Context) -> Block:
        if not isinstance(block.operand, Region):
            return Block(constant(block.operand, dtype).value)
        if block.operand.buffer.dtype == dtype:
            return block
        dst = self._alloc(block.kind, context, dtype)
        context.body.append(Op("cast", dst, (block.operand,), loc=self.loc))
        return Block(dst, block.kind, owned=True)

    def _reduced_on_chip(self, expr: Reduced, context: _Context) -> Block:
        value = self._eval(expr.value, context)
        sides = (context.rows, context.cols)
        over = tuple(side.meets(frozenset(expr.over)) for side in sides)
        kind = (value.kind[0] or over[0], value.kind[1] or over[1])
        value = self._spread(value, kind, context)
        assert isinstance(value.operand, Region)
        left = (kind[0] and not over[0], kind[1] and not over[1])
        dst = self._alloc(left, context)
        axis = "rows" if over[0] and kind[1] else "cols"
        context.body.append(Op("reduce", dst, (value.operand,), func=expr.combine, axis=axis,
                               loc=self.loc))  # fmt: skip
        return Block(dst, left, owned=True)

    def _apply(
        self, func: str, blocks: tuple[Block, ...], context: _Context, dtype: str = "float32"
    ) -> Block:
        """The function of blocks and numbers; `dtype` is that of what a select chooses."""
        if func == SELECT:
            return self._select(blocks, dtype, context)
        if len(blocks) == 2 and not any(isinstance(b.operand, Region) for b in blocks):
            lhs, rhs = (block.operand for block in blocks)
            assert isinstance(lhs, float)
            assert isinstance(rhs, float)
            return Block(folded(func, lhs, rhs))
        func, of = func.removeprefix(INTEGER), "int32" if func.startswith(INTEGER) else "float32"
        if len(blocks) == 1 and not isinstance(blocks[0].operand, Region):
            blocks = (self._spread(blocks[0], (False, False), context, of),)
        dst, kind = self._result(blocks, of, context)
        if len(blocks) == 1:
            context.body.append(Op("unary", dst, (blocks[0].operand,), func=func, loc=self.loc))
        else:
            context.body.append(self._binary(func, dst, blocks, kind))
        return Block(dst, kind, owned=True)

    def _result(
        self, blocks: tuple[Block, ...], dtype: str, context: _Context
    ) -> tuple[Region, Kind]:
        """Where a function of `blocks` goes: into one of them that nobody else needs, if it is of
        the same type and varies alike, else into a block of its own."""
        varies = tuple(any(block.kind[side] for block in blocks) for side in (0, 1))
        kind = (varies[0], varies[1])
        for block in blocks:
            dst = block.operand
            if (
                isinstance(dst, Region)
                and (block.owned, block.kind) == (True, kind)
                and (dst.buffer.dtype == dtype)
            ):  # whoever needs what it held loads it again
                self._overwritten(dst)
                return dst, kind
        return self._alloc(kind, context, dtype), kind

    def _select(self, blocks: tuple[Block, ...], dtype: str, context: _Context) -> Block:
        cond, yes, no = blocks
        if not isinstance(cond.operand, Region):
            return yes if cond.operand else no
        numbers = [block.operand for block in (yes, no) if not isinstance(block.operand, Region)]
        if len(numbers) == 2:  # an instruction has one immediate
            yes = self._spread(yes, (False, False), context, dtype)
        blocks = (cond, yes, no)
        dst, kind = self._result(blocks, dtype, context)
        modes = tuple(_mode(block, kind) for block in blocks)
        srcs = tuple(block.operand for block in blocks)
        context.body.append(Op("select", dst, srcs, modes=modes, loc=self.loc))
        return Block(dst, kind, owned=True)

    def _overwritten(self, dst: Region) -> None:
        """Whoever needs what it held loads it again."""
        self.loaded = {key: block for key, block in self.loaded.items() if block is not dst}

    # What depends on indices.

    def _mask(self, expr: Mask, context: _Context) -> Block:
        """`yes` where all conditions hold, else `no`; one condition after the other."""
        yes, no = self._eval(expr.yes, context), self._eval(expr.no, context)
        found = (b.operand.buffer.dtype for b in (yes, no) if isinstance(b.operand, Region))
        dtype = next(found, None) or dtype_of(expr)
        wide = dtype if dtype in ("float32", "int32") else "float32"
        result, other = (
            self._converted(block, wide, context) if isinstance(block.operand, Region) else block
            for block in (yes, no)
        )
        if len(expr.conditions) > 1:
            other = replace(other, owned=False)
        for condition in reversed(expr.conditions):
            result = self._chosen(condition, result, other, wide, context)
        return self._converted(result, dtype, context)

    def _chosen(
        self, condition: Affine, yes: Block, no: Block, dtype: str, context: _Context
    ) -> Block:
        """`yes` where `condition` is not negative, else `no`."""
        below = condition * -1 - 1
        if isinstance(no.operand, float):
            return self._selected(condition, yes, no.operand, dtype, context)
        if isinstance(yes.operand, float):
            return self._selected(below, no, yes.operand, dtype, context)
        # x + -0.0 is x, whatever it is.
        kept = self._selected(condition, yes, -0.0, dtype, context)
        rest = self._selected(below, no, -0.0, dtype, context)
        return self._apply("add", (kept, rest), context)

    def _selected(
        self, condition: Affine, block: Block, value: float, dtype: str, context: _Context
    ) -> Block:
        """`block` where `condition` is not negative, else `value`."""
        own = self._kind_of(condition, context)
        kind = (block.kind[0] or own[0], block.kind[1] or own[1])
        block = self._spread(block, kind, context, dtype)
        assert isinstance(block.operand, Region)
        dst = block.operand
        if block.owned:
            self._overwritten(dst)
        else:
            dst = self._alloc(kind, context, dtype)
        context.body.append(Op("affine_select", dst, (block.operand,), value=value, loc=self.loc,
                               form=self._form(condition, kind, context)))  # fmt: skip
        return Block(dst, kind, owned=True)

    def _index(self, expr: Index, context: _Context) -> Block:
        kind = self._kind_of(expr.form, context)
        dst = self._alloc(kind, context, expr.dtype)
        form = self._form(expr.form, kind, context)
        context.body.append(Op("iota", dst, form=form, loc=self.loc))
        return Block(dst, kind, owned=True)

    def _kind_of(self, form: Affine, context: _Context) -> Kind:
        axes = frozenset(var for var, _ in form.terms)
        return context.rows.meets(axes), context.cols.meets(axes)

    def _form(self, value: Affine, kind: Kind, context: _Context) -> Affine:
        """`value` from the place of an element in a block of `kind`; a vector is one row."""
        form = substituted(value, context.start)
        row = ROW if all(kind) else COL
        if kind[0]:
            form += Affine.of(row) * step_along(value, context.rows)
        return form + Affine.of(COL) * step_along(value, context.cols) if kind[1] else form

    def _binary(self, func: str, dst: Region, blocks: tuple[Block, ...], kind: Kind) -> Op:
        modes = tuple(_mode(block, kind) for block in blocks)
        srcs = tuple(block.operand for block in blocks)
        return Op("binary", dst, srcs, func=func, modes=modes, loc=self.loc)

    def _spread(self, block: Block, kind: Kind, context: _Context, dtype: str = "float32") -> Block:
        """`block` as one that varies along the sides of `kind`; a number is of `dtype`."""
        if isinstance(block.operand, Region):
            if block.kind == kind:
                return block
            dtype = block.operand.buffer.dtype
        dst = self._alloc(kind, context, dtype)
        value = block.operand if isinstance(block.operand, float) else -0.0
        exact = not dtype.startswith("int") or abs(value) <= _MOST_IN_F32
        context.body.append(Op("fill", dst, value=value if exact else 0.0, loc=self.loc))
        if isinstance(block.operand, Region) or not exact:
            context.body.append(self._binary("add", dst, (Block(dst, kind), block), kind))
        return Block(dst, kind, owned=True)

    def _load(self, access: Access, context: _Context) -> Block:
        kind = (context.rows.meets(access.axes), context.cols.meets(access.axes))
        key = (
            _key(access),
            context.rows if kind[0] else Side(),
            context.cols if kind[1] else Side(),
        )
        around = self.loops[: context.depth]
        depth = max((at for at, axis in enumerate(around, 1) if axis.var in access.axes),
                    default=0)  # fmt: skip
        if key not in self.loaded:
            body = context.body if depth == context.depth else self.before[depth]
            self.loaded[key] = self._block(kind, context.rows, context.cols, access.buffer.dtype,
                                           access.buffer.name)  # fmt: skip
            body.append(Alloc(self.loaded[key].buffer))
            body.append(self._box(access, context).load(self.loaded[key], access))
        return Block(self.loaded[key], kind, owned=depth == context.depth)

    def _box(self, access: Access, context: _Context, *, stored: bool = False) -> Box:
        return box_of(access, context.rows, context.cols, self.axes, context.start, self.views,
                      stored=stored)  # fmt: skip

    def _alloc(self, kind: Kind, context: _Context, dtype: str = "float32") -> Region:
        block = self._block(kind, context.rows, context.cols, dtype)
        context.body.append(Alloc(block.buffer))
        return block

    def _block(
        self, kind: Kind, rows: Side, cols: Side, dtype: str = "float32", stem: str = ""
    ) -> Region:
        sides = [side.length for side, varies in zip((rows, cols), kind, strict=True) if varies]
        name = self.names.fresh(f"{stem or self.stage.target.buffer.name}_blk")
        return Region.whole(Buffer(name, tuple(sides) or (1,), dtype, loc=self.loc))


def _mode(block: Block, kind: Kind) -> str:
    """How an operand meets a result of `kind`."""
    if not isinstance(block.operand, Region):
        return "imm"
    if block.kind == kind:
        return "full"
    if not any(block.kind):
        return "scalar"
    return "col" if block.kind[0] else "row"


def _key(expr: Expr) -> object:
    """What tells expressions apart: reads by what they read, others by identity."""
    if isinstance(expr, Access):
        return expr, None if expr.fill is None else struct.pack("<f", expr.fill)
    return Result() if isinstance(expr, Result) else id(expr)


def _count_uses(exprs: Sequence[Expr]) -> Counter[object]:
    """How often each expression is an operand, or one of `exprs`."""
    uses: Counter[object] = Counter(map(_key, exprs))
    nodes = {id(node): node for expr in exprs for node in walk_expr(expr)}
    for node in nodes.values():
        uses.update(map(_key, parts(node)))
    return uses
