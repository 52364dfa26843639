"""Every shape at every SRAM size: matmul, with and without an epilogue, in all engines."""

from __future__ import annotations

import functools
import itertools
import random
from typing import Any

import numpy as np
import pytest
from differential import check, matmul_bound
from graph_source import load_source
from graphs import Approx, apply

SIZES = ((1, 7, 32, 65, 129, 300), (1, 5, 33, 64, 110, 257), (1, 3, 31, 70, 128, 289))
"""M, N and K."""
SHAPES = tuple(itertools.product(*SIZES))
TILE_BYTES = 32 * 32 * 4
SRAM = tuple(tiles * TILE_BYTES for tiles in (3, 4, 5, 6, 7, 9, 12, 16, 21, 32, 45, 64))
FORMS = ("plain", "bias_relu", "transposed_a", "transposed_b")


@functools.cache
def matmul(m: int, n: int, k: int, form: str) -> Any:
    """A @ B in the storage that `form` says; bias_relu: max(A @ B + bias, 0)."""
    lhs = ("(K, M)", "vk, vi") if form == "transposed_a" else ("(M, K)", "vi, vk")
    rhs = ("(N, K)", "vj, vk") if form == "transposed_b" else ("(K, N)", "vk, vj")
    sizes = f"M, N, K = {m}, {n}, {k}\n"
    params = f'A: T.Buffer({lhs[0]}, "float32"), B: T.Buffer({rhs[0]}, "float32")'
    product = f"""
    for i, j, k in T.grid(M, N, K):
        with T.sblock("matmul"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                Y[vi, vj] = T.float32(0)
            Y[vi, vj] = Y[vi, vj] + A[{lhs[1]}] * B[{rhs[1]}]
"""
    if form != "bias_relu":
        head = f'@T.prim_func(s_tir=True)\ndef graph({params}, Y: T.Buffer((M, N), "float32")):'
        return load_source(sizes + head + product)
    return load_source(f"""{sizes}
@T.prim_func(s_tir=True)
def graph({params}, bias: T.Buffer((N,), "float32"), Z: T.Buffer((M, N), "float32")):
    Y = T.sblock_alloc_buffer((M, N), "float32")
{product}
    for i, j in T.grid(M, N):
        with T.sblock("bias_relu"):
            vi, vj = T.axis.remap("SS", [i, j])
            Z[vi, vj] = T.max(Y[vi, vj] + bias[vj], T.float32(0))
""")


def check_matmul(shape: tuple[int, int, int], form: str, rng: np.random.Generator,
                 **machine: int) -> Any:  # fmt: skip
    m, n, k = shape
    a, b, bias = (rng.standard_normal(s, dtype=np.float32) for s in ((m, k), (k, n), (n,)))
    want, arrays = matmul_bound(a, b), [a, b]
    if form == "bias_relu":
        arrays.append(bias)
        wide = bias.astype(np.float64)
        want = apply("relu", apply("add", want, Approx(wide, np.zeros(n))))
    elif form == "transposed_a":
        arrays[0] = a.T
    elif form == "transposed_b":
        arrays[1] = b.T
    return check(matmul(m, n, k, form), arrays, [want], **machine)


def _cases() -> list[tuple[tuple[int, int, int], int, str]]:
    return [(shape, sram, FORMS[index % len(FORMS)])
            for index, (shape, sram) in enumerate(itertools.product(SHAPES, SRAM))]  # fmt: skip


SAMPLE = random.Random(1).sample(_cases(), 70)


def test_the_sweep_is_of_the_promised_size():
    assert (len(SHAPES), len(SRAM), len(_cases())) == (216, 12, 2592)
    assert (SRAM[0], SRAM[-1]) == (12288, 262144)
    assert {form for _, _, form in SAMPLE} == set(FORMS)


@pytest.mark.parametrize(("shape", "sram", "form"), SAMPLE)
def test_a_sample_of_shapes_and_sram_sizes(shape, sram, form, rng):
    check_matmul(shape, form, rng, sram_bytes=sram)


@pytest.mark.sweep
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_every_shape_at_every_sram_size(shape, rng):
    for case, sram, form in _cases():
        if case == shape:
            check_matmul(shape, form, rng, sram_bytes=sram)


WIDE = ((1, 16, 8192), (4096, 8, 8), (8, 3, 5000), (1, 10000, 1), (3000, 1, 1), (1, 8192, 16),
        (2, 1, 20000), (1, 1, 10000))  # fmt: skip
"""(M, N, K): one side much longer than what SRAM holds of the others."""


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", WIDE, ids=lambda shape: "x".join(map(str, shape)))
def test_wide_shapes_at_the_default_sram(shape, form, rng):
    check_matmul(shape, form, rng)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("tile", [8, 16, 64])
@pytest.mark.parametrize("shape", [(1, 1, 1), (9, 17, 33), (65, 130, 71)])
def test_machines_with_other_tiles(tile, shape, form, rng):
    check_matmul(shape, form, rng, tile=tile, sram_bytes=3 * tile * tile * 4)
    check_matmul(shape, form, rng, tile=tile, sram_bytes=262144)
