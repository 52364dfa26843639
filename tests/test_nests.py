"""Compute-level functions beyond vectors and matrices: taken apart, joined, laid out."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tvm
from random_nests import NestMaker
from tvm import te, topi
from tvm.script import tirx as T

import tileflow_tvm as tf
from tileflow_tvm.assembler import disassemble
from tileflow_tvm.errors import KernelError
from tileflow_tvm.frontend.read import read
from tileflow_tvm.frontend.write import write
from tileflow_tvm.passes import registry
from tileflow_tvm.passes.emit import emit
from tileflow_tvm.passes.fuse import fuse
from tileflow_tvm.passes.legalize import legalize
from tileflow_tvm.passes.lift import lift

MACHINE = tf.Machine.load("tileflow")


def tensor(*shape: int, name: str = "x", dtype: str = "float32"):
    return te.placeholder(shape, dtype, name=name)


def function(*tensors):
    return te.create_prim_func(list(tensors))


def arrays_for(exe, rng) -> list[np.ndarray]:
    return [
        rng.standard_normal(arg.shape).astype(np.float32)
        for arg in exe.program.args if arg.role.name != "OUT"
    ]  # fmt: skip


def agrees_with_llvm(func, rng, machine=MACHINE, rtol: float = 1e-5) -> None:
    """Both engines, the same bits, against TVM's own back end; all elements."""
    exe = tf.compile(func, machine)
    inputs = arrays_for(exe, rng)
    got = exe.run(*inputs, engine="sequential").outputs
    threaded = exe.run(*inputs, engine="threaded").outputs
    want = [
        tvm.runtime.tensor(np.full(y.shape, np.nan if y.dtype.kind == "f" else -1, y.dtype))
        for y in got
    ]
    tvm.compile(func, target="llvm")["main"](*map(tvm.runtime.tensor, inputs), *want)
    for y, other, oracle in zip(got, threaded, want, strict=True):
        assert y.tobytes() == other.tobytes()
        values = oracle.numpy()
        scale = max(1.0, float(np.abs(values[np.isfinite(values)]).max(initial=0.0)))
        np.testing.assert_allclose(y, oracle.numpy(), rtol=rtol, atol=rtol * scale)


X4 = tensor(2, 3, 7, 9)
W4 = tensor(8, 3, 3, 3, name="w")


def conv_bias_relu():
    bias = tensor(8, 1, 1, name="b")
    return function(X4, W4, bias, topi.nn.relu(topi.nn.conv2d_nchw(X4, W4, 2, 1, 1) + bias))


def batched_product(lhs_batch: bool = True):
    lhs = tensor(5, 33, 40, name="A") if lhs_batch else tensor(33, 40, name="A")
    rhs, k = tensor(5, 40, 35, name="B"), te.reduce_axis((0, 40), name="k")
    cell = (lambda b, i: lhs[b, i, k]) if lhs_batch else (lambda _b, i: lhs[i, k])
    return function(lhs, rhs, te.compute(
        (5, 33, 35), lambda b, i, j: te.sum(cell(b, i) * rhs[b, k, j], axis=k)))  # fmt: skip


def einsum_of_rank_6():
    x, axes = tensor(2, 3, 2, 3, 2, 5), [te.reduce_axis((0, 3), name="b")]
    return function(
        x,
        te.compute(
            (5, 2, 3, 2, 2), lambda f, a, d, c, e: te.sum(x[a, axes[0], c, d, e, f], axis=axes)
        ),
    )


