"""What `legalize` refuses of declarations, expressions and indices, and where it points."""

from __future__ import annotations

import pytest
from refused import at_header, block_func, check_refusal, map_block

CASES: dict[str, tuple[str, str, str]] = {
    # what is declared
    "dtype": (at_header(map_block("A(4, 5)float16, C(4, 5)", "T.Cast('float32', A[vi, vj])")),
              "tensor 'A' has dtype float16", "supported: float32"),
    "wide integers": (at_header(map_block("A(4, 5)int64, C(4, 5)", "T.float32(0)")),
                      "tensor 'A' has dtype int64", "supported: float32, bfloat16, int8, int32"),
    "a cast that cuts off": (map_block("A(4, 5), C(4, 5)int32", 'T.Cast("int32", A[vi, vj])'),
                             "a cast from float32 to int32 is not supported", "supported"),
    "rank 7": (at_header(map_block("A(1, 1, 1, 1, 1, 1, 9), C(4, 5)", "T.float32(0)")),
               "tensor 'A' has rank 7", "ranks 1 to 6"),
    "negative dimension": (
        at_header(map_block("A(-4, 5), C(4, 5)", "T.float32(0)")),
        "dimension 0 of tensor 'A' is -4", "0.."),
    "scalar parameter": (
        at_header(map_block("C(4, 5), alpha: T.float64", 'T.Cast("float32", alpha)')),
        "parameter 'alpha' is a scalar of type float64", "supported: float32"),
    "strides": (block_func("a: T.handle, C(4, 5)", """
A = T.match_buffer(a, (4, 5), "float32", strides=(10, 1))  # <--
for i, j in T.grid(4, 5):
    with T.sblock("c"):
        vi, vj = T.axis.remap("SS", [i, j])
        C[vi, vj] = A[vi, vj]
"""), "tensor 'A' has strides", "contiguous"),
    "symbolic shape": (block_func("a: T.handle, C(4, 5)", """
n = T.int32()
A = T.match_buffer(a, (n, 5), "float32")  # <--
for i, j in T.grid(4, 5):
    with T.sblock("c"):
        vi, vj = T.axis.remap("SS", [i, j])
        C[vi, vj] = A[vi, vj]
"""), "dimension 0 of tensor 'A' is symbolic: n", "specialize"),
    "temporary of another type": (block_func("C(4, 5)", """
t = T.sblock_alloc_buffer((4, 5), "float64")  # <--
for i, j in T.grid(4, 5):
    with T.sblock("c"):
        vi, vj = T.axis.remap("SS", [i, j])
        C[vi, vj] = T.float32(0)
"""), "tensor 't' has dtype float64", "supported: float32"),
    # expressions
    "a product of indices as a value": (
        map_block("C(4, 5)", 'T.Cast("float32", vi * vj)'),
        "not affine: a product of variables", "sum of constants"),
    "two-argument function": (map_block("A(4, 5), C(4, 5)", "T.atan2(A[vi, vj], A[vi, vj])"),
                              "the function 'atan2' is not supported", "T.exp"),
    "a steep triangle": (
        map_block("A(4, 5), C(4, 5)", "T.if_then_else(vi > vj * 40000, A[vi, vj], T.float32(0))"),
        "'vj' is taken -40000 times here", "-32767..32767"),
    "double inside": (
        map_block("A(4, 5), C(4, 5)", 'T.Cast("float32", T.Cast("float64", A[vi, vj]))'),
        "a cast from float64 to float32 is not supported", "supported: float32"),
    # indices
    "data-dependent index": (
        map_block("A(4, 5), C(4, 5)", 'A[T.Cast("int32", A[vi, vj]), vj]'),
        "depends on data", "index"),
    "product of axes": (map_block("A(4, 5), C(4, 5)", "A[vi * vj, vj]"), "not affine", "index"),
    "division by an axis": (map_block("A(4, 5), C(4, 5)", "A[vi // (vj + 1), vj]"),
                            "not affine", "index"),
    "division of a product": (map_block("A(400, 5), C(40, 5)", "A[vi * vi // 7, vj]",
                                       loops="40, 5"),
                              "not affine", "index"),
    "out of bounds": (map_block("A(4, 5), C(4, 5)", "A[vi + 1, vj]"),
                      r"A\[vi \+ 1, vj\] is out of bounds: .*vi \+ 1 over 1\.\.4, but "
                      "dimension 0 of 'A' is 4", "must agree"),
    "below zero": (map_block("A(4, 5), C(4, 5)", "A[vi, vj - 1]"), r"over -1\.\.3", "must agree"),
    "store out of bounds": (map_block("A(4, 5), C(4, 4)", "A[vi, vj]"),
                            r"C\[vi, vj\] is out of bounds", "must agree"),
    "shapes that disagree": (map_block("A(3, 5), C(4, 5)", "A[vi, vj]"),
                             "out of bounds", "must agree"),
    "a transposed read of the result": (
        map_block("C(5, 5)", "C[vj, vi]", loops="5, 5"),
        r"reads C\[vj, vi\] while other iterations write 'C'", "another tensor"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_value_that_is_refused(name: str) -> None:
    check_refusal(name, *CASES[name])
