"""Loops whose bounds vary with those around them, and predicates: sums over a part of a box."""

from __future__ import annotations

import numpy as np
import pytest
from refused import block_func, check_refusal
from test_nests import agrees_with_llvm
from tvm.script import tirx as T

import tileflow_tvm as tf


@T.prim_func(s_tir=True)
def lower_product(
    L: T.Buffer((45, 45), "float32"), B: T.Buffer((45, 37), "float32"),
    C: T.Buffer((45, 37), "float32"),
):  # fmt: skip
    for i, j in T.grid(45, 37):
        for k in range(i + 1):
            with T.sblock("sum"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                with T.init():
                    C[vi, vj] = T.float32(0)
                C[vi, vj] = C[vi, vj] + L[vi, vk] * B[vk, vj]


@T.prim_func(s_tir=True)
def running_maximum(X: T.Buffer((9, 70), "float32"), Y: T.Buffer((9, 70), "float32")):
    for b, k in T.grid(9, 70):
        for i in range(k, 70):
            with T.sblock("most"):
                vb, vk, vi = T.axis.spatial(9, b), T.axis.reduce(70, k), T.axis.spatial(70, i)
                with T.init():
                    Y[vb, vi] = T.float32("-inf")
                Y[vb, vi] = T.max(Y[vb, vi], X[vb, vk])


@T.prim_func(s_tir=True)
def causal_convolution(
    X: T.Buffer((60,), "float32"), W: T.Buffer((60,), "float32"), Y: T.Buffer((60,), "float32")
):
    for i in range(60):
        for k in range(i + 1):
            with T.sblock("sum"):
                vi, vk = T.axis.remap("SR", [i, k])
                with T.init():
                    Y[vi] = T.float32(0)
                Y[vi] = Y[vi] + X[vi - vk] * W[vk]


@T.prim_func(s_tir=True)
def within_a_window(X: T.Buffer((60,), "float32"), Y: T.Buffer((60,), "float32")):
    for i in range(60):
        with T.sblock("fill"):
            vi = T.axis.spatial(60, i)
            Y[vi] = T.float32(1)
    for i, k in T.grid(60, 60):
        with T.sblock("sum"):
            T.where(k <= i and i - k < 7)
            vi, vk = T.axis.remap("SR", [i, k])
            Y[vi] = Y[vi] + X[vk]


@pytest.mark.parametrize(
    "func", [lower_product, running_maximum, causal_convolution, within_a_window]
)
def test_as_llvm(func, rng: np.random.Generator):
    agrees_with_llvm(func, rng)


def test_nothing_outside_of_the_triangle_enters(rng: np.random.Generator):
    lower, b = rng.standard_normal((45, 45), np.float32), rng.standard_normal((45, 37), np.float32)
    lower[np.triu_indices(45, 1)] = np.nan
    b[40] = np.inf
    got = tf.compile(lower_product)(lower, b)
    want = np.tril(lower.astype(np.float64))[:40, :40] @ b[:40]
    np.testing.assert_allclose(got[:40], want, rtol=1e-4, atol=1e-4)
    assert np.isinf(got[40:]).all()


REFUSED = {
    "a map": (block_func("C(4, 5)", """
for i in range(4):
    for j in range(i + 1):
        with T.sblock("c"):
            vi = T.axis.spatial(4, i)
            vj = T.axis.spatial(4, j)
            C[vi, vj] = T.float32(1)  # <--
"""), "block 'c' assigns its cells only where", "T.if_then_else"),
    "no first iteration": (block_func("A(4, 5), C(4)", """
for i in range(4):
    for j in range(i):
        with T.sblock("c"):  # <--
            vi = T.axis.spatial(4, i)
            vj = T.axis.reduce(3, j)
            with T.init():
                C[vi] = T.float32(0)
            C[vi] = C[vi] + A[vi, vj]
"""), "T.init of block 'c' does not run for every cell", "run at least once"),
    "by data": (block_func("A(4, 5), C(4)", """
for i in range(4):
    for j in range(T.Cast("int32", A[i, 0])):  # <--
        with T.sblock("c"):
            vi = T.axis.spatial(4, i)
            vj = T.axis.reduce(5, j)
            with T.init():
                C[vi] = T.float32(0)
            C[vi] = C[vi] + A[vi, vj]
"""), "of loop 'j' is not a constant", "sums of loop variables"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str):
    check_refusal(name, *REFUSED[name])
