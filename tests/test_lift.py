"""What `lift` makes of blocks written by hand: the operations, and their numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
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
    text = Path(__file__).read_text().splitlines()
    assert "T.max(A[vi, vj]" in text[lines.pop() - 1]


def test_columns_of_shape_m_1_stay_as_they_are(rng: np.random.Generator) -> None:
    @T.prim_func(s_tir=True)
    def scale(A: T.Buffer((6, 5), "float32"), var: T.Buffer((6, 1), "float32"),
              w: T.Buffer((6,), "float32"), Y: T.Buffer((6, 5), "float32")):  # fmt: skip
        for i, j in T.grid(6, 5):
            with T.sblock("y"):
                vi, vj = T.axis.remap("SS", [i, j])
                Y[vi, vj] = A[vi, vj] * (T.abs(var[vi, 0]) + w[vi])

    assert ops(check_lift(scale, rng)) == [
        "Y_abs = unary abs(var)",
        "Y_add = binary add(Y_abs, w) full col",
        "Y = binary mul(A, Y_add) full col",
    ]


def test_a_scale_or_bias_is_folded_where_nothing_else_needs_it(rng: np.random.Generator) -> None:
    @T.prim_func(s_tir=True)
    def folds(A: T.Buffer((7,), "float32"), U: T.Buffer((7,), "float32"),
              V: T.Buffer((7,), "float32"), W: T.Buffer((7,), "float32"),
              Y: T.Buffer((7,), "float32"), Z: T.Buffer((7,), "float32")):  # fmt: skip
        for i in range(7):
            with T.sblock("all"):
                vi = T.axis.spatial(7, i)
                twice: T.let = A[vi] * T.float32(2)
                U[vi] = T.exp(A[vi] - T.float32(3))
                V[vi] = T.exp(T.float32(3) - A[vi])
                W[vi] = T.tanh(A[vi] * T.float32(5)) + A[vi] * T.float32(5)
                Y[vi] = T.sin(twice)
                Z[vi] = twice

    assert ops(check_lift(folds, rng)) == [
        "U = unary exp(A) scale=1 bias=-3",
        "V = unary exp(A) scale=-1 bias=3",
        "W_mul = binary mul(A, 5) full imm",
        "W_tanh = unary tanh(W_mul)",
        "W = binary add(W_tanh, W_mul) full full",
        "Z = binary mul(A, 2) full imm",
        "Y = unary sin(Z)",
    ]


def test_constants_are_told_apart_by_their_bits(rng: np.random.Generator) -> None:
    @T.prim_func(s_tir=True)
    def constants(Y: T.Buffer((3,), "float32"), Z: T.Buffer((3,), "float32"),
                  W: T.Buffer((3,), "float32"), A: T.Buffer((3,), "float32"),
                  P: T.Buffer((3,), "float32"), N: T.Buffer((3,), "float32")):  # fmt: skip
        for i in range(3):
            with T.sblock("all"):
                vi = T.axis.spatial(3, i)
                Y[vi] = T.float32(0)
                Z[vi] = T.float32(-0.0)
                W[vi] = T.float32(1)
                P[vi] = A[vi] + T.float32(0)
                N[vi] = A[vi] + T.float32(-0.0)

    program = check_lift(constants, rng)
    assert [str(op.value) for op in program.ops if op.name == "fill"] == ["0.0", "-0.0", "1.0"]
