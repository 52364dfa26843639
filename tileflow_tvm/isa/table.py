"""The instruction table: the one place where instructions, fields and encodings are defined.

The encoder, decoder, assembler, disassembler, the C++ header and ``doc/isa.md`` are all derived
from `TILEFLOW`. An `Isa` is a value, so that another instruction set is another value.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

NO_REGISTER = 63
"""The value of a 6-bit register field that names no register."""

SCALAR_SOURCE = 16
"""A `Kind.SOURCE` field holds a loop level below this, else SCALAR_SOURCE + the scalar."""


class Engine(Enum):
    """Who executes an instruction; the value is the mnemonic's prefix."""

    SEQUENCER = "seq"
    LOAD = "load"
    EXEC = "exec"
    STORE = "store"


class Kind(Enum):
    """What a field holds; decides how the assembler reads and prints it."""

    UINT = "unsigned integer"
    SINT = "signed integer"
    F32 = "float32"
    FLAG = "flag"
    ENUM = "choice"
    AGEN = "address generator"
    EXTENT = "extent register"
    SCALAR = "scalar register"
    SEM = "semaphore"
    LEVEL = "loop level"
    SOURCE = "loop level or scalar"
    TENSOR = "tensor"
    ACCESS = "access pattern"


PREFIX = {
    Kind.AGEN: "a",
    Kind.EXTENT: "e",
    Kind.SCALAR: "s",
    Kind.SEM: "sem",
    Kind.LEVEL: "l",
}
"""A register is written as its kind's prefix and its number."""


@dataclass(frozen=True)
class Field:
    """`width` bits from bit `lo` of the instruction word."""

    name: str
    lo: int
    width: int
    kind: Kind
    does: str
    choices: tuple[str, ...] = ()
    default: int | None = None
    """The value a text may leave out; None where the operand must be written."""

    @property
    def mask(self) -> int:
        return (1 << self.width) - 1

    @property
    def bounds(self) -> tuple[int, int]:
        """Smallest and largest value the field can hold."""
        if self.kind is Kind.SINT:
            return -(1 << (self.width - 1)), (1 << (self.width - 1)) - 1
        if self.kind is Kind.ENUM:
            return 0, len(self.choices) - 1
        return 0, self.mask

    def pack(self, value: int) -> int:
        """`value` shifted to its place; raises ValueError where it does not fit."""
        lo, hi = self.bounds
        if not lo <= value <= hi:
            raise ValueError(f"{self.name}={value} is outside {lo}..{hi}")
        return (value & self.mask) << self.lo

    def unpack(self, word: int) -> int:
        """The field's value in `word`, sign-extended where the field is signed."""
        raw = (word >> self.lo) & self.mask
        if self.kind is Kind.SINT and raw >> (self.width - 1):
            raw -= 1 << self.width
        return raw


@dataclass(frozen=True)
class Insn:
    """One row of the table."""

    mnemonic: str
    opcode: int
    engine: Engine
    fields: tuple[Field, ...]
    does: str

    @cached_property
    def by_name(self) -> dict[str, Field]:
        return {field.name: field for field in self.fields}

    @property
    def used_bits(self) -> int:
        """Mask of the bits that mean something; the others must be zero."""
        mask = (1 << OPCODE_BITS) - 1
        for field in self.fields:
            mask |= field.mask << field.lo
        return mask


@dataclass(frozen=True)
class Isa:
    """An instruction set: word width, rows, and the choices of its enumerated fields."""

    name: str
    version: int
    word_bits: int
    insns: tuple[Insn, ...]

    def __post_init__(self) -> None:
        opcodes = [insn.opcode for insn in self.insns]
        assert len(set(opcodes)) == len(opcodes), "two instructions share an opcode"
        for insn in self.insns:
            _check_layout(insn, self.word_bits)

    @cached_property
    def by_mnemonic(self) -> dict[str, Insn]:
        return {insn.mnemonic: insn for insn in self.insns}

    @cached_property
    def by_opcode(self) -> dict[int, Insn]:
        return {insn.opcode: insn for insn in self.insns}


def _check_layout(insn: Insn, word_bits: int) -> None:
    taken = (1 << OPCODE_BITS) - 1
    for field in insn.fields:
        bits = field.mask << field.lo
        assert not taken & bits, f"{insn.mnemonic}.{field.name} overlaps another field"
        assert bits < 1 << word_bits, f"{insn.mnemonic}.{field.name} lies outside the word"
        taken |= bits


OPCODE_BITS = 8

