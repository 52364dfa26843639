"""Arrays of bfloat16, int8 and int32 in .npy files: `tileflow run` and tileflow-sim."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from native import sim

import tileflow_tvm as tf
from tileflow_tvm.cli import main
from tileflow_tvm.kernels.narrow import gemm_bf16, gemm_i8

BF16 = ml_dtypes.bfloat16


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["bf16", "i8"])
def test_files_without_and_with_python(name, rng):
    kernel = gemm_bf16(33, 40, 50) if name == "bf16" else gemm_i8(33, 40, 50, 0.01)
    dtype = BF16 if name == "bf16" else np.int8
    exe = tf.compile(kernel)
    exe.save("k.bin")
    a, b = ((40 * rng.standard_normal(s)).astype(dtype) for s in ((33, 50), (50, 40)))
    np.save("a.npy", a)
    np.save("b.npy", b)
    want = exe(a, b)
    words = ["k.bin", "--in", "a.npy", "b.npy", "--out"]
    assert main(["run", *words, "python.npy"]) == 0
    done = sim(*words, "native.npy", cwd=Path.cwd())
    assert done.returncode == 0, done.stderr
    assert Path("native.npy").read_bytes() == Path("python.npy").read_bytes()
    assert np.load("native.npy").tobytes() == want.tobytes()
    assert np.load("native.npy").dtype.itemsize == want.itemsize


@pytest.mark.parametrize("run", ["python", "native"])
def test_a_file_of_another_type_is_refused(run, capsys):
    tf.compile(gemm_bf16(3, 4, 5)).save("k.bin")
    np.save("a.npy", np.zeros((3, 5), np.float32))
    np.save("b.npy", np.zeros((5, 4), BF16))
    words = ["k.bin", "--in", "a.npy", "b.npy"]
    if run == "python":
        assert main(["run", *words]) == 1
        shown = capsys.readouterr().err
    else:
        done = sim(*words, cwd=Path.cwd())
        assert done.returncode == 1
        shown = done.stderr
    assert "'A' takes bfloat16, not float32" in shown
    assert "with dtype bfloat16 and shape (3, 5)" in shown


def test_random_inputs_of_every_type(capsys):
    tf.compile(gemm_i8(3, 4, 5, 1.0)).save("k.bin")
    assert main(["run", "k.bin", "--random", "1"]) == 0
    tf.compile(gemm_bf16(3, 4, 5)).save("k.bin")
    assert main(["run", "k.bin", "--random", "1"]) == 0
    assert "C" in capsys.readouterr().out
