"""Convolutions and what walks windows like them. Layouts: n samples, c channels, d, h, w; o, i, g
for output channels, input channels and groups."""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax, topi

from operator_cases.case import Case, Family, relax_cases, topi_cases


def _conv2d_blocked(o):
    """Channels in blocks of 2, output channels in blocks of 4."""
    data, weights = o(o.b, o.c // 2, o.h, o.w, 2), o(3, o.c // 2, 3, 3, 2, 4)
    with tvm.target.Target("llvm"):
        return topi.nn.conv2d_NCHWc(data, weights, 1, 1, 1, "NCHW2c", "NCHW4c")


CONVOLUTIONS: Family = {
    **topi_cases(
        conv1d_ncw=lambda o: topi.nn.conv1d_ncw(o.line(), o(4, o.c, 3)),
        conv1d_ncw_padded=lambda o: topi.nn.conv1d_ncw(o.line(), o(4, o.c, 3), padding="SAME"),
        conv1d_ncw_strided=lambda o: topi.nn.conv1d_ncw(o.line(), o(4, o.c, 3), 2, 1),
        conv1d_ncw_dilated=lambda o: topi.nn.conv1d_ncw(o.line(), o(4, o.c, 3), 1, 2, 2),
        conv1d_nwc=lambda o: topi.nn.conv1d_nwc(o(o.b, o.w, o.c), o(3, o.c, 4), 2, 1),
        group_conv1d_ncw=lambda o: topi.nn.group_conv1d_ncw(
            o.line(), o(4, o.c // 2, 3), 1, 1, 1, 2
        ),
        group_conv1d_nwc=lambda o: topi.nn.group_conv1d_nwc(
            o(o.b, o.w, o.c), o(3, o.c // 2, 4), 1, 1, 1, 2
        ),
        conv2d_1x1=(
            lambda o: topi.nn.conv2d_nchw(o.image(), o(4, o.c, 1, 1), 1, 0, 1),
            lambda x, w: np.einsum("nihw,oi->nohw", x, w[:, :, 0, 0]),
        ),
        conv2d_nchw=lambda o: topi.nn.conv2d_nchw(o.image(), o(4, o.c, 3, 2), 1, 0, 1),
        conv2d_nchw_padded=lambda o: topi.nn.conv2d_nchw(o.image(), o(4, o.c, 3, 3), 1, 1, 1),
        conv2d_nchw_padded_unevenly=lambda o: topi.nn.conv2d_nchw(
            o.image(), o(4, o.c, 3, 2), 1, (0, 2, 1, 0), 1
        ),
        conv2d_nchw_strided=lambda o: topi.nn.conv2d_nchw(o.image(), o(4, o.c, 3, 2), (2, 3), 1, 1),
        conv2d_nchw_dilated=lambda o: topi.nn.conv2d_nchw(
            o.image(), o(4, o.c, 3, 2), 1, (2, 1), (2, 3)
        ),
        conv2d_nchw_bias_relu=lambda o: topi.nn.relu(
            topi.add(topi.nn.conv2d_nchw(o.image(), o(4, o.c, 3, 3), 1, 1, 1), o(4, 1, 1))
        ),
        conv2d_nhwc=lambda o: topi.nn.conv2d_nhwc(o.image_last(), o(3, 2, o.c, 4), 1, 0, 1),
        conv2d_nhwc_padded=lambda o: topi.nn.conv2d_nhwc(o.image_last(), o(3, 3, o.c, 4), 1, 1, 1),
        conv2d_nhwc_strided_dilated=lambda o: topi.nn.conv2d_nhwc(
            o.image_last(), o(3, 2, o.c, 4), 2, 1, (1, 2)
        ),
        conv2d_hwcn=lambda o: topi.nn.conv2d_hwcn(
            o(o.h, o.w, o.c, o.b), o(3, 3, o.c, 4), 1, 1, 1
        ),
        conv2d_NCHWc=_conv2d_blocked,
        conv2d_winograd=Case(
            lambda o: topi.nn.conv2d_winograd_nchw(o.image(), o(4, o.c, 3, 3), 1, 1, 1, "float32"),
            within=16,
        ),
        group_conv2d_nchw=lambda o: topi.nn.group_conv2d_nchw(
            o.image(), o(4, o.c // 2, 3, 3), 1, 1, 1, 2
        ),
        group_conv2d_nchw_strided=lambda o: topi.nn.group_conv2d_nchw(
            o.image(), o(6, o.c // 3, 3, 2), 2, 1, (1, 2), 3
        ),
        group_conv2d_nhwc=lambda o: topi.nn.group_conv2d_nhwc(
            o.image_last(), o(3, 3, o.c // 2, 4), 1, 1, 1, 2
        ),
        depthwise_conv2d_nchw=lambda o: topi.nn.depthwise_conv2d_nchw(
            o.image(), o(o.c, 1, 3, 3), 1, 1, 1
        ),
        depthwise_conv2d_nchw_strided=lambda o: topi.nn.depthwise_conv2d_nchw(
            o.image(), o(o.c, 1, 3, 2), 2, 1, 2
        ),
        depthwise_conv2d_multiplier=lambda o: topi.nn.depthwise_conv2d_nchw(
            o.image(), o(o.c, 2, 3, 3), 1, 1, 1
        ),
        depthwise_conv2d_nhwc=lambda o: topi.nn.depthwise_conv2d_nhwc(
            o.image_last(), o(3, 3, o.c, 1), 1, 1, 1
        ),
        conv1d_transpose=lambda o: topi.nn.conv1d_transpose_ncw(
            o.line(), o(o.c, 4, 3), 2, 1, "float32", 0
        ),
        conv2d_transpose=lambda o: topi.nn.conv2d_transpose_nchw(
            o.image(), o(o.c, 4, 3, 3), (2, 2), (1, 1), "float32", (0, 0)
        ),
        conv2d_transpose_1=lambda o: topi.nn.conv2d_transpose_nchw(
            o.image(), o(o.c, 4, 3, 2), (1, 1), (0, 0), "float32", (0, 0)
        ),
        conv2d_transpose_output_padding=lambda o: topi.nn.conv2d_transpose_nchw(
            o.image(), o(o.c, 4, 3, 3), (3, 2), (1, 1), "float32", (1, 1)
        ),
        group_conv2d_transpose=lambda o: topi.nn.group_conv2d_transpose_nchw(
            o.image(), o(o.c, 2, 3, 3), (2, 2), (1, 1), "float32", (0, 0), 2
        ),
        conv3d_ncdhw=lambda o: topi.nn.conv3d_ncdhw(o.volume(), o(4, o.c, 3, 2, 3), 1, 1, 1, 1),
        conv3d_ncdhw_strided=lambda o: topi.nn.conv3d_ncdhw(
            o.volume(), o(4, o.c, 3, 2, 3), (1, 2, 3), 1, (2, 1, 1), 1
        ),
        conv3d_ndhwc=lambda o: topi.nn.conv3d_ndhwc(
            o(o.b, o.d, o.h, o.w, o.c), o(3, 3, 3, o.c, 4), 1, 1, 1, 1
        ),
        conv3d_transpose=lambda o: topi.nn.conv3d_transpose_ncdhw(
            o.volume(), o(o.c, 2, 3, 3, 3), (2, 2, 2), (1, 1, 1), "float32", (0, 0, 0)
        ),
        dilation2d_nchw=lambda o: topi.image.dilation2d_nchw(
            o.image(), o(o.c, 3, 2), 1, 0, (1, 1)
        ),
        correlation=lambda o: topi.nn.correlation_nchw(o.image(), o.image(), 1, 2, 1, 1, 2, True),
        depthwise_conv2d_backward_input=lambda o: topi.nn.depthwise_conv2d_backward_input_nhwc(
            o(3, 3, o.c, 1), o.image_last(), (o.b, o.h, o.w, o.c), (o.b, o.h, o.w, o.c),
            (1, 1), (1, 1),
        ),
    ),
    **relax_cases(
        conv2d=lambda o: relax.op.nn.conv2d(o.image(), o(4, o.c, 3, 3), 2, 1),
        conv2d_grouped=lambda o: relax.op.nn.conv2d(o.image(), o(4, o.c // 2, 3, 3), groups=2),
        conv2d_nhwc=lambda o: relax.op.nn.conv2d(
            o.image_last(), o(3, 3, o.c, 4), data_layout="NHWC", kernel_layout="HWIO"
        ),
        conv1d=lambda o: relax.op.nn.conv1d(o.line(), o(4, o.c, 3), 1, 1),
        conv2d_transpose=lambda o: relax.op.nn.conv2d_transpose(
            o.image(), o(o.c, 4, 3, 3), (2, 2)
        ),
    ),
}  # fmt: skip

NARROW_CONVOLUTIONS = topi_cases(
    conv2d_int8_to_int32=lambda o: topi.nn.conv2d_nchw(
        o.image("int8"), o(4, o.c, 3, 3, dtype="int8"), 1, 1, 1, "int32"
    ),
    conv2d_bfloat16_to_float32=lambda o: topi.nn.conv2d_nchw(
        o.image("bfloat16"), o(4, o.c, 3, 3, dtype="bfloat16"), 1, 1, 1, "float32"
    ),
    conv2d_float16_to_float32=lambda o: topi.nn.conv2d_nhwc(
        o.image_last("float16"), o(3, 3, o.c, 4, dtype="float16"), 1, 1, 1, "float32"
    ),
)

POOLS: Family = {
    **topi_cases(
        max_pool1d=lambda o: topi.nn.pool1d(o.line(), [3], [2], [1], [1, 1], "max"),
        avg_pool1d=lambda o: topi.nn.pool1d(o.line(), [3], [2], [1], [1, 1], "avg"),
        max_pool2d=lambda o: topi.nn.pool2d(o.image(), [2, 2], [2, 2], [1, 1], [0] * 4, "max"),
        max_pool2d_padded=lambda o: topi.nn.pool2d(
            o.image(), [3, 3], [2, 2], [1, 1], [1, 1, 1, 1], "max"
        ),
        max_pool2d_ceil=lambda o: topi.nn.pool2d(
            o.image(), [2, 2], [2, 2], [1, 1], [0] * 4, "max", ceil_mode=True
        ),
        max_pool2d_dilated=lambda o: topi.nn.pool2d(
            o.image(), [3, 2], [1, 1], [2, 3], [0] * 4, "max"
        ),
        max_pool2d_nhwc=lambda o: topi.nn.pool2d(
            o.image_last(), [3, 3], [2, 2], [1, 1], [1, 1, 1, 1], "max", layout="NHWC"
        ),
        avg_pool2d=lambda o: topi.nn.pool2d(o.image(), [2, 3], [2, 2], [1, 1], [0] * 4, "avg"),
        avg_pool2d_padded=lambda o: topi.nn.pool2d(
            o.image(), [3, 3], [2, 2], [1, 1], [1, 1, 1, 1], "avg"
        ),
        avg_pool2d_padding_left_out=lambda o: topi.nn.pool2d(
            o.image(), [3, 3], [2, 2], [1, 1], [1, 1, 1, 1], "avg", count_include_pad=False
        ),
        avg_pool2d_nhwc=lambda o: topi.nn.pool2d(
            o.image_last(), [3, 3], [1, 1], [1, 1], [1, 1, 1, 1], "avg", layout="NHWC"
        ),
        max_pool3d=lambda o: topi.nn.pool3d(
            o.volume(), [2, 3, 3], [2, 2, 2], [1, 1, 1], [0, 1, 1, 0, 1, 1], "max"
        ),
        avg_pool3d=lambda o: topi.nn.pool3d(
            o.volume(), [2, 2, 2], [1, 2, 2], [1, 1, 1], [0] * 6, "avg"
        ),
        global_max_pool=(
            lambda o: topi.nn.global_pool(o.image(), "max"),
            lambda x: x.max((2, 3), keepdims=True),
        ),
        global_avg_pool=Case(
            lambda o: topi.nn.global_pool(o.image(), "avg"),
            lambda x: x.mean((2, 3), keepdims=True),
            within=4,
        ),
        global_avg_pool_nhwc=Case(
            lambda o: topi.nn.global_pool(o.image_last(), "avg", "NHWC"),
            lambda x: x.mean((1, 2), keepdims=True),
            within=4,
        ),
        adaptive_max_pool=lambda o: topi.nn.adaptive_pool(o.image(), (3, 1), "max"),
        adaptive_avg_pool=lambda o: topi.nn.adaptive_pool(o.image(), (3, 11), "avg"),
        adaptive_avg_pool_ragged=lambda o: topi.nn.adaptive_pool(o.image(), (4, 5), "avg"),
        adaptive_avg_pool_to_1=Case(
            lambda o: topi.nn.adaptive_pool(o.image(), (1, 1), "avg"),
            lambda x: x.mean((2, 3), keepdims=True),
            within=4,
        ),
        adaptive_max_pool1d=lambda o: topi.nn.adaptive_pool1d(o.line(), (4,), "max"),
        adaptive_avg_pool3d=lambda o: topi.nn.adaptive_pool3d(o.volume(), (1, 3, 1), "avg"),
        avg_pool2d_gradient=lambda o: topi.nn.pool_grad(
            o(o.b, o.c, (o.h + 1) // 2, (o.w + 1) // 2), o.image(), [3, 3], [2, 2], [1, 1, 1, 1],
            "avg",
        ),
    ),
    **relax_cases(
        max_pool2d=lambda o: relax.op.nn.max_pool2d(o.image(), (3, 3), (2, 2), (1, 1)),
        avg_pool2d=lambda o: relax.op.nn.avg_pool2d(o.image(), (2, 2), (2, 2)),
        adaptive_avg_pool2d=lambda o: relax.op.nn.adaptive_avg_pool2d(o.image(), (1, 1)),
    ),
}  # fmt: skip
