"""Options that several commands share."""

from __future__ import annotations

import argparse
import contextlib
import textwrap
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tileflow_tvm.errors import LaunchError

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

Command = Callable[[argparse.Namespace], None]


def add_command(
    commands: Commands, name: str, command: Command, *, does: str, details: str = "", example: str
) -> argparse.ArgumentParser:
    """A sub-command with what every one of them has: an example, -q and -v."""
    parser = commands.add_parser(
        name,
        help=does,
        description=textwrap.fill(f"{does[0].upper()}{does[1:]}. {details}".strip(), 80),
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=command)
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("-q", "--quiet", action="store_true", help="print results and errors only")
    amount.add_argument(
        "-v", "--verbose", action="store_true", help="on an error, print Python's traceback too"
    )
    return parser


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def add_machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--machine", default="tileflow", metavar="NAME|FILE.toml",
        help="a built-in machine, or the path of a description (default: tileflow)",
    )  # fmt: skip


def add_scalars(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scalar", dest="scalars", action="append", type=_scalar, default=[],
        metavar="NAME=N",
        help="a launch parameter of the program, below 2^40; may be repeated. The time a run takes "
             "grows with the iterations asked for; Ctrl-C ends it",
    )  # fmt: skip


SCALAR_HINT = "give each launch parameter once, and no other, as --scalar NAME=N with |N| < 2^40"


def scalars_of(args: argparse.Namespace) -> dict[str, int]:
    """What --scalar gave, by name."""
    found: dict[str, int] = {}
    for name, value in args.scalars:
        if name in found:
            raise LaunchError(
                f"--scalar {name} is given twice: {found[name]} and {value}",
                hint=SCALAR_HINT,
            )
        found[name] = value
    return found


@contextlib.contextmanager
def launch_words() -> Iterator[None]:
    """Errors about launch scalars with a hint that speaks of the command line."""
    try:
        yield
    except LaunchError as error:
        raise error.but(hint=SCALAR_HINT) from None


def _scalar(text: str) -> tuple[str, int]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=N")
    return name, whole_number(value)


def whole_number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def seed(text: str) -> int:
    """NumPy takes any whole number that is not negative."""
    value = whole_number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"a seed is not negative, {value} is")
    return value
