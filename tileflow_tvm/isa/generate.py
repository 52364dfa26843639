"""Writes what is derived from the instruction table and the machine's keys.

Runs from a checkout without an installation: `python tileflow_tvm/isa/generate.py --header PATH`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run as a file: the repository's root is what has to be importable
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tileflow_tvm.isa.cpp_header import cpp_header
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.isa.reference import isa_page, machine_page
from tileflow_tvm.isa.table import TILEFLOW


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tileflow_tvm.isa.generate", description=__doc__)
    parser.add_argument("--header", type=Path, help="the C++ header")
    parser.add_argument("--doc", type=Path, help="doc/isa.md")
    parser.add_argument("--machine-doc", type=Path, help="doc/machine.md")
    parser.add_argument("--machine", type=Path, help="machines/tileflow.toml")
    args = parser.parse_args(argv)
    if args.header:
        _write(args.header, cpp_header(TILEFLOW))
    if args.doc:
        _write(args.doc, isa_page(TILEFLOW))
    if args.machine_doc:
        _write(args.machine_doc, machine_page())
    if args.machine:
        _write(args.machine, Machine().to_toml())
    return 0


def _write(path: Path, text: str) -> None:
    """Leaves a file that is right already alone, so that nothing is rebuilt for it."""
    if not path.is_file() or path.read_bytes() != text.encode():
        path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    sys.exit(main())
