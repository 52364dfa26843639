"""TVM's scalar expressions inside a block to `compute.Expr`."""

from __future__ import annotations

import struct
from collections.abc import Callable
from math import isfinite
from typing import Any

from tvm import ir, tirx
from tvm.ir import Range, TensorLoad
from tvm.sym import Analyzer
from tvm.tirx import FloatImm, IntImm
from tvm.tirx.buffer import is_buffer_var
from tvm_ffi import structural_map, structural_walk

from tileflow_tvm.errors import KernelError
from tileflow_tvm.frontend.affine import AffineReader, Cut, Split
from tileflow_tvm.frontend.compute import (
    CASTS,
    INTEGER,
    Access,
    Apply,
    Cast,
    Const,
    Expr,
    Index,
    Mask,
    Place,
    Result,
    bounds,
    dtype_of,
    to_f32,
)
from tileflow_tvm.frontend.compute_functions import BINARY, CALL_OF, CALLS, COMPARES, TRUTH_CALLS
from tileflow_tvm.frontend.compute_places import Places
from tileflow_tvm.frontend.compute_truth import both, chosen, inverse, of_data, one_of, wrapped
from tileflow_tvm.frontend.tabulate import tabulate
from tileflow_tvm.frontend.tile_ir import ITEMSIZE, Affine, Buffer, Var

_GREATER = (tirx.GT, tirx.GE)
_LESS = (tirx.LT, tirx.LE)
DTYPES = tuple(ITEMSIZE)
"""Element types that are supported; arithmetic is in float32 and int32."""
NARROW = {"bfloat16": "float32", "int8": "int32"}
"""Element types whose arithmetic is that of a wider one, and which that is."""
MAX_DEPTH = 150
"""How deep an expression may nest, lets substituted; each level costs a few Python frames."""
MAX_CHOICES = 64
"""How many choices there may be in the indices of a block."""
MAX_NODES = 20_000
"""How large the expressions of a block may be, lets substituted."""

_NAMES = ", ".join(f"T.{name.split('.')[1]}" for name in CALL_OF.values())
_MATH = f"supported: + - * /, T.max, T.min, {_NAMES}, T.pow"


