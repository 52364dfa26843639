// The tables of kernels that are built, one per SIMD level.
#pragma once

#include <span>

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

}  // namespace tileflow
