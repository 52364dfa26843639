"""Rows 3, 19 and 21: matrix products, what follows them, and batches of them."""

from __future__ import annotations

import numpy as np
from tvm.script import tirx as T

from contractions.contraction import long_sum

_MATRICES = (3, 4, 5), (37, 45, 41), (200, 130, 170)
_BATCHES = (2, 3, 4, 5), (3, 37, 45, 41), (7, 80, 70, 90)


@long_sum("3 matrix product", np.matmul, *_MATRICES)
def matmul(m, k, n):
    @T.prim_func(s_tir=True)
    def kernel(
        A: T.Buffer((m, k), "float32"),
        B: T.Buffer((k, n), "float32"),
        C: T.Buffer((m, n), "float32"),
    ):
        for i, j, p in T.grid(m, n, k):
            with T.sblock("product"):
                vi, vj, vp = T.axis.remap("SSR", [i, j, p])
                with T.init():
                    C[vi, vj] = T.float32(0)
                C[vi, vj] = C[vi, vj] + A[vi, vp] * B[vp, vj]

    return kernel


@long_sum("19 product, bias, relu, residual", lambda A, B, b: np.maximum(A @ B + b, 0), *_MATRICES)
def bias_relu(m, k, n):
    @T.prim_func(s_tir=True)
    def kernel(
        A: T.Buffer((m, k), "float32"),
        B: T.Buffer((k, n), "float32"),
        bias: T.Buffer((n,), "float32"),
        Y: T.Buffer((m, n), "float32"),
    ):
        C = T.sblock_alloc_buffer((m, n), "float32")
        for i, j, p in T.grid(m, n, k):
            with T.sblock("product"):
                vi, vj, vp = T.axis.remap("SSR", [i, j, p])
                with T.init():
                    C[vi, vj] = T.float32(0)
                C[vi, vj] = C[vi, vj] + A[vi, vp] * B[vp, vj]
        for i, j in T.grid(m, n):
            with T.sblock("relu"):
                vi, vj = T.axis.remap("SS", [i, j])
                Y[vi, vj] = T.max(C[vi, vj] + bias[vj], T.float32(0))

    return kernel


@long_sum(
    "19 product, bias, relu, residual", lambda A, B, b, R: np.maximum(A @ B + b, 0) + R, *_MATRICES
)  # fmt: skip
def bias_relu_residual(m, k, n):
    @T.prim_func(s_tir=True)
    def kernel(
        A: T.Buffer((m, k), "float32"),
        B: T.Buffer((k, n), "float32"),
        bias: T.Buffer((n,), "float32"),
        R: T.Buffer((m, n), "float32"),
        Y: T.Buffer((m, n), "float32"),
    ):
        C = T.sblock_alloc_buffer((m, n), "float32")
        for i, j, p in T.grid(m, n, k):
            with T.sblock("product"):
                vi, vj, vp = T.axis.remap("SSR", [i, j, p])
                with T.init():
                    C[vi, vj] = bias[vj]
                C[vi, vj] = C[vi, vj] + A[vi, vp] * B[vp, vj]
        for i, j in T.grid(m, n):
            with T.sblock("residual"):
                vi, vj = T.axis.remap("SS", [i, j])
                Y[vi, vj] = T.max(C[vi, vj], T.float32(0)) + R[vi, vj]

    return kernel


@long_sum("21 batched products", np.matmul, *_BATCHES)
def batched(b, m, k, n):
    @T.prim_func(s_tir=True)
    def kernel(
        A: T.Buffer((b, m, k), "float32"),
        B: T.Buffer((b, k, n), "float32"),
        C: T.Buffer((b, m, n), "float32"),
    ):
        for s, i, j, p in T.grid(b, m, n, k):
            with T.sblock("product"):
                vs, vi, vj, vp = T.axis.remap("SSSR", [s, i, j, p])
                with T.init():
                    C[vs, vi, vj] = T.float32(0)
                C[vs, vi, vj] = C[vs, vi, vj] + A[vs, vi, vp] * B[vs, vp, vj]

    return kernel


@long_sum("21 batched products", lambda A, B: np.einsum("ski,skj->sij", A, B), *_BATCHES)
def batched_left_transposed(b, m, k, n):
    @T.prim_func(s_tir=True)
    def kernel(
        A: T.Buffer((b, k, m), "float32"),
        B: T.Buffer((b, k, n), "float32"),
        C: T.Buffer((b, m, n), "float32"),
    ):
        for s, i, j, p in T.grid(b, m, n, k):
            with T.sblock("product"):
                vs, vi, vj, vp = T.axis.remap("SSSR", [s, i, j, p])
                with T.init():
                    C[vs, vi, vj] = T.float32(0)
                C[vs, vi, vj] = C[vs, vi, vj] + A[vs, vp, vi] * B[vs, vp, vj]

    return kernel


@long_sum("21 batched products", lambda A, B: np.einsum("sik,sjk->sij", A, B), *_BATCHES)
def batched_right_transposed(b, m, k, n):
    @T.prim_func(s_tir=True)
    def kernel(
        A: T.Buffer((b, m, k), "float32"),
        B: T.Buffer((b, n, k), "float32"),
        C: T.Buffer((b, m, n), "float32"),
    ):
        for s, i, j, p in T.grid(b, m, n, k):
            with T.sblock("product"):
                vs, vi, vj, vp = T.axis.remap("SSSR", [s, i, j, p])
                with T.init():
                    C[vs, vi, vj] = T.float32(0)
                C[vs, vi, vj] = C[vs, vi, vj] + A[vs, vi, vp] * B[vs, vj, vp]

    return kernel


@long_sum("21 batched products", np.matmul, *_BATCHES)
def batched_one_left(b, m, k, n):
    @T.prim_func(s_tir=True)
    def kernel(
        A: T.Buffer((m, k), "float32"),
        B: T.Buffer((b, k, n), "float32"),
        C: T.Buffer((b, m, n), "float32"),
    ):
        for s, i, j, p in T.grid(b, m, n, k):
            with T.sblock("product"):
                vs, vi, vj, vp = T.axis.remap("SSSR", [s, i, j, p])
                with T.init():
                    C[vs, vi, vj] = T.float32(0)
                C[vs, vi, vj] = C[vs, vi, vj] + A[vi, vp] * B[vs, vp, vj]

    return kernel


@long_sum("21 batched products", np.matmul, *_BATCHES)
def batched_one_right(b, m, k, n):
    @T.prim_func(s_tir=True)
    def kernel(
        A: T.Buffer((b, m, k), "float32"),
        B: T.Buffer((k, n), "float32"),
        C: T.Buffer((b, m, n), "float32"),
    ):
        for s, i, j, p in T.grid(b, m, n, k):
            with T.sblock("product"):
                vs, vi, vj, vp = T.axis.remap("SSSR", [s, i, j, p])
                with T.init():
                    C[vs, vi, vj] = T.float32(0)
                C[vs, vi, vj] = C[vs, vi, vj] + A[vs, vi, vp] * B[vp, vj]

    return kernel
