"""T.tf.affine_select and T.tf.iota: masks and values from the places of elements, end to end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tvm
from marked_source import assert_points_at_mark, load, write_source
from tvm.ir import assert_structural_equal
from tvm.script import tirx as T

import tileflow_tvm as tf
from tileflow_tvm import KernelError
from tileflow_tvm.assembler import assemble, disassemble
from tileflow_tvm.frontend.read import read
from tileflow_tvm.frontend.write import write

B = 32


@T.prim_func
def causal(S: T.Buffer((70, 90), "float32"), Y: T.Buffer((70, 90), "float32")):
    for q, k in T.grid(3, 3):
        s = T.alloc_buffer((B, B), "float32")
        T.tf.load(s, S[q * B : q * B + B, k * B : k * B + B])
        T.tf.affine_select(s, q * B + T.tf.row() >= k * B + T.tf.col(), float("-inf"))
        T.tf.store(Y[q * B : q * B + B, k * B : k * B + B], s)


@T.prim_func
def window(S: T.Buffer((70, 90), "float32"), Y: T.Buffer((70, 90), "float32"), width: T.int32):
    for q, k in T.grid(3, 3):
        s = T.alloc_buffer((B, B), "float32")
        y = T.alloc_buffer((B, B), "float32")
        T.tf.load(s, S[q * B : q * B + B, k * B : k * B + B])
        T.tf.affine_select(
            y,
            s,
            where=k * B + T.tf.col() <= q * B + T.tf.row()
            and q * B + T.tf.row() - (k * B + T.tf.col()) < width,
            value=0.5,
        )
        T.tf.store(Y[q * B : q * B + B, k * B : k * B + B], y)


@T.prim_func
def places(Y: T.Buffer((70, 90), "float32"), Z: T.Buffer((90,), "int32"), first: T.int32):
    for q, k in T.grid(3, 3):
        y = T.alloc_buffer((B, B), "float32")
        T.tf.iota(y, 2 * (q * B + T.tf.row()) - (k * B + T.tf.col()) + first)
        T.tf.store(Y[q * B : q * B + B, k * B : k * B + B], y)
    z = T.alloc_buffer((90,), "int32")
    T.tf.iota(z, T.tf.col() * 5 - first)
    T.tf.affine_select(z, T.tf.col() == 7, -1)
    T.tf.store(Z[0:90], z)


def at(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    row, col = np.indices(shape)
    return row, col


def test_a_causal_mask_replaces_what_no_query_may_see(rng: np.random.Generator):
    row, col = at((70, 90))
    x = rng.standard_normal((70, 90), np.float32)
    x[row < col] = np.nan
    np.testing.assert_array_equal(tf.compile(causal)(x), np.where(row >= col, x, -np.inf))


@pytest.mark.parametrize("width", [0, 1, 40])
def test_a_window_whose_width_is_known_at_launch(rng: np.random.Generator, width: int):
    row, col = at((70, 90))
    x = rng.standard_normal((70, 90), np.float32)
    kept = (col <= row) & (row - col < width)
    np.testing.assert_array_equal(tf.compile(window)(x, width=width), np.where(kept, x, 0.5))


@pytest.mark.parametrize("first", [0, -9, 1 << 24])
def test_values_are_those_of_places(first: int):
    row, col = at((70, 90))
    y, z = tf.compile(places)(first=first)
    np.testing.assert_array_equal(y, (2 * row - col + first).astype(np.float32))
    line = np.arange(90)
    np.testing.assert_array_equal(z, np.where(line == 7, line * 5 - first, -1).astype(np.int32))


@pytest.mark.parametrize("func", [causal, window, places])
def test_both_engines_agree_and_text_reads_back(func, rng: np.random.Generator):
    exe = tf.compile(func)
    args = [] if func is places else [rng.standard_normal((70, 90), np.float32)]
    scalars = {causal: {}, window: {"width": 3}, places: {"first": 3}}[func]
    results = [exe(*args, engine=engine, **scalars) for engine in ("sequential", "threaded")]
    for one, two in zip(*(r if isinstance(r, tuple) else (r,) for r in results), strict=True):
        assert one.tobytes() == two.tobytes()
    text = disassemble(exe.program)
    assert assemble(text) == exe.program


@pytest.mark.parametrize("func", [causal, window, places])
def test_it_prints_as_it_could_have_been_written(func):
    program = read(func)
    again = write(program)
    assert_structural_equal(write(read(tvm.script.from_source(again.script()))), again)
    assert "T.tf.row()" in again.script()


REFUSED = {
    "no_comparison": ("T.tf.affine_select(s, s, T.tf.row() + 1, 0.0)  # HERE",
                      "is not a comparison", "joined by `and`"),
    "either": ("T.tf.affine_select(s, s, T.tf.row() >= 1 or T.tf.col() >= 2, 0.0)  # HERE",
               "is not a comparison", "for `or`, select"),
    "product": ("T.tf.iota(s, T.tf.row() * T.tf.col())  # HERE",
                "not affine: a product of variables", "sum of constants"),
    "elsewhere": ("T.tf.load(s, A[T.tf.row() : T.tf.row() + 32, 0:32])  # HERE",
                  "which T.tf.affine_select and T.tf.iota take", "sum of constants"),
    "large_step": ("T.tf.affine_select(s, s, 40000 * T.tf.row() >= 7, 0.0)  # HERE",
                   r"T.tf.row\(\) is taken 40000 times", "-32768..32767"),
    "no_value": ("b = T.alloc_buffer((32, 32), 'int32')\nT.tf.iota(b, 1)\n"
                 "T.tf.affine_select(b, b, T.tf.row() >= 1, 0.5)  # HERE",
                 "0.5 is no value of 'b', int32", "a number that int32 has exactly"),
    "narrow": ("b = T.alloc_buffer((32, 32), 'int8')\nT.tf.iota(b, 1)  # HERE",
               "is not float32 or int32", "T.tf.cast it first"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_place_and_a_way_out(name: str, tmp_path: Path):
    line, what, hint = REFUSED[name]
    body = f"s = T.alloc_buffer((32, 32))\n{line}\nT.tf.store(C[0:32, 0:32], s)"
    path = write_source(tmp_path, body)
    with pytest.raises(KernelError, match=what) as caught:
        tf.compile(load(path))
    assert hint in caught.value.hint
    assert_points_at_mark(caught.value, path)