class ExprReader:
    """Reads the expressions of one block, or those outside of blocks.

    Variables that are bound to a value are replaced by it, so that an `Expr` is a graph, not
    a tree. `env` is what has been bound so far: an `Affine` for an integer, else an `Expr`.
    """

    def __init__(
        self, places: Places, buffers: Callable[[Any, Any], Buffer],
        env: dict[ir.Var, Expr | Affine],
    ) -> None:  # fmt: skip
        self.env = dict(env)
        self._places = places
        self._buffers = buffers
        self._indices = AffineReader()
        self._analyzer = Analyzer()
        self._depth = 0
        self._nodes = 0
        self._choices = 0
        self._tabulated: Split | Cut | None = None
        self._sizes: dict[int, tuple[int, int]] = {}
        for var, value in env.items():
            if isinstance(value, Affine):
                self._indices.bind(var, value)

    @property
    def wanted(self) -> Split | Cut | None:
        """What to do with an axis for the last error not to come again."""
        return self._tabulated or self._indices.wanted

    def bind_range(self, var: ir.Var, value: Affine, extents: dict[Var, int]) -> None:
        """Let the integer `var` stand for `value`, whose axes run over `extents`."""
        self._indices.bind(var, value)
        self._indices.extents.update(extents)
        low, high = bounds(value, extents)
        self._analyzer.bind(var, Range.from_min_extent(low, max(high - low + 1, 1)))

    def bind(self, var: ir.Var, value: Any) -> None:
        """Let `var` stand for what `value` is, from here on."""
        if str(var.ty) == "bool":
            self.env[var] = self._truth_value(value)
            self._size(self.env[var])
        elif str(var.ty).startswith(("int", "uint")):
            self.env[var] = self.index(value, value)
            self._indices.bind(var, self.env[var])
        else:
            self.env[var] = self.read(value)
            self._size(self.env[var])

    def read(self, node: Any) -> Expr:
        """`node` as an expression over float32; KernelError where it is none."""
        self._depth += 1
        self._grow(node, 1, 0)
        try:
            return self._read(node)
        finally:
            self._depth -= 1

    def access(self, buffer: Any, indices: Any, node: Any) -> Access:
        """`buffer[indices]`, both checked for being supported."""
        place, known = self._places.of(node), self._buffers(buffer, node)
        if not len(indices):
            return Access(known, (Affine(),), place)
        try:
            return Access(known, tuple(self.index(i, node) for i in indices), place)
        except KernelError:
            number = self._number(known, indices, place)
            if number is None:
                raise
        return Access(known, (number,), place, flat=True)

    def _number(self, buffer: Buffer, indices: Any, place: Place) -> Affine | None:
        """The cell's number where that is affine, though its indices are not."""
        total: Any = IntImm("int64", 0)
        for index, size in zip(indices, buffer.shape, strict=True):
            total = total * size + tirx.Cast("int64", index)
        try:
            return self._indices.affine(self._analyzer.simplify(total), place.loc)
        except KernelError:
            return None

    def index(self, expr: Any, node: Any) -> Affine:
        """An index expression; `node` is what it belongs to."""
        place = self._places.of(expr, node)
        try:
            return self._indices.affine(expr, place.loc)
        except KernelError as error:
            simplified = self._analyzer.simplify(expr)
            try:
                return self._indices.affine(simplified, place.loc)
            except KernelError:
                found = self._from_values(expr)
                if found is None:
                    raise place.error(error.what, error.hint) from None
                return found

    def _from_values(self, expr: Any) -> Affine | None:
        """An index that quotients and remainders do not explain."""
        if self._indices.wanted is not None:
            return None
        found = tabulate(expr, self._indices.value_of, self._indices.extents)
        if isinstance(found, Affine):
            return found
        self._tabulated = self._tabulated or found
        return None

    def truth(self, condition: Any) -> bool | None:
        """The value of a condition that is the same for every iteration."""
        if isinstance(condition, ir.Call) and condition.op.name == "prim.likely":
            condition = condition.args[0]
        if isinstance(condition, bool):
            return condition
        simplified = self._analyzer.simplify(condition)
        return bool(int(simplified)) if isinstance(simplified, IntImm) else None

    def _fail(self, node: Any, what: str, hint: str = "") -> KernelError:
        return self._places.of(node).error(what, hint)

    def _grow(self, node: Any, nodes: int, depth: int) -> None:
        """Counts what is about to be read: an expression that grows too large is refused."""
        self._nodes += nodes
        if self._depth + depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise self._fail(node, f"an expression of more than {MAX_DEPTH} levels or {MAX_NODES} "
                             "nodes", "split it over several blocks")  # fmt: skip

    def _size(self, expr: Expr) -> tuple[int, int]:
        """Nodes and levels of `expr` as a tree."""
        if id(expr) not in self._sizes:
            inner = [self._size(arg) for arg in expr.args] if isinstance(expr, Apply) else []
            self._sizes[id(expr)] = (
                1 + sum(nodes for nodes, _ in inner),
                1 + max((levels for _, levels in inner), default=0),
            )
        return self._sizes[id(expr)]

    def _read(self, node: Any) -> Expr:
        if not isinstance(node, ir.Expr) or is_buffer_var(node):
            raise self._fail(node, f"'{node}' is not a scalar expression")
        if isinstance(node, ir.Var) and isinstance(known := self.env.get(node), Expr):
            self._grow(node, *self._size(known))
            return known
        if isinstance(node, tirx.Cast):
            return self._cast(node)
        if str(node.ty) == "int32" and (value := self._index_value(node, "int32")):
            return value
        if str(node.ty) not in DTYPES:
            raise self._wrong_type(node)
        if isinstance(node, FloatImm | IntImm):
            return constant(float(node.value), str(node.ty))
        if isinstance(node, TensorLoad):
            return self._read_cell(node)
        if func := BINARY.get(type(node)):
            return self._arithmetic(func, (node.a, node.b), node)
        if isinstance(node, tirx.BitwiseNot):
            return self._arithmetic("bitxor", (node.a, IntImm(str(node.ty), -1)), node)
        if isinstance(node, tirx.Let):
            self.bind(node.var, node.value)
            return self.read(node.body)
        if isinstance(node, tirx.Select):
            return self._select(node, node.condition, node.true_value, node.false_value)
        if isinstance(node, ir.Call):
            return self._call(node)
        if isinstance(node, ir.Var):
            raise self._fail(node, f"scalar parameter '{node.name}' cannot be used in a block",
                             "pass it as a tensor of shape (1,)")  # fmt: skip
        raise self._fail(node, f"{type(node).__name__} is not supported", _MATH)

    def _read_cell(self, node: Any) -> Expr:
        """A read; where an index chooses between two, the choice is made around it."""
        try:
            return self.access(node.source, node.indices, node)
        except KernelError:
            choice_in = next(filter(None, map(_first_choice, node.indices)), None)
            if choice_in is None or self._choices >= MAX_CHOICES or self._tabulated:
                raise
        self._choices += 1
        inner, condition, yes, no = choice_in

        def with_index(chosen: Any) -> Expr:
            replaced = [
                structural_map(
                    index, (type(inner), lambda part: chosen if part.same_as(inner) else part)
                )
                for index in node.indices
            ]
            return self._read_cell(tirx.BufferLoad(node.source, replaced, node.span))

        known = self.truth(condition)
        if known is not None:
            return with_index(yes if known else no)
        return self.guarded(node, condition, with_index(yes), with_index(no))

    def _arithmetic(self, func: str, args: tuple[Any, ...], node: Any) -> Expr:
        """The function in the type that its arithmetic is done in."""
        dtype, place = str(node.ty), self._places.of(node)
        parts = tuple(map(self.read, args))  # a frame less than a comprehension
        wide = tuple(_widened(part, place) for part in parts)
        if dtype in ("float32", "bfloat16"):
            result = Apply(func, wide, place)
        else:
            result = Apply(INTEGER + func, wide, place)
        if dtype == "int8":  # modulo 2^8
            result = wrapped(result, place)
        return Cast(dtype, result, place) if dtype in NARROW else result

    def _wrong_type(self, node: Any) -> KernelError:
        return self._fail(node, f"an expression of type {node.ty} is not supported",
                          f"supported: {', '.join(DTYPES)}")  # fmt: skip

    def _index_value(self, node: Any, dtype: str) -> Expr | None:
        """A value of `dtype` that is computed from indices alone; None where cells, or nothing
        that varies, are in it."""
        used = tirx.analysis.undefined_vars(node)
        if _has_cells(node) or not any(self._indices.is_bound(var) for var in used):
            return None
        form = self.index(node, node)
        return Const(float(form.const), dtype) if form.is_const else Index(
            form, dtype, self._places.of(node))  # fmt: skip

    def _cast(self, node: Any) -> Expr:
        source, target = str(node.value.ty), str(node.ty)
        if target not in DTYPES:
            raise self._wrong_type(node)
        if source == "bool":
            return self._truth_as(target, node)
        if source == target:
            return self.read(node.value)
        if isinstance(node.value, IntImm | FloatImm):
            return constant(float(node.value), target)
        if (source, target) == ("int32", "int8"):
            place = self._places.of(node)
            return Cast(target, wrapped(self.read(node.value), place), place)
        if source in ("int32", "int64") and target in ("int32", "float32"):
            value = self._index_value(node.value, target)
            if value:
                return value
        if (source, target) in CASTS:
            return Cast(target, self.read(node.value), self._places.of(node))
        raise self._fail(node, f"a cast from {source} to {target} is not supported",
                         f"supported: {', '.join(DTYPES)}")  # fmt: skip

    def _call(self, node: Any) -> Expr:
        name = node.op.name if isinstance(node.op, ir.Op) else str(node.op)
        if name == "prim.if_then_else":
            return self._select(node, *node.args)
        if name == "tirx.pow":
            return self._power(node, *node.args)
        if func := CALLS.get(name):
            return self._arithmetic(func, (node.args[0],), node)
        raise self._fail(node, f"the function '{name.split('.', 1)[-1]}' is not supported", _MATH)

    def _power(self, node: Any, base: Any, exponent: Any) -> Expr:
        """By products where they are as good as a pow function: 2 is exact, 3 within one ulp."""
        if str(node.ty) == "bfloat16":
            return self._arithmetic("pow", (base, exponent), node)
        if str(node.ty) != "float32":
            raise self._fail(node, f"a power of {node.ty} is not supported", _MATH)
        x, power, place = self.read(base), self.read(exponent), self._places.of(node)
        match power:
            case Const(1.0):
                return x
            case Const(2.0):
                return Apply("mul", (x, x), place)
            case Const(3.0):
                return Apply("mul", (Apply("mul", (x, x), place), x), place)
            case Const(-1.0):
                return Apply("div", (Const(1.0), x), place)
        return Apply("pow", (x, power), place)

    def _select(self, node: Any, condition: Any, yes: Any, no: Any) -> Expr:
        known = self.truth(condition)
        if known is not None:
            return self.read(yes if known else no)
        first, second = self.read(yes), self.read(no)
        if not of_data(condition):
            return self.guarded(node, condition, first, second)
        place = self._places.of(node)
        if isinstance(condition, _GREATER + _LESS) and str(condition.a.ty) == "float32":
            large, small = self.read(condition.a), self.read(condition.b)
            if isinstance(condition, _LESS):
                large, small = small, large
            if extremum := choice(large, small, first, second):
                return Apply(*extremum, place)
        return self._one_of(self._truth_value(condition), first, second, place)

    def _one_of(self, truth: Expr, yes: Expr, no: Expr, place: Place) -> Expr:
        dtype = dtype_of(yes)
        result = one_of(truth, _widened(yes, place), _widened(no, place), place)
        return Cast(dtype, result, place) if dtype in NARROW else result

    def _truth_value(self, node: Any) -> Expr:
        """A condition as 1 or 0, or what is not 0 where it holds; of float32 or int32."""
        self._depth += 1
        self._grow(node, 1, 0)
        try:
            return self._truth(node, self._places.of(node))
        finally:
            self._depth -= 1

    def _truth(self, node: Any, place: Place) -> Expr:
        if isinstance(node, ir.Var) and isinstance(known := self.env.get(node), Expr):
            return known
        if isinstance(node, bool | IntImm):
            return Const(float(bool(node)))
        if isinstance(node, tirx.And | tirx.Or):
            sides = self._truth_value(node.a), self._truth_value(node.b)
            return both(*sides, place, either=isinstance(node, tirx.Or))
        if isinstance(node, tirx.Not):
            return inverse(self._truth_value(node.a), place)
        if func := COMPARES.get(type(node)):
            if str(node.a.ty) not in DTYPES:
                raise self._wrong_type(node.a)
            left, right = (_widened(self.read(side), place) for side in (node.a, node.b))
            return chosen(func, left, right, place)
        if isinstance(node, ir.Call) and node.op.name == "prim.likely":
            return self._truth_value(node.args[0])
        if isinstance(node, ir.Call) and (func := TRUTH_CALLS.get(node.op.name)):
            return Apply(func, (_widened(self.read(node.args[0]), place),), place)
        if isinstance(node, tirx.Cast) and str(node.value.ty) in DTYPES:
            value = _widened(self.read(node.value), place)
            return inverse(inverse(value, place), place)
        raise self._fail(node, f"the condition {node} is not supported",
                         "conditions are comparisons, joined by T.And, T.Or, T.Not")  # fmt: skip

    def _truth_as(self, dtype: str, node: Any) -> Expr:
        """A bool converted to 1 or 0 of an element type."""
        if dtype not in DTYPES:
            raise self._wrong_type(node)
        place = self._places.of(node)
        truth = self._truth_value(node.value)
        if isinstance(truth, Const):
            return Const(float(truth.value != 0), dtype)
        if dtype == dtype_of(truth):
            return truth
        one, nothing = Const(1.0, dtype), Const(0.0, dtype)
        return self._one_of(truth, one, nothing, place)

    def guarded(self, node: Any, condition: Any, yes: Expr, no: Expr) -> Expr:
        """`yes` where a condition on indices holds, else `no`."""
        if isinstance(condition, ir.Call) and condition.op.name == "prim.likely":
            condition = condition.args[0]
        if (known := self.truth(condition)) is not None:
            return yes if known else no
        if isinstance(condition, tirx.Not):
            return self.guarded(node, condition.a, no, yes)
        if isinstance(condition, tirx.And):
            inner = self.guarded(node, condition.b, yes, no)
            return self.guarded(node, condition.a, inner, no)
        if isinstance(condition, tirx.Or):
            inner = self.guarded(node, condition.b, yes, no)
            return self.guarded(node, condition.a, yes, inner)
        kind = type(condition)
        if of_data(condition):
            place = self._places.of(node)
            if Result() in (yes, no):
                raise place.error("what is stored depends on a condition on data",
                                  "store a T.Select of the new value and the old one")  # fmt: skip
            return self._one_of(self._truth_value(condition), yes, no, place)
        if kind not in _COMPARES or not str(condition.a.ty).startswith(("int", "uint")):
            raise self._fail(
                node, f"the condition {condition} is not supported",
                "conditions are comparisons of indices, joined by T.And, T.Or, T.Not"
            )  # fmt: skip
        if kind is tirx.NE:
            kind, yes, no = tirx.EQ, no, yes
        more = self.index(condition.a, node) - self.index(condition.b, node)
        return guarded(_COMPARES[kind](more), yes, no, self._places.of(node))


