"""What is not a tile-level program: the message, the hint, and the place."""

from __future__ import annotations

import re

import pytest
from marked_source import assert_points_at_mark, load, write_source

from tileflow_tvm.errors import KernelError
from tileflow_tvm.frontend.read import level, read

STATEMENTS = {
    "if": (
        """
        if n > 2:  # HERE
            T.tf.nop(engine="load")
        """,
        "'if' is not supported", "clipped",
    ),
    "while": ("while n > 2:  # HERE\n    T.tf.nop(engine='load')", "'while'", "range"),
    "element_write": ("A[0, 0] = 1.0  # HERE", "elements cannot be written", "T.tf.fill"),
    "element_copy": ("A[0, 0] = A[1, 1]  # HERE", "elements cannot be read or written", ""),
    "data_dependent_bound": (
        """
        for i in range(T.cast(A[0, 0], "int32")):  # HERE
            T.tf.nop(engine="load")
        """,
        r"loop bound .* depends on data", "sum of constants times",
    ),
    "data_dependent_index": (
        """
        t = T.alloc_buffer((1, 64))
        row = T.cast(A[0, 0], "int32")  # HERE
        T.tf.load(t, A[row : row + 1, 0:64])
        """,
        "depends on data", "",
    ),
    "product_index": (
        """
        t = T.alloc_buffer((32, 64))
        for i in range(n):
            T.tf.load(t, A[i * n : i * n + 32, 0:64])  # HERE
        """,
        r"index i \* n is not affine: a product", "sum of constants times",
    ),
    "quotient_index": (
        """
        t = T.alloc_buffer((32, 64))
        for i in range(n):
            T.tf.load(t, A[i // 2 : i // 2 + 32, 0:64])  # HERE
        """,
        r"index i // 2 is not affine: a division with a remainder", "",
    ),
    "variable_slice": (
        """
        t = T.alloc_buffer((32, 64))
        T.tf.load(t, A[0:n, 0:64])  # HERE
        """,
        "length of a slice, n varies with n", "constant",
    ),
    "step_slice": (
        """
        t = T.alloc_buffer((32, 64))
        T.tf.load(t, A[0:64:2, 0:64])  # HERE
        """,
        "non-unit step", "",
    ),
    "carried_variable": (
        """
        x: T.int32 = 0
        for i in range(3):
            x = x + 32  # HERE
        """,
        "'x' is carried from one iteration", "loop variables",
    ),
    "thread_loop": (
        """
        for i in T.thread_binding(4, thread="threadIdx.x"):  # HERE
            T.tf.nop(engine="load")
        """,
        "thread_binding loop", "T.tf.pipelined",
    ),
    "negative_step": ("for i in range(0, n, 2):  # HERE\n    T.evaluate(0)",
                      "a step and a variable bound", "multiply"),
    "loop_annotation": (
        """
        for i in T.serial(4, annotations={"stage": 2}):  # HERE
            T.tf.nop(engine="load")
        """,
        "unknown loop annotation 'stage'", "'stages'",
    ),
    "negative_stages": ("for i in T.tf.pipelined(4, stages=-1):  # HERE\n    T.evaluate(0)",
                        "stages is a whole number", ""),
    "attribute": ("with T.attr(0, 'pragma_x', 1):  # HERE\n    T.tf.nop(engine='load')",
                  "'pragma_x' means nothing", ""),
    "call": ("T.evaluate(T.call_extern('int32', 'f'))  # HERE", "not a tile-level statement", ""),
    "dtype": ("T.alloc_buffer((32, 32), 'float64')  # HERE", "has dtype float64", "float32"),
    "rank_0": ("T.alloc_buffer((), 'float32')  # HERE", "has rank 0", "1 to 6"),
    "rank_7_inside": ("T.alloc_buffer((1,) * 7, 'float32')  # HERE", "has rank 7", "1 to 6"),
    "negative_dimension": ("T.alloc_buffer((3, -4), 'float32')  # HERE",
                           "dimension of -4", "0 .an empty tensor. or more"),
    "strides": ("T.alloc_buffer((4, 4), 'float32', strides=[8, 1])  # HERE", "strides", "dense"),
    "allocation_annotation": ("T.alloc_buffer((4, 4), annotations={'addr': 3})  # HERE",
                              "unknown annotation 'addr'", ""),
}  # fmt: skip

