"""Rows 1 to 10, and 20: sums, products, maxima and minima over index tuples."""

from __future__ import annotations

import numpy as np
from operator_cases.case import positive
from tvm.script import tirx as T

from contractions.contraction import contraction, long_sum


def _one_longer(values):
    return np.append(values, 0)


@long_sum("1 column sums", lambda X: X.sum(0), (3, 5), (45, 67), (300, 500))
def column_sums(m, n):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((m, n), "float32"), Y: T.Buffer((n,), "float32")):
        for j, i in T.grid(n, m):
            with T.sblock("sum"):
                vj, vi = T.axis.remap("SR", [j, i])
                with T.init():
                    Y[vj] = T.float32(0)
                Y[vj] = Y[vj] + X[vi, vj]

    return kernel


@long_sum(
    "1 column sums", lambda X: _one_longer(X.sum(0)), (3, 5), (45, 67), (300, 500)
)  # fmt: skip
def one_longer_guarded(m, n):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((m, n), "float32"), Y: T.Buffer((n + 1,), "float32")):
        for j, i in T.grid(n + 1, m):
            with T.sblock("sum"):
                vj, vi = T.axis.remap("SR", [j, i])
                with T.init():
                    Y[vj] = T.float32(0)
                Y[vj] = Y[vj] + T.if_then_else(vj < n, X[vi, vj], T.float32(0))

    return kernel


@long_sum(
    "1 column sums", lambda X: _one_longer(X.sum(0)), (3, 5), (45, 67), (300, 500)
)  # fmt: skip
def one_longer_filled(m, n):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((m, n), "float32"), Y: T.Buffer((n + 1,), "float32")):
        for j in range(n + 1):
            with T.sblock("fill"):
                vj = T.axis.spatial(n + 1, j)
                Y[vj] = T.float32(0)
        for j, i in T.grid(n, m):
            with T.sblock("sum"):
                vj, vi = T.axis.remap("SR", [j, i])
                Y[vj] = Y[vj] + X[vi, vj]

    return kernel


@contraction("2 column maxima", lambda X: X.max(0), (3, 5), (45, 67), (300, 500))
def column_maxima(m, n):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((m, n), "float32"), Y: T.Buffer((n,), "float32")):
        for j, i in T.grid(n, m):
            with T.sblock("max"):
                vj, vi = T.axis.remap("SR", [j, i])
                with T.init():
                    Y[vj] = T.min_value("float32")
                Y[vj] = T.max(Y[vj], X[vi, vj])

    return kernel


@contraction(
    "2 column maxima", lambda X: _one_longer(X.max(0)), (3, 5), (45, 67), (300, 500)
)  # fmt: skip
def maxima_one_longer(m, n):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((m, n), "float32"), Y: T.Buffer((n + 1,), "float32")):
        M = T.sblock_alloc_buffer((n,), "float32")
        for j, i in T.grid(n, m):
            with T.sblock("max"):
                vj, vi = T.axis.remap("SR", [j, i])
                with T.init():
                    M[vj] = T.min_value("float32")
                M[vj] = T.max(M[vj], X[vi, vj])
        for j in range(n + 1):
            with T.sblock("extend"):
                vj = T.axis.spatial(n + 1, j)
                Y[vj] = T.if_then_else(vj < n, M[vj], T.float32(0))

    return kernel


@contraction(
    "4 minimum of all of rank 3", lambda X: X.min(keepdims=True).ravel(), (2, 3, 5), (5, 37, 41),
    (20, 70, 90),
)  # fmt: skip
def minimum_of_all(a, b, c):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((a, b, c), "float32"), Y: T.Buffer((1,), "float32")):
        for i, j, k in T.grid(a, b, c):
            with T.sblock("min"):
                vi, vj, vk = T.axis.remap("RRR", [i, j, k])
                with T.init():
                    Y[0] = T.max_value("float32")
                Y[0] = T.min(Y[0], X[vi, vj, vk])

    return kernel


def _near_one(rng, shape):
    return rng.uniform(0.92, 1.08, shape) * rng.choice([-1, 1], shape)


