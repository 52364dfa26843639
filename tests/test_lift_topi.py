"""Functions from TOPI, made by te.create_prim_func, against TVM's LLVM."""

from __future__ import annotations

import numpy as np
import pytest
from lifted import check_lift
from tvm import te, topi

M, K, N = 33, 17, 70


def _t(name, *shape):
    return te.placeholder(shape, "float32", name)


def _inputs():
    return _t("A", M, K), _t("B", M, K), _t("r", K), _t("c", M, 1), _t("s", 1)


A, B, R, C, S = _inputs()
W, WT = _t("W", K, N), _t("WT", N, K)

CASES = {
    "add": lambda: [A, B, topi.add(A, B)],
    "subtract_row": lambda: [A, R, topi.subtract(A, R)],
    "multiply_col": lambda: [A, C, topi.multiply(A, C)],
    "divide_scalar": lambda: [A, S, topi.divide(A, S)],
    "scalar_minus": lambda: [S, A, topi.subtract(S, A)],
    "maximum": lambda: [A, B, topi.maximum(A, B)],
    "minimum_const": lambda: [A, topi.minimum(A, 0.5)],
    "add_const": lambda: [A, topi.add(A, 1.5)],
    "rsub_const": lambda: [A, topi.subtract(te.const(1.0, "float32"), A)],
    "negative": lambda: [A, topi.negative(A)],
    "identity": lambda: [A, topi.identity(A)],
    "exp": lambda: [A, topi.exp(A)],
    "tanh": lambda: [A, topi.tanh(A)],
    "sigmoid": lambda: [A, topi.sigmoid(A)],
    "erf": lambda: [A, topi.erf(A)],
    "sin": lambda: [A, topi.sin(A)],
    "cos": lambda: [A, topi.cos(A)],
    "abs": lambda: [A, topi.abs(A)],
    "relu": lambda: [A, topi.nn.relu(A)],
    "relu_vector": lambda: [R, topi.nn.relu(R)],
    "leaky_relu": lambda: [A, topi.nn.leaky_relu(A, 0.1)],
    "clip": lambda: [A, topi.clip(A, -0.5, 0.75)],
    "full": lambda: [topi.full((M, K), "float32", 3.25)],
    "full_like": lambda: [A, topi.full_like(A, 2.0)],
    "power2": lambda: [A, topi.power(A, 2.0)],
    "power3": lambda: [A, topi.power(A, 3.0)],
    "cast": lambda: [A, topi.cast(A, "float32")],
    "transpose": lambda: [A, topi.transpose(A)],
    "expand_row": lambda: [R, topi.expand_dims(R, 0)],
    "expand_col": lambda: [R, topi.expand_dims(R, 1)],
    "squeeze_col": lambda: [C, topi.squeeze(C, 1)],
    "broadcast_row": lambda: [R, topi.broadcast_to(R, (M, K))],
    "broadcast_col": lambda: [C, topi.broadcast_to(C, (M, K))],
    "broadcast_scalar": lambda: [S, topi.broadcast_to(S, (M, K))],
    "reshape_row": lambda: [R, topi.reshape(R, (1, K))],
    "sum_cols": lambda: [A, topi.sum(A, axis=1)],
    "sum_rows": lambda: [A, topi.sum(A, axis=0)],
    "sum_cols_keep": lambda: [A, topi.sum(A, axis=1, keepdims=True)],
    "sum_rows_keep": lambda: [A, topi.sum(A, axis=0, keepdims=True)],
    "sum_all_keep": lambda: [A, topi.sum(A, axis=(0, 1), keepdims=True)],
    "sum_vector": lambda: [R, topi.sum(R, axis=0, keepdims=True)],
    "max_cols": lambda: [A, topi.max(A, axis=1)],
    "min_rows": lambda: [A, topi.min(A, axis=0)],
    "prod_cols": lambda: [A, topi.prod(A, axis=1)],
    "max_all_keep": lambda: [A, topi.max(A, axis=(0, 1), keepdims=True)],
    "softmax": lambda: [A, topi.nn.softmax(A)],
    "softmax_rows": lambda: [A, topi.nn.softmax(A, axis=0)],
    "log_softmax": lambda: [A, topi.nn.log_softmax(A)],
    "layer_norm": lambda: [A, R, *_norm(topi.nn.layer_norm, 2)],
    "rms_norm": lambda: [A, R, topi.nn.rms_norm(A, R, [1])],
    "matmul": lambda: [A, W, topi.matmul(A, W)],
    "matmul_tb": lambda: [A, WT, topi.matmul(A, WT, False, True)],
    "matmul_ta": lambda: [A, B, topi.matmul(A, B, True, False)],
    "matmul_tab": lambda: [W, B, topi.matmul(W, B, True, True)],
    "dense_bias": lambda: _dense(),
    "x_times_x": lambda: [A, topi.matmul(A, A, False, True)],
    "mse": lambda: [A, B, topi.sum(topi.power(topi.subtract(A, B), 2.0), axis=1)],
}


