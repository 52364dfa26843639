"""Functions of each element, and of pairs of elements."""

from __future__ import annotations

from math import erf

import numpy as np
from tvm import relax, te, topi

from operator_cases.case import (
    Case,
    above_one,
    halves,
    integers,
    positive,
    relax_cases,
    special,
    topi_cases,
    unit,
)

_erf = np.vectorize(erf)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _gelu(x):
    return x * (1 + _erf(x / np.sqrt(2))) / 2


def _selu(x):
    return 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * (np.exp(x) - 1))


MATH = topi_cases(
    identity=(lambda o: topi.identity(o.matrix()), lambda x: x),
    negative=(lambda o: topi.negative(o.matrix()), np.negative),
    abs=(lambda o: topi.abs(o.matrix()), np.abs),
    sign=(lambda o: topi.sign(o.matrix(of=halves)), np.sign),
    exp=(lambda o: topi.exp(o.matrix()), np.exp),
    log=(lambda o: topi.log(o.matrix(of=positive)), np.log),
    log2=(lambda o: topi.log2(o.matrix(of=positive)), np.log2),
    log10=(lambda o: topi.log10(o.matrix(of=positive)), np.log10),
    sqrt=(lambda o: topi.sqrt(o.matrix(of=positive)), np.sqrt),
    rsqrt=(lambda o: topi.rsqrt(o.matrix(of=positive)), lambda x: 1 / np.sqrt(x)),
    sin=(lambda o: topi.sin(o.matrix()), np.sin),
    cos=(lambda o: topi.cos(o.matrix()), np.cos),
    tan=(lambda o: topi.tan(o.matrix(of=unit)), np.tan),
    asin=(lambda o: topi.asin(o.matrix(of=unit)), np.arcsin),
    acos=(lambda o: topi.acos(o.matrix(of=unit)), np.arccos),
    atan=(lambda o: topi.atan(o.matrix()), np.arctan),
    sinh=(lambda o: topi.sinh(o.matrix()), np.sinh),
    cosh=(lambda o: topi.cosh(o.matrix()), np.cosh),
    tanh=(lambda o: topi.tanh(o.matrix()), np.tanh),
    asinh=(lambda o: topi.asinh(o.matrix()), np.arcsinh),
    acosh=(lambda o: topi.acosh(o.matrix(of=above_one)), np.arccosh),
    atanh=(lambda o: topi.atanh(o.matrix(of=unit)), np.arctanh),
    erf=(lambda o: topi.erf(o.matrix()), _erf),
    sigmoid=(lambda o: topi.sigmoid(o.matrix()), _sigmoid),
    floor=(lambda o: topi.floor(o.matrix(of=halves)), np.floor),
    ceil=(lambda o: topi.ceil(o.matrix(of=halves)), np.ceil),
    trunc=(lambda o: topi.trunc(o.matrix(of=halves)), np.trunc),
    round=(lambda o: topi.round(o.matrix(of=halves)), np.round),
    fast_exp=lambda o: topi.fast_exp(o.matrix()),
    fast_tanh=lambda o: topi.fast_tanh(o.matrix()),
    fast_erf=lambda o: topi.fast_erf(o.matrix()),
    isnan=(lambda o: topi.isnan(o.matrix(of=special)), np.isnan),
    isinf=(lambda o: topi.isinf(o.matrix(of=special)), np.isinf),
    isfinite=(lambda o: topi.isfinite(o.matrix(of=special)), np.isfinite),
    clip=(lambda o: topi.clip(o.matrix(), -0.5, 0.75), lambda x: np.clip(x, -0.5, 0.75)),
    square=(lambda o: topi.power(o.matrix(), 2.0), np.square),
    cube=(lambda o: topi.power(o.matrix(), 3.0), lambda x: x**3),
    exp_vector=(lambda o: topi.exp(o(o.n)), np.exp),
    exp_rank_3=(lambda o: topi.exp(o.line()), np.exp),
    exp_rank_4=(lambda o: topi.exp(o.image()), np.exp),
    exp_rank_5=(lambda o: topi.exp(o.volume()), np.exp),
    polynomial=(
        lambda o: te.compute((o.m, o.n), _polynomial(o.matrix()), "P"),
        lambda x: (x * 0.5 - 1) * x + 2,
    ),
)


def _polynomial(x):
    return lambda i, j: (x[i, j] * 0.5 - 1.0) * x[i, j] + 2.0


