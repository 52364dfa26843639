// What an EXEC or DMA instruction asks of the host, with every address and extent resolved.
//
// One table of functions per SIMD level; all levels give the same bits (NaN payloads aside).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace tileflow {

// Element types; isa.table DTYPES, same order.
enum class DType : std::uint8_t { kF32, kBf16, kI8, kI32 };
inline constexpr int kDTypes = 4;

// A matrix or vector in SRAM. pitch > 0: a row-major grid of contiguous, row-major tile x tile
// tiles, pitch tiles a grid row. pitch == 0: contiguous, element (r, c) of an m x n operand at
// r * n + c (one of m, n is 1). kStridedRows: in a tensor's memory, the elements of a row adjoin
// and rows are `stride` elements apart; of a gemm no operand is.
inline constexpr int kStridedRows = -1;
struct Operand {
  void* data = nullptr;  // of the kernel's element type
  int pitch = 0;
  std::int64_t stride = 0;
};

// dst[i,j] = (clear ? 0 : dst[i,j]) + sum_k lhs[i,k] * rhs[k,j], fma in ascending k; in another
// semiring, products that are sums as well, and the least or the greatest of them in place of their
// sum, of which there is infinity, or minus infinity, where clear begins. Operands of
// bf16 are widened to f32, those of i8 to i32, and dst is of that. Where they are bf16, denormal
// operands and results of each fma count as zeros of their sign; sums of integers are modulo 2^32.
struct GemmArgs {
  Operand dst, lhs, rhs;
  int m = 0, n = 0, k = 0;
  int tile = 0;
  bool clear = false;
  bool lhs_transposed = false;  // lhs is stored k x m
  bool rhs_transposed = false;  // rhs is stored n x k
};

// dst = f(fma(src, scale, bias)); dst may be src. Of i32, scale is 1 and bias -0.
struct UnaryArgs {
  Operand dst, src;
  int m = 0, n = 0;
  int tile = 0;
  float scale = 1.0F, bias = -0.0F;
};

enum class Mode : std::uint8_t { kFull, kRow, kCol, kScalar, kImm };

// dst = f(lhs, rhs), each indexed as its mode says; dst may be either full operand.
struct BinaryArgs {
  Operand dst, lhs, rhs;
  Mode lmode = Mode::kFull, rmode = Mode::kFull;
  float imm = 0.0F;  // of i32, its bits
  int m = 0, n = 0;
  int tile = 0;
};

// dst = cond != 0 ? a : b, each indexed as its mode says; dst may be any full operand. NaN is not
// 0. Elements of 4 bytes are moved, whatever they are; cond is of f32 or i32.
struct SelectArgs {
  Operand dst, cond, a, b;
  Mode cmode = Mode::kFull, amode = Mode::kFull, bmode = Mode::kFull;
  float imm = 0.0F;  // its bits
  int m = 0, n = 0;
  int tile = 0;
};

// dst[i] = f(clear ? nothing : dst[i], f over src[i,:]) (along_cols), or over src[:,i].
// dst is addressed as a vector when its pitch is 0, else as column 0 (along_cols) or row 0 of a
// tile grid. Order of a sum along columns: within each tile, 16 lanes (lane l takes columns l
// and l + 16, ...; absent columns are -0.0), folded 8, 4, 2, 1; then tiles in ascending order
// onto the result. Along rows: ascending rows, one by one. max and min propagate NaN.
struct ReduceArgs {
  Operand dst, src;
  int m = 0, n = 0;
  int tile = 0;
  bool along_cols = false;
  bool clear = false;
};

struct FillArgs {
  Operand dst;
  int m = 0, n = 0;
  int tile = 0;
  std::uint32_t value = 0;  // the bits of an element
};

// dst[j,i] = src[i,j], src m x n; no overlap.
struct TransposeArgs {
  Operand dst, src;
  int m = 0, n = 0;
  int tile = 0;
};

// dst[i,j] = src[i,j], converted to f32, times scale, converted to the element type of dst. Each
// step rounds to the nearest even; integers saturate, and are 0 for NaN. No overlap.
struct CastArgs {
  Operand dst, src;
  int m = 0, n = 0;
  int tile = 0;
  float scale = 1.0F;
};

