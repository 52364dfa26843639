"""Random compute-level graphs: source text, inputs, and a float64 oracle with its error bound.

A graph is made from a seed alone, so a failure is replayed with

    python tests/differential.py SEED      # print the source, compile, run, compare

The oracle evaluates the generator's own nodes in NumPy float64; it shares nothing with the
compiler. Beside each value it carries a bound on how far a float32 evaluation can be away, by
running error analysis (Higham, Accuracy and Stability of Numerical Algorithms, section 3.3), so
that no tolerance has to be guessed. Graphs whose bound would be loose are not generated.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

UNIT = 2.0**-24
"""Unit roundoff of float32."""
TINY = 2.0**-149
LOOSEST = 1e-3
"""Largest error bound of a generated value, relative to the largest magnitude in it."""

UNARY = ("relu", "exp", "tanh", "sigmoid")
BINARY = ("add", "sub", "mul", "div", "max", "min")
CONSTANTS = (0.5, -1.25, 3.0, 0.1, -0.75, 1.0)


@dataclass(frozen=True)
class Approx:
    """A float64 value and a bound on the error of its float32 evaluation, element by element."""

    value: np.ndarray
    error: np.ndarray

    @staticmethod
    def rounded(value: np.ndarray, inherited: np.ndarray, roundings: float) -> Approx:
        """Errors of the operands, carried along, and those of the operation itself. What is not
        finite has no error: it has to match exactly."""
        size = np.where(np.isfinite(value), np.abs(value), 0.0)
        error = inherited * (1 + 1e-6) + roundings * UNIT * size + TINY
        return Approx(value, np.where(np.isfinite(value), error, 0.0))

    @property
    def looseness(self) -> float:
        """The largest error in relation to the largest magnitude."""
        if not self.value.size:
            return 0.0
        return float(self.error.max() / max(float(np.abs(self.value).max()), 1e-30))


def apply(func: str, *args: Approx) -> Approx:
    """`func` of Expr on operands that already have (or broadcast to) one shape."""
    x, y = args[0], args[-1]
    both = x.error + y.error
    match func:
        case "relu":
            return Approx.rounded(np.maximum(x.value, 0.0), x.error, 0)
        case "exp":
            value = np.exp(x.value)
            return Approx.rounded(value, np.abs(value) * np.expm1(x.error), 4)
        case "tanh":
            return Approx.rounded(np.tanh(x.value), x.error, 4)
        case "sigmoid":
            return Approx.rounded(1 / (1 + np.exp(-x.value)), x.error / 4, 4)
        case "add":
            return Approx.rounded(x.value + y.value, both, 1)
        case "sub":
            return Approx.rounded(x.value - y.value, both, 1)
        case "mul":
            cross = np.abs(x.value) * y.error + np.abs(y.value) * x.error + x.error * y.error
            return Approx.rounded(x.value * y.value, _finite(cross), 1)
        case "div":
            room = np.maximum(np.abs(y.value) - y.error, 1e-30)
            carried = (x.error + np.abs(x.value / y.value) * y.error) / room
            return Approx.rounded(x.value / y.value, _finite(carried), 1)
        case "max":
            return Approx.rounded(np.maximum(x.value, y.value), np.maximum(x.error, y.error), 0)
        case "min":
            return Approx.rounded(np.minimum(x.value, y.value), np.maximum(x.error, y.error), 0)
    raise AssertionError(func)


def _finite(error: np.ndarray) -> np.ndarray:
    """NaN and Inf come only from operands that are not finite; there the value decides."""
    return np.where(np.isfinite(error), error, 0.0)


@dataclass(frozen=True)
class Expr:
    """An element-wise expression: "arg" (node, mode), "const" (number), or a function of Exprs.

    mode says how a node meets the result: "full", "row" (n values, the same in every row),
    "col" (m values, the same in every column) or "scalar".
    """

    func: str
    args: tuple[Expr, ...] = ()
    node: Node | None = None
    mode: str = ""
    const: float = 0.0

    def leaves(self) -> Iterator[Node]:
        if self.node is not None:
            yield self.node
        for arg in self.args:
            yield from arg.leaves()


@dataclass(frozen=True, eq=False)
class Node:
    """kind: "input"; "matmul" (lhs, rhs, with ta, tb); "map" (expr); "reduce" (lhs, func, axis,
    where axis 1 reduces each row; with keep the result has rank 2)."""

    name: str
    kind: str
    shape: tuple[int, ...]
    lhs: Node | None = None
    rhs: Node | None = None
    ta: bool = False
    tb: bool = False
    expr: Expr | None = None
    func: str = ""
    axis: int = 0
    keep: bool = False

    def sources(self) -> tuple[Node, ...]:
        """The nodes this one reads."""
        if self.expr is not None:
            return tuple(self.expr.leaves())
        return tuple(node for node in (self.lhs, self.rhs) if node is not None)


def evaluate(node: Node, values: dict[Node, Approx]) -> Approx:
    """The node's value from those it reads."""
    # NaN, Inf and division by zero are what some tests are about.
    with np.errstate(all="ignore"):
        if node.kind == "map":
            result = _evaluate_expr(node.expr, node.shape, values)
            return Approx(*(np.broadcast_to(a, node.shape) for a in (result.value, result.error)))
        if node.kind == "matmul":
            return _matmul(values[node.lhs], values[node.rhs], node.ta, node.tb)
        return _reduce(values[node.lhs], node)


