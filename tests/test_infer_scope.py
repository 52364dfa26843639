"""infer_scope: scopes, engines, true extents; and that they give NumPy's numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from isa_interpreter import interpret
from tvm.script import tirx as T
from tvm.tirx import PrimFunc

from tileflow_tvm.errors import KernelError
from tileflow_tvm.frontend.read import read
from tileflow_tvm.frontend.tile_ir import Affine, Alloc, Extent, Op, Program, Scope, walk
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.isa.table import Engine
from tileflow_tvm.passes.emit import emit
from tileflow_tvm.passes.infer_scope import infer_scope
from tileflow_tvm.passes.pipeline import pipeline
from tileflow_tvm.passes.plan_sram import plan_sram

MACHINE = Machine.load("tileflow")


def inferred(func: PrimFunc) -> Program:
    return infer_scope(read(func), MACHINE)


def run(func: PrimFunc, *inputs: np.ndarray, scalars: tuple[int, ...] = ()) -> list[np.ndarray]:
    """What the compiled program computes, by the NumPy meaning of the ISA."""
    program = pipeline(plan_sram(inferred(func), MACHINE), MACHINE)
    return interpret(emit(program, MACHINE), *inputs, scalars=scalars)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def scopes(program: Program) -> dict[str, Scope]:
    return {s.buffer.name: s.buffer.scope for s in walk(program.body) if isinstance(s, Alloc)}


def only(program: Program, name: str) -> Op:
    (op,) = (op for op in program.ops if op.name == name)
    return op


def assert_close(got: np.ndarray, want: np.ndarray) -> None:
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)


def gemm_bias_relu(m: int, n: int, k: int) -> PrimFunc:
    @T.prim_func
    def kernel(
        A: T.Buffer((m, k), "float32"), B: T.Buffer((k, n), "float32"),
        bias: T.Buffer((n,), "float32"), C: T.Buffer((m, n), "float32"),
    ):  # fmt: skip
        acc = T.alloc_buffer((32, 64))
        row = T.alloc_buffer((64,))
        for i in range((m + 31) // 32):
            for j in range((n + 63) // 64):
                T.tile.copy(row, bias[j * 64 : j * 64 + 64])
                T.tile.zero(acc)
                for p in range((k + 31) // 32):
                    a = T.alloc_buffer((32, 32))
                    b = T.alloc_buffer((32, 64))
                    T.tile.copy(a, A[i * 32 : i * 32 + 32, p * 32 : p * 32 + 32])
                    T.tile.copy(b, B[p * 32 : p * 32 + 32, j * 64 : j * 64 + 64])
                    T.tile.gemm(acc, a, b, acc, beta=1.0)
                T.tile.add(acc, acc, row)
                T.tf.relu(acc)
                T.tile.copy(C[i * 32 : i * 32 + 32, j * 64 : j * 64 + 64], acc)

    return kernel


@pytest.mark.parametrize(("m", "n", "k"), [(1, 1, 1), (100, 70, 50), (33, 129, 31), (64, 64, 64)])
def test_gemm_of_any_size(m, n, k):
    a, b, bias = normal(m, k), normal(k, n, seed=1), normal(n, seed=2)
    (c,) = run(gemm_bias_relu(m, n, k), a, b, bias)
    assert_close(c, np.maximum(a.astype(np.float64) @ b + bias, 0))


def test_what_is_inferred_of_a_gemm():
    program = inferred(gemm_bias_relu(100, 128, 50))
    assert scopes(program) == {
        "acc": Scope.GRID, "row": Scope.VEC, "a": Scope.GRID, "b": Scope.GRID,
    }  # fmt: skip
    i = program.body[2]
    p = i.body[0].body[2]
    gemm = only(program, "gemm")
    rows = Extent(32, Affine(100, ((i.var, -32),)))
    assert gemm.extents == (rows, Extent(64), Extent(32, Affine(50, ((p.var, -32),))))
    assert [op.name for op in program.ops] == [
        "load", "fill", "load", "load", "gemm", "binary", "unary", "store",
    ]  # fmt: skip
    assert {op.name: op.engine for op in program.ops} == {
        "load": Engine.LOAD, "store": Engine.STORE, "fill": Engine.EXEC, "gemm": Engine.EXEC,
        "binary": Engine.EXEC, "unary": Engine.EXEC,
    }  # fmt: skip
    assert only(program, "binary").modes == ("full", "row")
    assert only(program, "fill").extents == (Extent(32), Extent(64))
    assert only(program, "store").extents == (rows, Extent(64))


def softmax(rows: int, cols: int, width: int) -> PrimFunc:
    @T.prim_func
    def kernel(X: T.Buffer((rows, cols), "float32"), Y: T.Buffer((rows, cols), "float32")):
        x = T.alloc_buffer((32, width))
        top = T.alloc_buffer((32, 1))
        total = T.alloc_buffer((32, 1))
        for i in range((rows + 31) // 32):
            T.tf.load(x, X[i * 32 : i * 32 + 32, 0:width])
            T.tf.max(top, x, axis=1)
            T.tf.sub(x, top)
            T.tf.exp(x)
            T.tf.sum(total, x, axis=1)
            T.tf.div(x, total)
            T.tf.store(Y[i * 32 : i * 32 + 32, 0:width], x)

    return kernel


@pytest.mark.parametrize(("rows", "cols", "width"), [(70, 100, 128), (5, 32, 32), (64, 1, 32)])
def test_padding_never_enters_a_softmax(rows, cols, width):
    x = normal(rows, cols) - 50  # exp(0 of the padding - max) would overwhelm everything
    (y,) = run(softmax(rows, cols, width), x)
    e = np.exp(x.astype(np.float64) - x.max(axis=1, keepdims=True))
    assert_close(y, e / e.sum(axis=1, keepdims=True))


def test_inf_in_the_data_does_not_meet_padding():
    a, b = normal(40, 33), normal(33, 50, seed=1)
    a[3, 32] = np.inf
    (c,) = run(gemm_bias_relu(40, 50, 33), a, b, np.zeros(50, np.float32))
    with np.errstate(invalid="ignore"):
        assert_close(c, np.maximum(a.astype(np.float64) @ b, 0))


@pytest.mark.parametrize(("rows", "cols"), [(50, 70), (1, 40), (37, 1)])
def test_reductions_along_both_axes_and_over_blocks(rows, cols):
    @T.prim_func
    def kernel(
        X: T.Buffer((rows, cols), "float32"), R: T.Buffer((rows,), "float32"),
        C: T.Buffer((cols,), "float32"),
    ):  # fmt: skip
        for i in range((rows + 31) // 32):
            r = T.alloc_buffer((32,))
            for j in range((cols + 31) // 32):
                x = T.alloc_buffer((32, 32))
                T.tf.load(x, X[i * 32 : i * 32 + 32, j * 32 : j * 32 + 32])
                T.tf.sum(r, x, axis=1, clear=j == 0)
            T.tf.store(R[i * 32 : i * 32 + 32], r)
        for j in range((cols + 31) // 32):
            c = T.alloc_buffer((32,))
            for i in range((rows + 31) // 32):
                y = T.alloc_buffer((32, 32))
                T.tf.load(y, X[i * 32 : i * 32 + 32, j * 32 : j * 32 + 32])
                T.tf.max(c, y, axis=0, clear=i == 0)
            T.tf.store(C[j * 32 : j * 32 + 32], c)

    x = normal(rows, cols) - 5
    r, c = run(kernel, x)
    assert_close(r, x.astype(np.float64).sum(axis=1))
    np.testing.assert_array_equal(c, x.max(axis=0))


def test_triangular_loops():
    @T.prim_func
    def kernel(A: T.Buffer((90, 90), "float32"), C: T.Buffer((90, 90), "float32")):
        for i in range(3):
            for j in range(i + 1):
                t = T.alloc_buffer((32, 32))
                T.tile.copy(t, A[i * 32 : i * 32 + 32, j * 32 : j * 32 + 32])
                T.tf.mul(t, t, 2.0)
                T.tile.copy(C[i * 32 : i * 32 + 32, j * 32 : j * 32 + 32], t)

    a = normal(90, 90)
    (c,) = run(kernel, a)
    block = np.arange(90) // 32
    kept = block[:, None] >= block[None, :]
    np.testing.assert_array_equal(c[kept], 2 * a[kept])
    assert np.isnan(c[~kept]).all()


def test_a_launch_parameter_bounds_a_loop():
    @T.prim_func
    def kernel(A: T.Buffer((100, 8), "float32"), C: T.Buffer((100, 8), "float32"), n: T.int32):
        for i in range(n):
            t = T.alloc_buffer((32, 8))
            T.tile.copy(t, A[i * 32 : i * 32 + 32, 0:8])
            T.tf.neg(t)
            T.tile.copy(C[i * 32 : i * 32 + 32, 0:8], t)

    a = normal(100, 8)
    for count in range(5):
        (c,) = run(kernel, a, scalars=(count,))
        end = min(100, count * 32)
        np.testing.assert_array_equal(c[:end], -a[:end])
        assert np.isnan(c[end:]).all()


def test_slices_of_higher_rank_drop_unit_dimensions():
    @T.prim_func
    def kernel(A: T.Buffer((3, 40, 2, 33), "float32"), C: T.Buffer((40, 3, 33), "float32")):
        for b in range(3):
            for i in range(2):
                t = T.alloc_buffer((32, 64))
                T.tf.load(t, A[b, i * 32 : i * 32 + 32, 1, 0:64])
                T.tf.store(C[i * 32 : i * 32 + 32, b, 0:64], t)

    a = normal(3, 40, 2, 33)
    (c,) = run(kernel, a)
    np.testing.assert_array_equal(c, a[:, :, 1].transpose(1, 0, 2))


def test_a_transposed_load_and_a_transpose_on_chip():
    @T.prim_func
    def kernel(
        A: T.Buffer((50, 70), "float32"), C: T.Buffer((70, 50), "float32"),
        D: T.Buffer((70, 50), "float32"),
    ):  # fmt: skip
        for i in range(2):
            for j in range(3):
                t = T.alloc_buffer((32, 32))
                u = T.alloc_buffer((32, 32))
                v = T.alloc_buffer((32, 32))
                T.tf.load(t, A[i * 32 : i * 32 + 32, j * 32 : j * 32 + 32], transposed=True)
                T.tf.store(C[j * 32 : j * 32 + 32, i * 32 : i * 32 + 32], t)
                T.tf.load(u, A[i * 32 : i * 32 + 32, j * 32 : j * 32 + 32])
                T.tf.copy(v, u, transposed=True)
                T.tf.store(D[j * 32 : j * 32 + 32, i * 32 : i * 32 + 32], v)

    a = normal(50, 70)
    for got in run(kernel, a):
        np.testing.assert_array_equal(got, a.T)


def test_a_block_assembled_from_parts_is_clipped_as_a_whole():
    @T.prim_func
    def kernel(A: T.Buffer((150, 20), "float32"), C: T.Buffer((150, 20), "float32")):
        t = T.alloc_buffer((128, 32))
        for i in range(2):
            for r in range(4):
                T.tf.load(t[r * 32 : r * 32 + 32, 0:32],
                          A[i * 128 + r * 32 : i * 128 + r * 32 + 32, 0:32])  # fmt: skip
            T.tf.exp(t)
            T.tf.store(C[i * 128 : i * 128 + 128, 0:32], t)

    program = inferred(kernel)
    exp = only(program, "unary")
    i = program.body[1].var
    assert exp.extents == (Extent(128, Affine(150, ((i, -128),))), Extent(20))
    a = normal(150, 20)
    (c,) = run(kernel, a)
    assert_close(c, np.exp(a))


def test_a_temporary_that_is_only_loaded_and_stored_is_in_dram():
    @T.prim_func
    def kernel(A: T.Buffer((70, 40), "float32"), C: T.Buffer((70, 40), "float32")):
        tmp = T.alloc_buffer((70, 40))
        for i in range(3):
            t = T.alloc_buffer((32, 64))
            T.tile.copy(t, A[i * 32 : i * 32 + 32, 0:64])
            T.tf.abs(t)
            T.tile.copy(tmp[i * 32 : i * 32 + 32, 0:64], t)
        for i in range(3):
            u = T.alloc_buffer((32, 64))
            T.tile.copy(u, tmp[i * 32 : i * 32 + 32, 0:64])
            T.tf.sqrt(u)
            T.tile.copy(C[i * 32 : i * 32 + 32, 0:64], u)

    assert scopes(inferred(kernel))["tmp"] is Scope.DRAM
    a = normal(70, 40)
    (c,) = run(kernel, a)
    assert_close(c, np.sqrt(np.abs(a)))


def test_copies_are_what_their_ends_say():
    @T.prim_func
    def kernel(A: T.Buffer((32, 32), "float32"), C: T.Buffer((32, 32), "float32")):
        x = T.alloc_buffer((32, 32))
        y = T.alloc_buffer((32, 32))
        T.tile.copy(x, A)
        T.tile.copy(y, x)
        T.tf.neg(y)
        T.tile.copy(C, y)

    program = inferred(kernel)
    assert [op.name for op in program.ops] == ["load", "unary", "unary", "store"]
    assert program.ops[1].func == "identity"


def test_every_mode_of_a_binary_operation():
    @T.prim_func
    def kernel(
        A: T.Buffer((20, 50), "float32"), R: T.Buffer((50,), "float32"),
        L: T.Buffer((20,), "float32"), S: T.Buffer((1,), "float32"),
        C: T.Buffer((20, 50), "float32"), D: T.Buffer((20, 50), "float32"),
    ):  # fmt: skip
        a = T.alloc_buffer((32, 64))
        r = T.alloc_buffer((64,))
        col = T.alloc_buffer((32, 1))
        s = T.alloc_buffer((1,))
        d = T.alloc_buffer((32, 64))
        T.tf.load(a, A[0:32, 0:64])
        T.tf.load(r, R[0:64])
        T.tf.load(col, L[0:32])
        T.tf.load(s, S)
        T.tf.sub(d, col, r)
        T.tf.store(D[0:32, 0:64], d)
        T.tf.sub(a, r, a)
        T.tf.mul(a, a, col)
        T.tf.div(a, a, s[0])
        T.tf.sub(a, 3.0, a)
        T.tf.maximum(a, a, a)
        T.tf.store(C[0:32, 0:64], a)

    program = inferred(kernel)
    modes = [op.modes for op in program.ops if op.name == "binary"]
    assert modes == [
        ("col", "row"), ("row", "full"), ("full", "col"), ("full", "scalar"), ("imm", "full"),
        ("full", "full"),
    ]  # fmt: skip
    a, r, col, s = normal(20, 50), normal(50, seed=1), normal(20, seed=2), normal(1, seed=3)
    c, d = run(kernel, a, r, col, s)
    assert_close(c, 3.0 - (r.astype(np.float64) - a) * col[:, None] / s)
    assert_close(d, col[:, None].astype(np.float64) - r)


def test_vectors_of_either_rank_meet():
    @T.prim_func
    def kernel(A: T.Buffer((70,), "float32"), C: T.Buffer((70,), "float32")):
        for i in range(2):
            row = T.alloc_buffer((1, 48))
            vec = T.alloc_buffer((48,))
            col = T.alloc_buffer((48, 1))
            T.tf.load(row, A[i * 48 : i * 48 + 48])
            T.tf.exp(vec, row)
            T.tf.neg(col, vec)
            T.tf.store(C[i * 48 : i * 48 + 48], col)

    program = inferred(kernel)
    assert set(scopes(program).values()) == {Scope.VEC}
    a = normal(70)
    (c,) = run(kernel, a)
    assert_close(c, -np.exp(a))


def test_a_unit_matrix_dimension_is_a_grid_where_gemm_uses_it():
    @T.prim_func
    def kernel(
        A: T.Buffer((1, 50), "float32"), B: T.Buffer((50, 40), "float32"),
        C: T.Buffer((1, 40), "float32"),
    ):  # fmt: skip
        a = T.alloc_buffer((1, 64))
        b = T.alloc_buffer((64, 64))
        c = T.alloc_buffer((1, 64))
        T.tf.load(a, A[0:1, 0:64])
        T.tf.load(b, B[0:64, 0:64])
        T.tf.gemm(c, a, b)
        T.tf.store(C[0:1, 0:64], c)

    assert set(scopes(inferred(kernel)).values()) == {Scope.GRID}
    a, b = normal(1, 50), normal(50, 40, seed=1)
    assert_close(run(kernel, a, b)[0], a.astype(np.float64) @ b)


def test_products_with_vectors():
    @T.prim_func
    def kernel(
        A: T.Buffer((40, 50), "float32"), X: T.Buffer((50,), "float32"),
        Z: T.Buffer((40,), "float32"), Y: T.Buffer((40,), "float32"),
        W: T.Buffer((50,), "float32"), U: T.Buffer((40, 50), "float32"),
        D: T.Buffer((1,), "float32"),
    ):  # fmt: skip
        a = T.alloc_buffer((64, 64))
        x = T.alloc_buffer((64,))
        y = T.alloc_buffer((64,))
        z = T.alloc_buffer((64,))
        w = T.alloc_buffer((64,))
        o = T.alloc_buffer((64, 64))
        d = T.alloc_buffer((1,))
        T.tf.load(a, A[0:64, 0:64])
        T.tf.load(x, X[0:64])
        T.tf.load(z, Z[0:64])
        T.tf.gemm(y, a, x)
        T.tf.gemm(w, z, a)
        T.tf.gemm(o, z, x)
        T.tf.gemm(d, x, x)
        T.tf.store(Y[0:64], y)
        T.tf.store(W[0:64], w)
        T.tf.store(U[0:64, 0:64], o)
        T.tf.store(D, d)

    a, x, z = normal(40, 50), normal(50, seed=1), normal(40, seed=2)
    y, w, o, d = run(kernel, a, x, z)
    a, x, z = (array.astype(np.float64) for array in (a, x, z))
    for got, want in ((y, a @ x), (w, z @ a), (o, np.outer(z, x)), (d, [x @ x])):
        assert_close(got, want)


def test_strips_of_a_block_that_accumulate_alike():
    @T.prim_func
    def kernel(
        A: T.Buffer((20, 70), "float32"), B: T.Buffer((70, 100), "float32"),
        C: T.Buffer((20, 100), "float32"),
    ):  # fmt: skip
        c = T.alloc_buffer((32, 128))
        for k in range(3):
            a = T.alloc_buffer((32, 32))
            T.tf.load(a, A[0:32, k * 32 : k * 32 + 32])
            for n in range(4):
                b = T.alloc_buffer((32, 32))
                T.tf.load(b, B[k * 32 : k * 32 + 32, n * 32 : n * 32 + 32])
                T.tf.gemm(c[0:32, n * 32 : n * 32 + 32], a, b, clear=k == 0)
        for n in range(4):
            T.tf.neg(c[0:32, n * 32 : n * 32 + 32])
            T.tf.store(C[0:32, n * 32 : n * 32 + 32], c[0:32, n * 32 : n * 32 + 32])

    a, b = normal(20, 70), normal(70, 100, seed=1)
    assert_close(run(kernel, a, b)[0], -(a.astype(np.float64) @ b))


def test_disjoint_parts_of_one_block_are_different_operands():
    @T.prim_func
    def kernel(A: T.Buffer((20, 90), "float32"), C: T.Buffer((20, 32), "float32")):
        a = T.alloc_buffer((32, 96))
        T.tf.load(a, A[0:32, 0:96])
        T.tf.add(a[0:32, 32:64], a[0:32, 32:64], a[0:32, 0:32])
        T.tf.sub(a[0:32, 0:32], a[0:32, 32:64], 1.0)
        T.tf.store(C[0:32, 0:32], a[0:32, 0:32])

    a = normal(20, 90)
    assert_close(run(kernel, a)[0], a[:, :32] + a[:, 32:64] - 1)


def test_the_last_iteration_counts_after_a_loop():
    @T.prim_func
    def kernel(A: T.Buffer((70, 8), "float32"), C: T.Buffer((6, 8), "float32")):
        t = T.alloc_buffer((32, 8))
        for i in range(3):
            T.tf.load(t, A[i * 32 : i * 32 + 32, 0:8])
            T.tf.exp(t)
        T.tf.neg(t)
        T.tf.store(C[0:32, 0:8], t)

    program = inferred(kernel)
    neg = program.ops[2]
    assert neg.extents[0] == Extent(6)
    a = normal(70, 8)
    assert_close(run(kernel, a)[0], -np.exp(a[64:]))


def test_a_slice_that_begins_in_front_of_a_tensor_is_refused():
    @T.prim_func
    def kernel(A: T.Buffer((40,), "float32"), C: T.Buffer((41,), "float32")):
        t = T.alloc_buffer((48,))
        T.tf.load(t, A[-1:47], fill=7.0)
        T.tf.store(C[0:48], t)

    with pytest.raises(KernelError, match=r"\[-1 : \+48\] begins in front of") as caught:
        inferred(kernel)
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    assert "T.tf.load(t, A[-1" in lines[caught.value.loc.line - 1]
    assert "begin at 0 or later" in caught.value.hint


def test_an_empty_tensor():
    @T.prim_func
    def kernel(A: T.Buffer((0, 8), "float32"), C: T.Buffer((8,), "float32")):
        t = T.alloc_buffer((32, 8))
        s = T.alloc_buffer((8,))
        T.tf.load(t, A[0:32, 0:8])
        T.tf.sum(s, t, axis=0)
        T.tf.store(C, s)

    (c,) = run(kernel, np.zeros((0, 8), np.float32))
    np.testing.assert_array_equal(c, np.zeros(8))
