"""Sums and the like over every set of axes, scans, softmax and norms."""

from __future__ import annotations

from itertools import chain, combinations

import numpy as np
from tvm import relax, topi

from operator_cases.case import (
    Case,
    Family,
    distinct,
    integers,
    leaning,
    near_one,
    normal,
    positive,
    relax_cases,
    topi_cases,
)

_REDUCTIONS = {
    "sum": (topi.sum, np.sum, leaning),
    "max": (topi.max, np.max, normal),
    "min": (topi.min, np.min, normal),
    "prod": (topi.prod, np.prod, near_one),
}


def _axis_sets(rank: int) -> list[tuple[int, ...]]:
    sizes = range(1, rank + 1)
    return list(chain.from_iterable(combinations(range(rank), size) for size in sizes))


def _reduction(name: str, axes: tuple[int, ...], rank: int, keepdims: bool) -> Case:
    ours, theirs, domain = _REDUCTIONS[name]

    def build(o):
        shape = (o.m, o.n) if rank == 2 else (o.c, o.h, o.w)
        return ours(o(*shape, of=domain), axis=axes, keepdims=keepdims)

    return Case(build, lambda x: theirs(x, axis=axes, keepdims=keepdims), within=4)


def _all_reductions() -> Family:
    """Every function over every set of axes of a matrix and of a tensor of rank 3."""
    made: Family = {}
    for name in _REDUCTIONS:
        for rank in (2, 3):
            # The sets of rank 3 are the same for all functions: two of them take part.
            sets = _axis_sets(rank) if rank == 2 or name in ("sum", "max") else []
            for axes in sets:
                word = "_".join(map(str, axes))
                for keepdims in (False, True) if rank == 2 else (len(axes) == 2,):
                    kept = "_kept" if keepdims else ""
                    made[f"{name}_{word}_of_{rank}{kept}"] = _reduction(name, axes, rank, keepdims)
    return made


REDUCTIONS = {
    **_all_reductions(),
    **topi_cases(
        sum_of_products=Case(
            lambda o: topi.sum(topi.multiply(o.matrix(), o.matrix()), axis=1),
            lambda a, b: (a * b).sum(1),
            within=4,
        ),
        sum_of_squares=Case(
            lambda o: topi.sum(topi.power(o.line(), 2.0), axis=(1, 2)),
            lambda x: (x * x).sum((1, 2)),
            within=4,
        ),
        all=(lambda o: topi.all(o.matrix("bool"), axis=1), lambda x: x.all(1)),
        any=(lambda o: topi.any(o.matrix("bool"), axis=0), lambda x: x.any(0)),
        argmax=(lambda o: topi.argmax(o.matrix(of=distinct), axis=1), lambda x: x.argmax(1)),
        argmin=(lambda o: topi.argmin(o.matrix(of=distinct), axis=0), lambda x: x.argmin(0)),
        collapse_sum=Case(
            lambda o: topi.collapse_sum(o.line(), (o.c, 1)),
            lambda x: x.sum((0, 2))[:, None],
            within=4,
        ),
    ),
    **relax_cases(
        mean=Case(lambda o: relax.op.mean(o.matrix(), 1), lambda x: x.mean(1), within=4),
        mean_all_kept=Case(
            lambda o: relax.op.mean(o(o.b, o.c, o.w, of=leaning), None, True),
            lambda x: x.mean(keepdims=True),
            within=4,
        ),
        variance=Case(lambda o: relax.op.variance(o.matrix(), 1), lambda x: x.var(1), within=8),
        std=Case(lambda o: relax.op.std(o.matrix(), 0), lambda x: x.std(0), within=8),
        argmax=(lambda o: relax.op.argmax(o.matrix(of=distinct), 1), lambda x: x.argmax(1)),
    ),
}

SCANS = topi_cases(
    cumsum=Case(lambda o: topi.cumsum(o.matrix(), 0), lambda x: x.cumsum(0), within=4),
    cumsum_columns=Case(lambda o: topi.cumsum(o.matrix(), 1), lambda x: x.cumsum(1), within=4),
    cumsum_exclusive=Case(lambda o: topi.cumsum(o(o.n), 0, exclusive=True), within=4),
    cumprod=Case(
        lambda o: topi.cumprod(o.matrix(of=near_one), 0), lambda x: x.cumprod(0), within=4
    ),
)


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


SOFTMAX = {
    **topi_cases(
        softmax=(lambda o: topi.nn.softmax(o.matrix()), _softmax),
        softmax_axis_0=(lambda o: topi.nn.softmax(o.matrix(), 0), lambda x: _softmax(x, 0)),
        softmax_rank_3=(lambda o: topi.nn.softmax(o.line()), _softmax),
        softmax_middle=(lambda o: topi.nn.softmax(o.line(), 1), lambda x: _softmax(x, 1)),
        softmax_rank_4=(lambda o: topi.nn.softmax(o.image(), 1), lambda x: _softmax(x, 1)),
        fast_softmax=Case(lambda o: topi.nn.fast_softmax(o.matrix()), within=4),
        log_softmax=(
            lambda o: topi.nn.log_softmax(o.matrix()),
            lambda x: np.log(_softmax(x)),
        ),
        log_softmax_rank_3=(
            lambda o: topi.nn.log_softmax(o.line()),
            lambda x: np.log(_softmax(x)),
        ),
    ),
    **relax_cases(
        softmax_middle=(lambda o: relax.op.nn.softmax(o.line(), 1), lambda x: _softmax(x, 1)),
        log_softmax=(
            lambda o: relax.op.nn.log_softmax(o.matrix()),
            lambda x: np.log(_softmax(x)),
        ),
    ),
}


