"""The bar of a long search."""

from __future__ import annotations

import io
import sys

import pytest

from tileflow_tvm import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "patience", "shown"),
    [(Terminal(), 0.0, True), (Terminal(), 60.0, False), (io.StringIO(), 0.0, False)],
    ids=["terminal", "soon done", "pipe"],
)
def test_a_bar_is_shown_late_and_on_a_terminal_alone(monkeypatch, stream, patience, shown):
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "PATIENCE", patience)
    monkeypatch.setenv("TERM", "xterm")
    with progress.SearchBar() as bar:
        for at in range(4):
            bar.watch(at, 4)
    assert ("Comparing tile plans" in stream.getvalue()) == shown
