"""Matrix products: C = A @ B, and with bias and ReLU fused into the epilogue.

Loop order: each block of C is finished before the next begins, so C is written once; A is read
ceil(N / block_n) times and B ceil(M / block_m) times.
"""

from __future__ import annotations

import numpy as np
from tvm.script import tirx as T
from tvm.tirx import PrimFunc

Block = tuple[int, int, int]
BLOCK: Block = (96, 96, 32)
"""Rows, columns and depth of a step. 36 KiB for C's block, 24 KiB for each stage of A and B."""


def gemm(m: int, n: int, k: int, block: Block = BLOCK) -> PrimFunc:
    """C[m,n] = sum_k A[m,k] * B[k,n].

    A is (m, k), B is (k, n), C is (m, n), all float32.
    """
    bm, bn, bk = block

    @T.prim_func
    def gemm(
        A: T.Buffer((m, k), "float32"),
        B: T.Buffer((k, n), "float32"),
        C: T.Buffer((m, n), "float32"),
    ):
        for i in range((m + bm - 1) // bm):
            for j in range((n + bn - 1) // bn):
                acc = T.alloc_buffer((bm, bn), "float32")
                for p in range((k + bk - 1) // bk):
                    a = T.alloc_buffer((bm, bk), "float32")
                    b = T.alloc_buffer((bk, bn), "float32")
                    T.tf.load(a, A[i * bm : i * bm + bm, p * bk : p * bk + bk])
                    T.tf.load(b, B[p * bk : p * bk + bk, j * bn : j * bn + bn])
                    T.tf.gemm(acc, a, b, clear=p == 0)
                T.tf.store(C[i * bm : i * bm + bm, j * bn : j * bn + bn], acc)

    return gemm


def gemm_reference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The oracle of `gemm`."""
    return a.astype(np.float64) @ b.astype(np.float64)


def gemm_bias_relu(m: int, n: int, k: int, block: Block = BLOCK) -> PrimFunc:
    """C[m,n] = max(0, bias[n] + sum_k A[m,k] * B[k,n]).

    A is (m, k), B is (k, n), bias is (n,), C is (m, n), all float32.
    """
    bm, bn, bk = block

    @T.prim_func
    def gemm_bias_relu(
        A: T.Buffer((m, k), "float32"),
        B: T.Buffer((k, n), "float32"),
        bias: T.Buffer((n,), "float32"),
        C: T.Buffer((m, n), "float32"),
    ):
        for i in range((m + bm - 1) // bm):
            for j in range((n + bn - 1) // bn):
                acc = T.alloc_buffer((bm, bn), "float32")
                row = T.alloc_buffer((bn,), "float32")
                T.tf.load(row, bias[j * bn : j * bn + bn])
                for p in range((k + bk - 1) // bk):
                    a = T.alloc_buffer((bm, bk), "float32")
                    b = T.alloc_buffer((bk, bn), "float32")
                    T.tf.load(a, A[i * bm : i * bm + bm, p * bk : p * bk + bk])
                    T.tf.load(b, B[p * bk : p * bk + bk, j * bn : j * bn + bn])
                    T.tf.gemm(acc, a, b, clear=p == 0)
                T.tf.add(acc, row)
                T.tf.relu(acc)
                T.tf.store(C[i * bm : i * bm + bm, j * bn : j * bn + bn], acc)

    return gemm_bias_relu


def gemm_bias_relu_reference(a: np.ndarray, b: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """The oracle of `gemm_bias_relu`."""
    return np.maximum(gemm_reference(a, b) + bias.astype(np.float64), 0.0)