FUNCTIONS = {
    "pad": lambda: function(X4, topi.nn.pad(X4, (0, 0, 1, 1), (0, 0, 1, 2), 1.5)),
    "conv": lambda: function(X4, W4, topi.nn.conv2d_nchw(X4, W4, 1, 1, (2, 1))),
    "conv + bias + relu": conv_bias_relu,
    "depthwise": lambda: (lambda w: function(X4, w, topi.nn.depthwise_conv2d_nchw(X4, w, 1, 1, 1)))(
        tensor(3, 1, 3, 3, name="w")),
    "max pool": lambda: function(X4, topi.nn.pool2d(
        X4, (3, 3), (2, 2), (1, 1), (1, 1, 1, 1), "max")),
    "concat": lambda: function(X4, topi.concatenate([X4, X4], 1)),
    "reshape": lambda: function(X4, topi.reshape(X4, (6, 63))),
    "repeat": lambda: function(X4, topi.repeat(X4, 2, 1)),
    "flip": lambda: function(X4, topi.flip(X4, 3)),
    "permute": lambda: function(X4, topi.transpose(X4, (3, 1, 0, 2))),
    "strided slice": lambda: function(X4, topi.strided_slice(
        X4, [0, 0, 1, 8], [2, 3, 7, 0], [1, 2, 2, -2])),
    "up-sampling": lambda: function(X4, topi.nn.upsampling(X4, 2, 2)),
    "batched product": batched_product,
    "product broadcast over the batch": lambda: batched_product(lhs_batch=False),
    "softmax over a middle axis": lambda: function(X4, topi.nn.softmax(X4, axis=1)),
    "sum over two axes": lambda: function(X4, topi.sum(X4, axis=(1, 3))),
    "mean of everything but one": lambda: function(X4, topi.sum(X4, axis=(0, 2, 3))),
    "rank 6": einsum_of_rank_6,
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_against_llvm(name, rng):
    agrees_with_llvm(FUNCTIONS[name](), rng)


@pytest.mark.parametrize("name", ["conv + bias + relu", "softmax over a middle axis", "permute"])
@pytest.mark.parametrize("sram", [6 * 4096, 12 * 4096])
def test_in_little_memory(name, sram, rng):
    agrees_with_llvm(FUNCTIONS[name](), rng, MACHINE.replace(sram_bytes=sram))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nests_print_and_read_back(name):
    lifted = lift(legalize(FUNCTIONS[name](), MACHINE), MACHINE)
    for program in (lifted, fuse(lifted, MACHINE)):
        script = write(program)
        tvm.ir.assert_structural_equal(write(read(script)), script)


SMALL_MACHINES = (
    MACHINE,
    MACHINE.replace(sram_bytes=12 * 4096),
    MACHINE.replace(sram_bytes=40 * 4096),
    MACHINE.replace(tile=8, sram_bytes=4 * 4096),
)


def check_random(seed: int) -> None:
    rng = np.random.default_rng(seed)
    maker = NestMaker(rng)
    func = maker.func()
    if maker.words:  # else it has no stage
        agrees_with_llvm(func, rng, SMALL_MACHINES[seed % len(SMALL_MACHINES)], rtol=2e-5)


@pytest.mark.parametrize("seed", range(60))
def test_random_functions(seed):
    check_random(seed)


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(1000, 1600))
def test_many_random_functions(seed):
    check_random(seed)


def formulas(func) -> list[str]:
    program = fuse(lift(legalize(func, MACHINE), MACHINE), MACHINE)
    text = write(program).script(show_meta=False)
    return re.findall(r'formula="([^"]*)"', text)


def test_the_passes_compose_in_tvm():
    """As TVM passes they make the same program; a nest that is not tiled is refused."""
    func = conv_bias_relu()
    passes = registry.passes("tileflow")
    placed = tvm.transform.Sequential(passes)(tvm.IRModule({"main": func}))["main"]
    assert disassemble(emit(read(placed), MACHINE)) == tf.compile(func).asm
    lifted = write(lift(legalize(func, MACHINE), MACHINE))
    with pytest.raises(KernelError, match="between tensors, not between blocks"):
        tf.compile(lifted)


def test_padding_and_epilogue_join_the_convolution():
    (formula,) = formulas(conv_bias_relu())
    assert "pad(t" in formula
    assert "reduce_sum(mul(" in formula
    assert re.search(r"; t0\[.*\] = max\(add\(result, t\d\[", formula)


def test_a_softmax_is_one_nest():
    (formula,) = formulas(function(X4, topi.nn.softmax(X4, axis=1)))
    assert "on_chip_max(" in formula
    assert "on_chip_sum(exp(" in formula


def test_a_value_with_two_users_is_computed_once():
    y = topi.exp(topi.transpose(X4, (0, 2, 1, 3)))
    pair = formulas(function(X4, y, topi.sum(y, axis=3)))
    assert sum("exp(" in formula for formula in pair) == 1


