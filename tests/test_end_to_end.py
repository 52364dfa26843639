"""From a function in each form that is accepted to the numbers NumPy gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from differential import assert_close, assert_same_bits, check, matmul_bound
from graph_source import load_source
from graphs import Approx, apply
from tvm import relax, te, topi
from tvm.script import tirx as T

import tileflow_tvm as tf


def exact(array: np.ndarray) -> Approx:
    wide = array.astype(np.float64)
    return Approx(wide, np.zeros_like(wide))


def near(value: np.ndarray, relative: float = 2e-6) -> Approx:
    """Within `relative` of the largest magnitude: for sums of fewer than some thirty terms."""
    return Approx(value, np.full(value.shape, relative * np.abs(value).max()))


def draw(rng: np.random.Generator, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    return [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]


def sblock_function(params: str, locals_: str, *stages: tuple[str, str]) -> Any:
    """A function of element-wise and matmul stages over square matrices of N = 37: each stage
    is ("SS" or "SSR", "target[...] = value")."""
    lines = ["@T.prim_func(s_tir=True)"]
    typed = ", ".join(f'{name}: T.Buffer((37, 37), "float32")' for name in params.split())
    lines.append(f"def graph({typed}):")
    lines += [
        f'    {name} = T.sblock_alloc_buffer((37, 37), "float32")' for name in locals_.split()
    ]
    for number, (kinds, text) in enumerate(stages):
        names = "ijk"[: len(kinds)]
        axes = ", ".join(f"v{name}" for name in names)
        lines += [
            f"    for {', '.join(names)} in T.grid({', '.join(['37'] * len(kinds))}):",
            f'        with T.sblock("stage{number}"):',
            f'            {axes} = T.axis.remap("{kinds}", [{", ".join(names)}])',
        ]
        if kinds == "SSR":
            target = text.split(" = ")[0]
            lines += ["            with T.init():", f"                {target} = T.float32(0)"]
        lines.append(f"            {text}")
    return load_source("\n".join(lines) + "\n")


def product(target: str, lhs: str, rhs: str) -> tuple[str, str]:
    return "SSR", f"{target}[vi, vj] = {target}[vi, vj] + {lhs}[vi, vk] * {rhs}[vk, vj]"


def relu(target: str, source: str) -> tuple[str, str]:
    return "SS", f"{target}[vi, vj] = T.max({source}[vi, vj], T.float32(0))"


def test_relu_on_an_input(rng):
    (x,) = draw(rng, (37, 37))
    check(sblock_function("x y", "", relu("y", "x")), [x], [exact(np.maximum(x, 0))])


def test_relu_of_relu(rng):
    (x,) = draw(rng, (37, 37))
    func = sblock_function("x y", "z", relu("z", "x"), relu("y", "z"))
    check(func, [x], [exact(np.maximum(x, 0))])


def test_a_matrix_times_itself(rng):
    (x,) = draw(rng, (37, 37))
    check(sblock_function("x y", "", product("y", "x", "x")), [x], [matmul_bound(x, x)])


def test_an_add_alone(rng):
    x, y = draw(rng, (37, 37), (37, 37))
    func = sblock_function("x y z", "", ("SS", "z[vi, vj] = x[vi, vj] + y[vi, vj]"))
    check(func, [x, y], [exact(x + y)])


def test_a_value_with_two_users_and_two_outputs(rng):
    x, w = draw(rng, (37, 37), (37, 37))
    stages = (product("y", "x", "w"), relu("r", "y"),
              ("SS", "d[vi, vj] = y[vi, vj] - r[vi, vj]"))  # fmt: skip
    y = matmul_bound(x, w)
    rectified = apply("relu", y)
    check(sblock_function("x w r d", "y", *stages), [x, w], [rectified, apply("sub", y, rectified)],
          sram_bytes=12288)  # fmt: skip


def test_a_diamond_with_a_residual(rng):
    x, w = draw(rng, (37, 37), (37, 37))
    stages = (relu("r", "x"), product("a", "r", "w"), product("b", "w", "r"),
              ("SS", "o[vi, vj] = a[vi, vj] * b[vi, vj] + x[vi, vj]"))  # fmt: skip
    rectified = np.maximum(x, 0)
    product_ = apply("mul", matmul_bound(rectified, w), matmul_bound(w, rectified))
    check(sblock_function("x w o", "r a b", *stages), [x, w], [apply("add", product_, exact(x))])


def test_an_output_that_a_later_stage_reads(rng):
    (x,) = draw(rng, (37, 37))
    func = sblock_function("x y z", "", relu("y", "x"), product("z", "y", "x"))
    rectified = np.maximum(x, 0)
    check(func, [x], [exact(rectified), matmul_bound(rectified, x)])


def test_tensors_that_share_a_name(rng):
    """A name is for people: identity tells tensors apart."""
    x, y = (te.placeholder((5, 9), name="t", dtype="float32") for _ in range(2))
    z = te.compute((5, 9), lambda i, j: x[i, j] - y[i, j], name="t")
    a, b = draw(rng, (5, 9), (5, 9))
    check(te.create_prim_func([x, y, z]), [a, b], [exact(a - b)])


def test_an_unused_argument(rng):
    x, y = draw(rng, (37, 37), (37, 37))
    check(sblock_function("x unused y", "", relu("y", "x")), [x, y], [exact(np.maximum(x, 0))])


def test_topi_layers(rng):
    """A dense layer with bias and tanh, a second one with a residual, both from TOPI."""
    x, w, v = (te.placeholder(s, name=n) for s, n in (((33, 47), "x"), ((29, 47), "w"),
                                                      ((47, 29), "v")))  # fmt: skip
    bias = te.placeholder((29,), name="bias")
    hidden = topi.tanh(topi.add(topi.nn.dense(x, w), bias))
    out = topi.add(topi.nn.dense(hidden, v), x)
    arrays = draw(rng, (33, 47), (29, 47), (47, 29), (29,))
    first = apply("tanh", apply("add", matmul_bound(arrays[0], arrays[1].T), exact(arrays[3])))
    wide = np.abs(arrays[2].T.astype(np.float64))
    second = matmul_bound(first.value, arrays[2].T)
    second = Approx(second.value, second.error * (1 + 1e-6) + first.error @ wide)
    func = te.create_prim_func([x, w, v, bias, out])
    check(func, arrays, [apply("add", second, exact(arrays[0]))], sram_bytes=16384)


@pytest.mark.parametrize("shape", [(1, 1), (3, 70), (70, 3), (129, 33)])
def test_topi_softmax(shape, rng):
    x = te.placeholder(shape, name="x")
    (array,) = draw(rng, shape)
    odds = np.exp(array.astype(np.float64) - array.max(axis=1, keepdims=True))
    func = te.create_prim_func([x, topi.nn.softmax(x)])
    check(func, [array], [near(odds / odds.sum(axis=1, keepdims=True))])


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("name", "want"), [("sum", np.sum), ("max", np.max)])
def test_topi_reductions(name, want, axis, rng):
    x = te.placeholder((131, 67), name="x")
    (array,) = draw(rng, (131, 67))
    func = te.create_prim_func([x, getattr(topi, name)(x, axis=axis)])
    sizes = np.abs(array.astype(np.float64)).sum(axis=axis) * 131 * 2.0**-24
    value = want(array.astype(np.float64), axis=axis)
    check(func, [array], [Approx(value, sizes if name == "sum" else np.zeros_like(sizes))],
          sram_bytes=12288)  # fmt: skip


def fused_by_relax(build: Any, *shapes: tuple[int, ...]) -> Any:
    """The one PrimFunc that LegalizeOps ... FuseTIR make of the function `build` of variables."""
    builder = relax.BlockBuilder()
    inputs = [relax.Var(f"x{i}", relax.TensorType(shape, "float32"))
              for i, shape in enumerate(shapes)]  # fmt: skip
    with builder.function("main", inputs):
        with builder.dataflow():
            out = builder.emit_output(build(builder, *inputs))
        builder.emit_func_output(out)
    passes = [relax.transform.LegalizeOps(), relax.transform.AnnotateTIROpPattern(),
              relax.transform.FoldConstant(), relax.transform.FuseOps(),
              relax.transform.FuseTIR()]  # fmt: skip
    module = tvm.transform.Sequential(passes)(builder.get())
    functions = [func for func in module.functions.values() if isinstance(func, tvm.tirx.PrimFunc)]
    assert len(functions) == 1
    return functions[0]


def test_what_relax_fuses(rng):
    """matmul, add and relu: int64 loops, and a bias that is broadcast."""
    shapes = ((45, 70), (70, 38), (38,))

    def layer(builder, x, w, bias):
        y = builder.emit(relax.op.matmul(x, w))
        y = builder.emit(relax.op.add(y, bias))
        return relax.op.nn.relu(y)

    x, w, bias = draw(rng, *shapes)
    want = apply("relu", apply("add", matmul_bound(x, w), exact(bias)))
    check(fused_by_relax(layer, *shapes), [x, w, bias], [want], sram_bytes=12288)


@T.prim_func(s_tir=True)
def layer_70_to_33(
    x: T.Buffer((45, 70), "float32"),
    w: T.Buffer((70, 33), "float32"),
    bias: T.Buffer((33,), "float32"),
    y: T.Buffer((45, 33), "float32"),
):
    z = T.sblock_alloc_buffer((45, 33), "float32")
    for i, j, k in T.grid(45, 33, 70):
        with T.sblock("matmul"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                z[vi, vj] = T.float32(0)
            z[vi, vj] = z[vi, vj] + x[vi, vk] * w[vk, vj]
    for i, j in T.grid(45, 33):
        with T.sblock("activation"):
            vi, vj = T.axis.remap("SS", [i, j])
            y[vi, vj] = T.sigmoid(z[vi, vj] + bias[vj])


@pytest.fixture
def layer(rng) -> tuple[Any, list[np.ndarray], Approx]:
    arrays = draw(rng, (45, 70), (70, 33), (33,))
    sum_ = apply("add", matmul_bound(*arrays[:2]), exact(arrays[2]))
    return tf.compile(layer_70_to_33), arrays, apply("sigmoid", sum_)


def test_a_saved_program_gives_the_same_bits(layer, tmp_path):
    exe, arrays, want = layer
    loaded = tf.load(exe.save(tmp_path / "layer.bin"))
    assert loaded.to_bytes() == exe.to_bytes()
    assert loaded.asm == exe.asm
    got = loaded(*arrays)
    assert_close(got, want)
    assert_same_bits(got, exe(*arrays), "loaded and compiled")


def test_a_module_of_one_function_compiles_as_the_function(layer):
    exe, arrays, _ = layer
    again = tf.compile(tvm.IRModule({"layer": layer_70_to_33}))
    assert_same_bits(again(*arrays), exe(*arrays), "module and function")


@pytest.mark.parametrize("engine", ["sequential", "threaded", "auto"])
def test_statistics(layer, engine):
    exe, arrays, want = layer
    result = exe.run(*arrays, engine=engine)
    assert_close(result.outputs[0], want)
    stats = result.stats
    assert (
        stats.engine == engine if engine != "auto" else stats.engine in ("sequential", "threaded")
    )
    assert stats.flops >= 2 * 45 * 70 * 33
    assert stats.instructions["exec.gemm"] >= 1
    assert sum(stats.instructions.values()) == stats.total_instructions
    loads = {name: ways["load"] for name, ways in stats.dram_bytes.items()}
    for name, array in zip(("x", "w", "bias"), arrays, strict=True):
        assert loads[name] >= array.nbytes
    assert stats.dram_bytes["y"]["store"] == want.value.size * 4
    assert stats.wall_ns > 0


def matmul(size: int) -> Any:
    a, b = (te.placeholder((size, size), name=name) for name in "AB")
    return te.create_prim_func([a, b, topi.matmul(a, b)])


def test_a_large_product_moves_little_more_than_the_bound(rng):
    """2 MNK / sqrt(S) + MN words, S the SRAM in words (Kwasniewski et al. 2019)."""
    exe = tf.compile(matmul(1024), machine=tf.Machine.load("tileflow").replace(sram_bytes=262144))
    a, b = draw(rng, (1024, 1024), (1024, 1024))
    result = exe.run(a, b)
    assert_close(result.outputs[0], matmul_bound(a, b))
    bound = 2 * 1024**3 / np.sqrt(262144 / 4) + 1024**2
    assert result.stats.total_dram_bytes / 4 <= 1.3 * bound


@pytest.mark.parametrize("size", [33, 100, 1000, 4096])
def test_program_text_does_not_grow_with_the_size(size):
    assert 16 * len(tf.compile(matmul(size)).program.insns) < 4096
