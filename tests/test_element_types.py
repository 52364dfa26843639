"""Element types that do not go together: refused at tile level, in programs, by the verifier."""

from __future__ import annotations

import re

import pytest
from marked_source import assert_points_at_mark, load, write_source
from simulator_programs import SMALL, program
from verifier_checks import check

from tileflow_tvm.assembler import assemble, disassemble
from tileflow_tvm.errors import AssemblyError, KernelError
from tileflow_tvm.frontend.read import read
from tileflow_tvm.isa.element_types import holds
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.isa.validate import problems
from tileflow_tvm.passes.infer_scope import infer_scope

PARAMS = (
    'A: T.Buffer((64, 64), "bfloat16"), B: T.Buffer((64, 64), "int8"), '
    'C: T.Buffer((64, 64), "int32"), F: T.Buffer((64, 64), "float32")'
)
BLOCKS = """
a = T.alloc_buffer((64, 64), "bfloat16")
b = T.alloc_buffer((64, 64), "int8")
c = T.alloc_buffer((64, 64), "int32")
f = T.alloc_buffer((64, 64), "float32")
T.tf.load(a, A)
T.tf.load(b, B)
T.tf.load(c, C)
T.tf.load(f, F)
"""
# Body behind BLOCKS, message, hint.
CASES = {
    "load": ("T.tf.load(f, A)", r"load: 'A' \(bfloat16\) does not become 'f' \(float32\)",
             "load it as it is, then T.tf.cast"),
    "store": ("T.tf.store(A, f)", r"store: 'f' \(float32\) does not become 'A' \(bfloat16\)",
              "cast into a block first"),
    "unlike": ("T.tf.gemm(f, a, b)", r"'a' \(bfloat16\) and 'b' \(int8\) are operands of one",
               "both have the same dtype"),
    "sum": ("T.tf.gemm(a, a[0:64, 0:64], a)", r"product of bfloat16 is summed in float32, not in "
            r"'a' \(bfloat16\)", "accumulate in a float32 block, then T.tf.cast"),
    "int8_sum": ("T.tf.gemm(f, b, b)", "product of int8 is summed in int32", "int32 block"),
    "int32_product": ("T.tf.gemm(c, c, c)", r"'c' \(int32\) is no operand of a product",
                      "products are of float32, bfloat16, int8"),
    "unary": ("T.tf.exp(a)", r"unary: 'a' \(bfloat16\) is not float32", "T.tf.cast it to float32"),
    "binary": ("T.tf.add(f, f, c)", r"binary: 'c' \(int32\) meets 'f' \(float32\)", "T.tf.cast"),
    "function": ("T.tf.exp(c)", r"unary: exp of 'c' \(int32\) does not exist", "it is of float32"),
    "bits": ("T.tf.bitand(f, f, f)", r"bitand of 'f' \(float32\) does not", "it is of int32"),
    "scale": ("T.tf.neg(c, c, scale=2.0)", r"scale and bias of 'c' \(int32\)", "leave them out"),
    "immediate": ("T.tf.add(c, c, 0.5)", r"0.5 is no value of 'c' \(int32\)", "int32 has"),
    "choice": ("T.tf.select(c, f, c, f)", r"select: 'f' \(float32\) meets 'c' \(int32\)", "alike"),
    "condition": ("T.tf.select(f, a, f, f)", r"'a' \(bfloat16\) is no condition", "int32"),
    "chosen": ("T.tf.select(a, f, a, a)", r"'a' \(bfloat16\) has no elements of 4 bytes", "cast"),
    "reduce": ("v = T.alloc_buffer((64,), 'int32')\nT.tf.sum(v, c, axis=1)",
               r"reduce: 'v' \(int32\) is not float32", "T.tf.cast"),
    "copy": ("T.tf.copy(b[0:32, 0:64], b[32:64, 0:64])",
             r"unary: 'b' \(int8\) is not float32", "T.tf.cast"),
    "cast": ("T.tf.cast(a, b)", r"cast: 'b' \(int8\) is not cast to 'a' \(bfloat16\)",
             "int8 to float32.*two of them may follow"),
    "same": ("T.tf.cast(f, f)", "are alike", "needs no cast"),
    "transpose": ("T.tf.transpose(f, a)", "does not become 'f'", "T.tf.cast"),
    "fill": ("T.tf.fill(b, 1.5)", "fill: 1.5 is no value of 'b', int8", "int8 has exactly"),
    "padding": ("T.tf.load(a, A, fill=0.1)", "load: 0.1 is no value of 'a', bfloat16", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_operations_of_other_types_are_refused(tmp_path, name):
    body, message, hint = CASES[name]
    path = write_source(tmp_path, f"{BLOCKS}{body}  # HERE\n", PARAMS)
    with pytest.raises(KernelError) as caught:
        infer_scope(read(load(path)), Machine.load("tileflow"))
    error = caught.value
    assert re.search(message, error.what), error.what
    assert re.search(hint, error.hint), error.hint
    assert error.notes
    assert_points_at_mark(error, path)


def test_a_machine_may_lack_a_type(tmp_path):
    path = write_source(tmp_path, BLOCKS, PARAMS)
    machine = Machine.load("tileflow").replace(dtypes=("f32", "i8", "i32"))
    with pytest.raises(KernelError, match="'a' is bfloat16, which the machine tileflow lacks"):
        infer_scope(read(load(path)), machine)


ARGS = """
.arg X bf16[8, 8] in
.arg Y f32[8, 8] out
.tensor X bf16[8, 8] at arg X
.tensor Y f32[8, 8] at arg Y
.access tile row(8, d0), col(8, d1)
"""
REGISTERS = """
agen a0, 0
agen a1, 0 pitch=1 dtype=bf16
agen a2, 256 pitch=1
agen a3, 512 pitch=1 dtype=i8
agen a4, 768 pitch=1 dtype=i32
ext e0 limit=8 max=8
"""
FILL = "exec.fill a1 m=e0 n=e0 value=0.0\n"
SIZES = "m=e0 n=e0"
# An instruction, its message, and the hint.
WRONG = {
    "load a2, X[a0, a0], tile": ("dst is f32, but tensor 'X' is bf16", "exec.cast does"),
    "store a1, Y[a0, a0], tile": ("src is bf16, but tensor 'Y' is f32", "exec.cast does"),
    f"exec.gemm a2, a1, a3 {SIZES} k=e0 clear=always": (
        "lhs is bf16 and rhs is i8, but both are to be alike", "exec.cast one of them"),
    f"exec.gemm a4, a1, a1 {SIZES} k=e0 clear=always": (
        "no product of bf16 is summed in i32", "f32 to f32, bf16 to f32, i8 to i32"),
    f"exec.gemm a2, a1, a1 {SIZES} k=e0 clear=always semiring=add_min": (
        "lhs is bf16, but add_min takes f32", "exec.cast both operands to f32 before"),
    f"exec.unary.exp a2, a1 {SIZES}": (
        "bf16", "exec.cast"),
    f"exec.unary.exp a1, a1 {SIZES}": ("bf16", "exec.cast it before"),
    f"exec.unary.exp a4, a4 {SIZES}": ("i32", "exec.cast it before"),
    f"exec.unary.neg a4, a4 {SIZES} scale=2.0": ("scale", "leave scale out"),
    f"exec.binary.add a4, a2, a2 {SIZES}": ("dst is i32, but lhs is f32", "exec.cast"),
    f"exec.binary.bitand a2, a2, a2 {SIZES}": ("f32", "exec.cast it before"),
    f"exec.select a4, a2, a4, a2 {SIZES}": ("dst is i32, but b is f32", "exec.cast"),
    f"exec.select a2, a1, a2, a2 {SIZES}": ("cond is bf16", "a condition is f32 or i32"),
    f"exec.select a1, a2, a1, a1 {SIZES}": ("elements of 4 bytes", "exec.cast it before"),
    f"exec.reduce.sum a2, a3 {SIZES} axis=rows clear=always": (
        "src is i8, but the instruction takes f32", "exec.cast it"),
    f"exec.transpose a2, a1 {SIZES}": ("dst is f32, but src is bf16", "exec.cast converts"),
    f"exec.cast a1, a3 {SIZES}": ("nothing casts i8 to bf16", "f32 to bf16, f32 to i8"),
}  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_instructions_on_other_types_are_refused(text):
    what, hint = WRONG[text]
    with pytest.raises(AssemblyError) as caught:
        program(ARGS + REGISTERS + FILL + text, SMALL)
    assert what in caught.value.what
    assert hint in caught.value.hint
    assert "agen ... dtype=" in caught.value.hint


@pytest.mark.parametrize("text", WRONG)
def test_the_verifier_refuses_them_too(text):
    """Behind a loop that sets the registers, only the verifier knows their types."""
    what, _ = WRONG[text]
    body = ARGS + "loop 1 {\n" + REGISTERS + "}\n" + FILL + text
    check(body, re.escape(what), text.split()[0])


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (f"exec.fill a1 {SIZES} value=0.1", "is no value of bf16"),
        (f"exec.fill a3 {SIZES} value=128.0", "is no value of i8"),
        (f"exec.fill a3 {SIZES} value=nan", "is no value of i8"),
        (f"exec.fill a4 {SIZES} value=2147483648.0", "is no value of i32"),
        (f"exec.fill a4 {SIZES} value=0.5", "is no value of i32"),
    ],
)
def test_constants_are_values_of_the_type(text, what):
    with pytest.raises(AssemblyError, match=what):
        program(ARGS + REGISTERS + text, SMALL)
    check(ARGS + "loop 1 {\n" + REGISTERS + "}\n" + text, what, "exec.fill")


