"""Programs that follow from the instruction table: for each instruction of EXEC one with every
function, flag and mode of it, for all the element types that it takes.

Nothing here names an instruction, so that a new one has its program as soon as it has its row.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from isa_interpreter import NUMPY, interpret

from tileflow_tvm import _sim
from tileflow_tvm.assembler import assemble
from tileflow_tvm.errors import TileflowError
from tileflow_tvm.isa.container import to_bytes
from tileflow_tvm.isa.program import Instruction, Program, insn
from tileflow_tvm.isa.table import DTYPES, NO_REGISTER, TILEFLOW, Engine, Field, Insn, Kind

SIDE = 37
"""Of all operands, so that any shape that an instruction wants of them fits: a tile and a bit."""
GRID = 4 * 32 * 32 * 4
"""Bytes of the tiles of an operand, of the widest elements."""

ROWS = {
    row.mnemonic: row
    for row in TILEFLOW.insns
    if row.engine is Engine.EXEC and any(field.kind is Kind.AGEN for field in row.fields)
}


@dataclass(frozen=True)
class Variant:
    """An instruction with all its operands chosen; dst has one element type, the rest another."""

    words: Instruction
    choices: frozenset[tuple[str, int]]
    src: str
    dst: str


def choices_of(row: Insn) -> Iterator[tuple[str, int]]:
    """Every choice and flag but what depends on a loop, and the semaphores."""
    for field in row.fields:
        for value in _values(field):
            yield field.name, value


def _values(field: Field) -> range:
    if field.kind is Kind.ENUM and field.name != "clear":
        return range(len(field.choices))
    return range(2) if field.kind in (Kind.FLAG, Kind.ENUM) else range(0)


def variants(row: Insn) -> list[Variant]:
    """Of each choice of each field, the others being the first of theirs, what is legal."""
    base = {field.name: 0 for field in row.fields if _values(field)}
    chosen = [base, *({**base, name: value} for name, value in choices_of(row) if value)]
    found = (
        _legal(row, choice, src, dst)
        for src, dst in itertools.product(DTYPES, repeat=2)
        for choice in chosen
    )
    return [variant for variant in found if variant is not None]


def _legal(row: Insn, choice: dict[str, int], src: str, dst: str) -> Variant | None:
    """With as many registers as it may have; None where the verifier refuses it all the same."""
    optional = [f.name for f in row.fields if f.kind is Kind.AGEN and f.default == NO_REGISTER]
    for count in range(len(optional) + 1):
        for none in itertools.combinations(optional, count):
            variant = Variant(_instruction(row, choice, none), frozenset(choice.items()), src, dst)
            try:
                _sim.Program(to_bytes(assembled(row, [variant]))).verify()
            except (_sim.Fault, TileflowError):
                continue
            return variant
    return None


def _instruction(row: Insn, choice: dict[str, int], none: tuple[str, ...]) -> Instruction:
    operands: dict[str, int | float | str] = {"wait0": 0, "post0": 1}
    for number, name in enumerate(_agens(row)):
        if name not in none:
            operands[name] = number
    for field in row.fields:
        if field.kind is Kind.EXTENT:
            operands[field.name] = 0
        elif field.name in choice:
            value = choice[field.name]
            operands[field.name] = field.choices[value] if field.choices else bool(value)
        elif field.default is None and field.kind is not Kind.AGEN:
            operands[field.name] = 1.0 if field.kind is Kind.F32 else 1
    return insn(row.mnemonic, **operands)


def _agens(row: Insn) -> list[str]:
    return [field.name for field in row.fields if field.kind is Kind.AGEN]


def _types(variants: list[Variant]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((variant.src, variant.dst) for variant in variants))


def assembled(row: Insn, variants: list[Variant]) -> Program:
    """All of them, one after the other: operands and dst are loaded, dst is stored."""
    sources = range(1, len(_agens(row)))
    head, body = [], []
    for at, (src, dst) in enumerate(_types(variants)):
        rows = SIDE * sum((v.src, v.dst) == (src, dst) for v in variants)
        tensors = [(f"X{at}_{i}", f"{src}[{SIDE}, {SIDE}]", "in") for i in sources]
        for name, shape, role in [*tensors, (f"D{at}", f"{dst}[{rows}, {SIDE}]", "inout")]:
            head += [f".arg {name} {shape} {role}", f".tensor {name} {shape} at arg {name}"]
    heads = "\n".join(sorted(head))
    place = dict.fromkeys(_types(variants), 0)
    for variant in variants:
        types = variant.src, variant.dst
        at = list(place).index(types)
        for i in range(len(_agens(row))):
            dtype = variant.src if i else variant.dst
            body.append(f"agen a{i}, {i * GRID} pitch=2 dtype={dtype}")
        body.append(f"agen a61, {place[types]}")
        place[types] += SIDE
        body += [
            f"load a0, D{at}[a61, a62], box wait=sem2 post=sem0" if not sources else
            f"load a0, D{at}[a61, a62], box wait=sem2",
            *(f"load a{i}, X{at}_{i}[a62, a62], box" for i in sources[:-1]),
            *(f"load a{i}, X{at}_{i}[a62, a62], box post=sem0" for i in sources[-1:]),
            "exec.nop",
            f"store a0, D{at}[a61, a62], box wait=sem1 post=sem2",
        ]  # fmt: skip
    program = assemble(
        f".isa tileflow\n.program test\n.machine tileflow\n{heads}\n"
        f".access box row({SIDE}, d0), col({SIDE}, d1)\nsem sem2, 1\nagen a62, 0\n"
        f"ext e0 limit={SIDE} max={SIDE}\n" + "\n".join(body) + "\nhalt\n"
    )
    words = iter(variant.words for variant in variants)
    return replace(program, insns=tuple(
        next(words) if line.mnemonic == "exec.nop" else line for line in program.insns
    ))  # fmt: skip


def inputs(rng: np.random.Generator, program: Program) -> list[np.ndarray]:
    """Of all arguments, where every function has a value that is no NaN."""

    def draw(dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        if dtype.kind in "iub":
            return rng.integers(1, 4, shape).astype(dtype)
        return rng.uniform(0.5, 2, shape).astype(dtype)

    return [draw(NUMPY[arg.dtype], arg.shape) for arg in program.args]


def expected(program: Program, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """What the oracle makes of the arguments that are written."""
    return interpret(program, *arrays)
