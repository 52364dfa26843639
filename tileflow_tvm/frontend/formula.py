"""A `compute.Stage` as a line of text, and back: how `T.tf.nest` prints.

    axes="i=5 j=6 | k=7"      t0[i, j] = reduce_sum(mul(t1[i, k], pad(t2[k - 1, j], 0.0)), 0.0)

Axes behind the bar are reduced. t0, t1, ... are the operands of `T.tf.nest`. A sum without a second
argument adds to what was there. Behind a ";" follows what is stored in place of that, with `result`
for its value.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence

from tileflow_tvm.errors import Loc
from tileflow_tvm.frontend.compute import (
    Access,
    Apply,
    Axis,
    Cast,
    Const,
    Expr,
    Index,
    Mask,
    Place,
    Reduced,
    Result,
    Stage,
    affine_text,
    shared,
)
from tileflow_tvm.frontend.tile_ir import ITEMSIZE, Affine, Buffer, NameSupply, Var, renamed

_REDUCE = "reduce_"
_ON_CHIP = "on_chip_"
_INDEX = "index_"


def axes_text(axes: Sequence[Axis]) -> str:
    """The axes as `i=5 j=6 | k=7`."""
    sides = [[axis for axis in axes if axis.reduce is reduce] for reduce in (False, True)]
    spatial, reduced = (" ".join(f"{a.var.name}={a.extent}" for a in side) for side in sides)
    return f"{spatial} | {reduced}".strip() if reduced else spatial


def formula_text(stage: Stage, operands: Sequence[Buffer]) -> tuple[str, str]:
    """The axes and the formula of a stage over `operands`."""
    names = NameSupply({f"t{at}" for at in range(len(operands))} | {"result", "inf", "nan"})
    by = {axis.var: Var(names.fresh(axis.var.name)) for axis in stage.axes}
    writer = _Writer({buffer: f"t{at}" for at, buffer in enumerate(operands)}, by)
    value = writer.expr(stage.value)
    if stage.combine:
        init = f", {writer.expr(stage.init)}" if stage.init is not None else ""
        value = f"{_REDUCE}{stage.combine}({value}{init})"
    lines = [f"{writer.expr(stage.target)} = {value}"]
    lines += [f"{writer.expr(access)} = {writer.expr(expr)}" for access, expr in stage.stores]
    axes = [Axis(by[axis.var], axis.extent, axis.reduce) for axis in stage.axes]
    return axes_text(axes), "; ".join(lines)


class _Writer:
    def __init__(self, operands: dict[Buffer, str], axes: dict[Var, Var]) -> None:
        self.operands, self.axes = operands, axes

    def expr(self, expr: Expr) -> str:
        if isinstance(expr, Const):
            number = _number(expr.value)
            return number if expr.dtype == "float32" else f"{expr.dtype}({number})"
        if isinstance(expr, Result):
            return "result"
        if isinstance(expr, Mask):
            parts = (self.expr(expr.yes), self.expr(expr.no), *map(self.affine, expr.conditions))
            return f"mask({', '.join(parts)})"
        if isinstance(expr, Index):
            return f"{_INDEX}{expr.dtype}({self.affine(expr.form)})"
        if isinstance(expr, Cast):
            return f"{expr.dtype}({self.expr(expr.value)})"
        if isinstance(expr, Apply):
            return f"{expr.func}({', '.join(map(self.expr, expr.args))})"
        if isinstance(expr, Reduced):
            over = ", ".join(self.axes[var].name for var in expr.over)
            return f"{_ON_CHIP}{expr.combine}({self.expr(expr.value)}, {over})"
        flat = ".flat" if expr.flat else ""
        cell = f"{self.operands[expr.buffer]}{flat}[{', '.join(map(self.affine, expr.index))}]"
        return cell if expr.fill is None else f"pad({cell}, {_number(expr.fill)})"

    def affine(self, value: Affine) -> str:
        return affine_text(renamed(value, self.axes))


def _number(value: float) -> str:
    return "nan" if math.isnan(value) else repr(value)


def parse_formula(
    axes: str, formula: str, operands: Sequence[Buffer], name: str, loc: Loc | None
) -> Stage:
    """The stage that `formula_text` wrote; KernelError where the text is none."""
    place = Place(loc)
    try:
        return _Parser(axes, operands, place).stage(formula, name)
    except (SyntaxError, KeyError, IndexError, ValueError, TypeError) as error:
        hint = "the compiler writes these; see tileflow_tvm/frontend/formula.py for the form"
        raise place.error(f"the formula {formula!r} is not understood: {error}", hint) from None


class _Parser:
    def __init__(self, axes: str, operands: Sequence[Buffer], place: Place) -> None:
        self.place = place
        self.operands = {f"t{at}": buffer for at, buffer in enumerate(operands)}
        self.axes: dict[str, Axis] = {}
        spatial, _, reduced = axes.partition("|")
        for text, reduce in ((spatial, False), (reduced, True)):
            for word in text.split():
                name, _, extent = word.partition("=")
                self.axes[name] = Axis(Var(name), int(extent), reduce)

    def stage(self, formula: str, name: str) -> Stage:
        lines = [ast.parse(line.strip()).body[0] for line in formula.split(";")]
        pairs = [self._assignment(line) for line in lines]
        target, node = pairs[0]
        combine, init = "", None
        if isinstance(node, ast.Call) and _name(node).startswith(_REDUCE):
            combine = _name(node).removeprefix(_REDUCE)
            init = self.expr(node.args[1]) if len(node.args) > 1 else None
            node = node.args[0]
        stores = tuple((access, self.expr(value)) for access, value in pairs[1:])
        value, *stored = shared([self.expr(node), *(value for _, value in stores)])
        stores = tuple((access, value) for (access, _), value in zip(stores, stored, strict=True))
        return Stage(name, tuple(self.axes.values()), target, value, combine, init, self.place,
                     stores)  # fmt: skip

    def _assignment(self, line: ast.stmt) -> tuple[Access, ast.expr]:
        if not isinstance(line, ast.Assign):
            raise ValueError("an assignment is missing")
        target = self.expr(line.targets[0])
        if not isinstance(target, Access):
            raise ValueError("it assigns to what is no cell")
        return target, line.value

    def expr(self, node: ast.expr) -> Expr:
        if isinstance(node, ast.Subscript):
            return self._access(node)
        if isinstance(node, ast.Name) and node.id == "result":
            return Result()
        if not isinstance(node, ast.Call):
            return Const(_constant(node))
        if _name(node) == "pad":
            cell = self.expr(node.args[0])
            assert isinstance(cell, Access)
            return Access(cell.buffer, cell.index, cell.place, cell.flat, _constant(node.args[1]))
        if _name(node) == "mask":
            conditions = tuple(self.affine(arg) for arg in node.args[2:])
            yes, no = (self.expr(arg) for arg in node.args[:2])
            return Mask(conditions, yes, no, self.place)
        if _name(node).startswith(_ON_CHIP):
            over = tuple(
                self.axes[arg.id].var for arg in node.args[1:] if isinstance(arg, ast.Name)
            )
            combine = _name(node).removeprefix(_ON_CHIP)
            return Reduced(combine, self.expr(node.args[0]), over, self.place)
        if _name(node).startswith(_INDEX):
            dtype = _name(node).removeprefix(_INDEX)
            return Index(self.affine(node.args[0]), dtype, self.place)
        if _name(node) in ITEMSIZE:
            value = self.expr(node.args[0])
            plain = isinstance(value, Const) and value.dtype == "float32"
            return (
                Const(value.value, _name(node)) if plain else Cast(_name(node), value, self.place)
            )
        return Apply(_name(node), tuple(map(self.expr, node.args)), self.place)

    def _access(self, node: ast.Subscript) -> Access:
        flat = isinstance(node.value, ast.Attribute)
        base = node.value.value if isinstance(node.value, ast.Attribute) else node.value
        if not isinstance(base, ast.Name):
            raise ValueError("an operand is missing")
        items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        index = tuple(self.affine(item) for item in items)
        return Access(self.operands[base.id], index, self.place, flat)

    def affine(self, node: ast.expr) -> Affine:
        if isinstance(node, ast.BinOp):
            left, right = self.affine(node.left), self.affine(node.right)
            if isinstance(node.op, ast.Add):
                return left + right
            return left - right if isinstance(node.op, ast.Sub) else right * left.const
        if isinstance(node, ast.UnaryOp):
            return self.affine(node.operand) * -1
        if isinstance(node, ast.Name):
            return Affine.of(self.axes[node.id].var)
        return Affine(int(_constant(node)))


def _name(call: ast.Call) -> str:
    if not isinstance(call.func, ast.Name):
        raise ValueError("a function has no name")
    return call.func.id


def _constant(node: ast.expr) -> float:
    if isinstance(node, ast.UnaryOp):
        return -_constant(node.operand)
    if isinstance(node, ast.Name):
        return {"inf": math.inf, "nan": math.nan}[node.id]
    if not isinstance(node, ast.Constant) or not isinstance(node.value, int | float):
        raise ValueError("a number is missing")
    return node.value
