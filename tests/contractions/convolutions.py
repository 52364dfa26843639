"""Rows 11 to 13: convolutions, as direct sums."""

from __future__ import annotations

from itertools import product

import numpy as np
from tvm.script import tirx as T

from contractions.contraction import long_sum


def _conv(X, K, stride=1, dilation=1, padding=0):
    """Sum over shifted, strided slices: X is (n, x..., i), K is (k..., i, o), any number of
    dimensions between."""
    rank = K.ndim - 2
    s, d, p = (
        value if isinstance(value, tuple) else (value,) * rank
        for value in (stride, dilation, padding)
    )
    X = np.pad(X, [(0, 0), *((one, one) for one in p), (0, 0)])
    out = [
        (X.shape[1 + a] - d[a] * (K.shape[a] - 1) - 1) // s[a] + 1 for a in range(rank)
    ]  # fmt: skip
    total = 0
    for at in product(*map(range, K.shape[:rank])):
        cut = [slice(at[a] * d[a], at[a] * d[a] + s[a] * (out[a] - 1) + 1, s[a])
               for a in range(rank)]  # fmt: skip
        total = total + X[(slice(None), *cut)] @ K[at]
    return total


@long_sum("11 conv1d", _conv, (2, 7, 3, 3, 2), (3, 45, 7, 3, 37), (4, 130, 20, 5, 40))
def conv1d(b, w, ci, kw, co):
    out = w - kw + 1

    @T.prim_func(s_tir=True)
    def kernel(
        X: T.Buffer((b, w, ci), "float32"),
        K: T.Buffer((kw, ci, co), "float32"),
        Y: T.Buffer((b, out, co), "float32"),
    ):
        for n, x, o, k, i in T.grid(b, out, co, kw, ci):
            with T.sblock("conv"):
                vn, vx, vo, vk, vi = T.axis.remap("SSSRR", [n, x, o, k, i])
                with T.init():
                    Y[vn, vx, vo] = T.float32(0)
                Y[vn, vx, vo] = Y[vn, vx, vo] + X[vn, vx + vk, vi] * K[vk, vi, vo]

    return kernel


_STRIDED = (2, 7, 3, 3, 2), (3, 45, 7, 3, 37), (4, 131, 20, 4, 40)


@long_sum(
    "12 conv1d, stride 2, dilation 3, padding 2", lambda X, K: _conv(X, K, 2, 3, 2), *_STRIDED
)
def conv1d_guarded(b, w, ci, kw, co):
    out = (w + 4 - 3 * (kw - 1) - 1) // 2 + 1

    @T.prim_func(s_tir=True)
    def kernel(
        X: T.Buffer((b, w, ci), "float32"),
        K: T.Buffer((kw, ci, co), "float32"),
        Y: T.Buffer((b, out, co), "float32"),
    ):
        for n, x, o, k, i in T.grid(b, out, co, kw, ci):
            with T.sblock("conv"):
                vn, vx, vo, vk, vi = T.axis.remap("SSSRR", [n, x, o, k, i])
                with T.init():
                    Y[vn, vx, vo] = T.float32(0)
                Y[vn, vx, vo] = Y[vn, vx, vo] + (
                    T.if_then_else(
                        2 * vx + 3 * vk >= 2 and 2 * vx + 3 * vk < w + 2,
                        X[vn, 2 * vx + 3 * vk - 2, vi],
                        T.float32(0),
                    )
                    * K[vk, vi, vo]
                )

    return kernel


@long_sum(
    "12 conv1d, stride 2, dilation 3, padding 2", lambda X, K: _conv(X, K, 2, 3, 2), *_STRIDED
)
def conv1d_padded_first(b, w, ci, kw, co):
    out = (w + 4 - 3 * (kw - 1) - 1) // 2 + 1

    @T.prim_func(s_tir=True)
    def kernel(
        X: T.Buffer((b, w, ci), "float32"),
        K: T.Buffer((kw, ci, co), "float32"),
        Y: T.Buffer((b, out, co), "float32"),
    ):
        P = T.sblock_alloc_buffer((b, w + 4, ci), "float32")
        for n, x, i in T.grid(b, w + 4, ci):
            with T.sblock("pad"):
                vn, vx, vi = T.axis.remap("SSS", [n, x, i])
                P[vn, vx, vi] = T.if_then_else(
                    vx >= 2 and vx < w + 2, X[vn, vx - 2, vi], T.float32(0)
                )
        for n, x, o, k, i in T.grid(b, out, co, kw, ci):
            with T.sblock("conv"):
                vn, vx, vo, vk, vi = T.axis.remap("SSSRR", [n, x, o, k, i])
                with T.init():
                    Y[vn, vx, vo] = T.float32(0)
                Y[vn, vx, vo] = Y[vn, vx, vo] + P[vn, 2 * vx + 3 * vk, vi] * K[vk, vi, vo]

    return kernel


