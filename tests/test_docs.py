"""What the documents show is what happens: every listing and every command in them is run.

In a document, in the order of the page and in a folder of its own:
a `python` listing is a program, kept under the name in its first line (`# name.py`);
a `toml` or `asm` listing with a name in its first line is a file;
a `console` listing is commands after `$`, each with what it prints;
a `text` listing below a program is what that prints. `...` stands for any text.
"""

from __future__ import annotations

import difflib
import doctest
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", *(f"doc/{p.name}" for p in ROOT.glob("doc/*.md")))
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"(?:#|;|//) ([\w./-]+\.\w+)\s*$")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_SAME = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Listing:
    """A fenced block; `line` is that of its first line of content."""

    language: str
    text: str
    line: int

    @property
    def name(self) -> str | None:
        found = _NAME.match(self.text.split("\n", 1)[0])
        return found[1] if found else None


def listings(text: str) -> list[Listing]:
    return [
        Listing(match[1], match[2], text.count("\n", 0, match.start()) + 2)
        for match in _FENCE.finditer(text)
    ]


def commands(listing: Listing) -> Iterator[tuple[str, str, int]]:
    """The command lines of a console listing, what each prints, and its line in the page."""
    for part in re.finditer(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", listing.text, re.MULTILINE):
        yield part[1], part[2], listing.line + listing.text.count("\n", 0, part.start())


class Page:
    """Runs the listings of one document in `folder`."""

    def __init__(self, document: str, folder: Path) -> None:
        self.document = document
        self.folder = folder
        (folder / "bin").mkdir()
        entry = folder / "bin" / "tileflow"
        python = shlex.quote(sys.executable)
        entry.write_text(f'#!/bin/sh\nexec {python} -m tileflow_tvm.cli "$@"\n')
        entry.chmod(0o755)
        path = f"{entry.parent}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}"
        self.environment = {**os.environ, "PATH": path + os.environ["PATH"], "COLUMNS": "100"}

    def run(self, found: list[Listing]) -> None:
        for index, listing in enumerate(found):
            if listing.language == "console":
                for command, wanted, line in commands(listing):
                    self.compare(line, self.output(command, line), wanted)
            elif listing.language == "python":
                name = listing.name or f"listing_{listing.line}.py"
                self.save(name, listing)
                printed = self.output(f"{shlex.quote(sys.executable)} {name}", listing.line)
                following = found[index + 1] if index + 1 < len(found) else None
                if following is not None and following.language == "text":
                    self.compare(following.line, printed, following.text)
            elif listing.name is not None:
                self.save(listing.name, listing)

    def save(self, name: str, listing: Listing) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(listing.text, encoding="utf-8")

    def output(self, command: str, line: int) -> str:
        """What a command prints; the errors of one that is shown to fail are part of it."""
        result = subprocess.run(
            command, shell=True, cwd=self.folder, env=self.environment, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert result.returncode == 0 or "error: " in result.stdout, (
            f"{self.document}:{line}: `{command}` ends with {result.returncode}:\n{result.stdout}"
        )
        assert "Traceback" not in result.stdout, f"{self.document}:{line}:\n{result.stdout}"
        return result.stdout

    def compare(self, line: int, got: str, wanted: str) -> None:
        if doctest.OutputChecker().check_output(wanted, got, _SAME):
            return
        shown = difflib.unified_diff(
            wanted.splitlines(), got.splitlines(), "the page", "what is printed", lineterm=""
        )
        pytest.fail(f"{self.document}:{line}: prints something else:\n" + "\n".join(shown))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_listings_run_as_shown(document, tmp_path):
    Page(document, tmp_path).run(listings((ROOT / document).read_text(encoding="utf-8")))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    path = ROOT / document
    text = _FENCE.sub("", path.read_text(encoding="utf-8"))
    dead = [
        link
        for link in _LINK.findall(text)
        if not link.startswith(("http:", "https:", "#"))
        and not (path.parent / link.split("#")[0]).exists()
    ]
    assert dead == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_make_targets_exist(document):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z]+)\b`", (ROOT / document).read_text(encoding="utf-8")))
    assert named <= targets


def test_commands_are_all_in_the_readme():
    from tileflow_tvm.cli.app import build_parser

    usage = build_parser().format_help()
    known = set(re.findall(r"^    (\w+) {2,}", usage, re.MULTILINE))
    shown = set(re.findall(r"tileflow (\w+)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert known
    assert known <= shown


class TestArchitecture:
    """The map in doc/architecture.md is of this country."""

    def named(self) -> set[str]:
        text = _FENCE.sub("", (ROOT / "doc" / "architecture.md").read_text(encoding="utf-8"))
        return set(re.findall(r"`([\w./*-]+(?:/|\.(?:py|cpp|h|md|toml)))`", text))

    def test_every_path_exists(self):
        folders = ("", "*/", "*/*/")
        missing = [
            path
            for path in self.named()
            if not any(next(ROOT.glob(folder + path), None) for folder in folders)
        ]
        assert missing == []

    def test_every_folder_of_sources_is_named(self):
        named = {path for path in self.named() if path.endswith("/")}
        sources = [*ROOT.glob("*/*.py"), *ROOT.glob("tileflow_tvm/*/*.py"), *ROOT.glob("*/*/*.cpp")]
        folders = {f"{path.parent.relative_to(ROOT)}/" for path in sources}
        folders = {folder for folder in folders if not folder.startswith((".", "build"))}
        assert folders - named <= {"tileflow_tvm/", "simulator_cpp/"}, "named file by file"

    def test_every_module_of_the_package_is_named(self):
        modules = {f"tileflow_tvm/{path.name}" for path in (ROOT / "tileflow_tvm").glob("*.py")}
        assert modules <= self.named()


class TestTheChecker:
    """A document that lies must fail."""

    @pytest.mark.parametrize(
        "text",
        [
            "```python\nprint(1)\n```\n\n```text\n2\n```\n",
            "```python\nraise SystemExit(3)\n```\n",
            "```python\nraise ValueError('error: no')\n```\n",
            "```console\n$ echo a\nb\n```\n",
            "```console\n$ echo a\n$ false\n```\n",
            "```console\n$ tileflow machines none\nfine\n```\n",
        ],
    )
    def test_fails(self, text, tmp_path):
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            Page("x.md", tmp_path).run(listings(text))

    def test_runs_in_order_and_keeps_files(self, tmp_path):
        text = (
            "```python\n# a/b.py\nprint('one', 2.5)\n```\nprints\n```text\none ...\n```\n"
            "```toml\n# m.toml\nx = 1\n```\n"
            "```console\n$ cat m.toml \\\n  a/b.py\n# m.toml\n...\nprint('one', 2.5)\n"
            "$ tileflow machines none\nerror: ...\n```\n"
        )
        found = listings(text)
        assert [listing.line for listing in found] == [2, 7, 10, 14]
        assert found[0].name == "a/b.py"
        Page("x.md", tmp_path).run(found)
