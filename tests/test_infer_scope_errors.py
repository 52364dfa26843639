"""Tile-level programs that do not mean one thing: the message, both places, and the hint."""

from __future__ import annotations

import re
import textwrap

import pytest
from marked_source import assert_points_at_mark, load, write_source

from tileflow_tvm.errors import KernelError
from tileflow_tvm.frontend.read import read
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.infer_scope import infer_scope

MACHINE = Machine.load("tileflow")

PARAMS = (
    'A: T.Buffer((100, 64), "float32"), B: T.Buffer((90, 64), "float32"), '
    'C: T.Buffer((100, 64), "float32"), V: T.Buffer((64,), "float32"), n: T.int32'
)

BLOCKS = """
a = T.alloc_buffer((32, 64))
b = T.alloc_buffer((32, 64))
v = T.alloc_buffer((64,))
T.tf.load(a, A[0:32, 0:64])
T.tf.load(b, B[0:32, 0:64])
T.tf.load(v, V)
"""

# Body behind BLOCKS, message, notes, hint.
CASES = {
    "load_shape": (
        "T.tf.load(a, A[0:16, 0:64])  # HERE",
        "load: the 32 x 64 'a' and the 16 x 64 slice of 'A' do not have the same shape",
        ["'a' .32, 64.: .*:7:", "'A' .100, 64.: .*:5:"], "unit dimensions",
    ),
    "transposed_load": ("T.tf.load(a, A[0:32, 0:64], transposed=True)  # HERE",
                        "same shape when transposed", [], ""),
    "gemm_inner": ("T.tf.gemm(a, a, b)  # HERE", "do not have the same inner length",
                   ["'b' .32, 64."], "transpose_a"),
    "gemm_result": ("T.tf.gemm(a, a, b, transpose_b=True)  # HERE", "the product is 32 x 32",
                    [], ""),
    "gemm_vector": ("T.tf.gemm(v, a, v)  # HERE", "the product is 32 x 1", ["'v' .64,."], ""),
    "declared_grid": ("s = T.alloc_buffer((64,), scope='tile.grid')  # HERE",
                      "declared a tile grid but is a vector", [], "allocate it as .1, 64."),
    "two numbers": ("T.tf.select(b, b, 1.0, 2.0)  # HERE", "select: more than one number", [],
                    "T.tf.fill a block of one element"),
    "unary": ("T.tf.exp(a[0:32, 0:32], b)  # HERE", "unary: the 32 x 32 slice of 'a' and", [], ""),
    "broadcast": (
        "w = T.alloc_buffer((16,))\nT.tf.fill(w, 1.0)\nT.tf.add(a, w)  # HERE",
        "the 32 x 64 'a' and the 16 'w' do not broadcast", ["'w' .16,.: .*:13:"], "as long as its",
    ),
    "mode": ("T.tf.binary(a, a, v, func='add', modes=['full', 'col'])  # HERE",
             "do not fit mode 'col'", [], ""),
    "mode_imm": ("T.tf.binary(a, a, v, func='add', modes=['full', 'imm'])  # HERE",
                 "has mode 'imm'", [], "numbers"),
    "two_numbers": ("T.tf.add(a, 1.0, 2.0)  # HERE", "of numbers alone", [], "T.tf.fill"),
    "reduce": ("T.tf.sum(v, a, axis=1)  # HERE", "along cols there are 32 results", [], ""),
    "row_or_column": (
        """
        x = T.alloc_buffer((32, 32))
        w = T.alloc_buffer((32,))
        T.tf.load(x, A[0:32, 0:32])
        T.tf.max(w, x, axis=1)
        T.tf.exp(w)
        T.tf.sub(x, w)  # HERE
        """,
        "leave open whether the vector is a row or a column", [], r"\(32, 1\)",
    ),
    "overlap_in_part": ("T.tf.exp(v[0:32], v[16:48])  # HERE",
                        "dst and an operand overlap in 'v'", ["'v' .64,."], "its own"),
    "row_of_itself": ("T.tf.sub(a, a, a[0:1, 0:64])  # HERE", "overlap in 'a'", [], ""),
    "gemm_in_place": ("T.tf.gemm(a[0:32, 0:32], a[0:32, 0:32], a[0:32, 0:32])  # HERE",
                      "overlap in 'a'", [], ""),
    "transpose_in_place": ("T.tf.transpose(a)  # HERE", "'a' is both operands", [], "its own"),
    "transpose_shape": ("T.tf.transpose(a, b)  # HERE", "not each other's transpose", [], ""),
    "dram_operand": ("T.tf.exp(a, A[0:32, 0:64])  # HERE",
                     "'A' is in DRAM and cannot be an operand of unary", [], "load it into"),
    "load_to_dram": ("T.tf.load(C[0:32, 0:64], a)  # HERE",
                     "'C' is in DRAM and cannot be the destination of a load", [], "T.tf.store"),
    "store_to_block": ("T.tf.store(a, A[0:32, 0:64])  # HERE",
                       "'A' is in DRAM and cannot be the source of a store", [], "T.tf.load"),
    "dram_to_dram": ("T.tf.copy(C, A)  # HERE", "copy from 'A' to 'C', both in DRAM", [], "block"),
    "two_places": (
        """
        s = T.alloc_buffer((32, 64))
        T.tf.store(s, a)  # HERE
        T.tf.exp(s, a)
        """,
        "'s' is the destination of a store, in DRAM, and an operand of unary, on chip",
        ["'s' .32, 64.: .*:14:", "an operand of unary: .*:16:"], "use two",
    ),
    "declared_on_chip": (
        "s = T.alloc_buffer((32, 64), scope='tile.grid')\nT.tf.store(s, a)  # HERE",
        "in DRAM, but its scope is 'tile.grid'", [], "",
    ),
    "declared_vector": ("s = T.alloc_buffer((32, 64), scope='tile.vec')  # HERE",
                        "declared a vector but is a matrix", [], "tile.grid"),
    "rank_3": ("s = T.alloc_buffer((2, 32, 64))  # HERE\nT.tf.fill(s, 0.0)", "has rank 3",
               [], "several"),
    "empty_block": ("s = T.alloc_buffer((0, 64))  # HERE\nT.tf.fill(s, 0.0)",
                    "is an empty block", [], ""),
    "outside_block": (
        "for i in range(3):\n    T.tf.exp(a[0:32, i * 32 : i * 32 + 32])  # HERE",
        r"\[i \* 32 : \+32\] is not inside dimension 1 of the block 'a' .*it reaches 0..96",
        ["'a' .32, 64."], "only slices of tensors in DRAM",
    ),
    "launch_parameter_in_block": ("T.tf.neg(v[n : n + 8])  # HERE",
                                  "not inside dimension 0", [], ""),
    "inside_a_tile": ("T.tf.exp(a[0:32, 16:48])  # HERE", "begins at 16, inside a tile",
                      [], "multiples of 32"),
    "never_meets": ("T.tf.load(a, A[100:132, 0:64])  # HERE",
                    r"index \[100 : \+32\] never meets dimension 0 of 'A'", [], "start"),
    "index_may_leave": (
        """
        for i in range(101):
            T.tf.load(v, A[i, 0:64])  # HERE
        """,
        r"index \[i : \+1\] may leave dimension 0 of 'A'", [], "unit dimension",
    ),
    "launch_index": ("T.tf.load(v, A[n, 0:64])  # HERE", r"\[n : \+1\] may leave dimension 0", [],
                     ""),
    "box_shape": (
        "T.tf.load(a, A[0, 0], rows=[(8, 0, 1), (2, 0, 8)], cols=[(64, 1, 1)])  # HERE",
        "load: the 32 x 64 'a' is not 16 x 64, which rows and cols are", ["'a' .32, 64."],
        "multiply to the block's rows",
    ),
    "box_of_a_vector": ("T.tf.load(v, V[0], rows=[(64, 0, 1)])  # HERE",
                        "the 64 'v' is not 64 x 1, which", [], "a vector is one row"),
    "box_in_front": (
        "T.tf.load(v, V[62], cols=[(64, 0, -1)])  # HERE",
        r"load: the index 62 \+ -1 \* 0..63 may begin in front of dimension 0 of 'V' \(64,\): only "
        "the end is clipped", ["'V' .64,.: .*:5:"], "padded=True",
    ),
    "box_at_launch": ("T.tf.load(v, V[n], cols=[(64, 0, 1)])  # HERE",
                      "the index n .* may begin in front of", [], "padded=True"),
    "box_never_meets": ("T.tf.load(v, V[64], cols=[(64, 0, 1)])  # HERE",
                        "the index 64 .* never meets dimension 0 of 'V'", [], "keep the box"),
    "box_still_dimension": (
        "for i in range(101):\n    T.tf.load(v, A[i, 0], cols=[(64, 1, 1)])  # HERE",
        r"the index i may leave dimension 0 of 'A' .*: neither rows nor cols move along it", [],
        "padded=True",
    ),
    "box_two_entries_on_one_dimension": (
        "T.tf.load(v, A[0, 1], cols=[(32, 1, 1), (2, 1, 32)])  # HERE",
        r"the index 1 \+ 1 \* 0..31 \+ 32 \* 0..1 may leave dimension 1 of .*: several entries",
        [], "",
    ),
    "box_inner_entry": (
        "T.tf.load(a, A[0, 5], rows=[(2, 0, 1), (16, 1, 4)], cols=[(64, 0, 1)])  # HERE",
        "may leave dimension 1 .*: entry 1 of rows moves along it, and only the first is clipped",
        [], "",
    ),
    "box_backwards_over_the_end": (
        "T.tf.load(v, V[64], cols=[(64, 0, -1)])  # HERE",
        "may leave dimension 0 .*: a box that steps backwards is not clipped", [], "",
    ),
    "box_between_steps": (
        "for i in range(2):\n    T.tf.load(v, A[i, 0], cols=[(64, 0, 2)])  # HERE",
        "may leave dimension 0 .*: its corner moves by what is no multiple of the step 2", [], "",
    ),
    "box_repeats_in_a_store": (
        "T.tf.store(C[0, 0], a, rows=[(32, -1, 1)], cols=[(64, 1, 1)])  # HERE",
        "store: an entry of rows or cols repeats", [], "repeat in the load",
    ),
    "box_stores_twice": (
        "T.tf.store(C[0, 0], a, rows=[(32, 0, 1)], cols=[(2, 0, 31), (32, 1, 1)])  # HERE",
        "two indices of rows and cols may meet the same element of dimension 0 of 'C'",
        ["'C' .100, 64."], "longer than",
    ),
    "box_stores_more_than_is_valid": (
        """
        for i in range(4):
            T.tf.load(b, B[i * 32, 0], rows=[(32, 0, 1)], cols=[(64, 1, 1)])
            T.tf.store(C[i * 32, 0], b, rows=[(32, 0, 1)], cols=[(64, 1, 1)])  # HERE
        """,
        r"store writes up to 100 - i \* 32 of the 32 x 64 'b', but only elements before 90 - i",
        ["clipped by .*:15:"], "let rows and the corner in 'C' end where those of the load end",
    ),
    "box_clipped_otherwise": (
        """
        T.tf.load(a, A[96, 0], rows=[(32, 0, 1)], cols=[(64, 1, 1)])
        T.tf.load(b, B[70, 0], rows=[(16, 0, 2), (2, -1, 1)], cols=[(64, 1, 1)])
        T.tf.add(a, b)  # HERE
        """,
        "its extent m is clipped differently", ["valid up to 4: .*:14:", "valid up to 20: .*:15:"],
        "",
    ),
    "unwritten": ("c = T.alloc_buffer((32, 64))\nT.tf.exp(a, c)  # HERE",
                  "unary reads 'c' before anything writes it", ["'c' .32, 64.: .*:13:"],
                  "load, fill"),
    "unwritten_accumulator": (
        "c = T.alloc_buffer((64, 64))\nT.tf.gemm(c, a, b, transpose_a=True, clear=False)  # HERE",
        "gemm reads 'c' before anything writes it", [], r"clear=\(var == 0\)",
    ),
    "unwritten_again": (
        """
        for i in range(3):
            c = T.alloc_buffer((32, 64))
            T.tf.add(c, a)  # HERE
        """,
        "binary reads 'c' before", [], "",
    ),
    "different_clips": (
        """
        for i in range(4):
            T.tf.load(a, A[i * 32 : i * 32 + 32, 0:64])
            T.tf.load(b, B[i * 32 : i * 32 + 32, 0:64])
            T.tf.add(a, b)  # HERE
        """,
        "binary: its extent m is clipped differently at two places",
        [r"valid up to 100 - i \* 32: .*:15:", r"valid up to 90 - i \* 32: .*:16:"],
        "clipped alike",
    ),
    "store_of_more_than_is_valid": (
        """
        for i in range(4):
            T.tf.load(b, B[i * 32 : i * 32 + 32, 0:64])
            T.tf.store(C[i * 32 : i * 32 + 32, 0:64], b)  # HERE
        """,
        r"store writes up to 100 - i \* 32 of the 32 x 64 'b', but only elements before "
        r"90 - i \* 32 are valid", [r"clipped by .*:15:"], "dimension 0 of 'C' reaches 10 further",
    ),
    "store_that_begins_elsewhere": (
        """
        for i in range(4):
            T.tf.load(b, B[i * 32 : i * 32 + 32, 0:64])
            T.tf.store(C[i * 16 : i * 16 + 32, 0:64], b)  # HERE
        """,
        r"store writes up to 32 of the 32 x 64 'b', but only elements before 90 - i",
        [r"clipped by .*:15:"], r"the slice of 'C' begins at i \* 16; let it begin where",
    ),
    "carried_clip": (
        """
        for i in range(4):
            T.tf.exp(a)  # HERE
            T.tf.load(a, A[i * 32 : i * 32 + 32, 0:64])
        """,
        "dimension 0 of 'a' is clipped differently in each iteration", [], "",
    ),
    "filled_beyond_the_clip": (
        """
        T.tf.load(v, A[96:160, 0])
        T.tf.fill(v[32:64], 1.0)
        T.tf.exp(v)  # HERE
        """,
        "dimension 0 of 'v' is written beyond where it was clipped", [], "",
    ),
    "part_over_a_fill": (
        """
        w = T.alloc_buffer((64,))
        T.tf.fill(w, 1.0)
        T.tf.load(w[0:32], A[96:128, 0])
        T.tf.exp(w)  # HERE
        """,
        "was written as a whole before a part of it was clipped", [], "",
    ),
    "accumulates_different_rows": (
        """
        c = T.alloc_buffer((32, 32))
        for k in range(4):
            T.tf.load(a, A[k * 32 : k * 32 + 32, 0:64])
            T.tf.gemm(c, a, b, transpose_b=True, clear=k == 0)  # HERE
        """,
        "its extent m changes while it accumulates", [], "",
    ),
    "clear_of_another_loop": (
        """
        c = T.alloc_buffer((32, 32))
        for k in range(4):
            T.tf.fill(a, 0.0)
            for j in range(2):
                T.tf.neg(a)
            d = T.alloc_buffer((32, 32))
            T.tf.gemm(d, a, b, transpose_b=True, clear=k == 0)  # HERE
            T.tf.exp(c, d)
        """,
        "'d' is allocated inside the loop over k that it accumulates over", ["'d' .32, 32."],
        "outside the loop over k",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("body", "message", "notes", "hint"), CASES.values(), ids=CASES)
def test_what_is_refused(tmp_path, body, message, notes, hint):
    path = write_source(tmp_path, BLOCKS + textwrap.dedent(body), PARAMS)
    with pytest.raises(KernelError) as caught:
        infer_scope(read(load(path)), MACHINE)
    error = caught.value
    assert re.search(message, error.what), error
    assert error.hint, error
    assert re.search(hint, error.hint), error
    for note in notes:
        assert any(re.search(note, line) for line in error.notes), error
    assert_points_at_mark(error, path)