_IMAGES = (1, 5, 6, 2, 3), (2, 11, 13, 5, 37), (2, 30, 36, 12, 40)
_CONV2D = "13 conv2d"


@long_sum(_CONV2D, _conv, *_IMAGES)
def nhwc(b, h, w, ci, co):
    @T.prim_func(s_tir=True)
    def kernel(
        X: T.Buffer((b, h, w, ci), "float32"),
        K: T.Buffer((3, 2, ci, co), "float32"),
        Y: T.Buffer((b, h - 2, w - 1, co), "float32"),
    ):
        for n, y, x, o, p, q, i in T.grid(b, h - 2, w - 1, co, 3, 2, ci):
            with T.sblock("conv"):
                vn, vy, vx, vo, vp, vq, vi = T.axis.remap("SSSSRRR", [n, y, x, o, p, q, i])
                with T.init():
                    Y[vn, vy, vx, vo] = T.float32(0)
                Y[vn, vy, vx, vo] = (
                    Y[vn, vy, vx, vo] + X[vn, vy + vp, vx + vq, vi] * K[vp, vq, vi, vo]
                )

    return kernel


def _first(X):
    """n, c, h, w from n, h, w, c."""
    return np.moveaxis(X, -1, 1)


def _last(X):
    return np.moveaxis(X, 1, -1)


def _weights(K):
    """h, w, i, o from o, i, h, w."""
    return K.transpose(2, 3, 1, 0)


def _conv_first(X, K, stride=1, dilation=1, padding=0):
    return _first(_conv(_last(X), _weights(K), stride, dilation, padding))


@long_sum(_CONV2D, _conv_first, *_IMAGES)
def nchw(b, h, w, ci, co):
    @T.prim_func(s_tir=True)
    def kernel(
        X: T.Buffer((b, ci, h, w), "float32"),
        K: T.Buffer((co, ci, 3, 2), "float32"),
        Y: T.Buffer((b, co, h - 2, w - 1), "float32"),
    ):
        for n, o, y, x, i, p, q in T.grid(b, co, h - 2, w - 1, ci, 3, 2):
            with T.sblock("conv"):
                vn, vo, vy, vx, vi, vp, vq = T.axis.remap("SSSSRRR", [n, o, y, x, i, p, q])
                with T.init():
                    Y[vn, vo, vy, vx] = T.float32(0)
                Y[vn, vo, vy, vx] = (
                    Y[vn, vo, vy, vx] + X[vn, vi, vy + vp, vx + vq] * K[vo, vi, vp, vq]
                )

    return kernel


@long_sum(_CONV2D, lambda X, K: _conv_first(X, K, 2, (2, 3), (1, 2)), *_IMAGES)
def nchw_strided_dilated_padded(b, h, w, ci, co):
    """Stride 2, dilation (2, 3), padding (1, 2), kernel 2 x 2."""
    oh, ow = (h + 2 - 3) // 2 + 1, (w + 4 - 4) // 2 + 1

    @T.prim_func(s_tir=True)
    def kernel(
        X: T.Buffer((b, ci, h, w), "float32"),
        K: T.Buffer((co, ci, 2, 2), "float32"),
        Y: T.Buffer((b, co, oh, ow), "float32"),
    ):
        P = T.sblock_alloc_buffer((b, ci, h + 2, w + 4), "float32")
        for n, i, y, x in T.grid(b, ci, h + 2, w + 4):
            with T.sblock("pad"):
                vn, vi, vy, vx = T.axis.remap("SSSS", [n, i, y, x])
                P[vn, vi, vy, vx] = T.if_then_else(
                    vy >= 1 and vy < h + 1 and vx >= 2 and vx < w + 2,
                    X[vn, vi, vy - 1, vx - 2],
                    T.float32(0),
                )
        for n, o, y, x, i, p, q in T.grid(b, co, oh, ow, ci, 2, 2):
            with T.sblock("conv"):
                vn, vo, vy, vx, vi, vp, vq = T.axis.remap("SSSSRRR", [n, o, y, x, i, p, q])
                with T.init():
                    Y[vn, vo, vy, vx] = T.float32(0)
                Y[vn, vo, vy, vx] = (
                    Y[vn, vo, vy, vx]
                    + P[vn, vi, 2 * vy + 2 * vp, 2 * vx + 3 * vq] * K[vo, vi, vp, vq]
                )

    return kernel


