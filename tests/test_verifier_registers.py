"""Registers, loops and launch scalars."""

from __future__ import annotations

import pytest
from simulator_programs import core
from verifier_checks import ARGS, COPY, REGISTERS, check, refusal

from tileflow_tvm import _sim


def test_registers_that_were_never_set():
    check(
        "ext e0 limit=8 max=8\nexec.fill a7 m=e0 n=e0 value=0.0",
        "a7 is used but was never set",
        "exec.fill",
    )
    check("agen a7, 0\nexec.fill a7 m=e5 n=e5 value=0.0", "e5 is used but was", "exec.fill")
    check("agen a1, 0\nstride a1, s3, 4", "s3 is used but was never set", "stride")
    check("scalar.add s1, s2 imm=4", "s2 is used but was never set", "scalar.add")
    check("stride a1, l0, 4", "a1 is used but was never set", "stride")


def test_a_generator_that_walks_a_loop_which_is_not_open():
    text = "agen a1, 0\nstride a1, l1, 4\next e2 limit=1 max=1\nloop 2 {\n"
    check(text + "exec.fill a1 m=e2 n=e2 value=0.0\n}",
          "a1 walks loop level 1, but only 1 loops are open", "exec.fill")  # fmt: skip
    assert core(text + "loop 2 {\nexec.fill a1 m=e2 n=e2 value=0.0\n}\n}").verify([]) > 0


def test_values_that_leave_64_bits():
    big = "scalar.mul s0, s0 imm=1099511627776\n"
    text = f".scalar n\n{big}agen a1, 0\nstride a1, s0, 4\next e2 limit=1 max=1\n"
    text += "exec.fill a1 m=e2 n=e2 value=0.0"
    assert core(text).verify([0]) > 0
    assert "a1 leaves 64 bits" in refusal(text, (1 << 22,)).message
    assert "the result leaves 64 bits" in refusal(text, (1 << 39,)).message
    assert "divides by zero" in refusal(".scalar n\nscalar.mod s0, s0, s0", (0,)).message


def test_scalars_are_part_of_what_is_proven():
    text = ARGS + ".scalar n\n" + REGISTERS + COPY + "agen a5, 0\nstride a5, s0, 4\n"
    program = core(text + "ext e3 limit=1 max=1\nexec.fill a5 m=e3 n=e3 value=0.0")
    assert program.verify([2047]) > 0
    with pytest.raises(_sim.Fault, match=r"SRAM bytes 8192\.\.8195"):
        program.verify([2048])
    assert program.verify([2047]) == 0
    with pytest.raises(_sim.Fault, match="1 launch scalars, not 0") as caught:
        program.verify([])
    assert caught.value.kind == "call"


def test_a_loop_by_a_negative_value_has_no_trips():
    text = ".scalar n\nagen a5, 0\nstride a5, s0, 1\nloop a5 {\nload.nop wait=sem0\n}"
    program = core(text)
    assert program.verify([0]) > 0
    assert program.verify([-5]) > 0
    with pytest.raises(_sim.Fault, match="waits on sem0"):
        program.verify([1])