UNARY_FUNCS = (
    "identity", "relu", "exp", "log", "sqrt", "rsqrt", "reciprocal",
    "tanh", "sigmoid", "abs", "neg", "sin", "cos", "erf", "gelu", "silu",
    "floor", "ceil", "round", "trunc", "sign", "isnan", "isinf", "isfinite",
    "log2", "log10", "log1p", "expm1", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh",
    "acosh", "atanh",
)  # fmt: skip
"""f of `exec.unary`. relu propagates NaN; rsqrt is 1/sqrt(x), two roundings; round is to the
nearest even; sign of either zero is +0; isnan and its like give 1 or 0."""

BINARY_FUNCS = (
    "add", "sub", "mul", "div", "max", "min", "lt", "le", "gt", "ge", "eq", "ne",
    "mod", "fmod", "floordiv", "bitand", "bitor", "bitxor", "shl", "shr", "pow",
)  # fmt: skip
"""f of `exec.binary`. max and min propagate NaN, as NumPy's maximum and minimum. Comparisons give
1 or 0. mod has the sign of rhs, fmod that of lhs, both exact; floordiv is floor(lhs / rhs)."""

ARITHMETIC = ("f32", "i32")
"""Element types that `exec.unary` and `exec.binary` compute with, and that are conditions."""

_OF_BITS = ("bitand", "bitor", "bitxor", "shl", "shr")
UNARY_OF = {"f32": UNARY_FUNCS, "i32": ("identity", "abs", "neg")}
"""The functions of `exec.unary` that a type has."""
BINARY_OF = {
    "f32": tuple(func for func in BINARY_FUNCS if func not in _OF_BITS),
    "i32": tuple(func for func in BINARY_FUNCS if func != "pow"),
}
"""The same of `exec.binary`. Of i32, sums, differences, products, -x and |x| are modulo 2^32, div
cuts off, and what is divided by 0 is 0; shifts are by an unsigned number of bits, shr keeps the
sign."""

REDUCE_FUNCS = ("sum", "max", "min", "prod")
"""f of `exec.reduce`."""

SCALAR_FUNCS = ("add", "sub", "mul", "div", "mod", "min", "max")
"""f of `scalar`; div and mod round towards minus infinity."""

OPERAND_MODES = ("full", "row", "col", "scalar", "imm")
"""How an operand of `exec.binary` meets an m x n result: itself m x n, a vector of n (the same in
every row), a vector of m (the same in every column), one value in SRAM, or the immediate."""

SEMIRINGS = ("mul_add", "add_min", "add_max", "mul_max", "mul_min")
"""What `exec.gemm` takes for products and for their sum; all but the first are of f32. An empty
minimum is +inf, an empty maximum -inf; either is NaN where a product is."""

CLEAR_MODES = ("never", "always", "at0")
"""When dst is taken as empty before accumulating: never, always, or when the loop `level` is at
iteration 0."""

AXES = ("rows", "cols")
"""What `exec.reduce` runs along: `cols` reduces each row to one value (m results),
`rows` reduces each column to one value (n results)."""


@dataclass(frozen=True)
class DType:
    """An element type: its name here, its size, and what NumPy and TVM call it."""

    name: str
    nbytes: int
    numpy: str


DTYPE_FACTS = (
    DType("f32", 4, "float32"),
    DType("bf16", 2, "bfloat16"),
    DType("i8", 1, "int8"),
    DType("i32", 4, "int32"),
)
DTYPES = tuple(dtype.name for dtype in DTYPE_FACTS)
"""An element type's place here is its code in instructions and in the container."""

ITEM_BYTES = {dtype.name: dtype.nbytes for dtype in DTYPE_FACTS}
"""Size of an element of each dtype."""

GEMM_DTYPES = {"f32": "f32", "bf16": "f32", "i8": "i32"}
"""Operands of `exec.gemm`, both alike -> its dst."""

CASTS = (
    ("f32", "bf16"), ("f32", "i8"), ("f32", "i32"), ("bf16", "f32"),
    ("i8", "f32"), ("i8", "i32"), ("i32", "f32"), ("i32", "i8"),
)  # fmt: skip
"""What `exec.cast` converts: (src, dst)."""

INDEXED_DTYPES = ("f32", "i32")
"""Element types of `exec.affine_select` and `exec.iota`."""


