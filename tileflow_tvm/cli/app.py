"""The command line's parser, its exit codes, and how errors are shown.

Exit codes: 0 fine, 1 the input is at fault, 2 usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import traceback
from collections.abc import Sequence

from tileflow_tvm.cli import caching, compiling, listing, running, showing
from tileflow_tvm.errors import TileflowError

INPUT_AT_FAULT = 1
INTERRUPTED = 130
READER_WENT_AWAY = 141
"""What a shell reports of a command that wrote into a closed pipe."""

_EPILOG = """\
examples:
  tileflow compile gemm.py -o gemm.bin --asm gemm.asm
  tileflow run gemm.bin --random 0
  tileflow check gemm.py
  tileflow COMMAND --help        what a command takes, with an example

exit codes: 0 fine, 1 the input is at fault, 2 usage, 130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in `argv`; returns the exit code."""
    args = build_parser().parse_args(argv)
    try:
        args.command(args)
        sys.stdout.flush()
    except TileflowError as error:
        if args.verbose:
            traceback.print_exc()
        return _fail(str(error))
    except BrokenPipeError:
        _drop_stdout()
        return READER_WENT_AWAY
    except OSError as error:
        _drop_stdout()
        place = f"{error.filename}: " if error.filename else ""
        hint = "the file system refused this; check the path, its permissions and the free room"
        return _fail(f"error: {place}{error.strerror or error}\nhint: {hint}")
    except MemoryError:
        return _fail("error: out of memory\nhint: use smaller arrays, or a machine with more room")
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="tileflow",
        description="Compile TVM kernels for a tile accelerator, and run them on its simulator.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, help="print the versions and exit")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in (compiling, listing, running, showing, caching):
        module.add_commands(commands)
    return parser


class _Version(argparse.Action):
    """`--version`: the package and its instruction set, without importing more than it needs."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        from tileflow_tvm.isa.encoding import isa_fingerprint
        from tileflow_tvm.isa.table import TILEFLOW

        print(f"tileflow {version('tileflow_tvm')}")
        print(f"isa {TILEFLOW.name} {TILEFLOW.version}, {isa_fingerprint(TILEFLOW):016x}")
        parser.exit(0)


def _fail(message: str) -> int:
    _say(message)
    return INPUT_AT_FAULT


def _say(message: str) -> None:
    with contextlib.suppress(OSError):
        print(message, file=sys.stderr, flush=True)


def _drop_stdout() -> None:
    """Forget what is still buffered, or Python would fail on it once more at its exit."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