@pytest.mark.parametrize("part", ["reversed", "cut", "shifted", "diagonal"])
def test_a_part_of_a_softmax_is_of_the_whole(part, rng):
    """What is reduced on chip is all of the axis, however its result is read."""
    x = tensor(40, 40)
    y = topi.nn.softmax(x, axis=1)
    read = {
        "reversed": lambda: topi.flip(y, 1),
        "cut": lambda: topi.strided_slice(y, [0, 0], [40, 7], [1, 1]),
        "shifted": lambda: topi.strided_slice(y, [0, 5], [40, 40], [1, 1]),
        "diagonal": lambda: te.compute((40,), lambda i: y[i, i], name="diagonal"),
    }[part]()
    agrees_with_llvm(function(x, read), rng)


def test_a_concatenation_is_a_nest_for_each_part():
    parts = formulas(function(X4, topi.concatenate([X4, X4], 1)))
    assert len(parts) == 2
    assert not any("mask" in formula for formula in parts)


def test_a_reshape_whose_parts_interleave(rng):
    """(2, 14, 2, 4) to (8, 28) is cut where a row ends inside one of 8 numbers."""
    z = tensor(2, 14, 2, 4)
    agrees_with_llvm(function(z, topi.reshape(z, (8, 28))), rng)


@T.prim_func(s_tir=True)
def longer_than_written(x: T.Buffer((5, 6), "float32"), y: T.Buffer((8, 7), "float32")):
    for i, j in T.grid(5, 6):
        with T.sblock("y"):
            vi, vj = T.axis.remap("SS", [i, j])
            y[vi + 1, vj] = x[vi, vj] * T.float32(2)


def test_what_is_not_written_is_zero(rng):
    x = rng.standard_normal((5, 6), dtype=np.float32)
    want = np.zeros((8, 7), np.float32)
    want[1:6, :6] = x * 2
    assert tf.compile(longer_than_written)(x).tobytes() == want.tobytes()


@T.prim_func(s_tir=True)
def overlapping_sums(x: T.Buffer((9,), "float32"), y: T.Buffer((21,), "float32")):
    for o in range(21):
        with T.sblock("zero"):
            vo = T.axis.spatial(21, o)
            y[vo] = T.float32(0)
    for i, k in T.grid(9, 4):
        with T.sblock("add"):
            vi = T.axis.reduce(9, i)
            vk = T.axis.reduce(4, k)
            y[2 * vi + vk] = y[2 * vi + vk] + x[vi]


def test_sums_into_cells_that_overlap(rng):
    x = rng.standard_normal(9, dtype=np.float32)
    want = np.zeros(21)
    for i in range(9):
        want[2 * i : 2 * i + 4] += x[i]
    exe = tf.compile(overlapping_sums)
    for engine in ("sequential", "threaded"):
        got = exe.run(x, engine=engine).outputs[0]
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


@T.prim_func(s_tir=True)
def shifted_reads(x: T.Buffer((6, 7), "float32"), y: T.Buffer((4, 7), "float32")):
    for i, j in T.grid(4, 7):
        with T.sblock("y"):
            vi, vj = T.axis.remap("SS", [i, j])
            y[vi, vj] = x[vi + 2, 6 - vj] + x[2, vj]


@T.prim_func(s_tir=True)
def diagonal(x: T.Buffer((5, 5), "float32"), y: T.Buffer((5, 4), "float32")):
    for i, j in T.grid(5, 4):
        with T.sblock("y"):
            vi, vj = T.axis.remap("SS", [i, j])
            y[vi, vj] = x[vi, vi]


def test_shifts_and_reversals(rng):
    x = rng.standard_normal((6, 7), dtype=np.float32)
    assert tf.compile(shifted_reads)(x).tobytes() == (x[2:, ::-1] + x[2]).tobytes()


def test_a_diagonal(rng):
    x = rng.standard_normal((5, 5), dtype=np.float32)
    want = np.ascontiguousarray(np.broadcast_to(np.diag(x)[:, None], (5, 4)))
    assert tf.compile(diagonal)(x).tobytes() == want.tobytes()


def test_a_convolution_reaches_most_of_the_multiply_adds():
    """3 x 3 over 56 x 56 x 64 -> 64: bound by the multiply-adds to 0.7 at the least."""
    x, w = tensor(1, 56, 56, 64), tensor(3, 3, 64, 64, name="w")
    timing = tf.compile(function(x, w, topi.nn.conv2d_nhwc(x, w, 1, 1, 1))).time()
    least = 56 * 56 * 64 * 64 * 9 / MACHINE.macs_per_cycle
    assert least / timing.cycles >= 0.7
