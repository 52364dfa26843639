"""Tensor-level programs executed on whole NumPy arrays: an oracle for `lift`, `fuse` and `tile`.

The meaning of an operation is that of `tile_ir.Op` and of `lift`'s docstring: a rank-1 tensor is
one row, except as the right operand of a gemm and as the result of a reduction along columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import elementwise_numpy
import numpy as np
from isa_interpreter import EMPTY, SEMIRING

from tileflow_tvm.frontend.tile_ir import Alloc, Buffer, Group, Op, Program, Region

_erf = np.vectorize(math.erf, otypes=[np.float64])

UNARY = {
    "identity": lambda x: x, "relu": lambda x: np.maximum(x, 0), "exp": np.exp, "log": np.log,
    "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x), "reciprocal": lambda x: 1 / x,
    "tanh": np.tanh, "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "abs": np.abs,
    "neg": np.negative, "sin": np.sin, "cos": np.cos, "erf": lambda x: _erf(x).astype(x.dtype),
    "gelu": lambda x: (x / 2 * (1 + _erf(x / math.sqrt(2)))).astype(x.dtype),
    "silu": lambda x: x / (1 + np.exp(-x)),
    **elementwise_numpy.UNARY,
}  # fmt: skip
BINARY = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "max": np.maximum, "min": np.minimum,
    **elementwise_numpy.BINARY,
}  # fmt: skip
REDUCE = {"sum": np.sum, "prod": np.prod, "max": np.max, "min": np.min}


def run_tensor_program(
    program: Program, inputs: Sequence[np.ndarray], dtype: type = np.float64
) -> list[np.ndarray]:
    """The "out" and "inout" parameters after running `program` on the "in" and "inout" ones,
    both in order of declaration. What has not been written is NaN."""
    given = iter(inputs)
    memory: dict[Buffer, np.ndarray] = {}
    for param, role in zip(program.params, program.roles, strict=True):
        memory[param] = np.full(param.shape, np.nan, dtype)
        if role != "out":
            memory[param][...] = next(given)
    assert next(given, None) is None, "too many inputs"
    with np.errstate(all="ignore"):
        _run(program.body, memory, dtype)
    return [
        memory[param]
        for param, role in zip(program.params, program.roles, strict=True)
        if role != "in"
    ]


def _run(body, memory, dtype) -> None:
    for stmt in body:
        if isinstance(stmt, Alloc):
            memory[stmt.buffer] = np.full(stmt.buffer.shape, np.nan, dtype)
        elif isinstance(stmt, Group):
            _run(stmt.body, memory, dtype)
        else:
            assert isinstance(stmt, Op), "not a tensor-level program"
            _execute(stmt, memory, dtype)


def _execute(op: Op, memory, dtype) -> None:
    assert op.dst is not None
    assert op.dst.is_whole, "not a tensor-level program"
    dst = memory[op.dst.buffer]
    srcs = []
    for src in op.srcs:
        if isinstance(src, Region):
            assert src.is_whole, "not a tensor-level program"
            assert src.buffer in memory, f"{src.buffer.name} is not allocated"
            srcs.append(memory[src.buffer])
        else:
            srcs.append(dtype(src))
    rows = _matrix(dst)
    if op.name == "gemm" and srcs[1].ndim == 1 and dst.ndim == 1:
        rows = dst.reshape(-1, 1)
    if op.name == "reduce":
        rows = dst.reshape((-1, 1) if op.axis == "cols" else (1, -1))
    result = _OPS[op.name](op, rows.shape, *srcs)
    old = None if op.clear.always else rows
    assert op.clear.always or op.clear.var is None, "not a tensor-level program"
    if old is not None:
        plus = SEMIRING[op.semiring][1] if op.name == "gemm" else _COMBINE[op.func]
        result = plus(old, result)
    assert result.shape == rows.shape, (op, result.shape, rows.shape)
    dst[...] = result.astype(dtype).reshape(dst.shape)


_COMBINE = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}


def _matrix(array: np.ndarray) -> np.ndarray:
    return array if array.ndim == 2 else array.reshape(1, -1)


def _gemm(op, _shape, lhs, rhs):
    lhs = _matrix(lhs)
    rhs = rhs if rhs.ndim == 2 else rhs.reshape(-1, 1)
    lhs, rhs = (lhs.T if op.transpose_a else lhs), (rhs.T if op.transpose_b else rhs)
    times, plus = SEMIRING[op.semiring]
    if plus is np.add:
        return lhs @ rhs
    return plus.reduce(times(lhs[:, :, None], rhs), axis=1, initial=EMPTY[plus])


def _unary(op, shape, src):
    src = _matrix(src)
    assert src.shape == shape, (src.shape, shape)
    if (op.scale, op.bias) != (1.0, 0.0):
        src = src * src.dtype.type(op.scale) + src.dtype.type(op.bias)
    return UNARY[op.func](src)


def _binary(op, shape, lhs, rhs):
    return BINARY[op.func](_operand(lhs, op.modes[0], shape), _operand(rhs, op.modes[1], shape))


def _operand(value, mode, shape):
    if mode == "imm":
        assert value.ndim == 0
        return np.broadcast_to(value, shape)
    if mode == "full":
        assert _matrix(value).shape == shape, (value.shape, shape)
        return _matrix(value)
    if mode == "row":
        assert value.shape in ((shape[1],), (1, shape[1])), (value.shape, shape)
        return np.broadcast_to(value.reshape(1, -1), shape)
    if mode == "col":
        assert value.shape in ((shape[0],), (shape[0], 1)), (value.shape, shape)
        return np.broadcast_to(value.reshape(-1, 1), shape)
    assert mode == "scalar"
    assert value.size == 1
    return np.broadcast_to(value.reshape(1, 1), shape)


def _reduce(op, _shape, src):
    axis = 1 if op.axis == "cols" else 0
    return REDUCE[op.func](_matrix(src), axis=axis, keepdims=True)


def _copy(op, shape, src):
    src = _matrix(src).T if op.transposed else _matrix(src)
    assert src.shape == shape, (src.shape, shape)
    return src


def _fill(op, shape):
    return np.full(shape, op.value)


_OPS = {
    "gemm": _gemm, "unary": _unary, "binary": _binary, "reduce": _reduce, "copy": _copy,
    "fill": _fill,
}  # fmt: skip
