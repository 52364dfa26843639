"""The C++ side of the instruction table: enums, decoded instructions, field facts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tileflow_tvm.isa import container, table
from tileflow_tvm.isa.encoding import isa_fingerprint
from tileflow_tvm.isa.machine import MACHINE_INTS, code_bounds
from tileflow_tvm.isa.program import Role, StorageKind
from tileflow_tvm.isa.table import Engine, Field, Insn, Isa, Kind

CHOICES = {
    table.UNARY_FUNCS: "UnaryFunc",
    table.BINARY_FUNCS: "BinaryFunc",
    table.REDUCE_FUNCS: "ReduceFunc",
    table.SCALAR_FUNCS: "ScalarFunc",
    table.OPERAND_MODES: "OperandMode",
    table.SEMIRINGS: "Semiring",
    table.CLEAR_MODES: "ClearMode",
    table.AXES: "Axis",
    table.DTYPES: "DType",
}
"""The C++ enum of each set of choices."""

_PRELUDE = """\
// Generated from tileflow_tvm/isa/table.py by tileflow_tvm/isa/generate.py; do not edit.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <variant>

namespace tileflow::isa {
"""

_BITS = """
// `width` bits from bit `at` of a 128-bit word given as two halves.
constexpr std::uint64_t bits(std::uint64_t lo, std::uint64_t hi, int at, int width) {
  const std::uint64_t mask = width == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << width) - 1;
  if (at >= 64) return (hi >> (at - 64)) & mask;
  std::uint64_t value = lo >> at;
  if (at + width > 64) value |= hi << (64 - at);
  return value & mask;
}

constexpr std::int64_t sign_extend(std::uint64_t value, int width) {
  return static_cast<std::int64_t>(value << (64 - width)) >> (64 - width);
}
"""

_CHECK = """
// What is wrong with a word: its opcode (kOpcode), a bit that means nothing (kStray), or the value
// of `field`. decode() takes only words whose fault is kNone.
enum class Fault : std::uint8_t { kNone, kOpcode, kStray, kChoice };

struct WordFault {
  Fault fault = Fault::kNone;
  const FieldInfo* field = nullptr;
};

