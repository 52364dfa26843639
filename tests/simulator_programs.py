"""Programs for the tests of the simulator, written as assembly text."""

from __future__ import annotations

import numpy as np

from tileflow_tvm import _sim
from tileflow_tvm.assembler import assemble
from tileflow_tvm.isa.container import to_bytes
from tileflow_tvm.isa.program import Program

HEAD = ".isa tileflow\n.program test\n"
SMALL = ".machine tileflow { tile=8 sram_bytes=8192 }\n"
"""A machine whose tile has 256 bytes."""


def program(text: str, machine: str = SMALL) -> Program:
    """`text` with the directives that every program has and a halt at its end."""
    return assemble(f"{HEAD}{machine}{text}\nhalt\n")


def core(text: str, machine: str = SMALL) -> _sim.Program:
    return _sim.Program(to_bytes(program(text, machine)))


def pc_of(text: str, instruction: str) -> int:
    """The pc of the only line of `text` that begins with these words."""
    lines = [line.strip() for line in text.splitlines()]
    insns = [line for line in lines if line and not line.startswith(".")]
    (found,) = [pc for pc, line in enumerate(insns) if f"{line} ".startswith(f"{instruction} ")]
    return found


def gemm_text(m: int, n: int, k: int, block: int = 64, depth: int = 2) -> str:
    """C = A @ B in blocks of `block` cubed, with rings of `depth` slots and tails in all dims.

    For a machine with tiles of 32; block is a multiple of 32.
    """
    size = block * block * 4
    rows, cols, deep = (-(-extent // block) for extent in (m, n, k))
    ring, slots, tiles = depth * size, 2, block // 32
    return f"""
.arg A f32[{m}, {k}] in
.arg B f32[{k}, {n}] in
.arg C f32[{m}, {n}] out
.tensor A f32[{m}, {k}] at arg A
.tensor B f32[{k}, {n}] at arg B
.tensor C f32[{m}, {n}] at arg C
.access box row({block}, d0), col({block}, d1)
sem sem0, {depth}
sem sem2, {slots}
agen a0, 0
stride a0, l0, {block}
agen a1, 0
stride a1, l1, {block}
agen a2, 0
stride a2, l2, {block}
agen a3, 0 wrap={ring} pitch={tiles}
stride a3, l2, {size}
stride a3, l1, {size * deep}
stride a3, l0, {size * deep * cols}
agen a4, {ring} wrap={ring} pitch={tiles}
stride a4, l2, {size}
stride a4, l1, {size * deep}
stride a4, l0, {size * deep * cols}
agen a5, {2 * ring} wrap={slots * size} pitch={tiles}
stride a5, l1, {size}
stride a5, l0, {size * cols}
ext e0, a0 limit={m} max={block}
ext e1, a1 limit={n} max={block}
ext e2, a2 limit={k} max={block}
loop {rows} {{
  loop {cols} {{
    exec.nop wait=sem2
    loop {deep} {{
      load a3, A[a0, a2], box wait=sem0
      load a4, B[a2, a1], box post=sem1
      exec.gemm a5, a3, a4 m=e0 n=e1 k=e2 clear=at0 level=l2 wait=sem1 post=sem0
    }}
    exec.nop post=sem3
    store a5, C[a0, a1], box wait=sem3 post=sem2
  }}
}}
"""


def gemm_machine(block: int = 64, depth: int = 2) -> str:
    return f".machine tileflow {{ sram_bytes={(2 * depth + 2) * block * block * 4} }}\n"


def gemm_core(m: int, n: int, k: int, block: int = 64, depth: int = 2) -> _sim.Program:
    return core(gemm_text(m, n, k, block, depth), gemm_machine(block, depth))


def gemm_arrays(rng: np.random.Generator, m: int, n: int, k: int) -> list[np.ndarray]:
    """Two random operands and room for their product."""
    a = rng.standard_normal((m, k), np.float32)
    b = rng.standard_normal((k, n), np.float32)
    return [a, b, np.full((m, n), np.nan, np.float32)]
