"""`tileflow compile` and `tileflow check`: what is meant, what is written, what is wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tileflow_tvm.cli import main
from tileflow_tvm.isa.container import from_bytes

RELU = """\
from tvm.script import tirx as T


@T.prim_func
def relu(X: T.Buffer((50,), "float32"), Y: T.Buffer((50,), "float32")):
    x = T.alloc_buffer((50,), "float32")
    T.tf.load(x, X[0:50])
    T.tf.relu(x)
    T.tf.store(Y[0:50], x)
"""
ORACLE = """\


def relu_reference(x):
    return x * (x > 0)
"""
MAKER = """\
from tvm.script import tirx as T


def fill(n, value=1):
    @T.prim_func
    def fill(Y: T.Buffer((n,), "float32")):
        y = T.alloc_buffer((n,), "float32")
        T.tf.fill(y, T.float32(value))
        T.tf.store(Y[0:n], y)

    return fill


def number(n):
    return n


def broken(n):
    return 1 // (n - n)
"""
COMPUTE = """\
from tvm import te

x = te.placeholder((33, 20), name="x")
y = te.compute((33, 20), lambda i, j: x[i, j] * x[i, j] - 1.0, name="y")
square = te.create_prim_func([x, y])
"""


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def save(text: str, name: str = "kernel.py") -> str:
    Path(name).write_text(text)
    return name


def failure(capsys, *args: str) -> str:
    assert main(args) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Traceback" not in shown.err
    return shown.err


class TestOutputs:
    def test_binary_and_text(self, capfd):
        save(RELU)
        assert main(["compile", "kernel.py", "-o", "k.bin", "--asm", "k.asm"]) == 0
        assert re.fullmatch(
            r"relu: \d+ instructions, \d+ B of text, [\d.]+ \w+ of 256.0 KiB SRAM\n",
            capfd.readouterr().out,
        )
        assert main(["asm", "k.asm", "-o", "again.bin", "-q"]) == 0
        assert Path("again.bin").read_bytes() == Path("k.bin").read_bytes()

    def test_text_goes_to_standard_output(self, capfd):
        save(RELU)
        assert main(["compile", "kernel.py"]) == 0
        shown = capfd.readouterr()
        Path("k.asm").write_text(shown.out)
        assert shown.err.startswith("relu: ")
        assert main(["asm", "k.asm", "-q"]) == 0
        program = from_bytes(Path("k.bin").read_bytes())
        assert [arg.name for arg in program.args] == ["X", "Y"]

    def test_machine_by_file(self, capfd):
        save(RELU)
        assert main(["machines", "tileflow"]) == 0
        text = capfd.readouterr().out.replace('"tileflow"', '"tiny"')
        save(text.replace("sram_bytes = 262144", "sram_bytes = 16384"), "tiny.toml")
        assert main(["compile", "kernel.py", "-o", "k.bin", "--machine", "tiny.toml"]) == 0
        program = from_bytes(Path("k.bin").read_bytes())
        assert (program.machine.name, program.machine.sram_bytes) == ("tiny", 16384)

    def test_passes_are_dumped_in_order(self):
        save(COMPUTE)
        assert main(["compile", "kernel.py", "-o", "k.bin", "--dump-passes", "out", "-q"]) == 0
        names = [path.name for path in sorted(Path("out").iterdir())]
        assert names == [
            "00_input.py", "01_legalize.py", "02_lift.py", "03_fuse.py", "04_tile.py",
            "05_infer_scope.py", "06_plan_sram.py", "07_pipeline.py",
        ]  # fmt: skip
        assert "T.tile.tf.load(" in Path("out/04_tile.py").read_text()

    def test_dump_into_a_file(self, capsys):
        save(RELU)
        assert "kernel.py is not a directory" in failure(
            capsys, "compile", "kernel.py", "--dump-passes", "kernel.py"
        )

    def test_an_error_leaves_the_old_binary(self, capsys):
        save(RELU.replace("Y[0:50], x", "Y[0:51], X[0:51]"))
        Path("k.bin").write_text("old")
        assert failure(capsys, "compile", "kernel.py", "-o", "k.bin").startswith(
            f"{Path('kernel.py').resolve()}:9:"
        )
        assert Path("k.bin").read_text() == "old"

    def test_outputs_must_differ(self, capsys):
        save(RELU)
        shown = failure(capsys, "compile", "kernel.py", "-o", "k", "--asm", "k")
        assert "k would overwrite k" in shown
        shown = failure(capsys, "compile", "kernel.py", "-o", "kernel.py")
        assert "kernel.py would overwrite kernel.py" in shown


class TestWhichKernel:
    def test_by_name_among_several(self, capsys):
        save(RELU + RELU.replace("def relu", "def other"))
        assert main(["compile", "kernel.py:other", "-o", "k.bin", "-q"]) == 0
        assert from_bytes(Path("k.bin").read_bytes()).name == "other"
        shown = failure(capsys, "compile", "kernel.py")
        assert shown == "error: kernel.py defines 2 kernels\nhint: name one: relu, other\n"

    def test_an_alias_is_not_a_second_kernel(self):
        save(RELU + "\n\nalias = relu\n_private = relu\n")
        assert main(["compile", "kernel.py", "-o", "k.bin", "-q"]) == 0

    def test_made_from_numbers(self):
        save(MAKER)
        for shape, wanted in (("7", 7), ("n=9,value=3", 9), ("0x10", 16)):
            assert main(["compile", "kernel.py:fill", "--shape", shape, "-o", "k.bin", "-q"]) == 0
            (arg,) = from_bytes(Path("k.bin").read_bytes()).args
            assert arg.shape == (wanted,)

    def test_a_module(self):
        save(RELU + "\n\nimport tvm\nmod = tvm.IRModule({'relu': relu})\n")
        assert main(["compile", "kernel.py:mod", "-o", "k.bin", "-q"]) == 0

    def test_neighbours_can_be_imported(self):
        save(RELU, "part.py")
        save("from part import relu\n")
        assert main(["compile", "kernel.py", "-o", "k.bin", "-q"]) == 0

    @pytest.mark.parametrize(
        ("text", "kernel", "wanted"),
        [
            (RELU, "kernel.py:none", "kernel.py defines no 'none'\nhint: name one: relu"),
            (RELU, "kernel.py:T", "is no kernel but of type"),
            ("x = 1\n", "kernel.py", "kernel.py defines no kernel\nhint: decorate"),
            (MAKER, "kernel.py:fill", "kernel.py:fill is a function: missing a required argument"),
            (MAKER, "kernel.py:fill", "    def fill(n, value=1):\nhint: give it numbers"),
            (MAKER, "kernel.py:number --shape 3", "returned no kernel but a value of type int"),
            (MAKER, "kernel.py:broken --shape 3", "ZeroDivisionError"),
            (RELU, "kernel.py:relu --shape 3", "is a kernel already; it takes no --shape"),
            (RELU, "none.py:relu", "cannot read none.py: No such file"),
            (RELU, ".", ". is a directory"),
        ],
    )
    def test_none(self, text, kernel, wanted, capsys):
        save(text)
        shown = failure(capsys, "compile", *kernel.split())
        assert wanted in shown
        assert "\nhint: " in shown

    def test_a_module_that_is_not_there(self, capsys):
        save("import tileflow_tvm\nimport not_there\n")
        shown = failure(capsys, "compile", "kernel.py")
        assert shown.startswith("kernel.py:2: error: ModuleNotFoundError: No module named 'not_t")
        assert "put the module beside kernel.py" in shown.splitlines()[-1]

    def test_no_python_file(self, capsys):
        save(RELU, "kernel.txt")
        assert "kernel.txt is no Python file" in failure(capsys, "compile", "kernel.txt")

    @pytest.mark.parametrize(
        ("text", "place", "wanted"),
        [
            ("x = (\n", ":1:5", "not Python: '(' was never closed"),
            ("import json\nx = 1 / 0\n", ":2", "ZeroDivisionError: division by zero"),
            ("import no_such_module\n", ":1", "ModuleNotFoundError"),
            ("def f():\n    raise SystemExit(3)\nf()\n", ":2", "the file exits (3)"),
            (RELU.replace("T.tf.relu", "T.tf.rule"), ":8:", "rule"),
        ],
    )
    def test_a_file_that_cannot_be_run(self, text, place, wanted, capsys):
        save(text)
        shown = failure(capsys, "compile", "kernel.py")
        assert re.search(rf"kernel\.py{place}\b.*: error: ", shown)
        assert wanted in shown


class TestCheck:
    def test_against_the_reference_beside_it(self, capsys):
        save(RELU + ORACLE)
        assert main(["check", "kernel.py", "--seed", "3"]) == 0
        assert "the same bits" in capsys.readouterr().out

    def test_a_difference_is_an_error(self, capsys):
        save(RELU + ORACLE.replace("(x > 0)", "(x > 0.1)"))
        shown = failure(capsys, "check", "kernel.py")
        assert "elements are off" in shown

    def test_compute_level_needs_no_reference(self, capsys):
        save(COMPUTE)
        assert main(["check", "kernel.py", "--json"]) == 0
        shown = json.loads(capsys.readouterr().out)
        assert shown["max_abs"] < 1e-5
        assert set(shown["stats"]) == {"sequential", "threaded"}

    def test_tile_level_needs_one(self, capsys):
        save(RELU)
        shown = failure(capsys, "check", "kernel.py")
        assert re.match(r".*kernel\.py:5:13: error: kernel\.py is at tile level", shown)
        assert "hint: put a function" in shown
        assert "hint: put a function relu_reference beside it" in shown
