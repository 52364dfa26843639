"""The programs that the sanitizer builds run, each with its inputs and an oracle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from differential import matmul_bound
from graph_source import load_source, source_of
from graphs import Approx, apply, graph_of
from simulator_programs import gemm_machine, gemm_text, program
from test_sweep_gemm import matmul
from tvm import te, topi
from tvm.script import tirx as T

import tileflow_tvm as tf
from tileflow_tvm.isa.container import to_bytes
from tileflow_tvm.kernels.gemm import gemm, gemm_bias_relu


@dataclass(frozen=True)
class Case:
    """A binary, what it reads, and what it writes."""

    binary: bytes
    arrays: list[np.ndarray]
    wants: list[Approx]
    shared: bool = False
    """Whether its products have bands for helpers, who then have to compute some."""


def draw(rng: np.random.Generator, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    return [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]


def compiled(func: Any, arrays: list[np.ndarray], wants: list[Approx], **machine: int) -> Case:
    exe = tf.compile(func, machine=tf.Machine.load("tileflow").replace(**machine))
    return Case(exe.to_bytes(), arrays, wants)


def exact(array: np.ndarray) -> Approx:
    return Approx(array.astype(np.float64), np.zeros(array.shape))


def assembled(rng: np.random.Generator) -> Case:
    """A product in blocks with tails, as assembly text."""
    a, b = draw(rng, (130, 150), (150, 70))
    binary = to_bytes(program(gemm_text(130, 70, 150, block=32), gemm_machine(32)))
    return Case(binary, [a, b], [matmul_bound(a, b)])


def shared(rng: np.random.Generator) -> Case:
    """A product whose blocks have bands, for several threads each."""
    a, b = draw(rng, (200, 140), (140, 150))
    binary = to_bytes(program(gemm_text(200, 150, 140, block=128), gemm_machine(128)))
    return Case(binary, [a, b], [matmul_bound(a, b)], shared=True)


def by_hand(m: int, n: int, k: int, *block: int) -> Callable[[np.random.Generator], Case]:
    def case(rng: np.random.Generator) -> Case:
        a, b = draw(rng, (m, k), (k, n))
        return compiled(gemm(m, n, k, block), [a, b], [matmul_bound(a, b)])

    return case


def with_bias(rng: np.random.Generator) -> Case:
    a, b, bias = draw(rng, (70, 65), (65, 130), (130,))
    want = apply("relu", apply("add", matmul_bound(a, b), exact(bias)))
    return compiled(gemm_bias_relu(70, 130, 65, (64, 32, 32)), [a, b, bias], [want])


def transposed(form: str, **machine: int) -> Callable[[np.random.Generator], Case]:
    def case(rng: np.random.Generator) -> Case:
        a, b = draw(rng, (65, 31), (31, 110))
        given = [a.T, b] if form == "transposed_a" else [a, b.T]
        arrays = [np.ascontiguousarray(array) for array in given]
        return compiled(matmul(65, 110, 31, form), arrays, [matmul_bound(a, b)], **machine)

    return case


def mlp(rng: np.random.Generator) -> Case:
    """tanh(x w + b) v: two products with what is between them."""
    arrays = draw(rng, (33, 70), (70, 50), (50,), (50, 9))
    x, w, b, v = (te.placeholder(array.shape, name=name)
                  for name, array in zip("xwbv", arrays, strict=True))  # fmt: skip
    hidden = topi.tanh(topi.matmul(x, w) + b)
    func = te.create_prim_func([x, w, b, v, topi.matmul(hidden, v)])
    wide = [array.astype(np.float64) for array in arrays]
    want = np.tanh(wide[0] @ wide[1] + wide[2]) @ wide[3]
    return compiled(func, arrays, [Approx(want, np.full(want.shape, 1e-3))], sram_bytes=28672)


def random_graph(seed: int) -> Callable[[np.random.Generator], Case]:
    """Maps, products and reductions that read each other, in several stages."""

    def case(_: np.random.Generator) -> Case:
        graph = graph_of(seed)
        func = load_source(source_of(graph))
        return compiled(func, graph.arrays, graph.expected(), sram_bytes=graph.sram_bytes)

    return case


def softmax(rng: np.random.Generator) -> Case:
    """Rows longer than a block: reductions that go on over blocks, three passes over DRAM."""

    @T.prim_func
    def softmax(x: T.Buffer((40, 100), "float32"), y: T.Buffer((40, 100), "float32")):
        for i in range(2):
            top = T.alloc_buffer((32,), "float32")
            total = T.alloc_buffer((32,), "float32")
            for j in range(4):
                a = T.alloc_buffer((32, 32), "float32")
                T.tf.load(a, x[i * 32 : i * 32 + 32, j * 32 : j * 32 + 32])
                T.tf.max(top, a, axis=1, clear=j == 0)
            for j in range(4):
                b = T.alloc_buffer((32, 32), "float32")
                T.tf.load(b, x[i * 32 : i * 32 + 32, j * 32 : j * 32 + 32])
                T.tf.sub(b, top, modes=("full", "col"))
                T.tf.exp(b)
                T.tf.sum(total, b, axis=1, clear=j == 0)
            for j in range(4):
                c = T.alloc_buffer((32, 32), "float32")
                T.tf.load(c, x[i * 32 : i * 32 + 32, j * 32 : j * 32 + 32])
                T.tf.sub(c, top, modes=("full", "col"))
                T.tf.exp(c)
                T.tf.div(c, total, modes=("full", "col"))
                T.tf.store(y[i * 32 : i * 32 + 32, j * 32 : j * 32 + 32], c)

    (x,) = draw(rng, (40, 100))
    odds = np.exp(x.astype(np.float64) - x.max(axis=1, keepdims=True))
    want = odds / odds.sum(axis=1, keepdims=True)
    return compiled(softmax, [x], [Approx(want, 1e-5 * want)])


def transposition(rng: np.random.Generator) -> Case:
    """On chip, by columns, in blocks that hang over both edges."""

    @T.prim_func
    def turn(x: T.Buffer((70, 45), "float32"), y: T.Buffer((45, 70), "float32")):
        for i, j in T.grid(3, 2):
            a = T.alloc_buffer((32, 32), "float32")
            b = T.alloc_buffer((32, 32), "float32")
            T.tf.load(a, x[i * 32 : i * 32 + 32, j * 32 : j * 32 + 32])
            T.tf.transpose(b, a)
            T.tf.store(y[j * 32 : j * 32 + 32, i * 32 : i * 32 + 32], b)

    (x,) = draw(rng, (70, 45))
    return compiled(turn, [x], [exact(x.T)])


CASES: dict[str, Callable[[np.random.Generator], Case]] = {
    "gemm as assembly": assembled,
    "gemm that helpers share": shared,
    "gemm 97x95x33": by_hand(97, 95, 33, 96, 96, 32),
    "gemm 1x300x7": by_hand(1, 300, 7, 8, 40, 20),
    "gemm with bias and relu": with_bias,
    "gemm of a transposed lhs": transposed("transposed_a"),
    "gemm of a transposed rhs, least SRAM": transposed("transposed_b", sram_bytes=12288),
    "mlp": mlp,
    "softmax": softmax,
    "transposition": transposition,
    **{f"graph {seed}": random_graph(seed) for seed in (5, 17, 19, 27, 33, 35)},
}
