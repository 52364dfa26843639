"""Operators on integers, bool, float16 and bfloat16."""

from __future__ import annotations

import numpy as np
from tvm import topi

from operator_cases.case import Case, Family, distinct, integers, positive, topi_cases

_WIDE = integers(-(10**6), 10**6)
_NOT_ZERO = integers(1, 9)


def _for_every_type(dtypes: tuple[str, ...]) -> Family:
    """A few operators of each kind, for each type."""
    made: Family = {}
    for dtype in dtypes:
        cases = _cases_of(dtype)
        made |= {f"{name}_{dtype}": case for name, case in cases.items()}
    return made


def _cases_of(dtype: str) -> Family:
    return topi_cases(
        add=(lambda o: topi.add(o.matrix(dtype), o.matrix(dtype)), np.add),
        multiply_row=(lambda o: topi.multiply(o.matrix(dtype), o(o.n, dtype=dtype)), np.multiply),
        maximum=(lambda o: topi.maximum(o.matrix(dtype), o.matrix(dtype)), np.maximum),
        transpose=(lambda o: topi.transpose(o.matrix(dtype)), np.transpose),
        sum=Case(lambda o: topi.sum(o.matrix(dtype), axis=1), within=8),
        max=(lambda o: topi.max(o.matrix(dtype), axis=0), lambda x: x.max(0)),
        relu=(lambda o: topi.nn.relu(o.matrix(dtype)), lambda x: np.maximum(x, 0)),
    )


FLOATS = {
    **_for_every_type(("float16", "bfloat16")),
    **topi_cases(
        exp_float16=(lambda o: topi.exp(o.matrix("float16")), np.exp),
        exp_bfloat16=lambda o: topi.exp(o.matrix("bfloat16")),
        sigmoid_float16=lambda o: topi.sigmoid(o.matrix("float16")),
        tanh_float16=(lambda o: topi.tanh(o.matrix("float16")), np.tanh),
        sqrt_bfloat16=lambda o: topi.sqrt(o.matrix("bfloat16", positive)),
        softmax_float16=Case(lambda o: topi.nn.softmax(o.matrix("float16")), within=8),
        softmax_bfloat16=Case(lambda o: topi.nn.softmax(o.matrix("bfloat16")), within=8),
        layer_norm_float16=Case(
            lambda o: topi.nn.layer_norm(
                o.matrix("float16"), o(o.n, dtype="float16"), o(o.n, dtype="float16"), [1]
            ),
            within=8,
        ),
        divide_float16=lambda o: topi.divide(o.matrix("float16"), o.matrix("float16", positive)),
        add_float64=(lambda o: topi.add(o.matrix("float64"), o.matrix("float64")), np.add),
    ),
}

INTEGERS = {
    **_for_every_type(("int32", "int8")),
    **topi_cases(
        add_int64=(lambda o: topi.add(o.matrix("int64"), o.matrix("int64")), np.add),
        add_uint8=(lambda o: topi.add(o.matrix("uint8"), o.matrix("uint8")), np.add),
        subtract_int32=(
            lambda o: topi.subtract(o.matrix("int32", _WIDE), o.matrix("int32", _WIDE)),
            np.subtract,
        ),
        multiply_int32_wraps=(
            lambda o: topi.multiply(o.matrix("int32", _WIDE), o.matrix("int32", _WIDE)),
            np.multiply,
        ),
        floor_divide_int32=(
            lambda o: topi.floor_divide(o.matrix("int32", _WIDE), o.matrix("int32", _NOT_ZERO)),
            np.floor_divide,
        ),
        floor_mod_int32=(
            lambda o: topi.floor_mod(o.matrix("int32", _WIDE), o.matrix("int32", _NOT_ZERO)),
            np.mod,
        ),
        abs_int32=(lambda o: topi.abs(o.matrix("int32")), np.abs),
        negative_int32=(lambda o: topi.negative(o.matrix("int32")), np.negative),
        clip_int32=(lambda o: topi.clip(o.matrix("int32"), -3, 5), lambda x: np.clip(x, -3, 5)),
        bitwise_and_int32=(
            lambda o: topi.bitwise_and(o.matrix("int32"), o.matrix("int32")),
            np.bitwise_and,
        ),
        bitwise_not_int32=(lambda o: topi.bitwise_not(o.matrix("int32")), np.bitwise_not),
        left_shift_int32=(
            lambda o: topi.left_shift(o.matrix("int32"), o.matrix("int32", integers(0, 8))),
            np.left_shift,
        ),
        right_shift_int32=(
            lambda o: topi.right_shift(o.matrix("int32", _WIDE), o.matrix("int32", integers(0, 8))),
            np.right_shift,
        ),
        less_int32=(lambda o: topi.less(o.matrix("int32"), o.matrix("int32")), np.less),
        sum_wide_int32=(
            lambda o: topi.sum(o.matrix("int32", _WIDE), axis=1),
            lambda x: x.sum(1),
        ),
        min_int32=(lambda o: topi.min(o.matrix("int32", _WIDE), axis=1), lambda x: x.min(1)),
        argmax_int32=(
            lambda o: topi.argmax(o.matrix("int32", distinct), axis=1),
            lambda x: x.argmax(1),
        ),
        reshape_int8=(
            lambda o: topi.reshape(o.matrix("int8"), (o.n, o.m)),
            lambda x: x.reshape(x.shape[::-1]),
        ),
        where_int32=(
            lambda o: topi.where(o.matrix("bool"), o.matrix("int32"), o.matrix("int32")),
            np.where,
        ),
        pad_int8=(
            lambda o: topi.nn.pad(o.matrix("int8"), (1, 2), (0, 1)),
            lambda x: np.pad(x, ((1, 0), (2, 1))),
        ),
        quantize=lambda o: topi.cast(
            topi.clip(topi.round(topi.multiply(o.matrix(), 20.0)), -128, 127), "int8"
        ),
        dequantize=(
            lambda o: topi.multiply(topi.cast(o.matrix("int8"), "float32"), 0.05),
            lambda x: x * 0.05,
        ),
        transpose_bool=(lambda o: topi.transpose(o.matrix("bool")), np.transpose),
    ),
}
