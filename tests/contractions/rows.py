"""Rows 18 and 23: softmax and norms, several blocks each."""

from __future__ import annotations

import numpy as np
from operator_cases.case import positive
from tvm.script import tirx as T

from contractions.contraction import long_sum


def _softmax(X, axis=-1):
    e = np.exp(X - X.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


@long_sum("18 softmax", _softmax, (3, 5), (45, 67), (130, 200))
def softmax_of_rows(m, n):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((m, n), "float32"), Y: T.Buffer((m, n), "float32")):
        M = T.sblock_alloc_buffer((m,), "float32")
        E = T.sblock_alloc_buffer((m, n), "float32")
        S = T.sblock_alloc_buffer((m,), "float32")
        for i, j in T.grid(m, n):
            with T.sblock("max"):
                vi, vj = T.axis.remap("SR", [i, j])
                with T.init():
                    M[vi] = T.min_value("float32")
                M[vi] = T.max(M[vi], X[vi, vj])
        for i, j in T.grid(m, n):
            with T.sblock("exp"):
                vi, vj = T.axis.remap("SS", [i, j])
                E[vi, vj] = T.exp(X[vi, vj] - M[vi])
        for i, j in T.grid(m, n):
            with T.sblock("sum"):
                vi, vj = T.axis.remap("SR", [i, j])
                with T.init():
                    S[vi] = T.float32(0)
                S[vi] = S[vi] + E[vi, vj]
        for i, j in T.grid(m, n):
            with T.sblock("divide"):
                vi, vj = T.axis.remap("SS", [i, j])
                Y[vi, vj] = E[vi, vj] / S[vi]

    return kernel


_RANK_3 = (2, 3, 5), (3, 45, 37), (7, 50, 90)


