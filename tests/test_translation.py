"""Translation validation: after each pass a function runs under LLVM and agrees."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from contractions import FAMILIES as CONTRACTIONS
from differential import assert_close, assert_same_bits, matmul_bound
from fusible import FUNCTIONS
from graph_source import load_source, source_of
from graphs import Approx, graph_of
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_steps import run_llvm
from operator_cases import FAMILIES, SMALL
from random_boxes import Case
from random_nests import NestMaker
from random_tiles import SIDE
from random_tiles import Generator as TileGenerator
from random_views import Generator as ViewGenerator
from tile_graphs import Graph, data_for, graphs
from tile_interpreter import run_tensor_level
from translated import MACHINE, PLACED, arguments_of, check_steps, check_translation

from tileflow_tvm.errors import KernelError
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.kernels.gemm import gemm, gemm_bias_relu, gemm_bias_relu_reference
from tileflow_tvm.kernels.narrow import gemm_bf16, gemm_i8
from tileflow_tvm.passes.infer_scope import infer_scope
from tileflow_tvm.passes.pipeline import pipeline
from tileflow_tvm.passes.plan_sram import plan_sram
from tileflow_tvm.passes.sequence import TO_PLACED, TO_TILES

SMALL_TILES = Machine().replace(tile=8)


def draw(func, rng: np.random.Generator) -> list[np.ndarray]:
    """Standard normal data for what `func`, at compute level, reads."""
    from tileflow_tvm.passes.legalize import accepted

    function = accepted(func, MACHINE)
    return [
        rng.standard_normal(param.shape).astype(param.dtype)
        for param, role in zip(function.params, function.roles, strict=True) if role != "out"
    ]  # fmt: skip


# Kernels.


@pytest.mark.parametrize("shape", [(1, 1, 1), (97, 95, 33), (130, 100, 70)])
def test_gemm(shape, rng):
    m, n, k = shape
    a, b = (rng.standard_normal(s, dtype=np.float32) for s in ((m, k), (k, n)))
    (got,) = check_translation(gemm(m, n, k, (32, 64, 32)), [a, b])
    assert_close(got, matmul_bound(a, b))


def test_gemm_bias_relu(rng):
    shapes = (130, 70), (70, 100), (100,)
    arrays = [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]
    (got,) = check_translation(gemm_bias_relu(130, 100, 70), arrays)
    wide = [array.astype(np.float64) for array in arrays]
    np.testing.assert_allclose(got, gemm_bias_relu_reference(*wide), rtol=1e-5, atol=1e-5)


def test_gemm_of_bfloat16(rng):
    a, b = (rng.standard_normal(s).astype(ml_dtypes.bfloat16) for s in ((50, 70), (70, 40)))
    (got,) = check_translation(gemm_bf16(50, 40, 70), [a, b])
    want = a.astype(np.float64) @ b.astype(np.float64)
    assert np.abs(got.astype(np.float64) - want).max() <= 2.0**-8 * np.abs(want).max()


def test_gemm_of_int8(rng):
    a, b = (rng.integers(-128, 128, s).astype(np.int8) for s in ((50, 70), (70, 40)))
    (got,) = check_translation(gemm_i8(50, 40, 70, 1e-3), [a, b])
    sums = a.astype(np.int64) @ b.astype(np.int64)
    want = np.rint(sums.astype(np.float32) * np.float32(1e-3)).clip(-128, 127)
    np.testing.assert_array_equal(got, want)


# Compute level.


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_several_operations(name, fused, rng):
    func = FUNCTIONS[name]()
    check_translation(func, draw(func, rng), fused=fused)


OPERATORS = [(family, name) for family, cases in FAMILIES.items() for name in cases]
SAMPLE = [case for family in FAMILIES for case in [c for c in OPERATORS if c[0] == family][::9]]


def check_operator(family: str, name: str, rng: np.random.Generator) -> int:
    """How many of its functions compile; each of them is checked, on what LLVM makes of those
    before it."""
    case = FAMILIES[family][name]
    kernel = case.kernel(SMALL)
    compiled = 0
    for step, arrays in zip(kernel.steps, run_llvm(kernel, kernel.inputs(rng)), strict=True):
        inputs = arrays[: len(step.reads)]
        try:
            check_translation(step.func, inputs, within=max(case.within, 4.0))
        except KernelError:
            continue
        compiled += 1
    return compiled


@pytest.mark.parametrize(("family", "name"), SAMPLE, ids=[name for _, name in SAMPLE])
def test_an_operator(family, name, rng):
    check_operator(family, name, rng)


@pytest.mark.sweep
@pytest.mark.parametrize(("family", "name"), OPERATORS, ids=[name for _, name in OPERATORS])
def test_every_operator(family, name, rng):
    check_operator(family, name, rng)


@pytest.mark.parametrize("row", list(CONTRACTIONS)[::6])
def test_a_contraction(row, rng):
    check_contraction(row, next(iter(CONTRACTIONS[row])), rng)


@pytest.mark.sweep
@pytest.mark.parametrize("name", [(row, n) for row, forms in CONTRACTIONS.items() for n in forms])
def test_every_contraction(name, rng):
    check_contraction(*name, rng)


def check_contraction(row: str, name: str, rng: np.random.Generator) -> None:
    contraction, size = CONTRACTIONS[row][name]
    func = contraction.function(size)
    inputs = contraction.inputs(func, size, rng)
    try:
        check_translation(func, inputs, within=max(contraction.within, 4.0))
    except KernelError:
        pytest.skip("it is refused")


# Random programs.

MACHINES = (
    MACHINE,
    MACHINE.replace(sram_bytes=20 * 1024),
    MACHINE.replace(tile=8, sram_bytes=4096),
    MACHINE.replace(exec_engines=2),
)


def check_graph(seed: int) -> None:
    """Against the float64 oracle of the generator as well."""
    graph = graph_of(seed)
    print(source_of(graph))
    machine = MACHINE.replace(sram_bytes=graph.sram_bytes)
    got = check_translation(load_source(source_of(graph)), graph.arrays, machine, within=64.0)
    for one, want in zip(got, graph.expected(), strict=True):
        largest = np.abs(want.value[np.isfinite(want.value)]).max(initial=0.0)
        slack = 2.0**-20 * largest  # TVM's tanh is off by that
        assert_close(one, Approx(want.value, want.error + slack), f"seed {seed}")


@pytest.mark.parametrize("seed", range(300, 308))
def test_random_graphs(seed):
    check_graph(seed)


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(2000, 2300))
def test_many_random_graphs(seed):
    check_graph(seed)


def check_nest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    maker = NestMaker(rng)
    func = maker.func()
    print(maker.words)
    if not maker.words:
        return  # it has no stage
    try:
        check_translation(func, draw(func, rng), MACHINES[seed % len(MACHINES)], within=16.0)
    except KernelError as error:
        assert " fit" in error.what  # noqa: PT017 - no SRAM is too small for the others


@pytest.mark.parametrize("seed", [*range(100, 108), 3036])
def test_random_nests(seed):
    check_nest(seed)


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(3000, 3300))
def test_many_random_nests(seed):
    check_nest(seed)


def check_tensors(graph: Graph, tiles: int, fused: bool) -> None:
    program = graph.program()
    machine = SMALL_TILES.replace(sram_bytes=tiles * SMALL_TILES.tile_bytes)
    data = data_for(program, np.random.default_rng(tiles))
    inputs = {name: array.astype(np.float32) for name, array in data.items()}
    arguments = arguments_of(program, list(inputs.values()))
    steps = (TO_TILES if fused else TO_TILES[1:]) + TO_PLACED
    try:
        got = check_steps(program, machine, arguments, steps)
    except KernelError as error:
        assert "does not fit" in error.what  # noqa: PT017 - the test goes on below
        return
    with np.errstate(all="ignore"):
        want = run_tensor_level(program, inputs)
    written = [p for p, role in zip(program.params, program.roles, strict=True) if role != "in"]
    for one, param in zip(got, written, strict=True):
        scale = np.abs(want[param.name]).max(initial=1.0)
        np.testing.assert_allclose(one, want[param.name], rtol=1e-4, atol=1e-5 * scale)


@settings(max_examples=10)
@given(graphs(most=4), st.sampled_from((8, 16, 33, 64)), st.booleans())
def test_random_programs_of_whole_tensors(graph: Graph, tiles: int, fused: bool) -> None:
    check_tensors(graph, tiles, fused)


@pytest.mark.sweep
@given(graphs(), st.integers(6, 80), st.booleans())
def test_many_random_programs_of_whole_tensors(graph: Graph, tiles: int, fused: bool) -> None:
    check_tensors(graph, tiles, fused)


def check_tiles(seed: int, units: int) -> bool:
    sram = (24, 48, 96, 256)[seed % 4] << 10
    machine = MACHINE.replace(sram_bytes=sram, exec_engines=units)
    program = TileGenerator(seed, units).program()
    x = np.random.default_rng(seed).standard_normal((SIDE, SIDE)).astype(np.float32)
    arguments = [(x, False), (np.zeros_like(x), True)]
    try:
        check_steps(program, machine, arguments, (plan_sram, pipeline))
    except KernelError:
        return False
    return True


@pytest.mark.parametrize("units", [1, 3])
def test_random_programs_of_tiles(units):
    assert sum(check_tiles(seed, units) for seed in range(500, 508)) >= 2


@pytest.mark.sweep
@pytest.mark.parametrize("start", range(5000, 5400, 20))
def test_many_random_programs_of_tiles(start):
    assert sum(check_tiles(seed, start % 4 + 1) for seed in range(start, start + 20)) >= 4


@pytest.mark.parametrize("padded", [False, True])
def test_random_boxes(padded, rng):
    checked = 0
    for seed in range(400, 416):
        case = Case(seed, padded)
        program = case.program()
        a, y = (rng.standard_normal(p.shape).astype(np.float32) for p in program.params)
        try:
            (got,) = check_steps(program, MACHINE, [(a, False), (y, True)], TO_PLACED)
        except KernelError:
            continue
        assert_same_bits(got, case.expected(a, y), f"seed {seed}")
        checked += 1
    assert checked >= 3


@pytest.mark.parametrize("seed", range(200, 206))
def test_random_views(seed, rng):
    program = ViewGenerator(seed).program()
    a, b = (rng.standard_normal(p.shape).astype(np.float32) for p in program.params)
    check_steps(program, MACHINE, [(a, False), (b, True)], (infer_scope, plan_sram, pipeline))
    assert tuple(step.__name__ for step in TO_PLACED) == PLACED
