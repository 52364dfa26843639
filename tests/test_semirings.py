"""Semirings of gemm, through every pass and both engines: exact, as a choice rounds nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from isa_interpreter import EMPTY, SEMIRING
from tvm.script import tirx as T

import tileflow_tvm as tf
from tileflow_tvm.errors import KernelError
from tileflow_tvm.frontend.tile_ir import Buffer, Op, Program, Region, Scope
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.isa.table import SEMIRINGS
from tileflow_tvm.passes.lift import lift
from tileflow_tvm.passes.tile_simplify import simplify

MACHINE = Machine()
CHOICES = SEMIRINGS[1:]


def choice(semiring: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    times, plus = SEMIRING[semiring]
    acc = np.full((len(a), b.shape[1]), EMPTY[plus], np.float32)
    for column, row in zip(a.T, b, strict=True):
        acc = plus(acc, times(column[:, None], row))
    return acc


def same_everywhere(exe: tf.Executable, inputs: list[np.ndarray], expected: np.ndarray) -> None:
    for engine in ("sequential", "threaded"):
        (got,) = exe.run(*inputs, engine=engine).outputs
        np.testing.assert_array_equal(got, expected, err_msg=engine)


@pytest.mark.parametrize("semiring", CHOICES)
@pytest.mark.parametrize(("ta", "tb"), [(False, False), (True, False), (False, True)])
def test_blocks_over_edges_and_over_k(
    semiring: str, ta: bool, tb: bool, rng: np.random.Generator
) -> None:
    """All distances are far from zero, on the side that zeros from padding would win."""
    m, n, k = 45, 70, 77
    a_shape, b_shape = ((k, m) if ta else (m, k)), ((n, k) if tb else (k, n))

    @T.prim_func
    def kernel(
        A: T.Buffer(a_shape, "float32"), B: T.Buffer(b_shape, "float32"),
        C: T.Buffer((m, n), "float32"),
    ):  # fmt: skip
        for i in range(2):
            for j in range(3):
                acc = T.alloc_buffer((32, 32), "float32")
                for p in range(3):
                    a = T.alloc_buffer((32, 32), "float32")
                    b = T.alloc_buffer((32, 32), "float32")
                    if ta:
                        T.tf.load(a, A[p * 32 : p * 32 + 32, i * 32 : i * 32 + 32])
                    else:
                        T.tf.load(a, A[i * 32 : i * 32 + 32, p * 32 : p * 32 + 32])
                    if tb:
                        T.tf.load(b, B[j * 32 : j * 32 + 32, p * 32 : p * 32 + 32])
                    else:
                        T.tf.load(b, B[p * 32 : p * 32 + 32, j * 32 : j * 32 + 32])
                    T.tf.gemm(
                        acc, a, b, clear=p == 0, transpose_a=ta, transpose_b=tb, semiring=semiring
                    )
                T.tf.store(C[i * 32 : i * 32 + 32, j * 32 : j * 32 + 32], acc)

    sign = np.float32(-1 if semiring.endswith("max") else 1)
    a = rng.random(a_shape, dtype=np.float32) + 1
    b = (rng.random(b_shape, dtype=np.float32) + 1) * sign
    a = a * sign if semiring.startswith("add") else a
    expected = choice(semiring, a.T if ta else a, b.T if tb else b)
    same_everywhere(tf.compile(kernel), [a, b], expected)


@pytest.mark.parametrize("semiring", CHOICES)
@pytest.mark.parametrize(("m", "n"), [(1024, 1024), (2048, 32), (32, 2048)])
def test_threads_share_the_work(semiring: str, m: int, n: int, rng: np.random.Generator) -> None:
    """Large enough for bands; some rows make NaN, some do not."""

    @T.prim_func
    def kernel(
        A: T.Buffer((m, 64), "float32"), B: T.Buffer((64, n), "float32"),
        C: T.Buffer((m, n), "float32"),
    ):  # fmt: skip
        a = T.alloc_buffer((m, 64), "float32")
        b = T.alloc_buffer((64, n), "float32")
        acc = T.alloc_buffer((m, n), "float32")
        T.tf.load(a, A[0:m, 0:64])
        T.tf.load(b, B[0:64, 0:n])
        T.tf.gemm(acc, a, b, semiring=semiring)
        T.tf.store(C[0:m, 0:n], acc)

    a, b = (rng.standard_normal(s, dtype=np.float32) for s in ((m, 64), (64, n)))
    a[5, 7], a[m - 1, 0], b[9, n - 1] = np.nan, np.inf, -np.inf
    exe = tf.compile(kernel, machine=MACHINE.replace(sram_bytes=1 << 24))
    same_everywhere(exe, [a, b], choice(semiring, a, b))


def min_plus(m: int, k: int, n: int, dtype: str = "float32"):
    @T.prim_func(s_tir=True)
    def kernel(A: T.Buffer((m, k), dtype), B: T.Buffer((k, n), dtype), C: T.Buffer((m, n), dtype)):
        for i, j, p in T.grid(m, n, k):
            with T.sblock("min_plus"):
                vi, vj, vp = T.axis.remap("SSR", [i, j, p])
                with T.init():
                    C[vi, vj] = T.float32("inf")
                C[vi, vj] = T.min(C[vi, vj], A[vi, vp] + B[vp, vj])

    return kernel


def test_a_matrix_of_least_sums_is_one_gemm() -> None:
    (op,) = lift(min_plus(33, 40, 50), MACHINE).ops
    assert (op.name, op.semiring) == ("gemm", "add_min")


def test_the_least_of_nothing() -> None:
    a, b, c = (
        Buffer(name, shape, scope=Scope.DRAM, param=at)
        for at, (name, shape) in enumerate((("A", (3, 0)), ("B", (0, 5)), ("C", (3, 5))))
    )
    for semiring, value in (("mul_add", 0.0), ("add_min", np.inf), ("mul_max", -np.inf)):
        gemm = Op("gemm", Region.whole(c), (Region.whole(a), Region.whole(b)), semiring=semiring)
        (op,) = simplify(Program("nothing", (a, b, c), (gemm,), roles=("in", "in", "out"))).ops
        assert (op.name, op.value) == ("fill", value)


@pytest.mark.parametrize("size", [(37, 700, 41), (130, 2000, 90), (300, 64, 200)])
def test_shortest_paths(size: tuple[int, int, int], rng: np.random.Generator) -> None:
    """Sums longer than SRAM; most distances are infinite, in both operands."""
    m, k, n = size
    a, b = (rng.random(s, dtype=np.float32) + 1 for s in ((m, k), (k, n)))
    for array in (a, b):
        array[rng.random(array.shape) < 0.8] = np.inf
    exe = tf.compile(min_plus(*size), machine=MACHINE.replace(sram_bytes=24 * 4096))
    assert "semiring=add_min" in exe.asm
    same_everywhere(exe, [a, b], choice("add_min", a, b))


def test_a_choice_along_a_vector_stays_a_map() -> None:
    @T.prim_func(s_tir=True)
    def kernel(
        A: T.Buffer((40, 50), "float32"), b: T.Buffer((50,), "float32"),
        y: T.Buffer((40,), "float32"),
    ):  # fmt: skip
        for i, p in T.grid(40, 50):
            with T.sblock("least"):
                vi, vp = T.axis.remap("SR", [i, p])
                with T.init():
                    y[vi] = T.float32("inf")
                y[vi] = T.min(y[vi], A[vi, vp] + b[vp])

    names = [op.name for op in lift(kernel, MACHINE).ops]
    assert names == ["binary", "reduce"]


def test_a_semiring_is_of_float32() -> None:
    @T.prim_func
    def kernel(A: T.Buffer((32, 32), "bfloat16"), C: T.Buffer((32, 32), "float32")):
        a = T.alloc_buffer((32, 32), "bfloat16")
        c = T.alloc_buffer((32, 32), "float32")
        T.tf.load(a, A[0:32, 0:32])
        T.tf.gemm(c, a, a, semiring="add_max")
        T.tf.store(C[0:32, 0:32], c)

    with pytest.raises(KernelError, match="no operand of add_max, which is of float32") as caught:
        tf.compile(kernel)
    assert caught.value.hint == "T.tf.cast both operands to float32 first"
    assert caught.value.loc is not None
    assert "semiring" in _line(caught.value.loc)


def test_an_unknown_semiring() -> None:
    @T.prim_func
    def kernel(A: T.Buffer((32, 32), "float32"), C: T.Buffer((32, 32), "float32")):
        a = T.alloc_buffer((32, 32), "float32")
        c = T.alloc_buffer((32, 32), "float32")
        T.tf.load(a, A[0:32, 0:32])
        T.tf.gemm(c, a, a, semiring="add_mn")
        T.tf.store(C[0:32, 0:32], c)

    with pytest.raises(KernelError, match="semiring='add_mn' is not known") as caught:
        tf.compile(kernel)
    assert "did you mean 'add_min'?" in caught.value.hint
    assert "add_mn" in _line(caught.value.loc)


def _line(loc) -> str:  # type: ignore[no-untyped-def]
    return Path(loc.file).read_text(encoding="utf-8").splitlines()[loc.line - 1]
