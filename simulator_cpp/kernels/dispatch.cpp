// Which levels the processor, and the operating system's saving of registers, can run.
#include <cstddef>
#include <span>
#include <vector>

#include "kernels/bf16_guard.h"
#include "kernels/kernels.h"
#include "kernels/levels.h"

namespace tileflow {
namespace {

#ifdef TILEFLOW_X86
Avx512Extensions extensions_of_processor() {
  Avx512Extensions found;
  found.vnni = __builtin_cpu_supports("avx512vnni");
  if (__builtin_cpu_supports("avx512bf16")) found.bf16 = bf16_dot;
  return found;
}
#endif

std::vector<const Kernels*> runnable([[maybe_unused]] bool for_tests) {
  std::vector<const Kernels*> levels{&kScalarKernels};
#ifdef TILEFLOW_X86
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2) levels.push_back(&kAvx2Kernels);
  if (avx2 && for_tests) levels.push_back(&kAvx2PairKernels);
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) {
    static const Kernels avx512 = avx512_kernels(extensions_of_processor());
    levels.push_back(&avx512);
    if (for_tests) levels.push_back(&kAvx512BaseKernels);
  }
#endif
  return levels;
}

}  // namespace

#ifdef TILEFLOW_X86
Kernels avx512_kernels(const Avx512Extensions& extensions) {
  const auto row_of = [](DType dtype) { return static_cast<std::size_t>(dtype); };
  Kernels kernels = kAvx512BaseKernels;
  kernels.level = "avx512";
  if (extensions.vnni) kernels.gemm[row_of(DType::kI8)] = gemm_i8_vnni;
  if (extensions.bf16 && gives_contract_bits(extensions.bf16)) {
    kernels.gemm[row_of(DType::kBf16)] = gemm_bf16_dot;
  }
  return kernels;
}
#endif

std::span<const Kernels* const> available_kernels() {
  static const std::vector<const Kernels*> levels = runnable(false);
  return levels;
}

std::span<const Kernels* const> all_test_kernels() {
  static const std::vector<const Kernels*> levels = runnable(true);
  return levels;
}

}  // namespace tileflow
