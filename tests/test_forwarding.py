"""The sequential engine copies no block that can be read where it comes from: programs in which the
tensor or the block changes in between, against an interpreter that copies everything."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from isa_interpreter import interpret
from simulator_programs import core, program

HEAD = """
.arg X f32[40, 40] in
.arg Y f32[40, 40] inout
.tensor X f32[40, 40] at arg X
.tensor Y f32[40, 40] at arg Y
.tensor Z f32[20, 80] at arg Y
.access box row(16, d0), col(16, d1)
.access across col(16, d0), row(16, d1)
.access twice row(16, d0, 2), col(16, d1)
.access line col(16, d1)
agen a0, 0 pitch=2
agen a1, 1024 pitch=2
agen a2, 2048 pitch=2
agen a3, 512 pitch=2
agen a4, 2048 pitch=1
agen a5, 4096
ext e0 limit=16 max=16
ext e1 limit=11 max=16
ext e2 limit=8 max=16
ext e3 limit=10 max=16
ext e4 limit=1 max=1
"""
"""Blocks 0, 1 and 2 of 16 x 16 elements; 3 overlaps 0 and 1, 4 is half of 2 in another layout, 5
is a vector."""

ENGINES = ("load", "exec", "store")
PAIRS = [(a, b) for a in ENGINES for b in ENGINES if a != b]


def in_order(lines: list[str]) -> str:
    """Instructions that each wait for the one before, and may set registers before them."""

    def engine(line: str) -> str:
        return line.split()[0].split(".")[0]

    moves = [i for i, line in enumerate(lines) if engine(line) in ENGINES]
    whole = list(lines)
    for i, j in pairwise(moves):
        pair = engine(lines[i]), engine(lines[j])
        if pair[0] != pair[1]:
            whole[i] += f" post=sem{PAIRS.index(pair)}"
            whole[j] += f" wait=sem{PAIRS.index(pair)}"
    return HEAD + "\n".join(whole)


def agrees(lines: list[str], seed: int = 0) -> None:
    text = in_order(lines)
    rng = np.random.default_rng(seed)
    x, y = (rng.integers(-99, 99, (40, 40)).astype(np.float32) for _ in range(2))
    (want,) = interpret(program(text), x, y)
    got = y.copy()
    core(text).run([x, got], [], "sequential")
    np.testing.assert_array_equal(got, want)


def at(i: int, j: int) -> list[str]:
    return [f"agen a10, {i}", f"agen a11, {j}"]


DOUBLE = "exec.unary.identity {}, {} m=e0 n=e0 scale=2"


@pytest.mark.parametrize(
    "lines",
    [
        [*at(3, 5), "load a0, Y[a10, a11], box", "load a1, X[a10, a11], box",
         "store a1, Y[a10, a11], box", *at(20, 20), "store a0, Y[a10, a11], box"],
        [*at(3, 5), "load a0, Y[a10, a11], box", "load a1, X[a10, a11], box",
         "store a1, Z[a10, a11], box", *at(20, 20), "store a0, Y[a10, a11], box"],
        [*at(30, 32), "load a0, X[a10, a11], box fill=7", "exec.unary.abs a0, a0 m=e3 n=e2",
         *at(0, 0), "store a0, Y[a10, a11], box"],
        [*at(0, 0), "load a0, X[a10, a11], box", DOUBLE.format("a0", "a0"),
         "store a0, Y[a10, a11], box", "load a1, X[a10, a11], box",
         "store a1, Y[a10, a11], box", *at(20, 0), "store a0, Y[a10, a11], box"],
        [*at(0, 0), "load a0, Y[a10, a11], box", *at(1, 0), DOUBLE.format("a1", "a0"),
         "store a1, Y[a10, a11], box"],
        [*at(0, 0), "load a0, X[a10, a11], box", "load a1, X[a10, a11], across",
         "load a2, Y[a10, a11], across", "exec.unary.identity a3, a2 m=e1 n=e0",
         "store a0, Y[a10, a11], box", *at(20, 0), "store a1, Y[a10, a11], box"],
        [*at(0, 0), "load a2, X[a10, a11], box", "exec.unary.neg a4, a4 m=e0 n=e2",
         "store a2, Y[a10, a11], box"],
        [*at(2, 3), "load a5, Y[a10, a11], line", "load a0, X[a10, a11], box",
         "exec.binary.add a0, a0, a5 m=e0 n=e0 rmode=row", "store a0, Y[a10, a11], box",
         *at(30, 3), "store a5, Y[a10, a11], line"],
        [*at(0, 0), "load a0, X[a10, a11], box", DOUBLE.format("a1", "a0"),
         "store a1, Y[a10, a11], across"],
        [*at(0, 0), "load a0, X[a10, a11], box", DOUBLE.format("a1", "a0"),
         "store a1, Y[a10, a11], twice", *at(1, 0), "store a1, Y[a10, a11], twice"],
        [*at(0, 0), "load a0, X[a10, a11], box", "load a1, X[a10, a11], across",
         "exec.unary.neg a1, a0 m=e1 n=e1", "store a1, Y[a10, a11], box"],
    ],
    ids=["tensor written before use", "written through a view", "rest of a clipped block",
         "result overwritten in DRAM", "result over its operand", "overlapping block",
         "other layout", "vector", "transposed store", "strided store", "part of a stored block"],
)  # fmt: skip
def test_what_changes_in_between(lines):
    agrees(lines)


def random_lines(rng: np.random.Generator) -> list[str]:
    def pick(options):
        return options[rng.integers(len(options))]

    def block() -> str:
        return pick(["a0", "a1", "a2", "a0", "a1", "a3"])

    def corner() -> list[str]:
        return at(int(pick([0, 0, 4, 16, 30, -3])), int(pick([0, 0, 16, 16, 8, 30, -5])))

    lines = [*at(0, 0), *(f"load a{i}, X[a10, a11], box" for i in range(3)),
             "load a5, X[a10, a11], line"]  # fmt: skip
    for _ in range(16):
        m, n = pick([("e0", "e0")] * 4 + [("e1", "e0"), ("e0", "e2"), ("e3", "e1")])
        tensor = pick(["X", "Y", "Y", "Z"])
        lines += pick([
            [*corner(), f"load {block()}, {tensor}[a10, a11], "
                        f"{pick(['box', 'box', 'across'])} fill=3"],
            [*corner(), f"load a5, {tensor}[a10, a11], line"],
            [*corner(), f"store {block()}, {pick(['Y', 'Z'])}[a10, a11], "
                        f"{pick(['box', 'box', 'across', 'twice'])}"],
            [f"exec.unary.{pick(['neg', 'relu'])} {block()}, {block()} m={m} n={n}"],
            [f"exec.binary.max {block()}, {block()}, {block()} m={m} n={n}"],
            [f"exec.binary.add {block()}, {block()}, a5 m={m} n={n} rmode=row"],
            [f"exec.reduce.max a5, {block()} m={m} n=e0 axis=rows clear=always"],
            [f"exec.fill {block()} m={m} n={n} value=5"],
            [f"exec.unary.neg a4, a4 m={m} n=e2"],
        ])  # fmt: skip
        result = lines[-1].startswith(("exec.unary", "exec.binary")) and " a4," not in lines[-1]
        if result and rng.integers(2):
            lines += [*corner(), f"store {lines[-1].split()[1]} Y[a10, a11], box"]
    return lines


def disjoint(lines: list[str]) -> bool:
    """An operand and a result that overlap are the same block: anything else has no meaning."""
    apart = {"a0": "a3", "a1": "a3", "a3": "a0 a1", "a2": "a4", "a4": "a2"}
    for line in lines:
        if line.startswith("exec") and "fill" not in line:
            dst, *operands = [word.rstrip(",") for word in line.split()[1:] if word[0] == "a"]
            if any(operand in apart.get(dst, "").split() for operand in operands):
                return False
    return True


@pytest.mark.parametrize("seed", range(150))
def test_random_programs(seed):
    rng = np.random.default_rng(seed)
    lines = random_lines(rng)
    while not disjoint(lines):
        lines = random_lines(rng)
    agrees(lines, seed)


def test_blocks_are_not_copied_needlessly(rng):
    """A block that is only read in the middle of a matrix keeps its place: the outcome is that of
    arrays which are not aligned to a vector, and the counts are those of the copies."""
    text = in_order([*at(8, 8), "load a0, X[a10, a11], box", DOUBLE.format("a0", "a0"),
                     "store a0, Y[a10, a11], box"])  # fmt: skip
    x, y = (rng.standard_normal((40, 40), dtype=np.float32) for _ in range(2))
    stats = core(text).run([x, y], [], "sequential")
    np.testing.assert_array_equal(y[8:24, 8:24], 2 * x[8:24, 8:24])
    assert stats["dram_bytes"] == {"X": {"load": 1024, "store": 0}, "Y": {"load": 0, "store": 1024}}