@long_sum(
    "5 product of all elements", lambda X: X.prod(keepdims=True).ravel(), (3, 5), (37, 41),
    (70, 90), of=lambda *_: {"X": _near_one},
)  # fmt: skip
def product_of_all(m, n):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((m, n), "float32"), Y: T.Buffer((1,), "float32")):
        for i, j in T.grid(m, n):
            with T.sblock("prod"):
                vi, vj = T.axis.remap("RR", [i, j])
                with T.init():
                    Y[0] = T.float32(1)
                Y[0] = Y[0] * X[vi, vj]

    return kernel


def _pair_maxima(X):
    return np.maximum.reduceat(X, np.arange(0, len(X), 2))


@contraction("7 maxima of pairs", _pair_maxima, (7,), (95,), (2001,))
def pairs_odd_kept(n):
    half = (n + 1) // 2

    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((n,), "float32"), Y: T.Buffer((half,), "float32")):
        for i, j in T.grid(half, 2):
            with T.sblock("max"):
                vi, vj = T.axis.remap("SR", [i, j])
                with T.init():
                    Y[vi] = T.min_value("float32")
                Y[vi] = T.max(
                    Y[vi],
                    T.if_then_else(2 * vi + vj < n, X[2 * vi + vj], T.min_value("float32")),
                )

    return kernel


@contraction("7 maxima of pairs", _pair_maxima, (7,), (95,), (2001,))
def pairs_predicated(n):
    half = (n + 1) // 2

    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((n,), "float32"), Y: T.Buffer((half,), "float32")):
        for i, j in T.grid(half, 2):
            with T.sblock("max"):
                T.where(2 * i + j < n)
                vi, vj = T.axis.remap("SR", [i, j])
                with T.init():
                    Y[vi] = T.min_value("float32")
                Y[vi] = T.max(Y[vi], X[2 * vi + vj])

    return kernel


@contraction("7 maxima of pairs", _pair_maxima, (8,), (96,), (2000,))
def pairs_even(n):
    half = n // 2

    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((n,), "float32"), Y: T.Buffer((half,), "float32")):
        for i, j in T.grid(half, 2):
            with T.sblock("max"):
                vi, vj = T.axis.remap("SR", [i, j])
                with T.init():
                    Y[vi] = T.min_value("float32")
                Y[vi] = T.max(Y[vi], X[2 * vi + vj])

    return kernel


@contraction(
    "8 mean of a window",
    lambda X: np.lib.stride_tricks.sliding_window_view(np.pad(X, 1), 3).mean(1),
    (7,), (95,), (2001,), within=2.0,
)  # fmt: skip
def windowed_mean(n):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((n,), "float32"), Y: T.Buffer((n,), "float32")):
        S = T.sblock_alloc_buffer((n,), "float32")
        for i, k in T.grid(n, 3):
            with T.sblock("sum"):
                vi, vk = T.axis.remap("SR", [i, k])
                with T.init():
                    S[vi] = T.float32(0)
                S[vi] = S[vi] + T.if_then_else(
                    vi + vk >= 1 and vi + vk < n + 1, X[vi + vk - 1], T.float32(0)
                )
        for i in range(n):
            with T.sblock("mean"):
                vi = T.axis.spatial(n, i)
                Y[vi] = S[vi] / T.float32(3)

    return kernel


@long_sum("9 running sums", lambda X: X.cumsum(), (7,), (45,), (500,))
def running_sum_guarded(n):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((n,), "float32"), Y: T.Buffer((n,), "float32")):
        for i, k in T.grid(n, n):
            with T.sblock("sum"):
                vi, vk = T.axis.remap("SR", [i, k])
                with T.init():
                    Y[vi] = T.float32(0)
                Y[vi] = Y[vi] + T.if_then_else(vk <= vi, X[vk], T.float32(0))

    return kernel


