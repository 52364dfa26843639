"""Matrix products of narrow types: bfloat16 summed in float32, int8 summed in int32.

The loops are those of `gemm`. Blocks of the operands take a half and a quarter of the SRAM that
float32 takes; the block of sums does not, and what is stored is cast once, from the finished sums.
"""

from __future__ import annotations

import numpy as np
from tvm.script import tirx as T
from tvm.tirx import PrimFunc

from tileflow_tvm.kernels.gemm import BLOCK, Block


def gemm_bf16(m: int, n: int, k: int, block: Block = BLOCK) -> PrimFunc:
    """C[m,n] = bfloat16(sum_k A[m,k] * B[k,n]), the sum in float32.

    A is (m, k), B is (k, n), C is (m, n), all bfloat16.
    """
    bm, bn, bk = block

    @T.prim_func
    def gemm_bf16(
        A: T.Buffer((m, k), "bfloat16"),
        B: T.Buffer((k, n), "bfloat16"),
        C: T.Buffer((m, n), "bfloat16"),
    ):
        for i in range((m + bm - 1) // bm):
            for j in range((n + bn - 1) // bn):
                acc = T.alloc_buffer((bm, bn), "float32")
                for p in range((k + bk - 1) // bk):
                    a = T.alloc_buffer((bm, bk), "bfloat16")
                    b = T.alloc_buffer((bk, bn), "bfloat16")
                    T.tf.load(a, A[i * bm : i * bm + bm, p * bk : p * bk + bk])
                    T.tf.load(b, B[p * bk : p * bk + bk, j * bn : j * bn + bn])
                    T.tf.gemm(acc, a, b, clear=p == 0)
                c = T.alloc_buffer((bm, bn), "bfloat16")
                T.tf.cast(c, acc)
                T.tf.store(C[i * bm : i * bm + bm, j * bn : j * bn + bn], c)

    return gemm_bf16


def gemm_bf16_reference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The oracle of `gemm_bf16`, not rounded to bfloat16."""
    return a.astype(np.float64) @ b.astype(np.float64)


def gemm_i8(m: int, n: int, k: int, scale: float, block: Block = BLOCK) -> PrimFunc:
    """C[m,n] = int8(scale * sum_k A[m,k] * B[k,n]), the sum exact in int32 (up to 2^31), the
    result rounded to the nearest even and saturated: a layer of a quantised network.

    A is (m, k), B is (k, n), C is (m, n), all int8.
    """
    bm, bn, bk = block

    @T.prim_func
    def gemm_i8(
        A: T.Buffer((m, k), "int8"),
        B: T.Buffer((k, n), "int8"),
        C: T.Buffer((m, n), "int8"),
    ):
        for i in range((m + bm - 1) // bm):
            for j in range((n + bn - 1) // bn):
                acc = T.alloc_buffer((bm, bn), "int32")
                for p in range((k + bk - 1) // bk):
                    a = T.alloc_buffer((bm, bk), "int8")
                    b = T.alloc_buffer((bk, bn), "int8")
                    T.tf.load(a, A[i * bm : i * bm + bm, p * bk : p * bk + bk])
                    T.tf.load(b, B[p * bk : p * bk + bk, j * bn : j * bn + bn])
                    T.tf.gemm(acc, a, b, clear=p == 0)
                c = T.alloc_buffer((bm, bn), "int8")
                T.tf.cast(c, acc, scale=scale)
                T.tf.store(C[i * bm : i * bm + bm, j * bn : j * bn + bn], c)

    return gemm_i8


def gemm_i8_reference(a: np.ndarray, b: np.ndarray, scale: float) -> np.ndarray:
    """The oracle of `gemm_i8`: exact sums, float32 from then on."""
    sums = (a.astype(np.int64) @ b.astype(np.int64)).astype(np.float32)
    return np.clip(np.rint(sums * np.float32(scale)), -128, 127).astype(np.int8)
