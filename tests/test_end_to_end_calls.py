"""What a caller or an author can get wrong: refused with the place, the cause and a way out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from graph_source import load_source
from tvm import te

import tileflow_tvm as tf
from tileflow_tvm import CallError, KernelError, TileflowError

MARK = "  # here"


def difference(rows: int = 37, cols: int = 53) -> Any:
    """z = x - y."""
    x, y = (te.placeholder((rows, cols), name=name) for name in "xy")
    z = te.compute((rows, cols), lambda i, j: x[i, j] - y[i, j], name="z")
    return te.create_prim_func([x, y, z])


@pytest.fixture(scope="module")
def exe() -> tf.Executable:
    return tf.compile(difference())


@pytest.fixture
def arrays(rng) -> tuple[np.ndarray, np.ndarray]:
    return tuple(rng.standard_normal((37, 53), dtype=np.float32) for _ in range(2))


def expect_in(error: TileflowError, *parts: str) -> None:
    for part in parts:
        assert re.search(part, str(error)), f"{part!r} is not in:\n{error}"


# Calls.


def test_a_file_that_cannot_be_written(exe, tmp_path):
    path = tmp_path / "missing" / "k.bin"
    with pytest.raises(CallError, match=f"cannot write {re.escape(str(path))}: No such") as caught:
        exe.save(path)
    expect_in(caught.value, "hint: name a file in a folder")


def test_what_is_no_path():
    with pytest.raises(CallError, match=r"5 is no path"):
        tf.load(5)
    with pytest.raises(tf.MachineError, match=r"5 is no machine") as caught:
        tf.compile(difference(), machine=5)
    expect_in(caught.value, "hint: a name")


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_wrong_number_of_arrays(exe, arrays, count):
    with pytest.raises(CallError) as caught:
        exe(*(arrays * 2)[:count])
    expect_in(caught.value, "2 arrays", f"{count} were given", r"x\[37, 53\]", r"y\[37, 53\]")


@pytest.mark.parametrize("shape", [(53, 37), (37, 52), (37 * 53,), (1, 37, 53), ()])
def test_a_wrong_shape(exe, arrays, shape):
    with pytest.raises(CallError) as caught:
        exe(arrays[0], np.zeros(shape, np.float32))
    expect_in(caught.value, "'y'", r"\(37, 53\)", re.escape(str(shape)))


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32", "complex64", "bool", ">f4"])
def test_a_wrong_dtype_is_not_narrowed(exe, arrays, dtype):
    with pytest.raises(CallError) as caught:
        exe(arrays[0].astype(dtype), arrays[1])
    expect_in(caught.value, "'x'", "float32", r"x\.astype\(np\.float32\)")


@pytest.mark.parametrize("value", [None, "x", [["a"]], object()])
def test_what_is_no_array(exe, arrays, value):
    with pytest.raises(CallError) as caught:
        exe(arrays[0], value)
    expect_in(caught.value, "'y'", "float32")


def test_ragged_lists(exe, arrays):
    with pytest.raises(CallError) as caught:
        exe(arrays[0], [[1.0], [1.0, 2.0]])
    expect_in(caught.value, "'y'", "array")


def test_layouts_and_flags_are_legal(exe, arrays):
    x, y = arrays
    wide = np.zeros((74, 106), np.float32)
    wide[::2, ::2] = y
    frozen = x.copy()
    frozen.flags.writeable = False
    shifted = np.frombuffer(b"?" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(37, 53)
    for first in (np.asfortranarray(x), frozen, x[::-1][::-1], shifted):
        for second in (wide[::2, ::2], np.asfortranarray(y)):
            assert np.array_equal(exe(first, second), x - y)
    assert np.array_equal(exe(np.broadcast_to(x[:1], x.shape), y), x[:1] - y)


def test_inputs_are_not_written_and_outputs_are_new(exe, arrays):
    x, y = arrays
    before = x.copy(), y.copy()
    first = exe(x, y)
    second = exe(x, x)
    assert np.array_equal(first, before[0] - before[1])
    assert not second.any()
    assert np.array_equal(x, before[0])
    assert np.array_equal(y, before[1])


def test_out_is_written(exe, arrays):
    out = np.full((37, 53), np.nan, np.float32)
    result = exe.run(*arrays, out=out)
    assert result.outputs[0] is out
    assert np.array_equal(out, arrays[0] - arrays[1])


def test_out_that_overlaps_an_input(exe, arrays):
    memory = np.zeros(2 * 37 * 53, np.float32)
    x = memory[: 37 * 53].reshape(37, 53)
    for start in (0, 1, 37 * 53 - 1):
        out = memory[start : start + 37 * 53].reshape(37, 53)
        with pytest.raises(CallError) as caught:
            exe.run(x, arrays[1], out=out)
        expect_in(caught.value, "'z'", "overlaps")
    out = memory[37 * 53 :].reshape(37, 53)
    assert exe.run(x, arrays[1], out=out).outputs[0] is out


@pytest.mark.parametrize(
    ("out", "part"),
    [
        (np.zeros((53, 37), np.float32), r"\(53, 37\)"),
        (np.zeros((37, 53)), "float32"),
        (np.zeros((53, 37), np.float32).T, "C-contiguous"),
        (np.broadcast_to(np.float32(0), (37, 53)), "C-contiguous|writeable"),
    ],
)
def test_an_out_that_does_not_fit(exe, arrays, out, part):
    with pytest.raises(CallError) as caught:
        exe.run(*arrays, out=out)
    expect_in(caught.value, "'z'", part)


def test_nan_and_inf_propagate(exe, arrays):
    x, y = arrays
    x[3, 5], x[0, 0], y[0, 0], y[36, 52], x[7, 7] = np.nan, np.inf, np.inf, -np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        want = x - y
    assert np.array_equal(exe(x, y), want, equal_nan=True)


def test_an_unknown_engine(exe, arrays):
    with pytest.raises(CallError) as caught:
        exe.run(*arrays, engine="parallel")
    expect_in(caught.value, "'parallel'", "sequential", "threaded")


def test_an_unknown_simd_level(exe, arrays):
    with pytest.raises(TileflowError) as caught:
        exe.run(*arrays, simd="sse9")
    expect_in(caught.value, "sse9", "scalar")


def test_an_unknown_launch_scalar(exe, arrays):
    with pytest.raises(CallError) as caught:
        exe(*arrays, n=3)
    expect_in(caught.value, "launch scalars", "n")


# Kernels.


def refused(text: str, *parts: str, **machine: int) -> None:
    """Compiling `text` is a KernelError at the line that carries MARK, with `parts` in it."""
    with pytest.raises(KernelError) as caught:
        tf.compile(load_source(text), machine=tf.Machine.load("tileflow").replace(**machine))
    expect_in(caught.value, *parts)
    assert caught.value.hint
    lines = [number for number, line in enumerate(text.splitlines(), 1) if line.endswith(MARK)]
    assert caught.value.loc is not None, f"no place in:\n{caught.value}"
    assert caught.value.loc.line in lines, f"{caught.value}\nis not at line {lines}"
    assert caught.value.loc.col > 0
    assert Path(caught.value.loc.file).read_text() == text


def elementwise(statement: str, params: str, extents: str = "37, 53", axes: str = "SS") -> str:
    """A function of one element-wise sblock, whose statement is where the error belongs."""
    return f"""
