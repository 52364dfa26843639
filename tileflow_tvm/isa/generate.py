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
from tileflow_tvm.isa.table import TILEFLOW


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tileflow_tvm.isa.generate", description=__doc__)
    parser.add_argument("--header", type=Path, help="the C++ header")
    args = parser.parse_args(argv)
    if args.header:
        args.header.write_text(cpp_header(TILEFLOW), encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
