// What an instruction touches, with every register evaluated: the meaning that the verifier
// checks and the engines execute.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "block.h"
#include "program.h"
#include "walker.h"

namespace tileflow {

struct GemmUse {
  const isa::ExecGemm& insn;
  Block dst, lhs, rhs;
  std::int64_t m = 0, n = 0, k = 0;
  bool clear = false;
};

struct UnaryUse {
  const isa::ExecUnary& insn;
  Block dst, src;
};

struct BinaryUse {
  const isa::ExecBinary& insn;
  Block dst, lhs, rhs;  // an immediate is an empty block
};

struct ReduceUse {
  const isa::ExecReduce& insn;
  Block dst, src;
  bool clear = false;
};

struct FillUse {
  const isa::ExecFill& insn;
  Block dst;
};

struct TransposeUse {
  const isa::ExecTranspose& insn;
  Block dst, src;
};

struct DmaUse {
  int tensor = 0;
  const AccessPattern& access;
  Block sram;
  std::array<std::int64_t, kMaxRank> coords{};
  float fill = 0.0F;
};

struct LoadUse : DmaUse {};
struct StoreUse : DmaUse {};

// Throws where a block that is not empty is misaligned, leaves SRAM, does not fit its pitch, or
// is a vector with more than one row and column.
void check_block(const Walker& walker, const Block& block, const char* role, bool dma);
// Throws where sums with a box's steps could leave 64 bits.
void check_coordinates(const Walker& walker, const std::array<std::int64_t, kMaxRank>& coords);

// Calls visit(...Use) for an instruction that touches anything. kChecked is for a program that
// the verifier has not been through.
template <bool kChecked>
class Resolver {
 public:
  explicit Resolver(const Walker& walker) : w_(walker) {}

  template <class Visitor>
  void operator()(const Op& op, Visitor&& visit) const {
    switch (op.opcode) {
      case isa::Opcode::kLoad: return dma<LoadUse>(op.as<isa::Load>(), visit);
      case isa::Opcode::kStore: return dma<StoreUse>(op.as<isa::Store>(), visit);
      case isa::Opcode::kExecGemm: return gemm(op.as<isa::ExecGemm>(), visit);
      case isa::Opcode::kExecUnary: return unary(op.as<isa::ExecUnary>(), visit);
      case isa::Opcode::kExecBinary: return binary(op.as<isa::ExecBinary>(), visit);
      case isa::Opcode::kExecReduce: return reduce(op.as<isa::ExecReduce>(), visit);
      case isa::Opcode::kExecFill: return fill(op.as<isa::ExecFill>(), visit);
      case isa::Opcode::kExecTranspose: return transpose(op.as<isa::ExecTranspose>(), visit);
      default: return;
    }
  }

 private:
  Block block(std::uint8_t agen, std::int64_t rows, std::int64_t cols, const char* role,
              bool dma = false) const {
    const Block block{w_.address(agen), rows, cols, w_.pitch(agen)};
    if constexpr (kChecked) check_block(w_, block, role, dma);
    return block;
  }

  bool clears(isa::ClearMode mode, std::uint8_t level) const {
    return mode == isa::ClearMode::kAlways ||
           (mode == isa::ClearMode::kAt0 && w_.at_first_iteration(level));
  }

  template <class Use, class Insn, class Visitor>
  void dma(const Insn& insn, Visitor&& visit) const {
    const Program& program = w_.program();
    const AccessPattern& access = program.accesses[insn.access];
    if (access.rows == 0 || access.cols == 0) return;
    Use use{{insn.tensor, access}};
    if constexpr (requires { insn.dst; }) {
      use.sram = block(insn.dst, access.rows, access.cols, "dst", true);
      use.fill = insn.fill;
    } else {
      use.sram = block(insn.src, access.rows, access.cols, "src", true);
    }
    const std::array<std::uint8_t, kMaxRank> from = {insn.c0, insn.c1, insn.c2, insn.c3, insn.c4};
    for (int d = 0; d < program.tensors[insn.tensor].rank; ++d) {
      use.coords[d] = w_.coordinate(from[d]);
    }
    if constexpr (kChecked) check_coordinates(w_, use.coords);
    visit(use);
  }

