"""What `lift` makes of blocks written by hand: the operations, and their numbers."""

from __future__ import annotations

import numpy as np
import pytest
from lifted import MACHINE, check_lift, ops
from reference_numpy import run_tensor_program
from tvm.script import tirx as T

from tileflow_tvm.passes.lift import lift


@T.prim_func(s_tir=True)
def compound(A: T.Buffer((9, 13), "float32"), b: T.Buffer((13,), "float32"),
             C: T.Buffer((9, 13), "float32")):  # fmt: skip
    for i, j in T.grid(9, 13):
        with T.sblock("c"):
            vi, vj = T.axis.remap("SS", [i, j])
            C[vi, vj] = T.max(A[vi, vj] * T.float32(2) + b[vj], T.float32(0))


def test_a_compound_expression_becomes_one_op_a_node(rng: np.random.Generator) -> None:
    assert ops(check_lift(compound, rng)) == [
        "C_mul = binary mul(A, 2) full imm",
        "C_add = binary add(C_mul, b) full row",
        "C = unary relu(C_add)",
    ]


@T.prim_func(s_tir=True)
def gelu(A: T.Buffer((9, 13), "float32"), C: T.Buffer((9, 13), "float32")):
    for i, j in T.grid(9, 13):
        with T.sblock("c"):
            vi, vj = T.axis.remap("SS", [i, j])
            C[vi, vj] = (T.float32(0.5) * A[vi, vj]) * (T.float32(1) + T.tanh(
                T.float32(0.7978845608) * (A[vi, vj] + T.float32(0.044715) * (
                    A[vi, vj] * A[vi, vj] * A[vi, vj]))))  # fmt: skip


def test_the_order_of_evaluation_is_kept_and_a_scale_folded(rng: np.random.Generator) -> None:
    assert ops(check_lift(gelu, rng)) == [
        "C_mul = binary mul(0.5, A) imm full",
        "C_mul_1 = binary mul(A, A) full full",
        "C_mul_2 = binary mul(C_mul_1, A) full full",
        "C_mul_3 = binary mul(0.044715, C_mul_2) imm full",
        "C_add = binary add(A, C_mul_3) full full",
        "C_tanh = unary tanh(C_add) scale=0.797885 bias=-0",
        "C_add_1 = binary add(1, C_tanh) imm full",
        "C = binary mul(C_mul, C_add_1) full full",
    ]


@T.prim_func(s_tir=True)
def equal_parts(A: T.Buffer((4, 5), "float32"), c: T.Buffer((4,), "float32"),
                Y: T.Buffer((4, 5), "float32"), Z: T.Buffer((4, 5), "float32")):  # fmt: skip
    for i, j in T.grid(4, 5):
        with T.sblock("y"):
            vi, vj = T.axis.remap("SS", [i, j])
            Y[vi, vj] = A[vi, vj] * T.sqrt(c[vi] * c[vi] + T.float32(1))
    for i, j in T.grid(4, 5):
        with T.sblock("z"):
            vi, vj = T.axis.remap("SS", [i, j])
            Z[vi, vj] = A[vi, vj] / T.sqrt(c[vi] * c[vi] + T.float32(1))


def test_what_depends_on_rows_is_computed_once_a_row_and_once_at_all(
    rng: np.random.Generator,
) -> None:
    assert ops(check_lift(equal_parts, rng)) == [
        "Y_mul = binary mul(c, c) full full",
        "Y_sqrt = unary sqrt(Y_mul) scale=1 bias=1",
        "Y = binary mul(A, Y_sqrt) full col",
        "Z = binary div(A, Y_sqrt) full col",
    ]


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