constexpr WordFault check(std::uint64_t lo, std::uint64_t hi) {
  const RowInfo* row = find_row(lo);
  if (row == nullptr) return {Fault::kOpcode};
  if ((lo & ~row->used_lo) != 0 || (hi & ~row->used_hi) != 0) return {Fault::kStray};
  for (const FieldInfo& field : row->fields) {
    if (field.choices != 0 && bits(lo, hi, field.lo, field.width) >= field.choices)
      return {Fault::kChoice, &field};
  }
  return {};
}
"""


def cpp_header(isa: Isa) -> str:
    """`isa.h` for this instruction set."""
    return "\n".join([
        _PRELUDE,
        *_constants(isa),
        *_enums(isa),
        _BITS,
        *(line for row in isa.insns for line in _struct(row)),
        f"using Insn = std::variant<{', '.join(camel(row.mnemonic) for row in isa.insns)}>;\n",
        *_field_facts(isa),
        _CHECK,
        *_decode(isa),
        *_machine(),
        "}  // namespace tileflow::isa\n",
    ])  # fmt: skip


def camel(name: str) -> str:
    """`exec.gemm` as ExecGemm."""
    return "".join(part.capitalize() for part in name.replace("_", ".").split("."))


def _constants(isa: Isa) -> Iterator[str]:
    magic = ", ".join(f"0x{byte:02x}" for byte in container.MAGIC)
    yield f'inline constexpr std::string_view kIsaName = "{isa.name}";'
    yield f"inline constexpr std::uint64_t kIsaFingerprint = 0x{isa_fingerprint(isa):016x};"
    yield f"inline constexpr int kNoRegister = {table.NO_REGISTER};"
    yield f"inline constexpr int kMostUnits = {1 << table.UNIT.width};  // engines of one kind"
    yield "// A kSource field holds a loop level below this, else kScalarSource + the scalar."
    yield f"inline constexpr int kScalarSource = {table.SCALAR_SOURCE};"
    yield f"inline constexpr std::array<std::uint8_t, {len(container.MAGIC)}> kMagic = {{{magic}}};"
    yield f"inline constexpr std::uint32_t kContainerVersion = {container.VERSION};"
    yield f"inline constexpr std::size_t kSectionAlignment = {container.ALIGNMENT};\n"
    yield _enum("Section", ((name, index) for index, name in enumerate(container.SECTIONS)))
    yield f"inline constexpr std::size_t kSections = {len(container.SECTIONS)};\n"
    yield _enum("Role", ((role.name, role.value) for role in Role))
    yield _enum("StorageKind", ((kind.name, kind.value) for kind in StorageKind))


def _enum(name: str, members: Iterable[tuple[str, int]]) -> str:
    rows = "".join(f"  k{camel(member)} = {value},\n" for member, value in members)
    return f"enum class {name} : std::uint8_t {{\n{rows}}};\n"


def _enums(isa: Isa) -> Iterator[str]:
    yield _enum("Opcode", ((row.mnemonic, row.opcode) for row in isa.insns))
    yield _enum("Engine", ((engine.name, index) for index, engine in enumerate(Engine)))
    yield _enum("Kind", ((kind.name, index) for index, kind in enumerate(Kind)))
    for choices, name in CHOICES.items():
        yield _enum(name, ((choice, index) for index, choice in enumerate(choices)))
        names = ", ".join(f'"{choice}"' for choice in choices)
        yield (
            f"inline constexpr std::array<std::string_view, {len(choices)}> k{name}Names = "
            f"{{{names}}};\n"
        )
    yield from _dtype_facts()


def _dtype_facts() -> Iterator[str]:
    sizes = ", ".join(str(dtype.nbytes) for dtype in table.DTYPE_FACTS)
    array = f"std::array<std::int64_t, {len(table.DTYPES)}> kItemBytes"
    yield f"inline constexpr {array} = {{{sizes}}};"
    names = ", ".join(f'"{dtype.numpy}"' for dtype in table.DTYPE_FACTS)
    array = f"std::array<std::string_view, {len(table.DTYPES)}> kDTypeNumpyNames"
    yield f"inline constexpr {array} = {{{names}}};"
    yield "// Bytes of an element."
    yield "constexpr std::int64_t item_bytes(DType dtype) {"
    yield "  return kItemBytes[static_cast<std::size_t>(dtype)];\n}\n"
    yield "// What exec.gemm takes (both operands alike) and gives; what exec.cast converts."
    yield "struct DTypePair {\n  DType from, to;\n};"
    for name, pairs in (("Gemm", table.GEMM_DTYPES.items()), ("Cast", table.CASTS)):
        rows = ", ".join(f"{{DType::k{camel(a)}, DType::k{camel(b)}}}" for a, b in pairs)
        array = f"std::array<DTypePair, {len(pairs)}> k{name}DTypes"
        yield f"inline constexpr {array} = {{{{{rows}}}}};"
    indexed = ", ".join(f"DType::k{camel(name)}" for name in table.INDEXED_DTYPES)
    array = f"std::array<DType, {len(table.INDEXED_DTYPES)}> kIndexedDTypes"
    yield "// Element types of exec.affine_select and exec.iota."
    yield f"inline constexpr {array} = {{{indexed}}};"
    yield from _arithmetic()


def _arithmetic() -> Iterator[str]:
    yield "// What is computed with; for each element type, whether it has each of the functions."
    rows = ", ".join(f"DType::k{camel(dtype)}" for dtype in table.ARITHMETIC)
    array = f"std::array<DType, {len(table.ARITHMETIC)}> kArithmeticDTypes"
    yield f"inline constexpr {array} = {{{rows}}};"
    of = {
        "Unary": (table.UNARY_FUNCS, table.UNARY_OF),
        "Binary": (table.BINARY_FUNCS, table.BINARY_OF),
    }
    for name, (funcs, by_dtype) in of.items():
        yield f"inline constexpr bool k{name}FuncOf[{len(table.DTYPES)}][{len(funcs)}] = {{"
        for dtype in table.DTYPES:
            row = ", ".join(str(int(func in by_dtype.get(dtype, ()))) for func in funcs)
            yield f"    {{{row}}},  // {dtype}"
        yield "};"


def _struct(row: Insn) -> Iterator[str]:
    yield f"// {row.does}."
    name = camel(row.mnemonic)
    yield f"struct {name} {{"
    yield f"  static constexpr Opcode kOpcode = Opcode::k{name};"
    for field in row.fields:
        yield f"  {_cpp_type(field)} {field.name}{{}};  // {field.does}"
    if row.fields:
        yield f"  static constexpr {name} decode(std::uint64_t lo, std::uint64_t hi) {{"
        yield "    return {"
        for field in row.fields:
            yield f"        .{field.name} = {_extract(field)},"
        yield "    };\n  }"
    else:
        yield f"  static constexpr {name} decode(std::uint64_t, std::uint64_t) {{"
        yield "    return {};\n  }"
    yield "};\n"


def _cpp_type(field: Field) -> str:
    if field.kind is Kind.ENUM:
        return CHOICES[field.choices]
    if field.kind is Kind.F32:
        return "float"
    if field.kind is Kind.FLAG:
        return "bool"
    size = next(size for size in (8, 16, 32, 64) if field.width <= size)
    return f"std::{'' if field.kind is Kind.SINT else 'u'}int{size}_t"


def _extract(field: Field) -> str:
    raw = f"bits(lo, hi, {field.lo}, {field.width})"
    if field.kind is Kind.F32:
        return f"std::bit_cast<float>(static_cast<std::uint32_t>({raw}))"
    if field.kind is Kind.FLAG:
        return f"{raw} != 0"
    if field.kind is Kind.SINT:
        raw = f"sign_extend({raw}, {field.width})"
    return f"static_cast<{_cpp_type(field)}>({raw})"


def _field_facts(isa: Isa) -> Iterator[str]:
    yield """\