PRIMITIVES = {
    "box_no_list": ("T.tf.load(t, A[0, 0], rows=32)", "rows=32 is not a list",
                    r"write \[\(extent, dim, step\), \.\.\.\]"),
    "box_one_entry": ("T.tf.load(t, A[0, 0], rows=(32, 0, 1))", "entry 0 of rows is 32", "write"),
    "box_pair": ("T.tf.load(t, A[0, 0], cols=[(64, 1)])", r"entry 0 of cols is .64, 1", "write"),
    "box_varies": ("T.tf.load(t, A[0, 0], rows=[(n, 0, 1)])",
                   "a number in entry 0 of rows, n varies with n", "constant"),
    "box_extent": ("T.tf.load(t, A[0, 0], rows=[(1, 0, 1), (0, 0, 1)])",
                   "entry 1 of rows has extent 0", "extents are 1"),
    "box_step": ("T.tf.load(t, A[0, 0], rows=[(32, 0, 0)])", "entry 0 of rows has step 0",
                 "dim -1 repeats"),
    "box_long_step": (f"T.tf.load(t, A[0, 0], rows=[(32, 0, {2**31})])", "has step 2147483648", ""),
    "box_dimension": ("T.tf.load(t, A[0, 0], rows=[(32, 2, 1)])",
                      r"load: dimension 2 of 'A' \(100, 64\)", r"its dimensions are 0\.\.1"),
    "box_entries": ("T.tf.load(t, A[0, 0], rows=[(1, 0, 1)] * 3, cols=[(1, 1, 1)] * 3)",
                    "rows and cols have 6 entries", "5 in all"),
    "box_of_a_slice": ("T.tf.store(A[0:32, 0], t, rows=[(32, 0, 1)], cols=[(64, 1, 1)])",
                       "store: a 32 x 1 slice of 'A' beside rows and cols", "name one element"),
    "box_transposed": ("T.tf.load(t, A[0, 0], rows=[(32, 0, 1)], transposed=True)",
                       "transposed beside rows", "exchange rows and cols"),
    "padded_store": ("T.tf.store(A[0:32, 0:64], t, padded=True)", "no keyword 'padded'", ""),
    "unknown": ("T.tf.selu(t)", "T.tf has no 'selu'; did you mean", ""),
    "unknown_keyword": ("T.tf.load(t, A[0:32, 0:64], fil=1.0)", "no keyword 'fil'", ""),
    "missing_operand": ("T.tf.gemm(t)", "takes dst, lhs, rhs", ""),
    "load_from_nowhere": ("T.tf.load(t)", "takes dst, src", ""),
    "missing_axis": ("T.tf.sum(V, t)", "needs axis=", ""),
    "func_twice": ("T.tf.relu(t, func='exp')", "func='relu' already", ""),
    "wrong_func": ("T.tf.unary(t, func='expp')", "func='expp' is not known", "did you mean 'exp'"),
    "wrong_axis": ("T.tf.sum(V, t, axis=2)", "axis=2 of an operand of rank 2", ""),
    "wrong_mode": ("T.tf.binary(t, t, V, func='add', modes=['full', 'rows'])",
                   "modes='rows'", "did you mean 'row'"),
    "one_mode": ("T.tf.binary(t, t, V, func='add', modes=['full'])", "modes has 1 entries", ""),
    "wrong_engine": ("T.tf.nop(engine='seq')", "engine='seq'", "load, exec, store"),
    "wrong_clear": ("T.tf.gemm(t, t, t, clear=n == 0)", "clear=n == 0", "enclosing loop"),
    "number_as_block": ("T.tf.unary(t, 1.0, func='exp')", "src of T.tf.unary is a number", "fill"),
    "expression_as_operand": ("T.tf.mul(t, t, T.cast(n, 'float32'))", "is not a constant",
                              "float constant"),
    "constant_overflow": ("T.tf.mul(t, t, 1e39)", "overflows float32", ""),
    "keyword_overflow": ("T.tf.load(t, A[0:32, 0:64], fill=-1e39)", "overflows float32", ""),
    "tvm_overflow": ("T.tile.add(t, t, 1e39)", "exceeds maximum of float32", ""),
    "tvm_unknown": ("T.tile.exp2(t, t)", "T.tile.exp2 has no counterpart", "T.tile.exp"),
    "tvm_alpha": ("T.tile.gemm(t, t, t, t, alpha=2.0)", "alpha=2, beta=0", "T.tf.mul"),
    "tvm_beta": ("T.tile.gemm(t, t, t, t, beta=0.5)", "beta=0.5", "accumulate"),
    "tvm_axes": ("T.tile.sum(V, t, (0, 1))", "axes .0, 1. of a block of rank 2", "one axis"),
    "tvm_fma": ("T.tile.fma(t, t, t, t)", "scale and bias are constants", "T.tf.mul"),
    "tvm_copy_shapes": ("T.tile.copy(t, A[0:16, 0:64])", "must cover identical regions", ""),
}  # fmt: skip

