// The tables of kernels that are built, one per SIMD level.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "kernels/kernels.h"

namespace tileflow {

extern const Kernels kScalarKernels;
#ifdef TILEFLOW_X86
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
extern const Kernels kAvx2PairKernels;
#endif

// available_kernels() and, where the processor can run it, the level that executes 16-lane code on
// pairs of 8-lane registers. Only tests use that one.
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
