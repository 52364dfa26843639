"""What moves elements: shapes, slices, padding, and positions that data name."""

from __future__ import annotations

import numpy as np
from tvm import relax, te, topi

from operator_cases.case import Case, Family, integers, relax_cases, topi_cases

PADDING: Family = {
    **topi_cases(
        pad=(
            lambda o: topi.nn.pad(o.matrix(), (1, 2), (3, 0)),
            lambda x: np.pad(x, ((1, 3), (2, 0))),
        ),
        pad_value=(
            lambda o: topi.nn.pad(o.matrix(), (0, 2), (0, 1), -1.5),
            lambda x: np.pad(x, ((0, 0), (2, 1)), constant_values=-1.5),
        ),
        pad_rank_4=(
            lambda o: topi.nn.pad(o.image(), (0, 0, 1, 2)),
            lambda x: np.pad(x, ((0, 0), (0, 0), (1, 1), (2, 2))),
        ),
        mirror_pad=(
            lambda o: topi.nn.mirror_pad(o.matrix(), (1, 2), (3, 0)),
            lambda x: np.pad(x, ((1, 3), (2, 0)), "symmetric"),
        ),
        reflect_pad=(
            lambda o: topi.nn.reflect_pad(o.matrix(), (1, 2), (3, 0)),
            lambda x: np.pad(x, ((1, 3), (2, 0)), "reflect"),
        ),
        replicate_pad=(
            lambda o: topi.nn.replicate_pad(o.matrix(), (1, 2), (3, 0)),
            lambda x: np.pad(x, ((1, 3), (2, 0)), "edge"),
        ),
        circular_pad=(
            lambda o: topi.nn.circular_pad(o.matrix(), (1, 2), (3, 0)),
            lambda x: np.pad(x, ((1, 3), (2, 0)), "wrap"),
        ),
        dilate=lambda o: topi.nn.dilate(o.matrix(), (2, 3)),
        sliding_window=lambda o: topi.sliding_window(o.matrix(), 0, [3, 5], [2, 4]),
    ),
    **relax_cases(
        pad=(
            lambda o: relax.op.nn.pad(o.matrix(), (1, 2, 0, 3)),
            lambda x: np.pad(x, ((1, 2), (0, 3))),
        ),
    ),
}