PARAMETERS = {
    "float_scalar": ('x: T.float32, A: T.Buffer((3,), "float32")',
                     "'x' is neither a tensor nor an integer", "shape .1,."),
    "dtype": ('A: T.Buffer((3,), "float16")', "'A' has dtype float16", "supported: float32"),
    "negative": ('A: T.Buffer((3, -1), "float32")', "dimension of -1", ""),
    "rank_0": ('A: T.Buffer((), "float32")', "'A' has rank 0", ""),
    "rank_7": ('A: T.Buffer((1, 1, 1, 1, 1, 1, 2), "float32")', "'A' has rank 7", ""),
}  # fmt: skip


def assert_refused(path, message, hint):
    with pytest.raises(KernelError) as caught:
        read(load(path))
    error = caught.value
    assert re.search(message, error.what), error
    assert error.hint, error
    assert re.search(hint, error.hint), error
    assert_points_at_mark(error, path)


@pytest.mark.parametrize(("body", "message", "hint"), STATEMENTS.values(), ids=STATEMENTS)
def test_a_statement_that_is_refused(tmp_path, body, message, hint):
    assert_refused(write_source(tmp_path, body), message, hint)


@pytest.mark.parametrize(("call", "message", "hint"), PRIMITIVES.values(), ids=PRIMITIVES)
def test_a_primitive_that_is_refused(tmp_path, call, message, hint):
    body = f"t = T.alloc_buffer((32, 64))\n{call}  # HERE\n"
    assert_refused(write_source(tmp_path, body), message, hint)


@pytest.mark.parametrize(("params", "message", "hint"), PARAMETERS.values(), ids=PARAMETERS)
def test_a_parameter_that_is_refused(tmp_path, params, message, hint):
    assert_refused(write_source(tmp_path, "T.evaluate(0)\n", params), message, hint)


def test_a_shape_that_is_known_at_launch_only(tmp_path):
    body = 'A = T.match_buffer(handle, (n, 3), "float32")  # HERE'
    path = write_source(tmp_path, body, "handle: T.handle, n: T.int32")
    assert_refused(path, "dimension n that is not a constant", "bound loops")


def test_a_syntax_error_has_its_place(tmp_path):
    path = write_source(tmp_path, "undefined_thing(3)  # HERE\n")
    with pytest.raises(KernelError, match="undefined") as caught:
        load(path)
    assert_points_at_mark(caught.value, path)


def test_two_levels_in_one_function_are_an_error(tmp_path):
    body = """
    t = T.alloc_buffer((1, 64))
    T.tf.load(t, A[0:1, 0:64])
    for i in range(64):
        C[0, i] = A[0, i]  # HERE
    """
    path = write_source(tmp_path, body)
    with pytest.raises(KernelError, match="in one function") as caught:
        level(load(path))
    assert_points_at_mark(caught.value, path)
    assert any("kernel_under_test.py" in note for note in caught.value.notes)


def test_legal_oddities_are_accepted(tmp_path):
    params = 'A: T.Buffer((0, 4), "float32"), unused: T.Buffer((3,), "float32"), m: T.int64'
    body = "for i in range(m):\n    x = T.alloc_buffer((4, 4))\n" * 2
    program = read(load(write_source(tmp_path, body, params)))
    assert program.roles == ("in", "in")
    assert program.params[0].shape == (0, 4)
    first, second = (loop.body[0].buffer for loop in program.body)
    assert first.name == second.name
    assert first is not second