def test_updates_in_place_make_an_inout_parameter(rng: np.random.Generator) -> None:
    @T.prim_func(s_tir=True)
    def in_place(A: T.Buffer((6, 6), "float32"), C: T.Buffer((6, 6), "float32"),
                 D: T.Buffer((6, 6), "float32")):  # fmt: skip
        for i, j, k in T.grid(6, 6, 6):
            with T.sblock("mm"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                C[vi, vj] = C[vi, vj] + A[vi, vk] * A[vk, vj]
        for i, j in T.grid(6, 6):
            with T.sblock("twice"):
                vi, vj = T.axis.remap("SS", [i, j])
                D[vi, vj] = C[vi, vj]
        for i, j in T.grid(6, 6):
            with T.sblock("half"):
                vi, vj = T.axis.remap("SS", [i, j])
                C[vi, vj] = C[vi, vj] * T.float32(0.5)

    program = check_lift(in_place, rng)
    assert program.roles == ("in", "inout", "out")
    assert ops(program) == [
        "C_gemm = gemm(A, A)",
        "D = binary add(C, C_gemm) full full",
        "C = binary mul(D, 0.5) full imm",
    ]


def test_an_overwritten_input_is_kept_for_its_readers(rng: np.random.Generator) -> None:
    @T.prim_func(s_tir=True)
    def swap(A: T.Buffer((5, 5), "float32"), B: T.Buffer((5, 5), "float32")):
        t = T.sblock_alloc_buffer((5, 5))
        for i, j in T.grid(5, 5):
            with T.sblock("t"):
                vi, vj = T.axis.remap("SS", [i, j])
                t[vi, vj] = A[vi, vj]
        for i, j in T.grid(5, 5):
            with T.sblock("a"):
                vi, vj = T.axis.remap("SS", [i, j])
                A[vi, vj] = B[vi, vj]
        for i, j in T.grid(5, 5):
            with T.sblock("b"):
                vi, vj = T.axis.remap("SS", [i, j])
                B[vi, vj] = t[vi, vj]

    program = check_lift(swap, rng)
    assert program.roles == ("inout", "inout")


def test_a_product_into_its_own_operand_goes_through_a_temporary(rng: np.random.Generator) -> None:
    @T.prim_func(s_tir=True)
    def square(A: T.Buffer((5, 5), "float32")):
        t = T.sblock_alloc_buffer((5, 5))
        for i, j, k in T.grid(5, 5, 5):
            with T.sblock("mm"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                with T.init():
                    t[vi, vj] = T.float32(0)
                t[vi, vj] = t[vi, vj] + A[vi, vk] * A[vk, vj]
        for i, j in T.grid(5, 5):
            with T.sblock("a"):
                vi, vj = T.axis.remap("SS", [i, j])
                A[vi, vj] = t[vi, vj]

    assert ops(check_lift(square, rng)) == ["t = gemm(A, A)", "A = copy(t)"]


def test_outputs_that_are_equal_or_inputs_are_copies(rng: np.random.Generator) -> None:
    @T.prim_func(s_tir=True)
    def copies(A: T.Buffer((5, 4), "float32"), unused: T.Buffer((3,), "float32"),
               Y: T.Buffer((5, 4), "float32"), Z: T.Buffer((5, 4), "float32"),
               W: T.Buffer((5, 4), "float32")):  # fmt: skip
        t = T.sblock_alloc_buffer((5, 4))
        never_used = T.sblock_alloc_buffer((5, 4))
        for i, j in T.grid(5, 4):
            with T.sblock("t"):
                vi, vj = T.axis.remap("SS", [i, j])
                t[vi, vj] = A[vi, vj]
        for i, j in T.grid(5, 4):
            with T.sblock("n"):
                vi, vj = T.axis.remap("SS", [i, j])
                never_used[vi, vj] = A[vi, vj] * A[vi, vj]
        for i, j in T.grid(5, 4):
            with T.sblock("y"):
                vi, vj = T.axis.remap("SS", [i, j])
                Y[vi, vj] = t[vi, vj]
        for i, j in T.grid(5, 4):
            with T.sblock("z"):
                vi, vj = T.axis.remap("SS", [i, j])
                Z[vi, vj] = T.exp(t[vi, vj])
        for i, j in T.grid(5, 4):
            with T.sblock("w"):
                vi, vj = T.axis.remap("SS", [i, j])
                W[vi, vj] = T.exp(A[vi, vj])

    program = check_lift(copies, rng)
    assert program.roles == ("in", "in", "out", "out", "out")
    assert ops(program) == ["Z = unary exp(A)", "Y = copy(A)", "W = copy(Z)"]


def test_transposed_reads_and_vectors_of_other_shapes(rng: np.random.Generator) -> None:
    @T.prim_func(s_tir=True)
    def mixed(A: T.Buffer((6, 5), "float32"), B: T.Buffer((5, 6), "float32"),
              lying: T.Buffer((1, 6), "float32"), standing: T.Buffer((5, 1), "float32"),
              Y: T.Buffer((6, 5), "float32"), v: T.Buffer((5,), "float32"),
              u: T.Buffer((6, 1), "float32")):  # fmt: skip
        for i, j in T.grid(6, 5):
            with T.sblock("y"):
                vi, vj = T.axis.remap("SS", [i, j])
                Y[vi, vj] = (A[vi, vj] - B[vj, vi]) * lying[0, vi] + standing[vj, 0]
        for j in range(5):
            with T.sblock("v"):
                vj = T.axis.spatial(5, j)
                v[vj] = T.exp(standing[vj, 0])
        for i in range(6):
            with T.sblock("u"):
                vi = T.axis.spatial(6, i)
                u[vi, 0] = lying[0, vi] + T.float32(2)

    check_lift(mixed, rng)


def test_loops_as_a_schedule_leaves_them(rng: np.random.Generator) -> None:
    @T.prim_func(s_tir=True)
    def scheduled(A: T.Buffer((100, 20), "float32"), C: T.Buffer((100, 20), "float32"),
                  s: T.Buffer((100,), "float32")):  # fmt: skip
        for i_0 in T.parallel(4):
            for x_0 in T.unroll(92):
                for x_1 in T.vectorized(7):
                    with T.sblock("y"):
                        vi = T.axis.spatial(100, i_0 * 32 + (x_0 * 7 + x_1) // 20)
                        vj = T.axis.spatial(20, (x_0 * 7 + x_1) % 20)
                        T.where(i_0 * 32 + (x_0 * 7 + x_1) // 20 < 100 and x_0 * 7 + x_1 < 640)
                        C[vi, vj] = A[vi, vj] * T.float32(3)
        for k_0, i, k_1 in T.grid(5, 100, 4):
            with T.sblock("s"):
                vi = T.axis.spatial(100, i)
                vk = T.axis.reduce(20, k_0 * 4 + k_1)
                T.where(k_0 * 4 + k_1 < 20)
                with T.init():
                    s[vi] = T.float32(0)
                s[vi] = s[vi] + C[vi, vk]

    assert ops(check_lift(scheduled, rng)) == [
        "C = binary mul(A, 3) full imm",
        "s = reduce sum(C) cols",
    ]


def test_blocks_that_share_a_loop(rng: np.random.Generator) -> None:
    @T.prim_func(s_tir=True)
    def softmax(A: T.Buffer((6, 9), "float32"), Y: T.Buffer((6, 9), "float32")):
        m = T.sblock_alloc_buffer((6,))
        e = T.sblock_alloc_buffer((6, 9))
        s = T.sblock_alloc_buffer((6,))
        for i in range(6):
            for j in range(9):
                with T.sblock("max"):
                    vi, vj = T.axis.remap("SR", [i, j])
                    with T.init():
                        m[vi] = T.float32("-inf")
                    m[vi] = T.max(m[vi], A[vi, vj])
            for j in range(9):
                with T.sblock("exp"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    x: T.let = A[vi, vj] - m[vi]
                    e[vi, vj] = T.exp(x)
            for j in range(9):
                with T.sblock("sum"):
                    vi, vj = T.axis.remap("SR", [i, j])
                    with T.init():
                        s[vi] = T.float32(0)
                    s[vi] = s[vi] + e[vi, vj]
            for j in range(9):
                with T.sblock("div"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    Y[vi, vj] = e[vi, vj] / s[vi]

    assert ops(check_lift(softmax, rng)) == [
        "m = reduce max(A) cols",
        "e_sub = binary sub(A, m) full col",
        "e = unary exp(e_sub)",
        "s = reduce sum(e) cols",
        "Y = binary div(e, s) full col",
    ]


def test_a_block_of_several_stores(rng: np.random.Generator) -> None:
    @T.prim_func(s_tir=True)
    def two(A: T.Buffer((6, 9), "float32"), Y: T.Buffer((6, 9), "float32"),
            Z: T.Buffer((6, 9), "float32")):  # fmt: skip
        for i, j in T.grid(6, 9):
            with T.sblock("two"):
                vi, vj = T.axis.remap("SS", [i, j])
                Y[vi, vj] = A[vi, vj] + T.float32(1)
                Z[vi, vj] = Y[vi, vj] * A[vi, vj]

    assert ops(check_lift(two, rng)) == [
        "Y = binary add(A, 1) full imm",
        "Z = binary mul(Y, A) full full",
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
        for i, l in T.grid(m, k):
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


def test_not_a_number_goes_through_a_leaky_relu() -> None:
    @T.prim_func(s_tir=True)
    def leaky(A: T.Buffer((5,), "float32"), Y: T.Buffer((5,), "float32"),
              Z: T.Buffer((5,), "float32")):  # fmt: skip
        for i in range(5):
            with T.sblock("y"):
                vi = T.axis.spatial(5, i)
                Y[vi] = T.Select(A[vi] > T.float32(0), A[vi], T.float32(0.25) * A[vi])
        for i in range(5):
            with T.sblock("z"):
                vi = T.axis.spatial(5, i)
                Z[vi] = T.if_then_else(A[vi] < T.float32(1), T.float32(1), A[vi])

    data = np.array([np.nan, np.inf, -np.inf, -3.0, 2.0], np.float32)
    got = run_tensor_program(lift(leaky, MACHINE), [data], np.float32)
    np.testing.assert_array_equal(got[0], [np.nan, np.inf, -np.inf, -0.75, 2.0])
    np.testing.assert_array_equal(got[1], [np.nan, np.inf, 1.0, 1.0, 2.0])


def test_rounding_is_that_of_the_expression_as_written(rng: np.random.Generator) -> None:
    """x + b - b and (x * a) * b are not simplified: equal to float32 NumPy bit for bit."""

    @T.prim_func(s_tir=True)
    def rounded(A: T.Buffer((50,), "float32"), Y: T.Buffer((50,), "float32")):
        for i in range(50):
            with T.sblock("y"):
                vi = T.axis.spatial(50, i)
                Y[vi] = (A[vi] + T.float32(1000) - T.float32(1000)) * T.float32(0.1) * (
                    T.float32(10) - T.float32(3) * T.float32(0.1))  # fmt: skip

    data = rng.standard_normal(50).astype(np.float32)
    (got,) = run_tensor_program(lift(rounded, MACHINE), [data], np.float32)
    f = np.float32
    np.testing.assert_array_equal(
        got, (data + f(1000) - f(1000)) * f(0.1) * (f(10) - f(3) * f(0.1))
    )


def test_places_are_those_of_the_source() -> None:
    program = lift(compound, MACHINE)
    lines = {op.loc.line for op in program.ops}
    assert len(lines) == 1
    assert all(op.loc.file == __file__ for op in program.ops)
    with open(__file__) as text:
        assert "T.max(A[vi, vj]" in text.readlines()[lines.pop() - 1]
