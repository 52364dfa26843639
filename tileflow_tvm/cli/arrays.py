"""Arrays of a run: read from .npy files or drawn at random, and written back."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tileflow_tvm.cli.files import FileError, read_file
from tileflow_tvm.errors import CallError, FileLoc
from tileflow_tvm.sim import DTYPES, checked_input, draw

if TYPE_CHECKING:
    from tileflow_tvm.isa.program import ArgSpec


def assign(texts: Sequence[str], args: Sequence[ArgSpec], what: str) -> dict[str, str]:
    """Which file belongs to which argument: `NAME=FILE` by name, `FILE` by position."""
    names = [arg.name for arg in args]
    chosen: dict[str, str] = {}
    positional = []
    for text in texts:
        name, equals, path = text.partition("=")
        if equals and name not in names and name.isidentifier():
            raise _no_argument(name, text, args, what)
        if not equals or name not in names:
            positional.append(text)
        elif name in chosen:
            raise CallError(
                f"{what} '{name}' is given twice", hint=f"give one file for it: {name}={path}"
            )
        else:
            chosen[name] = path
    free = [name for name in names if name not in chosen]
    if len(positional) > len(free):
        raise CallError(
            f"{len(texts)} {what}s are given, the program has {len(names)}: {_listing(args)}",
            hint=f"leave out what is too much; {OPTION[what]} NAME=FILE says which is which",
        )
    return chosen | dict(zip(free, positional, strict=False))


OPTION = {"input": "--in", "output": "--out"}
DOES = {"input": "reads", "output": "writes"}


def _listing(args: Sequence[ArgSpec]) -> str:
    return ", ".join(f"{arg.name}{list(arg.shape)}" for arg in args) or "none"


def _no_argument(name: str, text: str, args: Sequence[ArgSpec], what: str) -> CallError:
    first = args[0].name if args else ""
    form = f"{OPTION[what]} {first}=FILE.npy" if args else f"leave {OPTION[what]} out"
    return CallError(
        f"the program has no argument '{name}' that it {DOES[what]}; "
        f"it {DOES[what]} {_listing(args)}",
        hint=f"{form}; a file with '=' in its name is given as ./{text}",
    )


def read_inputs(
    texts: Sequence[str], args: Sequence[ArgSpec], seed: int | None
) -> list[np.ndarray]:
    """One array for each of `args`; without a file it is drawn from `seed`."""
    files = assign(texts, args, "input")
    rng = np.random.default_rng(seed)
    missing = [arg.name for arg in args if arg.name not in files]
    if missing and seed is None:
        raise CallError(
            f"no array for {_listing([arg for arg in args if arg.name in missing])}",
            hint=f"give a file for each, --in {missing[0]}=FILE.npy, or draw them: --random SEED",
        )
    return [_fitting(arg, files[arg.name]) if arg.name in files else draw(rng, arg) for arg in args]


def _fitting(arg: ArgSpec, path: str) -> np.ndarray:
    """The array of a .npy file, if it has dtype and shape of the argument."""
    array = read_array(path)
    dtype = DTYPES[arg.dtype]
    if array.dtype == f"V{dtype.itemsize}" and dtype.kind == "V":
        array = array.view(dtype)  # the format has no name for it
    try:
        return checked_input(arg, array)
    except CallError as error:
        raise error.but(
            loc=FileLoc(path),
            hint=f"write another file, np.save({path!r}, ...), with dtype {dtype} and "
            f"shape {arg.shape}, or give this one to another argument: --in NAME={path}",
        ) from None


def read_array(path: str) -> np.ndarray:
    """The array of a .npy file, as it is."""
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
