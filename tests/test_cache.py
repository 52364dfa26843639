"""The cache of compiled programs, as `compile` uses it: what hits and what misses."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from fusible import FUNCTIONS, scaled, tensor
from test_cli_compile import COMPUTE, RELU
from tvm import te

import tileflow_tvm as tf
from tileflow_tvm.cache import key as cache_key
from tileflow_tvm.cache.store import Store
from tileflow_tvm.cli import main
from tileflow_tvm.errors import VerifyError
from tileflow_tvm.frontend.structure import NoStructure, structure_of
from tileflow_tvm.passes import sequence

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A cache of this test's own, turned on."""
    monkeypatch.setenv("TILEFLOW_CACHE", "1")
    monkeypatch.setenv("TILEFLOW_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("TILEFLOW_CACHE_BYTES", raising=False)
    # A source that was edited while the tests run is no matter of these.
    monkeypatch.setattr(tf, "_LOADED_AT", float("inf"))
    return tmp_path / "cache"


@pytest.fixture
def passes_run(monkeypatch) -> list[str]:
    """The names of the functions that the passes have compiled."""
    ran: list[str] = []
    run = sequence.run_passes

    def counted(func, *args, **options):
        ran.append(func.attrs["global_symbol"])
        return run(func, *args, **options)

    monkeypatch.setattr(sequence, "run_passes", counted)
    return ran


def no_passes(monkeypatch) -> None:
    def fail(*_args, **_options):
        raise AssertionError("a pass ran")

    monkeypatch.setattr(sequence, "run_passes", fail)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_hit_is_the_same_program_and_skips_the_passes(name, folder, monkeypatch, rng):
    func = FUNCTIONS[name]()
    first = tf.compile(func)
    assert len(Store(folder, 1).entries()) == 1
    no_passes(monkeypatch)
    again = tf.compile(FUNCTIONS[name]())
    assert again.program == first.program
    assert again.to_bytes() == first.to_bytes()
    assert (again.asm, again.fusion) == (first.asm, first.fusion)
    arrays = [rng.standard_normal(arg.shape, dtype="float32") for arg in first.simulator.reads]
    result = again.run(*arrays)
    for got, want in zip(result.outputs, first.run(*arrays).outputs, strict=True):
        np.testing.assert_array_equal(got, want)
    assert result.stats.verify_ns > 0, "a run proves the program, wherever it comes from"


def test_a_kernel_at_tile_level(folder, monkeypatch):
    from tileflow_tvm.kernels.gemm import gemm_bias_relu

    first = tf.compile(gemm_bias_relu(64, 64, 64))
    no_passes(monkeypatch)
    again = tf.compile(gemm_bias_relu(64, 64, 64))
    assert again.asm == first.asm
    assert [i.loc for i in again.program.insns] == [i.loc for i in first.program.insns]
    assert again.fusion is None
    assert folder.exists()


@pytest.mark.parametrize("name", [field.name for field in fields(tf.Machine)])
def test_every_field_of_the_machine_is_in_the_key(name, monkeypatch):
    monkeypatch.setattr(tf, "_LOADED_AT", float("inf"))
    machine = tf.Machine.load("tileflow")
    other = copy.copy(machine)
    # Whether such a machine makes sense is of no matter here.
    object.__setattr__(other, name, (getattr(machine, name), "other"))
    keys = {cache_key.key_of(b"function", each, fuse=True) for each in (machine, other)}
    assert len(keys) == 2
    assert None not in keys


def test_options_and_instruction_set_are_in_the_key(monkeypatch):
    def key(fuse: bool = True) -> bytes | None:
        return cache_key.key_of(b"function", tf.Machine.load("tileflow"), fuse=fuse)

    monkeypatch.setattr(tf, "_LOADED_AT", float("inf"))
    plain = key()
    assert plain == key()
    assert key(fuse=False) != plain
    monkeypatch.setattr(cache_key, "isa_fingerprint", lambda _isa: 1)
    assert key() != plain


@pytest.mark.parametrize(
    "other",
    [
        scaled(3.0),
        scaled(float(np.nextafter(np.float32(2), np.float32(3)))),
        scaled(rows=21),
        scaled(dtype="float64"),
        scaled().with_attr("global_symbol", "other"),
        scaled().with_attr("note", 1),
    ],
    ids=["constant", "last bit", "shape", "dtype", "name", "attribute"],
)
def test_what_differs_in_the_function_is_in_its_structure(other):
    assert structure_of(scaled()) == structure_of(scaled())
    assert structure_of(other) != structure_of(scaled())


def test_which_variable_is_meant_is_in_its_structure():
    """x - y and y - x, of one name and shape."""
    x, y = tensor(8, 8), tensor(8, 8)
    one, other = (
        te.create_prim_func([x, y, te.compute((8, 8), lambda i, j: a[i, j] - b[i, j])])  # noqa: B023
        for a, b in ((x, y), (y, x))
    )
    assert structure_of(one) != structure_of(other)


def load(text: str, path: Path):
    path.write_text(text)
    namespace: dict[str, object] = {}
    exec(compile(text, str(path), "exec"), namespace)
    return namespace["relu"]


def test_a_function_that_moved_is_another_program(folder, tmp_path, passes_run):
    file = tmp_path / "kernel.py"
    for text, path in ((RELU, file), (RELU, file), ("\n" + RELU, file), (RELU, tmp_path / "b.py")):
        place = next(i.loc for i in tf.compile(load(text, path)).program.insns if i.loc)
        assert place.file == str(path)
        assert text.splitlines()[place.line - 1].strip()
    assert len(passes_run) == 3
    assert len(Store(folder, 1).entries()) == 3


def test_the_same_in_another_process():
    """The digest does not depend on addresses, or on how strings hash."""
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from fusible import FUNCTIONS\n"
        "from tileflow_tvm.frontend.structure import structure_of\n"
        "import hashlib\n"
        "print([hashlib.sha256(structure_of(f())).hexdigest() for f in FUNCTIONS.values()])"
    )
    shown = {
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={"PYTHONHASHSEED": seed},
                       capture_output=True, text=True, check=True).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(shown) == 1


