"""tileflow-sim: the values and the words of `tileflow run`, without Python."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
from dataclasses import replace
from importlib.metadata import files
from pathlib import Path

import numpy as np
import pytest
from command_line import LENGTH, affine_program, save_program
from native import TILEFLOW_SIM, sim
from simulator_programs import gemm_machine, gemm_text, program

from tileflow_tvm import _sim
from tileflow_tvm.cli import main
from tileflow_tvm.cli.arrays import to_npy
from tileflow_tvm.isa.container import to_bytes
from tileflow_tvm.isa.program import insn


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_program(tmp_path)
    return tmp_path


@pytest.fixture
def x(rng):
    array = rng.standard_normal(LENGTH).astype(np.float32)
    np.save("x.npy", array)
    return array


def affine(x: np.ndarray) -> np.ndarray:
    return (x.astype(np.float64) * 2.0 - 0.5).astype(np.float32)


def fine(*words: object, **options) -> str:
    done = sim(*words, cwd=Path.cwd(), **options)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def failure(*words: object, code: int = 1, **options) -> str:
    done = sim(*words, cwd=Path.cwd(), **options)
    assert done.returncode == code, done
    assert done.stdout == ""
    return done.stderr


def test_it_is_installed_with_the_package():
    assert "tileflow-sim" in {path.name for path in files("tileflow_tvm") or ()}
    with TILEFLOW_SIM.open("rb") as program:
        assert program.read(4) == b"\x7fELF", "a program, not a script that calls Python"


@pytest.mark.parametrize("engine", ["auto", "sequential", "threaded"])
@pytest.mark.parametrize("level", ["", *_sim.levels()])
def test_values(level, engine, rng):
    Path("gemm.bin").write_bytes(to_bytes(program(gemm_text(130, 70, 150), gemm_machine())))
    a, b = (rng.standard_normal(shape, np.float32) for shape in ((130, 150), (150, 70)))
    np.save("a.npy", a)
    np.save("b.npy", b)
    names = ["gemm.bin", "--in", "a.npy", "b.npy", "--engine", engine]
    assert main(["run", *names, "--out", "python.npy", "--quiet"]) == 0
    simd = ["--simd", level] if level else []
    assert fine(*names, "--out", "c.npy", *simd, env={"TILEFLOW_HAND_OVER": "0"}) == ""
    assert np.load("c.npy").tobytes() == np.load("python.npy").tobytes()
    np.testing.assert_allclose(np.load("c.npy"), a.astype(float) @ b, rtol=1e-4, atol=1e-4)


def test_arguments_by_name_and_attached(x):
    fine("--in=x=x.npy", "--out", "y=a=b.npy", "--", "affine.bin")
    np.testing.assert_array_equal(np.load("a=b.npy"), affine(x))


def test_names_come_before_positions(rng):
    text = gemm_text(20, 30, 40)
    Path("gemm.bin").write_bytes(to_bytes(program(text, gemm_machine())))
    a, b = (rng.standard_normal(shape, np.float32) for shape in ((20, 40), (40, 30)))
    np.save("a.npy", a)
    np.save("b.npy", b)
    fine("gemm.bin", "--in", "B=b.npy", "--out", "c.npy", "--in", "a.npy")
    np.testing.assert_allclose(np.load("c.npy"), a.astype(float) @ b, rtol=1e-4, atol=1e-4)


def test_standard_input_and_output(x):
    done = sim("affine.bin", "--in", "-", "--out", "-", cwd=Path.cwd(), input=to_npy(x), text=False)
    assert done.returncode == 0
    np.testing.assert_array_equal(np.load(io.BytesIO(done.stdout)), affine(x))


def test_an_array_that_is_read_and_written(rng):
    text = """