@T.prim_func(s_tir=True)
def graph({params}):
    for i, j in T.grid({extents}):
        with T.sblock("block"):
            vi, vj = T.axis.remap("{axes}", [i, j])
            {statement}{MARK}
"""


X_Y = 'x: T.Buffer((37, 53), "float32"), y: T.Buffer((37, 53), "float32")'


@pytest.mark.parametrize(
    ("statement", "params", "parts"),
    [
        ("y[vi, vj] = x[vi, vj]", X_Y.replace("(37, 53)", "(37, 52)", 1), ("x", "52")),
        ("y[vi, vj] = x[vi, vj]", X_Y.replace("37", "36", 1), ("x", "36")),
        ("y[vi, vj] = x[vi, vj + 1]", X_Y, ("x", "53")),
        ("y[vi, vj] = x[vi, vj - 1]", X_Y, ("x", "-1")),
        ("y[vi, vj] = x[vi * vi // 40, vj]", X_Y, ("affine|not linear", "vi")),
        ("y[vi, vj] = x[vi % (vj + 1), vj]", X_Y, ("affine|not linear", "vi")),
        ("y[vi, vj] = x[T.Cast('int32', x[vi, vj]), vj]", X_Y, ("x",)),
        ("y[vi, 0] = x[vi, vj]", X_Y, ("race", "53", "vj")),
        ("y[vi // 2, vj] = x[vi, vj]", X_Y, ("affine|race", "vi")),
        ("y[vi, vj] = T.atan2(x[vi, vj], x[vi, vj])", X_Y, ("atan2",)),
    ],
)
def test_a_statement_that_cannot_be_compiled_exactly(statement, params, parts):
    refused(elementwise(statement, params), *parts)


@pytest.mark.parametrize("dtype", ["float16", "float64", "int64", "uint8"])
def test_an_unsupported_dtype(dtype):
    text = f"""