def test_padding_is_a_value_of_the_tensor():
    with pytest.raises(AssemblyError, match="is no value of bf16") as caught:
        program(ARGS + REGISTERS + "load a1, X[a0, a0], tile fill=0.1", SMALL)
    assert "exactly" in caught.value.hint


def test_elements_are_aligned_to_their_own_size():
    text = ARGS + "ext e0 limit=8 max=8\nagen a1, {} pitch=1 dtype=bf16\n" + FILL
    check(text.format(6 + 1), "SRAM byte 7, which is not aligned to its elements of 2 bytes",
          "exec.fill")  # fmt: skip
    over = text.format(8192 - 126)
    check(over, r"covers SRAM bytes 8066\.\.8193, but SRAM has bytes 0\.\.8191", "exec.fill")


def test_a_tensor_has_the_type_of_its_argument():
    text = ARGS.replace(".tensor X bf16", ".tensor X f32").replace("X f32[8, 8]", "X f32[4, 8]")
    with pytest.raises(AssemblyError, match="tensor X: it is f32, but 'X' is bf16"):
        program(text, SMALL)


CONSTANTS = """
.const half bf16 { 1.5, -3.0, inf, 0x7fc00000 }
.const small i8 { -128, 127, 0 }
.const large i32 { -2147483648, 7 }
"""


def test_constants_of_every_type_are_written_as_numbers():
    parsed = program(CONSTANTS, SMALL)
    half, small, large = (constant.data.hex() for constant in parsed.constants)
    assert (half, small, large) == ("c03f40c0807fc07f", "807f00", "0000008007000000")
    text = disassemble(parsed)
    assert "-128, 127, 0" in text
    assert "-2147483648, 7" in text
    assert assemble(text).constants == parsed.constants
    assert not list(problems(parsed))


@pytest.mark.parametrize(
    ("text", "what"),
    [("bf16 { 0.1 }", "'0.1' is no value of bf16"), ("i8 { 128 }", "'128' is no value of i8"),
     ("i8 { 1.5 }", "'1.5' is no integer")],
)  # fmt: skip
def test_constants_that_a_type_lacks(text, what):
    with pytest.raises(AssemblyError, match=re.escape(what)):
        program(f".const c {text}", SMALL)


def test_holds():
    assert holds(float("nan"), "bf16")
    assert holds(-0.0, "i8")
    assert holds(-128.0, "i8")
    assert not holds(float("inf"), "i32")
    assert holds(1.0078125, "bf16")
    assert not holds(1.00390625, "bf16")
