"""Matrix products and what contains them."""

from __future__ import annotations

import numpy as np
from tvm import relax, topi

from operator_cases.case import Case, integers, leaning, relax_cases, topi_cases


def _attention(q, k, v):
    scores = np.einsum("bshd,bthd->bhst", q, k) / np.sqrt(q.shape[-1])
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("bhst,bthd->bshd", e / e.sum(-1, keepdims=True), v)


PRODUCTS = {
    **topi_cases(
        matmul=(lambda o: topi.matmul(o(o.m, o.k), o(o.k, o.n)), np.matmul),
        matmul_ta=(
            lambda o: topi.matmul(o(o.k, o.m), o(o.k, o.n), True, False),
            lambda a, b: a.T @ b,
        ),
        matmul_tb=(
            lambda o: topi.matmul(o(o.m, o.k), o(o.n, o.k), False, True),
            lambda a, b: a @ b.T,
        ),
        matmul_ta_tb=(
            lambda o: topi.matmul(o(o.k, o.m), o(o.n, o.k), True, True),
            lambda a, b: a.T @ b.T,
        ),
        matmul_bias_relu=(
            lambda o: topi.nn.relu(topi.add(topi.matmul(o(o.m, o.k), o(o.k, o.n)), o(o.n))),
            lambda a, b, c: np.maximum(a @ b + c, 0),
        ),
        matmul_scaled_residual=(
            lambda o: topi.add(
                topi.multiply(topi.matmul(o(o.m, o.k), o(o.k, o.n)), 0.125), o.matrix()
            ),
            lambda a, b, c: a @ b / 8 + c,
        ),
        dense=(lambda o: topi.nn.dense(o(o.m, o.k), o(o.n, o.k)), lambda a, b: a @ b.T),
        dense_bias=(
            lambda o: topi.nn.dense(o(o.m, o.k), o(o.n, o.k), o(o.n)),
            lambda a, b, c: a @ b.T + c,
        ),
        batch_matmul_tb=(
            lambda o: topi.nn.batch_matmul(o(o.b, o.m, o.k), o(o.b, o.n, o.k)),
            lambda a, b: a @ b.swapaxes(1, 2),
        ),
        batch_matmul=(
            lambda o: topi.nn.batch_matmul(o(o.b, o.m, o.k), o(o.b, o.k, o.n), transpose_b=False),
            np.matmul,
        ),
        batch_matmul_ta=(
            lambda o: topi.nn.batch_matmul(
                o(o.b, o.k, o.m), o(o.b, o.k, o.n), transpose_a=True, transpose_b=False
            ),
            lambda a, b: a.swapaxes(1, 2) @ b,
        ),
        batch_matmul_broadcast=(
            lambda o: topi.nn.batch_matmul(o(o.b, o.m, o.k), o(1, o.n, o.k)),
            lambda a, b: a @ b.swapaxes(1, 2),
        ),
        tensordot_1=(
            lambda o: topi.tensordot(o(o.b, o.m, o.k), o(o.k, o.n), 1),
            lambda a, b: np.tensordot(a, b, 1),
        ),
        tensordot_2=(
            lambda o: topi.tensordot(o(o.b, o.k, o.m), o(o.n, o.m, o.k), ((1, 2), (2, 1))),
            lambda a, b: np.tensordot(a, b, ((1, 2), (2, 1))),
        ),
        matvec=(
            lambda o: topi.einsum("ij,j->i", o(o.m, o.k), o(o.k)),
            lambda a, b: a @ b,
        ),
        einsum_product=(
            lambda o: topi.einsum("ik,kj->ij", o(o.m, o.k), o(o.k, o.n)),
            np.matmul,
        ),
        einsum_outer=(lambda o: topi.einsum("i,j->ij", o(o.m), o(o.n)), np.outer),
        einsum_inner=(
            lambda o: topi.einsum("i,i->", o(o.m, of=leaning), o(o.m, of=leaning)),
            np.dot,
        ),
        einsum_trace=(lambda o: topi.einsum("ii->", o(o.m, o.m, of=leaning)), np.trace),
        einsum_diagonal=(lambda o: topi.einsum("ii->i", o(o.m, o.m)), np.diagonal),
        einsum_transpose=(lambda o: topi.einsum("ij->ji", o.matrix()), np.transpose),
        einsum_batched=(
            lambda o: topi.einsum("bik,bjk->bij", o(o.b, o.m, o.k), o(o.b, o.n, o.k)),
            lambda a, b: a @ b.swapaxes(1, 2),
        ),
        einsum_chain=Case(
            lambda o: topi.einsum("ij,jk,kl->il", o(o.m, o.c), o(o.c, o.h), o(o.h, o.n)),
            lambda a, b, c: a @ b @ c,
            within=4,
        ),
    ),
    **relax_cases(
        matmul=(lambda o: relax.op.matmul(o(o.m, o.k), o(o.k, o.n)), np.matmul),
        matmul_batched=(
            lambda o: relax.op.matmul(o(o.b, o.m, o.k), o(o.b, o.k, o.n)),
            np.matmul,
        ),
        matmul_by_one=(lambda o: relax.op.matmul(o(o.b, o.m, o.k), o(o.k, o.n)), np.matmul),
        matmul_vector=(lambda o: relax.op.matmul(o(o.m, o.k), o(o.k)), np.matmul),
        linear=(
            lambda o: relax.op.linear(o(o.b, o.m, o.k), o(o.n, o.k), o(o.n)),
            lambda x, w, b: x @ w.T + b,
        ),
        einsum=(
            lambda o: relax.op.einsum([o(o.b, o.m, o.k), o(o.k, o.n)], "bik,kj->bij"),
            np.matmul,
        ),
        two_layers=Case(
            lambda o: relax.op.matmul(
                relax.op.nn.relu(relax.op.add(relax.op.matmul(o(o.m, o.k), o(o.k, o.n)), o(o.n))),
                o(o.n, o.c),
            ),
            lambda x, w, b, v: np.maximum(x @ w + b, 0) @ v,
            within=4,
        ),
        attention=Case(
            lambda o: relax.op.nn.attention(o(o.b, 7, 2, 5), o(o.b, 9, 2, 5), o(o.b, 9, 2, 3)),
            _attention,
            within=4,
        ),
    ),
}