ACTIVATIONS = {
    **topi_cases(
        relu=(lambda o: topi.nn.relu(o.matrix()), lambda x: np.maximum(x, 0)),
        leaky_relu=(
            lambda o: topi.nn.leaky_relu(o.matrix(), 0.1),
            lambda x: np.where(x > 0, x, 0.1 * x),
        ),
        prelu=(
            lambda o: topi.nn.prelu(o.image(), o(o.c)),
            lambda x, s: np.where(x > 0, x, s[:, None, None] * x),
        ),
        prelu_last=(
            lambda o: topi.nn.prelu(o.matrix(), o(o.n), 1),
            lambda x, s: np.where(x > 0, x, s * x),
        ),
        softplus=(lambda o: topi.nn.softplus(o.matrix()), lambda x: np.log1p(np.exp(x))),
        relu_rank_4=(lambda o: topi.nn.relu(o.image()), lambda x: np.maximum(x, 0)),
        sigmoid_rank_4=(lambda o: topi.sigmoid(o.image()), _sigmoid),
        scale_shift_nchw=(
            lambda o: topi.nn.scale_shift_nchw(o.image(), o(o.c), o(o.c)),
            lambda x, a, b: x * a[:, None, None] + b[:, None, None],
        ),
        scale_shift_nhwc=(
            lambda o: topi.nn.scale_shift_nhwc(o.image_last(), o(o.c), o(o.c)),
            lambda x, a, b: x * a + b,
        ),
    ),
    **relax_cases(
        relu6=(lambda o: relax.op.nn.relu6(o.matrix()), lambda x: np.clip(x, 0, 6)),
        gelu=(lambda o: relax.op.nn.gelu(o.matrix()), _gelu),
        gelu_tanh=lambda o: relax.op.nn.gelu_tanh(o.matrix()),
        silu=(lambda o: relax.op.nn.silu(o.matrix()), lambda x: x * _sigmoid(x)),
        selu=Case(lambda o: relax.op.nn.selu(o.matrix()), _selu),
        gelu_rank_3=(lambda o: relax.op.nn.gelu(o.line()), _gelu),
    ),
}

BINARY = {
    **topi_cases(
        add=(lambda o: topi.add(o.matrix(), o.matrix()), np.add),
        subtract=(lambda o: topi.subtract(o.matrix(), o.matrix()), np.subtract),
        multiply=(lambda o: topi.multiply(o.matrix(), o.matrix()), np.multiply),
        divide=(lambda o: topi.divide(o.matrix(), o.matrix(of=positive)), np.divide),
        floor_divide=(
            lambda o: topi.floor_divide(o.matrix(of=halves), o.matrix(of=positive)),
            np.floor_divide,
        ),
        mod=(lambda o: topi.mod(o.matrix(of=positive), o.matrix(of=above_one)), np.fmod),
        floor_mod=(lambda o: topi.floor_mod(o.matrix(), o.matrix(of=above_one)), np.mod),
        maximum=(lambda o: topi.maximum(o.matrix(), o.matrix()), np.maximum),
        minimum=(lambda o: topi.minimum(o.matrix(), o.matrix()), np.minimum),
        power=Case(lambda o: topi.power(o.matrix(of=positive), o.matrix()), np.power, within=4),
        power_half=(lambda o: topi.power(o.matrix(of=positive), 0.5), np.sqrt),
        atan2=(lambda o: topi.atan2(o.matrix(), o.matrix()), np.arctan2),
        log_add_exp=(lambda o: topi.log_add_exp(o.matrix(), o.matrix()), np.logaddexp),
        elemwise_sum=(
            lambda o: topi.elemwise_sum([o.matrix(), o.matrix(), o.matrix()]),
            lambda a, b, c: a + b + c,
        ),
        add_row=(lambda o: topi.add(o.matrix(), o(o.n)), np.add),
        subtract_column=(lambda o: topi.subtract(o.matrix(), o(o.m, 1)), np.subtract),
        multiply_scalar=(lambda o: topi.multiply(o.matrix(), o(1)), np.multiply),
        divide_constant=(lambda o: topi.divide(o.matrix(), 3.0), lambda x: x / 3),
        row_and_column=(lambda o: topi.add(o(o.m, 1), o(1, o.n)), np.add),
        add_rank_4=(lambda o: topi.add(o.image(), o.image()), np.add),
        add_channel=(lambda o: topi.add(o.image(), o(o.c, 1, 1)), np.add),
        multiply_both_broadcast=(
            lambda o: topi.multiply(o(o.b, 1, o.h, 1), o(o.c, 1, o.w)),
            np.multiply,
        ),
        add_rank_5=(lambda o: topi.add(o.volume(), o(o.h, o.w)), np.add),
    ),
    **relax_cases(
        square=(lambda o: relax.op.square(o.matrix()), np.square),
        outer=(lambda o: relax.op.outer(o(o.m), o(o.n)), np.outer),
        masked_fill=(
            lambda o: relax.op.masked_fill(o.matrix(), o.matrix("bool"), relax.const(-2.0)),
            lambda x, mask: np.where(mask, -2, x),
        ),
    ),
}