struct FieldInfo {
  std::string_view name;
  int lo = 0, width = 0;
  Kind kind = Kind::kUint;
  unsigned choices = 0;      // of a kEnum; else 0
  bool may_be_none = false;  // a register field in which kNoRegister means none
};

struct RowInfo {
  Opcode opcode{};
  std::string_view mnemonic;
  Engine engine{};
  std::uint64_t used_lo = 0, used_hi = 0;  // the bits that mean something
  std::span<const FieldInfo> fields;
};
"""
    for row in isa.insns:
        if row.fields:
            infos = "".join(f"    {_field_info(field)},\n" for field in row.fields)
            array = f"std::array<FieldInfo, {len(row.fields)}> k{camel(row.mnemonic)}Fields"
            yield f"inline constexpr {array} = {{{{\n{infos}}}}};"
    rows = "".join(f"    {_row_info(row)},\n" for row in isa.insns)
    yield f"\ninline constexpr std::array<RowInfo, {len(isa.insns)}> kRows = {{{{\n{rows}}}}};\n"
    mask = (1 << table.OPCODE_BITS) - 1
    yield f"""\
// The row of a word's opcode; null where there is none.
constexpr const RowInfo* find_row(std::uint64_t lo) {{
  for (const RowInfo& row : kRows) {{
    if (static_cast<std::uint64_t>(row.opcode) == (lo & {mask:#x})) return &row;
  }}
  return nullptr;
}}"""


def _field_info(field: Field) -> str:
    none = "true" if field.default == table.NO_REGISTER else "false"
    choices = len(field.choices) if field.kind is Kind.ENUM else 0
    kind = f"Kind::k{camel(field.kind.name)}"
    return f'{{"{field.name}", {field.lo}, {field.width}, {kind}, {choices}, {none}}}'


def _row_info(row: Insn) -> str:
    name = camel(row.mnemonic)
    half = (1 << 64) - 1
    used = f"{row.used_bits & half:#018x}, {row.used_bits >> 64:#018x}"
    fields = f"k{name}Fields" if row.fields else "{}"
    engine = camel(row.engine.name)
    return f'{{Opcode::k{name}, "{row.mnemonic}", Engine::k{engine}, {used}, {fields}}}'


def _decode(isa: Isa) -> Iterator[str]:
    yield "// The instruction of a word that check() finds no fault in."
    yield "constexpr Insn decode(std::uint64_t lo, std::uint64_t hi) {"
    yield f"  switch (static_cast<Opcode>(lo & {(1 << table.OPCODE_BITS) - 1:#x})) {{"
    for row in isa.insns:
        name = camel(row.mnemonic)
        yield f"    case Opcode::k{name}: return {name}::decode(lo, hi);"
    yield f"  }}\n  return {camel(isa.insns[0].mnemonic)}{{}};\n}}\n"


def _machine() -> Iterator[str]:
    yield "// The machine as the container stores it; the fields in its order."
    yield "struct Machine {"
    yield f"  static constexpr std::size_t kFields = {len(MACHINE_INTS)};"
    for name in MACHINE_INTS:
        yield f"  std::uint32_t {name} = 0;"
    values = ", ".join(f"v[{index}]" for index in range(len(MACHINE_INTS)))
    yield "  static constexpr Machine of(std::span<const std::uint32_t, kFields> v) {"
    yield f"    return {{{values}}};\n  }}\n}};\n"
    yield "// The smallest and the largest value of each field."
    yield f"inline constexpr std::uint32_t kMachineBounds[{len(MACHINE_INTS)}][2] = {{"
    for name in MACHINE_INTS:
        low, high = code_bounds(name)
        yield f"    {{{low}U, {high}U}},  // {name}"
    yield "};\n"