// dst[i,j] = base + i * rstep + j * cstep >= 0 ? src[i,j] : value; dst may be src.
struct AffineSelectArgs {
  Operand dst, src;
  int m = 0, n = 0;
  int tile = 0;
  std::int64_t base = 0;
  int rstep = 0, cstep = 0;
  std::uint32_t value = 0;  // the bits of an element
};

// dst[i,j] = base + i * rstep + j * cstep, an integer of 64 bits: as f32 to the nearest even, as
// i32 modulo 2^32.
struct IotaArgs {
  Operand dst;
  int m = 0, n = 0;
  int tile = 0;
  std::int64_t base = 0;
  int rstep = 0, cstep = 0;
};

inline constexpr int kMaxRank = 5;
inline constexpr int kBroadcast = -1;

// One dimension of a DMA box, most significant first within its side.
struct BoxDim {
  std::uint32_t extent = 1;
  int tensor_dim = kBroadcast;  // coordinate of this dim moves by `step` an index
  std::int32_t step = 1;
  bool column = false;  // counts along SRAM columns; else along rows
};

// A box of a DRAM tensor against a matrix in SRAM of (product of row extents) x (product of
// column extents). Coordinates outside the tensor's shape read as `fill` and are not written.
struct DmaArgs {
  void* sram = nullptr;
  int pitch = 0;  // as in Operand
  std::int64_t sram_stride = 0;
  int tile = 0;
  void* tensor = nullptr;  // element (0, ..., 0)
  int rank = 0;
  std::array<std::int64_t, kMaxRank> shape{}, strides{}, coords{};  // strides in elements
  std::span<const BoxDim> box;
  std::uint32_t fill = 0;  // the bits of an element
};

// Elements moved inside the tensor, for the byte counts.
using DmaFn = std::int64_t (*)(const DmaArgs&);

inline constexpr int kUnaryFuncs = 37;   // isa.table UNARY_FUNCS, same order; asserted on import
inline constexpr int kBinaryFuncs = 21;  // BINARY_FUNCS
inline constexpr int kReduceFuncs = 4;   // REDUCE_FUNCS
inline constexpr int kGemmDTypes = 3;    // GEMM_DTYPES; the first of DTYPES
inline constexpr int kChoices = 4;       // SEMIRINGS but for the first
inline constexpr int kCasts = 8;         // CASTS, same order
inline constexpr int kIndexed = 2;       // INDEXED_DTYPES, same order

// Types that are computed with; isa.table ARITHMETIC, same order.
inline constexpr int kArithmetic = 2;
using UnaryFns = std::array<void (*)(const UnaryArgs&), kUnaryFuncs>;
using BinaryFns = std::array<void (*)(const BinaryArgs&), kBinaryFuncs>;

struct Kernels {
  const char* level;                                            // "scalar", "avx2", "avx512"
  std::array<void (*)(const GemmArgs&), kGemmDTypes> gemm;      // by the type of lhs and rhs
  std::array<void (*)(const GemmArgs&), kChoices> gemm_chosen;  // of f32
  std::array<UnaryFns, kArithmetic> unary;  // null where a type lacks the function
  std::array<BinaryFns, kArithmetic> binary;
  std::array<void (*)(const SelectArgs&), kArithmetic> select;  // by the type of cond
  std::array<void (*)(const ReduceArgs&), kReduceFuncs> reduce;
  std::array<void (*)(const FillArgs&), kDTypes> fill;
  std::array<void (*)(const TransposeArgs&), kDTypes> transpose;
  std::array<void (*)(const CastArgs&), kCasts> cast;
  std::array<void (*)(const AffineSelectArgs&), kIndexed> affine_select;
  std::array<void (*)(const IotaArgs&), kIndexed> iota;
  std::array<DmaFn, kDTypes> load, store;
};

// The levels this processor can run, slowest first; never empty.
std::span<const Kernels* const> available_kernels();

}  // namespace tileflow
