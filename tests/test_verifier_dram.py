"""Scratch memory, outputs and inout arguments."""

from __future__ import annotations

import pytest
from simulator_programs import core, program
from verifier_checks import ARGS, COPY, KERNEL, REGISTERS, check, refusal

SCRATCH = """
.scratch 1024
.arg X f32[8, 8] in
.arg Y f32[8, 8] out
.tensor X f32[8, 8] at arg X
.tensor Y f32[8, 8] at arg Y
.tensor S f32[8, 8] at scratch
.tensor T f32[8, 8] at scratch + 128
.access tile row(8, d0), col(8, d1)
agen a0, 0
agen a1, 0 pitch=1
agen a2, 256 pitch=1
agen a3, 512 pitch=1
load a1, X[a0, a0], tile post=sem0
store a1, S[a0, a0], tile wait=sem0 post=sem1
load a2, S[a0, a0], tile wait=sem1 post=sem2
store a2, Y[a0, a0], tile wait=sem2
"""


def test_through_scratch_memory():
    assert core(SCRATCH).verify([]) > 0


def test_a_race_in_scratch_memory():
    message = (
        r"reads scratch bytes 0\.\.255 \(tensor 'S'\), which pc 5 store writes \(tensor 'S'\); "
    )
    check(SCRATCH.replace(" wait=sem1", ""), message + "no semaphore", "load a2,", "store a1,")


def test_scratch_memory_holds_nothing_at_first():
    text = SCRATCH.replace("load a2, S[", "load a2, T[")
    check(
        text,
        r"scratch bytes 256\.\.383 \(tensor 'T'\), which nothing has written before",
        "load a2,",
    )


def test_a_race_between_tensors_that_overlap():
    text = SCRATCH + "store a2, T[a0, a0], tile\nload a3, S[a0, a0], tile\n"
    message = (
        r"reads scratch bytes 128\.\.255 \(tensor 'S'\), which pc \d+ store writes \(tensor 'T'\)"
    )
    check(text, message, "load a3,", "store a2, T[a0, a0], tile")


def test_write_after_read_in_scratch_memory():
    text = SCRATCH.replace(
        "store a2, Y[a0, a0], tile wait=sem2", "store a1, S[a0, a0], tile post=sem3"
    )
    check(text, r"writes scratch bytes 0\.\.255 \(tensor 'S'\), which pc \d+ load reads",
          "store a1, S[a0, a0], tile post=sem3", "load a2,")  # fmt: skip


def test_an_output_holds_nothing_at_first():
    text = KERNEL + "load a1, Y[a0, a0], tile"
    check(text, r"reads 'Y' bytes 0\.\.255 \(tensor 'Y'\), which nothing has written", "load")


INOUT = """
.arg X f32[8, 8] inout
.tensor X f32[8, 8] at arg X
.access tile row(8, d0), col(8, d1)
sem sem1, 1
agen a0, 0
agen a1, 0 pitch=1
ext e0 limit=8 max=8
loop 3 {
    load a1, X[a0, a0], tile wait=sem1 post=sem0
    store a1, X[a0, a0], tile wait=sem0 post=sem1
}
"""


def test_an_inout_argument_has_a_value_and_is_ordered():
    assert core(INOUT).verify([]) > 0
    text = INOUT.replace("agen a1, 0 pitch=1", "agen a1, 0 wrap=512 pitch=1\nstride a1, l0, 256")
    text = text.replace("sem sem1, 1", "sem sem1, 2")
    check(
        text,
        r"load reads 'X' bytes 0\.\.255 \(tensor 'X'\), which pc \d+ store writes",
        "load",
        "store",
    )


def output(shape: str, more: str = "") -> str:
    """A program that stores the first 8 x 8 elements of an output of this shape."""
    text = ARGS.replace("Y f32[8, 8]", f"Y f32[{shape}]") + REGISTERS + COPY
    return text.replace("tile wait=sem1", "tile wait=sem1 post=sem2") + more


@pytest.mark.parametrize("more", ["", "load a3, Y[a0, a0], tile wait=sem2"], ids=["", "loaded"])
def test_every_element_of_an_output_is_stored(more):
    for shape in ("8, 8", "7, 5"):
        assert core(output(shape, more)).verify([]) > 0
    for shape, missing in (("9, 11", "0, 8"), ("9, 8", "8, 0"), ("8, 9", "0, 8")):
        fault = refusal(output(shape, more))
        assert fault.message == (
            f"output 'Y': no instruction stores element [{missing}]; "
            "every element of an output has to be stored"
        )
        assert program(output(shape, more)).insns[fault.pc].mnemonic == "store"
    assert "'Y': no instruction stores element [0, 0]" in refusal(ARGS).message


def test_an_empty_output_needs_no_store():
    assert core(".arg Y f32[0, 4] out\n.tensor Y f32[0, 4] at arg Y\nexec.nop").verify([]) > 0
