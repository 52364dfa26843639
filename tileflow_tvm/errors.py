"""Everything that can be a user's fault, with the place it is at and a way out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Loc:
    """A place in a source text; line and column count from 1."""

    file: str
    line: int
    col: int = 0

    def __str__(self) -> str:
        column = f":{self.col}" if self.col else ""
        return f"{self.file}:{self.line}{column}"

    def excerpt(self) -> str:
        """The source line with a caret below the column; empty where it cannot be read."""
        try:
            text = Path(self.file).read_text(encoding="utf-8").splitlines()[self.line - 1]
        except (OSError, IndexError, UnicodeDecodeError):
            return ""
        caret = " " * (self.col - 1) + "^" if self.col else ""
        return "\n".join(f"    {row}" for row in (text.rstrip(), caret) if row)


class TileflowError(Exception):
    """What is wrong, where, and what to do about it.

    `notes` are further lines (the other side of a conflict, the live set); `excerpt` overrides
    the source lines shown under the message, for texts that are not files.
    """

    def __init__(
        self, what: str, *, loc: Loc | None = None, hint: str = "",
        notes: tuple[str, ...] = (), excerpt: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(what)
        self.what = what
        self.loc = loc
        self.hint = hint
        self.notes = notes
        self._excerpt = excerpt

    def __str__(self) -> str:
        place = f"{self.loc}: " if self.loc else ""
        lines = [f"{place}error: {self.what}"]
        excerpt = self._excerpt
        if excerpt is None:
            excerpt = self.loc.excerpt() if self.loc else ""
        if excerpt:
            lines.append(excerpt)
        lines += self.notes
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


class KernelError(TileflowError):
    """The kernel handed to the compiler cannot be compiled exactly."""


class MachineError(TileflowError):
    """The machine description is wrong, or too small for what is asked."""


class AssemblyError(TileflowError):
    """Assembly text that is not a program."""


class BinaryError(TileflowError):
    """Bytes that are not a program of this ISA and machine."""


class VerifyError(TileflowError):
    """A program that is not well-synchronised, or leaves its memory."""


class CallError(TileflowError):
    """Arrays that do not fit the program's arguments."""


class RunError(TileflowError):
    """A program that failed while running."""
