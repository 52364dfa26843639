"""TVM's scalar expressions inside a block to `compute.Expr`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import ir, tirx
from tvm.ir import Range, TensorLoad
from tvm.sym import Analyzer
from tvm.tirx import FloatImm, IntImm
from tvm.tirx.buffer import is_buffer_var

from tileflow_tvm.errors import KernelError
from tileflow_tvm.frontend.affine import AffineReader
from tileflow_tvm.frontend.compute import Access, Apply, Const, Expr, to_f32
from tileflow_tvm.frontend.compute_places import Places
from tileflow_tvm.frontend.tile_ir import Affine, Buffer

_BINARY: dict[type, str] = {
    tirx.Add: "add", tirx.Sub: "sub", tirx.Mul: "mul", tirx.Div: "div",
    tirx.Max: "max", tirx.Min: "min",
}  # fmt: skip
_CALLS = {
    "tirx.exp": "exp", "tirx.log": "log", "tirx.sqrt": "sqrt", "tirx.rsqrt": "rsqrt",
    "tirx.tanh": "tanh", "tirx.sigmoid": "sigmoid", "tirx.fabs": "abs", "tirx.sin": "sin",
    "tirx.cos": "cos", "tirx.erf": "erf",
}  # fmt: skip
CALL_OF = {func: name for name, func in _CALLS.items()}
"""TVM's operator for a unary function."""
BINARY_OF = {func: node for node, func in _BINARY.items()}
"""TVM's node for a binary function."""

_GREATER = (tirx.GT, tirx.GE)
_LESS = (tirx.LT, tirx.LE)
DTYPES = ("float32",)
"""Element types that are supported."""
MAX_DEPTH = 200
"""How deep an expression may nest, lets substituted; each level costs a few Python frames."""
MAX_NODES = 20_000
"""How large the expressions of a block may be, lets substituted."""

_MATH = f"supported: + - * /, T.max, T.min, {', '.join(f'T.{func}' for func in CALL_OF)}, T.pow"


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
        self._sizes: dict[int, tuple[int, int]] = {}
        for var, value in env.items():
            if isinstance(value, Affine):
                self._indices.bind(var, value)

    def bind_range(self, var: ir.Var, value: Affine, extent: int) -> None:
        """Let the integer `var`, in 0..extent-1, stand for `value`."""
        self._indices.bind(var, value)
        self._analyzer.bind(var, Range.from_min_extent(0, max(extent, 1)))

    def bind(self, var: ir.Var, value: Any) -> None:
        """Let `var` stand for what `value` is, from here on."""
        if str(var.ty).startswith(("int", "uint")):
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
        place = self._places.of(node)
        return Access(self._buffers(buffer, node), tuple(self.index(i, node) for i in indices),
                      place)  # fmt: skip

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
                raise place.error(error.what, error.hint) from None

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
        if str(node.ty) not in DTYPES:
            raise self._wrong_type(node)
        if isinstance(node, FloatImm):
            return Const(to_f32(node.value))
        if isinstance(node, TensorLoad):
            return self.access(node.source, node.indices, node)
        if func := _BINARY.get(type(node)):
            return Apply(func, (self.read(node.a), self.read(node.b)), self._places.of(node))
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

    def _wrong_type(self, node: Any) -> KernelError:
        if isinstance(node, ir.Var) and self._indices.is_bound(node):
            return self._index_as_value(node)
        return self._fail(node, f"an expression of type {node.ty} is not supported",
                          f"supported: {', '.join(DTYPES)}")  # fmt: skip

    def _index_as_value(self, node: Any) -> KernelError:
        return self._fail(node, "a value that is computed from an index is not supported",
                          "pass the numbers as an input tensor")  # fmt: skip

    def _cast(self, node: Any) -> Expr:
        source, target = str(node.value.ty), str(node.ty)
        if target not in DTYPES:
            raise self._wrong_type(node)
        if source == target:
            return self.read(node.value)
        if isinstance(node.value, IntImm | FloatImm):
            return Const(to_f32(float(node.value)))
        if source.startswith(("int", "uint")) and not isinstance(node.value, TensorLoad):
            raise self._index_as_value(node)
        raise self._fail(node, f"a cast from {source} to {target} is not supported",
                         f"supported: {', '.join(DTYPES)}")  # fmt: skip

    def _call(self, node: Any) -> Expr:
        name = node.op.name if isinstance(node.op, ir.Op) else str(node.op)
        if name == "prim.if_then_else":
            return self._select(node, *node.args)
        if name == "tirx.pow":
            return self._power(node, *node.args)
        if func := _CALLS.get(name):
            return Apply(func, (self.read(node.args[0]),), self._places.of(node))
        raise self._fail(node, f"the function '{name.split('.', 1)[-1]}' is not supported", _MATH)

    def _power(self, node: Any, base: Any, exponent: Any) -> Expr:
        """A power by products: 2 is exact, 3 within one ulp, as good as a pow function."""
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
        hint = "supported exponents: the constants -1, 1, 2, 3; for a root write T.sqrt"
        raise place.error("this power cannot be computed exactly", hint)

    def _select(self, node: Any, condition: Any, yes: Any, no: Any) -> Expr:
        known = self.truth(condition)
        if known is not None:
            return self.read(yes if known else no)
        if not isinstance(condition, _GREATER + _LESS) or str(condition.a.ty) not in DTYPES:
            raise self._fail(
                node, "a value guarded by a condition is not supported",
                "conditions on indices (padding, masks) are not supported yet"
            )  # fmt: skip
        large, small = self.read(condition.a), self.read(condition.b)
        if isinstance(condition, _LESS):
            large, small = small, large
        chosen = choice(large, small, self.read(yes), self.read(no))
        if chosen is None:
            raise self._fail(node, "this choice between values cannot be computed exactly",
                             "write T.max or T.min; they keep NaN, which x > 0 ? x : 0 turns "
                             "into 0")  # fmt: skip
        func, args = chosen
        return Apply(func, args, self._places.of(node))


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