@T.prim_func(s_tir=True)
def graph(
    x: T.Buffer((37, 53), "{dtype}"),{MARK}
    y: T.Buffer((37, 53), "{dtype}"),
):
    for i, j in T.grid(37, 53):
        with T.sblock("block"):
            vi, vj = T.axis.remap("SS", [i, j])
            y[vi, vj] = x[vi, vj] + x[vi, vj]
"""
    refused(text, dtype, "float32", "x")


def test_rank_7():
    text = f"""
@T.prim_func(s_tir=True)
def graph(
    x: T.Buffer((2, 2, 2, 2, 2, 2, 2), "float32"),{MARK}
    y: T.Buffer((2, 2, 2, 2, 2, 2, 2), "float32"),
):
    for a, b, c, d, e, f, g in T.grid(2, 2, 2, 2, 2, 2, 2):
        with T.sblock("block"):
            va, vb, vc, vd, ve, vf, vg = T.axis.remap("SSSSSSS", [a, b, c, d, e, f, g])
            y[va, vb, vc, vd, ve, vf, vg] = x[va, vb, vc, vd, ve, vf, vg] + T.float32(1)
"""
    refused(text, "rank 7", "x")


def test_a_negative_dimension():
    text = f"""
@T.prim_func(s_tir=True)
def graph(
    x: T.Buffer((4, -3), "float32"),{MARK}
    y: T.Buffer((4,), "float32"),
):
    for i in range(4):
        with T.sblock("block"):
            vi = T.axis.spatial(4, i)
            y[vi] = x[vi, 0]
"""
    refused(text, "-3", "x")


def test_reading_before_writing():
    text = f"""
@T.prim_func(s_tir=True)
def graph({X_Y}):
    t = T.sblock_alloc_buffer((37, 53), "float32")
    for i, j in T.grid(37, 53):
        with T.sblock("reads"):
            vi, vj = T.axis.remap("SS", [i, j])
            y[vi, vj] = x[vi, vj] + t[vi, vj]{MARK}
    for i, j in T.grid(37, 53):
        with T.sblock("writes"):
            vi, vj = T.axis.remap("SS", [i, j])
            t[vi, vj] = x[vi, vj]
"""
    refused(text, "t", "read", "written|writ")


def test_a_data_dependent_bound():
    text = f"""
@T.prim_func(s_tir=True)
def graph(n: T.Buffer((1,), "int32"), x: T.Buffer((9,), "float32"), y: T.Buffer((9,), "float32")):
    for i in T.serial(n[0]):{MARK}
        with T.sblock("block"):
            vi = T.axis.spatial(9, i)
            y[vi] = x[vi] + T.float32(1)
"""
    with pytest.raises(KernelError):
        tf.compile(load_source(text))


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
def test_empty_tensors_are_legal(shape):
    x = te.placeholder(shape, name="x")
    y = te.compute(shape, lambda i, j: x[i, j] + 1.0, name="y")
    result = tf.compile(te.create_prim_func([x, y]))(np.zeros(shape, np.float32))
    assert result.shape == shape


def test_a_sum_of_nothing_is_zero():
    text = """
