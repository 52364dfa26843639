"""One tile primitive of a PrimFunc to `tile_ir.Op`s."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from tvm import ir, tirx
from tvm.ir import TensorLoad, TensorRegion
from tvm.tirx import FloatImm, IntImm

from tileflow_tvm.errors import KernelError, Loc
from tileflow_tvm.frontend.affine import AffineReader
from tileflow_tvm.frontend.formula import parse_formula
from tileflow_tvm.frontend.language import F32_MAX
from tileflow_tvm.frontend.location import loc_of
from tileflow_tvm.frontend.ops import FIELD_OF, OP_PREFIX, OPS
from tileflow_tvm.frontend.read_box import box_dims, with_bounds
from tileflow_tvm.frontend.tile_ir import (
    Affine,
    BoxDim,
    Buffer,
    Clear,
    Extent,
    Op,
    Operand,
    Region,
    Var,
)
from tileflow_tvm.frontend.tvm_ops import TVM_OPS, TVM_PREFIX, TvmCall, axis_name
from tileflow_tvm.isa.table import (
    AXES,
    BINARY_FUNCS,
    OPERAND_MODES,
    REDUCE_FUNCS,
    SEMIRINGS,
    UNARY_FUNCS,
    Engine,
)

_FUNCS = {"unary": UNARY_FUNCS, "binary": BINARY_FUNCS, "reduce": REDUCE_FUNCS}


class OpReader:
    """Reads tile primitives over the buffers and variables declared so far."""

    def __init__(self, index: AffineReader) -> None:
        self.index = index
        self._buffers: dict[int, Buffer] = {}
        self._keywords: dict[str, Callable[[Any, Loc | None], Any]] = {
            "modes": _modes, "clear": self._clear, "engine": _engine, "unit": self._unit,
            "fill": number, "value": number, "scale": number, "bias": number,
            "transpose_a": _flag, "transpose_b": _flag, "transposed": _flag, "padded": _flag,
            "semiring": _semiring, "extents": self._extents,
            "wait": self._semaphores, "post": self._semaphores,
            "rows": self._box_dims("rows"), "cols": self._box_dims("cols"),
            "where": self._conditions, "form": self._form,
        }  # fmt: skip

    def declare(self, var: ir.Var, buffer: Buffer) -> None:
        self._buffers[var.__chandle__()] = buffer

    def read(self, call: Any) -> list[Op]:
        """The operations that `call` stands for; one, but for a few of TVM's own primitives."""
        loc = loc_of(call)
        name: str = call.op.name
        if name.startswith(OP_PREFIX):
            return _each_condition(self._read_ours(name.removeprefix(OP_PREFIX), call, loc))
        if not name.startswith(TVM_PREFIX):
            raise KernelError(f"'{name}' is not a tile primitive", loc=loc,
                              hint="they are under T.tf and T.tile")  # fmt: skip
        name = name.removeprefix(TVM_PREFIX)
        if name not in TVM_OPS:
            near = get_close_matches(name, list(TVM_OPS), 1)
            has = f"did you mean T.tile.{near[0]}? " if near else ""
            raise KernelError(
                f"T.tile.{name} has no counterpart on this machine", loc=loc,
                hint=f"{has}of TVM's primitives these are taken: {', '.join(TVM_OPS)}; "
                     f"ours are under T.tf: {', '.join(OPS)}",
            )  # fmt: skip
        if call.config:
            raise KernelError(f"T.tile.{name} has no keyword {next(iter(call.config))!r} here",
                              loc=loc, hint="leave it out")  # fmt: skip
        operands = [self._tvm_operand(arg, loc) for arg in call.args]
        return TVM_OPS[name](TvmCall(name, operands, loc))

    def _read_ours(self, name: str, call: Any, loc: Loc | None) -> Op:
        spec = OPS.get(name)
        if spec is None:
            raise KernelError(f"unknown tile primitive T.tf.{name}", loc=loc,
                              hint=f"there are {', '.join(OPS)}")  # fmt: skip
        operands = [self.operand(arg, loc) for arg in call.args]
        if len(operands) != len(spec.args) and not (spec.variadic and operands):
            raise KernelError(f"T.tf.{name} has {len(operands)} operands", loc=loc,
                              hint=f"it takes {', '.join(spec.args) or 'none'}")  # fmt: skip
        if spec.name == "nest":
            return self._nest(call, operands, loc)
        fields: dict[str, Any] = {"engine": spec.engine}
        for key, value in call.config.items():
            if key not in spec.keywords:
                raise KernelError(f"T.tf.{name} has no keyword {key!r}", loc=loc,
                                  hint=f"it has {', '.join(spec.keywords)}")  # fmt: skip
            if key == "func":
                value = choice(key, value, _FUNCS[name], loc)
            elif key == "axis":
                value = _axis(value, operands[-1], loc)
            else:
                value = self._keywords[key](value, loc)
            fields[FIELD_OF.get(key, key)] = value
        for key in spec.required:
            if FIELD_OF.get(key, key) not in fields or (key == "engine" and not fields[key]):
                raise KernelError(f"T.tf.{name} needs {key}=", loc=loc,
                                  hint=f"its keywords are {', '.join(spec.keywords)}")  # fmt: skip
        for arg, operand in zip(spec.args, operands, strict=True):
            by_number = name in ("binary", "select") and arg != "dst"
            if not isinstance(operand, Region) and not by_number:
                raise KernelError(f"{arg} of T.tf.{name} is a number, not a buffer", loc=loc,
                                  hint="T.tf.fill writes a number into a block")  # fmt: skip
        modes = fields.get("modes", ())
        if modes and len(modes) != len(operands) - 1:
            raise KernelError(f"modes has {len(modes)} entries", loc=loc,
                              hint="one for each operand behind dst, as in "
                                   'modes=["full", "row"]')  # fmt: skip
        dst = operands[0] if operands else None
        assert dst is None or isinstance(dst, Region)
        op = Op(name, dst, tuple(operands[1:]), loc=loc, **fields)
        return with_bounds(op) if op.box else op

    def _nest(self, call: Any, operands: list[Operand], loc: Loc | None) -> Op:
        regions = [operand for operand in operands if isinstance(operand, Region)]
        texts = {key: str(getattr(value, "value", value)) for key, value in call.config.items()}
        stage = parse_formula(
            texts.get("axes", ""), texts.get("formula", ""), [r.buffer for r in regions],
            texts.get("name", "nest"), loc,
        )  # fmt: skip
        return Op("nest", regions[0], tuple(regions[1:]), stage=stage, loc=loc)

    # Operands.

    def operand(self, arg: Any, loc: Loc | None) -> Operand:
        """A region of a buffer, one element of it, or a number."""
        if isinstance(arg, TensorRegion):
            start = tuple(self.index.affine(r.min, loc) for r in arg.region)
            shape = tuple(self._size(r, loc) for r in arg.region)
            return Region(self.buffer(arg.source, loc), start, shape)
        if isinstance(arg, TensorLoad):
            start = tuple(self.index.affine(i, loc) for i in arg.indices)
            return Region(self.buffer(arg.source, loc), start, (1,) * len(start))
        if tirx.is_buffer_var(arg):
            return Region.whole(self.buffer(arg, loc))
        return number(arg, loc)

    def _tvm_operand(self, arg: Any, loc: Loc | None) -> Any:
        """As `operand`; what is neither a region nor a number (flags, axes) as Python values."""
        if arg is None or isinstance(arg, bool):
            return arg
        if isinstance(arg, ir.Array):
            return [int(item) for item in arg]
        return self.operand(arg, loc)

    def buffer(self, source: Any, loc: Loc | None) -> Buffer:
        buffer = self._buffers.get(source.__chandle__()) if isinstance(source, ir.Var) else None
        if buffer is None:
            raise KernelError(
                f"{source} is not a buffer of this function", loc=loc,
                hint="allocate it with T.alloc_buffer, or make it a parameter",
            )  # fmt: skip
        return buffer

    def _size(self, dim: Any, loc: Loc | None) -> int:
        size = self.index.const(dim.extent, loc, "the length of a slice,")
        if size < 0:
            raise KernelError(f"a slice has length {size}", loc=loc,
                              hint="slices run from a lower to a higher index")  # fmt: skip
        return size

    # Keyword arguments.

    def _clear(self, value: Any, loc: Loc | None) -> Clear:
        """True, False, or `var == 0`."""
        if isinstance(value, bool | IntImm):
            return Clear(always=bool(value))
        if isinstance(value, tirx.EQ):
            var = self._first_iteration(value, loc)
            if var is not None:
                return Clear(var=var)
        raise KernelError(
            f"clear={value} is not understood", loc=loc,
            hint="clear is True, False, or `var == 0` with the variable of an enclosing loop",
        )  # fmt: skip

    def _first_iteration(self, equal: Any, loc: Loc | None) -> Var | None:
        """The loop variable that is at its first iteration exactly when the sides are equal."""
        diff = self.index.affine(equal.a, loc) - self.index.affine(equal.b, loc)
        if len(diff.terms) != 1 or diff.const or diff.terms[0][0].scalar:
            return None
        return diff.terms[0][0]

    def _form(self, value: Any, loc: Loc | None) -> Affine:
        return self.index.form(value, loc, "the form")

    def _conditions(self, value: Any, loc: Loc | None) -> tuple[Affine, ...]:
        """The forms that are not negative where the condition `value` holds."""
        if isinstance(value, bool | IntImm):
            return (Affine(0 if bool(value) else -1),)
        if isinstance(value, tirx.And):
            return self._conditions(value.a, loc) + self._conditions(value.b, loc)
        if not isinstance(value, tirx.GE | tirx.GT | tirx.LE | tirx.LT | tirx.EQ):
            raise KernelError(
                f"where={value} is not a comparison", loc=loc,
                hint="write >=, >, <=, < or ==, several of them joined by `and`; for `or`, select "
                     "from what another T.tf.affine_select gave",
            )  # fmt: skip
        left, right = (self.index.form(side, loc, "the condition") for side in (value.a, value.b))
        if isinstance(value, tirx.EQ):
            return (left - right, right - left)
        more, less = (left, right) if isinstance(value, tirx.GE | tirx.GT) else (right, left)
        return (more - less - (1 if isinstance(value, tirx.GT | tirx.LT) else 0),)

    def _box_dims(self, key: str) -> Callable[[Any, Loc | None], tuple[BoxDim, ...]]:
        return lambda value, loc: box_dims(key, value, self.index.const, loc)

    def _extents(self, value: Any, loc: Loc | None) -> tuple[Extent, ...]:
        return tuple(self.index.extent(item, loc) for item in _sequence(value, loc))

    def _unit(self, value: Any, loc: Loc | None) -> int:
        unit = self.index.const(value, loc, "the unit")
        if unit < 0:
            raise KernelError(f"unit={unit} is negative", loc=loc,
                              hint="units are counted from 0")  # fmt: skip
        return unit

    def _semaphores(self, value: Any, loc: Loc | None) -> tuple[int, ...]:
        numbers = [self.index.const(item, loc, "the semaphore") for item in _sequence(value, loc)]
        if any(item < 0 for item in numbers):
            raise KernelError(f"a semaphore has a negative number: {numbers}", loc=loc,
                              hint="leave wait and post to the compiler")  # fmt: skip
        return tuple(numbers)