@long_sum("18 softmax", _softmax, *_RANK_3)
def softmax_last_of_3(a, b, c):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((a, b, c), "float32"), Y: T.Buffer((a, b, c), "float32")):
        M = T.sblock_alloc_buffer((a, b), "float32")
        E = T.sblock_alloc_buffer((a, b, c), "float32")
        S = T.sblock_alloc_buffer((a, b), "float32")
        for i, j, k in T.grid(a, b, c):
            with T.sblock("max"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                with T.init():
                    M[vi, vj] = T.min_value("float32")
                M[vi, vj] = T.max(M[vi, vj], X[vi, vj, vk])
        for i, j, k in T.grid(a, b, c):
            with T.sblock("exp"):
                vi, vj, vk = T.axis.remap("SSS", [i, j, k])
                E[vi, vj, vk] = T.exp(X[vi, vj, vk] - M[vi, vj])
        for i, j, k in T.grid(a, b, c):
            with T.sblock("sum"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                with T.init():
                    S[vi, vj] = T.float32(0)
                S[vi, vj] = S[vi, vj] + E[vi, vj, vk]
        for i, j, k in T.grid(a, b, c):
            with T.sblock("divide"):
                vi, vj, vk = T.axis.remap("SSS", [i, j, k])
                Y[vi, vj, vk] = E[vi, vj, vk] / S[vi, vj]

    return kernel


@long_sum("18 softmax", lambda X: _softmax(X, 1), *_RANK_3)
def softmax_middle_of_3(a, b, c):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((a, b, c), "float32"), Y: T.Buffer((a, b, c), "float32")):
        M = T.sblock_alloc_buffer((a, c), "float32")
        E = T.sblock_alloc_buffer((a, b, c), "float32")
        S = T.sblock_alloc_buffer((a, c), "float32")
        for i, k, j in T.grid(a, c, b):
            with T.sblock("max"):
                vi, vk, vj = T.axis.remap("SSR", [i, k, j])
                with T.init():
                    M[vi, vk] = T.min_value("float32")
                M[vi, vk] = T.max(M[vi, vk], X[vi, vj, vk])
        for i, j, k in T.grid(a, b, c):
            with T.sblock("exp"):
                vi, vj, vk = T.axis.remap("SSS", [i, j, k])
                E[vi, vj, vk] = T.exp(X[vi, vj, vk] - M[vi, vk])
        for i, k, j in T.grid(a, c, b):
            with T.sblock("sum"):
                vi, vk, vj = T.axis.remap("SSR", [i, k, j])
                with T.init():
                    S[vi, vk] = T.float32(0)
                S[vi, vk] = S[vi, vk] + E[vi, vj, vk]
        for i, j, k in T.grid(a, b, c):
            with T.sblock("divide"):
                vi, vj, vk = T.axis.remap("SSS", [i, j, k])
                Y[vi, vj, vk] = E[vi, vj, vk] / S[vi, vk]

    return kernel


def _standard(X, axes):
    return (X - X.mean(axes, keepdims=True)) / np.sqrt(X.var(axes, keepdims=True) + 1e-5)


_ROWS = (3, 5), (45, 67), (130, 200)


@long_sum("23 norms", lambda X, g, b: _standard(X, 1) * g + b, *_ROWS)
def layer_norm(m, n):
    @T.prim_func(s_tir=True)
    def kernel(
        X: T.Buffer((m, n), "float32"),
        gamma: T.Buffer((n,), "float32"),
        beta: T.Buffer((n,), "float32"),
        Y: T.Buffer((m, n), "float32"),
    ):
        S = T.sblock_alloc_buffer((m,), "float32")
        D = T.sblock_alloc_buffer((m, n), "float32")
        V = T.sblock_alloc_buffer((m,), "float32")
        for i, j in T.grid(m, n):
            with T.sblock("sum"):
                vi, vj = T.axis.remap("SR", [i, j])
                with T.init():
                    S[vi] = T.float32(0)
                S[vi] = S[vi] + X[vi, vj]
        for i, j in T.grid(m, n):
            with T.sblock("centre"):
                vi, vj = T.axis.remap("SS", [i, j])
                D[vi, vj] = X[vi, vj] - S[vi] / T.float32(n)
        for i, j in T.grid(m, n):
            with T.sblock("squares"):
                vi, vj = T.axis.remap("SR", [i, j])
                with T.init():
                    V[vi] = T.float32(0)
                V[vi] = V[vi] + D[vi, vj] * D[vi, vj]
        for i, j in T.grid(m, n):
            with T.sblock("scale"):
                vi, vj = T.axis.remap("SS", [i, j])
                Y[vi, vj] = (
                    D[vi, vj] * T.rsqrt(V[vi] / T.float32(n) + T.float32(1e-5)) * gamma[vj]
                    + beta[vj]
                )

    return kernel


@long_sum(
    "23 norms", lambda X, g: X / np.sqrt((X * X).mean(1, keepdims=True) + 1e-5) * g, *_ROWS
)  # fmt: skip
def rms_norm(m, n):
    @T.prim_func(s_tir=True)
    def kernel(
        X: T.Buffer((m, n), "float32"),
        gamma: T.Buffer((n,), "float32"),
        Y: T.Buffer((m, n), "float32"),
    ):
        V = T.sblock_alloc_buffer((m,), "float32")
        for i, j in T.grid(m, n):
            with T.sblock("squares"):
                vi, vj = T.axis.remap("SR", [i, j])
                with T.init():
                    V[vi] = T.float32(0)
                V[vi] = V[vi] + X[vi, vj] * X[vi, vj]
        for i, j in T.grid(m, n):
            with T.sblock("scale"):
                vi, vj = T.axis.remap("SS", [i, j])
                Y[vi, vj] = X[vi, vj] * T.rsqrt(V[vi] / T.float32(n) + T.float32(1e-5)) * gamma[vj]

    return kernel


_IMAGES = (2, 2, 3, 5), (3, 5, 37, 41), (4, 8, 40, 50)


def _batch_norm(X, gamma, beta, mean, var):
    gamma, beta, mean, var = (v[:, None, None] for v in (gamma, beta, mean, var))
    return (X - mean) / np.sqrt(var + 1e-5) * gamma + beta


@long_sum("23 norms", _batch_norm, *_IMAGES, of=lambda *_: {"var": positive})
def batch_norm(b, c, h, w):
    @T.prim_func(s_tir=True)
    def kernel(
        X: T.Buffer((b, c, h, w), "float32"),
        gamma: T.Buffer((c,), "float32"),
        beta: T.Buffer((c,), "float32"),
        mean: T.Buffer((c,), "float32"),
        var: T.Buffer((c,), "float32"),
        Y: T.Buffer((b, c, h, w), "float32"),
    ):
        for n, k, y, x in T.grid(b, c, h, w):
            with T.sblock("norm"):
                vn, vc, vy, vx = T.axis.remap("SSSS", [n, k, y, x])
                Y[vn, vc, vy, vx] = (X[vn, vc, vy, vx] - mean[vc]) * T.rsqrt(
                    var[vc] + T.float32(1e-5)
                ) * gamma[vc] + beta[vc]

    return kernel


def _group_norm(X, gamma, beta):
    return _standard(X, (2, 3)) * gamma[..., None] + beta[..., None]


@long_sum("23 norms", _group_norm, (2, 2, 2, 5), (3, 2, 5, 67), (4, 4, 8, 200))
def group_norm(b, groups, c, w):
    """X is (b, groups, c, w): the channels of a group are a dimension of their own."""

    @T.prim_func(s_tir=True)
    def kernel(
        X: T.Buffer((b, groups, c, w), "float32"),
        gamma: T.Buffer((groups, c), "float32"),
        beta: T.Buffer((groups, c), "float32"),
        Y: T.Buffer((b, groups, c, w), "float32"),
    ):
        S = T.sblock_alloc_buffer((b, groups), "float32")
        V = T.sblock_alloc_buffer((b, groups), "float32")
        for n, g, k, x in T.grid(b, groups, c, w):
            with T.sblock("sum"):
                vn, vg, vk, vx = T.axis.remap("SSRR", [n, g, k, x])
                with T.init():
                    S[vn, vg] = T.float32(0)
                S[vn, vg] = S[vn, vg] + X[vn, vg, vk, vx] / T.float32(c * w)
        for n, g, k, x in T.grid(b, groups, c, w):
            with T.sblock("squares"):
                vn, vg, vk, vx = T.axis.remap("SSRR", [n, g, k, x])
                with T.init():
                    V[vn, vg] = T.float32(0)
                V[vn, vg] = V[vn, vg] + (X[vn, vg, vk, vx] - S[vn, vg]) * (
                    X[vn, vg, vk, vx] - S[vn, vg]
                )
        for n, g, k, x in T.grid(b, groups, c, w):
            with T.sblock("scale"):
                vn, vg, vk, vx = T.axis.remap("SSSS", [n, g, k, x])
                Y[vn, vg, vk, vx] = (X[vn, vg, vk, vx] - S[vn, vg]) * T.rsqrt(
                    V[vn, vg] / T.float32(c * w) + T.float32(1e-5)
                ) * gamma[vg, vk] + beta[vg, vk]

    return kernel