.arg X f32[4, 6] inout
.tensor X f32[4, 6] at arg X
.access tile row(4, d0), col(6, d1)
agen a0, 0
agen a1, 0 pitch=1
ext e0 limit=4 max=4
ext e1 limit=6 max=6
load a1, X[a0, a0], tile post=sem0
exec.unary.identity a1, a1 m=e0 n=e1 scale=-3.0 wait=sem0 post=sem1
store a1, X[a0, a0], tile wait=sem1
"""
    Path("k.bin").write_bytes(to_bytes(program(text)))
    x = rng.standard_normal((4, 6)).astype(np.float32)
    np.save("x.npy", x)
    fine("k.bin", "--in", "x.npy", "--out", "x.npy")
    np.testing.assert_array_equal(np.load("x.npy"), np.float32(-3) * x)


def test_launch_parameters(rng, capsys):
    text = """
.arg X f32[40] in
.arg Y f32[40] out
.scalar n
.tensor X f32[40] at arg X
.tensor Y f32[40] at arg Y
.access one col(1, d0)
sem sem1, 1
agen a0, 0
agen a1, 0
stride a1, l0, 1
agen a2, 0
stride a2, s0, 1
ext e0 limit=1 max=1
loop a2 {
    load a0, X[a1], one wait=sem1 post=sem0
    store a0, Y[a1], one wait=sem0 post=sem1
}
"""
    Path("k.bin").write_bytes(to_bytes(program(text)))
    x = rng.standard_normal(40).astype(np.float32)
    np.save("x.npy", x)
    fine("k.bin", "--in", "x.npy", "--out", "y.npy", "--scalar", "n=0x28")
    np.testing.assert_array_equal(np.load("y.npy"), x)
    shown = failure("k.bin", "--in", "x.npy", "--out", "z.npy", "--scalar", "n=39")
    assert "'Y'" in shown
    assert "39" in shown
    assert not Path("z.npy").exists()
    for words in (["n=1", "n=2"], ["m=1"], [], ["n=1099511627776"], ["n=-1099511627776"]):
        command = ["k.bin", "--in", "x.npy", *(f"--scalar={word}" for word in words)]
        assert main(["run", *command]) == 1
        assert failure(*command) == capsys.readouterr().err
    shown = failure("k.bin", "--in", "x.npy", "--scalar", "n=99999999999999999999999")
    assert "n=99999999999999999999999 is not an integer below 2^40" in shown


def without_times(shown: str) -> dict:
    report = json.loads(shown)
    for key in ("wall_ns", "overlap_ns", "verify_ns"):
        assert isinstance(report["stats"].pop(key), int)
    return report


@pytest.mark.usefixtures("x")
@pytest.mark.parametrize("out", [[], ["--out", 'y="1".npy']])
def test_json_is_that_of_the_command_line(out, capsys):
    words = ["affine.bin", "--in", "x.npy", *out, "--engine", "threaded", "--json"]
    assert main(["run", *words]) == 0
    report = json.loads(capsys.readouterr().out)
    for key in ("cycles", "timing"):  # model time is told by the command line alone
        del report["stats"][key]
    assert report["stats"].pop("fusion") is None  # what a .bin does not carry
    python = json.dumps(report)
    native = fine(*words)
    assert without_times(native) == without_times(python)
    assert list(json.loads(native)["stats"]) == list(json.loads(python)["stats"])


@pytest.mark.usefixtures("x")
def test_table_of_statistics(capsys):
    words = ["affine.bin", "--in", "x.npy", "--engine", "sequential"]
    assert main(["run", *words]) == 0
    table = capsys.readouterr().out.splitlines()
    rows = {tuple(row.split(maxsplit=1)) for row in table}
    shown = [line for line in fine(*words, "--stats").splitlines() if "wall" not in line]
    assert shown[0] == f"engine                      sequential, {_sim.default_level()} kernels"
    assert {tuple(row.split(maxsplit=1)) for row in shown} <= rows
    assert len(shown) == 9


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_versions_of_the_format(version, rng):
    x = rng.standard_normal(LENGTH).astype(np.float32)
    with Path("x.npy").open("wb") as file:
        np.lib.format.write_array(file, x, version)
    fine("affine.bin", "--in", "x.npy", "--out", "y.npy")
    np.testing.assert_array_equal(np.load("y.npy"), affine(x))
    assert Path("y.npy").read_bytes() == to_npy(affine(x))


def with_header(text: str, version: int = 1) -> bytes:
    head = text.encode("latin1")
    size = len(head).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + size + head + bytes(4 * LENGTH)


def test_headers_in_other_words():
    for text in (
        '{"shape":(40,),"fortran_order":False,"descr":"<f4"}',
        "{ 'fortran_order' : False , 'descr' : '<f4' , 'shape' : ( 40 ) , } \n\n",
    ):
        Path("x.npy").write_bytes(with_header(text))
        fine("affine.bin", "--in", "x.npy", "--out", "y.npy")
        assert np.array_equal(np.load("y.npy"), np.full(LENGTH, -0.5, np.float32))


GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (40,), }\n"
NO_SENSE = "its header makes no sense: "


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "the file begins with something else"),
        (b"\x93NUMP", "the file begins with something else"),
        (b"\x93NUMPY", "it ends in its header"),
        (b"\x93NUMPY\x01\x00", "it ends in its header"),
        (b"\x93NUMPY\x01\x00\x40\x00{'descr'", "it ends in its header"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{'descr'", "it ends in its header"),
        (b"\x93NUMPY\x04\x00\x00\x00", "it has version 4.0 of the format, not 1.0 to 3.0"),
        (with_header(GOOD)[:-3], "it has 157 of 160 bytes of elements"),
        (with_header(""), NO_SENSE + "no '{' where one is needed"),
        (with_header("{" * 60000), NO_SENSE + "no string where one is needed"),
        (with_header("{'descr"), NO_SENSE + "a string without an end"),
        (with_header("{'descr': [" + "[" * 60000), NO_SENSE + "a list without an end"),
        (with_header("{'descr' '<f4'}"), NO_SENSE + "no ':' where one is needed"),
        (with_header("{}"), NO_SENSE + "it does not say descr, fortran_order and shape"),
        (with_header("{'shape': (40,), 'shape': (40,)}"), NO_SENSE + "a key that has no place"),
        (with_header("{'descr': '<f4' 'shape': (40,)}"), NO_SENSE + "no comma after a value"),
        (with_header(GOOD + "x"), NO_SENSE + "something behind the dictionary"),
        (with_header(GOOD.replace("False", "0")), NO_SENSE + "fortran_order is neither"),
        (with_header(GOOD.replace("(40,)", "40")), NO_SENSE + "no '(' where one is needed"),
        (with_header(GOOD.replace("40", "-40")), NO_SENSE + "shape is not a tuple of sizes"),
        (with_header(GOOD.replace("40", "9" * 30)), NO_SENSE + "shape is not a tuple of sizes"),
        (with_header(GOOD.replace("40,", "40 2")), NO_SENSE + "shape is not a tuple of sizes"),
    ],
)  # fmt: skip
def test_no_array(content, why):
    Path("x.npy").write_bytes(content)
    shown = failure("affine.bin", "--in", "x.npy", "--out", "y.npy")
    assert shown.startswith(f"error: x.npy is no .npy array: {why}"), shown
    assert shown.endswith("\nhint: write one with numpy.save\n")
    assert not Path("y.npy").exists()


@pytest.mark.parametrize("dtype", ["f8", "f2", "i4", "u1", "?", ">f4", "c8", [("a", "f4")], "S5"])
def test_other_dtypes(dtype):
    np.save("x.npy", np.zeros(LENGTH, dtype))
    name = np.dtype(dtype)
    name = name.str if dtype in (">f4", "S5") else name
    shown = failure("affine.bin", "--in", "x.npy")
    assert shown.startswith(f"x.npy: error: 'x' takes float32, not {name}\nhint: write another ")
    assert "with dtype float32 and shape (40,)" in shown


@pytest.mark.parametrize("shape", [(39,), (41,), (), (40, 1), (0,), (1 << 62, 4)])
def test_other_shapes(shape):
    Path("x.npy").write_bytes(with_header(GOOD.replace("(40,)", str(shape))))
    shown = failure("affine.bin", "--in", "x.npy")
    assert shown.startswith(f"x.npy: error: 'x' takes shape (40,), not {shape}\nhint: ")


def test_fortran_order():
    Path("gemm.bin").write_bytes(to_bytes(program(gemm_text(3, 4, 5), gemm_machine())))
    np.save("a.npy", np.zeros((3, 5), np.float32, order="F"))
    np.save("b.npy", np.zeros((5, 4), np.float32))
    shown = failure("gemm.bin", "--in", "a.npy", "b.npy")
    assert shown.startswith("a.npy: error: 'A' takes C order, not Fortran order\nhint: ")
    assert "in C order, with dtype float32 and shape (3, 5)" in shown


@pytest.mark.usefixtures("x")
@pytest.mark.parametrize(
    "words",
    [
        ["affine.bin", "--in", "x.npy", "x.npy"],
        ["affine.bin", "--in", "x=x.npy", "x=x.npy"],
        ["affine.bin", "--in", "y=x.npy"],
        ["affine.bin", "--in", "x.npy", "--out", "x=x.npy"],
        ["affine.bin", "--in", "x.npy", "--out", "a.npy", "b.npy"],
        ["affine.bin", "--in", "no.npy"],
        ["affine.bin", "--in", "."],
        ["affine.bin", "--in", "/dev/zero"],
        ["no.bin"],
        ["cut.bin"],
        ["altered.bin"],
        ["older.bin"],
        ["x.npy"],
        ["empty.bin"],
        ["affine.bin", "--in", "x.npy", "--out", "no/y.npy"],
        ["affine.bin", "--in", "x.npy", "--out", "x.npy/y.npy"],
        ["affine.bin", "--in", "x.npy", "--out", "."],
        ["affine.bin", "--in", "x.npy", "--out", "affine.bin"],
        ["affine.bin", "--in", "x.npy", "--no-verify", "--engine", "threaded"],
    ],
    ids=lambda words: " ".join(words),
)
def test_the_words_of_the_command_line(words, capsys):
    data = Path("affine.bin").read_bytes()
    Path("cut.bin").write_bytes(data[:-5])
    Path("altered.bin").write_bytes(data[:-5] + b"\x01" + data[-4:])
    Path("older.bin").write_bytes(data[:8] + b"\0" + data[9:])
    Path("empty.bin").write_bytes(b"")
    assert main(["run", *words]) == 1
    assert what_is_wrong(failure(*words)) == what_is_wrong(capsys.readouterr().err)


def what_is_wrong(shown: str) -> str:
    """An error without place and hint; there has to be a hint."""
    found = re.fullmatch(r"(?:\S[^\n]*: )?error: ([^\n]+)\nhint: [^\n]+\n", shown)
    assert found, shown
    return found[1]


def test_no_input():
    shown = failure("affine.bin")
    assert shown == "error: no array for x[40]\nhint: give a file for each, --in x=FILE.npy\n"


def test_damaged_binaries_have_a_place_and_a_hint():
    Path("cut.bin").write_bytes(Path("affine.bin").read_bytes()[:-5])
    shown = failure("cut.bin")
    assert re.match(r"cut.bin: error: truncated: .*\nhint: the file is damaged", shown)


@pytest.mark.usefixtures("x")
def test_a_race_has_its_source_line(capsys):
    program = affine_program()
    *others, store, halt = program.insns
    none = program.isa.by_mnemonic["store"].by_name["wait0"].default
    unordered = replace(store, operands={**store.operands, "wait0": none})
    Path("affine.bin").write_bytes(to_bytes(replace(program, insns=(*others, unordered, halt))))
    words = ["affine.bin", "--in", "x.npy", "--out", "y.npy"]
    for source in ("", "load\n    scale it\n    store it \n"):
        Path("affine.py").write_text(source)
        assert main(["run", *words]) == 1
        shown = failure(*words)
        assert shown == capsys.readouterr().err
        assert shown.startswith("affine.py:3:5: error: ")
        excerpt = "\n        store it\n        ^\nthe other one comes from affine.py:2:5\nhint: "
        assert (excerpt in shown) == (source != "")
    Path("affine.py").unlink()
    os.mkfifo("affine.py")  # reading it would never end
    assert main(["run", *words]) == 1
    assert failure(*words) == capsys.readouterr().err
    assert not Path("y.npy").exists()
    fine(*words, "--no-verify")
    np.testing.assert_array_equal(np.load("y.npy"), affine(np.load("x.npy")))


@pytest.mark.usefixtures("x")
def test_levels_that_there_are():
    shown = failure("affine.bin", "--in", "x.npy", "--simd", "mmx")
    levels = ", ".join(_sim.levels())
    assert f"error: no SIMD level 'mmx' on this processor; there are: {levels}\n" in shown
    shown = failure("affine.bin", "--in", "x.npy", env={"TILEFLOW_SIMD": "mmx"})
    assert "TILEFLOW_SIMD: no SIMD level 'mmx'" in shown


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "the following arguments are required: FILE.bin"),
        (["a.bin", "b.bin"], "unrecognized arguments: b.bin"),
        (["a.bin", "--fast"], "unrecognized arguments: --fast"),
        (["a.bin", "-x"], "unrecognized arguments: -x"),
        (["a.bin", "--in"], "argument --in: expected at least one argument"),
        (["a.bin", "--out", "--json"], "argument --out: expected at least one argument"),
        (["a.bin", "--engine"], "argument --engine: expected one argument"),
        (["a.bin", "--engine", "steam"], "argument --engine: no engine 'steam'; there are: auto, "),
        (["a.bin", "--scalar", "n"], "argument --scalar: 'n' is not of the form NAME=N"),
        (["a.bin", "--scalar", "n=1.5"], "argument --scalar: '1.5' is not a whole number"),
        (["a.bin", "--scalar", "n="], "argument --scalar: '' is not a whole number"),
        (["a.bin", "--json=1"], "argument --json: ignored explicit argument"),
        (["a.bin", "--json", "--stats"], "argument --json: not allowed with argument --stats"),
    ],
)
def test_usage(words, why):
    shown = failure(*words, code=2)
    assert shown.startswith("usage: tileflow-sim FILE.bin [--in ")
    assert f"\ntileflow-sim: error: {why}" in shown


def test_help():
    shown = fine("--engine", "auto", "--help", "--what")
    assert shown.startswith("usage: tileflow-sim FILE.bin ")
    assert "example:\n  tileflow-sim gemm.bin --in a.npy b.npy --out c.npy\n" in shown


@pytest.mark.usefixtures("x")
def test_a_full_disk():
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    shown = failure("affine.bin", "--in", "x.npy", "--out", "/dev/full")
    assert shown.startswith("error: cannot write /dev/full: No space left on device\nhint: ")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [TILEFLOW_SIM, "affine.bin", "--in", "x.npy", "--stats"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot write to standard output\nhint: ")


@pytest.mark.usefixtures("x")
def test_a_link_stays_a_link():
    Path("real.npy").write_bytes(b"old")
    Path("y.npy").symlink_to("real.npy")
    fine("affine.bin", "--in", "x.npy", "--out", "y.npy")
    assert Path("y.npy").is_symlink()
    assert np.load("real.npy").shape == (LENGTH,)
    assert {path.name for path in Path.cwd().iterdir()} == {
        "affine.bin", "x.npy", "real.npy", "y.npy",
    }  # fmt: skip


@pytest.mark.parametrize(
    "options", [[], ["--no-verify"], ["--engine", "threaded"]], ids=lambda words: " ".join(words)
)
@pytest.mark.parametrize("sent", ["while it reads", "while it runs"])
def test_interrupt(sent, options, x, here):
    """A program that would run for hours, as of `tileflow run`."""
    program = affine_program()
    again = insn("exec.unary", dst=0, src=0, m=0, n=1, func="sin")
    for_hours = (insn("loop", count=1 << 39), again, insn("end"))
    insns = (*program.insns[:5], *for_hours, *program.insns[5:])
    (here / "affine.bin").write_bytes(to_bytes(replace(program, insns=insns)))
    os.mkfifo("pipe")
    process = subprocess.Popen(
        [TILEFLOW_SIM, "affine.bin", "--in", "pipe", "--out", "y.npy", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with Path("pipe").open("wb") as pipe:
        if sent == "while it runs":
            pipe.write(to_npy(x))
            pipe.close()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.3)
        process.send_signal(signal.SIGINT)
        try:
            printed, shown = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, printed, shown) == (130, "", "interrupted\n")
    assert not Path("y.npy").exists()
