"""The sentence that names the bottleneck: for a program of each kind, and what it says would help
does."""

from __future__ import annotations

import pytest
from simulator_programs import gemm_machine, gemm_text, program
from timed import X, Y, timed, timed_program

EXTENT = "ext e0 limit=8 max=8\n"
GEMMS = f"""{EXTENT}agen a0, 0 pitch=1
agen a1, 256 pitch=1
agen a2, 512 pitch=1
exec.fill a0 m=e0 n=e0 value=1
exec.fill a1 m=e0 n=e0 value=1
loop 40 {{
exec.gemm a2, a0, a1 m=e0 n=e0 k=e0 clear=always
}}"""
UNARIES = f"""{EXTENT}agen a0, 0 pitch=1
exec.fill a0 m=e0 n=e0 value=1
loop 40 {{
exec.unary.exp a0, a0 m=e0 n=e0
}}"""
LOADS = f"{X}agen a0, 0 pitch=1\nloop 40 {{\nload a0, X, tile\n}}"
COLUMNS = """
.arg X f32[64, 64] in
.tensor X f32[64, 64] at arg X
.access column row(8, d0), col(1, d1)
.access run col(8, d1)
agen a0, 0
loop 40 {
load a0, X, column
}"""
RINGS = f"""{X}sem sem0, 4
agen a0, 0 wrap=1024 pitch=1
stride a0, l0, 256
{EXTENT}loop 40 {{
load a0, X, tile wait=sem0 post=sem1
exec.unary.relu a0, a0 m=e0 n=e0 wait=sem1
exec.unary.relu a0, a0 m=e0 n=e0
exec.unary.relu a0, a0 m=e0 n=e0 post=sem0
}}"""
CHAIN = f"""{X}{Y}.scratch 256
.tensor S f32[8, 8] at scratch
agen a0, 0 pitch=1
load a0, X, tile post=sem0
store a0, S, tile wait=sem0 post=sem1
loop 20 {{
load a0, S, tile wait=sem1 post=sem0
store a0, S, tile wait=sem0 post=sem1
}}
load a0, S, tile wait=sem1 post=sem0
store a0, Y, tile wait=sem0"""
PING_PONG = """loop 40 {
load.nop post=sem0
exec.nop wait=sem0 post=sem1
load.nop wait=sem1
}"""


@pytest.mark.parametrize(
    ("text", "keys", "words", "relief"),
    [
        (GEMMS, {"macs_per_cycle": 1}, ("EXEC works", "in the MAC array", "more macs_per_cycle"),
         {"macs_per_cycle": 2}),
        (GEMMS, {}, ("EXEC works", "filling and draining", "mac_fill_cycles and mac_drain_cycles"),
         {"mac_fill_cycles": 16}),
        (UNARIES, {"vector_lanes": 1}, ("EXEC works", "in the vector lanes", "more vector_lanes"),
         {"vector_lanes": 2}),
        (UNARIES, {}, ("EXEC works", "starting vector instructions", "vector_startup_cycles"),
         {"vector_startup_cycles": 4}),
        (LOADS, {"dram_bytes_per_cycle": 4},
         ("DRAM's bandwidth limits", "40.0 times the bytes it has to", "dram_bytes_per_cycle"),
         {"dram_bytes_per_cycle": 8}),
        (COLUMNS, {"dram_bytes_per_cycle": 2},
         ("DRAM's bandwidth", "16.0 times the bytes that are asked for, in bursts of 64",
          "longer runs", "more dram_bytes_per_cycle"), {"dram_bytes_per_cycle": 4}),
        (LOADS, {"dma_outstanding": 40, "dma_setup_cycles": 20},
         ("set-up of transfers takes", "fewer dma_setup_cycles"), {"dma_setup_cycles": 10}),
        (LOADS, {"dma_outstanding": 1},
         ("among the transfers under way", "more dma_outstanding than 1"), {"dma_outstanding": 2}),
        (CHAIN, {}, ("DRAM's latency takes", "in a chain", "fewer dram_latency_cycles"),
         {"dram_latency_cycles": 50}),
        (RINGS, {"queue_depth": 1}, ("in a full queue", "a queue_depth above 1"),
         {"queue_depth": 8}),
        (PING_PONG, {"semaphore_cycles": 60}, ("The semaphores take", "fewer semaphore_cycles"),
         {"semaphore_cycles": 30}),
        ("loop 99 {\nexec.nop\n}", {}, ("The sequencer issues", "fewer issue_cycles"),
         {"issue_cycles": 0}),
    ],
)  # fmt: skip
def test_bottleneck(text, keys, words, relief):
    timing = timed(text, **keys)
    for word in words:
        assert word in timing.bottleneck
    assert timing.bottleneck.count(". ") == 0, "one sentence"
    assert timed(text, **{**keys, **relief}).cycles < timing.cycles


def test_longer_runs_relieve_wasteful_bursts():
    columns = timed(COLUMNS, dram_bytes_per_cycle=2)
    runs = timed(COLUMNS.replace("X, column", "X, run"), dram_bytes_per_cycle=2)
    assert columns.dram_bytes == runs.dram_bytes
    assert runs.cycles < columns.cycles / 2


def test_deeper_rings_relieve_waits_for_slots():
    shallow, deep = (
        timed_program(program(gemm_text(64, 64, 256, 32, depth), gemm_machine(32, depth)))
        for depth in (1, 4)
    )
    assert "for a slot of a ring to be free: deeper rings" in shallow.bottleneck
    assert "EXEC works" in shallow.bottleneck
    assert deep.cycles < shallow.cycles


def test_nothing_to_do():
    assert timed("sem sem0, 1").bottleneck == "The program takes no time."