def test_what_cannot_be_told_by_its_value_has_no_structure(folder, passes_run):
    from tvm_ffi import convert

    func = scaled().with_attr("callback", convert(lambda: 1))
    with pytest.raises(NoStructure):
        structure_of(func)
    tf.compile(func)
    tf.compile(func)
    assert len(passes_run) == 2
    assert not folder.exists()


class TestCompiler:
    def test_another_one_misses(self, folder, monkeypatch, passes_run):
        tf.compile(scaled())
        monkeypatch.setattr(cache_key, "compiler_digest", lambda _sources: b"another")
        tf.compile(scaled())
        assert len(passes_run) == 2
        assert folder.exists()

    def test_its_sources_are_what_it_is(self, tmp_path):
        (tmp_path / "a.py").write_text("x = 1")
        (tmp_path / "b.py").write_text("x = 2")
        files = sorted(tmp_path.iterdir())
        before = cache_key.sources_digest(tmp_path, files)
        assert cache_key.sources_digest(tmp_path, files) == before
        (tmp_path / "b.py").write_text("x = 3")
        assert cache_key.sources_digest(tmp_path, files) != before
        (tmp_path / "b.py").write_text("x = 2")
        (tmp_path / "b.py").rename(tmp_path / "c.py")
        assert cache_key.sources_digest(tmp_path, sorted(tmp_path.iterdir())) != before

    def test_they_are_all_there(self):
        names = {path.name for path in cache_key.compiler_sources()}
        assert {"tile.py", "driver.py", "machine.py"} <= names
        assert any(re.match(r"_sim\..*(so|pyd)$", name) for name in names)

    def test_a_source_edited_since_the_process_began_turns_it_off(
        self, folder, monkeypatch, passes_run
    ):
        monkeypatch.setattr(tf, "_LOADED_AT", cache_key.newest(cache_key.compiler_sources()))
        tf.compile(scaled())
        tf.compile(scaled())
        assert len(passes_run) == 2
        assert not folder.exists()


class TestWhatIsNotKept:
    def test_passes_are_dumped_each_time(self, folder, tmp_path, passes_run):
        tf.compile(scaled())
        tf.compile(scaled(), dump_passes=tmp_path / "passes")
        assert len(passes_run) == 2
        assert (tmp_path / "passes" / "00_input.py").exists()
        assert folder.exists()

    @pytest.mark.parametrize("how", ["parameter", "environment"])
    def test_turned_off(self, how, folder, monkeypatch, passes_run):
        if how == "environment":
            monkeypatch.setenv("TILEFLOW_CACHE", "0")
        for _ in range(2):
            tf.compile(scaled(), cache=how == "environment")
        assert len(passes_run) == 2
        assert not folder.exists()

    def test_what_was_not_verified(self, folder, passes_run):
        tf.compile(scaled(), verify=False)
        assert not folder.exists()
        tf.compile(scaled())
        tf.compile(scaled(), verify=False)
        assert len(passes_run) == 2

    def test_what_the_verifier_refused(self, folder, monkeypatch, passes_run):
        from tileflow_tvm.sim import Simulator

        def refuse(_simulator):
            raise VerifyError("a race")

        monkeypatch.setattr(Simulator, "verify", refuse)
        for _ in range(2):
            with pytest.raises(VerifyError, match="a race"):
                tf.compile(scaled())
        assert len(passes_run) == 2
        assert not folder.exists()


@pytest.fixture
def file(folder, tmp_path, monkeypatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("kernel.py").write_text(COMPUTE)
    assert not folder.exists()
    return "kernel.py"


def test_compile_and_check_use_it(file, passes_run, capsys):
    assert main(["compile", file, "-o", "k.bin"]) == 0
    first = capsys.readouterr().out
    assert main(["compile", file, "-o", "again.bin"]) == 0
    assert capsys.readouterr().out == first
    assert Path("k.bin").read_bytes() == Path("again.bin").read_bytes()
    assert main(["check", file]) == 0
    assert len(passes_run) == 1


def test_show_and_clear(file, folder, capsys):
    assert main(["compile", file, "-o", "k.bin", "-q"]) == 0
    assert main(["cache", "show", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    held = sum(path.stat().st_size for path in folder.iterdir())
    assert shown == {"folder": str(folder), "on": True, "entries": 1, "bytes": held,
                     "limit": 256 << 20}  # fmt: skip
    assert main(["cache"]) == 0
    assert str(folder) in capsys.readouterr().out
    assert main(["cache", "clear"]) == 0
    assert capsys.readouterr().out == f"1 programs removed from {folder}\n"
    assert not list(folder.iterdir())