class _Layout:
    """Hands out bit positions in order, so that a row is written as a list of operands."""

    def __init__(self, lo: int) -> None:
        self.lo = lo

    def __call__(
        self, name: str, width: int, kind: Kind, does: str, *,
        choices: tuple[str, ...] = (), default: int | None = None,
    ) -> Field:  # fmt: skip
        field = Field(name, self.lo, width, kind, does, choices, default)
        self.lo += width
        return field

    def registers(self, *names: tuple[str, Kind, str]) -> list[Field]:
        return [self(name, 6, kind, does) for name, kind, does in names]


def _agens(layout: _Layout, **roles: str) -> list[Field]:
    return layout.registers(*((name, Kind.AGEN, does) for name, does in roles.items()))


def _extents(layout: _Layout, **roles: str) -> list[Field]:
    return layout.registers(*((name, Kind.EXTENT, does) for name, does in roles.items()))


def _semaphores(layout: _Layout) -> list[Field]:
    def sem(name: str, does: str) -> Field:
        return layout(name, 6, Kind.SEM, does, default=NO_REGISTER)

    return [
        sem("wait0", "decremented before the first access; blocks at zero"),
        sem("wait1", "a second one to wait on"),
        sem("post0", "incremented after the last access"),
        sem("post1", "a second one to post"),
    ]


def _clear(layout: _Layout) -> list[Field]:
    return [
        layout("clear", 2, Kind.ENUM, "when dst is taken as empty", choices=CLEAR_MODES),
        layout("level", 4, Kind.LEVEL, "the loop whose iteration 0 clears", default=0),
    ]


UNIT = Field("unit", 126, 2, Kind.UINT, "which engine of its kind", default=0)
"""Of every engine instruction."""


def _engine_insn(
    mnemonic: str, opcode: int, engine: Engine, operands: Iterable[Field], does: str
) -> Insn:
    semaphores = _semaphores(_Layout(OPCODE_BITS))
    return Insn(mnemonic, opcode, engine, (*operands, *semaphores, UNIT), does)


OPERANDS_LO = OPCODE_BITS + 4 * 6
"""Engine instructions: opcode, four semaphores, then the operands."""


def _dma(mnemonic: str, opcode: int, engine: Engine, sram: str, does: str) -> Insn:
    layout = _Layout(OPERANDS_LO)
    fields = _agens(layout, **{sram: "SRAM address"})
    fields.append(layout("tensor", 10, Kind.TENSOR, "tensor descriptor"))
    fields.append(layout("access", 10, Kind.ACCESS, "access pattern"))
    for dim in range(5):
        fields.append(
            layout(f"c{dim}", 6, Kind.AGEN, f"coordinate of tensor dim {dim}; none is 0",
                   default=NO_REGISTER)
        )  # fmt: skip
    if engine is Engine.LOAD:
        fields.append(layout("fill", 32, Kind.F32, "value outside the tensor", default=0))
    return _engine_insn(mnemonic, opcode, engine, fields, does)


def _gemm() -> Insn:
    layout = _Layout(OPERANDS_LO)
    return _engine_insn("exec.gemm", 0x20, Engine.EXEC, [
        *_agens(layout, dst="m x n tile grid", lhs="m x k tile grid", rhs="k x n tile grid"),
        *_extents(layout, m="rows of dst", n="columns of dst", k="length of the sums"),
        *_clear(layout),
        layout("ta", 1, Kind.FLAG, "lhs is stored k x m", default=0),
        layout("tb", 1, Kind.FLAG, "rhs is stored n x k", default=0),
        layout("semiring", 3, Kind.ENUM, "what products and their sum are", choices=SEMIRINGS,
               default=0),
    ], "dst[i,j] = (clear ? 0 : dst[i,j]) + sum_k lhs[i,k] * rhs[k,j]; "
       "acc = fma(lhs, rhs, acc) for ascending k; of i8, integers modulo 2^32; "
       "add_min: min over k of lhs + rhs, and so on")  # fmt: skip


def _unary() -> Insn:
    layout = _Layout(OPERANDS_LO)
    return _engine_insn("exec.unary", 0x21, Engine.EXEC, [
        *_agens(layout, dst="m x n", src="m x n"),
        *_extents(layout, m="rows", n="columns"),
        layout("func", 6, Kind.ENUM, "f", choices=UNARY_FUNCS),
        layout("scale", 32, Kind.F32, "multiplies src", default=0x3F800000),
        layout("bias", 32, Kind.F32, "added to src * scale", default=0x80000000),
    ], "dst[i,j] = f(fma(src[i,j], scale, bias)); "
       "scale 1 and bias -0.0 leave src as it is")  # fmt: skip


