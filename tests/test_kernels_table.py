"""Every row of the kernel registry against its oracle: a new kernel cannot go untested."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import test_kernels_cast as cast
import test_kernels_elementwise as elementwise
import test_kernels_functions as functions
import test_kernels_gemm as gemm
import test_kernels_gemm_narrow as narrow
import test_kernels_gemm_semirings as semirings
import test_kernels_indexed as indexed
import test_kernels_reduce as reduce
import test_kernels_select as select
from test_kernels_operands import LEVELS, NUMPY, Matrix, noise, random_matrix

from tileflow_tvm._sim import kernels
from tileflow_tvm.isa.table import ARITHMETIC, BINARY_OF, GEMM_DTYPES, SEMIRINGS, UNARY_OF

M, N, K = 37, 71, 45
"""No multiple of a tile, and no two alike."""


def check_gemm(level: str, semiring: str, dtype: str, rng: np.random.Generator) -> None:
    lhs = random_matrix(rng, M, K, 32, dtype=dtype)
    rhs = random_matrix(rng, K, N, 32, dtype=dtype)
    dst = random_matrix(rng, M, N, 32, dtype=GEMM_DTYPES[dtype])
    if semiring == SEMIRINGS[0]:
        expected = narrow.ORACLES[dtype](dst.values, lhs.values, rhs.values)
        gemm.run(level, dst, lhs, rhs, clear=False)
    else:
        expected = semirings.chosen(semiring, dst.values, lhs.values, rhs.values)
        semirings.run(level, semiring, dst, lhs, rhs, clear=False)
    dst.check(expected)


def check_unary(level: str, function: str, dtype: str, rng: np.random.Generator) -> None:
    if dtype == "i32":
        functions.test_of_integers(level)
        return
    x = rng.standard_normal(M * N).astype(np.float32)
    most, at = functions.worst(function, x, functions.apply(level, function, x))
    assert most <= functions.most_ulp(function), f"{most:.3f} ulp at {at!r}"


def check_binary(level: str, function: str, dtype: str, _: np.random.Generator) -> None:
    elementwise.check(level, function, M, N, 32, "full", "col", dtype)


def check_select(level: str, _: str, dtype: str, __: np.random.Generator) -> None:
    select.check(level, M, N, 32, ("full", "col", "full"), dtype)


def check_reduce(level: str, function: str, _: str, rng: np.random.Generator) -> None:
    for along_cols in (True, False):
        src = random_matrix(rng, M, N, 32)
        reduce.check(level, function, src, True, along_cols, {"vector": True})


def check_fill(level: str, _: str, dtype: str, __: np.random.Generator) -> None:
    dst = Matrix(M, N, dtype=dtype)
    kernels.fill(level, dst.operand, M, N, 32, -3.0, dtype=dtype)
    dst.check(np.full((M, N), -3.0))


def check_cast(level: str, function: str, dtype: str, rng: np.random.Generator) -> None:
    cast.check(level, dtype, function, noise(rng, (M, N), dtype), 1.5)


def check_affine_select(level: str, _: str, dtype: str, __: np.random.Generator) -> None:
    indexed.check_select(level, M, N, 32, (11, 2, -3), dtype=dtype)


def check_iota(level: str, _: str, dtype: str, __: np.random.Generator) -> None:
    indexed.check_iota(level, M, N, 32, (-11, 200, 3), dtype=dtype)


def check_transpose(level: str, _: str, dtype: str, rng: np.random.Generator) -> None:
    src, dst = random_matrix(rng, M, N, 32, dtype=dtype), Matrix(N, M, dtype=dtype)
    kernels.transpose(level, dst.operand, src.operand, M, N, 32, dtype=dtype)
    dst.check(src.values.T)


BOX = [(M, 0, 1, False), (N, 1, 1, True)]
ORIGIN = (3, 5)


def check_load(level: str, _: str, dtype: str, rng: np.random.Generator) -> None:
    """A box that hangs over the lower and right edge of its tensor."""
    tensor = noise(rng, (M, N), dtype)
    dst = Matrix(M, N, dtype=dtype)
    moved = kernels.load(level, dst.operand, 32, tensor.ravel(), 0, [M, N], [N, 1], list(ORIGIN),
                         BOX, -3.0, dtype=dtype)  # fmt: skip
    expected = np.full((M, N), -3.0, NUMPY[dtype])
    inside = tensor[ORIGIN[0] :, ORIGIN[1] :]
    expected[: inside.shape[0], : inside.shape[1]] = inside
    dst.check(expected)
    assert moved == inside.size


def check_store(level: str, _: str, dtype: str, rng: np.random.Generator) -> None:
    src = random_matrix(rng, M, N, 32, dtype=dtype)
    tensor = noise(rng, (M, N), dtype)
    expected = tensor.copy()
    inside = expected[ORIGIN[0] :, ORIGIN[1] :]
    inside[...] = src.values[: inside.shape[0], : inside.shape[1]]
    flat = tensor.ravel()
    moved = kernels.store(level, src.operand, 32, flat, 0, [M, N], [N, 1], list(ORIGIN), BOX,
                          dtype=dtype)  # fmt: skip
    np.testing.assert_array_equal(flat.reshape(M, N), expected)
    assert moved == inside.size


CHECKS: dict[tuple[str, str], Callable[[str, str, str, np.random.Generator], None]] = {
    **{("exec.gemm", dtype): check_gemm for dtype in ("f32", "bf16", "i8")},
    **{("exec.unary", dtype): check_unary for dtype in ARITHMETIC},
    **{("exec.binary", dtype): check_binary for dtype in ARITHMETIC},
    **{("exec.select", dtype): check_select for dtype in ARITHMETIC},
    ("exec.reduce", "f32"): check_reduce,
    **{("exec.cast", dtype): check_cast for dtype in ("f32", "bf16", "i8", "i32")},
    **{("exec.affine_select", dtype): check_affine_select for dtype in ("f32", "i32")},
    **{("exec.iota", dtype): check_iota for dtype in ("f32", "i32")},
    **{("exec.fill", dtype): check_fill for dtype in ("f32", "bf16", "i8", "i32")},
    **{("exec.transpose", dtype): check_transpose for dtype in ("f32", "bf16", "i8", "i32")},
    **{("load", dtype): check_load for dtype in ("f32", "bf16", "i8", "i32")},
    **{("store", dtype): check_store for dtype in ("f32", "bf16", "i8", "i32")},
}


@pytest.mark.parametrize(("operation", "function", "dtype", "level"), kernels.table())
def test_kernel(
    operation: str, function: str, dtype: str, level: str, rng: np.random.Generator
) -> None:
    CHECKS[operation, dtype](level, function, dtype, rng)


@pytest.mark.parametrize("level", LEVELS)
def test_the_functions_are_those_of_the_instruction_table(level: str) -> None:
    for operation, functions_of in (("exec.unary", UNARY_OF), ("exec.binary", BINARY_OF)):
        found = {(row[2], row[1]) for row in kernels.table() if row[::3] == (operation, level)}
        assert found == {(dtype, f) for dtype, funcs in functions_of.items() for f in funcs}


def test_the_table_has_a_row_for_each_level() -> None:
    rows = kernels.table()
    assert len(set(rows)) == len(rows)
    by_level = [{row[:3] for row in rows if row[3] == level} for level in LEVELS]
    assert all(rows_of_one == by_level[0] for rows_of_one in by_level)
    others = {row for row in rows if row[3] not in LEVELS}
    assert {row[:3] for row in others} <= by_level[0]
    assert {row[3] for row in others} <= {"avx512bw"}