def _norm(norm, _n):
    beta = _t("beta", K)
    return [beta, norm(A, R, beta, [1])]


def _dense():
    bias = _t("bias", N)
    return [A, WT, bias, topi.nn.dense(A, WT, bias)]


POSITIVE = {
    "log": lambda: [A, topi.log(A)],
    "sqrt": lambda: [A, topi.sqrt(A)],
    "rsqrt": lambda: [A, topi.rsqrt(A)],
    "divide": lambda: [A, B, topi.divide(A, B)],
    "reciprocal_power": lambda: [A, topi.power(A, -1.0)],
    "geometric": lambda: [A, topi.exp(topi.divide(topi.sum(topi.log(A), 1), float(K)))],
}


@pytest.mark.parametrize("name", CASES)
def test_a_topi_function_lifts_exactly(name: str, rng: np.random.Generator) -> None:
    check_lift(te.create_prim_func(CASES[name]()), rng)


@pytest.mark.parametrize("name", POSITIVE)
def test_a_topi_function_of_positive_numbers(name: str, rng: np.random.Generator) -> None:
    check_lift(te.create_prim_func(POSITIVE[name]()), rng, positive=True)


@pytest.mark.parametrize("index_dtype", ["int32", "int64"])
def test_index_types_do_not_matter(index_dtype: str, rng: np.random.Generator) -> None:
    from tvm import tirx

    a = te.placeholder([tirx.const(d, index_dtype) for d in (5, 7)], "float32", "A")
    check_lift(te.create_prim_func([a, topi.nn.softmax(a)]), rng)


@pytest.mark.parametrize(("m", "k", "n"), [
    (1, 1, 1), (1, 5, 7), (5, 1, 7), (5, 7, 1), (1, 1, 7), (1, 7, 1), (7, 1, 1), (2, 3, 4),
])  # fmt: skip
@pytest.mark.parametrize("transposed", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_unit_dimensions_of_a_product(m, k, n, transposed, rng: np.random.Generator) -> None:
    ta, tb = map(bool, transposed)
    lhs = _t("lhs", *((k, m) if ta else (m, k)))
    rhs = _t("rhs", *((n, k) if tb else (k, n)))
    bias = _t("bias", n)
    product = topi.matmul(lhs, rhs, ta, tb)
    program = check_lift(
        te.create_prim_func([lhs, rhs, bias, topi.nn.relu(topi.add(product, bias))]), rng
    )
    assert [op.name for op in program.ops].count("gemm") == 1


@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 6), (6, 1), (5, 4)])
@pytest.mark.parametrize("keepdims", [True, False])
@pytest.mark.parametrize("axis", [0, 1])
def test_unit_dimensions_of_a_normalisation(m, n, keepdims, axis, rng: np.random.Generator) -> None:
    x = _t("x", m, n)
    total = topi.sum(x, axis=axis, keepdims=True)
    peak = topi.max(x, axis=axis, keepdims=keepdims)
    scaled = topi.subtract(x, topi.divide(total, 3.0))
    check_lift(te.create_prim_func([x, topi.exp(scaled), peak]), rng)
