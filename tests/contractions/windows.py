"""Rows 14, 15 and 22: windows that overlap, indices that are halved, and pools."""

from __future__ import annotations

import numpy as np
from tvm.script import tirx as T

from contractions.contraction import contraction, long_sum


def _unpooled(X):
    out = np.zeros(2 * len(X) + 2)
    for i in range(4):
        out[i : i + 2 * len(X) : 2] += X
    return out


@contraction("14 overlapping unpool", _unpooled, (5,), (45,), (900,))
def unpool_scattered(n):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((n,), "float32"), Y: T.Buffer((2 * n + 2,), "float32")):
        for p in range(2 * n + 2):
            with T.sblock("fill"):
                vp = T.axis.spatial(2 * n + 2, p)
                Y[vp] = T.float32(0)
        for x, i in T.grid(n, 4):
            with T.sblock("add"):
                vx, vi = T.axis.remap("RR", [x, i])
                Y[2 * vx + vi] = Y[2 * vx + vi] + X[vx]

    return kernel


@contraction("14 overlapping unpool", _unpooled, (5,), (45,), (900,))
def unpool_gathered(n):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((n,), "float32"), Y: T.Buffer((2 * n + 2,), "float32")):
        for p, i in T.grid(2 * n + 2, 4):
            with T.sblock("add"):
                vp, vi = T.axis.remap("SR", [p, i])
                with T.init():
                    Y[vp] = T.float32(0)
                Y[vp] = Y[vp] + T.if_then_else(
                    vi <= vp and (vp - vi) % 2 == 0 and vp - vi < 2 * n,
                    X[(vp - vi) // 2],
                    T.float32(0),
                )

    return kernel


def _transposed(X, K):
    """X is (i, x), K is (i, o, k): out[o, 2 x + k] += X[i, x] K[i, o, k]."""
    out = np.zeros((K.shape[1], 2 * X.shape[1] + K.shape[2] - 2))
    for k in range(K.shape[2]):
        out[:, k : k + 2 * X.shape[1] - 1 : 2] += K[:, :, k].T @ X
    return out


@long_sum("14 overlapping unpool", _transposed, (3, 2, 5), (7, 37, 45), (20, 40, 150))
def conv1d_transposed(ci, co, w):
    """Stride 2, kernel 3: the zeros between the inputs are guarded off."""
    out = 2 * w + 1

    @T.prim_func(s_tir=True)
    def kernel(
        X: T.Buffer((ci, w), "float32"),
        K: T.Buffer((ci, co, 3), "float32"),
        Y: T.Buffer((co, out), "float32"),
    ):
        for o, p, i, k in T.grid(co, out, ci, 3):
            with T.sblock("conv"):
                vo, vp, vi, vk = T.axis.remap("SSRR", [o, p, i, k])
                with T.init():
                    Y[vo, vp] = T.float32(0)
                Y[vo, vp] = Y[vo, vp] + (
                    T.if_then_else(
                        vk <= vp and (vp - vk) % 2 == 0 and vp - vk < 2 * w,
                        X[vi, (vp - vk) // 2],
                        T.float32(0),
                    )
                    * K[vi, vo, vk]
                )

    return kernel


def _interleaved(X, K):
    wide = np.zeros(2 * len(X) - 1)
    wide[::2] = X
    return np.correlate(wide, K)


@contraction("15 sum over halved indices", _interleaved, (5,), (45,), (900,))
def zero_interleaved(n):
    """Y[i] = sum of X[(i + k) / 2] * K[k] over the k for which that is an integer."""
    out = 2 * n - 3

    @T.prim_func(s_tir=True)
    def kernel(
        X: T.Buffer((n,), "float32"),
        K: T.Buffer((3,), "float32"),
        Y: T.Buffer((out,), "float32"),
    ):
        for i, k in T.grid(out, 3):
            with T.sblock("sum"):
                vi, vk = T.axis.remap("SR", [i, k])
                with T.init():
                    Y[vi] = T.float32(0)
                Y[vi] = (
                    Y[vi]
                    + T.if_then_else((vi + vk) % 2 == 0, X[(vi + vk) // 2], T.float32(0)) * K[vk]
                )

    return kernel


_POOLED = (1, 2, 5, 7), (2, 3, 37, 41), (2, 8, 50, 70)


def _windows(X, value):
    """3 x 3 windows, stride 2, padding 1."""
    X = np.pad(X, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=value)
    return np.lib.stride_tricks.sliding_window_view(X, (3, 3), (2, 3))[:, :, ::2, ::2]


@contraction("22 pools", lambda X: _windows(X, -np.inf).max((4, 5)), *_POOLED)
def max_pool(b, c, h, w):
    oh, ow = (h - 1) // 2 + 1, (w - 1) // 2 + 1

    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((b, c, h, w), "float32"), Y: T.Buffer((b, c, oh, ow), "float32")):
        for n, o, y, x, p, q in T.grid(b, c, oh, ow, 3, 3):
            with T.sblock("max"):
                vn, vo, vy, vx, vp, vq = T.axis.remap("SSSSRR", [n, o, y, x, p, q])
                with T.init():
                    Y[vn, vo, vy, vx] = T.min_value("float32")
                Y[vn, vo, vy, vx] = T.max(
                    Y[vn, vo, vy, vx],
                    T.if_then_else(
                        2 * vy + vp >= 1
                        and 2 * vy + vp < h + 1
                        and 2 * vx + vq >= 1
                        and 2 * vx + vq < w + 1,
                        X[vn, vo, 2 * vy + vp - 1, 2 * vx + vq - 1],
                        T.min_value("float32"),
                    ),
                )

    return kernel


@contraction("22 pools", lambda X: _windows(X, 0).mean((4, 5)), *_POOLED, within=2.0)
def average_pool(b, c, h, w):
    oh, ow = (h - 1) // 2 + 1, (w - 1) // 2 + 1

    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((b, c, h, w), "float32"), Y: T.Buffer((b, c, oh, ow), "float32")):
        P = T.sblock_alloc_buffer((b, c, h + 2, w + 2), "float32")
        S = T.sblock_alloc_buffer((b, c, oh, ow), "float32")
        for n, o, y, x in T.grid(b, c, h + 2, w + 2):
            with T.sblock("pad"):
                vn, vo, vy, vx = T.axis.remap("SSSS", [n, o, y, x])
                P[vn, vo, vy, vx] = T.if_then_else(
                    vy >= 1 and vy < h + 1 and vx >= 1 and vx < w + 1,
                    X[vn, vo, vy - 1, vx - 1],
                    T.float32(0),
                )
        for n, o, y, x, p, q in T.grid(b, c, oh, ow, 3, 3):
            with T.sblock("sum"):
                vn, vo, vy, vx, vp, vq = T.axis.remap("SSSSRR", [n, o, y, x, p, q])
                with T.init():
                    S[vn, vo, vy, vx] = T.float32(0)
                S[vn, vo, vy, vx] = S[vn, vo, vy, vx] + P[vn, vo, 2 * vy + vp, 2 * vx + vq]
        for n, o, y, x in T.grid(b, c, oh, ow):
            with T.sblock("mean"):
                vn, vo, vy, vx = T.axis.remap("SSSS", [n, o, y, x])
                Y[vn, vo, vy, vx] = S[vn, vo, vy, vx] * T.float32(1 / 9)

    return kernel


@long_sum("22 pools", lambda X: X.mean((2, 3)), *_POOLED)
def global_average(b, c, h, w):
    @T.prim_func(s_tir=True)
    def kernel(X: T.Buffer((b, c, h, w), "float32"), Y: T.Buffer((b, c), "float32")):
        S = T.sblock_alloc_buffer((b, c), "float32")
        for n, o, y, x in T.grid(b, c, h, w):
            with T.sblock("sum"):
                vn, vo, vy, vx = T.axis.remap("SSRR", [n, o, y, x])
                with T.init():
                    S[vn, vo] = T.float32(0)
                S[vn, vo] = S[vn, vo] + X[vn, vo, vy, vx]
        for n, o in T.grid(b, c):
            with T.sblock("mean"):
                vn, vo = T.axis.remap("SS", [n, o])
                Y[vn, vo] = S[vn, vo] / T.float32(h * w)

    return kernel