def _each_condition(op: Op) -> list[Op]:
    """An affine_select for each of its conditions; other operations as they are."""
    if op.name != "affine_select":
        return [op]
    first, *others = op.form  # type: ignore[misc]
    assert op.dst is not None
    return [replace(op, form=first)] + [replace(op, srcs=(op.dst,), form=f) for f in others]


def _axis(value: Any, src: Operand, loc: Loc | None) -> str:
    """One of AXES, or NumPy's number of the axis."""
    if not isinstance(value, int | IntImm):
        return choice("axis", value, AXES, loc)
    rank = len(src.shape) if isinstance(src, Region) else 0
    if not -rank <= int(value) < rank:
        raise KernelError(f"axis={value} of an operand of rank {rank}", loc=loc,
                          hint="1 (or -1) reduces each row, 0 each column")  # fmt: skip
    return axis_name(int(value), rank)


def _modes(value: Any, loc: Loc | None) -> tuple[str, ...]:
    modes = tuple(choice("modes", mode, OPERAND_MODES, loc) for mode in _sequence(value, loc))
    return modes


def _semiring(value: Any, loc: Loc | None) -> str:
    return choice("semiring", value, SEMIRINGS, loc)


def _engine(value: Any, loc: Loc | None) -> Engine:
    engines = tuple(engine.value for engine in Engine if engine is not Engine.SEQUENCER)
    return Engine(choice("engine", value, engines, loc))


