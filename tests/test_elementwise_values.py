"""Choices, comparisons, rounding and integers at compute level, against TVM's LLVM, bit for bit."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import tvm
from tvm import te, tirx, topi

import tileflow_tvm as tf
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.legalize import legalize

SHAPE = (33, 70)
MACHINE = Machine.load("tileflow")


def each(function):
    return lambda *tensors: te.compute(
        tensors[0].shape, lambda *i: function(*(tensor(*i) for tensor in tensors)), name="each"
    )


F, N, B, C = "float32", "int32", "bfloat16", "int8"
CASES = {
    "sign": ([F], topi.sign),
    "floor": ([F], topi.floor),
    "ceil": ([F], topi.ceil),
    "trunc": ([F], topi.trunc),
    "round": ([F], topi.round),
    "floor_mod": ([F, F], topi.floor_mod),
    "greater": ([F, F], each(lambda a, b: (a > b).astype(F) + 1.0)),
    "greater_as_integer": ([F, F], each(lambda a, b: (a >= b).astype(N))),
    "relu_without_nan": ([F], each(lambda a: tirx.Select(a > 0, a, 0.0 * a + 1.0))),
    "any": ([F, F], each(lambda a, b: te.if_then_else(tirx.any(a > b, tirx.isnan(a)), a, b * 2.0))),
    "all": ([F, F], each(lambda a, b: tirx.Select(tirx.all(a > b, a < 3.0), a, b))),
    "not": ([F, F], each(lambda a, b: tirx.Select(tirx.Not(a == b), a, b + 1.0))),
    "between": ([F], each(lambda a: tirx.Select(a < 1, tirx.const(1.5, F), tirx.const(-2.5, F)))),
    "by_integer": ([N, F], each(lambda a, b: tirx.Select(a < 3, b, tirx.const(1.5, F)))),
    "both_types": ([N, F], each(lambda a, b: tirx.Select(tirx.all(a < 3, b > 0), b, b * 3.0))),
    "of_bfloat16": ([B, B], each(lambda a, b: tirx.Select(a < b, b, a))),
    "of_int8": ([C, C], each(lambda a, b: tirx.Select(a < b, b, a))),
    "add": ([N, N], topi.add),
    "subtract": ([N, N], topi.subtract),
    "multiply": ([N, N], topi.multiply),
    "maximum": ([N, N], topi.maximum),
    "clip": ([N], lambda a: topi.clip(a, -3, 5)),
    "abs": ([N], topi.abs),
    "negative": ([N], topi.negative),
    "sign_of_integers": ([N], topi.sign),
    "floor_divide": ([N, N], lambda a, b: topi.floor_divide(a, topi.maximum(b, 1))),
    "floor_mod_of_integers": ([N, N], lambda a, b: topi.floor_mod(a, topi.maximum(b, 1))),
    "divide": ([N, N], each(lambda a, b: tirx.truncdiv(a, tirx.max(b, 1)))),
    "truncmod": ([N, N], each(lambda a, b: tirx.truncmod(a, tirx.max(b, 1)))),
    "bits": ([N, N], each(lambda a, b: ((a & b) ^ 77) | (b << 3))),
    "shift_right": ([N], lambda a: topi.right_shift(a, 5)),
    "bitwise_not": ([N], topi.bitwise_not),
    "no_float": ([N], each(lambda a: a + 123456789)),
    "wraps": ([C, C], lambda a, b: topi.add(topi.multiply(a, b), b)),
    "minimum_of_int8": ([C, C], topi.minimum),
    "to_int8": ([N], lambda a: topi.cast(a, C)),
}  # fmt: skip


def random(dtype: str, rng: np.random.Generator) -> np.ndarray:
    if dtype == C:
        return rng.integers(-128, 128, SHAPE).astype(np.int8)
    if dtype == N:
        near = rng.integers(-4, 5, SHAPE)
        return np.where(rng.random(SHAPE) < 0.5, near, rng.integers(-(2**31), 2**31, SHAPE)).astype(
            np.int32
        )
    values = (rng.integers(-8, 9, SHAPE) / 2).astype(np.float32)
    values.ravel()[1::19] = -0.0
    if dtype == F:
        values.ravel()[::17] = np.nan
        values.ravel()[3::23] = np.inf
    return values.astype(getattr(ml_dtypes, dtype, dtype))


@pytest.mark.parametrize("name", CASES)
def test_as_llvm_computes_it(name: str, rng: np.random.Generator) -> None:
    dtypes, function = CASES[name]
    inputs = [te.placeholder(SHAPE, dtype, name="AB"[at]) for at, dtype in enumerate(dtypes)]
    result = function(*inputs)
    func = te.create_prim_func([*inputs, result])
    arrays = [random(dtype, rng) for dtype in dtypes]
    out = tvm.runtime.empty(SHAPE, str(result.dtype))
    tvm.compile(func, target="llvm")(*map(tvm.runtime.tensor, arrays), out)
    expected = out.numpy()
    np.testing.assert_array_equal(np.asarray(tf.compile(func)(*arrays)), expected)
    again = legalize(func, MACHINE)  # what is written means the same
    np.testing.assert_array_equal(np.asarray(tf.compile(again)(*arrays)), expected)