def _standard(x, axes):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)


def _batch_norm(x, gamma, beta, mean, var):
    gamma, beta, mean, var = (v[:, None, None] for v in (gamma, beta, mean, var))
    return (x - mean) / np.sqrt(var + 1e-5) * gamma + beta


def _group_norm(x, gamma, beta, groups):
    split = x.reshape(x.shape[0], groups, -1, *x.shape[2:])
    flat = _standard(split, (2, 3, 4)).reshape(x.shape)
    return flat * gamma[:, None, None] + beta[:, None, None]


NORMS = {
    **topi_cases(
        layer_norm=Case(
            lambda o: topi.nn.layer_norm(o.matrix(), o(o.n), o(o.n), [1]),
            lambda x, g, b: _standard(x, 1) * g + b,
            within=4,
        ),
        layer_norm_rank_3=Case(
            lambda o: topi.nn.layer_norm(o.line(), o(o.w), o(o.w), [2]),
            lambda x, g, b: _standard(x, 2) * g + b,
            within=4,
        ),
        layer_norm_two_axes=Case(
            lambda o: topi.nn.layer_norm(o.line(), o(o.c, o.w), o(o.c, o.w), [1, 2]),
            lambda x, g, b: _standard(x, (1, 2)) * g + b,
            within=4,
        ),
        rms_norm=Case(
            lambda o: topi.nn.rms_norm(o.matrix(), o(o.n), [1]),
            lambda x, g: x / np.sqrt((x * x).mean(1, keepdims=True) + 1e-5) * g,
            within=4,
        ),
        rms_norm_rank_3=Case(
            lambda o: topi.nn.rms_norm(o.line(), o(o.w), [2]),
            lambda x, g: x / np.sqrt((x * x).mean(2, keepdims=True) + 1e-5) * g,
            within=4,
        ),
        instance_norm=Case(
            lambda o: topi.nn.instance_norm(o.image(), o(o.c), o(o.c), 1, [2, 3]),
            lambda x, g, b: _standard(x, (2, 3)) * g[:, None, None] + b[:, None, None],
            within=4,
        ),
        group_norm=Case(
            lambda o: topi.nn.group_norm(o.image(), o(o.c), o(o.c), 2, 1, [2, 3]),
            lambda x, g, b: _group_norm(x, g, b, 2),
            within=4,
        ),
        batch_norm_inference=Case(
            lambda o: topi.nn.batch_norm(
                o.image(), o(o.c), o(o.c), o(o.c), o(o.c, of=positive), 1, 1e-5, training=False
            )[0],
            _batch_norm,
            within=4,
        ),
        batch_norm_training=Case(
            lambda o: topi.nn.batch_norm(
                o.image(), o(o.c), o(o.c), o(o.c), o(o.c, of=positive), 1, 1e-5, training=True,
                momentum=0.1,
            ),
            within=4,
        ),
        lrn=Case(lambda o: topi.nn.lrn(o.image(), 5), within=4),
    ),
    **relax_cases(
        layer_norm=Case(
            lambda o: relax.op.nn.layer_norm(o.line(), o(o.w), o(o.w), [-1]),
            lambda x, g, b: _standard(x, 2) * g + b,
            within=4,
        ),
        group_norm=Case(
            lambda o: relax.op.nn.group_norm(o.image(), o(o.c), o(o.c), 3, 1, [2, 3]),
            lambda x, g, b: _group_norm(x, g, b, 3),
            within=4,
        ),
        rms_norm=Case(
            lambda o: relax.op.nn.rms_norm(o.matrix(), o(o.n)),
            lambda x, g: x / np.sqrt((x * x).mean(1, keepdims=True) + 1e-5) * g,
            within=4,
        ),
    ),
}  # fmt: skip


def _classes(o):
    return o(o.m, dtype="int32", of=integers(0, o.n))


LOSSES = {
    **topi_cases(
        mean_squared_error=Case(
            lambda o: topi.divide(
                topi.sum(topi.power(topi.subtract(o.matrix(), o.matrix()), 2.0)), 3.0
            ),
            lambda a, b: ((a - b) ** 2).sum() / 3,
            within=4,
        ),
        squared_error_rows=Case(
            lambda o: topi.sum(topi.power(topi.subtract(o.matrix(), o.matrix()), 2.0), axis=1),
            lambda a, b: ((a - b) ** 2).sum(1),
            within=4,
        ),
        absolute_error_rows=Case(
            lambda o: topi.sum(topi.abs(topi.subtract(o.matrix(), o.matrix())), axis=1),
            lambda a, b: np.abs(a - b).sum(1),
            within=4,
        ),
        cross_entropy_rows=Case(
            lambda o: topi.negative(
                topi.sum(topi.multiply(topi.log(o.matrix(of=positive)), o.matrix()), axis=1)
            ),
            lambda p, t: -(np.log(p) * t).sum(1),
            within=4,
        ),
        nll_loss=Case(
            lambda o: topi.nn.nll_loss(o.matrix(), _classes(o), o(o.n, of=positive), "mean", -1),
            within=4,
        ),
    ),
    **relax_cases(
        cross_entropy_with_logits=Case(
            lambda o: relax.op.nn.cross_entropy_with_logits(
                o.matrix(of=positive), o.matrix(of=positive)
            ),
            lambda p, t: -(p * t).sum() / len(p),
            within=8,
        ),
    ),
}  # fmt: skip