def _flag(value: Any, loc: Loc | None) -> bool:
    if isinstance(value, bool | int | IntImm):
        return bool(value)
    raise KernelError(f"{value} is not a flag", loc=loc, hint="write True or False")


def _sequence(value: Any, loc: Loc | None) -> list[Any]:
    if isinstance(value, ir.Array | list | tuple):
        return list(value)
    raise KernelError(f"{value} is not a list", loc=loc, hint="write it in [ ]")


def choice(key: str, value: Any, choices: tuple[str, ...], loc: Loc | None) -> str:
    """`value` if it is one of `choices`; KernelError with the nearest one otherwise."""
    text = value.value if isinstance(value, ir.StringImm) else value
    if isinstance(text, str) and str(text) in choices:
        return str(text)
    near = get_close_matches(str(text), choices, 1)
    raise KernelError(
        f"{key}={text!r} is not known", loc=loc,
        hint=(f"did you mean {near[0]!r}? " if near else "") + f"it is one of {', '.join(choices)}",
    )  # fmt: skip


def number(value: Any, loc: Loc | None) -> float:
    """A constant; KernelError for expressions, and where it overflows float32."""
    if isinstance(value, FloatImm | IntImm):
        value = value.value
    if not isinstance(value, int | float):
        raise KernelError(
            f"{value} is not a constant", loc=loc,
            hint="an operand is a buffer, a slice of one, or a float constant",
        )  # fmt: skip
    value = float(value)
    if math.isfinite(value) and abs(value) > F32_MAX:
        raise KernelError(f"the constant {value!r} overflows float32", loc=loc,
                          hint='float("inf") is legal')  # fmt: skip
    return value