def _space_to_depth(x):
    b, c, h, w = x.shape
    split = x.reshape(b, c, h // 2, 2, w // 2, 2).transpose(0, 3, 5, 1, 2, 4)
    return split.reshape(b, 4 * c, h // 2, w // 2)


SHAPES: Family = {
    **topi_cases(
        reshape_split=lambda o: topi.reshape(o(o.c * o.h, o.w), (o.c, o.h, o.w)),
        reshape_merge=(
            lambda o: topi.reshape(o.line(), (o.b * o.c, o.w)),
            lambda x: x.reshape(-1, x.shape[2]),
        ),
        reshape_transposing=(
            lambda o: topi.reshape(o.matrix(), (o.n, o.m)),
            lambda x: x.reshape(x.shape[::-1]),
        ),
        reshape_flat=(lambda o: topi.reshape(o.image(), (o.b * o.c * o.h * o.w,)), np.ravel),
        flatten=(lambda o: topi.nn.flatten(o.image()), lambda x: x.reshape(len(x), -1)),
        squeeze=(lambda o: topi.squeeze(o(o.m, 1, o.n), 1), lambda x: x[:, 0]),
        expand_dims=(lambda o: topi.expand_dims(o.matrix(), 1), lambda x: x[:, None]),
        expand_row=(lambda o: topi.expand_dims(o(o.n), 0), lambda x: x[None]),
        transpose=(lambda o: topi.transpose(o.matrix()), np.transpose),
        transpose_rank_3=(
            lambda o: topi.transpose(o.line(), (1, 2, 0)),
            lambda x: x.transpose(1, 2, 0),
        ),
        transpose_swap_outer=(
            lambda o: topi.transpose(o.line(), (1, 0, 2)),
            lambda x: x.transpose(1, 0, 2),
        ),
        transpose_nchw_to_nhwc=(
            lambda o: topi.transpose(o.image(), (0, 2, 3, 1)),
            lambda x: x.transpose(0, 2, 3, 1),
        ),
        transpose_reverse_rank_4=(lambda o: topi.transpose(o.image()), np.transpose),
        layout_transform=lambda o: topi.layout_transform(o.image(), "NCHW", "NCHW3c"),
        broadcast_row=lambda o: topi.broadcast_to(o(o.n), (o.m, o.n)),
        broadcast_rank_4=(
            lambda o: topi.broadcast_to(o(o.c, 1, o.w), (2, o.c, 3, o.w)),
            lambda x: np.broadcast_to(x, (2, len(x), 3, x.shape[2])),
        ),
        tile=(lambda o: topi.tile(o.matrix(), (2, 3)), lambda x: np.tile(x, (2, 3))),
        repeat=(lambda o: topi.repeat(o.matrix(), 3, 1), lambda x: np.repeat(x, 3, 1)),
        space_to_depth=(
            lambda o: topi.nn.space_to_depth(o(o.b, o.c, 2 * o.h, 2 * o.w), 2),
            _space_to_depth,
        ),
        depth_to_space=lambda o: topi.nn.depth_to_space(o(o.b, 4 * o.c, o.h, o.w), 2),
        space_to_batch=lambda o: topi.nn.space_to_batch_nd(
            o(o.b, 2 * o.h, 2 * o.w, o.c), [2, 2], [0, 0], [0, 0]
        ),
        upsampling_nearest=(
            lambda o: topi.nn.upsampling(o.image(), 2, 3),
            lambda x: x.repeat(2, 2).repeat(3, 3),
        ),
        upsampling_bilinear=lambda o: topi.nn.upsampling(o.image(), 2, 2, method="bilinear"),
        upsampling3d_nearest=lambda o: topi.nn.upsampling3d(
            o.volume(), 2, 2, 2, coordinate_transformation_mode="asymmetric"
        ),
        resize2d_nearest=lambda o: _resize(o, "nearest_neighbor", "asymmetric", "floor"),
        resize2d_linear=lambda o: _resize(o, "linear", "half_pixel", ""),
        resize2d_cubic=Case(lambda o: _resize(o, "cubic", "half_pixel", ""), within=4),
    ),
    **relax_cases(
        reshape=(
            lambda o: relax.op.reshape(o.line(), (o.b, o.w, o.c)),
            lambda x: x.reshape(len(x), x.shape[2], x.shape[1]),
        ),
        permute_dims=(
            lambda o: relax.op.permute_dims(o.line(), [2, 0, 1]),
            lambda x: x.transpose(2, 0, 1),
        ),
        resize2d=lambda o: relax.op.image.resize2d(
            o.image(), (2 * o.h, 2 * o.w), method="nearest_neighbor",
            coordinate_transformation_mode="asymmetric", rounding_method="floor",
        ),
    ),
}  # fmt: skip


def _resize(o, method, mode, rounding):
    return topi.image.resize2d(
        o.image(), [0.0] * 4, [2 * o.h, 2 * o.w], method=method,
        coordinate_transformation_mode=mode, rounding_method=rounding,
    )  # fmt: skip


SLICES: Family = {
    **topi_cases(
        flip_rows=(lambda o: topi.flip(o.matrix(), 0), lambda x: x[::-1]),
        flip_columns=(lambda o: topi.flip(o.matrix(), 1), lambda x: x[:, ::-1]),
        concatenate_rows=(
            lambda o: topi.concatenate([o(o.m, o.n), o(5, o.n)], 0),
            lambda a, b: np.concatenate([a, b]),
        ),
        concatenate_columns=(
            lambda o: topi.concatenate([o(o.m, 5), o(o.m, o.n), o(o.m, 3)], 1),
            lambda *xs: np.concatenate(xs, 1),
        ),
        concatenate_channels=(
            lambda o: topi.concatenate([o.image(), o(o.b, 4, o.h, o.w)], 1),
            lambda *xs: np.concatenate(xs, 1),
        ),
        stack=(lambda o: topi.stack([o.matrix(), o.matrix()], 0), lambda *xs: np.stack(xs)),
        stack_last=(lambda o: topi.stack([o.matrix(), o.matrix()], 2), lambda *xs: np.stack(xs, 2)),
        split=lambda o: topi.split(o(o.m, 3 * o.n), 3, 1),
        split_at=lambda o: topi.split(o.matrix(), [4, 20], 0),
        slice=(
            lambda o: topi.strided_slice(o.matrix(), [1, 2], [9, 20]),
            lambda x: x[1:9, 2:20],
        ),
        slice_strided=(
            lambda o: topi.strided_slice(o.matrix(), [0, 1], [30, 34], [2, 3]),
            lambda x: x[0:30:2, 1:34:3],
        ),
        slice_rows=(
            lambda o: topi.strided_slice(o.matrix(), [2], [9], [1], axes=[0]),
            lambda x: x[2:9],
        ),
        slice_backwards=(
            lambda o: topi.strided_slice(o.matrix(), [30, 34], [2, 0], [-1, -2]),
            lambda x: x[30:2:-1, 34:0:-2],
        ),
        strided_set=lambda o: topi.strided_set(o(o.n), o(5), _of([2]), _of([7]), _of([1])),
        meshgrid=lambda o: topi.meshgrid([o(o.m), o(o.n)], "ij"),
        tril=(lambda o: topi.trilu(o.matrix(), te.const(0, "int32"), False), np.tril),
        triu=(
            lambda o: topi.trilu(o.matrix(), te.const(2, "int32"), True),
            lambda x: np.triu(x, 2),
        ),
        matrix_set_diag=lambda o: topi.matrix_set_diag(o.matrix(), o(min(o.m, o.n))),
    ),
    **relax_cases(
        concat=(
            lambda o: relax.op.concat([o.matrix(), o.matrix()], 1),
            lambda *xs: np.concatenate(xs, 1),
        ),
        strided_slice=(
            lambda o: relax.op.strided_slice(o.line(), [2], [1], [9], [2]),
            lambda x: x[:, :, 1:9:2],
        ),
        split=lambda o: relax.op.split(o(o.m, 2 * o.n), 2, 1),
        tril=(lambda o: relax.op.tril(o.line()), np.tril),
        slice_scatter=lambda o: relax.op.slice_scatter(o.matrix(), o(4, o.n), 1, 9, 2, 0),
    ),
}


def _of(values):
    """The same numbers as a tensor of one dimension."""
    return te.compute((len(values),), lambda i: te.const(values[0], "int32") + i * 0, "begin")


CREATION: Family = {
    **topi_cases(
        full=lambda o: topi.full((o.m, o.n), "float32", 3.25),
        full_like=(lambda o: topi.full_like(o.matrix(), 2.0), lambda x: np.full_like(x, 2)),
        full_int32=lambda o: topi.full((o.m,), "int32", 7),
        arange=lambda o: topi.arange(0.0, o.m / 2, 0.5, "float32"),
        arange_int32=lambda o: topi.arange(2, o.n, 3, "int32"),
        eye=lambda o: topi.eye(o.m, o.n, 1),
        hamming_window=lambda o: topi.hamming_window(o.m, True, 0.54, 0.46, "float32"),
    ),
    **relax_cases(
        zeros=lambda o: relax.op.zeros((o.m, o.n), "float32"),
        full=lambda o: relax.op.full((o.m, o.n), relax.const(1.5), "float32"),
    ),
}


def _rows(o):
    """Indices of rows of a matrix."""
    return o(o.k, dtype="int32", of=integers(0, o.m))


def _beyond(o):
    """Indices of which some are too large."""
    return o(o.k, dtype="int32", of=integers(0, 2 * o.m))


INDEXING: Family = {
    **topi_cases(
        take_rows=(
            lambda o: topi.take(o.matrix(), _rows(o), 0),
            lambda x, i: x[i],
        ),
        take_columns=(
            lambda o: topi.take(o.matrix(), _rows(o), 1),
            lambda x, i: x[:, i],
        ),
        take_clipped=(
            lambda o: topi.take(o.matrix(), _beyond(o), 0, mode="clip"),
            lambda x, i: x.take(i, 0, mode="clip"),
        ),
        take_flat=(
            lambda o: topi.take(o.matrix(), _rows(o)),
            lambda x, i: x.ravel()[i],
        ),
        take_table=(
            lambda o: topi.take(o.matrix(), o(o.b, o.c, dtype="int32", of=integers(0, o.m)), 0),
            lambda x, i: x[i],
        ),
        gather=(
            lambda o: topi.gather(o.matrix(), 0, o(o.k, o.n, dtype="int32", of=integers(0, o.m))),
            lambda x, i: np.take_along_axis(x, i, 0),
        ),
        gather_nd=(
            lambda o: topi.gather_nd(o.matrix(), o(1, o.k, dtype="int32", of=integers(0, o.m))),
            lambda x, i: x[i[0]],
        ),
        one_hot=(
            lambda o: topi.one_hot(_rows(o), te.const(1.0), te.const(0.0), 150, -1, "float32"),
            lambda i: np.eye(150)[i],
        ),
        adv_index=(
            lambda o: topi.adv_index(o.matrix(), [_rows(o)]),
            lambda x, i: x[i],
        ),
        sequence_mask=lambda o: topi.sequence_mask(
            o.matrix(), o(o.n, dtype="int32", of=integers(0, o.m)), -1.0, 0
        ),
        reverse_sequence=lambda o: topi.reverse_sequence(
            o.matrix(), o(o.n, dtype="int32", of=integers(1, o.m)), 0, 1
        ),
        embedding_sum=Case(
            lambda o: topi.sum(topi.take(o.matrix(), _rows(o), 0), axis=0),
            lambda x, i: x[i].sum(0),
            within=4,
        ),
    ),
    **relax_cases(
        take=(
            lambda o: relax.op.take(o.matrix(), _rows(o), 0),
            lambda x, i: x[i],
        ),
        gather_elements=(
            lambda o: relax.op.gather_elements(
                o.matrix(), o(o.m, 4, dtype="int64", of=integers(0, o.n)), 1
            ),
            lambda x, i: np.take_along_axis(x, i, 1),
        ),
    ),
}  # fmt: skip