@long_sum(_CONV2D, lambda X, K: _conv(X, K, 2, (2, 3), 1), *_IMAGES)
def nhwc_strided_dilated_guarded(b, h, w, ci, co):
    """Stride 2, dilation (2, 3), padding 1, kernel 2 x 2."""
    oh, ow = (h + 2 - 3) // 2 + 1, (w + 2 - 4) // 2 + 1

    @T.prim_func(s_tir=True)
    def kernel(
        X: T.Buffer((b, h, w, ci), "float32"),
        K: T.Buffer((2, 2, ci, co), "float32"),
        Y: T.Buffer((b, oh, ow, co), "float32"),
    ):
        for n, y, x, o, p, q, i in T.grid(b, oh, ow, co, 2, 2, ci):
            with T.sblock("conv"):
                vn, vy, vx, vo, vp, vq, vi = T.axis.remap("SSSSRRR", [n, y, x, o, p, q, i])
                with T.init():
                    Y[vn, vy, vx, vo] = T.float32(0)
                Y[vn, vy, vx, vo] = Y[vn, vy, vx, vo] + (
                    T.if_then_else(
                        2 * vy + 2 * vp >= 1
                        and 2 * vy + 2 * vp < h + 1
                        and 2 * vx + 3 * vq >= 1
                        and 2 * vx + 3 * vq < w + 1,
                        X[vn, 2 * vy + 2 * vp - 1, 2 * vx + 3 * vq - 1, vi],
                        T.float32(0),
                    )
                    * K[vp, vq, vi, vo]
                )

    return kernel


_GROUPS = (1, 5, 6, 2, 3), (2, 11, 13, 3, 19), (2, 30, 36, 6, 20)


def _grouped(X, K):
    """X is (n, groups * i, h, w), K is (groups * o, i, p, q)."""
    groups = X.shape[1] // K.shape[1]
    parts = zip(np.split(X, groups, 1), np.split(K, groups), strict=True)
    return np.concatenate([_conv_first(x, k) for x, k in parts], 1)


@long_sum(_CONV2D, _grouped, *_GROUPS)
def nchw_groups_divided(b, h, w, ci, co):
    """Two groups of ci input and co output channels; the group of an output is a quotient."""

    @T.prim_func(s_tir=True)
    def kernel(
        X: T.Buffer((b, 2 * ci, h, w), "float32"),
        K: T.Buffer((2 * co, ci, 3, 2), "float32"),
        Y: T.Buffer((b, 2 * co, h - 2, w - 1), "float32"),
    ):
        for n, o, y, x, i, p, q in T.grid(b, 2 * co, h - 2, w - 1, ci, 3, 2):
            with T.sblock("conv"):
                vn, vo, vy, vx, vi, vp, vq = T.axis.remap("SSSSRRR", [n, o, y, x, i, p, q])
                with T.init():
                    Y[vn, vo, vy, vx] = T.float32(0)
                Y[vn, vo, vy, vx] = (
                    Y[vn, vo, vy, vx]
                    + X[vn, vo // co * ci + vi, vy + vp, vx + vq] * K[vo, vi, vp, vq]
                )

    return kernel


@long_sum(_CONV2D, _grouped, *_GROUPS)
def nchw_groups_as_an_axis(b, h, w, ci, co):
    @T.prim_func(s_tir=True)
    def kernel(
        X: T.Buffer((b, 2 * ci, h, w), "float32"),
        K: T.Buffer((2 * co, ci, 3, 2), "float32"),
        Y: T.Buffer((b, 2 * co, h - 2, w - 1), "float32"),
    ):
        for n, g, o, y, x, i, p, q in T.grid(b, 2, co, h - 2, w - 1, ci, 3, 2):
            with T.sblock("conv"):
                vn, vg, vo, vy, vx, vi, vp, vq = T.axis.remap("SSSSSRRR", [n, g, o, y, x, i, p, q])
                with T.init():
                    Y[vn, vg * co + vo, vy, vx] = T.float32(0)
                Y[vn, vg * co + vo, vy, vx] = (
                    Y[vn, vg * co + vo, vy, vx]
                    + X[vn, vg * ci + vi, vy + vp, vx + vq] * K[vg * co + vo, vi, vp, vq]
                )

    return kernel


def _depthwise(X, K):
    out = 0
    for p, q in product(range(K.shape[1]), range(K.shape[2])):
        rows, columns = X.shape[2] - K.shape[1] + 1, X.shape[3] - K.shape[2] + 1
        out = out + X[:, :, p : p + rows, q : q + columns] * K[:, p, q, None, None]
    return out


@long_sum(_CONV2D, _depthwise, (1, 5, 6, 3), (2, 11, 45, 5), (2, 40, 70, 12))
def nchw_depthwise(b, h, w, c):
    @T.prim_func(s_tir=True)
    def kernel(
        X: T.Buffer((b, c, h, w), "float32"),
        K: T.Buffer((c, 3, 2), "float32"),
        Y: T.Buffer((b, c, h - 2, w - 1), "float32"),
    ):
        for n, o, y, x, p, q in T.grid(b, c, h - 2, w - 1, 3, 2):
            with T.sblock("conv"):
                vn, vo, vy, vx, vp, vq = T.axis.remap("SSSSRR", [n, o, y, x, p, q])
                with T.init():
                    Y[vn, vo, vy, vx] = T.float32(0)
                Y[vn, vo, vy, vx] = Y[vn, vo, vy, vx] + X[vn, vo, vy + vp, vx + vq] * K[vo, vp, vq]

    return kernel