def _has_cells(node: Any) -> bool:
    found: list[Any] = []
    structural_walk(node, (TensorLoad, found.append))
    return bool(found)


def _first_choice(index: Any) -> tuple[Any, Any, Any, Any] | None:
    """An innermost choice in an index: the node, its condition, and what it chooses between."""
    found: list[tuple[Any, Any, Any, Any]] = []

    def visit(node: Any) -> None:
        if isinstance(node, tirx.Select):
            found.append((node, node.condition, node.true_value, node.false_value))
        elif isinstance(node, ir.Call) and node.op.name == "prim.if_then_else":
            found.append((node, *node.args))
        elif isinstance(node, tirx.Min | tirx.Max):
            first = tirx.LE if isinstance(node, tirx.Min) else tirx.GE
            found.append((node, first(node.a, node.b), node.a, node.b))

    for kind in (tirx.Select, ir.Call, tirx.Min, tirx.Max):
        structural_walk(index, (kind, visit))
    return found[-1] if found else None


_COMPARES: dict[type, Callable[[Affine], tuple[Affine, ...]]] = {
    tirx.GE: lambda more: (more,), tirx.GT: lambda more: (more - 1,),
    tirx.LE: lambda more: (more * -1,), tirx.LT: lambda more: (more * -1 - 1,),
    tirx.EQ: lambda more: (more, more * -1), tirx.NE: lambda more: (more, more * -1),
}  # fmt: skip
"""What may not be negative where a comparison holds, from the difference of its sides."""


