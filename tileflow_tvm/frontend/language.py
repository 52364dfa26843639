"""The tile primitives in TVMScript: `T.tf.load(...)` and its siblings.

`register` runs at `import tvm` (the plugin entry point); it makes one TVM operator for each row
of `ops.OPS` and puts the functions under `T.tf` and, for printed scripts, `T.tile.tf`. The
shorter names of `ops.SUGAR` canonicalise when called: `T.tf.relu(dst, src)` is
`T.tile.tf.unary(dst, src, func="relu")`. An element-wise function with its source left out works
in place: `T.tf.relu(x)`, `T.tf.add(x, y)`.
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable
from typing import Any

from tvm.ir import Op, TensorLoad, TensorRegion, _ffi_api, register_op_attr
from tvm.script.tirx import tile as script_tile
from tvm.tirx import FloatImm, IntImm, call_intrin, is_buffer_var
from tvm.tirx.script.builder import ir as builder_ir
from tvm.tirx.script.builder import tirx as builder_tile
from tvm.tirx.tile_primitive import TilePrimitiveCall

from tileflow_tvm.frontend.ops import OP_PREFIX, OPS, PLACE_PREFIX, STAGES, SUGAR, OpSpec

_PURE = 1
"""TVM's CallEffectKind of what depends on nothing and changes nothing."""
F32_MAX = 3.4028234663852886e38
_IN_PLACE = ("unary", "binary", "reduce", "transpose", "affine_select")
"""With one operand left out, the first one is also dst. TVM prints two equal operands as one."""
_FLOATS = ("fill", "value", "scale", "bias")


class TileflowNamespace:
    """What `T.tf` is: the primitives of `ops.OPS`, their shorter names, and `pipelined`."""

    def __getattr__(self, name: str) -> Any:
        near = difflib.get_close_matches(name, vars(self), 1)
        also = (
            f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(vars(self)))}"
        )
        raise AttributeError(f"T.tf has no {name!r}; {also}")


def register() -> TileflowNamespace:
    """Make `T.tf` known to TVMScript; a second call changes nothing."""
    existing = getattr(builder_ir, "tf", None)
    if isinstance(existing, TileflowNamespace):
        return existing
    namespace = TileflowNamespace()
    for spec in OPS.values():
        _register_op(spec)
        setattr(namespace, spec.name, builder_tile.ScopedOp(_primitive(spec)))
    for name, (base, func) in SUGAR.items():
        setattr(namespace, name, builder_tile.ScopedOp(_sugar(name, OPS[base], func)))
    namespace.pipelined = pipelined  # type: ignore[attr-defined]
    namespace.row, namespace.col = row, col  # type: ignore[attr-defined]
    for place in ("row", "col"):
        _register_place(place)
    builder_ir.register_script_namespace("tf", namespace)
    # The parser of a printed script finds `T.tile` in the builder, that of a file in script.tile.
    for module in (script_tile, builder_tile):
        module.tf = namespace
    return namespace


def pipelined(n: Any, stages: int = 0) -> Any:
    """`for i in T.tf.pipelined(n, stages=2)`: a serial loop whose buffers get `stages` slots, so
    that loads run ahead; 0 lets the compiler choose."""
    if not isinstance(stages, int) or stages < 0:
        raise ValueError(f"stages is a whole number, 0 (automatic) or more, not {stages!r}")
    return builder_ir.serial(n, annotations={STAGES: stages} if stages else None)


def row() -> Any:
    """The row of an element in its block, in the form of `affine_select` and `iota`."""
    return call_intrin("int32", PLACE_PREFIX + "row")


def col() -> Any:
    """The column of an element in its block, in the form of `affine_select` and `iota`."""
    return call_intrin("int32", PLACE_PREFIX + "col")


def _register_place(place: str) -> None:
    full = PLACE_PREFIX + place
    if full in _ffi_api.ListOpNames():
        return
    _ffi_api.RegisterOp(full, f"The {place} of an element in its block.")
    register_op_attr(full, "TScriptPrinterName", f"tf.{place}")
    register_op_attr(full, "TCallEffectKind", _PURE)


def _register_op(spec: OpSpec) -> None:
    full = OP_PREFIX + spec.name
    if full in _ffi_api.ListOpNames():
        return
    _ffi_api.RegisterOp(full, spec.does)
    register_op_attr(full, "TIRxOpCategory", "tile_primitive")
    register_op_attr(full, "TScriptPrinterName", f"tf.{spec.name}")


def _primitive(spec: OpSpec) -> Callable[..., Any]:
    op = Op.get(OP_PREFIX + spec.name)

    def emit(*args: Any, scope: Any = None, **config: Any) -> Any:
        operands, keywords = _bind(spec, spec.name, args, config)
        call = TilePrimitiveCall(*operands, op=op, config=keywords, scope=scope)
        return builder_tile.f_insert(call)

    return _describe(emit, spec, spec.name, {})


