"""Arrays of a run: read from .npy files or drawn at random, and written back."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tileflow_tvm.cli.files import FileError, read_file
from tileflow_tvm.errors import CallError
from tileflow_tvm.sim import DTYPES

if TYPE_CHECKING:
    from tileflow_tvm.isa.program import ArgSpec


def assign(texts: Sequence[str], args: Sequence[ArgSpec], what: str) -> dict[str, str]:
    """Which file belongs to which argument: `NAME=FILE` by name, `FILE` by position."""
    names = [arg.name for arg in args]
    chosen: dict[str, str] = {}
    positional = []
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or name not in names:
            positional.append(text)
        elif name in chosen:
            raise CallError(f"{what} '{name}' is given twice")
        else:
            chosen[name] = path
    free = [name for name in names if name not in chosen]
    if len(positional) > len(free):
        listing = ", ".join(f"{arg.name}{list(arg.shape)}" for arg in args) or "none"
        raise CallError(f"{len(texts)} {what}s are given, the program has {len(names)}: {listing}")
    return chosen | dict(zip(free, positional, strict=False))


def read_inputs(
    texts: Sequence[str], args: Sequence[ArgSpec], seed: int | None
) -> list[np.ndarray]:
    """One array for each of `args`; without a file it is drawn from `seed`, standard normal."""
    files = assign(texts, args, "input")
    rng = np.random.default_rng(seed)
    missing = [arg.name for arg in args if arg.name not in files]
    if missing and seed is None:
        raise CallError(
            f"no array for {', '.join(missing)}", hint="give files with --in, or --random SEED"
        )
    return [
        read_array(files[arg.name])
        if arg.name in files
        else rng.standard_normal(arg.shape).astype(DTYPES[arg.dtype])
        for arg in args
    ]


def read_array(path: str) -> np.ndarray:
    """The array of a .npy file, as it is: a wrong dtype or shape is for the call to refuse."""
    data = read_file(path)
    try:
        array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OverflowError, SyntaxError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FileError(
            f"{path} is no .npy array: {reason}", hint="write one with numpy.save"
        ) from error
    return np.asarray(array)


def to_npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
