#include "resolve.h"

#include <algorithm>
#include <span>

namespace tileflow {
namespace {

// Beyond this a coordinate is outside of every tensor; with it, no sum of a box's steps (below
// 2^28 indices of 2^31 each) leaves 64 bits.
constexpr std::int64_t kLargestCoordinate = std::int64_t{1} << 60;

std::string bytes(std::int64_t lo, std::int64_t hi) {
  return std::to_string(lo) + ".." + std::to_string(hi - 1);
}

std::string shape(const Block& block) {
  return std::to_string(block.rows) + " x " + std::to_string(block.cols);
}

}  // namespace

void check_block(const Walker& walker, const Block& block, const char* role, bool dma) {
  if (block.empty()) return;
  const isa::Machine& machine = walker.program().machine;
  const int shift = walker.program().tile_shift();
  if (block.address % block.item() != 0) {
    const std::string item = std::to_string(block.item());
    walker.fault(std::string(role) + " is at SRAM byte " + std::to_string(block.address) +
                     ", which is not aligned to its elements of " + item + " bytes",
                 "bases, steps and wraps of its address generator are multiples of " + item);
  }
  const std::int64_t tiles = ((block.cols - 1) >> shift) + 1;
  if (block.pitch == 0 && !dma && block.rows != 1 && block.cols != 1) {
    walker.fault(std::string(role) + " is " + shape(block) +
                     ", but its address generator has pitch 0 (a vector)",
                 "say how many tiles wide the grid is: agen ... pitch=" + std::to_string(tiles));
  }
  if (block.pitch != 0 && tiles > block.pitch) {
    walker.fault(std::string(role) + " is " + shape(block) + ", " + std::to_string(tiles) +
                     " tiles wide, but its pitch is " + std::to_string(block.pitch),
                 "the pitch of its address generator is to be the grid's width in tiles");
  }
  // An address above SRAM is checked first, so that its end cannot overflow.
  const std::int64_t sram = machine.sram_bytes;
  const std::int64_t size = end_of({0, block.rows, block.cols, block.pitch, block.dtype}, shift);
  if (block.address < 0 || block.address > sram || size > sram - block.address) {
    const std::string place = block.address > sram || block.address < 0
                                  ? "from byte " + std::to_string(block.address)
                                  : "bytes " + bytes(block.address, block.address + size);
    walker.fault(std::string(role) + " (" + shape(block) + ") covers SRAM " + place +
                     ", but SRAM has bytes " + bytes(0, sram),
                 std::string("check base, steps and wrap of its address generator") + kDefect);
  }
}

namespace {

[[noreturn]] void fault_dtype(const Walker& walker, const std::string& what,
                              const std::string& hint) {
  walker.fault(what, hint + "; agen ... dtype= is an operand's element type");
}

template <std::size_t N>
std::string listing(const std::array<isa::DTypePair, N>& pairs) {
  std::string all;
  for (const auto& [from, to] : pairs) {
    all += (all.empty() ? "" : ", ") + name_of(from) + " to " + name_of(to);
  }
  return all;
}

bool contains(std::span<const isa::DTypePair> pairs, isa::DType from, isa::DType to) {
  return std::ranges::any_of(
      pairs, [&](const isa::DTypePair& pair) { return pair.from == from && pair.to == to; });
}

}  // namespace

void check_f32(const Walker& walker, const Block& block, const char* role) {
  if (block.dtype == isa::DType::kF32) return;
  fault_dtype(walker,
              std::string(role) + " is " + name_of(block.dtype) + ", but the instruction takes f32",
              "exec.cast it to f32 before");
}

namespace {

// Operands of an instruction that takes f32 and i32: alike.
void check_alike(const Walker& walker, const Block& dst, const Block& src, const char* role) {
  if (src.empty() || src.dtype == dst.dtype) return;
  fault_dtype(walker,
              "dst is " + name_of(dst.dtype) + ", but " + role + " is " + name_of(src.dtype),
              "the operands are alike; exec.cast converts");
}

// `functions`: by type, which functions it has.
template <class Table, class Func, class Names>
void check_function(const Walker& walker, const Block& dst, const Table& functions, Func func,
                    const Names& names) {
  const auto number = static_cast<std::size_t>(func);
  if (functions[static_cast<std::size_t>(dst.dtype)][number]) return;
  fault_dtype(walker, std::string(names[number]) + " of " + name_of(dst.dtype) + " does not exist",
              "exec.cast the operands before");
}

}  // namespace

void check_unary(const Walker& walker, const UnaryUse& use) {
  check_alike(walker, use.dst, use.src, "src");
  check_function(walker, use.dst, isa::kUnaryFuncOf, use.insn.func, isa::kUnaryFuncNames);
  const bool plain = use.insn.scale == 1.0F && use.insn.bias == 0.0F && std::signbit(use.insn.bias);
  if (use.dst.dtype == isa::DType::kF32 || plain) return;
  fault_dtype(walker, "scale and bias are of f32, but the operands are " + name_of(use.dst.dtype),
              "leave scale and bias out");
}

void check_binary(const Walker& walker, const BinaryUse& use) {
  check_alike(walker, use.dst, use.lhs, "lhs");
  check_alike(walker, use.dst, use.rhs, "rhs");
  check_function(walker, use.dst, isa::kBinaryFuncOf, use.insn.func, isa::kBinaryFuncNames);
}

void check_select(const Walker& walker, const SelectUse& use) {
  check_alike(walker, use.dst, use.a, "a");
  check_alike(walker, use.dst, use.b, "b");
  if (isa::item_bytes(use.dst.dtype) != 4) {
    fault_dtype(walker, "dst is " + name_of(use.dst.dtype) + ", but elements of 4 bytes are chosen",
                "exec.cast the operands before");
  }
  if (use.cond.empty() || std::ranges::count(isa::kArithmeticDTypes, use.cond.dtype) != 0) return;
  fault_dtype(walker, "cond is " + name_of(use.cond.dtype) + ", which is no condition",
              "a condition is f32 or i32; exec.cast it before");
}

void check_gemm_dtypes(const Walker& walker, isa::Semiring semiring, const Block& dst,
                       const Block& lhs, const Block& rhs) {
  if (lhs.dtype != rhs.dtype) {
    fault_dtype(walker,
                "lhs is " + name_of(lhs.dtype) + " and rhs is " + name_of(rhs.dtype) +
                    ", but both are to be alike",
                "exec.cast one of them");
  }
  if (semiring != isa::Semiring{} && lhs.dtype != isa::DType::kF32) {
    const auto name = isa::kSemiringNames[static_cast<std::size_t>(semiring)];
    fault_dtype(walker,
                "lhs is " + name_of(lhs.dtype) + ", but " + std::string(name) + " takes f32",
                "exec.cast both operands to f32 before");
  }
  if (contains(isa::kGemmDTypes, lhs.dtype, dst.dtype)) return;
  fault_dtype(walker, "no product of " + name_of(lhs.dtype) + " is summed in " + name_of(dst.dtype),
              "operands and dst are " + listing(isa::kGemmDTypes) + "; exec.cast the others");
}

void check_cast_dtypes(const Walker& walker, const Block& dst, const Block& src) {
  if (contains(isa::kCastDTypes, src.dtype, dst.dtype)) return;
  fault_dtype(walker, "nothing casts " + name_of(src.dtype) + " to " + name_of(dst.dtype),
              "there are " + listing(isa::kCastDTypes));
}

void check_indexed_dtype(const Walker& walker, const Block& block, const char* role) {
  if (std::ranges::find(isa::kIndexedDTypes, block.dtype) != isa::kIndexedDTypes.end()) return;
  std::string taken;
  for (const isa::DType dtype : isa::kIndexedDTypes) {
    taken += (taken.empty() ? "" : " and ") + name_of(dtype);
  }
  fault_dtype(
      walker,
      std::string(role) + " is " + name_of(block.dtype) + ", but the instruction takes " + taken,
      "exec.cast it before");
}

void check_same_dtype(const Walker& walker, const Block& dst, const Block& src) {
  if (dst.dtype == src.dtype) return;
  fault_dtype(walker, "dst is " + name_of(dst.dtype) + ", but src is " + name_of(src.dtype),
              "exec.cast converts");
}

void check_tensor_dtype(const Walker& walker, const Block& block, const Tensor& tensor,
                        const char* role) {
  if (block.dtype == tensor.dtype) return;
  fault_dtype(walker,
              std::string(role) + " is " + name_of(block.dtype) + ", but tensor '" + tensor.name +
                  "' is " + name_of(tensor.dtype),
              "a transfer converts nothing: exec.cast does");
}

std::uint32_t element_for(const Walker& walker, const Block& block, float value) {
  const auto element = element_of(value, block.dtype);
  if (element) return *element;
  fault_dtype(walker, std::to_string(value) + " is no value of " + name_of(block.dtype),
              "take one that it holds exactly");
}

void check_base(const Walker& walker, std::int64_t base) {
  if (base <= kLargestCoordinate && base >= -kLargestCoordinate) return;
  walker.fault("base is " + std::to_string(base) + ", beyond 2^60",
               "check its address generator, and the launch scalars");
}

void check_coordinates(const Walker& walker, const std::array<std::int64_t, kMaxRank>& coords) {
  for (int d = 0; d < kMaxRank; ++d) {
    if (coords[d] <= kLargestCoordinate && coords[d] >= -kLargestCoordinate) continue;
    walker.fault("coordinate " + std::to_string(d) + " is " + std::to_string(coords[d]) +
                     ", too far from every tensor",
                 "check the address generator of this coordinate, and the launch scalars");
  }
}

}  // namespace tileflow
