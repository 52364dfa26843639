"""Index expressions that are understood from their values."""

from __future__ import annotations

import pytest
from tvm import te, tirx, topi

import tileflow_tvm as tf
from tileflow_tvm.frontend.affine import Cut, Split
from tileflow_tvm.frontend.tabulate import tabulate
from tileflow_tvm.frontend.tile_ir import Affine, Var

OUTER, INNER = Var("i"), Var("j")


def table(make, **sizes: int):
    """What `tabulate` makes of `make(i, j)` over these sizes."""
    names = {name: tirx.Var(name, "int32") for name in ("i", "j")}
    known = {"i": Affine.of(OUTER), "j": Affine.of(INNER)}
    extents = {{"i": OUTER, "j": INNER}[name]: size for name, size in sizes.items()}
    return tabulate(make(names["i"], names["j"]), lambda var: known.get(var.name), extents)


def real(value):
    return tirx.Cast("float32", value)


def whole(value):
    return tirx.Cast("int32", value)


@pytest.mark.parametrize(
    ("make", "sizes", "found"),
    [
        (lambda i, _: tirx.Max(0, tirx.Min(4, i - 2)), {"i": 8}, Cut(OUTER, 3)),
        (lambda i, _: tirx.Max(0, i - 40), {"i": 41}, Affine(0)),
        (lambda i, _: whole(tirx.floor(real(i) * tirx.const(0.5, "float32"))), {"i": 8},
         Split(OUTER, 2)),
        (lambda i, _: whole(tirx.ceil(real(i) * tirx.const(0.25, "float32"))), {"i": 80},
         Split(OUTER, 4)),
        (lambda i, j: tirx.Select(i < 7, j, j + i - 7), {"i": 7, "j": 5}, Affine.of(INNER)),
        (lambda i, _: tirx.Div(i - 4, 2), {"i": 8}, Cut(OUTER, 2)),
        (lambda i, j: tirx.Select(i < j, i, j), {"i": 40, "j": 40}, None),
        (lambda i, _: i * i, {"i": 100}, None),
    ],
    ids=["clamp", "never", "half", "a quarter, up", "settled", "truncating", "two", "square"],
)  # fmt: skip
def test_what_is_found(make, sizes, found):
    assert table(make, **sizes) == found


@pytest.mark.parametrize(
    "make",
    [
        lambda x: topi.nn.reflect_pad(x, [2, 1], [1, 2]),
        lambda x: topi.nn.replicate_pad(x, [2, 1], [1, 40]),
        lambda x: te.compute((5, 7), lambda i, j: x[i, tirx.Select(j < 2, j + 5, j - 2)]),
        lambda x: te.compute(
            (5, 14), lambda i, j: x[i, whole(tirx.floor(real(j) * tirx.const(0.5, "float32")))]
        ),
    ],
    ids=["reflected", "replicated", "rolled", "repeated"],
)
def test_a_function_with_such_indices(make):
    x = te.placeholder((5, 7), name="x")
    tf.check(te.create_prim_func([x, make(x)]))
