"""Rows 16, 17, 24 and 25: what moves elements, as affine or data-dependent indices."""

from __future__ import annotations

import numpy as np
from operator_cases.case import integers
from tvm.script import tirx as T

from contractions.contraction import contraction

_RANK_3 = (2, 3, 4), (5, 37, 11), (20, 50, 30)


@contraction("16 reshape", np.ravel, *_RANK_3)
def flattened_by_store(a, b, c):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((a, b, c), "float32"), Y: T.Buffer((a * b * c,), "float32")):
        for i, j, k in T.grid(a, b, c):
            with T.sblock("copy"):
                vi, vj, vk = T.axis.remap("SSS", [i, j, k])
                Y[vi * (b * c) + vj * c + vk] = X[vi, vj, vk]

    return kernel


@contraction("16 reshape", np.ravel, *_RANK_3)
def flattened_by_load(a, b, c):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((a, b, c), "float32"), Y: T.Buffer((a * b * c,), "float32")):
        for i in range(a * b * c):
            with T.sblock("copy"):
                vi = T.axis.spatial(a * b * c, i)
                Y[vi] = X[vi // (b * c), vi // c % b, vi % c]

    return kernel


@contraction("16 reshape", lambda X: X.reshape(-1, 4), (3, 4), (37, 12), (90, 56))
def reshaped_by_4(m, n):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((m, n), "float32"), Y: T.Buffer((m * n // 4, 4), "float32")):
        for i, j in T.grid(m * n // 4, 4):
            with T.sblock("copy"):
                vi, vj = T.axis.remap("SS", [i, j])
                Y[vi, vj] = X[(4 * vi + vj) // n, (4 * vi + vj) % n]

    return kernel


_MATRIX = (3, 5), (45, 67), (300, 200)


@contraction("17 transpositions", np.transpose, *_MATRIX)
def transposed(m, n):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((m, n), "float32"), Y: T.Buffer((n, m), "float32")):
        for i, j in T.grid(n, m):
            with T.sblock("copy"):
                vi, vj = T.axis.remap("SS", [i, j])
                Y[vi, vj] = X[vj, vi]

    return kernel


@contraction("17 transpositions", lambda X: X.transpose(2, 0, 1), *_RANK_3)
def rotated_rank_3(a, b, c):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((a, b, c), "float32"), Y: T.Buffer((c, a, b), "float32")):
        for k, i, j in T.grid(c, a, b):
            with T.sblock("copy"):
                vk, vi, vj = T.axis.remap("SSS", [k, i, j])
                Y[vk, vi, vj] = X[vi, vj, vk]

    return kernel


@contraction("17 transpositions", lambda X: X.transpose(0, 2, 1), *_RANK_3)
def swapped_rank_3(a, b, c):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((a, b, c), "float32"), Y: T.Buffer((a, c, b), "float32")):
        for i, j, k in T.grid(a, b, c):
            with T.sblock("copy"):
                vi, vj, vk = T.axis.remap("SSS", [i, j, k])
                Y[vi, vk, vj] = X[vi, vj, vk]

    return kernel


_RANK_4 = (2, 3, 4, 5), (3, 5, 7, 37), (4, 12, 20, 30)


@contraction("17 transpositions", lambda X: X.transpose(0, 2, 3, 1), *_RANK_4)
def channels_last_rank_4(a, b, c, d):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((a, b, c, d), "float32"), Y: T.Buffer((a, c, d, b), "float32")):
        for i, k, m, j in T.grid(a, c, d, b):
            with T.sblock("copy"):
                vi, vk, vm, vj = T.axis.remap("SSSS", [i, k, m, j])
                Y[vi, vk, vm, vj] = X[vi, vj, vk, vm]

    return kernel


@contraction("17 transpositions", np.transpose, *_RANK_4)
def reversed_rank_4(a, b, c, d):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((a, b, c, d), "float32"), Y: T.Buffer((d, c, b, a), "float32")):
        for m, k, j, i in T.grid(d, c, b, a):
            with T.sblock("copy"):
                vm, vk, vj, vi = T.axis.remap("SSSS", [m, k, j, i])
                Y[vm, vk, vj, vi] = X[vi, vj, vk, vm]

    return kernel


_MOVES = "24 slices, joins, repetitions"


