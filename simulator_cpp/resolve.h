// What an instruction touches, with every register evaluated: the meaning that the verifier
// checks and the engines execute.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "block.h"
#include "element.h"
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

struct SelectUse {
  const isa::ExecSelect& insn;
  Block dst, cond, a, b;  // an immediate is an empty block
};

struct ReduceUse {
  const isa::ExecReduce& insn;
  Block dst, src;
  bool clear = false;
};

struct FillUse {
  const isa::ExecFill& insn;
  Block dst;
  std::uint32_t value = 0;  // the bits of an element
};

struct TransposeUse {
  const isa::ExecTranspose& insn;
  Block dst, src;
};

struct CastUse {
  const isa::ExecCast& insn;
  Block dst, src;
};

// An affine form of an element's place: base + row * rstep + column * cstep.
struct AffineSelectUse {
  const isa::ExecAffineSelect& insn;
  Block dst, src;
  std::int64_t base = 0;
  std::uint32_t value = 0;  // the bits of an element
};

struct IotaUse {
  const isa::ExecIota& insn;
  Block dst;
  std::int64_t base = 0;
};

struct DmaUse {
  int tensor = 0;
  const AccessPattern& access;
  Block sram;
  std::array<std::int64_t, kMaxRank> coords{};
  std::uint32_t fill = 0;  // the bits of an element
};

struct LoadUse : DmaUse {};
struct StoreUse : DmaUse {};

// Throws where a block that is not empty is misaligned, leaves SRAM, does not fit its pitch, or
// is a vector with more than one row and column.
void check_block(const Walker& walker, const Block& block, const char* role, bool dma);
// Throw where the element types of operands do not go together.
void check_f32(const Walker& walker, const Block& block, const char* role);
void check_gemm_dtypes(const Walker& walker, isa::Semiring semiring, const Block& dst,
                       const Block& lhs, const Block& rhs);
// Operands that are computed with: alike, of a type that has the function, and without scale and
// bias where it is no f32. An immediate, an empty block, is of the type of dst.
void check_unary(const Walker& walker, const UnaryUse& use);
void check_binary(const Walker& walker, const BinaryUse& use);
void check_select(const Walker& walker, const SelectUse& use);
void check_cast_dtypes(const Walker& walker, const Block& dst, const Block& src);
void check_same_dtype(const Walker& walker, const Block& dst, const Block& src);
void check_indexed_dtype(const Walker& walker, const Block& block, const char* role);
void check_tensor_dtype(const Walker& walker, const Block& block, const Tensor& tensor,
                        const char* role);
