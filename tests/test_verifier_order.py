"""Semaphores and races: every rule with a program that breaks it, and what is said."""

from __future__ import annotations

import pytest
from simulator_programs import core
from verifier_checks import ARGS, COPY, KERNEL, check, kernel

from tileflow_tvm import _sim


def test_a_synchronised_program_passes_and_the_proof_is_remembered():
    program = core(kernel(COPY))
    assert program.verify([]) > 0
    assert program.verify([]) == 0


# Semaphores.


def test_nobody_posts():
    text = kernel(COPY).replace("load a1, X[a0, a0], tile post=sem0", "load.nop")
    check(text, "waits on sem0, which is 0 .* no instruction posts it", "exec.unary.relu")


def test_the_post_comes_too_late():
    text = KERNEL + "load.nop wait=sem4\nexec.nop post=sem4\n"
    check(text, "waits on sem4, which is 0 .* posts it too late", "load.nop", "exec.nop")


def test_one_post_too_few_in_a_loop():
    text = "loop 3 {\n exec.nop wait=sem2\n store.nop post=sem2\n}"
    check(f"sem sem2, 0\n{text}", "waits on sem2", "exec.nop", "store.nop")
    assert core(f"sem sem2, 1\n{text}").verify([]) > 0


def test_both_waits_on_one_semaphore_take_two():
    text = "load.nop post=sem1\nexec.nop wait=sem1,sem1"
    check(text, "waits on sem1", "exec.nop", "load.nop")
    assert core(text.replace("post=sem1", "post=sem1,sem1")).verify([]) > 0


def test_two_engines_post():
    with pytest.raises(
        _sim.Fault, match=r"pc 1 exec.nop: posts sem5, but so does pc 0 load.nop"
    ) as e:
        core("load.nop post=sem5\nexec.nop post=sem5")
    assert (e.value.kind, e.value.pc, e.value.other_pc) == ("binary", 1, 0)


def test_two_engines_wait():
    with pytest.raises(_sim.Fault, match=r"pc 2 store.nop: waits on sem5, but so does pc 0") as e:
        core("load.nop wait=sem5\nload.nop\nstore.nop wait=sem5")
    assert (e.value.kind, e.value.pc, e.value.other_pc) == ("binary", 2, 0)


def test_posts_that_nobody_waits_for_are_no_burden():
    assert core("loop 100000 {\n exec.nop post=sem5,sem5\n}").verify([]) > 0


# Races in SRAM. Each drops or moves one semaphore of a program that is right.


def test_read_after_write():
    text = kernel(COPY).replace(" wait=sem0", "")
    check(text, r"reads SRAM bytes 0\.\.255 \(src\), which pc \d+ load writes; no semaphore",
          "exec.unary.relu", "load")  # fmt: skip


def test_write_after_write():
    text = kernel("""
load a2, X[a0, a0], tile
exec.fill a2 m=e0 n=e0 value=1.0
""")
    check(
        text, r"writes SRAM bytes 256\.\.511 \(dst\), which pc \d+ load writes", "exec.fill", "load"
    )


def test_write_after_read():
    text = kernel(COPY) + "load.nop post=sem2\nexec.fill a2 m=e0 n=e0 value=1.0 wait=sem2"
    check(text, r"writes SRAM bytes 256\.\.511 \(dst\), which pc \d+ store reads", "exec.fill",
          "store")  # fmt: skip


def test_a_race_is_told_to_the_byte():
    text = kernel("""
agen a4, 252 pitch=1
load a4, X[a0, a0], tile
exec.fill a2 m=e0 n=e0 value=1.0
""")
    check(
        text, r"writes SRAM bytes 256\.\.507 \(dst\), which pc \d+ load writes", "exec.fill", "load"
    )


def test_a_post_before_the_last_access_orders_nothing_later():
    text = kernel("""
load a2, X[a0, a0], tile post=sem0
load a1, X[a0, a0], tile
exec.unary.relu a2, a1 m=e0 n=e0 wait=sem0 post=sem1
store a2, Y[a0, a0], tile wait=sem1
""")
    check(text, r"reads SRAM bytes 0\.\.255 \(src\), which pc \d+ load writes", "exec.unary.relu",
          "load a1, X[a0, a0], tile")  # fmt: skip


def test_order_is_passed_on_through_a_third_engine():
    text = kernel("""
load a1, X[a0, a0], tile post=sem0
exec.nop wait=sem0 post=sem1
store a1, Y[a0, a0], tile wait=sem1
""")
    assert core(text).verify([]) > 0


def test_a_ring_that_is_one_slot_short():
    def ring(slots: int) -> str:
        return f"""{ARGS}
sem sem0, 3
agen a0, 0
agen a1, 0 wrap={slots * 256} pitch=1
stride a1, l0, 256
ext e0 limit=8 max=8
loop 6 {{
    load a1, X[a0, a0], tile wait=sem0 post=sem1
    store a1, Y[a0, a0], tile wait=sem1 post=sem0
}}
"""

    assert core(ring(3)).verify([]) > 0
    check(
        ring(2),
        r"load writes SRAM bytes 0\.\.255 \(dst\), which pc \d+ store reads",
        "load",
        "store",
    )
