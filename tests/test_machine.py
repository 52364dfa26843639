"""Machine descriptions: the built-in ones, files of one's own, and what is wrong with them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tileflow_tvm.errors import MachineError
from tileflow_tvm.isa.machine import MACHINE_INTS, MACHINES_DIR, Machine

DEFAULT = Machine().to_toml()


def load_text(tmp_path: Path, text: str | bytes) -> Machine:
    path = tmp_path / "mine.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Machine.load(path)


def line_of(text: str, start: str) -> int:
    return next(i for i, row in enumerate(text.splitlines(), 1) if row.startswith(start))


def test_the_default_machine_is_the_one_of_the_file():
    assert Machine.load("tileflow") == Machine()
    assert (MACHINES_DIR / "tileflow.toml").read_text(encoding="utf-8") == DEFAULT


def test_names_lists_the_built_in_machines():
    assert "tileflow" in Machine.names()
    for name in Machine.names():
        assert Machine.load(name).name == name


def test_a_file_of_ones_own(tmp_path):
    text = DEFAULT.replace("sram_bytes = 262144", "sram_bytes = 98_304")
    assert load_text(tmp_path, text) == Machine().replace(sram_bytes=98304)
    assert Machine.load(str(tmp_path / "mine.toml")).sram_bytes == 98304
    crlf_with_bom = b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()
    assert load_text(tmp_path, crlf_with_bom).sram_bytes == 98304


def test_toml_round_trip(tmp_path):
    machine = Machine().replace(name='a "b" \\c', tile=8, sram_bytes=768, dram_latency_cycles=0)
    assert load_text(tmp_path, machine.to_toml()) == machine


def test_codes_round_trip():
    machine = Machine().replace(name="x", tile=64, sram_bytes=1 << 30, loop_levels=3)
    assert Machine.of_codes("x", machine.codes()) == machine
    assert len(machine.codes()) == len(MACHINE_INTS)


def test_the_fingerprint_follows_every_key_but_the_name():
    assert Machine().fingerprint() == Machine().replace(name="other").fingerprint()
    fixed = {"load_engines", "exec_engines", "store_engines", "dtypes"}
    special = {"tile": 16, "sram_bytes": 65536, "dram_burst_bytes": 32}
    changed = {key: special.get(key, 5) for key in MACHINE_INTS if key not in fixed}
    prints = {Machine().replace(**{key: value}).fingerprint() for key, value in changed.items()}
    assert len(prints | {Machine().fingerprint()}) == len(changed) + 1


def test_every_key_has_a_meaning():
    for field in dataclasses.fields(Machine):
        assert field.metadata["does"], field.name
        assert "unit" in field.metadata


DTYPES = 'dtypes = ["f32", "bf16", "i8", "i32"]'


@pytest.mark.parametrize(
    ("before", "after", "line", "what"),
    [
        ("tile = 32", "tile = 33", "tile", "tile is 33, which is not a power of two"),
        ("dram_burst_bytes = 64", "dram_burst_bytes = 48", "dram_burst_bytes",
         "dram_burst_bytes is 48, which is not a power of two"),
        ("tile = 32", "tile = 0", "tile", "tile is 0, outside 8..128"),
        ("tile = 32", "tile = 256", "tile", "tile is 256, outside 8..128"),
        ("tile = 32", "tile = true", "tile", "tile is True, not an integer"),
        ("tile = 32", "tile = 32.0", "tile", "tile is 32.0, not an integer"),
        ("sram_bytes = 262144", "sram_bytes = -1", "sram_bytes", "sram_bytes is -1, outside"),
        ("sram_bytes = 262144", "sram_bytes = 12284", "sram_bytes", "too small for 3 tiles"),
        ("sram_bytes = 262144", "sram_bytes = 262145", "sram_bytes", "not a multiple of 4"),
        ("sram_bytes = 262144", "sram_bytes = 2147483648", "sram_bytes", "is 2147483648, outside"),
        ("semaphores = 63", "semaphores = 64", "semaphores", "semaphores is 64, outside 1..63"),
        ("scalars = 16", "scalars = 17", "scalars", "scalars is 17, outside 0..16"),
        ("load_engines = 1", "load_engines = 2", "load_engines", "load_engines is 2, outside 1..1"),
        ("exec_engines = 1", "exec_engines = 5", "exec_engines", "is 5, outside 1..4"),
        ('name = "tileflow"', "name = 5", "name", "name is 5, not a name"),
        ('name = "tileflow"', 'name = ""', "name", "name is '', not a name"),
        (DTYPES, 'dtypes = ["f64"]', "dtypes", "dtypes is ('f64',)"),
        (DTYPES, "dtypes = []", "dtypes", "dtypes is ()"),
        (DTYPES, "dtypes = [[1]]", "dtypes", "dtypes is ([1],)"),
        (DTYPES, 'dtypes = "f32"', "dtypes", "dtypes is 'f32'"),
        ("tile = 32", "tile = 32\ntil = 1", "til ", "unknown key 'til'"),
        ("tile = 32", "tile = 32\n  [engines]\nx = 1", "  [", "unknown key 'engines'"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_reported_at_its_line(tmp_path, before, after, line, what):
    text = DEFAULT.replace(f"\n{before}\n", f"\n{after}\n")
    assert text != DEFAULT
    with pytest.raises(MachineError) as caught:
        load_text(tmp_path, text)
    assert what in caught.value.what
    loc = caught.value.loc
    assert loc is not None
    assert Path(loc.file).name == "mine.toml"
    assert loc.line == line_of(text, line)
    numbers = [field.name for field in dataclasses.fields(Machine) if "low" in field.metadata]
    if line.strip() in numbers and "SRAM" not in what:
        meta = Machine.__dataclass_fields__[line].metadata
        low, high = meta["low"], meta["high"]
        least = f"12288..{high}" if "too small" in what else f"{low}..{high}"
        assert (least if low < high else f"is {low} ") in caught.value.hint
    assert caught.value.hint


def test_missing_keys_are_named(tmp_path):
    text = DEFAULT.replace("tile = 32\n", "").replace("extents = 63\n", "")
    with pytest.raises(MachineError, match="missing keys tile, extents") as caught:
        load_text(tmp_path, text)
    assert "tile is an integer in 8..128" in caught.value.hint
    assert "extents is an integer in 1..63" in caught.value.hint


def test_an_unknown_key_gets_a_suggestion(tmp_path):
    with pytest.raises(MachineError) as caught:
        load_text(tmp_path, DEFAULT + "queue_dept = 3\n")
    assert caught.value.hint.startswith("did you mean 'queue_depth'? queue_depth is an integer")
    assert "in 1..65536 (" in caught.value.hint


def test_a_syntax_error_is_reported_at_its_place(tmp_path):
    text = DEFAULT.replace("tile = 32", "tile 32")
    with pytest.raises(MachineError) as caught:
        load_text(tmp_path, text)
    loc = caught.value.loc
    assert loc is not None
    assert (loc.line, loc.col) == (line_of(text, "tile"), 6)
    assert "not TOML" in caught.value.what
    assert "each line is `key = value`" in caught.value.hint


def test_files_that_are_none(tmp_path):
    with pytest.raises(MachineError, match="cannot read the machine file") as caught:
        Machine.load(tmp_path / "absent.toml")
    assert "given by name: tileflow; a file by its path" in caught.value.hint
    with pytest.raises(MachineError, match="cannot read the machine file"):
        Machine.load(tmp_path)
    with pytest.raises(MachineError, match="not UTF-8"):
        load_text(tmp_path, b"\xff\xfe")
    with pytest.raises(MachineError, match="missing keys name, tile"):
        load_text(tmp_path, "")


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(MachineError) as caught:
        Machine.load("tileflo")
    assert caught.value.what == "no machine is called 'tileflo'"
    assert "did you mean 'tileflow'?" in caught.value.hint


def test_replace_refuses_what_a_file_could_not_say():
    with pytest.raises(MachineError, match="a machine has no key 'tiles'"):
        Machine().replace(tiles=3)
    with pytest.raises(MachineError, match="too small for 3 tiles"):
        Machine().replace(tile=128, sram_bytes=131072)
    with pytest.raises(MachineError, match="not an integer"):
        Machine().replace(sram_bytes="64K")


def test_a_machine_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Machine().tile = 16  # type: ignore[misc]