def guarded(conditions: tuple[Affine, ...], yes: Expr, no: Expr, place: Place) -> Expr:
    """As `Mask`, joined with the one inside that guards against the same."""
    if isinstance(yes, Mask) and yes.no == no:
        return Mask(tuple(dict.fromkeys((*conditions, *yes.conditions))), yes.yes, no, place)
    return Mask(conditions, yes, no, place)


def constant(value: float, dtype: str) -> Const:
    """The value of `dtype` that is nearest to `value`."""
    if dtype.startswith("int"):
        return Const(value, dtype)
    value = to_f32(value)
    if dtype == "bfloat16" and isfinite(value):
        (bits,) = struct.unpack("<I", struct.pack("<f", value))
        bits = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000  # to the nearest even
        (value,) = struct.unpack("<f", struct.pack("<I", bits & 0xFFFFFFFF))
    return Const(value, dtype)


def _widened(part: Expr, place: Place) -> Expr:
    """A value in the type that it is computed with in."""
    dtype = dtype_of(part)
    if dtype not in NARROW:
        return part
    if isinstance(part, Const):
        return Const(part.value, NARROW[dtype])
    if dtype == "int8" and isinstance(part, Cast) and dtype_of(part.value) == "int32":
        return part.value  # only what int8 has is cast to it
    return Cast(NARROW[dtype], part, place)


def choice(large: Expr, small: Expr, yes: Expr, no: Expr) -> tuple[str, tuple[Expr, Expr]] | None:
    """`large > small ? yes : no` (or >=) as a maximum or minimum of the same value, NaN
    included; None where it is none.

    With NaN the condition is false, so what `no` gives must be NaN too. A clamp to 0 is left
    out: the choice tells -0.0 from 0.0, a maximum does not.
    """
    match large, small, yes, no:
        case x, Const(0.0), kept, scaled if kept == x and _shrinks(scaled, x):
            return "max", (x, scaled)
        case Const(0.0), x, scaled, kept if kept == x and _shrinks(scaled, x):
            return "max", (x, scaled)
        case Const(bound), x, Const(value), kept if kept == x and value == bound != 0:
            return "max", (x, Const(value))
        case x, Const(bound), Const(value), kept if kept == x and value == bound != 0:
            return "min", (x, Const(value))
    return None


def _shrinks(scaled: Expr, x: Expr) -> bool:
    """Whether `scaled` is x times a constant in (0, 1]."""
    match scaled:
        case Apply("mul", (factor, Const(scale))) | Apply("mul", (Const(scale), factor)):
            return factor == x and 0 < scale <= 1
    return False