def _evaluate_expr(expr: Expr, shape: tuple[int, ...], values: dict[Node, Approx]) -> Approx:
    if expr.func == "const":
        return Approx(np.array(np.float64(np.float32(expr.const))), np.array(0.0))
    if expr.func != "arg":
        return apply(expr.func, *(_evaluate_expr(arg, shape, values) for arg in expr.args))
    form = {"full": shape, "row": (1, shape[-1]), "col": (shape[0], 1), "scalar": ()}[expr.mode]
    approx = values[expr.node]
    return Approx(approx.value.reshape(form), approx.error.reshape(form))


def _matmul(a: Approx, b: Approx, ta: bool, tb: bool) -> Approx:
    av, ae = (a.value.T, a.error.T) if ta else (a.value, a.error)
    bv, be = (b.value.T, b.error.T) if tb else (b.value, b.error)
    aa, ab = (np.nan_to_num(np.abs(v), nan=0, posinf=0) for v in (av, bv))
    carried = aa @ be + ae @ ab + ae @ be + av.shape[1] * UNIT * (aa @ ab)
    return Approx.rounded(av @ bv, carried, 0)


def _reduce(x: Approx, node: Node) -> Approx:
    how = {"axis": node.axis, "keepdims": node.keep}
    if node.func == "max":
        return Approx.rounded(x.value.max(**how), x.error.max(**how), 0)
    size = np.nan_to_num(np.abs(x.value), nan=0, posinf=0).sum(**how)
    carried = x.error.sum(**how) + x.value.shape[node.axis] * UNIT * size
    return Approx.rounded(x.value.sum(**how), carried, 0)


@dataclass
class Graph:
    """Nodes in order; `params` are inputs and outputs as the function declares them."""

    nodes: list[Node]
    outputs: list[Node]
    params: list[Node]
    style: str
    sram_bytes: int
    data: dict[Node, np.ndarray]
    seed: int | None = None

    @property
    def inputs(self) -> list[Node]:
        """In the order of the parameters."""
        return [node for node in self.params if node.kind == "input"]

    @property
    def arrays(self) -> list[np.ndarray]:
        return [self.data[node] for node in self.inputs]

    def expected(self, data: dict[Node, np.ndarray] | None = None) -> list[Approx]:
        """The outputs, in the order of the parameters, from `data` or from the graph's own."""
        values: dict[Node, Approx] = {}
        for node in self.nodes:
            if node.kind == "input":
                array = (data or self.data)[node].astype(np.float64)
                values[node] = Approx(array, np.zeros_like(array))
            else:
                values[node] = evaluate(node, values)
        return [values[node] for node in self.params if node in self.outputs]


