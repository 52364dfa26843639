"""Lines of assembly text as tokens, one line at a time, so that noise fails at its first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from tileflow_tvm.errors import AssemblyError, Loc


class Tok(Enum):
    """What a token is."""

    DIRECTIVE = auto()
    WORD = auto()
    NUMBER = auto()
    STRING = auto()
    MARK = auto()
    END = auto()


@dataclass(frozen=True)
class Token:
    """A piece of a line; `col` counts from 1."""

    tok: Tok
    text: str
    col: int

    def shown(self) -> str:
        """The token as an error message names it."""
        if self.tok is Tok.END:
            return "the end of the line"
        return f"'{self.text}'" if len(self.text) <= 40 else f"'{self.text[:40]}…'"


@dataclass(frozen=True)
class Line:
    """One line with its tokens; the last token is the line's end."""

    file: str
    number: int
    text: str
    tokens: tuple[Token, ...]

    def error(self, what: str, col: int, hint: str = "") -> AssemblyError:
        """An error at a column of this line."""
        return _error(self.file, self.number, self.text, what, col, hint)


_TOKEN = re.compile(
    r"""
    (?P<BLANK>[ \t]+|[;#].*)
  | (?P<DIRECTIVE>\.[A-Za-z_]\w*)
  | (?P<NUMBER>-?0[xX][0-9a-fA-F]+(?!\w)|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?!\w)|-inf\b)
  | (?P<WORD>[A-Za-z_][\w.]*)
  | (?P<STRING>"(?:[^"\\]|\\.)*")
  | (?P<MARK>\.\.|[{}\[\]():,=@+])
    """,
    re.VERBOSE | re.ASCII,
)
_EXCERPT_WIDTH = 96
LONGEST_LINE = 1 << 20
"""Characters; a line with two of the longest names, each of them escaped, is shorter."""


def lines(text: str, file: str) -> Iterator[Line]:
    """The lines that hold more than a comment. A BOM and CR LF are taken for what they are."""
    start = 1 if text.startswith("\ufeff") else 0
    number = 0
    while start < len(text):
        number += 1
        end = text.find("\n", start)
        stop = len(text) if end < 0 else end
        row = text[start : stop - 1 if text[start:stop].endswith("\r") else stop]
        start = stop + 1
        tokens = _tokens(row, file, number)
        if tokens:
            end_of_row = Token(Tok.END, "", tokens[-1].col + len(tokens[-1].text))
            yield Line(file, number, row, (*tokens, end_of_row))


def _tokens(row: str, file: str, number: int) -> list[Token]:
    if len(row) > LONGEST_LINE:
        what = f"the line has {len(row)} characters, more than {LONGEST_LINE}"
        hint = "break it: a list in braces may go over several lines"
        raise _error(file, number, row[:_EXCERPT_WIDTH], what, 1, hint)
    tokens = []
    at = 0
    while at < len(row):
        match = _TOKEN.match(row, at)
        if match is None:
            what, hint = _stray(row, at)
            raise _error(file, number, row, what, at + 1, hint)
        kind = match.lastgroup
        if kind != "BLANK":
            tokens.append(Token(Tok[str(kind)], match[0], at + 1))
        at = match.end()
    return tokens


def _stray(row: str, at: int) -> tuple[str, str]:
    """What is wrong with a character that begins no token, and a hint."""
    char = row[at]
    if char == '"':
        return "the string is not closed", 'it ends with another " on the same line'
    if char.isdigit() or (char == "-" and row[at + 1 : at + 2].isdigit()):
        what = "a number runs into something else"
        return what, "numbers are 12, -3, 0x1f, 1.5e-3; a space or a comma ends them"
    return (
        f"{char!r} means nothing here",
        "a comment begins with ';' or '#', odd names are in quotes",
    )


def _error(file: str, number: int, row: str, what: str, col: int, hint: str) -> AssemblyError:
    excerpt = _excerpt(row, col)
    return AssemblyError(what, loc=Loc(file, number, col), hint=hint, excerpt=excerpt)


def _excerpt(row: str, col: int) -> str:
    """The part of the line around `col`, and a caret below it."""
    first = max(0, col - 1 - _EXCERPT_WIDTH // 2) if len(row) > _EXCERPT_WIDTH else 0
    part = row[first : first + _EXCERPT_WIDTH]
    shown = "".join(char if char.isprintable() else " " for char in part)
    head, tail = "…" * (first > 0), "…" * (first + _EXCERPT_WIDTH < len(row))
    caret = " " * (col - 1 - first + len(head)) + "^"
    return f"    {head}{shown.rstrip()}{tail}\n    {caret}"
