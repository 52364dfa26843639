"""The hand-written kernels at every kind of size, against their own oracles."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from differential import check, matmul_bound
from graphs import Approx, apply

from tileflow_tvm.kernels.gemm import (
    gemm,
    gemm_bias_relu,
    gemm_bias_relu_reference,
    gemm_reference,
)

SHAPES = [(1, 1, 1), (1, 300, 7), (300, 1, 33), (5, 7, 1), (96, 96, 32), (97, 95, 33),
          (200, 130, 257)]  # fmt: skip


@pytest.mark.parametrize("block", [(96, 96, 32), (32, 32, 32), (64, 32, 96), (8, 40, 20)])
@pytest.mark.parametrize("shape", SHAPES)
def test_gemm(shape, block, rng):
    m, n, k = shape
    a, b = (rng.standard_normal(s, dtype=np.float32) for s in ((m, k), (k, n)))
    want = matmul_bound(a, b)
    assert np.array_equal(want.value, gemm_reference(a, b))
    check(gemm(m, n, k, block), [a, b], [want])


@pytest.mark.parametrize("shape", SHAPES)
def test_gemm_bias_relu(shape, rng):
    m, n, k = shape
    arrays = [rng.standard_normal(s, dtype=np.float32) for s in ((m, k), (k, n), (n,))]
    bias = arrays[2].astype(np.float64)
    want = apply("relu", apply("add", matmul_bound(*arrays[:2]), Approx(bias, np.zeros(n))))
    assert np.array_equal(want.value, gemm_bias_relu_reference(*arrays))
    check(gemm_bias_relu(m, n, k), arrays, [want])


def test_the_text_names_the_lines_it_comes_from():
    import tileflow_tvm as tf

    asm = tf.compile(gemm_bias_relu(100, 70, 65)).asm
    gemms = [line for line in asm.splitlines() if line.split()[:1] == ["exec.gemm"]]
    assert len(gemms) == 1
    assert re.search(r"@f\d+:\d+:\d+ .*T\.tf\.gemm\(acc, a, b, clear=p == 0\)", gemms[0])
    assert re.search(r'\.file f\d+ ".*gemm\.py"', asm)


PINNED = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import numpy as np
import tileflow_tvm as tf
from tileflow_tvm.kernels.gemm import gemm_bias_relu

exe = tf.compile(gemm_bias_relu(130, 100, 70))
rng = np.random.default_rng(0)
arrays = [rng.standard_normal(s, dtype=np.float32) for s in ((130, 70), (70, 100), (100,))]
want = exe.run(*arrays, engine="sequential").outputs[0].tobytes()
for _ in range(100):
    assert exe.run(*arrays, engine="threaded").outputs[0].tobytes() == want
print("equal")
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "sched_setaffinity"), reason="needs Linux")
def test_a_hundred_threaded_runs_on_one_core():
    """They share one core and neither hang nor stall; the limit is only a guard."""
    run = subprocess.run(
        [sys.executable, "-c", PINNED], cwd=Path(__file__).parent, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert run.stdout == "equal\n", run.stderr