def _binary() -> Insn:
    layout = _Layout(OPERANDS_LO)
    modes = {"kind": Kind.ENUM, "choices": OPERAND_MODES}
    return _engine_insn("exec.binary", 0x22, Engine.EXEC, [
        *_agens(layout, dst="m x n"),
        layout("lhs", 6, Kind.AGEN, "left operand; none where lmode is imm", default=NO_REGISTER),
        layout("rhs", 6, Kind.AGEN, "right operand; none where rmode is imm", default=NO_REGISTER),
        *_extents(layout, m="rows", n="columns"),
        layout("func", 6, Kind.ENUM, "f", choices=BINARY_FUNCS),
        layout("lmode", 3, does="how lhs meets dst", default=0, **modes),  # type: ignore[arg-type]
        layout("rmode", 3, does="how rhs meets dst", default=0, **modes),  # type: ignore[arg-type]
        layout("imm", 32, Kind.F32, "the immediate", default=0),
    ], "dst[i,j] = f(lhs, rhs), each operand indexed as its mode says")  # fmt: skip


def _select() -> Insn:
    layout = _Layout(OPERANDS_LO)
    modes = {"kind": Kind.ENUM, "choices": OPERAND_MODES}
    sides = {"cond": "condition", "a": "what is taken", "b": "what is taken else"}
    return _engine_insn("exec.select", 0x27, Engine.EXEC, [
        *_agens(layout, dst="m x n"),
        *(layout(name, 6, Kind.AGEN, f"{does}; none where {name[0]}mode is imm",
                 default=NO_REGISTER) for name, does in sides.items()),
        *_extents(layout, m="rows", n="columns"),
        *(layout(f"{name[0]}mode", 3, does=f"how {name} meets dst", default=0,
                 **modes) for name in sides),  # type: ignore[arg-type]
        layout("imm", 32, Kind.F32, "the immediate", default=0),
    ], "dst[i,j] = cond != 0 ? a : b, each operand indexed as its mode says")  # fmt: skip


def _reduce() -> Insn:
    layout = _Layout(OPERANDS_LO)
    return _engine_insn("exec.reduce", 0x23, Engine.EXEC, [
        *_agens(layout, dst="vector of results", src="m x n"),
        *_extents(layout, m="rows of src", n="columns of src"),
        layout("func", 6, Kind.ENUM, "f", choices=REDUCE_FUNCS),
        layout("axis", 1, Kind.ENUM, "what it runs along", choices=AXES),
        *_clear(layout),
    ], "dst[i] = f(clear ? nothing : dst[i], f over src[i,:]) or the same over src[:,i]; "
       "the order of the sums is fixed")  # fmt: skip


def _fill() -> Insn:
    layout = _Layout(OPERANDS_LO)
    return _engine_insn("exec.fill", 0x24, Engine.EXEC, [
        *_agens(layout, dst="m x n"),
        *_extents(layout, m="rows", n="columns"),
        layout("value", 32, Kind.F32, "the value"),
    ], "dst[i,j] = value")  # fmt: skip


def _transpose() -> Insn:
    layout = _Layout(OPERANDS_LO)
    return _engine_insn("exec.transpose", 0x25, Engine.EXEC, [
        *_agens(layout, dst="n x m", src="m x n"),
        *_extents(layout, m="rows of src", n="columns of src"),
    ], "dst[j,i] = src[i,j]; dst and src do not overlap")  # fmt: skip


def _cast() -> Insn:
    layout = _Layout(OPERANDS_LO)
    return _engine_insn("exec.cast", 0x26, Engine.EXEC, [
        *_agens(layout, dst="m x n", src="m x n"),
        *_extents(layout, m="rows", n="columns"),
        layout("scale", 32, Kind.F32, "multiplies src as f32", default=0x3F800000),
    ], "dst[i,j] = f32(src[i,j]) * scale in the dtype of dst, to the nearest even, "
       "saturating; dst and src do not overlap")  # fmt: skip


def _affine_select() -> Insn:
    layout = _Layout(OPERANDS_LO)
    return _engine_insn("exec.affine_select", 0x28, Engine.EXEC, [
        *_agens(layout, dst="m x n", src="m x n", base="the form at row 0 and column 0"),
        *_extents(layout, m="rows", n="columns"),
        layout("rstep", 16, Kind.SINT, "what a row adds to the form", default=0),
        layout("cstep", 16, Kind.SINT, "what a column adds to the form", default=0),
        layout("value", 32, Kind.F32, "what takes the place of an element"),
    ], "dst[i,j] = base + i * rstep + j * cstep >= 0 ? src[i,j] : value; "
       "dst may be src")  # fmt: skip


