"""Reads tokens one after another; every complaint carries its place."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator

from tileflow_tvm.errors import AssemblyError

from .lexer import Line, Tok, Token

_LONGEST_INT = 40
"""Digits; more fit no field, and Python refuses to convert thousands of them."""


class Cursor:
    """A place in the text: a line, and the next token of it."""

    def __init__(self, lines: Iterator[Line], file: str) -> None:
        self._lines = lines
        self._at = 0
        self.line = Line(file, 1, "", (Token(Tok.END, "", 1),))

    def next_line(self) -> bool:
        """Goes to the next line that holds something; False at the end of the text."""
        line = next(self._lines, None)
        if line is None:
            return False
        self.line, self._at = line, 0
        return True

    @property
    def token(self) -> Token:
        """The next token, which stays."""
        return self.line.tokens[self._at]

    def ahead(self, count: int) -> Token:
        """The token `count` behind the next one; the line's end where there is none."""
        return self.line.tokens[min(self._at + count, len(self.line.tokens) - 1)]

    def take(self) -> Token:
        """The next token; the line's end is never passed."""
        token = self.token
        if token.tok is not Tok.END:
            self._at += 1
        return token

    def accept(self, mark: str) -> bool:
        """Takes the next token if it is this mark or word."""
        found = self.token.text == mark and self.token.tok in (Tok.MARK, Tok.WORD)
        if found:
            self._at += 1
        return found

    def expect(self, mark: str) -> Token:
        token = self.token
        if not self.accept(mark):
            raise self.error(f"expected '{mark}', found {token.shown()}")
        return token

    def end(self) -> None:
        """The line must end here."""
        if self.token.tok is not Tok.END:
            raise self.error(f"{self.token.shown()} is too much", hint="a line holds one statement")

    def skip_lines(self, opening: tuple[Line, Token]) -> None:
        """Inside braces a line may end anywhere; `opening` is where they began."""
        while self.token.tok is Tok.END:
            if not self.next_line():
                line, token = opening
                raise line.error("this '{' is never closed", token.col)

    def error(self, what: str, token: Token | None = None, hint: str = "") -> AssemblyError:
        """An error at `token`, or at the next one."""
        return self.line.error(what, (token or self.token).col, hint)

    def name(self, what: str) -> str:
        """A name: a word, or any text between quotes."""
        token = self.token
        if token.tok is Tok.STRING:
            return self.string()
        if token.tok is not Tok.WORD:
            raise self.error(f"expected {what}, found {token.shown()}")
        return self.take().text

    def string(self) -> str:
        """Text between quotes, with JSON's escapes."""
        token = self.token
        if token.tok is not Tok.STRING:
            raise self.error(f"expected a text in quotes, found {token.shown()}")
        self.take()
        try:
            return str(json.loads(token.text))
        except ValueError as error:
            raise self.error("the text in quotes has a wrong escape", token) from error

    def integer(self, what: str) -> int:
        token = self.token
        if token.tok is not Tok.NUMBER:
            raise self.error(f"expected {what}, found {token.shown()}")
        self.take()
        try:
            if len(token.text) > _LONGEST_INT:
                raise ValueError
            return int(token.text, 16 if "x" in token.text.lower() else 10)
        except ValueError:
            raise self.error(f"{token.shown()} is no integer", token) from None

    def word(self, what: str, known: Iterable[str]) -> str:
        """One of the words in `known`; anything else is an error that names the nearest."""
        token = self.token
        choices = list(known)
        if token.tok is not Tok.WORD or token.text not in choices:
            hint = nearest(token.text, choices)
            raise self.error(f"expected {what}, found {token.shown()}", hint=hint)
        return self.take().text


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for a word that is none of `known`."""
    choices = list(known)
    close = difflib.get_close_matches(word[:64], choices, 1)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"one of {', '.join(choices)}" if 0 < len(choices) <= 24 else ""
