"""Matrix products and reductions, as `lift` recognises them."""

from __future__ import annotations

import numpy as np
import pytest
from lifted import MACHINE, check_lift, ops
from reference_numpy import run_tensor_program
from tvm.script import tirx as T

from tileflow_tvm.passes.lift import lift


@T.prim_func(s_tir=True)
def scaled_product(A: T.Buffer((6, 7), "float32"), B: T.Buffer((5, 7), "float32"),
                   C: T.Buffer((6, 5), "float32")):  # fmt: skip
    for i, j, k in T.grid(6, 5, 7):
        with T.sblock("mm"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                C[vi, vj] = T.float32(0)
            C[vi, vj] = C[vi, vj] + T.exp(B[vj, vk]) * (A[vi, vk] * T.float32(0.5))


def test_an_operand_of_a_product_may_be_an_expression(rng: np.random.Generator) -> None:
    assert ops(check_lift(scaled_product, rng)) == [
        "C_exp = unary exp(B)",
        "C_mul = binary mul(A, 0.5) full imm",
        "C = gemm(C_mul, C_exp) tb",
    ]


def test_vectors_and_matrices(rng: np.random.Generator) -> None:
    @T.prim_func(s_tir=True)
    def vectors(
        A: T.Buffer((6, 7), "float32"), x: T.Buffer((7,), "float32"),
        z: T.Buffer((6,), "float32"), y: T.Buffer((6,), "float32"),
        w: T.Buffer((7,), "float32"), d: T.Buffer((1,), "float32"),
        O: T.Buffer((6, 7), "float32"),  # noqa: E741
    ):  # fmt: skip
        for i, k in T.grid(6, 7):
            with T.sblock("matvec"):
                vi, vk = T.axis.remap("SR", [i, k])
                with T.init():
                    y[vi] = T.float32(0)
                y[vi] = y[vi] + A[vi, vk] * x[vk]
        for j, k in T.grid(7, 6):
            with T.sblock("vecmat"):
                vj, vk = T.axis.remap("SR", [j, k])
                with T.init():
                    w[vj] = T.float32(0)
                w[vj] = w[vj] + z[vk] * A[vk, vj]
        for k in range(7):
            with T.sblock("dot"):
                vk = T.axis.reduce(7, k)
                with T.init():
                    d[0] = T.float32(0)
                d[0] = d[0] + x[vk] * w[vk]
        for i, j in T.grid(6, 7):
            with T.sblock("outer"):
                vi, vj = T.axis.remap("SS", [i, j])
                O[vi, vj] = y[vi] * x[vj]

    assert ops(check_lift(vectors, rng)) == [
        "y = gemm(A, x)",
        "w = gemm(z, A)",
        "d = gemm(x, w)",
        "O = binary mul(y, x) col row",
    ]


def test_row_products_are_a_map_and_a_sum(rng: np.random.Generator) -> None:
    @T.prim_func(s_tir=True)
    def row_dot(A: T.Buffer((6, 7), "float32"), B: T.Buffer((6, 7), "float32"),
                y: T.Buffer((6, 1), "float32")):  # fmt: skip
        for i, k in T.grid(6, 7):
            with T.sblock("dot"):
                vi, vk = T.axis.remap("SR", [i, k])
                with T.init():
                    y[vi, 0] = T.float32(0)
                y[vi, 0] = y[vi, 0] + A[vi, vk] * B[vi, vk]

    assert ops(check_lift(row_dot, rng)) == [
        "y_mul = binary mul(A, B) full full",
        "y = reduce sum(y_mul) cols",
    ]


def test_a_start_value_is_added_at_the_end(rng: np.random.Generator) -> None:
    @T.prim_func(s_tir=True)
    def biased(A: T.Buffer((6, 7), "float32"), B: T.Buffer((7, 5), "float32"),
               b: T.Buffer((5,), "float32"), C: T.Buffer((6, 5), "float32"),
               s: T.Buffer((6,), "float32")):  # fmt: skip
        for i, j, k in T.grid(6, 5, 7):
            with T.sblock("mm"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                with T.init():
                    C[vi, vj] = b[vj]
                C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]
        for i, k in T.grid(6, 7):
            with T.sblock("s"):
                vi, vk = T.axis.remap("SR", [i, k])
                with T.init():
                    s[vi] = T.float32(1)
                s[vi] = A[vi, vk] + s[vi]

    assert ops(check_lift(biased, rng)) == [
        "C_gemm = gemm(A, B)",
        "C = binary add(b, C_gemm) row full",
        "s_sum = reduce sum(A) cols",
        "s = binary add(1, s_sum) imm full",
    ]


def test_a_maximum_keeps_its_finite_start_value() -> None:
    @T.prim_func(s_tir=True)
    def row_max(A: T.Buffer((3, 4), "float32"), m: T.Buffer((3,), "float32")):
        for i, k in T.grid(3, 4):
            with T.sblock("m"):
                vi, vk = T.axis.remap("SR", [i, k])
                with T.init():
                    m[vi] = T.min_value("float32")
                m[vi] = T.max(m[vi], A[vi, vk])

    data = np.full((3, 4), -np.inf)
    data[1, 2] = 3.0
    data[2, 0] = np.nan
    (got,) = run_tensor_program(lift(row_max, MACHINE), [data])
    np.testing.assert_array_equal(got, [np.finfo(np.float32).min, 3.0, np.nan])


def test_fill_then_accumulate_without_init(rng: np.random.Generator) -> None:
    @T.prim_func(s_tir=True)
    def two_blocks(A: T.Buffer((6, 7), "float32"), B: T.Buffer((7, 5), "float32"),
                   C: T.Buffer((6, 5), "float32")):  # fmt: skip
        for i, j in T.grid(6, 5):
            with T.sblock("zero"):
                vi, vj = T.axis.remap("SS", [i, j])
                C[vi, vj] = T.float32(3)
        for i, j, k in T.grid(6, 5, 7):
            with T.sblock("mm"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]

    assert ops(check_lift(two_blocks, rng)) == [
        "C_1 = fill(3)",
        "C_gemm = gemm(A, B)",
        "C = binary add(C_1, C_gemm) full full",
    ]


def test_reductions_of_what_does_not_depend_on_the_axis(rng: np.random.Generator) -> None:
    @T.prim_func(s_tir=True)
    def odd(x: T.Buffer((6,), "float32"), A: T.Buffer((9, 6), "float32"),
            y: T.Buffer((6,), "float32"), n: T.Buffer((6,), "float32"),
            B: T.Buffer((4, 6), "float32")):  # fmt: skip
        for i, k in T.grid(6, 5):
            with T.sblock("y"):
                vi, vk = T.axis.remap("SR", [i, k])
                with T.init():
                    y[vi] = T.float32(0)
                y[vi] = y[vi] + x[vi]
        for i, k in T.grid(6, 5):
            with T.sblock("n"):
                vi, vk = T.axis.remap("SR", [i, k])
                with T.init():
                    n[vi] = T.float32(1)
                n[vi] = n[vi] * T.float32(2)
        for i, j, k in T.grid(4, 6, 9):
            with T.sblock("b"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                with T.init():
                    B[vi, vj] = T.float32(0)
                B[vi, vj] = B[vi, vj] + A[vk, vj] * x[vj]

    check_lift(odd, rng)


@pytest.mark.parametrize("m", [0, 3])
@pytest.mark.parametrize("k", [0, 4])
@pytest.mark.parametrize("n", [0, 5])
def test_empty_dimensions(m: int, k: int, n: int) -> None:
    @T.prim_func(s_tir=True)
    def product(A: T.Buffer((m, k), "float32"), B: T.Buffer((k, n), "float32"),
                Y: T.Buffer((m, n), "float32"), r: T.Buffer((m,), "float32")):  # fmt: skip
        for i, j, l in T.grid(m, n, k):  # noqa: E741
            with T.sblock("mm"):
                vi, vj, vl = T.axis.remap("SSR", [i, j, l])
                with T.init():
                    Y[vi, vj] = T.float32(0)
                Y[vi, vj] = Y[vi, vj] + A[vi, vl] * B[vl, vj]
        for i, l in T.grid(m, k):  # noqa: E741
            with T.sblock("max"):
                vi, vl = T.axis.remap("SR", [i, l])
                with T.init():
                    r[vi] = T.float32("-inf")
                r[vi] = T.max(r[vi], A[vi, vl])

    data = np.ones((m, k)), np.full((k, n), 2.0)
    program = lift(product, MACHINE)
    assert program.roles == ("in", "in", "out", "out")
    got = run_tensor_program(program, data)
    np.testing.assert_array_equal(got[0], data[0] @ data[1])
    np.testing.assert_array_equal(got[1], data[0].max(axis=1, initial=-np.inf))
