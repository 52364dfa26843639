"""Which element types go together in an instruction, as far as program order tells.

An address generator has the element type of the last `agen` that set it; one that a loop sets is
unknown behind the loop. The C++ verifier checks every instruction as it is executed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from tileflow_tvm.isa.program import Instruction, Program, f32_bits, f32_value
from tileflow_tvm.isa.table import (
    ARITHMETIC,
    BINARY_FUNCS,
    BINARY_OF,
    CASTS,
    DTYPES,
    GEMM_DTYPES,
    INDEXED_DTYPES,
    ITEM_BYTES,
    NO_REGISTER,
    SEMIRINGS,
    UNARY_FUNCS,
    UNARY_OF,
    Kind,
)

_HINT = "agen ... dtype= is an operand's element type"
_IN_SRAM = ("dst", "src", "lhs", "rhs", "cond", "a", "b")
Wrong = tuple[str, str, str]
"""The operand, what is wrong with it, and a hint."""


def holds(value: float, dtype: str) -> bool:
    """Whether an element type has `value` exactly; every NaN is one to those that have NaN."""
    match dtype:
        case "f32":
            return True
        case "bf16":
            return math.isnan(value) or not f32_bits(value) & 0xFFFF
        case _:
            most = 1 << (7 if dtype == "i8" else 31)
            return math.isfinite(value) and value == int(value) and -most <= value < most


class ElementTypes:
    """Follows the element types of address generators through a program."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._of: dict[int, str] = {}
        self._set_in: list[set[int]] = []
        """For each loop that is open, the generators it sets."""

    def step(self, insn: Instruction) -> Iterator[Wrong]:
        """What is wrong with the next instruction, whose operands are fine by themselves."""
        match insn.mnemonic:
            case "agen":
                self._of[insn.operands["dst"]] = DTYPES[insn.operands["dtype"]]
                for seen in self._set_in:
                    seen.add(insn.operands["dst"])
            case "loop":
                self._set_in.append(set())
            case "end" if self._set_in:
                for number in self._set_in.pop():
                    self._of.pop(number, None)
            case mnemonic:
                yield from self._check(mnemonic, insn)

    def _check(self, mnemonic: str, insn: Instruction) -> Iterator[Wrong]:
        dtypes = self._operands(insn)
        match mnemonic:
            case "load" | "store":
                yield from self._transfer(insn, dtypes)
            case "exec.gemm":
                yield from _gemm(dtypes, SEMIRINGS[insn.operands["semiring"]])
            case "exec.cast":
                yield from _cast(dtypes)
            case "exec.fill":
                yield from _constant("value", insn, dtypes.get("dst"))
            case "exec.transpose":
                dst, src = dtypes.get("dst"), dtypes.get("src")
                if dst and src and dst != src:
                    yield "dst", f"dst is {dst}, but src is {src}", f"exec.cast converts; {_HINT}"
            case "exec.unary":
                yield from _unary(insn, dtypes)
            case "exec.binary":
                yield from _arithmetic(insn, dtypes, BINARY_FUNCS, BINARY_OF)
            case "exec.select":
                yield from _select(dtypes)
            case "exec.affine_select" | "exec.iota":
                yield from _indexed(dtypes)
                yield from _constant("value", insn, dtypes.get("dst"))
            case "exec.reduce":
                for name, dtype in dtypes.items():
                    if dtype != "f32":
                        what = f"{name} is {dtype}, but the instruction takes f32"
                        yield name, what, f"exec.cast it to f32 before; {_HINT}"

    def _operands(self, insn: Instruction) -> dict[str, str]:
        """The element types that are known, of operands in SRAM."""
        found = {}
        for field in self._program.isa.by_mnemonic[insn.mnemonic].fields:
            number = insn.operands[field.name]
            in_sram = field.kind is Kind.AGEN and field.name in _IN_SRAM
            if in_sram and number != NO_REGISTER and number in self._of:
                found[field.name] = self._of[number]
        return found

    def _transfer(self, insn: Instruction, dtypes: dict[str, str]) -> Iterator[Wrong]:
        tensor = self._program.tensors[insn.operands["tensor"]]
        for name, dtype in dtypes.items():
            if dtype != tensor.dtype:
                what = f"{name} is {dtype}, but tensor '{tensor.name}' is {tensor.dtype}"
                yield name, what, f"a transfer converts nothing: exec.cast does; {_HINT}"
        yield from _constant("fill", insn, tensor.dtype)


