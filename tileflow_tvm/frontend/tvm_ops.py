"""TVM's own tile primitives (`T.tile.*`) in terms of `tile_ir.Op`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tileflow_tvm.errors import KernelError, Loc
from tileflow_tvm.frontend.ops import OPS
from tileflow_tvm.frontend.tile_ir import Clear, Op, Region

TVM_PREFIX = "tirx.tile."


@dataclass(frozen=True)
class TvmCall:
    """A call of T.tile.<name>; operands are regions, floats, flags, lists or None."""

    name: str
    operands: list[Any]
    loc: Loc | None

    def region(self, index: int) -> Region:
        operand = self.operands[index]
        if not isinstance(operand, Region):
            raise self.error(f"operand {index + 1} is not a buffer", hint="pass a block or a slice")
        return operand

    def number(self, index: int, default: float, what: str) -> float:
        operand = self.operands[index] if index < len(self.operands) else None
        if operand is None:
            return default
        if isinstance(operand, Region):
            raise self.error(f"{what} is a buffer", hint=f"{what} has to be a constant here")
        return float(operand)

    def error(self, what: str, hint: str = "") -> KernelError:
        return KernelError(f"T.tile.{self.name}: {what}", loc=self.loc, hint=hint)

    def op(self, name: str, dst: Region, *srcs: Any, **fields: Any) -> Op:
        return Op(name, dst, srcs, engine=OPS[name].engine, loc=self.loc, **fields)


def _copy(call: TvmCall) -> list[Op]:
    return [call.op("copy", call.region(0), call.region(1))]


def _cast(call: TvmCall) -> list[Op]:
    dst, src = call.region(0), call.region(1)
    same = dst.buffer.dtype == src.buffer.dtype
    return [call.op("copy" if same else "cast", dst, src)]


def _zero(call: TvmCall) -> list[Op]:
    return [call.op("fill", call.region(0), value=0.0)]


def _fill(call: TvmCall) -> list[Op]:
    return [call.op("fill", call.region(0), value=call.number(1, 0.0, "the value"))]


def _binary(func: str) -> Callable[[TvmCall], list[Op]]:
    def read(call: TvmCall) -> list[Op]:
        return [call.op("binary", call.region(0), *call.operands[1:3], func=func)]

    return read


def _unary(func: str) -> Callable[[TvmCall], list[Op]]:
    """dst = func(src * scale + bias), both constants; TVM writes (dst, src, bias, scale)."""

    def read(call: TvmCall) -> list[Op]:
        bias, scale = call.number(2, -0.0, "bias"), call.number(3, 1.0, "scale")
        return [call.op("unary", call.region(0), call.region(1), func=func, scale=scale, bias=bias)]

    return read


def _fma(call: TvmCall) -> list[Op]:
    if any(isinstance(operand, Region) for operand in call.operands[2:4]):
        raise call.error(
            "scale and bias are constants on this machine",
            hint="T.tf.mul and T.tf.add take blocks and vectors, with two roundings",
        )
    scale, bias = call.number(2, 1.0, "scale"), call.number(3, -0.0, "bias")
    return [
        call.op("unary", call.region(0), call.region(1), func="identity", scale=scale, bias=bias)
    ]


def _reduce(func: str) -> Callable[[TvmCall], list[Op]]:
    def read(call: TvmCall) -> list[Op]:
        src, axes, accumulate = call.region(1), call.operands[2], bool(call.operands[3])
        axes = axes if isinstance(axes, list) else [int(axes)]
        rank = len(src.shape)
        if len(axes) != 1 or rank > 2 or not -rank <= axes[0] < rank:
            raise call.error(f"axes {axes} of a block of rank {rank}",
                             hint="a reduction runs along one axis of a matrix; two of them, one "
                                  "after the other, reduce both")  # fmt: skip
        axis = axis_name(axes[0], rank)
        clear = Clear(always=not accumulate)
        return [call.op("reduce", call.region(0), src, func=func, axis=axis, clear=clear)]

    return read


def axis_name(axis: int, rank: int) -> str:
    """The ISA's name: the last axis runs along the columns; a vector is one row."""
    return "cols" if axis % rank == rank - 1 else "rows"


def _gemm(call: TvmCall) -> list[Op]:
    """D = alpha * A @ B + beta * C: only what a multiply-accumulate does exactly."""
    out, lhs, rhs = call.region(0), call.region(1), call.region(2)
    alpha, beta = call.number(6, 1.0, "alpha"), call.number(7, 0.0, "beta")
    if alpha != 1.0 or beta not in (0.0, 1.0):
        raise call.error(
            f"alpha={alpha:g}, beta={beta:g}",
            hint="alpha is 1 and beta is 0 (overwrite) or 1 (accumulate); scale with T.tf.mul",
        )
    gemm = call.op(
        "gemm", out, lhs, rhs, clear=Clear(always=beta == 0.0),
        transpose_a=bool(call.operands[4]), transpose_b=bool(call.operands[5]),
    )  # fmt: skip
    if beta == 0.0:
        return [gemm]
    start = call.region(3)
    if start == out:
        return [gemm]
    if out.buffer in (lhs.buffer, rhs.buffer, start.buffer):
        raise call.error("D overlaps another operand than C",
                         hint="accumulate with C == D, or give D a buffer of its own")  # fmt: skip
    return [call.op("copy", out, start), gemm]


TVM_OPS: dict[str, Callable[[TvmCall], list[Op]]] = {
    "copy": _copy,
    "cast": _cast,
    "zero": _zero,
    "fill": _fill,
    "memset": _fill,
    "gemm": _gemm,
    "add": _binary("add"),
    "sub": _binary("sub"),
    "mul": _binary("mul"),
    "fdiv": _binary("div"),
    "maximum": _binary("max"),
    "minimum": _binary("min"),
    "exp": _unary("exp"),
    "sqrt": _unary("sqrt"),
    "reciprocal": _unary("reciprocal"),
    "fma": _fma,
    "silu": _unary("silu"),
    "sum": _reduce("sum"),
    "max": _reduce("max"),
    "min": _reduce("min"),
}
"""TVM's primitive -> how it is read."""