  template <class Visitor>
  void gemm(const isa::ExecGemm& insn, Visitor&& visit) const {
    const std::int64_t m = w_.extent(insn.m);
    const std::int64_t n = w_.extent(insn.n);
    const std::int64_t k = w_.extent(insn.k);
    const bool clear = clears(insn.clear, insn.level);
    if (m == 0 || n == 0 || (k == 0 && !clear)) return;
    GemmUse use{.insn = insn, .m = m, .n = n, .k = k, .clear = clear};
    use.dst = block(insn.dst, m, n, "dst");
    use.lhs = insn.ta ? block(insn.lhs, k, m, "lhs") : block(insn.lhs, m, k, "lhs");
    use.rhs = insn.tb ? block(insn.rhs, n, k, "rhs") : block(insn.rhs, k, n, "rhs");
    visit(use);
  }

  template <class Visitor>
  void unary(const isa::ExecUnary& insn, Visitor&& visit) const {
    const std::int64_t m = w_.extent(insn.m);
    const std::int64_t n = w_.extent(insn.n);
    if (m == 0 || n == 0) return;
    visit(UnaryUse{insn, block(insn.dst, m, n, "dst"), block(insn.src, m, n, "src")});
  }

  template <class Visitor>
  void binary(const isa::ExecBinary& insn, Visitor&& visit) const {
    const std::int64_t m = w_.extent(insn.m);
    const std::int64_t n = w_.extent(insn.n);
    if (m == 0 || n == 0) return;
    const auto operand = [&](isa::OperandMode mode, std::uint8_t agen, const char* role) {
      switch (mode) {
        case isa::OperandMode::kFull: return block(agen, m, n, role);
        case isa::OperandMode::kRow: return block(agen, 1, n, role);
        case isa::OperandMode::kCol: return block(agen, m, 1, role);
        case isa::OperandMode::kScalar: return block(agen, 1, 1, role);
        case isa::OperandMode::kImm: break;
      }
      return Block{};
    };
    visit(BinaryUse{insn, block(insn.dst, m, n, "dst"), operand(insn.lmode, insn.lhs, "lhs"),
                    operand(insn.rmode, insn.rhs, "rhs")});
  }

  template <class Visitor>
  void reduce(const isa::ExecReduce& insn, Visitor&& visit) const {
    const std::int64_t m = w_.extent(insn.m);
    const std::int64_t n = w_.extent(insn.n);
    const bool along_cols = insn.axis == isa::Axis::kCols;
    const bool clear = clears(insn.clear, insn.level);
    const std::int64_t results = along_cols ? m : n;
    const std::int64_t length = along_cols ? n : m;
    if (results == 0 || (length == 0 && !clear)) return;
    const Block dst = along_cols ? block(insn.dst, m, 1, "dst") : block(insn.dst, 1, n, "dst");
    visit(ReduceUse{insn, dst, block(insn.src, m, n, "src"), clear});
  }

  template <class Visitor>
  void fill(const isa::ExecFill& insn, Visitor&& visit) const {
    const std::int64_t m = w_.extent(insn.m);
    const std::int64_t n = w_.extent(insn.n);
    if (m == 0 || n == 0) return;
    visit(FillUse{insn, block(insn.dst, m, n, "dst")});
  }

  template <class Visitor>
  void transpose(const isa::ExecTranspose& insn, Visitor&& visit) const {
    const std::int64_t m = w_.extent(insn.m);
    const std::int64_t n = w_.extent(insn.n);
    if (m == 0 || n == 0) return;
    visit(TransposeUse{insn, block(insn.dst, n, m, "dst"), block(insn.src, m, n, "src")});
  }

  const Walker& w_;
};

}  // namespace tileflow
