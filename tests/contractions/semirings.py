"""Row 6: the least of sums, and products in the other semirings of `exec.gemm`."""

from __future__ import annotations

import numpy as np
from tvm.script import tirx as T

from contractions.contraction import contraction

_ROW = "6 min-plus product"
_MATRICES = (3, 4, 5), (37, 35, 41), (130, 300, 100)


@contraction(
    _ROW, lambda A, B: (A[:, :, None] + B[None]).min(1), (3, 4, 5), (37, 35, 41), (130, 70, 100)
)
def min_plus(m, k, n):
    @T.prim_func(s_tir=True)
    def kernel(
        A: T.Buffer((m, k), "float32"),
        B: T.Buffer((k, n), "float32"),
        C: T.Buffer((m, n), "float32"),
    ):
        for i, j, p in T.grid(m, n, k):
            with T.sblock("min_plus"):
                vi, vj, vp = T.axis.remap("SSR", [i, j, p])
                with T.init():
                    C[vi, vj] = T.max_value("float32")
                C[vi, vj] = T.min(C[vi, vj], A[vi, vp] + B[vp, vj])

    return kernel


@contraction(_ROW, lambda A, B: (A[:, :, None] + B.T[None]).max(1), *_MATRICES)
def max_plus_right_transposed(m, k, n):
    @T.prim_func(s_tir=True)
    def kernel(
        A: T.Buffer((m, k), "float32"),
        B: T.Buffer((n, k), "float32"),
        C: T.Buffer((m, n), "float32"),
    ):
        for i, j, p in T.grid(m, n, k):
            with T.sblock("max_plus"):
                vi, vj, vp = T.axis.remap("SSR", [i, j, p])
                with T.init():
                    C[vi, vj] = T.float32("-inf")
                C[vi, vj] = T.max(C[vi, vj], A[vi, vp] + B[vj, vp])

    return kernel


@contraction(
    _ROW, lambda A, B: (A[..., None] * B[:, None]).max(2), (2, 3, 4, 5), (3, 37, 45, 41),
    (2, 70, 80, 90),
)  # fmt: skip
def batched_max_times(b, m, k, n):
    @T.prim_func(s_tir=True)
    def kernel(
        A: T.Buffer((b, m, k), "float32"),
        B: T.Buffer((b, k, n), "float32"),
        C: T.Buffer((b, m, n), "float32"),
    ):
        for s, i, j, p in T.grid(b, m, n, k):
            with T.sblock("max_times"):
                vs, vi, vj, vp = T.axis.remap("SSSR", [s, i, j, p])
                with T.init():
                    C[vs, vi, vj] = T.min_value("float32")
                C[vs, vi, vj] = T.max(C[vs, vi, vj], A[vs, vi, vp] * B[vs, vp, vj])

    return kernel


@contraction(_ROW, lambda D, A, B: np.minimum(D, (A[:, :, None] + B[None]).min(1)) * 2, *_MATRICES)
def shorter_paths_doubled(m, k, n):
    """A step of all-pairs shortest paths, with a map over its result."""

    @T.prim_func(s_tir=True)
    def kernel(
        D: T.Buffer((m, n), "float32"),
        A: T.Buffer((m, k), "float32"),
        B: T.Buffer((k, n), "float32"),
        C: T.Buffer((m, n), "float32"),
    ):
        E = T.sblock_alloc_buffer((m, n), "float32")
        for i, j, p in T.grid(m, n, k):
            with T.sblock("relax"):
                vi, vj, vp = T.axis.remap("SSR", [i, j, p])
                with T.init():
                    E[vi, vj] = D[vi, vj]
                E[vi, vj] = T.min(E[vi, vj], A[vi, vp] + B[vp, vj])
        for i, j in T.grid(m, n):
            with T.sblock("double"):
                vi, vj = T.axis.remap("SS", [i, j])
                C[vi, vj] = E[vi, vj] * T.float32(2)

    return kernel


@contraction(
    _ROW,
    lambda A, B: np.stack([(A[i : i + 3, :, None] + B).min((0, 1)) for i in range(len(A) - 2)]),
    (5, 3, 4), (41, 35, 37), (70, 40, 130),
)  # fmt: skip
def min_plus_of_windows(m, k, n):
    """Two axes are reduced, and rows overlap."""

    @T.prim_func(s_tir=True)
    def kernel(
        A: T.Buffer((m, k), "float32"),
        B: T.Buffer((3, k, n), "float32"),
        C: T.Buffer((m - 2, n), "float32"),
    ):
        for i, j, w, p in T.grid(m - 2, n, 3, k):
            with T.sblock("min_plus"):
                vi, vj, vw, vp = T.axis.remap("SSRR", [i, j, w, p])
                with T.init():
                    C[vi, vj] = T.float32("inf")
                C[vi, vj] = T.min(C[vi, vj], A[vi + vw, vp] + B[vw, vp, vj])

    return kernel
