"""Everything that can be a user's fault, with the place it is at and a way out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar


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
        path = Path(self.file)
        if not path.is_file():  # a binary may name anything, a pipe for one
            return ""
        try:
            text = path.read_text(encoding="utf-8").splitlines()[self.line - 1]
        except (OSError, IndexError, UnicodeDecodeError):
            return ""
        caret = " " * (self.col - 1) + "^" if self.col else ""
        return "\n".join(f"    {row}" for row in (text.rstrip(), caret) if row)


@dataclass(frozen=True)
class FileLoc:
    """A place in a file that has no lines: a byte from its start and the part that it lies in, or
    the file as a whole."""

    file: str
    offset: int | None = None
    section: str = ""

    def __str__(self) -> str:
        section = f" ({self.section})" if self.section else ""
        return self.file if self.offset is None else f"{self.file}: byte {self.offset}{section}"

    def excerpt(self) -> str:
        """Bytes are not shown."""
        return ""


Self = TypeVar("Self", bound="TileflowError")


class TileflowError(Exception):
    """What is wrong, where, and what to do about it.

    `notes` are further lines (the other side of a conflict, the live set); `excerpt` overrides
    the source lines shown under the message, for texts that are not files.
    """

    def __init__(
        self, what: str, *, loc: Loc | FileLoc | None = None, hint: str = "",
        notes: tuple[str, ...] = (), excerpt: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(what)
        self.what = what
        self.loc = loc
        self.hint = hint
        self.notes = notes
        self._excerpt = excerpt

    def but(
        self: Self,
        *,
        loc: Loc | FileLoc | None = None,
        hint: str | None = None,
        excerpt: str | None = None,
    ) -> Self:
        """The same error with another place, hint or excerpt."""
        return type(self)(
            self.what,
            loc=self.loc if loc is None else loc,
            hint=self.hint if hint is None else hint,
            notes=self.notes,
            excerpt=self._excerpt if excerpt is None else excerpt,
        )

    @property
    def has_place(self) -> bool:
        return self.loc is not None or bool(self._excerpt)

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

    def in_file(self, file: str) -> BinaryError:
        """The error in the file that the bytes came from."""
        inside = self.loc if isinstance(self.loc, FileLoc) else FileLoc(file)
        return self.but(loc=replace(inside, file=file))


class VerifyError(TileflowError):
    """A program that is not well-synchronised, or leaves its memory."""


class CallError(TileflowError):
    """Arrays that do not fit the program's arguments."""


class LaunchError(CallError):
    """Launch scalars that are not the program's."""


class RunError(TileflowError):
    """A program that failed while running."""