def _iota() -> Insn:
    layout = _Layout(OPERANDS_LO)
    return _engine_insn("exec.iota", 0x29, Engine.EXEC, [
        *_agens(layout, dst="m x n", base="the value at row 0 and column 0"),
        *_extents(layout, m="rows", n="columns"),
        layout("rstep", 32, Kind.SINT, "what a row adds", default=0),
        layout("cstep", 32, Kind.SINT, "what a column adds", default=0),
    ], "dst[i,j] = base + i * rstep + j * cstep, in f32 to the nearest even, in i32 "
       "modulo 2^32")  # fmt: skip


def _sequencer_insns() -> tuple[Insn, ...]:
    seq = Engine.SEQUENCER
    loop, agen, stride, ext, sem, scalar = (_Layout(OPCODE_BITS) for _ in range(6))
    return (
        Insn("halt", 0x01, seq, (), "the program ends"),
        Insn("loop", 0x02, seq, (
            loop("count", 40, Kind.UINT, "trips, where by is none", default=0),
            loop("by", 6, Kind.AGEN, "trips = max(0, its value)", default=NO_REGISTER),
        ), "the instructions up to the matching end run count times; zero is legal"),
        Insn("end", 0x03, seq, (), "closes the innermost loop"),
        Insn("agen", 0x04, seq, (
            agen("dst", 6, Kind.AGEN, "the generator that is set"),
            agen("base", 44, Kind.SINT, "bytes for SRAM, elements for a coordinate"),
            agen("wrap", 44, Kind.UINT, "modulus of the walk; 0 is none", default=0),
            agen("pitch", 16, Kind.UINT, "tiles a grid row; 0 is a vector", default=0),
            agen("dtype", 4, Kind.ENUM, "element type in SRAM", choices=DTYPES, default=0),
        ), "dst = base + (sum of stride * source) mod wrap, evaluated at each use; "
           "forgets earlier strides"),
        Insn("stride", 0x05, seq, (
            stride("dst", 6, Kind.AGEN, "the generator that is extended"),
            stride("source", 6, Kind.SOURCE, "loop level l0..l15 or scalar s0..s15"),
            stride("step", 48, Kind.SINT, "what one unit of the source adds"),
        ), "adds a term to the walk of dst"),
        Insn("ext", 0x06, seq, (
            ext("dst", 6, Kind.EXTENT, "the extent register that is set"),
            ext("coord", 6, Kind.AGEN, "none is 0", default=NO_REGISTER),
            ext("limit", 48, Kind.SINT, "first coordinate outside"),
            ext("max", 32, Kind.UINT, "largest extent"),
        ), "dst = clamp(limit - coord, 0, max), evaluated at each use"),
        Insn("sem", 0x07, seq, (
            sem("dst", 6, Kind.SEM, "the semaphore"),
            sem("count", 32, Kind.UINT, "its value before the program starts"),
        ), "legal only before the first loop and the first engine instruction"),
        Insn("scalar", 0x08, seq, (
            scalar("dst", 4, Kind.SCALAR, "the scalar that is set"),
            scalar("func", 4, Kind.ENUM, "f", choices=SCALAR_FUNCS),
            scalar("lhs", 4, Kind.SCALAR, "left operand"),
            scalar("rhs", 6, Kind.SCALAR, "right operand; none is the immediate",
                   default=NO_REGISTER),
            scalar("imm", 48, Kind.SINT, "the immediate", default=0),
        ), "dst = f(lhs, rhs); legal outside loops"),
    )  # fmt: skip


def _nop(engine: Engine, opcode: int) -> Insn:
    return _engine_insn(f"{engine.value}.nop", opcode, engine, (), "only waits and posts")


TILEFLOW = Isa(
    "tileflow", 1, 128,
    (
        *_sequencer_insns(),
        _dma("load", 0x10, Engine.LOAD, "dst",
             "sram[dst] = box(tensor, access, coords), fill outside the tensor"),
        _nop(Engine.LOAD, 0x1F),
        _gemm(), _unary(), _binary(), _reduce(), _fill(), _transpose(), _cast(), _select(),
        _affine_select(), _iota(),
        _nop(Engine.EXEC, 0x2F),
        _dma("store", 0x30, Engine.STORE, "src",
             "box(tensor, access, coords) = sram[src]; what lies outside the tensor is skipped"),
        _nop(Engine.STORE, 0x3F),
    ),
)  # fmt: skip