class _Builder:
    """Adds random nodes that a float32 evaluation keeps close to the float64 one."""

    def __init__(self, rng: random.Random, largest: int) -> None:
        self.rng = rng
        self.numbers = np.random.default_rng(rng.getrandbits(32))
        self.sizes = [rng.choice((1, rng.randint(1, largest), rng.randint(1, largest)))
                      for _ in range(3)]  # fmt: skip
        self.nodes: list[Node] = []
        self.data: dict[Node, np.ndarray] = {}
        self.values: dict[Node, Approx] = {}

    def input(self, *shape: int) -> Node:
        node = Node(f"x{len(self.data)}", "input", shape)
        array = self.numbers.standard_normal(shape).astype(np.float32)
        self.data[node] = array
        self.values[node] = Approx(array.astype(np.float64), np.zeros(shape))
        self.nodes.append(node)
        return node

    def size(self) -> int:
        return self.rng.choice(self.sizes)

    def pick(self, *ranks: int) -> Node:
        """A value to read: mostly the newest, sometimes any earlier one."""
        fitting = [node for node in self.nodes if len(node.shape) in ranks]
        if not fitting:
            return self.input(self.size(), self.size())
        return fitting[-1] if self.rng.random() < 0.6 else self.rng.choice(fitting)

    def matching(self, shape: tuple[int, ...]) -> Node:
        """A value of this shape: one there is, or a new input."""
        fitting = [node for node in self.nodes if node.shape == shape]
        if fitting and self.rng.random() < 0.7:
            return self.rng.choice(fitting)
        return self.input(*shape)

    def operation(self, name: str) -> Node:
        kind = self.rng.choice(("matmul", "matmul", "map", "map", "map", "map", "reduce"))
        return getattr(self, f"_{kind}")(name)

    def _matmul(self, name: str) -> Node:
        lhs, ta, tb = self.pick(2), self.rng.random() < 0.3, self.rng.random() < 0.3
        rows, inner = lhs.shape[::-1] if ta else lhs.shape
        fits = [node for node in self.nodes
                if len(node.shape) == 2 and node.shape[1 if tb else 0] == inner]  # fmt: skip
        if fits and self.rng.random() < 0.6:
            rhs = lhs if lhs in fits and self.rng.random() < 0.4 else self.rng.choice(fits)
        else:
            cols = self.size()
            rhs = self.input(*((cols, inner) if tb else (inner, cols)))
        cols = rhs.shape[0 if tb else 1]
        if self.rng.random() < 0.2:
            return self._swapped(name, lhs, rhs, ta, tb)
        return Node(name, "matmul", (rows, cols), lhs=lhs, rhs=rhs, ta=ta, tb=tb)

    def _swapped(self, name: str, lhs: Node, rhs: Node, ta: bool, tb: bool) -> Node:
        """(lhs rhs)^T = rhs^T lhs^T."""
        rows, cols = rhs.shape[0 if tb else 1], lhs.shape[1 if ta else 0]
        return Node(name, "matmul", (rows, cols), lhs=rhs, rhs=lhs, ta=not tb, tb=not ta)

    def _map(self, name: str) -> Node:
        first = self.pick(1, 2)
        depth = self.rng.choice((1, 1, 1, 2, 3))
        expr = Expr("arg", node=first, mode="full")
        for _ in range(depth):
            expr = self._wrap(expr, first.shape)
        return Node(name, "map", first.shape, expr=expr)

    def _wrap(self, expr: Expr, shape: tuple[int, ...]) -> Expr:
        if self.rng.random() < 0.4:
            return Expr(self.rng.choice(UNARY), (expr,))
        pair = [expr, self._leaf(shape)]
        if self.rng.random() < 0.4:
            pair.reverse()
        return Expr(self.rng.choice(BINARY), tuple(pair))

    def _leaf(self, shape: tuple[int, ...]) -> Expr:
        if self.rng.random() < 0.2:
            return Expr("const", const=self.rng.choice(CONSTANTS))
        modes = ("full", "full", "row", "col", "scalar") if len(shape) == 2 else ("full", "scalar")
        mode = self.rng.choice(modes)
        form = {"full": shape, "row": shape[-1:], "col": shape[:1], "scalar": (1,)}[mode]
        if mode in ("row", "col", "scalar") and len(shape) == 2 and self.rng.random() < 0.4:
            form = {"row": (1, form[0]), "col": (form[0], 1), "scalar": (1, 1)}[mode]
        return Expr("arg", node=self.matching(form), mode=mode)

    def _reduce(self, name: str) -> Node:
        source, axis, keep = self.pick(2), self.rng.randint(0, 1), self.rng.random() < 0.3
        shape = source.shape[1 - axis : 2 - axis]
        if keep:
            shape = (1, *shape) if axis == 0 else (*shape, 1)
        func = self.rng.choice(("sum", "max"))
        return Node(name, "reduce", shape, lhs=source, func=func, axis=axis, keep=keep)


def random_graph(rng: random.Random, largest: int = 70) -> Graph:
    """1 to 6 operators with sharing; every value that nothing reads is an output."""
    builder = _Builder(rng, largest)
    builder.input(builder.size(), builder.size())
    wanted = rng.randint(1, 6)
    made: list[Node] = []
    for _ in range(20 * wanted):
        if len(made) == wanted:
            break
        before = len(builder.nodes)
        node = builder.operation(f"v{len(made)}")
        approx = evaluate(node, builder.values)
        magnitude = float(np.abs(approx.value).max())
        # Not finite compares false and is rejected too.
        if magnitude < 1e4 and approx.looseness < LOOSEST:
            made.append(node)
            builder.nodes.append(node)
            builder.values[node] = approx
        else:
            del builder.nodes[before:]
    return _finish(rng, builder, made)


def _finish(rng: random.Random, builder: _Builder, made: list[Node]) -> Graph:
    read = {node for user in made for node in user.sources()}
    outputs = [node for node in made if node not in read]
    if rng.random() < 0.2:
        outputs = [node for node in made if node in outputs or rng.random() < 0.3]
    inputs = [node for node in builder.nodes if node.kind == "input" and node in read]
    params = inputs + outputs
    if rng.random() < 0.3:
        rng.shuffle(params)
    return Graph(
        nodes=inputs + made, outputs=outputs, params=params,
        style=rng.choice(("script", "script", "te")),
        sram_bytes=4 * rng.choice((3072, rng.randint(3072, 8192), rng.randint(3072, 65536))),
        data={node: builder.data[node] for node in inputs},
    )  # fmt: skip


def graph_of(seed: int, largest: int = 70) -> Graph:
    """The graph of this number."""
    graph = random_graph(random.Random(seed), largest)
    graph.seed = seed
    return graph
