"""Compute level: blocks and stores that are done for some iterations alone, and scalars."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import te, topi
from tvm.script import tirx as T

import tileflow_tvm as tf
from tileflow_tvm.errors import CallError, KernelError


@T.prim_func(s_tir=True)
def first_rows(x: T.Buffer((50,), "float32"), y: T.Buffer((50,), "float32")):
    for i in range(50):
        with T.sblock("y"):
            T.where(i * 2 + 3 < 50)
            vi = T.axis.spatial(50, i)
            y[vi] = x[vi] * T.float32(2)


@T.prim_func(s_tir=True)
def twice_in_the_middle(x: T.Buffer((50,), "float32"), y: T.Buffer((50,), "float32")):
    for i in range(50):
        with T.sblock("copy"):
            vi = T.axis.spatial(50, i)
            y[vi] = x[vi]
    for i in range(50):
        with T.sblock("twice"):
            T.where(i >= 7 and i < 20)
            vi = T.axis.spatial(50, i)
            y[vi] = y[vi] * T.float32(2)


@T.prim_func(s_tir=True)
def product_of_some(x: T.Buffer((50, 40), "float32"), y: T.Buffer((50,), "float32")):
    for i, k in T.grid(50, 40):
        with T.sblock("y"):
            T.where(k < 33)
            vi, vk = T.axis.remap("SR", [i, k])
            with T.init():
                y[vi] = T.float32(1)
            y[vi] = y[vi] * x[vi, vk]


@T.prim_func(s_tir=True)
def maxima_of_some_rows(x: T.Buffer((50, 40), "float32"), y: T.Buffer((50,), "float32")):
    for i, k in T.grid(50, 40):
        with T.sblock("y"):
            T.where(i < 30)
            vi, vk = T.axis.remap("SR", [i, k])
            with T.init():
                y[vi] = T.float32(1)
            y[vi] = T.max(y[vi], x[vi, vk])


@T.prim_func(s_tir=True)
def either(
    x: T.Buffer((50,), "float32"), y: T.Buffer((50,), "float32"), z: T.Buffer((20,), "float32")
):
    for i in range(50):
        with T.sblock("y"):
            vi = T.axis.spatial(50, i)
            if vi < 10:
                y[vi] = x[vi]
            else:
                y[vi] = x[vi - 10]
            if vi >= 30:
                z[vi - 30] = x[vi] * T.float32(3)


@T.prim_func(s_tir=True)
def around_blocks(
    x: T.Buffer((50, 40), "float32"), y: T.Buffer((50,), "float32"), w: T.Buffer((50,), "float32")
):
    for i in range(50):
        if i < 20:
            for k in range(40):
                with T.sblock("maxima"):
                    vi, vk = T.axis.remap("SR", [i, k])
                    with T.init():
                        y[vi] = T.float32(1)
                    y[vi] = T.max(y[vi], x[vi, vk])
        else:
            with T.sblock("five"):
                vi = T.axis.spatial(50, i)
                y[vi] = T.float32(5)
        with T.sblock("column"):
            vi = T.axis.spatial(50, i)
            w[vi] = x[vi, 3]


@T.prim_func(s_tir=True)
def sums_with_an_if(x: T.Buffer((50, 40), "float32"), y: T.Buffer((50,), "float32")):
    for i, k in T.grid(50, 40):
        with T.sblock("y"):
            vi, vk = T.axis.remap("SR", [i, k])
            with T.init():
                y[vi] = T.float32(1)
            if vk > 5 and vi < 30:
                y[vi] = y[vi] + x[vi, vk]


@T.prim_func(s_tir=True)
def data_and_indices(x: T.Buffer((40, 50), "float32"), y: T.Buffer((40, 50), "float32")):
    for i, j in T.grid(40, 50):
        with T.sblock("y"):
            vi, vj = T.axis.remap("SS", [i, j])
            y[vi, vj] = T.if_then_else(
                x[vi, vj] > T.float32(0.5) and vi > vj, x[vi, vj], T.float32(-1)
            )


GUARDED = [
    first_rows, twice_in_the_middle, product_of_some, maxima_of_some_rows, either, around_blocks,
    sums_with_an_if, data_and_indices,
]  # fmt: skip


@pytest.mark.parametrize("kernel", GUARDED, ids=lambda kernel: kernel.attrs["global_symbol"])
def test_what_is_done_for_some_iterations(kernel):
    """Cells that no iteration assigns are zero, as the oracle's arrays begin."""
    tf.check(kernel, rtol=1e-5)


@T.prim_func(s_tir=True)
def begins_late(x: T.Buffer((50, 40), "float32"), y: T.Buffer((50,), "float32")):
    for i, k in T.grid(50, 40):
        with T.sblock("y"):
            T.where(k > 3)
            vi, vk = T.axis.remap("SR", [i, k])
            with T.init():
                y[vi] = T.float32(1)
            y[vi] = y[vi] * x[vi, vk]


@T.prim_func(s_tir=True)
def never(x: T.Buffer((50,), "float32"), y: T.Buffer((50,), "float32")):
    for i in range(50):
        with T.sblock("y"):
            T.where(i > 60)
            vi = T.axis.spatial(50, i)
            y[vi] = x[vi]