def _constant(name: str, insn: Instruction, dtype: str | None) -> Iterator[Wrong]:
    if dtype is None or name not in insn.operands:
        return
    value = f32_value(insn.operands[name])
    if not holds(value, dtype):
        yield name, f"{value!r} is no value of {dtype}", "take one that it holds exactly"


def _gemm(dtypes: dict[str, str], semiring: str) -> Iterator[Wrong]:
    dst, lhs, rhs = (dtypes.get(name) for name in ("dst", "lhs", "rhs"))
    if lhs and rhs and lhs != rhs:
        what = f"lhs is {lhs} and rhs is {rhs}, but both are to be alike"
        yield "rhs", what, f"exec.cast one of them; {_HINT}"
    elif lhs and lhs != "f32" and semiring != SEMIRINGS[0]:
        what = f"lhs is {lhs}, but {semiring} takes f32"
        yield "lhs", what, f"exec.cast both operands to f32 before; {_HINT}"
    elif lhs and dst and GEMM_DTYPES.get(lhs) != dst:
        what = f"no product of {lhs} is summed in {dst}"
        pairs = _listing(tuple(GEMM_DTYPES.items()))
        yield "dst", what, f"operands and dst are {pairs}; exec.cast the others; {_HINT}"


def _alike(dtypes: dict[str, str], names: tuple[str, ...]) -> Iterator[Wrong]:
    dst = dtypes.get("dst")
    for name in names:
        if dst and name in dtypes and dtypes[name] != dst:
            what = f"dst is {dst}, but {name} is {dtypes[name]}"
            yield name, what, f"the operands are alike; exec.cast converts; {_HINT}"


def _arithmetic(
    insn: Instruction, dtypes: dict[str, str], funcs: tuple[str, ...],
    of: dict[str, tuple[str, ...]],
) -> Iterator[Wrong]:  # fmt: skip
    yield from _alike(dtypes, ("src", "lhs", "rhs"))
    func = funcs[insn.operands["func"]]
    for name, dtype in dtypes.items():
        if func not in of.get(dtype, ()):
            has = ", ".join(known for known, functions in of.items() if func in functions)
            what = f"{name} is {dtype}, but {func} is of {has}"
            yield name, what, f"exec.cast it before; {_HINT}"


def _unary(insn: Instruction, dtypes: dict[str, str]) -> Iterator[Wrong]:
    yield from _arithmetic(insn, dtypes, UNARY_FUNCS, UNARY_OF)
    neutral = {"scale": f32_bits(1.0), "bias": f32_bits(-0.0)}
    for name, bits in neutral.items():
        if insn.operands[name] != bits and "i32" in dtypes.values():
            what = f"{name} is of f32, but the operands are i32"
            yield name, what, f"leave {name} out; {_HINT}"


def _select(dtypes: dict[str, str]) -> Iterator[Wrong]:
    yield from _alike(dtypes, ("a", "b"))
    for name, dtype in dtypes.items():
        if name == "cond" and dtype not in ARITHMETIC:
            yield name, f"cond is {dtype}", f"a condition is {' or '.join(ARITHMETIC)}; {_HINT}"
        elif ITEM_BYTES[dtype] != 4:
            what = f"{name} is {dtype}, but elements of 4 bytes are chosen"
            yield name, what, f"exec.cast it before; {_HINT}"


def _cast(dtypes: dict[str, str]) -> Iterator[Wrong]:
    dst, src = dtypes.get("dst"), dtypes.get("src")
    if dst and src and (src, dst) not in CASTS:
        yield "dst", f"nothing casts {src} to {dst}", f"there are {_listing(CASTS)}; {_HINT}"


def _indexed(dtypes: dict[str, str]) -> Iterator[Wrong]:
    dst, src = dtypes.get("dst"), dtypes.get("src")
    for name, dtype in dtypes.items():
        if dtype not in INDEXED_DTYPES:
            what = f"{name} is {dtype}, but the instruction takes {' and '.join(INDEXED_DTYPES)}"
            yield name, what, f"exec.cast it before; {_HINT}"
            return
    if dst and src and dst != src:
        yield "dst", f"dst is {dst}, but src is {src}", f"exec.cast converts; {_HINT}"


def _listing(pairs: tuple[tuple[str, str], ...]) -> str:
    return ", ".join(f"{old} to {new}" for old, new in pairs)
