"""A `graphs.Graph` as the text of a compute-level PrimFunc: TVMScript, or TE."""

from __future__ import annotations

import atexit
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from graphs import Expr, Graph, Node

_SCRIPT = {
    "exp": "T.exp({})", "tanh": "T.tanh({})", "sigmoid": "T.sigmoid({})",
    "relu": "T.max({}, T.float32(0))", "max": "T.max({}, {})", "min": "T.min({}, {})",
    "add": "({} + {})", "sub": "({} - {})", "mul": "({} * {})", "div": "({} / {})",
    "const": "T.float32({})", "least": 'T.min_value("float32")',
}  # fmt: skip
_TE = {
    **_SCRIPT,
    "exp": "te.exp({})", "tanh": "te.tanh({})", "sigmoid": "te.sigmoid({})",
    "relu": 'Max({}, const(0.0, "float32"))', "max": "Max({}, {})", "min": "Min({}, {})",
    "const": 'const({}, "float32")',
}  # fmt: skip


def _expr(expr: Expr, index: tuple[str, ...], words: dict[str, str]) -> str:
    if expr.func == "const":
        return words["const"].format(expr.const)
    if expr.func != "arg":
        return words[expr.func].format(*(_expr(arg, index, words) for arg in expr.args))
    kept = {"full": index, "row": index[-1:], "col": index[:1], "scalar": ()}[expr.mode]
    rank = len(expr.node.shape)
    zeros = ("0",) * (rank - len(kept))
    place = kept + zeros if expr.mode == "col" else zeros + kept
    return f"{expr.node.name}[{', '.join(place)}]"


def _product(node: Node, row: str, col: str, inner: str) -> str:
    lhs = (inner, row) if node.ta else (row, inner)
    rhs = (col, inner) if node.tb else (inner, col)
    return f"{node.lhs.name}[{', '.join(lhs)}] * {node.rhs.name}[{', '.join(rhs)}]"


def _inner(node: Node) -> int:
    """The length of a matmul's sums."""
    return node.lhs.shape[0 if node.ta else 1]


def tvmscript_source(graph: Graph) -> str:
    """`@T.prim_func(s_tir=True)`, an sblock a node."""
    params = ", ".join(f'{node.name}: T.Buffer({node.shape}, "float32")' for node in graph.params)
    lines = ["@T.prim_func(s_tir=True)", f"def graph({params}):"]
    made = [node for node in graph.nodes if node.kind != "input"]
    for node in made:
        if node not in graph.outputs:
            lines.append(f'    {node.name} = T.sblock_alloc_buffer({node.shape}, "float32")')
    for node in made:
        lines += [f"    {line}" for line in _sblock(node)]
    return "\n".join(lines) + "\n"


def _sblock(node: Node) -> Iterator[str]:
    loops, kinds, body = {"map": _map, "matmul": _matmul, "reduce": _reduce}[node.kind](node)
    names = "ijk"[: len(loops)]
    indices = ", ".join(f"v{name}" for name in names)
    if len(loops) == 1:
        yield f"for {names} in range({loops[0]}):"
        axes = f"{indices} = T.axis.spatial({loops[0]}, {names})"
    else:
        yield f"for {', '.join(names)} in T.grid({', '.join(map(str, loops))}):"
        axes = f'{indices} = T.axis.remap("{kinds}", [{", ".join(names)}])'
    yield f'    with T.sblock("{node.name}"):'
    for line in (axes, *body):
        yield f"        {line}"


def _map(node: Node) -> tuple[tuple[int, ...], str, list[str]]:
    index = ("vi", "vj")[: len(node.shape)]
    value = _expr(node.expr, index, _SCRIPT)
    return node.shape, "S" * len(index), [f"{node.name}[{', '.join(index)}] = {value}"]


def _matmul(node: Node) -> tuple[tuple[int, ...], str, list[str]]:
    cell = f"{node.name}[vi, vj]"
    update = f"{cell} = {cell} + {_product(node, 'vi', 'vj', 'vk')}"
    body = ["with T.init():", f"    {cell} = T.float32(0)", update]
    return (*node.shape, _inner(node)), "SSR", body


def _reduce(node: Node) -> tuple[tuple[int, ...], str, list[str]]:
    kept = "vi" if node.axis == 1 else "vj"
    place = kept
    if node.keep:
        place = f"{kept}, 0" if node.axis == 1 else f"0, {kept}"
    cell, item = f"{node.name}[{place}]", f"{node.lhs.name}[vi, vj]"
    start, update = ("T.float32(0)", f"{cell} + {item}")
    if node.func == "max":
        start, update = _SCRIPT["least"], f"T.max({cell}, {item})"
    body = ["with T.init():", f"    {cell} = {start}", f"{cell} = {update}"]
    return node.lhs.shape, "SR" if node.axis == 1 else "RS", body


def te_source(graph: Graph) -> str:
    """Tensor expressions, made into a function by `te.create_prim_func`."""
    lines: list[str] = []
    for node in graph.nodes:
        lines += [f"# {node.kind}", *_tensor(node)]
    names = ", ".join(node.name for node in graph.params)
    return "\n".join([*lines, f"graph = te.create_prim_func([{names}])"]) + "\n"


def _tensor(node: Node) -> Iterator[str]:
    index = ("vi", "vj")[: len(node.shape)]
    if node.kind == "input":
        yield f'{node.name} = te.placeholder({node.shape}, dtype="float32", name="{node.name}")'
        return
    length = 0
    if node.kind == "map":
        value = _expr(node.expr, index, _TE)
    elif node.kind == "matmul":
        length = _inner(node)
        value = f"te.sum({_product(node, 'vi', 'vj', 'r')}, axis=r)"
    else:
        length = node.lhs.shape[node.axis]
        kept = index[0] if node.axis == 1 or not node.keep else index[1]
        place = (kept, "r") if node.axis == 1 else ("r", kept)
        value = f"te.{node.func}({node.lhs.name}[{', '.join(place)}], axis=r)"
    if length:
        yield f'r = te.reduce_axis((0, {length}), name="r")'
    yield (
        f"{node.name} = te.compute({node.shape}, lambda {', '.join(index)}: {value}, "
        f'name="{node.name}")'
    )


def source_of(graph: Graph) -> str:
    """A Python text that defines the PrimFunc as `graph`."""
    return te_source(graph) if graph.style == "te" else tvmscript_source(graph)


_DIRECTORY = tempfile.TemporaryDirectory(prefix="tileflow-graphs-")
atexit.register(_DIRECTORY.cleanup)
_COUNT = itertools.count()


def load_source(source: str, stem: str = "graph") -> Any:
    """What `source` defines as `graph`. It goes through a file, so that locations are real."""
    from tvm import te
    from tvm.script import tirx as T
    from tvm.tirx import Max, Min, const

    path = Path(_DIRECTORY.name) / f"{stem}_{next(_COUNT)}.py"
    path.write_text(source)
    scope: dict[str, Any] = {"T": T, "te": te, "Max": Max, "Min": Min, "const": const}
    exec(compile(source, str(path), "exec"), scope)
    return scope["graph"]
