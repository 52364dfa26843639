// The tables of kernels that are built, one per SIMD level.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "kernels/bf16_guard.h"
#include "kernels/kernels.h"

namespace tileflow {

extern const Kernels kScalarKernels;
#ifdef TILEFLOW_X86
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx2PairKernels;
// avx512 on a processor with no more of AVX-512 than F and BW; what others have besides.
extern const Kernels kAvx512BaseKernels;
void gemm_i8_vnni(const GemmArgs& args);
void gemm_bf16_dot(const GemmArgs& args);
void bf16_dot(std::span<float, kBf16Lanes> acc, std::span<const std::int32_t, kBf16Lanes> lhs,
              std::span<const std::int32_t, kBf16Lanes> rhs);

struct Avx512Extensions {
  bool vnni = false;
  Bf16Dot bf16;  // empty: none
};
// The level avx512 that makes use of them; of the one for bf16 only if it gives the contract's
// bits.
Kernels avx512_kernels(const Avx512Extensions& extensions);
#endif

// available_kernels() and, where the processor can run them, what only tests use: the level that
// executes 16-lane code on pairs of 8-lane registers, and last the functions that avx512 has on
// processors with fewer instructions.
std::span<const Kernels* const> all_test_kernels();

// A kernel by what it does: an instruction, its function where it has several (of a cast, the
// element type of dst), and the element type of its sources. Each level has one for every row.
struct KernelRow {
  std::string_view operation, function, dtype;
};
const std::vector<KernelRow>& kernel_rows();

// GFLOP/s that independent fused multiply-adds reach at this level; 0 where it is unknown.
double fma_peak(std::string_view level);

}  // namespace tileflow
