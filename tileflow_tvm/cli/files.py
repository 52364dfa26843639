"""Files that the commands read and write: clean errors, and outputs that are whole or absent."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from tileflow_tvm.errors import AssemblyError, Loc, TileflowError
from tileflow_tvm.files import write_whole
from tileflow_tvm.isa.container import from_bytes
from tileflow_tvm.isa.program import Program

STANDARD = "-"
"""Stands for standard input or standard output."""


class FileError(TileflowError):
    """A file that cannot be read or written."""


def read_file(path: str) -> bytes:
    """The bytes of a file, a pipe, or standard input."""
    if path == STANDARD:
        return sys.stdin.buffer.read()
    try:
        mode = Path(path).stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            what = "is a directory" if stat.S_ISDIR(mode) else "is no regular file"
            raise FileError(f"{path} {what}", hint="a file is needed here")
        return Path(path).read_bytes()
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}", hint=_read_hint(path)) from error
    except ValueError as error:  # a path with a NUL
        raise FileError(f"cannot read {path!r}: {error}", hint="this is no path") from error


def _read_hint(path: str) -> str:
    """What could be meant by a file that cannot be read."""
    folder = Path(path).parent
    if not folder.is_dir():
        return f"there is no folder {folder} in {Path.cwd()}"
    names = [entry.name for entry in folder.iterdir() if entry.suffix == Path(path).suffix]
    if Path(path).name in names:
        return "its permissions do not let you"
    near = get_close_matches(Path(path).name, names, 1, cutoff=0.75)
    if near:
        return f"did you mean {folder / near[0]}?"
    return f"check the path; it is looked up from {Path.cwd()}"


def read_text(path: str) -> str:
    """The text of an assembly file."""
    data = read_file(path)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise AssemblyError(
            f"byte {error.start} ({data[error.start]:#04x}) is not UTF-8 text",
            loc=Loc(display_name(path), line),
            hint="a .bin is read by `tileflow disasm`"
            if data.startswith(b"TFLOW")
            else "assembly is text in UTF-8; doc/assembly.md describes it",
        ) from error


def read_program(path: str) -> tuple[Program, bytes]:
    """The program of a .bin, and its bytes."""
    data = read_file(path)
    return from_bytes(data, file=display_name(path)), data


def display_name(path: str) -> str:
    return "<stdin>" if path == STANDARD else path


def check_outputs(outputs: list[str | None], inputs: list[str]) -> None:
    """Raise FileError for outputs that cannot work, before the work is done."""
    seen: dict[Path, str] = {Path(path).resolve(): path for path in inputs if path != STANDARD}
    for path in outputs:
        if path is None or path == STANDARD:
            continue
        folder = Path(path).parent
        if not folder.is_dir():
            what = "is no directory" if folder.exists() else "does not exist"
            raise FileError(f"cannot write {path}: {folder} {what}", hint="make the folder first")
        if Path(path).is_dir():
            raise FileError(
                f"cannot write {path}: it is a directory", hint="name the file in it as well"
            )
        special = Path(path).exists() and not Path(path).is_file()
        if not special and not os.access(folder, os.W_OK | os.X_OK):
            raise FileError(
                f"cannot write {path}: no permission to write in {folder}",
                hint="name a file in a folder of your own",
            )
        same = seen.get(Path(path).resolve())
        if same is not None and not special:
            raise FileError(f"{path} would overwrite {same}", hint="give it a name of its own")
        seen[Path(path).resolve()] = path


def write_files(contents: Mapping[str, bytes]) -> None:
    """Write each file aside, then rename it; `-` is standard output, devices are written to."""
    for path, data in contents.items():
        if path == STANDARD:
            sys.stdout.flush()
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            continue
        # A link stays a link: what it points at is replaced.
        target = Path(path).resolve()
        try:
            if target.exists() and not target.is_file():
                target.write_bytes(data)
            else:
                write_whole(target, data)
        except OSError as error:
            raise FileError(
                f"cannot write {path}: {error.strerror}", hint="name another file, or make room"
            ) from error
