"""The files of the cache: damage, room, processes at once, folders that cannot be written."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import affine_program
from fusible import scaled

import tileflow_tvm as tf
from tileflow_tvm.cache.entry import Entry, pack, unpack
from tileflow_tvm.cache.store import DEFAULT_LIMIT, LEFT_BEHIND, Store, default_folder
from tileflow_tvm.cli import main
from tileflow_tvm.errors import CallError
from tileflow_tvm.isa.container import to_bytes

ROOT = Path(__file__).resolve().parents[1]
KEY = bytes(range(32))


def entry(scale: float = 2.0) -> Entry:
    program = affine_program(scale)
    return Entry(program, to_bytes(program))


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "cache", 1 << 20)


def only_file(store: Store) -> Path:
    (path,) = store.entries()
    return path


def test_what_was_put_is_got(store):
    assert store.get(KEY) is None
    store.put(KEY, entry())
    assert store.get(KEY) == entry()
    assert store.get(key(1)) is None


class TestDamage:
    def test_cut_anywhere(self):
        whole = pack(KEY, entry())
        assert unpack(KEY, whole) == entry()
        assert [n for n in range(len(whole)) if unpack(KEY, whole[:n])] == []

    def test_a_bit_anywhere(self):
        whole = pack(KEY, entry())
        for at in range(len(whole)):
            wrong = bytearray(whole)
            wrong[at] ^= 1 << at % 8
            assert unpack(KEY, bytes(wrong)) is None, at

    def test_an_entry_of_another_key(self, store):
        store.put(KEY, entry())
        only_file(store).rename(store.folder / f"{key(1).hex()}.program")
        assert store.get(key(1)) is None

    def test_a_checksum_over_what_is_no_program(self):
        assert unpack(KEY, pack(KEY, Entry(affine_program(), b"not a .bin"))) is None

    @pytest.mark.parametrize("text", [b"", b"rubbish", b"\0" * 4096])
    def test_compile_makes_it_anew(self, text, tmp_path, monkeypatch):
        monkeypatch.setenv("TILEFLOW_CACHE", "1")
        monkeypatch.setenv("TILEFLOW_CACHE_DIR", str(tmp_path))
        monkeypatch.setattr(tf, "_LOADED_AT", float("inf"))
        want = tf.compile(scaled()).to_bytes()
        path = only_file(Store(tmp_path, 0))
        whole = path.read_bytes()
        path.write_bytes(text or whole[: len(whole) // 2])
        assert tf.compile(scaled()).to_bytes() == want
        assert path.read_bytes() == whole


class TestRoom:
    def test_the_least_recently_used_go_first(self, store):
        size = len(pack(KEY, entry()))
        small = Store(store.folder, 3 * size)
        for number in range(3):
            small.put(key(number), entry())
            os.utime(small._path(key(number)), (number, number))
        assert small.get(key(0)) is not None  # and so it is the last used
        small.put(key(3), entry())
        kept = [number for number in range(4) if small.get(key(number)) is not None]
        assert kept == [0, 2, 3]
        assert small.nbytes() <= small.limit

    def test_what_is_larger_than_all_is_not_kept(self, store):
        none = Store(store.folder, 10)
        none.put(KEY, entry())
        assert none.entries() == []

    def test_what_a_dead_process_left_is_removed(self, store):
        store.put(KEY, entry())
        old, new = (store.folder / f".{KEY.hex()}.program.{name}" for name in ("old", "new"))
        other = store.folder / "mine.txt"
        for path in (old, new, other):
            path.write_text("half")
        then = time.time() - 2 * LEFT_BEHIND
        os.utime(old, (then, then))
        os.utime(other, (then, then))
        store.put(key(1), entry())
        assert not old.exists()
        assert new.exists()
        assert other.exists()

    def test_clear_leaves_what_is_not_ours(self, store):
        store.put(KEY, entry())
        other = store.folder / "mine.txt"
        other.write_text("mine")
        assert store.clear() == 1
        assert other.exists()


class TestSettings:
    def test_defaults(self, monkeypatch):
        monkeypatch.delenv("TILEFLOW_CACHE_DIR", raising=False)
        monkeypatch.delenv("TILEFLOW_CACHE_BYTES", raising=False)
        assert Store.of_user() == Store(default_folder(), DEFAULT_LIMIT)
        assert "tileflow" in str(default_folder())

    def test_another_folder_and_size(self, monkeypatch, tmp_path):
        monkeypatch.setenv("TILEFLOW_CACHE_DIR", str(tmp_path))
        monkeypatch.setenv("TILEFLOW_CACHE_BYTES", "1000")
        assert Store.of_user() == Store(tmp_path, 1000)

    def test_a_size_that_is_none(self, monkeypatch, capsys):
        monkeypatch.setenv("TILEFLOW_CACHE_BYTES", "1 GB")
        with pytest.raises(CallError, match="TILEFLOW_CACHE_BYTES='1 GB' is no number of bytes"):
            Store.of_user()
        assert main(["cache"]) == 1
        assert "hint: as in 268435456" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["a file is there", "may not be written"])
def test_a_folder_that_cannot_be_used_is_as_none(what, tmp_path, monkeypatch, capfd):
    folder = tmp_path / "cache"
    if what == "a file is there":
        folder.write_text("mine")
    else:
        folder.mkdir()

        def refuse(*_args):
            raise PermissionError(13, "Permission denied")

        # Root may write everywhere.
        monkeypatch.setattr("tileflow_tvm.cache.store.write_whole", refuse)
    monkeypatch.setenv("TILEFLOW_CACHE", "1")
    monkeypatch.setenv("TILEFLOW_CACHE_DIR", str(folder))
    monkeypatch.setattr(tf, "_LOADED_AT", float("inf"))
    assert tf.compile(scaled()).to_bytes() == tf.compile(scaled(), cache=False).to_bytes()
    assert Store.of_user().entries() == []
    assert capfd.readouterr() == ("", "")


WORKER = """
import sys
sys.path.insert(0, "tests")
from command_line import affine_program
from test_cache_store import entry, key
from tileflow_tvm.cache.store import Store
from pathlib import Path

store = Store(Path(sys.argv[1]), int(sys.argv[2]))
for turn in range(150):
    number = (turn * int(sys.argv[3])) % 7
    found = store.get(key(number))
    assert found is None or found == entry(float(number)), number
    store.put(key(number), entry(float(number)))
"""


def test_processes_at_once(tmp_path):
    """Both write, read and remove the same entries; none ever sees another program or an error."""
    room = 4 * len(pack(KEY, entry()))
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path), str(room), step], cwd=ROOT,
                         stderr=subprocess.PIPE, text=True)
        for step in ("3", "5")
    ]  # fmt: skip
    assert [(worker.communicate()[1], worker.returncode) for worker in workers] == [("", 0)] * 2
    store = Store(tmp_path, room)
    assert 0 < store.nbytes() <= room
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
