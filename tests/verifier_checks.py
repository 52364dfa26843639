"""What the tests of the verifier share: a small program that is right, and how a refusal looks."""

from __future__ import annotations

import re

import pytest
from simulator_programs import SMALL, core, pc_of, program

from tileflow_tvm import _sim

ARGS = """
.arg X f32[8, 8] in
.arg Y f32[8, 8] out
.tensor X f32[8, 8] at arg X
.tensor Y f32[8, 8] at arg Y
.access tile row(8, d0), col(8, d1)
"""
REGISTERS = """
agen a0, 0
agen a1, 0 pitch=1
agen a2, 256 pitch=1
agen a3, 512 pitch=1
ext e0 limit=8 max=8
ext e1 limit=5 max=8
ext e2 limit=1 max=8
"""
COPY = """
load a1, X[a0, a0], tile post=sem0
exec.unary.relu a2, a1 m=e0 n=e0 wait=sem0 post=sem1
store a2, Y[a0, a0], tile wait=sem1
"""

KERNEL = ARGS + REGISTERS


def kernel(body: str) -> str:
    return KERNEL + body


def refusal(text: str, scalars: tuple[int, ...] = (), machine: str = SMALL) -> _sim.Fault:
    """The fault that the verifier finds."""
    with pytest.raises(_sim.Fault) as caught:
        core(text, machine).verify(list(scalars))
    assert caught.value.kind == "verify"
    assert str(caught.value) == caught.value.message
    assert caught.value.hint
    return caught.value


def check(text: str, message: str, at: str, other: str = "", machine: str = SMALL) -> None:
    """The verifier refuses `text` at the instruction `at` (and `other`) with this message."""
    fault = refusal(text, machine=machine)
    assert re.search(message, fault.message), fault.message
    assert fault.pc == pc_of(text, at)
    mnemonic = program(text, machine).insns[fault.pc].mnemonic
    assert re.match(rf"pc {fault.pc} {mnemonic}\b", fault.message)
    assert fault.other_pc == (pc_of(text, other) if other else None)
    if other:
        assert f"pc {fault.other_pc} " in fault.message
