"""TVM spans to `Loc` and back."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from tvm.error import DiagnosticError
from tvm.ir import SequentialSpan, SourceName, Span

from tileflow_tvm.errors import KernelError, Loc

_ARROW = re.compile(r"^\s*-->\s*(.+):(\d+):(\d+)\s*$", re.MULTILINE)
_HEAD = re.compile(r"^error: (.*?)$(?=\n\s*-->)", re.MULTILINE | re.DOTALL)

PARSE_HINT = "doc/writing_a_kernel.md says what a kernel is made of"
"""TVM's parser says what is wrong, not what to do."""


def loc_of(node: Any) -> Loc | None:
    """Where `node` was written; None for what no text stands behind."""
    return loc_of_span(getattr(node, "span", None))


def loc_of_span(span: Any) -> Loc | None:
    if isinstance(span, SequentialSpan):  # an inlined macro: the place it is used at
        span = span.spans[0] if len(span.spans) else None
    if span is None:
        return None
    return Loc(span.source_name.name, span.line, span.column)


@lru_cache(maxsize=4096)
def span_of(loc: Loc | None) -> Span | None:
    """The span that begins at `loc`."""
    if loc is None:
        return None
    return Span(SourceName(loc.file), loc.line, loc.line, loc.col, loc.col)


def parse_error(error: DiagnosticError) -> KernelError:
    """A TVMScript parse error as ours, with its place and without the drawing around it."""
    text = str(error)
    arrow, head = _ARROW.search(text), _HEAD.search(text)
    loc = Loc(arrow[1], int(arrow[2]), int(arrow[3])) if arrow else None
    what = (head[1] if head else text.split("\n -->")[0].removeprefix("error: ")).strip()
    return KernelError(what, loc=loc, hint=PARSE_HINT)
