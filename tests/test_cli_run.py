"""`tileflow run`: arrays from files, results into files, statistics, and bad inputs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import LENGTH, affine_program, save_program, start

from tileflow_tvm.cli import main
from tileflow_tvm.cli.arrays import to_npy
from tileflow_tvm.isa.container import to_bytes
from tileflow_tvm.isa.program import insn


@pytest.fixture(autouse=True)
def program(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return save_program(tmp_path)


@pytest.fixture
def x(rng):
    array = rng.standard_normal(LENGTH).astype(np.float32)
    np.save("x.npy", array)
    return array


def affine(x: np.ndarray) -> np.ndarray:
    """One rounding: the products of floats are exact in float64, and so are these sums."""
    return (x.astype(np.float64) * 2.0 - 0.5).astype(np.float32)


def failure(capsys, *args: str) -> str:
    assert main(["run", "affine.bin", *args]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    return shown.err


@pytest.mark.parametrize("engine", ["auto", "sequential", "threaded"])
def test_values(x, engine):
    assert main(["run", "affine.bin", "--in", "x.npy", "--out", "y.npy", "--engine", engine]) == 0
    np.testing.assert_array_equal(np.load("y.npy"), affine(x))


def test_arguments_by_name(x):
    assert main(["run", "affine.bin", "--in", "x=x.npy", "--out", "y=a=b.npy", "-q"]) == 0
    np.testing.assert_array_equal(np.load("a=b.npy"), affine(x))


def test_random_inputs_are_those_of_the_seed(capsys):
    assert main(["run", "affine.bin", "--random", "5", "--out", "y.npy", "--quiet"]) == 0
    x = np.random.default_rng(5).standard_normal(LENGTH).astype(np.float32)
    np.testing.assert_array_equal(np.load("y.npy"), affine(x))
    assert capsys.readouterr().out == ""


def test_table_of_outputs_and_statistics(x, capsys):
    assert main(["run", "affine.bin", "--in", "x.npy", "--engine", "sequential"]) == 0
    shown = capsys.readouterr().out
    y = affine(x)
    assert f"{y.min():.6g}" in shown
    assert f"{y.max():.6g}" in shown
    assert "sequential" in shown
    assert f"{4 * LENGTH} B" in shown


def test_values_that_are_not_finite_are_counted(x, capsys):
    x[3], x[4], x[5] = np.nan, np.inf, -np.inf
    np.save("x.npy", x)
    assert main(["run", "affine.bin", "--in", "x.npy"]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(" y ")]
    assert row.split()[-1] == "3"


def test_json(x, capsys):
    np.save("x.npy", x)
    assert main(["run", "affine.bin", "--in", "x.npy", "--out", "y.npy", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["program"] == "affine"
    assert shown["machine"] == "tileflow"
    assert shown["outputs"] == [
        {"name": "y", "shape": [LENGTH], "dtype": "float32", "file": "y.npy"}
    ]
    assert shown["stats"]["instructions"]["load"] == 1
    assert shown["stats"]["dram_bytes"]["x"]["load"] == 4 * LENGTH


@pytest.mark.parametrize("options", [[], ["--no-verify"]])
def test_interrupt(options, tmp_path, x):
    """A program that would run for hours; the array comes through a pipe, so that the run begins
    when the test lets it."""
    program = affine_program()
    again = insn("exec.unary", dst=0, src=0, m=0, n=1, func="sin")
    for_hours = (insn("loop", count=1 << 39), again, insn("end"))
    insns = (*program.insns[:5], *for_hours, *program.insns[5:])
    (tmp_path / "affine.bin").write_bytes(to_bytes(replace(program, insns=insns)))
    os.mkfifo("pipe")
    process = start("run", "affine.bin", "--in", "pipe", *options, cwd=tmp_path)
    Path("pipe").write_bytes(to_npy(x))
    try:
        process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    try:
        printed, shown = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, printed, shown) == (130, "", "interrupted\n")


class TestBadInputs:
    def test_no_input(self, capsys):
        shown = failure(capsys)
        assert shown == (
            f"error: no array for x[{LENGTH}]\n"
            "hint: give a file for each, --in x=FILE.npy, or draw them: --random SEED\n"
        )

    @pytest.mark.usefixtures("x")
    def test_too_many_inputs(self, capsys):
        shown = failure(capsys, "--in", "x.npy", "x.npy")
        what, hint = shown.splitlines()
        assert what == f"error: 2 inputs are given, the program has 1: x[{LENGTH}]"
        assert "--in NAME=FILE" in hint

    def test_an_argument_that_the_program_does_not_have(self, capsys):
        shown = failure(capsys, "--in", "z=absent.npy")
        assert shown == (
            f"error: the program has no argument 'z' that it reads; it reads x[{LENGTH}]\n"
            "hint: --in x=FILE.npy; a file with '=' in its name is given as ./z=absent.npy\n"
        )
        shown = failure(capsys, "--random", "0", "--out", "x=y.npy")
        assert f"no argument 'x' that it writes; it writes y[{LENGTH}]" in shown

    def test_a_file_with_an_equals_sign_in_its_name(self, x):
        np.save("z=x.npy", x)
        assert main(["run", "affine.bin", "--in", "./z=x.npy", "-q"]) == 0

    @pytest.mark.usefixtures("x")
    def test_one_input_twice(self, capsys):
        assert "input 'x' is given twice" in failure(capsys, "--in", "x=x.npy", "x=x.npy")

    @pytest.mark.usefixtures("x")
    def test_too_many_outputs(self, capsys):
        shown = failure(capsys, "--in", "x.npy", "--out", "a.npy", "b.npy")
        what, hint = shown.splitlines()
        assert what == f"error: 2 outputs are given, the program has 1: y[{LENGTH}]"
        assert "--out NAME=FILE" in hint
        assert not Path("a.npy").exists()

    def test_missing_array(self, capsys):
        assert "cannot read x.npy: No such file" in failure(capsys, "--in", "x.npy")

    @pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"not an array at all"])
    def test_no_array(self, content, capsys):
        Path("x.npy").write_bytes(content)
        assert "error: x.npy is no .npy array: " in failure(capsys, "--in", "x.npy")

    def test_cut_array(self, x, capsys):
        Path("x.npy").write_bytes(Path("x.npy").read_bytes()[:-3])
        assert x.nbytes > 3
        assert "error: x.npy is no .npy array: " in failure(capsys, "--in", "x.npy")

    def test_pickled_objects_are_not_loaded(self, capsys):
        np.save("x.npy", np.array([{}], dtype=object), allow_pickle=True)
        assert "is no .npy array" in failure(capsys, "--in", "x.npy")

    def test_wrong_dtype_names_the_cast(self, x, capsys):
        np.save("x.npy", x.astype(np.float64))
        shown = failure(capsys, "--in", "x.npy")
        assert shown.startswith("x.npy: error: 'x' takes float32, not float64\nhint: ")
        assert "np.save('x.npy', ...)" in shown
        assert "astype" not in shown

    def test_wrong_shape(self, x, capsys):
        np.save("x.npy", x[1:])
        shown = failure(capsys, "--in", "x.npy")
        what = f"x.npy: error: 'x' takes shape ({LENGTH},), not ({LENGTH - 1},)\nhint: "
        assert shown.startswith(what)
        assert f"shape ({LENGTH},), or give this one to another argument: --in NAME=x.npy" in shown

    @pytest.mark.usefixtures("x")
    def test_scalar_the_program_does_not_have(self, capsys):
        shown = failure(capsys, "--in", "x.npy", "--scalar", "n=3")
        assert "launch scalars are: none; given: n" in shown
        assert "exe(" not in shown
        assert "--scalar NAME=N" in shown.splitlines()[-1]

    @pytest.mark.usefixtures("x")
    def test_scalar_twice(self, capsys):
        shown = failure(capsys, "--in", "x.npy", "--scalar", "n=3", "--scalar", "n=4")
        assert "--scalar n is given twice: 3 and 4\nhint: " in shown

    @pytest.mark.usefixtures("x")
    def test_scalar_with_the_name_of_an_option(self, capsys):
        shown = failure(capsys, "--in", "x.npy", "--scalar", "engine=3")
        assert "launch scalars are: none; given: engine" in shown

    @pytest.mark.usefixtures("x")
    def test_output_over_an_input(self, x, capsys):
        shown = failure(capsys, "--in", "x.npy", "--out", "affine.bin")
        assert "affine.bin would overwrite affine.bin" in shown
        assert np.array_equal(np.load("x.npy"), x)

    @pytest.mark.usefixtures("x")
    def test_program_with_a_race_is_refused_unless_told_otherwise(self, capsys):
        program = affine_program()
        *others, store, halt = program.insns
        none = program.isa.by_mnemonic["store"].by_name["wait0"].default
        unordered = replace(store, operands={**store.operands, "wait0": none})
        racy = replace(program, insns=(*others, unordered, halt))
        Path("affine.bin").write_bytes(to_bytes(racy))
        Path("affine.py").write_text("load\n    scale it\n    store it\n")
        shown = failure(capsys, "--in", "x.npy")
        assert shown.startswith("affine.py:3:5: error: ")
        assert "store it" in shown
        assert "the earlier instruction says post=semN, the later one wait=semN" in shown
        assert "defect of the compiler: report it with the kernel and what --dump-passes" in shown
        assert main(["run", "affine.bin", "--in", "x.npy", "--no-verify",
                     "--engine", "sequential"]) == 0  # fmt: skip


class TestTimingOnly:
    def test_needs_no_arrays(self, capsys):
        assert main(["run", "affine.bin", "--timing-only"]) == 0
        shown = capsys.readouterr().out
        for word in ("cycles", "least possible", "critical path", "latency", "sequencer"):
            assert word in shown
        # By hand: three registers and the load are issued at 4; set-up, latency, 160 bytes in 3
        # bursts and 3 cycles; relay 1; 8 + 1; relay 1; set-up, 3 cycles, latency.
        assert f"{4 + 8 + 100 + 3 + 1 + 9 + 1 + 8 + 3 + 100}" in shown
        assert "DRAM's latency takes" in shown.splitlines()[-1]

    @pytest.mark.usefixtures("x")
    def test_json_has_the_figures_of_a_run(self, capsys):
        assert main(["run", "affine.bin", "--timing-only", "--json"]) == 0
        alone = json.loads(capsys.readouterr().out)
        assert main(["run", "affine.bin", "--in", "x.npy", "--json"]) == 0
        stats = json.loads(capsys.readouterr().out)["stats"]
        assert (alone["program"], alone["machine"]) == ("affine", "tileflow")
        assert alone["timing"] == stats["timing"]
        assert alone["timing"]["cycles"] == stats["cycles"] == 237

    @pytest.mark.usefixtures("x")
    def test_a_run_shows_cycles_unless_it_was_not_verified(self, capsys):
        assert main(["run", "affine.bin", "--in", "x.npy"]) == 0
        assert "cycles of the machine" in capsys.readouterr().out
        assert main(["run", "affine.bin", "--in", "x.npy", "--no-verify"]) == 0
        assert "cycles of the machine" not in capsys.readouterr().out

    @pytest.mark.usefixtures("x")
    def test_takes_no_arrays(self, capsys):
        shown = failure(capsys, "--timing-only", "--in", "x.npy", "--no-verify")
        assert "--timing-only computes no values: --in, --no-verify cannot be given" in shown

    def test_a_program_that_is_not_synchronised_is_refused(self, capsys):
        program = affine_program()
        insns = tuple(
            replace(step, operands={**step.operands, "wait0": 63}) if step.mnemonic == "store"
            else step
            for step in program.insns
        )  # fmt: skip
        Path("affine.bin").write_bytes(to_bytes(replace(program, insns=insns)))
        shown = failure(capsys, "--timing-only")
        assert "no semaphore orders the two" in shown
        assert "affine.py:3:5" in shown
