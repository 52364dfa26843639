// Which levels the processor, and the operating system's saving of registers, can run.
#include <vector>

#include "kernels/kernels.h"
#include "kernels/levels.h"

namespace tileflow {
namespace {

std::vector<const Kernels*> runnable([[maybe_unused]] bool for_tests) {
  std::vector<const Kernels*> levels{&kScalarKernels};
#ifdef TILEFLOW_X86
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2) levels.push_back(&kAvx2Kernels);
  if (avx2 && for_tests) levels.push_back(&kAvx2PairKernels);
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
  if (avx2 && avx512) levels.push_back(&kAvx512Kernels);
#endif
  return levels;
}

}  // namespace

std::span<const Kernels* const> available_kernels() {
  static const std::vector<const Kernels*> levels = runnable(false);
  return levels;
}

std::span<const Kernels* const> all_test_kernels() {
  static const std::vector<const Kernels*> levels = runnable(true);
  return levels;
}

}  // namespace tileflow
