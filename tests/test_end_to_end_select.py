"""Choices, comparisons and int32 arithmetic at tile level, from script to numbers."""

from __future__ import annotations

import numpy as np
from differential import assert_same_bits, run_every_way
from isa_interpreter import interpret
from timing_model import cycles
from tvm.script import tirx as T

import tileflow_tvm as tf


@T.prim_func
def choices(
    X: T.Buffer((70, 90), "float32"), N: T.Buffer((70, 90), "int32"), v: T.Buffer((90,), "float32"),
    Y: T.Buffer((70, 90), "float32"), Z: T.Buffer((70, 90), "int32"),
) -> None:  # fmt: skip
    for i, j in T.grid(3, 3):
        x = T.alloc_buffer((32, 32), "float32")
        n = T.alloc_buffer((32, 32), "int32")
        w = T.alloc_buffer((32,), "float32")
        c = T.alloc_buffer((32, 32), "float32")
        k = T.alloc_buffer((32, 32), "int32")
        T.tf.load(x, X[i * 32 : i * 32 + 32, j * 32 : j * 32 + 32])
        T.tf.load(n, N[i * 32 : i * 32 + 32, j * 32 : j * 32 + 32])
        T.tf.load(w, v[j * 32 : j * 32 + 32])
        T.tf.lt(c, x, w)
        T.tf.select(c, c, x, w)
        T.tf.floor(x, c, scale=2.0)
        T.tf.gt(k, n, 123456789)
        T.tf.select(k, k, n, -7)
        T.tf.mul(n, k, n)
        T.tf.select(x, n, x, 0.5)
        T.tf.bitand(n, n, 255)
        T.tf.store(Y[i * 32 : i * 32 + 32, j * 32 : j * 32 + 32], x)
        T.tf.store(Z[i * 32 : i * 32 + 32, j * 32 : j * 32 + 32], n)


def test_choices_and_integers(rng: np.random.Generator) -> None:
    x = rng.standard_normal((70, 90)).astype(np.float32)
    n = rng.integers(-(2**31), 2**31, (70, 90)).astype(np.int32)
    n[::3] = 0
    v = rng.standard_normal(90).astype(np.float32)
    exe = tf.compile(choices)
    y, z = run_every_way(exe, [x, n, v])
    product = (np.where(n > 123456789, n, -7).astype(np.int64) * n).astype(np.int32)
    floors = np.floor(np.where(x < v, x, v) * np.float32(2))
    assert_same_bits(y, np.where(product != 0, floors, 0.5).astype(np.float32), "y")
    assert_same_bits(z, product & 255, "z")
    for got, by_oracle in zip((y, z), interpret(exe.program, x, n, v), strict=True):
        assert_same_bits(got, by_oracle, "interpreter")


def test_a_select_takes_as_long_as_the_model_says() -> None:
    exe = tf.compile(choices)
    assert exe.time().cycles == cycles(exe.program)
