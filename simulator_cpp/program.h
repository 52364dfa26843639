// A program as the container holds it, validated and predecoded.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "isa.h"
#include "kernels/kernels.h"

namespace tileflow {

inline constexpr int kMaxArgRank = 6;  // isa.program MAX_ARG_RANK

// Engines are numbered: LOAD, each EXEC, STORE.
inline constexpr int kEngines = isa::kMostUnits + 2;  // the most there can be
inline constexpr int kLoad = 0, kFirstExec = 1;

inline constexpr std::uint8_t kNone = isa::kNoRegister;

// An instruction with what the walk needs at hand.
struct Op {
  isa::Insn insn;
  isa::Opcode opcode = isa::Opcode::kHalt;
  isa::Engine engine = isa::Engine::kSequencer;
  std::uint8_t engine_index = 0;  // in arrays of Program::engines(); not of the sequencer
  std::uint8_t depth = 0;         // loops that are open around it
  std::array<std::uint8_t, 2> waits{kNone, kNone}, posts{kNone, kNone};
  std::uint32_t match = 0;  // of a loop: its end; of an end: its loop

  template <class T>
  const T& as() const {
    return *std::get_if<T>(&insn);
  }
};

struct Argument {
  std::string name;
  isa::DType dtype{};
  isa::Role role{};
  std::vector<std::int64_t> shape;
  std::int64_t bytes = 0;
};

struct Tensor {
  std::string name;
  isa::DType dtype{};
  isa::StorageKind storage{};
  std::uint32_t index = 0;  // of the argument or constant
  std::int64_t offset = 0;  // of element (0, ..., 0) in the storage, in bytes
  int rank = 0;
  std::array<std::int64_t, kMaxRank> shape{}, strides{};  // strides in elements
};

struct AccessPattern {
  std::vector<BoxDim> dims;
  std::int64_t rows = 1, cols = 1;
};

struct Constant {
  std::string name;
  isa::DType dtype{};
  std::int64_t offset = 0;  // in Program::constant_data
  std::int64_t bytes = 0;
};

// Where the instructions from this pc on come from, up to the next place's.
struct Place {
  static constexpr std::uint32_t kUnknown = 0xFFFFFFFF;

  std::uint32_t pc = 0;
  std::uint32_t file = kUnknown;  // in Program::files
  std::uint32_t line = 0, col = 0;
};

struct Program {
  std::string name, machine_name;
  isa::Machine machine;
  std::vector<Argument> args;
  std::vector<std::string> scalars;
  std::vector<Tensor> tensors;
  std::vector<AccessPattern> accesses;
  std::vector<Constant> constants;
  std::vector<std::byte> constant_data;  // offsets are multiples of 16
  std::int64_t scratch_bytes = 0;
  std::vector<Op> ops;                         // one a pc; the last is halt
  std::array<std::uint32_t, 64> sem_counts{};  // before the program starts

  std::vector<std::string> files;  // of the source
  std::vector<Place> places;       // pcs ascend

  // The first op at or after a pc that a walk must execute: of all engines, and of each alone.
  // Loops without anything to do for them are left out.
  std::vector<std::uint32_t> next;
  std::array<std::vector<std::uint32_t>, kEngines> next_of;

  int execs() const { return static_cast<int>(machine.exec_engines); }
  int engines() const { return execs() + 2; }
  int store_engine() const { return engines() - 1; }
  int tile() const { return static_cast<int>(machine.tile); }
  int tile_shift() const { return std::countr_zero(machine.tile); }  // a power of two
  std::int64_t sram_bytes() const { return machine.sram_bytes; }
};

inline std::string name_of(isa::DType dtype) {
  return std::string(isa::kDTypeNames[static_cast<std::size_t>(dtype)]);
}

std::string_view mnemonic_of(isa::Opcode opcode);

// Parses and validates a container. Throws Fault (kBinary).
std::shared_ptr<const Program> parse_program(std::span<const std::uint8_t> file);

// Steps of the parse, one file each.
void check_tensors(const Program& program);                              // tensors.cpp
void decode_text(std::span<const std::uint8_t> text, Program& program);  // text.cpp

}  // namespace tileflow