def _sugar(name: str, spec: OpSpec, func: str) -> Callable[..., Any]:
    op = Op.get(OP_PREFIX + spec.name)

    def emit(*args: Any, scope: Any = None, **config: Any) -> Any:
        if "func" in config:
            raise TypeError(f"T.tf.{name}() is {spec.name} with func={func!r} already")
        config["func"] = func
        operands, keywords = _bind(spec, name, args, config)
        call = TilePrimitiveCall(*operands, op=op, config=keywords, scope=scope)
        return builder_tile.f_insert(call)

    return _describe(emit, spec, name, {"func": func})


def _describe(
    emit: Callable[..., Any], spec: OpSpec, name: str, fixed: dict[str, str]
) -> Callable[..., Any]:
    Parameter = inspect.Parameter
    positional = [Parameter(arg, Parameter.POSITIONAL_OR_KEYWORD) for arg in spec.args]
    keywords = [
        Parameter(key, Parameter.KEYWORD_ONLY, default=None)
        for key in spec.keywords if key not in fixed
    ]  # fmt: skip
    emit.__name__ = emit.__qualname__ = name
    with_func = "".join(f" with {key}={value!r}" for key, value in fixed.items())
    head = f"T.tf.{spec.name}{with_func}.\n\n" if fixed else ""
    emit.__doc__ = head + spec.does
    emit.__signature__ = inspect.Signature(positional + keywords)  # type: ignore[attr-defined]
    return emit


def _bind(
    spec: OpSpec, name: str, args: tuple[Any, ...], config: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Operands in order and keyword arguments, in the form the node holds."""
    named = {key: config.pop(key) for key in spec.args if key in config}
    operands = list(args)
    _take_trailing(spec, operands, config)
    for key in spec.args[len(operands) :]:
        if key not in named:
            break
        operands.append(named.pop(key))
    if len(operands) == len(spec.args) - 1 and not named and spec.name in _IN_PLACE:
        operands.insert(0, operands[0])
    if named or (len(operands) != len(spec.args) and not spec.variadic):
        raise TypeError(f"T.tf.{name}() takes {_listing(spec.args)}; {len(operands)} given")
    unknown = [key for key in config if key not in spec.keywords]
    if unknown:
        raise TypeError(
            f"T.tf.{name}() has no keyword {unknown[0]!r}; it has {_listing(spec.keywords)}"
        )
    missing = [key for key in spec.required if key not in config]
    if missing:
        raise TypeError(f"T.tf.{name}() needs {missing[0]}=")
    keywords = {key: _keyword(key, value) for key, value in config.items() if value is not None}
    return [_operand(operand) for operand in operands], keywords


def _take_trailing(spec: OpSpec, operands: list[Any], config: dict[str, Any]) -> None:
    """Moves what stands behind the operands to its keywords."""
    if not spec.trailing:
        return
    blocks = 0
    while blocks < min(len(operands), len(spec.args)) and _is_block(operands[blocks]):
        blocks += 1
    behind = operands[blocks:]
    keywords = [key for key in spec.trailing if key not in config]
    if len(behind) <= len(keywords):
        config.update(zip(keywords, behind, strict=False))
        del operands[blocks:]


def _is_block(value: Any) -> bool:
    return bool(is_buffer_var(value)) or isinstance(value, TensorRegion | TensorLoad)


def _listing(names: tuple[str, ...]) -> str:
    return ", ".join(names) if names else "no operands"


def _operand(value: Any) -> Any:
    if is_buffer_var(value):
        return value[tuple(slice(None) for _ in value.ty.shape)]
    if isinstance(value, TensorLoad):
        return value.source[tuple(slice(index, index + 1) for index in value.indices)]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number_imm(value)
    return value


def _keyword(key: str, value: Any) -> Any:
    if key in _FLOATS and isinstance(value, int | float):
        value = float(value)
        return value if math.isfinite(value) and abs(value) <= F32_MAX else float_imm(value)
    return list(value) if isinstance(value, tuple) else value


def number_imm(value: float) -> FloatImm | IntImm:
    """An immediate: float32, or int32 where float32 does not have the number."""
    whole = int(value) if math.isfinite(value) else 0
    if value == whole and abs(whole) > 1 << 24 and -(1 << 31) <= whole < 1 << 31:
        return IntImm("int32", whole)
    return float_imm(float(value))


def float_imm(value: float) -> FloatImm:
    """A float32 immediate; ValueError where a finite value overflows."""
    if math.isfinite(value) and abs(value) > F32_MAX:
        raise ValueError(f"the constant {value!r} overflows float32")
    return FloatImm("float32", value)
