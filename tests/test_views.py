"""Views: tensors in DRAM seen with another shape, other strides, from another element on."""

from __future__ import annotations

import re

import ml_dtypes
import numpy as np
import pytest
from differential import assert_same_bits, check, matmul_bound, run_every_way
from graphs import Approx
from isa_interpreter import interpret
from marked_source import assert_points_at_mark, load, write_source
from random_views import Generator
from tile_interpreter import TileInterpreter
from tvm.script import tirx as T

import tileflow_tvm as tf
from tileflow_tvm.errors import KernelError
from tileflow_tvm.frontend.read import read
from tileflow_tvm.frontend.tile_ir import Buffer, Scope, View
from tileflow_tvm.frontend.write import write
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.emit import emit
from tileflow_tvm.passes.infer_scope import infer_scope
from tileflow_tvm.passes.pipeline import pipeline
from tileflow_tvm.passes.plan_sram import plan_sram
from tileflow_tvm.passes.resources import find_resources, iterations_are_disjoint

MACHINE = Machine.load("tileflow")


def exact(value: np.ndarray) -> Approx:
    wide = value.astype(np.float64)
    return Approx(wide, np.zeros_like(wide))


@pytest.mark.parametrize("units", [1, 2])
@pytest.mark.parametrize("group", range(6))
def test_random_views_mean_what_numpy_says(group, units, rng):
    """Every engine, the NumPy meaning of the ISA and that of tile level, where views are NumPy's;
    the verifier accepts each."""
    machine = MACHINE.replace(exec_engines=units)
    for seed in range(group * 20, group * 20 + 20):
        print("seed", seed)
        program = infer_scope(Generator(seed, units).program(), machine)
        a, b = (rng.standard_normal(param.shape).astype(np.float32) for param in program.params)
        tiles = TileInterpreter(program, 1).run({"A": a, "B": b})
        want = tiles["B"].astype(np.float32)
        exe = tf.compile(write(program), machine=machine)
        for engine in ("sequential", "threaded", "threaded"):
            got = exe.run(a, b, engine=engine).outputs[0]
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
        emitted = emit(pipeline(plan_sram(program, machine), machine), machine)
        np.testing.assert_allclose(interpret(emitted, a, b)[0], want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", ["decl_buffer", "view"])
@pytest.mark.parametrize("tile", [8, 32])
def test_a_reshape_of_rank_5(form, tile, rng):
    """All leading dimensions are the rows of a product; the result has them apart again."""
    lead, k, n = (2, 3, 5, 7), 20, 13
    rows = int(np.prod(lead))
    reshape = form == "view"

    @T.prim_func
    def product(
        X: T.Buffer((*lead, k), "float32"),
        W: T.Buffer((k, n), "float32"),
        Y: T.Buffer((*lead, n), "float32"),
    ):
        x = X.view(rows, k) if reshape else T.decl_buffer((rows, k), "float32", data=X.data)
        y = Y.view(rows, n) if reshape else T.decl_buffer((rows, n), "float32", data=Y.data)
        w = T.alloc_buffer((k, 16))
        T.tf.load(w, W[0:k, 0:16])
        for i in range(-(-rows // 64)):
            a = T.alloc_buffer((64, k))
            c = T.alloc_buffer((64, 16))
            T.tf.load(a, x[i * 64 : i * 64 + 64, 0:k])
            T.tf.gemm(c, a, w)
            T.tf.store(y[i * 64 : i * 64 + 64, 0:16], c)

    assert read(product).roles == ("in", "in", "out")
    x = rng.standard_normal((*lead, k)).astype(np.float32)
    w = rng.standard_normal((k, n)).astype(np.float32)
    bound = matmul_bound(x.reshape(rows, k), w)
    want = Approx(bound.value.reshape(*lead, n), bound.error.reshape(*lead, n))
    exe = check(product, [x, w], [want], tile=tile)
    assert "f32[210, 20] at arg X" in exe.asm


def test_strides_and_an_offset_pick_every_other_row_from_behind(rng):
    @T.prim_func
    def rows(X: T.Buffer((21, 10), "float32"), Y: T.Buffer((10, 9), "float32")):
        v = T.decl_buffer((10, 9), "float32", data=X.data, strides=(-20, 1), elem_offset=191)
        t = T.alloc_buffer((16, 16))
        T.tf.load(t, v[0:16, 0:16])
        T.tf.store(Y[0:16, 0:16], t)

    (x,) = [rng.standard_normal((21, 10)).astype(np.float32)]
    exe = check(rows, [x], [exact(x[19::-2, 1:])])
    assert ".tensor v f32[10, 9] strides [-20, 1] at arg X + 764" in exe.asm


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_a_view_of_a_narrow_type_with_an_odd_offset(dtype, rng):
    @T.prim_func
    def shifted(X: T.Buffer((50,), dtype), Y: T.Buffer((7, 7), dtype)):
        v = T.decl_buffer((7, 7), dtype, data=X.data, elem_offset=1)
        t = T.alloc_buffer((8, 8), dtype)
        T.tf.load(t, v[0:8, 0:8])
        T.tf.store(Y[0:8, 0:8], t)

    x = rng.integers(-9, 9, 50).astype(getattr(ml_dtypes, dtype, dtype))
    (y,) = run_every_way(tf.compile(shifted), [x])
    assert_same_bits(y, x[1:].reshape(7, 7), dtype)


def test_windows_that_overlap_can_be_loaded(rng):
    """Y[i] = the sum of X[i], .., X[i + 4]."""

    @T.prim_func
    def sums(X: T.Buffer((60,), "float32"), Y: T.Buffer((56,), "float32")):
        windows = T.decl_buffer((56, 5), "float32", data=X.data, strides=(1, 1))
        for i in range(2):
            t = T.alloc_buffer((32, 5))
            s = T.alloc_buffer((32,))
            T.tf.load(t, windows[i * 32 : i * 32 + 32, 0:5])
            T.tf.sum(s, t, axis=1)
            T.tf.store(Y[i * 32 : i * 32 + 32], s)

    x = rng.integers(-9, 9, 60).astype(np.float32)
    check(sums, [x], [exact(np.convolve(x, np.ones(5), "valid"))])


def two_stages(rows: int, cols: int, view_stores: bool):
    """relu(X) goes to scratch row by row of blocks; Y is the scratch as cols x rows, scaled."""

    @T.prim_func
    def kernel(X: T.Buffer((rows, cols), "float32"), Y: T.Buffer((cols, rows), "float32")):
        z = T.alloc_buffer((rows * cols,), scope="tile.dram")
        flat = T.decl_buffer((rows, cols), "float32", data=z.data)
        turned = T.decl_buffer((cols, rows), "float32", data=z.data, strides=(1, cols))
        for i in range(-(-rows // 16)):
            a = T.alloc_buffer((16, cols))
            T.tf.load(a, X[i * 16 : i * 16 + 16, 0:cols])
            T.tf.relu(a)
            if view_stores:
                T.tf.store(flat[i * 16 : i * 16 + 16, 0:cols], a)
            else:
                T.tf.store(z[i * 16 * cols], a, rows=[(16, 0, cols)], cols=[(cols, 0, 1)])
        for j in range(-(-cols // 16)):
            b = T.alloc_buffer((16, rows))
            T.tf.load(b, turned[j * 16 : j * 16 + 16, 0:rows])
            T.tf.mul(b, b, 2.0)
            T.tf.store(Y[j * 16 : j * 16 + 16, 0:rows], b)

    return kernel


@pytest.mark.parametrize(("rows", "cols"), [(70, 90), (16, 16), (33, 1), (5, 100)])
def test_a_stage_reads_through_a_view_what_another_stored_through_one(rows, cols, rng):
    x = rng.standard_normal((rows, cols)).astype(np.float32)
    exe = check(two_stages(rows, cols, True), [x], [exact(2 * np.maximum(x, 0).T)])
    want = exe.run(x, engine="sequential").outputs[0]
    for _ in range(10):
        assert_same_bits(exe.run(x, engine="threaded").outputs[0], want, "threaded")


def test_roles_follow_reads_and_writes_through_views(rng):
    """A is read through a view before its base is written; B is written through a view alone."""

    @T.prim_func
    def swap(A: T.Buffer((40,), "float32"), B: T.Buffer((5, 8), "float32")):
        behind = T.decl_buffer((40,), "float32", data=A.data, strides=(-1,), elem_offset=39)
        b = T.decl_buffer((40,), "float32", data=B.data)
        t = T.alloc_buffer((40,))
        T.tf.load(t, behind)
        T.tf.store(A, t)
        T.tf.load(t, behind)
        T.tf.store(b, t)

    assert read(swap).roles == ("inout", "out")
    x = rng.standard_normal(40).astype(np.float32)
    check(swap, [x], [exact(x[::-1]), exact(x.reshape(5, 8))])


def loop_of(func):
    program = plan_sram(infer_scope(read(func), MACHINE), MACHINE)
    (loop,) = (stmt for stmt in program.body if hasattr(stmt, "var"))
    (resource,) = (r for r in find_resources(program, MACHINE)
                   if any(b.scope is Scope.DRAM for b in r.buffers))  # fmt: skip
    return resource, loop


@T.prim_func
def in_place(A: T.Buffer((64, 8), "float32")):
    v = T.decl_buffer((8, 64), "float32", data=A.data)
    for i in range(8):
        t = T.alloc_buffer((64,))
        T.tf.load(t, v[i, 0:64])
        T.tf.exp(t)
        T.tf.store(v[i, 0:64], t)


@T.prim_func
def two_ways(A: T.Buffer((64, 8), "float32")):
    """Row i of the view is rows 8 i.. of A, which an iteration further on loads."""
    v = T.decl_buffer((8, 64), "float32", data=A.data)
    w = T.decl_buffer((8, 64), "float32", data=A.data, strides=(-64, 1), elem_offset=448)
    for i in range(8):
        t = T.alloc_buffer((64,))
        T.tf.load(t, w[i, 0:64])
        T.tf.neg(t)
        T.tf.store(v[i, 0:64], t)


def test_iterations_are_disjoint_through_one_view_only(rng):
    assert iterations_are_disjoint(*loop_of(in_place))
    assert not iterations_are_disjoint(*loop_of(two_ways))
    x = rng.standard_normal((64, 8)).astype(np.float32)
    want = x.reshape(8, 64).copy()
    for i in range(8):
        want[i] = -want[7 - i]
    check(two_ways, [x], [exact(want.reshape(64, 8))])


def test_a_view_is_where_its_tensor_is_placed():
    """Two temporaries in DRAM: views follow the addresses that plan_sram gives."""
    program = plan_sram(infer_scope(read(two_stages(33, 7, True)), MACHINE), MACHINE)
    buffers = {stmt.buffer.name: stmt.buffer for stmt in program.body if hasattr(stmt, "buffer")}
    assert buffers["flat"].view == View(buffers["z"], 0, (7, 1))
    assert buffers["turned"].view.base is buffers["z"]
    assert buffers["z"].address == 0
    assert buffers["flat"].address is None


ERRORS = {
    "overlapping_store": (
        """
        v = T.decl_buffer((60, 5), "float32", data=V.data, strides=(1, 1))
        t = T.alloc_buffer((60, 5))
        T.tf.load(t, v)
        T.tf.store(v, t)  # HERE
        """,
        r"store: two indices of the view 'v' \(60, 5\) may meet one element of 'V'",
        "each longer than",
    ),
    "repeating_store": (
        """
        v = T.decl_buffer((2, 64), "float32", data=V.data, strides=(0, 1))
        t = T.alloc_buffer((2, 64))
        T.tf.load(t, A[0:2, 0:64])
        T.tf.store(v, t)  # HERE
        """,
        "may meet one element of 'V'",
        "",
    ),
    "too_far": (
        'v = T.decl_buffer((8, 9), "float32", data=V.data)  # HERE',
        r"the view 'v' \(8, 9\) reaches elements 0..71 of 'V', which has 64",
        "elem_offset",
    ),
    "in_front": (
        'v = T.decl_buffer((8,), "float32", data=V.data, strides=(-1,), elem_offset=6)  # HERE',
        "reaches elements -1..6 of 'V'",
        "",
    ),
    "of_a_view": (
        """
        v = T.decl_buffer((8, 8), "float32", data=V.data)
        w = T.decl_buffer((64,), "float32", data=v.data)  # HERE
        """,
        "'w' is a view of the view 'v'",
        "make it a view of 'V'",
    ),
    "another_dtype": (
        'v = T.decl_buffer((64,), "int32", data=V.data)  # HERE',
        "'v' is int32, but 'V' is float32",
        "T.tf.cast",
    ),
    "strides": (
        'v = T.decl_buffer((8, 8), "float32", data=V.data, strides=(1,))  # HERE',
        "has 1 strides",
        "one for each",
    ),
    "variable_offset": (
        'v = T.decl_buffer((8,), "float32", data=V.data, elem_offset=n)  # HERE',
        "the offset n varies with n",
        "constant",
    ),
    "layout": (
        """
        v = T.decl_buffer((8, 8), data=V.data, layout=T.TileLayout(T.S[(8, 8):(1, 8)]))  # HERE
        """,
        "'v' has a layout of its own",
        "strides=",
    ),
    "of_a_grid": (
        """
        t = T.alloc_buffer((32, 32), scope="tile.grid")
        v = T.decl_buffer((1024,), "float32", data=t.data)  # HERE
        """,
        "'v' is a view of 't', which is on chip",
        "in DRAM",
    ),
    "of_a_block": (
        """
        t = T.alloc_buffer((32, 64))
        v = T.decl_buffer((64, 32), "float32", data=t.data)  # HERE
        T.tf.load(t, A[0:32, 0:64])
        T.tf.exp(t)
        """,
        "'t' is seen through the view 'v', in DRAM, and .*, on chip",
        "use two",
    ),
    "operand": (
        """
        v = T.decl_buffer((8, 8), "float32", data=V.data)
        T.tf.exp(v)  # HERE
        """,
        "'v' is in DRAM and cannot be an operand of unary",
        "load it into a block",
    ),
    "outside": (
        """
        v = T.decl_buffer((4, 8), "float32", data=V.data)
        t = T.alloc_buffer((4, 8))
        T.tf.load(t, v[4:8, 0:8])  # HERE
        """,
        r"index \[4 : \+4\] never meets dimension 0 of 'v' \(4, 8\)",
        "",
    ),
}


@pytest.mark.parametrize(("body", "message", "hint"), ERRORS.values(), ids=ERRORS)
def test_what_is_refused(tmp_path, body, message, hint):
    path = write_source(tmp_path, body)
    with pytest.raises(KernelError) as caught:
        infer_scope(read(load(path)), MACHINE)
    error = caught.value
    assert re.search(message, error.what), error
    assert error.hint, error
    assert re.search(hint, error.hint), error
    assert_points_at_mark(error, path)


def test_whether_a_view_meets_itself():
    base = Buffer("b", (1000,))

    def meets(shape, strides):
        return Buffer("v", shape, view=View(base, 0, strides)).aliases_itself

    assert not base.aliases_itself
    assert not meets((3, 4), (4, 1))
    assert not meets((4, 3), (1, -4))
    assert not meets((4, 1), (1, 0))
    assert meets((4, 2), (1, 0))
    assert meets((4, 3), (1, 3))
    assert not meets((2, 2), (2, 3))
    assert not meets((0, 5), (3, 1))
