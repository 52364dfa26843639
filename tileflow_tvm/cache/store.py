"""Where entries lie: a file each, in a folder of bounded size.

A file is written aside and renamed, so processes at once, or one that dies, leave no half-written
entry; what is damaged nevertheless fails its checksum (`entry`) and counts as absent. Only the
user's settings can raise an error; a folder that cannot be read or written is an empty one.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tileflow_tvm.cache.entry import Entry, pack, unpack
from tileflow_tvm.errors import CallError
from tileflow_tvm.files import write_whole
from tileflow_tvm.isa.program import Program

SWITCH, FOLDER, LIMIT = "TILEFLOW_CACHE", "TILEFLOW_CACHE_DIR", "TILEFLOW_CACHE_BYTES"
"""Variables of the environment: "0" turns the cache off, another folder, another size."""
DEFAULT_LIMIT = 256 << 20
SUFFIX = ".program"
LEFT_BEHIND = 3600.0
"""Seconds after which a file written aside is taken for one whose process has died."""


def is_on() -> bool:
    return os.environ.get(SWITCH, "") != "0"


@dataclass(frozen=True)
class Store:
    """The entries in `folder`, at most `limit` bytes of them; the least recently used go first."""

    folder: Path
    limit: int

    @staticmethod
    def of_user() -> Store:
        """The one that the environment names. CallError where it makes no sense."""
        folder = os.environ.get(FOLDER)
        text = os.environ.get(LIMIT) or str(DEFAULT_LIMIT)
        if not text.isdecimal():
            raise CallError(f"{LIMIT}={text!r} is no number of bytes", hint="as in 268435456")
        return Store(Path(folder) if folder else default_folder(), int(text))

    def get(self, key: bytes) -> Entry | None:
        path = self._path(key)
        try:
            entry = unpack(key, path.read_bytes())
        except OSError:
            return None
        if entry is not None:
            with contextlib.suppress(OSError):
                os.utime(path)
        return entry

    def put(self, key: bytes, entry: Entry) -> None:
        """Store what the verifier has passed."""
        packed = pack(key, entry)
        if len(packed) > self.limit:
            return
        with contextlib.suppress(OSError):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(self._path(key), packed)
            self._shrink()

    def entries(self) -> list[Path]:
        return [path for path, _ in self._found(SUFFIX)]

    def nbytes(self) -> int:
        return sum(stat.st_size for _, stat in self._found(SUFFIX))

    def clear(self) -> int:
        """Remove all entries; how many."""
        return sum(_removed(path) for path in self.entries())

    def _path(self, key: bytes) -> Path:
        return self.folder / f"{key.hex()}{SUFFIX}"

    def _shrink(self) -> None:
        found = sorted(self._found(SUFFIX), key=lambda pair: pair[1].st_mtime_ns)
        excess = sum(stat.st_size for _, stat in found) - self.limit
        for path, stat in found:
            if excess <= 0:
                break
            excess -= stat.st_size
            _removed(path)
        for path, stat in self._found(""):
            if path.name.startswith(".") and stat.st_mtime < time.time() - LEFT_BEHIND:
                _removed(path)

    def _found(self, suffix: str) -> Iterator[tuple[Path, os.stat_result]]:
        """The files of the cache that end so, and what the system says of them."""
        with contextlib.suppress(OSError):
            for path in list(self.folder.iterdir()):
                if SUFFIX in path.name and path.name.endswith(suffix):
                    # Another process may have removed it.
                    with contextlib.suppress(OSError):
                        yield path, path.stat()


@dataclass(frozen=True)
class Place:
    """One program's place in a store."""

    store: Store
    key: bytes

    def get(self) -> Entry | None:
        return self.store.get(self.key)

    def put(self, program: Program, data: bytes) -> None:
        self.store.put(self.key, Entry(program, data))


def default_folder() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("tileflow", appauthor=False) / "programs"


def _removed(path: Path) -> bool:
    try:
        path.unlink()
    except OSError:
        return False
    return True
