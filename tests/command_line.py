"""What the tests of the command line share: a way to run it, and a program that needs no TVM."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tileflow_tvm.errors import Loc
from tileflow_tvm.isa.container import to_bytes
from tileflow_tvm.isa.program import (
    AccessPattern,
    ArgSpec,
    BoxDim,
    Machine,
    Program,
    Role,
    Storage,
    StorageKind,
    TensorSpec,
    insn,
)

TILEFLOW = [sys.executable, "-m", "tileflow_tvm.cli"]


def tileflow(*args: str, cwd: Path, **options) -> subprocess.CompletedProcess:
    """Run a command in a process of its own."""
    options = {"capture_output": True, "text": True, "check": False, **options}
    return subprocess.run([*TILEFLOW, *args], cwd=cwd, **options)


def start(*args: str, cwd: Path, **options) -> subprocess.Popen:
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen([*TILEFLOW, *args], cwd=cwd, env=environment, **options)


LENGTH = 40


def affine_program(scale: float = 2.0, bias: float = -0.5, source: str = "affine.py") -> Program:
    """y = x * scale + bias on 40 elements, each instruction from a line of `source`."""
    vector = AccessPattern((BoxDim(LENGTH, 0, 1, column=True),))

    def line(number: int) -> Loc:
        return Loc(source, number, 5)

    return Program(
        "affine",
        Machine(),
        (
            insn("agen", dst=0, base=0),
            insn("ext", dst=0, limit=1, max=1),
            insn("ext", dst=1, limit=LENGTH, max=LENGTH),
            insn("load", dst=0, tensor=0, access=0, post0=0, loc=line(1)),
            insn("exec.unary", dst=0, src=0, m=0, n=1, func="identity", scale=scale, bias=bias,
                 wait0=0, post0=1, loc=line(2)),
            insn("store", src=0, tensor=1, access=0, wait0=1, loc=line(3)),
            insn("halt"),
        ),
        (ArgSpec("x", (LENGTH,), Role.IN), ArgSpec("y", (LENGTH,), Role.OUT)),
        tensors=(
            TensorSpec("x", (LENGTH,), (1,), Storage(StorageKind.ARG, 0)),
            TensorSpec("y", (LENGTH,), (1,), Storage(StorageKind.ARG, 1)),
        ),
        accesses=(vector,),
    )  # fmt: skip


def save_program(folder: Path, name: str = "affine.bin") -> Path:
    path = folder / name
    path.write_bytes(to_bytes(affine_program()))
    return path
