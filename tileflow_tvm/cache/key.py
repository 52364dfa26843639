"""What a compiled program depends on, as one digest."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections.abc import Iterable
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import tileflow_tvm
from tileflow_tvm.isa.encoding import isa_fingerprint
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.isa.table import TILEFLOW

PACKAGE = Path(tileflow_tvm.__file__).parent


def key_of(structure: bytes, machine: Machine, *, fuse: bool) -> bytes | None:
    """The digest under which the program of a function is kept: all of the function (`structure`,
    with the places it was written at, which the debug section of a binary names), all of the
    machine, the instruction set, the compiler, and the options that change the program.

    None where a source file of this package was written after the process began: what is loaded
    may be older than what is on disk, and its programs are nobody else's.
    """
    sources = compiler_sources()
    if newest(sources) >= tileflow_tvm._LOADED_AT:
        return None
    parts = (
        structure,
        repr(sorted(dataclasses.asdict(machine).items())).encode(),
        f"{isa_fingerprint(TILEFLOW):016x}".encode(),
        compiler_digest(sources),
        f"fuse={fuse}".encode(),
    )
    return digest_of(parts)


def compiler_sources() -> tuple[Path, ...]:
    """Every Python file of the package, and the extension, whose verifier passed the program."""
    found = sorted(PACKAGE.rglob("*.py"))
    extension = find_spec("tileflow_tvm._sim")
    if extension and extension.origin and extension.origin.endswith(tuple(EXTENSION_SUFFIXES)):
        found.append(Path(extension.origin))
    return tuple(found)


def newest(files: Iterable[Path]) -> float:
    """When the last of them was written, or moved to where it is."""
    found = (path.stat() for path in files)
    return max((max(stat.st_mtime, stat.st_ctime) for stat in found), default=0.0)


@lru_cache(maxsize=1)
def compiler_digest(sources: tuple[Path, ...]) -> bytes:
    """Of the compiler's version, its sources, and the Python that runs them."""
    try:
        release = version("tileflow_tvm")
    except PackageNotFoundError:
        release = ""
    return digest_of((release.encode(), sys.version.encode(), sources_digest(PACKAGE, sources)))


def sources_digest(folder: Path, sources: Iterable[Path]) -> bytes:
    """Of names, inside `folder` with the path, and contents."""
    parts = []
    for path in sources:
        inside = path.is_relative_to(folder)
        name = path.relative_to(folder).as_posix() if inside else path.name
        parts += [name.encode(), path.read_bytes()]
    return digest_of(parts)


def digest_of(parts: Iterable[bytes]) -> bytes:
    """Of a sequence: parts that are cut elsewhere have another digest."""
    total = hashlib.sha256()
    for part in parts:
        total.update(hashlib.sha256(part).digest())
    return total.digest()