COMPARISONS = topi_cases(
    equal=(lambda o: topi.equal(o.matrix(of=halves), o.matrix(of=halves)), np.equal),
    not_equal=(lambda o: topi.not_equal(o.matrix(of=halves), o.matrix(of=halves)), np.not_equal),
    less=(lambda o: topi.less(o.matrix(of=halves), o.matrix(of=halves)), np.less),
    less_equal=(lambda o: topi.less_equal(o.matrix(of=halves), o.matrix(of=halves)), np.less_equal),
    greater=(lambda o: topi.greater(o.matrix(of=halves), o.matrix(of=halves)), np.greater),
    greater_equal=(
        lambda o: topi.greater_equal(o.matrix(of=halves), o(o.n, of=halves)),
        np.greater_equal,
    ),
    logical_and=(
        lambda o: topi.logical_and(o.matrix("bool"), o.matrix("bool")),
        np.logical_and,
    ),
    logical_or=(lambda o: topi.logical_or(o.matrix("bool"), o.matrix("bool")), np.logical_or),
    logical_xor=(lambda o: topi.logical_xor(o.matrix("bool"), o.matrix("bool")), np.logical_xor),
    logical_not=(lambda o: topi.logical_not(o.matrix("bool")), np.logical_not),
    where=(
        lambda o: topi.where(o.matrix("bool"), o.matrix(), o.matrix()),
        np.where,
    ),
    where_broadcast=(
        lambda o: topi.where(o(o.m, 1, dtype="bool"), o.matrix(), o(o.n)),
        np.where,
    ),
    greater_as_float=(
        lambda o: topi.cast(topi.greater(o.matrix(of=halves), o.matrix(of=halves)), "float32"),
        np.greater,
    ),
    where_less=(
        lambda o: _smaller_or_negated(o.matrix(), o.matrix()),
        lambda x, y: np.where(x < y, x, -y),
    ),
)


def _smaller_or_negated(x, y):
    return topi.where(topi.less(x, y), x, topi.negative(y))


CASTS = topi_cases(
    float32_to_int32=(
        lambda o: topi.cast(o.matrix(of=halves), "int32"),
        lambda x: np.trunc(x).astype(np.int32),
    ),
    float32_to_int8=(
        lambda o: topi.cast(o.matrix(of=halves), "int8"),
        lambda x: np.trunc(x).astype(np.int8),
    ),
    float32_to_float16=lambda o: topi.cast(o.matrix(), "float16"),
    float32_to_bfloat16=lambda o: topi.cast(o.matrix(), "bfloat16"),
    float16_to_float32=(lambda o: topi.cast(o.matrix("float16"), "float32"), lambda x: x),
    bfloat16_to_float32=(lambda o: topi.cast(o.matrix("bfloat16"), "float32"), lambda x: x),
    int32_to_float32=(
        lambda o: topi.cast(o.matrix("int32", integers(-(2**24), 2**24)), "float32"),
        lambda x: x,
    ),
    int8_to_float32=(lambda o: topi.cast(o.matrix("int8"), "float32"), lambda x: x),
    int8_to_int32=(lambda o: topi.cast(o.matrix("int8"), "int32"), lambda x: x),
    int32_to_int8=(
        lambda o: topi.cast(o.matrix("int32", integers(-999, 999)), "int8"),
        lambda x: x.astype(np.int8),
    ),
    uint8_to_float32=(lambda o: topi.cast(o.matrix("uint8"), "float32"), lambda x: x),
    bool_to_float32=(lambda o: topi.cast(o.matrix("bool"), "float32"), lambda x: x),
    float32_to_bool=(lambda o: topi.cast(o.matrix(of=halves), "bool"), lambda x: x != 0),
)