@T.prim_func(s_tir=True)
def assigned_again(x: T.Buffer((50,), "float32"), y: T.Buffer((50,), "float32")):
    for i in range(50):
        with T.sblock("y"):
            vi = T.axis.spatial(50, i)
            y[vi] = x[vi]
            if vi >= 30:
                y[vi] = x[vi] * T.float32(3)


@T.prim_func(s_tir=True)
def under_data(x: T.Buffer((50,), "float32"), y: T.Buffer((50,), "float32")):
    for i in range(50):
        with T.sblock("y"):
            vi = T.axis.spatial(50, i)
            if x[vi] > T.float32(0):
                y[vi] = x[vi]


@T.prim_func(s_tir=True)
def half_of_a_square(x: T.Buffer((40, 50), "float32"), y: T.Buffer((40, 50), "float32")):
    for i, j in T.grid(40, 50):
        with T.sblock("y"):
            vi, vj = T.axis.remap("SS", [i, j])
            if vi > vj:
                y[vi, vj] = x[vi, vj]


@pytest.mark.parametrize(
    ("kernel", "what"),
    [
        (begins_late, "does not run for every cell"),
        (never, "never does anything"),
        (assigned_again, "assign the same cell of 'y'"),
        (under_data, "what is stored depends on a condition on data"),
        (half_of_a_square, "only where a condition on several indices holds"),
    ],
    ids=["begins late", "never", "assigned again", "under data", "half of a square"],
)
def test_a_condition_that_is_refused(kernel, what):
    with pytest.raises(KernelError, match=what) as caught:
        tf.compile(kernel)
    assert caught.value.loc.file == __file__
    assert caught.value.hint


def test_sums_of_all_elements_have_rank_0(rng):
    x = te.placeholder((37, 50), name="x")
    exe = tf.compile(te.create_prim_func([x, topi.sum(x)]))
    data = rng.standard_normal((37, 50)).astype(np.float32)
    got = exe(data)
    assert got.shape == () == exe.program.args[1].shape
    np.testing.assert_allclose(got, data.sum(dtype=np.float64), rtol=1e-5)


@T.prim_func(s_tir=True)
def scaled(
    alpha: T.float32, n: T.int32, x: T.Buffer((50,), "float32"), b: T.Buffer((), "float32"),
    y: T.Buffer((50,), "float32"),
):  # fmt: skip
    for i in range(50):
        with T.sblock("y"):
            vi = T.axis.spatial(50, i)
            y[vi] = alpha * x[vi] + b[()] * T.Cast("float32", n)


def test_scalars_are_arguments_of_rank_0(rng, tmp_path):
    tf.check(scaled, np.float32(2.5), np.int32(3), rng.standard_normal(50).astype("f"),
             np.float32(1))  # fmt: skip
    exe = tf.compile(scaled)
    x = rng.standard_normal(50).astype(np.float32)
    want = np.float32(0.1) * x + np.float32(2) * np.float32(7)
    for got in (exe(0.1, 7, x, 2), exe(np.float32(0.1), np.int32(7), x, np.array(2, np.float32))):
        np.testing.assert_array_equal(got, want)
    exe.save(tmp_path / "scaled.bin")
    np.testing.assert_array_equal(tf.load(tmp_path / "scaled.bin")(0.1, 7, x, 2), want)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((np.float64(2), 3), "'alpha' takes float32, not float64"),
        (([1.0, 2.0], 3), "'alpha' takes float32, not float64"),
        ((2.0, 2**40), "'n' is not an array"),
        ((2.0, 1.5), "'n' takes int32, not float64"),
        ((2.0, True), "'n' takes int32, not bool"),
    ],
    ids=["float64", "list", "too large", "fraction", "bool"],
)
def test_a_scalar_that_is_refused(arguments, what):
    with pytest.raises(CallError, match=what):
        tf.compile(scaled)(*arguments, np.zeros(50, np.float32), 1.0)


@T.prim_func(s_tir=True)
def shifted_by_a_scalar(n: T.int32, x: T.Buffer((50,), "float32"), y: T.Buffer((50,), "float32")):
    for i in range(50):
        with T.sblock("y"):
            vi = T.axis.spatial(50, i)
            y[vi] = x[vi + n]


def test_a_scalar_is_no_index():
    with pytest.raises(KernelError, match=r"vi \+ n uses 'n', which is not known here") as caught:
        tf.compile(shifted_by_a_scalar)
    assert caught.value.loc.file == __file__


def test_sums_of_several_values_in_one_block():
    x = te.placeholder((2, 6, 5, 7), name="x")
    scale, shift = (te.placeholder((6,), name=name) for name in ("g", "b"))
    group_norm = topi.nn.group_norm(x, scale, shift, 3, 1, [2, 3])
    tf.check(te.create_prim_func([x, scale, shift, group_norm]), rtol=1e-4)


def test_a_report_prints_in_a_line():
    report = tf.check(first_rows)
    assert repr(report).startswith("<Report: float32[50] agree; largest difference 0, relative 0; ")
    assert len(repr(report)) < 120
