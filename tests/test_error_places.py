"""Errors that no line is to blame for: they are at the function, or at the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from simulator_programs import SMALL
from tvm import te, topi

import tileflow_tvm as tf
from tileflow_tvm.assembler import assemble
from tileflow_tvm.errors import CallError, FileLoc, KernelError, Loc, VerifyError

KERNEL = """\
from tvm.script import tirx as T


@T.prim_func
def double(X: T.Buffer((7,), "float32"), Y: T.Buffer((7,), "float32")):
    x = T.alloc_buffer((7,), "float32")
    T.tf.load(x, X[0:7])
    T.tf.add(x, x)
    T.tf.store(Y[0:7], x)
"""


@pytest.fixture
def double(tmp_path, monkeypatch):
    (tmp_path / "double_kernel.py").write_text(KERNEL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "double_kernel", raising=False)
    import double_kernel  # type: ignore[import-not-found]

    return double_kernel.double


def place(error: tf.TileflowError) -> tuple[str, int]:
    assert isinstance(error.loc, Loc)
    return Path(error.loc.file).name, error.loc.line


def test_check_without_an_oracle_names_the_function(double):
    with pytest.raises(CallError, match="has no oracle of its own") as caught:
        tf.check(double)
    assert place(caught.value) == ("double_kernel.py", 5)
    assert "def double(" in str(caught.value)
    assert "pass oracle=" in caught.value.hint


def test_a_wrong_result_names_the_function(double):
    with pytest.raises(tf.TileflowError, match="7 of 7 elements are off") as caught:
        tf.check(double, oracle=lambda x: x * 3)
    assert place(caught.value) == ("double_kernel.py", 5)
    assert caught.value.hint


def test_an_oracle_of_too_many_results_names_the_function(double):
    with pytest.raises(CallError, match="the oracle returned 2 arrays") as caught:
        tf.check(double, oracle=lambda x: (x, x))
    assert place(caught.value) == ("double_kernel.py", 5)
    assert "return one for each of Y" in caught.value.hint


def test_a_function_without_source_text_shows_its_head():
    x = te.placeholder((6, 5), "float64", name="x")
    with pytest.raises(KernelError, match="tensor 'x' has dtype float64") as caught:
        tf.check(te.create_prim_func([x, topi.sum(x)]))
    assert 'def main(x: T.Buffer((6, 5), "float64"), x_red: T.Buffer(()' in str(caught.value)
    assert caught.value.hint.startswith("supported: float32")


def test_a_binary_without_source_places_is_named_itself(tmp_path):
    text = f"{SMALL}exec.nop wait=sem0\nhalt\n"
    path = tmp_path / "waits.bin"
    path.write_bytes(tf.driver.Executable(assemble(text)).to_bytes())
    exe = tf.load(path)
    with pytest.raises(VerifyError, match="waits on sem0") as caught:
        exe()
    assert caught.value.loc == FileLoc(str(path))
    assert "sem semN, COUNT" in caught.value.hint


def test_a_binary_that_is_not_there(tmp_path):
    with pytest.raises(tf.BinaryError, match="cannot read it") as caught:
        tf.load(tmp_path / "none.bin")
    assert caught.value.loc == FileLoc(str(tmp_path / "none.bin"))
    assert "tileflow compile" in caught.value.hint


def test_a_transposed_array_is_recognised(double):
    exe = tf.compile(double)
    with pytest.raises(CallError, match=r"takes shape \(7,\), not \(7, 1\)") as caught:
        exe(np.zeros((7, 1), np.float32))
    assert "X.reshape(7,)" in caught.value.hint
    with pytest.raises(CallError, match=r"takes shape \(7,\), not \(8,\)") as caught:
        exe(np.zeros(8, np.float32))
    assert "shapes are fixed when a kernel is compiled" in caught.value.hint