@long_sum("9 running sums", lambda X: X.cumsum(), (7,), (45,), (500,))
def running_sum_predicated(n):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((n,), "float32"), Y: T.Buffer((n,), "float32")):
        for i, k in T.grid(n, n):
            with T.sblock("sum"):
                T.where(k <= i)
                vi, vk = T.axis.remap("SR", [i, k])
                with T.init():
                    Y[vi] = T.float32(0)
                Y[vi] = Y[vi] + X[vk]

    return kernel


@long_sum("9 running sums", lambda X: X.cumsum(), (7,), (45,), (500,))
def running_sum_triangular(n):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((n,), "float32"), Y: T.Buffer((n,), "float32")):
        for i in range(n):
            for k in range(i + 1):
                with T.sblock("sum"):
                    vi = T.axis.spatial(n, i)
                    vk = T.axis.reduce(i + 1, k)
                    with T.init():
                        Y[vi] = T.float32(0)
                    Y[vi] = Y[vi] + X[vk]

    return kernel


def _even_rows(X):
    sums = X.sum(1)
    sums[1::2] = 0
    return sums


@long_sum("10 sums of even rows", _even_rows, (5, 4), (45, 67), (301, 200))
def even_rows_stored(m, n):
    half = (m + 1) // 2

    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((m, n), "float32"), Y: T.Buffer((m,), "float32")):
        for i in range(m):
            with T.sblock("fill"):
                vi = T.axis.spatial(m, i)
                Y[vi] = T.float32(0)
        for i, j in T.grid(half, n):
            with T.sblock("sum"):
                vi, vj = T.axis.remap("SR", [i, j])
                with T.init():
                    Y[2 * vi] = T.float32(0)
                Y[2 * vi] = Y[2 * vi] + X[2 * vi, vj]

    return kernel


@long_sum("10 sums of even rows", _even_rows, (5, 4), (45, 67), (301, 200))
def even_rows_guarded(m, n):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((m, n), "float32"), Y: T.Buffer((m,), "float32")):
        for i, j in T.grid(m, n):
            with T.sblock("sum"):
                vi, vj = T.axis.remap("SR", [i, j])
                with T.init():
                    Y[vi] = T.float32(0)
                Y[vi] = Y[vi] + T.if_then_else(vi % 2 == 0, X[vi, vj], T.float32(0))

    return kernel


@long_sum(
    "20 cross entropy", lambda P, Q: -(np.log(P) * Q).sum(1), (3, 5), (45, 67), (130, 200),
    of=lambda *_: {"P": positive},
)  # fmt: skip
def cross_entropy_of_rows(m, n):
    @T.prim_func(s_tir=True)
    def kernel(
        P: T.Buffer((m, n), "float32"),
        Q: T.Buffer((m, n), "float32"),
        Y: T.Buffer((m,), "float32"),
    ):
        S = T.sblock_alloc_buffer((m,), "float32")
        for i, j in T.grid(m, n):
            with T.sblock("sum"):
                vi, vj = T.axis.remap("SR", [i, j])
                with T.init():
                    S[vi] = T.float32(0)
                S[vi] = S[vi] + T.log(P[vi, vj]) * Q[vi, vj]
        for i in range(m):
            with T.sblock("negative"):
                vi = T.axis.spatial(m, i)
                Y[vi] = T.float32(0) - S[vi]

    return kernel


def _probable(rng, shape):
    return rng.uniform(0.01, 0.9, shape)


@long_sum(
    "20 cross entropy", lambda P, Q: -(np.log(P) * Q).sum(keepdims=True).ravel(), (3, 5), (45, 67),
    (130, 200), of=lambda *_: {"P": _probable, "Q": positive},
)  # fmt: skip
def cross_entropy_of_all(m, n):
    @T.prim_func(s_tir=True)
    def kernel(
        P: T.Buffer((m, n), "float32"),
        Q: T.Buffer((m, n), "float32"),
        Y: T.Buffer((1,), "float32"),
    ):
        for i, j in T.grid(m, n):
            with T.sblock("sum"):
                vi, vj = T.axis.remap("RR", [i, j])
                with T.init():
                    Y[0] = T.float32(0)
                Y[0] = Y[0] - T.log(P[vi, vj]) * Q[vi, vj]

    return kernel