NARROW_PRODUCTS = topi_cases(
    matmul_float16=Case(
        lambda o: topi.matmul(o(o.m, o.k, dtype="float16"), o(o.k, o.n, dtype="float16")),
        within=8,
    ),
    matmul_bfloat16=Case(
        lambda o: topi.matmul(o(o.m, o.k, dtype="bfloat16"), o(o.k, o.n, dtype="bfloat16")),
        within=8,
    ),
    dense_float16_to_float32=(
        lambda o: topi.nn.dense(
            o(o.m, o.k, dtype="float16"), o(o.n, o.k, dtype="float16"), out_dtype="float32"
        ),
        lambda a, b: a @ b.T,
    ),
    dense_bfloat16_to_float32=(
        lambda o: topi.nn.dense(
            o(o.m, o.k, dtype="bfloat16"), o(o.n, o.k, dtype="bfloat16"), out_dtype="float32"
        ),
        lambda a, b: a @ b.T,
    ),
    dense_int8_to_int32=(
        lambda o: topi.nn.dense(
            o(o.m, o.k, dtype="int8", of=integers(-128, 128)),
            o(o.n, o.k, dtype="int8", of=integers(-128, 128)),
            out_dtype="int32",
        ),
        lambda a, b: a.astype(np.int32) @ b.T.astype(np.int32),
    ),
    matmul_int32=(
        lambda o: topi.matmul(o(o.m, o.k, dtype="int32"), o(o.k, o.n, dtype="int32")),
        np.matmul,
    ),
    matmul_int8=(
        lambda o: topi.matmul(o(o.m, o.k, dtype="int8"), o(o.k, o.n, dtype="int8")),
        np.matmul,
    ),
    batch_matmul_int8_to_int32=(
        lambda o: topi.nn.batch_matmul(
            o(o.b, o.m, o.k, dtype="int8"), o(o.b, o.n, o.k, dtype="int8"), out_dtype="int32"
        ),
        lambda a, b: a.astype(np.int32) @ b.swapaxes(1, 2).astype(np.int32),
    ),
)  # fmt: skip
