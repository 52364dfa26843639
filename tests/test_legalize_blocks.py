"""What `legalize` refuses of blocks and what is around them, and where it points."""

from __future__ import annotations

import pytest
from refused import at_header, block_func, check_refusal

CASES: dict[str, tuple[str, str, str]] = {
    # what is assigned how often
    "spatial axis not in the result": (block_func("A(4, 5), y(4,)", """
for i, j in T.grid(4, 5):
    with T.sblock("y"):
        vi, vj = T.axis.remap("SS", [i, j])
        y[vi] = A[vi, vj]  # <--
"""), r"a write race: block 'y' assigns y\[vi\] once for each of the 5 values of 'vj'",
        "index 'y' by 'vj' too"),
    "sum over a spatial axis": (block_func("A(4, 5), y(4,)", """
for i, j in T.grid(4, 5):
    with T.sblock("y"):
        vi, vj = T.axis.remap("SS", [i, j])
        y[vi] = y[vi] + A[vi, vj]  # <--
"""), "a write race", "declare 'vj' with T.axis.reduce"),
    "reduction that keeps the last": (block_func("A(4, 5), y(4,)", """
for i, j in T.grid(4, 5):
    with T.sblock("y"):
        vi, vj = T.axis.remap("SR", [i, j])
        y[vi] = A[vi, vj]  # <--
"""), "a write race", "accumulate"),
    "overlapping cells": (block_func("A(4, 5), y(8,)", """
for i, j in T.grid(4, 5):
    with T.sblock("y"):
        vi, vj = T.axis.remap("SS", [i, j])
        y[vi + vj] = A[vi, vj]  # <--
"""), r"a write race: .* same vi \+ vj", "dimension of its own"),
    "a loop that is not used": (block_func("A(4, 5), C(4, 5)", """
for i, j, r in T.grid(4, 5, 3):
    with T.sblock("c"):  # <--
        vi, vj = T.axis.remap("SS", [i, j])
        C[vi, vj] = A[vi, vj]
"""), "does not use loop 'r': each cell is assigned 3 times", "remove it"),
    "a recurrence": (block_func("A(4, 5), y(4,)", """
for i, j in T.grid(4, 5):
    with T.sblock("y"):
        vi, vj = T.axis.remap("SR", [i, j])
        with T.init():
            y[vi] = T.float32(0)
        y[vi] = y[vi] * T.float32(2) + A[vi, vj]  # <--
"""), "is not a sum, product, maximum or minimum over axis 'vj'", "T.max"),
    "a difference": (block_func("A(4, 5), y(4,)", """
for i, j in T.grid(4, 5):
    with T.sblock("y"):
        vi, vj = T.axis.remap("SR", [i, j])
        with T.init():
            y[vi] = T.float32(0)
        y[vi] = A[vi, vj] - y[vi]  # <--
"""), "is not a sum", r"y\[vi\] = y\[vi\] \+"),
    "an initialised reduction axis": (block_func("A(4, 5), C(4, 5)", """
for i, j in T.grid(4, 5):
    with T.sblock("y"):
        vi, vj = T.axis.remap("SR", [i, j])
        with T.init():
            C[vi, vj] = T.float32(0)
        C[vi, vj] = C[vi, vj] + A[vi, vj]  # <--
"""), "by a reduction axis", "spatial"),
    "another cell initialised": (block_func("A(4, 5), C(4, 5), D(4,)", """
for i, j in T.grid(4, 5):
    with T.sblock("y"):
        vi, vj = T.axis.remap("SR", [i, j])
        with T.init():
            C[vi, 0] = T.float32(0)  # <--
        D[vi] = D[vi] + A[vi, vj]
"""), "initialises something else", "cells that the block accumulates into"),
    "an init that comes too late": (block_func("A(6, 4), y(6,)", """
for x_1, x_0 in T.grid(5, 5):
    with T.sblock("y"):  # <--
        vi = T.axis.spatial(6, (x_0 * 5 + x_1) // 4)
        vk = T.axis.reduce(4, (x_0 * 5 + x_1) % 4)
        T.where(x_0 * 5 + x_1 < 24)
        with T.init():
            y[vi] = T.float32(0)
        y[vi] = y[vi] + A[vi, vk]
"""), "T.init of block 'y' may run after some of the sum", "loops of reduction axes apart"),
    "an init at the end": (block_func("A(6, 4), y(6,)", """
for i, k in T.grid(6, 4):
    with T.sblock("y"):  # <--
        vi = T.axis.spatial(6, i)
        vk = T.axis.reduce(4, 3 - k)
        with T.init():
            y[vi] = T.float32(0)
        y[vi] = y[vi] + A[vi, vk]
"""), "do not provably visit", "one loop"),
    # order
    "read before written": (block_func("C(4, 5)", """
t = T.sblock_alloc_buffer((4, 5))
for i, j in T.grid(4, 5):
    with T.sblock("c"):
        vi, vj = T.axis.remap("SS", [i, j])
        C[vi, vj] = t[vi, vj]  # <--
"""), "reads 't' before anything is written to it", "order the blocks"),
    "sum without a start": (block_func("A(4, 5), C(4,)", """
t = T.sblock_alloc_buffer((4,))
for i, j in T.grid(4, 5):
    with T.sblock("t"):
        vi, vj = T.axis.remap("SR", [i, j])
        t[vi] = t[vi] + A[vi, vj]  # <--
for i in range(4):
    with T.sblock("c"):
        vi = T.axis.spatial(4, i)
        C[vi] = t[vi]
"""), "reads 't' before anything is written to it", "T.init"),
    "no result": (at_header(block_func("A(4, 5)", """
t = T.sblock_alloc_buffer((4, 5))
for i, j in T.grid(4, 5):
    with T.sblock("t"):
        vi, vj = T.axis.remap("SS", [i, j])
        t[vi, vj] = A[vi, vj]
""")), "writes none of its arguments", "parameters"),
    "a running sum": (block_func("A(4, 5), P(4, 5)", """
s = T.sblock_alloc_buffer((4,))
for i, j in T.grid(4, 5):
    with T.sblock("s"):
        vi, vj = T.axis.remap("SR", [i, j])
        with T.init():
            s[vi] = T.float32(0)
        s[vi] = s[vi] + A[vi, vj]
    with T.sblock("p"):
        vi, vj = T.axis.remap("SS", [i, j])
        P[vi, vj] = s[vi]  # <--
"""), "blocks 's' and 'p' share loop 'j' and exchange 's' across its iterations", "own loops"),
    "a temporary for one row": (block_func("A(4, 5), C(4, 5)", """
t = T.sblock_alloc_buffer((5,))
for i in range(4):
    for j in range(5):
        with T.sblock("t"):
            vj = T.axis.spatial(5, j)  # <--
            t[vj] = A[0, vj]
    for j in range(5):
        with T.sblock("c"):
            vi, vj = T.axis.remap("SS", [i, j])
            C[vi, vj] = t[vj] + A[vi, vj]
""").replace("  # <--", "").replace('T.sblock("t"):', 'T.sblock("t"):  # <--'),
        "does not use loop 'i': each cell is assigned 4 times", "remove it"),
    "a running sum in one block": (block_func("A(4, 5), P(4, 5), s(4,)", """
for i, j in T.grid(4, 5):
    with T.sblock("p"):
        vi, vj = T.axis.remap("SR", [i, j])
        s[vi] = s[vi] + A[vi, vj]
        P[vi, vj] = s[vi]  # <--
"""), "blocks 'p' and 'p' share loop 'j'", "own loops"),
    "a let that ages": (block_func("A(4, 5), C(4, 5), D(4, 5)", """
for i, j in T.grid(4, 5):
    with T.sblock("p"):
        vi, vj = T.axis.remap("SS", [i, j])
        x: T.let = C[vi, vj] + A[vi, vj]
        C[vi, vj] = T.float32(1)
        D[vi, vj] = x  # <--
"""), "uses what a let has read of 'C' after that was stored", "split it"),
    # structure
    "store outside a block": (block_func("A(4,), C(4,)", """
for i in range(4):
    C[i] = A[i]  # <--
"""), "a store outside of a block", "T.sblock"),
    "loop inside a block": (block_func("A(4,), C(4,)", """
for i in range(1):
    with T.sblock("c"):
        vi = T.axis.spatial(1, i)
        for j in range(4):  # <--
            C[j] = A[j]
"""), "a statement of kind For in block 'c'", "loops go around it"),
    "data-dependent loop": (block_func("A(4,), C(4,)", """
for i in range(T.Cast("int32", A[0])):  # <--
    with T.sblock("c"):
        vi = T.axis.spatial(4, i)
        C[vi] = A[vi]
"""), r"of loop 'i' is not a constant", "constants"),
    "triangular loop": (block_func("A(4, 4), C(4, 4)", """
for i in range(4):
    for j in range(i + 1):
        with T.sblock("c"):
            vi, vj = T.axis.remap("SS", [i, j])
            C[vi, vj] = A[vi, vj]  # <--
"""), "assigns its cells only where", "T.if_then_else"),
    "a loop of steps": (block_func("A(4,), C(4,)", """
for i in range(0, 4, 2):  # <--
    with T.sblock("c"):
        vi = T.axis.spatial(4, i)
        C[vi] = A[vi]
"""), "loop 'i' has a step of 2", "step 1"),
    "thread binding": (block_func("A(4,), C(4,)", """
for i in T.thread_binding(4, thread="threadIdx.x"):  # <--
    with T.sblock("c"):
        vi = T.axis.spatial(4, i)
        C[vi] = A[vi]
"""), "loop 'i' is bound to a thread", "serial"),
    "axis longer than its loop": (block_func("A(8,), C(8,)", """
for i in range(4):
    with T.sblock("c"):  # <--
        vi = T.axis.spatial(8, i)
        C[vi] = A[vi]
"""), r"axis 'vi' of block 'c' is declared as 0\.\.7, but its loops give 0\.\.3", "must agree"),
    "axis that is no bijection": (block_func("A(8,), C(8,)", """
for i, j in T.grid(2, 5):
    with T.sblock("c"):  # <--
        vi = T.axis.spatial(8, i * 3 + j)
        C[vi] = A[vi]
"""), "do not provably visit every point", "one loop"),
    "axis from elsewhere": (block_func("A(4,), C(4,)", """
for i in range(4):
    with T.sblock("c"):  # <--
        vi = T.axis.spatial((1, 5), i + 1)
        C[vi - 1] = A[vi - 1]
"""), "axis 'vi' of block 'c' begins at 1", "begin at 0"),
    "scan axis": (block_func("A(4,), C(4,)", """
for i in range(4):
    with T.sblock("c"):  # <--
        vi = T.axis.scan(4, i)
        C[vi] = A[vi]
"""), "neither spatial nor a reduction", "T.axis.spatial"),
    "matched part": (block_func("A(4, 5), C(4, 5)", """
for i in range(4):
    with T.sblock("c"):  # <--
        vi = T.axis.spatial(4, i)
        a = T.match_buffer(A[vi, 0:5], (5,), "float32", strides=(1,), offset_factor=1)
        C[vi, 0] = a[0]
"""), "matches a part of a tensor", "index the tensor itself"),
    "block in a block": (block_func("A(4, 5), C(4, 5)", """
for i in range(4):
    with T.sblock("rows"):
        vi = T.axis.spatial(4, i)
        for j in range(5):  # <--
            with T.sblock("c"):
                vj = T.axis.spatial(5, j)
                C[vi, vj] = A[vi, vj]
"""), "a statement of kind For in block 'rows'", "loops go around it"),
    "while": (block_func("A(4,), C(4,)", """
while A[0] < T.float32(0):  # <--
    with T.sblock("c"):
        C[0] = A[0]
"""), "a statement of kind While", "loops around blocks"),
    "a call": (block_func("A(4,), C(4,)", """
T.evaluate(T.call_extern("int32", "launch", A.data))  # <--
for i in range(4):
    with T.sblock("c"):
        vi = T.axis.spatial(4, i)
        C[vi] = A[vi]
"""), "a statement of kind Evaluate", "loops around blocks"),
    "read outside a block": (block_func("A(4,), C(4,)", """
first: T.let = A[0]  # <--
for i in range(4):
    with T.sblock("c"):
        vi = T.axis.spatial(4, i)
        C[vi] = first
"""), "'first' is read from a tensor outside of any block", "inside the block"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_block_that_is_refused(name: str) -> None:
    check_refusal(name, *CASES[name])
