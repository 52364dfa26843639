#include "kernels/gemm_bf16.h"
#include "kernels/levels.h"
#include "kernels/vec_avx512.h"

namespace tileflow {
namespace {

struct Avx512Bf16 : Avx512 {
  // Fused multiply-adds of the upper halves, then of the lower ones; see bf16_guard.h.
  static F dot_bf16(F acc, I a, I b) { return _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)b); }
};

}  // namespace

void gemm_bf16_dot(const GemmArgs& args) { GemmWords<PairsBf16<Avx512Bf16>>::run(args); }

void bf16_dot(std::span<float, kBf16Lanes> acc, std::span<const std::int32_t, kBf16Lanes> lhs,
              std::span<const std::int32_t, kBf16Lanes> rhs) {
  using V = Avx512Bf16;
  V::store(acc.data(), V::dot_bf16(V::load(acc.data()), V::load(lhs.data()), V::load(rhs.data())));
}

}  // namespace tileflow
