"""The command line without the compiler: usage, text and binary, tables, and how it fails."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import affine_program, save_program, start, tileflow

from tileflow_tvm.cli import app, main
from tileflow_tvm.isa.container import HEADER, from_bytes, to_bytes
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.isa.table import TILEFLOW

COMMANDS = ("compile", "check", "asm", "disasm", "run", "isa", "machines")
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def binary(tmp_path):
    return save_program(tmp_path)


def failure(capsys, *args: str) -> str:
    """The error of a command whose input is at fault."""
    assert main(args) == 1
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    assert shown.out == ""
    return shown.err


class TestUsage:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_help_has_an_example(self, command, capsys):
        with pytest.raises(SystemExit) as stop:
            main([command, "--help"])
        assert stop.value.code == 0
        assert f"example:\n  tileflow {command} " in capsys.readouterr().out

    def test_help_lists_every_command(self, capsys):
        with pytest.raises(SystemExit) as stop:
            main(["--help"])
        assert stop.value.code == 0
        shown = capsys.readouterr().out
        assert all(f"\n    {command} " in shown for command in COMMANDS)

    @pytest.mark.parametrize(
        "args",
        [
            [],
            ["assemble"],
            ["asm"],
            ["run", "k.bin", "--engine", "fast"],
            ["run", "k.bin", "--random", "-1"],
            ["run", "k.bin", "--scalar", "n"],
            ["compile", "k.py", "--shape", "a b=3"],
            ["isa", "--json", "--markdown"],
            ["isa", "--quiet", "--verbose"],
        ],
    )
    def test_wrong_usage_is_2(self, args, capsys):
        with pytest.raises(SystemExit) as stop:
            main(args)
        assert stop.value.code == 2
        assert "usage: tileflow" in capsys.readouterr().err

    def test_version_names_the_instruction_set(self, capsys):
        with pytest.raises(SystemExit) as stop:
            main(["--version"])
        assert stop.value.code == 0
        shown = capsys.readouterr().out
        assert shown.startswith("tileflow ")
        assert f"isa {TILEFLOW.name} {TILEFLOW.version}, " in shown


@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["compile", "--help"],
        ["check", "--help"],
        ["run", "--help"],
        ["asm", "affine.asm", "-o", "again.bin"],
        ["disasm", "affine.bin"],
        ["isa"],
        ["isa", "load"],
        ["machines"],
        ["machines", "tileflow"],
    ],
    ids=" ".join,
)
def test_what_needs_no_tvm_imports_none(args, binary, tmp_path):
    (tmp_path / "affine.asm").write_text(disassembled(binary))
    code = (
        "import sys\n"
        "from tileflow_tvm.cli import main\n"
        "try:\n"
        f"    code = main({args!r})\n"
        "except SystemExit as stop:\n"
        "    code = stop.code\n"
        "print(code, sorted({'tvm', 'numpy'} & sys.modules.keys()), file=sys.stderr)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert result.stderr == "0 []\n"


def disassembled(path: Path) -> str:
    from tileflow_tvm.assembler import disassemble

    return disassemble(from_bytes(path.read_bytes()))


class TestTextAndBinary:
    def test_round_trip_byte_for_byte(self, binary, capsys):
        assert main(["disasm", "affine.bin", "-o", "text.asm"]) == 0
        assert main(["asm", "text.asm", "-o", "again.bin"]) == 0
        assert Path("again.bin").read_bytes() == binary.read_bytes()
        assert capsys.readouterr().out == "again.bin: 7 instructions\n"

    def test_text_goes_to_standard_output(self, binary, capfd):
        assert main(["disasm", str(binary)]) == 0
        assert capfd.readouterr().out == disassembled(binary)

    def test_source_lines_stand_beside_instructions(self, binary, capfd):
        Path("affine.py").write_text("    load it\n    scale it\n    store it\n")
        assert main(["disasm", str(binary)]) == 0
        shown = capfd.readouterr().out
        for mnemonic, line in (("load", "load it"), ("exec.", "scale it"), ("store", "store it")):
            (row,) = [row for row in shown.splitlines() if row.startswith(mnemonic)]
            assert line in row

    def test_default_name_of_the_binary(self, binary, capsys):
        Path("text.asm").write_text(disassembled(binary))
        assert main(["asm", "text.asm", "--quiet"]) == 0
        assert Path("text.bin").read_bytes() == binary.read_bytes()
        assert capsys.readouterr().out == ""

    def test_standard_input_and_output(self, binary, tmp_path):
        data = binary.read_bytes()
        text = tileflow("disasm", "-", cwd=tmp_path, input=data, text=False)
        back = tileflow("asm", "-", "-o", "-", cwd=tmp_path, input=text.stdout, text=False)
        assert (text.returncode, back.returncode) == (0, 0)
        assert back.stdout == data
        assert (
            b"error: the binary has no name"
            in tileflow("asm", "-", cwd=tmp_path, input=text.stdout, text=False).stderr
        )

    def test_wrong_text_is_shown_with_its_place(self, binary, capsys):
        Path("bad.asm").write_text(disassembled(binary).replace("exec.unary", "exec.unry"))
        shown = failure(capsys, "asm", "bad.asm")
        assert shown.startswith("bad.asm:")
        assert "exec.unry.identity" in shown
        assert "hint: did you mean 'exec.unary.identity'?" in shown
        assert not Path("bad.bin").exists()

    def test_a_binary_is_no_text(self, binary, capsys):
        shown = failure(capsys, "asm", binary.name, "-o", "x.bin")
        assert "affine.bin:" in shown
        assert "is not UTF-8 text" in shown
        assert "tileflow disasm" in shown

    @pytest.mark.parametrize(
        ("size", "part"),
        [(0, "header"), (1, "header"), (40, "header"), (HEADER.size + 8, "info"), (-1, "debug")],
    )
    def test_truncated_binary(self, binary, size, part, capsys):
        Path("cut.bin").write_bytes(binary.read_bytes()[:size])
        shown = failure(capsys, "disasm", "cut.bin")
        length = Path("cut.bin").stat().st_size
        assert shown.startswith(f"cut.bin: byte {length} ({part}): error: ")
        assert "\nhint: " in shown

    @pytest.mark.parametrize(
        ("name", "content", "hint"),
        [
            ("k.asm", b".machine tileflow\nhalt\n", "assembled first: tileflow asm"),
            ("x.npy", b"\x93NUMPY\x01\x00", "it is a .npy array"),
            ("k.py", b"import tvm\n", "compiled by tileflow compile"),
            ("noise.bin", bytes(range(200, 256)), "a .bin is written by tileflow compile"),
        ],
    )
    def test_what_is_no_binary_is_recognised(self, name, content, hint, capsys):
        Path(name).write_bytes(content)
        shown = failure(capsys, "disasm", name)
        assert shown.startswith(f"{name}: byte 0 (header): error: not a tileflow program")
        assert hint in shown.splitlines()[-1]


class TestFiles:
    def test_missing_file(self, capsys):
        shown = failure(capsys, "disasm", "none.bin")
        what, hint = shown.splitlines()
        assert what == "error: cannot read none.bin: No such file or directory"
        assert hint.startswith("hint: check the path")

    def test_missing_file_with_a_near_name(self, binary, capsys):
        shown = failure(capsys, "disasm", "afine.bin")
        assert binary.name == "affine.bin"
        assert shown.splitlines()[-1] == "hint: did you mean affine.bin?"

    def test_missing_folder(self, capsys):
        hint = failure(capsys, "disasm", "none/k.bin").splitlines()[-1]
        assert hint.startswith("hint: there is no folder none in ")

    def test_directory(self, tmp_path, capsys):
        (tmp_path / "folder").mkdir()
        assert "folder is a directory" in failure(capsys, "asm", "folder", "-o", "x.bin")

    def test_device(self, capsys):
        assert "/dev/zero is no regular file" in failure(capsys, "disasm", "/dev/zero")

    def test_output_into_a_missing_folder(self, binary, capsys):
        shown = failure(capsys, "disasm", str(binary), "-o", "no/x.asm")
        assert shown == (
            "error: cannot write no/x.asm: no does not exist\nhint: make the folder first\n"
        )

    def test_output_below_a_file(self, binary, capsys):
        shown = failure(capsys, "disasm", str(binary), "-o", f"{binary}/x.asm")
        assert "is no directory" in shown

    def test_output_is_a_directory(self, binary, tmp_path, capsys):
        (tmp_path / "folder").mkdir()
        shown = failure(capsys, "disasm", str(binary), "-o", "folder")
        assert shown.startswith("error: cannot write folder: it is a directory\nhint: ")

    def test_output_over_the_input(self, binary, capsys):
        shown = failure(capsys, "disasm", "affine.bin", "-o", str(binary))
        assert "would overwrite affine.bin" in shown
        assert from_bytes(binary.read_bytes()).name == "affine"

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_folder_without_permission(self, binary, tmp_path, capsys):
        (tmp_path / "locked").mkdir(mode=0o500)
        assert "no permission" in failure(capsys, "disasm", str(binary), "-o", "locked/x.asm")

    def test_permissions_are_those_of_any_new_file(self, binary):
        before = os.umask(0o027)
        try:
            assert main(["disasm", str(binary), "-o", "x.asm"]) == 0
        finally:
            os.umask(before)
        assert stat.S_IMODE(Path("x.asm").stat().st_mode) == 0o640

    def test_a_link_stays_a_link(self, binary):
        Path("real.asm").write_text("old")
        Path("link.asm").symlink_to("real.asm")
        assert main(["disasm", str(binary), "-o", "link.asm"]) == 0
        assert Path("link.asm").is_symlink()
        assert Path("real.asm").read_text() == disassembled(binary)

    def test_a_pipe_is_written_to_and_stays(self, binary):
        # Not a device: as root, a mistake here would replace it.
        os.mkfifo("pipe")
        reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
        try:
            assert main(["disasm", str(binary), "-o", "pipe"]) == 0
            assert os.read(reader, 1 << 16).decode() == disassembled(binary)
        finally:
            os.close(reader)
        assert stat.S_ISFIFO(Path("pipe").stat().st_mode)

    def test_full_standard_output(self, tmp_path):
        with Path("/dev/full").open("w") as full:
            result = tileflow("isa", cwd=tmp_path, capture_output=False, stdout=full,
                              stderr=subprocess.PIPE)  # fmt: skip
        assert result.returncode == 1
        assert result.stderr.startswith("error: No space left on device\nhint: ")

    def test_full_disk_leaves_no_half_file(self, binary, tmp_path):
        (tmp_path / "x.asm").write_text("old")
        before = sorted(tmp_path.iterdir())
        limited = (
            "import resource, sys\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
            "from tileflow_tvm.cli import main\n"
            f"sys.exit(main(['disasm', {str(binary)!r}, '-o', 'x.asm']))"
        )
        result = subprocess.run(
            [sys.executable, "-B", "-c", limited],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert result.returncode == 1
        assert result.stderr.startswith("error: cannot write x.asm: File too large\nhint: ")
        assert (tmp_path / "x.asm").read_text() == "old"
        assert sorted(tmp_path.iterdir()) == before

    def test_interrupted_write_leaves_no_half_file(self, binary, tmp_path, monkeypatch, capsys):
        (tmp_path / "x.asm").write_text("old")
        before = sorted(tmp_path.iterdir())

        def interrupted(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(Path, "replace", interrupted)
        assert main(["disasm", str(binary), "-o", "x.asm"]) == 130
        assert capsys.readouterr().err == "interrupted\n"
        assert (tmp_path / "x.asm").read_text() == "old"
        assert sorted(tmp_path.iterdir()) == before


class TestEnds:
    def test_interrupt(self, tmp_path):
        # Short sleeps: a signal that arrives just before a sleep begins does not cut it short.
        text = "import time\nprint('here')\nwhile True:\n    time.sleep(0.05)\n"
        (tmp_path / "slow.py").write_text(text)
        process = start("compile", "slow.py", cwd=tmp_path)
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGINT)
        try:
            _, shown = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == 130
        assert shown == "interrupted\n"

    def test_reader_that_goes_away(self, tmp_path):
        process = start("isa", cwd=tmp_path)
        process.stdout.close()
        shown = process.stderr.read()
        process.stderr.close()
        assert process.wait(timeout=60) == 141
        assert shown == ""

    def test_out_of_memory(self, binary, monkeypatch, capsys):
        def greedy(*_):
            raise MemoryError

        monkeypatch.setattr("tileflow_tvm.cli.listing.read_program", greedy)
        shown = failure(capsys, "disasm", str(binary))
        assert shown.startswith("error: out of memory\nhint: ")

    def test_verbose_shows_the_traceback(self, capsys):
        assert main(["disasm", "none.bin", "--verbose"]) == 1
        shown = capsys.readouterr().err
        assert shown.startswith("Traceback")
        assert "\nerror: cannot read none.bin: No such file or directory\nhint: " in shown

    def test_a_defect_of_ours_is_not_put_on_the_input(self, binary, monkeypatch):
        def broken(*_):
            raise AssertionError("ours")

        monkeypatch.setattr("tileflow_tvm.cli.listing.read_program", broken)
        with pytest.raises(AssertionError, match="ours"):
            main(["disasm", str(binary)])


class TestTables:
    def test_isa_lists_every_instruction(self, capsys):
        assert main(["isa"]) == 0
        shown = capsys.readouterr().out
        for row in TILEFLOW.insns:
            assert any(line.split()[:1] == [row.mnemonic] for line in shown.splitlines())
            assert row.does in shown

    def test_isa_shows_the_fields_of_one(self, capsys):
        assert main(["isa", "exec.gemm"]) == 0
        shown = capsys.readouterr().out
        for field in TILEFLOW.by_mnemonic["exec.gemm"].fields:
            assert f" {field.name} " in shown
            assert field.does in shown
        assert "dst[i,j] = (clear ? 0 : dst[i,j])" in shown

    def test_isa_names_the_nearest(self, capsys):
        assert failure(capsys, "isa", "exec.gem") == (
            "error: no instruction is called 'exec.gem'\nhint: did you mean 'exec.gemm'?\n"
        )

    def test_isa_as_json(self, capsys):
        assert main(["isa", "--json"]) == 0
        rows = json.loads(capsys.readouterr().out)
        assert [row["mnemonic"] for row in rows] == [row.mnemonic for row in TILEFLOW.insns]
        assert rows[-1]["opcode"] == TILEFLOW.insns[-1].opcode
        assert {field["kind"] for row in rows for field in row["fields"]} >= {"float32", "choice"}

    def test_isa_as_markdown_is_the_document(self, capsys):
        assert main(["isa", "--markdown"]) == 0
        assert capsys.readouterr().out == (ROOT / "doc" / "isa.md").read_text(encoding="utf-8")

    def test_machines_lists_all(self, capsys):
        assert main(["machines"]) == 0
        shown = capsys.readouterr().out
        for name in Machine.names():
            assert f"\n {name} " in shown

    def test_machines_prints_a_description_that_loads(self, capsys):
        assert main(["machines", "tileflow"]) == 0
        Path("mine.toml").write_text(capsys.readouterr().out)
        assert Machine.load("mine.toml") == Machine.load("tileflow")

    def test_machines_as_json(self, capsys):
        assert main(["machines", "--json"]) == 0
        (machine,) = json.loads(capsys.readouterr().out)
        assert machine["sram_bytes"] == Machine().sram_bytes

    def test_machines_shows_a_file_and_refuses_a_wrong_one(self, capsys):
        text = Machine().replace(name="small", sram_bytes=3 * 4096).to_toml()
        Path("small.toml").write_text(text)
        assert main(["machines", "./small.toml"]) == 0
        assert "sram_bytes = 12288" in capsys.readouterr().out
        Path("small.toml").write_text(text.replace("sram_bytes", "sram_byte"))
        assert "hint: did you mean 'sram_bytes'" in failure(capsys, "machines", "./small.toml")


def test_codes_are_distinct():
    assert len({0, 2, app.INPUT_AT_FAULT, app.INTERRUPTED, app.READER_WENT_AWAY}) == 5


def test_program_of_these_tests_is_well_formed():
    program = affine_program()
    assert from_bytes(to_bytes(program)) == program