@contraction(_MOVES, lambda X: X[1:, 2:-1], (3, 5), (45, 67), (300, 200))
def sliced(m, n):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((m, n), "float32"), Y: T.Buffer((m - 1, n - 3), "float32")):
        for i, j in T.grid(m - 1, n - 3):
            with T.sblock("copy"):
                vi, vj = T.axis.remap("SS", [i, j])
                Y[vi, vj] = X[vi + 1, vj + 2]

    return kernel


@contraction(_MOVES, lambda X: X[1::2, ::3], *_MATRIX)
def sliced_strided(m, n):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((m, n), "float32"), Y: T.Buffer((m // 2, (n + 2) // 3), "float32")):
        for i, j in T.grid(m // 2, (n + 2) // 3):
            with T.sblock("copy"):
                vi, vj = T.axis.remap("SS", [i, j])
                Y[vi, vj] = X[2 * vi + 1, 3 * vj]

    return kernel


_JOINED = (3, 5, 2), (45, 67, 5), (200, 100, 70)


@contraction(_MOVES, lambda A, B: np.concatenate([A, B], 1), *_JOINED)
def joined_by_stores(m, n, more):
    @T.prim_func(s_tir=True)
    def kernel(
        A: T.Buffer((m, n), "float32"),
        B: T.Buffer((m, more), "float32"),
        Y: T.Buffer((m, n + more), "float32"),
    ):
        for i, j in T.grid(m, n):
            with T.sblock("left"):
                vi, vj = T.axis.remap("SS", [i, j])
                Y[vi, vj] = A[vi, vj]
        for i, j in T.grid(m, more):
            with T.sblock("right"):
                vi, vj = T.axis.remap("SS", [i, j])
                Y[vi, n + vj] = B[vi, vj]

    return kernel


@contraction(_MOVES, lambda A, B: np.concatenate([A, B], 0), *_JOINED)
def joined_by_choice(n, m, more):
    @T.prim_func(s_tir=True)
    def kernel(
        A: T.Buffer((m, n), "float32"),
        B: T.Buffer((more, n), "float32"),
        Y: T.Buffer((m + more, n), "float32"),
    ):
        for i, j in T.grid(m + more, n):
            with T.sblock("join"):
                vi, vj = T.axis.remap("SS", [i, j])
                Y[vi, vj] = T.if_then_else(vi < m, A[vi, vj], B[vi - m, vj])

    return kernel


@contraction(
    _MOVES, lambda X: np.pad(X, ((1, 2), (0, 3)), constant_values=-1.5), *_MATRIX
)  # fmt: skip
def padded(m, n):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((m, n), "float32"), Y: T.Buffer((m + 3, n + 3), "float32")):
        for i, j in T.grid(m + 3, n + 3):
            with T.sblock("pad"):
                vi, vj = T.axis.remap("SS", [i, j])
                Y[vi, vj] = T.if_then_else(
                    vi >= 1 and vi < m + 1 and vj < n, X[vi - 1, vj], T.float32(-1.5)
                )

    return kernel


@contraction(_MOVES, lambda X: X[::-1], *_MATRIX)
def flipped_rows(m, n):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((m, n), "float32"), Y: T.Buffer((m, n), "float32")):
        for i, j in T.grid(m, n):
            with T.sblock("flip"):
                vi, vj = T.axis.remap("SS", [i, j])
                Y[vi, vj] = X[m - 1 - vi, vj]

    return kernel


@contraction(_MOVES, lambda X: X[:, ::-1], *_MATRIX)
def flipped_columns(m, n):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((m, n), "float32"), Y: T.Buffer((m, n), "float32")):
        for i, j in T.grid(m, n):
            with T.sblock("flip"):
                vi, vj = T.axis.remap("SS", [i, j])
                Y[vi, n - 1 - vj] = X[vi, vj]

    return kernel


@contraction(_MOVES, lambda X: np.repeat(X[:, None], 3, 1), *_MATRIX)
def broadcast_middle(m, n):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((m, n), "float32"), Y: T.Buffer((m, 3, n), "float32")):
        for i, k, j in T.grid(m, 3, n):
            with T.sblock("broadcast"):
                vi, vk, vj = T.axis.remap("SSS", [i, k, j])
                Y[vi, vk, vj] = X[vi, vj]

    return kernel


