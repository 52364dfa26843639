"""Conditions on several indices, and values computed from indices, at compute level."""

from __future__ import annotations

import numpy as np
import pytest
from test_nests import MACHINE, agrees_with_llvm, function, tensor
from tvm import te, tirx, topi

import tileflow_tvm as tf
from tileflow_tvm.frontend.read import read
from tileflow_tvm.frontend.write import write
from tileflow_tvm.passes.fuse import fuse
from tileflow_tvm.passes.lift import lift


def number(value: float):
    return tirx.const(value, "float32")


def index(form):
    return tirx.Cast("float32", form)


def below_the_diagonal():
    x = tensor(70, 90)
    return function(x, te.compute(
        (70, 90), lambda i, j: tirx.if_then_else(i >= j, x[i, j], number(-0.0))))  # fmt: skip


def either_of_two_tensors():
    x, y = tensor(70, 90), tensor(90, name="y")
    return function(x, y, te.compute((70, 90), lambda i, j: tirx.if_then_else(
        tirx.Or(i >= j + 3, i == 2), x[i, j], y[j])))  # fmt: skip


def another_diagonal():
    x = tensor(3, 40, 40)
    return function(x, te.compute((3, 40, 40), lambda b, i, j: tirx.if_then_else(
        i != j, x[b, i, j], number(2.5))))  # fmt: skip


def running_sum():
    x, k = tensor(70), te.reduce_axis((0, 70), name="k")
    return function(x, te.compute((70,), lambda i: te.sum(
        tirx.if_then_else(k <= i, x[k], number(0.0)), axis=k)))  # fmt: skip


def position_encoding():
    x = tensor(50, 40)

    def cell(i, j):
        angle = index(i) * te.exp(index(j // 2) * number(-0.2))
        return x[i, j] + tirx.if_then_else(j % 2 == 0, te.sin(angle), te.cos(angle))

    return function(x, te.compute((50, 40), cell))


def identity():
    x = tensor(30, 40)
    eye = te.compute((30, 40), lambda i, j: tirx.if_then_else(i == j, number(1.0), number(0.0)))
    return function(x, te.compute((30, 40), lambda i, j: x[i, j] - eye[i, j] * number(2.0)))


def lower_triangle():
    x = tensor(2, 40, 50)
    return function(x, topi.trilu(x, tirx.const(1, "int32"), False))


def arange():
    return function(topi.arange(number(2.0), number(30.0), number(0.5), "float32"))


def arange_of_integers():
    return function(te.compute((100,), lambda i: i * 3 - 7))


def causal_attention():
    q, k, v = (tensor(2, 40, 16, name=name) for name in "qkv")
    scores = topi.nn.batch_matmul(q, k)
    seen = te.compute((2, 40, 40), lambda b, i, j: tirx.if_then_else(
        i >= j, scores[b, i, j] * number(0.25), number(float("-inf"))))  # fmt: skip
    weights = topi.nn.softmax(seen, axis=-1)
    return function(q, k, v, topi.nn.batch_matmul(weights, v, transpose_b=False))


FUNCTIONS = (
    below_the_diagonal, either_of_two_tensors, another_diagonal, running_sum, position_encoding,
    identity, lower_triangle, arange, arange_of_integers, causal_attention,
)  # fmt: skip


@pytest.mark.parametrize("make", FUNCTIONS)
def test_as_llvm(make, rng: np.random.Generator):
    agrees_with_llvm(make(), rng)


@pytest.mark.parametrize("make", FUNCTIONS)
def test_a_fused_nest_prints_and_reads_back(make):
    program = fuse(lift(make(), MACHINE), MACHINE)
    text = write(program).script()
    assert write(read(write(program))).script() == text


def test_what_is_masked_does_not_enter_a_sum(rng: np.random.Generator):
    x = rng.standard_normal(70).astype(np.float32)
    x[50] = np.nan
    got = tf.compile(running_sum())(x)
    np.testing.assert_allclose(got[:50], np.cumsum(x[:50]), rtol=1e-4, atol=1e-5)
    assert np.isnan(got[50:]).all()