// `value` in the element type of `block`. Throws where it has none that is equal.
std::uint32_t element_for(const Walker& walker, const Block& block, float value);
// Throws where sums with the steps of rows and columns could leave 64 bits.
void check_base(const Walker& walker, std::int64_t base);
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
      case isa::Opcode::kExecSelect: return select(op.as<isa::ExecSelect>(), visit);
      case isa::Opcode::kExecReduce: return reduce(op.as<isa::ExecReduce>(), visit);
      case isa::Opcode::kExecFill: return fill(op.as<isa::ExecFill>(), visit);
      case isa::Opcode::kExecTranspose: return transpose(op.as<isa::ExecTranspose>(), visit);
      case isa::Opcode::kExecCast: return cast(op.as<isa::ExecCast>(), visit);
      case isa::Opcode::kExecAffineSelect:
        return affine_select(op.as<isa::ExecAffineSelect>(), visit);
      case isa::Opcode::kExecIota: return iota(op.as<isa::ExecIota>(), visit);
      // These touch nothing. There is no default, so that the build fails where one is forgotten.
      case isa::Opcode::kHalt:
      case isa::Opcode::kLoop:
      case isa::Opcode::kEnd:
      case isa::Opcode::kAgen:
      case isa::Opcode::kStride:
      case isa::Opcode::kExt:
      case isa::Opcode::kSem:
      case isa::Opcode::kScalar:
      case isa::Opcode::kLoadNop:
      case isa::Opcode::kExecNop:
      case isa::Opcode::kStoreNop: return;
    }
  }

 private:
  Block block(std::uint8_t agen, std::int64_t rows, std::int64_t cols, const char* role,
              bool dma = false) const {
    const Block block{w_.address(agen), rows, cols, w_.pitch(agen), w_.dtype(agen)};
    if constexpr (kChecked) check_block(w_, block, role, dma);
    return block;
  }
  // An operand of an instruction that takes f32 alone.
  Block f32_block(std::uint8_t agen, std::int64_t rows, std::int64_t cols, const char* role) const {
    const Block block = this->block(agen, rows, cols, role);
    if constexpr (kChecked) check_f32(w_, block, role);
    return block;
  }

  // An operand of an m x n result; empty where it is the immediate.
  Block operand(isa::OperandMode mode, std::uint8_t agen, std::int64_t m, std::int64_t n,
                const char* role) const {
    switch (mode) {
      case isa::OperandMode::kFull: return block(agen, m, n, role);
      case isa::OperandMode::kRow: return block(agen, 1, n, role);
      case isa::OperandMode::kCol: return block(agen, m, 1, role);
      case isa::OperandMode::kScalar: return block(agen, 1, 1, role);
      case isa::OperandMode::kImm: break;
    }
    return Block{};
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
      use.fill = element_for(w_, use.sram, insn.fill);
    } else {
      use.sram = block(insn.src, access.rows, access.cols, "src", true);
    }
    if constexpr (kChecked) {
      constexpr const char* kRole = requires { insn.dst; } ? "dst" : "src";
      check_tensor_dtype(w_, use.sram, program.tensors[insn.tensor], kRole);
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
    if constexpr (kChecked) check_gemm_dtypes(w_, insn.semiring, use.dst, use.lhs, use.rhs);
    visit(use);
  }

  template <class Visitor>
  void unary(const isa::ExecUnary& insn, Visitor&& visit) const {
    const std::int64_t m = w_.extent(insn.m);
    const std::int64_t n = w_.extent(insn.n);
    if (m == 0 || n == 0) return;
    const UnaryUse use{insn, block(insn.dst, m, n, "dst"), block(insn.src, m, n, "src")};
    if constexpr (kChecked) check_unary(w_, use);
    visit(use);
  }

  template <class Visitor>
  void binary(const isa::ExecBinary& insn, Visitor&& visit) const {
    const std::int64_t m = w_.extent(insn.m);
    const std::int64_t n = w_.extent(insn.n);
    if (m == 0 || n == 0) return;
    const BinaryUse use{insn, block(insn.dst, m, n, "dst"),
                        operand(insn.lmode, insn.lhs, m, n, "lhs"),
                        operand(insn.rmode, insn.rhs, m, n, "rhs")};
    if constexpr (kChecked) check_binary(w_, use);
    visit(use);
  }

  template <class Visitor>
  void select(const isa::ExecSelect& insn, Visitor&& visit) const {
    const std::int64_t m = w_.extent(insn.m);
    const std::int64_t n = w_.extent(insn.n);
    if (m == 0 || n == 0) return;
    const SelectUse use{
        insn, block(insn.dst, m, n, "dst"), operand(insn.cmode, insn.cond, m, n, "cond"),
        operand(insn.amode, insn.a, m, n, "a"), operand(insn.bmode, insn.b, m, n, "b")};
    if constexpr (kChecked) check_select(w_, use);
    visit(use);
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
    const Block dst =
        along_cols ? f32_block(insn.dst, m, 1, "dst") : f32_block(insn.dst, 1, n, "dst");
    visit(ReduceUse{insn, dst, f32_block(insn.src, m, n, "src"), clear});
  }

  template <class Visitor>
  void fill(const isa::ExecFill& insn, Visitor&& visit) const {
    const std::int64_t m = w_.extent(insn.m);
    const std::int64_t n = w_.extent(insn.n);
    if (m == 0 || n == 0) return;
    const Block dst = block(insn.dst, m, n, "dst");
    visit(FillUse{insn, dst, element_for(w_, dst, insn.value)});
  }

  template <class Visitor>
  void transpose(const isa::ExecTranspose& insn, Visitor&& visit) const {
    const std::int64_t m = w_.extent(insn.m);
    const std::int64_t n = w_.extent(insn.n);
    if (m == 0 || n == 0) return;
    const TransposeUse use{insn, block(insn.dst, n, m, "dst"), block(insn.src, m, n, "src")};
    if constexpr (kChecked) check_same_dtype(w_, use.dst, use.src);
    visit(use);
  }

  template <class Visitor>
  void cast(const isa::ExecCast& insn, Visitor&& visit) const {
    const std::int64_t m = w_.extent(insn.m);
    const std::int64_t n = w_.extent(insn.n);
    if (m == 0 || n == 0) return;
    const CastUse use{insn, block(insn.dst, m, n, "dst"), block(insn.src, m, n, "src")};
    if constexpr (kChecked) check_cast_dtypes(w_, use.dst, use.src);
    visit(use);
  }

  template <class Visitor>
  void affine_select(const isa::ExecAffineSelect& insn, Visitor&& visit) const {
    const std::int64_t m = w_.extent(insn.m);
    const std::int64_t n = w_.extent(insn.n);
    if (m == 0 || n == 0) return;
    AffineSelectUse use{insn, block(insn.dst, m, n, "dst"), block(insn.src, m, n, "src"),
                        w_.address(insn.base)};
    if constexpr (kChecked) {
      check_indexed_dtype(w_, use.dst, "dst");
      check_same_dtype(w_, use.dst, use.src);
      check_base(w_, use.base);
    }
    use.value = element_for(w_, use.dst, insn.value);
    visit(use);
  }

  template <class Visitor>
  void iota(const isa::ExecIota& insn, Visitor&& visit) const {
    const std::int64_t m = w_.extent(insn.m);
    const std::int64_t n = w_.extent(insn.n);
    if (m == 0 || n == 0) return;
    const IotaUse use{insn, block(insn.dst, m, n, "dst"), w_.address(insn.base)};
    if constexpr (kChecked) {
      check_indexed_dtype(w_, use.dst, "dst");
      check_base(w_, use.base);
    }
    visit(use);
  }

  const Walker& w_;
};

}  // namespace tileflow