@T.prim_func(s_tir=True)
def graph(x: T.Buffer((5, 0), "float32"), w: T.Buffer((0, 3), "float32"), y: T.Buffer((5, 3), "float32")):
    for i, j, k in T.grid(5, 3, 0):
        with T.sblock("matmul"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                y[vi, vj] = T.float32(0)
            y[vi, vj] = y[vi, vj] + x[vi, vk] * w[vk, vj]
"""  # noqa: E501
    func = load_source(text)
    got = tf.compile(func)(np.zeros((5, 0), np.float32), np.zeros((0, 3), np.float32))
    assert np.array_equal(got, np.zeros((5, 3)))


def tile_level(*body: str) -> str:
    """A tile-level function over x and y of 90 x 90."""
    head = [
        "@T.prim_func",
        'def graph(x: T.Buffer((90, 90), "float32"), y: T.Buffer((90, 90), "float32")):',
    ]
    return "\n".join([*head, *(f"    {line}" for line in body)]) + "\n"


def test_a_block_larger_than_sram():
    text = tile_level(
        'a = T.alloc_buffer((256, 512), "float32")' + MARK,
        "T.tf.load(a, x[0:256, 0:512])",
        "T.tf.relu(a)",
        "T.tf.store(y[0:256, 0:512], a)",
    )
    refused(text, "'a'", "524288", "262144")


def test_blocks_that_do_not_fit_together():
    text = tile_level(
        'a = T.alloc_buffer((96, 96), "float32")' + MARK,
        'b = T.alloc_buffer((96, 96), "float32")' + MARK,
        'c = T.alloc_buffer((96, 96), "float32")' + MARK,
        "T.tf.load(a, x[0:96, 0:96])",
        "T.tf.load(b, y[0:96, 0:96])",
        "T.tf.gemm(c, a, b)",
        "T.tf.add(c, a)",
        "T.tf.add(c, b)",
        "T.tf.store(y[0:96, 0:96], c)",
    )
    refused(text, "36864", "98304", r"a .*line 3|a .*:3", r"b .*line 4|b .*:4", sram_bytes=98304)


def test_a_slice_beyond_its_block():
    text = tile_level(
        'a = T.alloc_buffer((32, 32), "float32")',
        "T.tf.load(a, x[0:32, 0:32])",
        "T.tf.relu(a[0:32, 16:48], a[0:32, 0:32])" + MARK,
        "T.tf.store(y[0:32, 0:32], a)",
    )
    refused(text, "a", "48|32")


def test_shapes_that_disagree_at_tile_level():
    text = tile_level(
        'a = T.alloc_buffer((32, 64), "float32")',
        'b = T.alloc_buffer((32, 32), "float32")',
        "T.tf.load(a, x[0:32, 0:64])",
        "T.tf.relu(b, a)" + MARK,
        "T.tf.store(y[0:32, 0:32], b)",
    )
    refused(text, "32", "64")


def test_a_block_read_before_it_is_written():
    text = tile_level(
        'a = T.alloc_buffer((32, 32), "float32")',
        "T.tf.store(y[0:32, 0:32], a)" + MARK,
    )
    with pytest.raises(TileflowError) as caught:
        tf.compile(load_source(text))
    expect_in(caught.value, "read|written", ":4")


def test_a_function_that_writes_nothing():
    text = tile_level(
        'a = T.alloc_buffer((32, 32), "float32")',
        "T.tf.load(a, x[0:32, 0:32])",
    )
    with pytest.raises(KernelError) as caught:
        tf.compile(load_source(text))
    expect_in(caught.value, "writes none of its arguments", "T.tf.store", r":2:\d+: error")


def test_an_output_that_is_not_written_whole():
    text = tile_level(
        'a = T.alloc_buffer((32, 32), "float32")',
        "T.tf.load(a, x[0:32, 0:32])",
        "T.tf.store(y[0:32, 0:32], a)",
    )
    with pytest.raises(TileflowError) as caught:
        tf.compile(load_source(text))
    expect_in(caught.value, "output 'y'", "stores", r"\[0, 32\]")


def test_a_constant_that_overflows():
    text = tile_level(
        'a = T.alloc_buffer((32, 32), "float32")',
        "T.tf.fill(a, 1e39)" + MARK,
        "T.tf.store(y[0:32, 0:32], a)",
    )
    with pytest.raises(tvm.error.DiagnosticError, match=r"1e\+39.* overflows float32"):
        load_source(text)
