"""Products that several threads compute for certain: the same bits, and helpers had their part."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from isa_interpreter import NUMPY
from simulator_programs import core, gemm_arrays, gemm_core, gemm_machine, gemm_text

from tileflow_tvm import _sim

PRODUCTS = {"f32": "f32", "bf16": "f32", "i8": "i32"}
"""The element type of the product of operands of each."""
BLOCK = 128


def assert_shared(program: _sim.Program, arrays: list[np.ndarray], threads: int) -> np.ndarray:
    """The last of the arrays, which one thread and several have computed alike."""
    program.run(arrays, [], "sequential")
    want = arrays[-1].copy()
    arrays[-1].view(np.uint8).fill(0xFF)
    stats = program.run(arrays, [], "threaded", threads=threads, share_gemms=True)
    assert arrays[-1].tobytes() == want.tobytes()
    assert stats["helped_bands"] >= stats["instructions"]["exec.gemm"] // 2
    return want


@pytest.mark.parametrize("shape", [(300, 100, 900), (100, 300, 900), (257, 259, 100)])
@pytest.mark.parametrize("threads", [2, 3])
def test_helpers_have_their_part(rng, shape, threads):
    assert_shared(gemm_core(*shape, block=BLOCK), gemm_arrays(rng, *shape), threads)


def product(m: int, n: int, k: int, dtype: str, ta: bool, tb: bool) -> _sim.Program:
    """The product of operands of this type, either of which may be stored the other way round."""
    text = gemm_text(m, n, k, BLOCK)
    out = PRODUCTS[dtype]
    changes = [("A f32[", f"A {dtype}["), ("B f32[", f"B {dtype}["), ("C f32[", f"C {out}[")]
    for first, of in (("a3, l2", dtype), ("a4, l2", dtype), ("a5, l1", out)):
        changes.append((f"\nstride {first},", f" dtype={of}\nstride {first},"))
    if ta:
        changes += [
            (f"[{m}, {k}]", f"[{k}, {m}]"),
            ("A[a0, a2]", "A[a2, a0]"),
            ("clear=", "ta=1 clear="),
        ]
    if tb:
        changes += [
            (f"[{k}, {n}]", f"[{n}, {k}]"),
            ("B[a2, a1]", "B[a1, a2]"),
            ("clear=", "tb=1 clear="),
        ]
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return core(text, gemm_machine(BLOCK))


@pytest.mark.parametrize("dtype", PRODUCTS)
@pytest.mark.parametrize(("ta", "tb"), [*itertools.product((False, True), repeat=2)])
@pytest.mark.parametrize("shape", [(200, 90, 150), (90, 200, 150)], ids=["rows", "columns"])
def test_transposed_and_narrow_operands(rng, shape, ta, tb, dtype):
    """Bands of rows and of columns begin where these are in the operands."""
    m, n, k = shape

    def draw(rows: int, cols: int, turned: bool) -> tuple[np.ndarray, np.ndarray]:
        values = rng.integers(-9, 10, (rows, cols))
        given = values.T if turned else values
        return values, np.ascontiguousarray(given).astype(NUMPY[dtype])

    (a, lhs), (b, rhs) = draw(m, k, ta), draw(k, n, tb)
    result = np.zeros((m, n), NUMPY[PRODUCTS[dtype]])
    got = assert_shared(product(m, n, k, dtype, ta, tb), [lhs, rhs, result], threads=2)
    np.testing.assert_array_equal(got, a @ b)  # sums that every type holds exactly


def test_the_environment_shares_as_well(rng, monkeypatch):
    arrays = gemm_arrays(rng, 100, 100, 100)
    monkeypatch.setenv("TILEFLOW_SHARE_GEMMS", "1")
    assert gemm_core(100, 100, 100).run(arrays, [], "threaded")["helped_bands"] > 0
    monkeypatch.setenv("TILEFLOW_SHARE_GEMMS", "often")
    with pytest.raises(_sim.Fault, match="TILEFLOW_SHARE_GEMMS is 'often', not 0 or 1"):
        gemm_core(100, 100, 100).run(arrays, [], "threaded")