@contraction(_MOVES, lambda X: np.broadcast_to(X, (7, *X.shape)), (5,), (67,), (400,))
def broadcast_rows(n):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((n,), "float32"), Y: T.Buffer((7, n), "float32")):
        for i, j in T.grid(7, n):
            with T.sblock("broadcast"):
                vi, vj = T.axis.remap("SS", [i, j])
                Y[vi, vj] = X[vj]

    return kernel


@contraction(_MOVES, lambda X: np.tile(X, (2, 3)), *_MATRIX)
def tiled(m, n):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((m, n), "float32"), Y: T.Buffer((2 * m, 3 * n), "float32")):
        for i, j in T.grid(2 * m, 3 * n):
            with T.sblock("tile"):
                vi, vj = T.axis.remap("SS", [i, j])
                Y[vi, vj] = X[vi % m, vj % n]

    return kernel


@contraction(_MOVES, lambda X: np.repeat(X, 3, 1), *_MATRIX)
def repeated(m, n):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((m, n), "float32"), Y: T.Buffer((m, 3 * n), "float32")):
        for i, j in T.grid(m, 3 * n):
            with T.sblock("repeat"):
                vi, vj = T.axis.remap("SS", [i, j])
                Y[vi, vj] = X[vi, vj // 3]

    return kernel


_INDEXED = (7, 5, 3), (45, 67, 37), (300, 100, 130)
_GATHERS = "25 gather, take, one-hot"


def _rows(m, *_):
    return {"index": integers(0, m)}


@contraction(_GATHERS, lambda X, index: X[index], *_INDEXED, of=_rows)
def gathered_rows(m, n, count):
    @T.prim_func(s_tir=True)
    def kernel(
        X: T.Buffer((m, n), "float32"),
        index: T.Buffer((count,), "int32"),
        Y: T.Buffer((count, n), "float32"),
    ):
        for i, j in T.grid(count, n):
            with T.sblock("gather"):
                vi, vj = T.axis.remap("SS", [i, j])
                Y[vi, vj] = X[index[vi], vj]

    return kernel


@contraction(
    _GATHERS, lambda X, index: X[:, index], *_INDEXED,
    of=lambda _, n, *__: {"index": integers(0, n)},
)  # fmt: skip
def taken_columns(m, n, count):
    @T.prim_func(s_tir=True)
    def kernel(
        X: T.Buffer((m, n), "float32"),
        index: T.Buffer((count,), "int32"),
        Y: T.Buffer((m, count), "float32"),
    ):
        for i, j in T.grid(m, count):
            with T.sblock("take"):
                vi, vj = T.axis.remap("SS", [i, j])
                Y[vi, vj] = X[vi, index[vj]]

    return kernel


@contraction(_GATHERS, lambda X, index: X[index], *_INDEXED, of=_rows)
def embedding(m, n, count):
    """Two samples of `count` words each."""

    @T.prim_func(s_tir=True)
    def kernel(
        X: T.Buffer((m, n), "float32"),
        index: T.Buffer((2, count), "int32"),
        Y: T.Buffer((2, count, n), "float32"),
    ):
        for b, i, j in T.grid(2, count, n):
            with T.sblock("gather"):
                vb, vi, vj = T.axis.remap("SSS", [b, i, j])
                Y[vb, vi, vj] = X[index[vb, vi], vj]

    return kernel


def _one_hot(index):
    return (index[:, None] == np.arange(index.max() + 1)).astype(float)


def _all_classes(n, count):
    """The largest of the indices is n - 1."""
    return {"index": lambda rng, _: np.append(rng.integers(0, n, count - 1), n - 1)}


@contraction(_GATHERS, _one_hot, (5, 3), (67, 37), (300, 130), of=_all_classes)
def one_hot(n, count):
    @T.prim_func(s_tir=True)
    def kernel(index: T.Buffer((count,), "int32"), Y: T.Buffer((count, n), "float32")):
        for i, j in T.grid(count, n):
            with T.sblock("one_hot"):
                vi, vj = T.axis.remap("SS", [i, j])
                Y[vi, vj] = T.if_then_else(index[vi] == vj, T.float32(1), T.float32(0))

    return kernel
