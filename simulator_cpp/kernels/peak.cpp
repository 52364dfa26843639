// What the processor could do at most: chains of fused multiply-adds that wait for nothing else.
#include <algorithm>
#include <chrono>
#include <limits>

#include "kernels/levels.h"

#ifdef TILEFLOW_X86
#include <immintrin.h>
#endif

namespace tileflow {
#ifdef TILEFLOW_X86
namespace {

constexpr int kSteps = 1 << 14;
constexpr int kRuns = 100;  // the best counts: what else the machine does only adds

template <class Body>
double best_seconds(Body body) {
  using Clock = std::chrono::steady_clock;
  double best = std::numeric_limits<double>::infinity();
  for (int run = 0; run < kRuns; ++run) {
    const auto begin = Clock::now();
    body();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - begin).count());
  }
  return best;
}

__attribute__((target("avx2,fma"), noinline)) void chains_avx2() {
  const __m256 one = _mm256_set1_ps(1.0F);
  __m256 a = one, b = one, c = one, d = one, e = one, f = one;
  __m256 g = one, h = one, i = one, j = one, k = one, l = one;
  for (int step = 0; step < kSteps; ++step) {
    a = _mm256_fmadd_ps(a, one, one), b = _mm256_fmadd_ps(b, one, one);
    c = _mm256_fmadd_ps(c, one, one), d = _mm256_fmadd_ps(d, one, one);
    e = _mm256_fmadd_ps(e, one, one), f = _mm256_fmadd_ps(f, one, one);
    g = _mm256_fmadd_ps(g, one, one), h = _mm256_fmadd_ps(h, one, one);
    i = _mm256_fmadd_ps(i, one, one), j = _mm256_fmadd_ps(j, one, one);
    k = _mm256_fmadd_ps(k, one, one), l = _mm256_fmadd_ps(l, one, one);
    // The chains are equal, which the compiler must not see.
    asm volatile("" : "+x"(a), "+x"(b), "+x"(c), "+x"(d), "+x"(e), "+x"(f));
    asm volatile("" : "+x"(g), "+x"(h), "+x"(i), "+x"(j), "+x"(k), "+x"(l));
  }
}

__attribute__((target("avx512f"), noinline)) void chains_avx512() {
  const __m512 one = _mm512_set1_ps(1.0F);
  __m512 a = one, b = one, c = one, d = one, e = one, f = one;
  __m512 g = one, h = one, i = one, j = one, k = one, l = one;
  for (int step = 0; step < kSteps; ++step) {
    a = _mm512_fmadd_ps(a, one, one), b = _mm512_fmadd_ps(b, one, one);
    c = _mm512_fmadd_ps(c, one, one), d = _mm512_fmadd_ps(d, one, one);
    e = _mm512_fmadd_ps(e, one, one), f = _mm512_fmadd_ps(f, one, one);
    g = _mm512_fmadd_ps(g, one, one), h = _mm512_fmadd_ps(h, one, one);
    i = _mm512_fmadd_ps(i, one, one), j = _mm512_fmadd_ps(j, one, one);
    k = _mm512_fmadd_ps(k, one, one), l = _mm512_fmadd_ps(l, one, one);
    asm volatile("" : "+v"(a), "+v"(b), "+v"(c), "+v"(d), "+v"(e), "+v"(f));
    asm volatile("" : "+v"(g), "+v"(h), "+v"(i), "+v"(j), "+v"(k), "+v"(l));
  }
}

constexpr double gflops(int lanes, double seconds) {
  constexpr int kChains = 12;
  return 2.0 * kChains * lanes * kSteps / seconds * 1e-9;
}

}  // namespace
#endif

double fma_peak([[maybe_unused]] std::string_view level) {
#ifdef TILEFLOW_X86
  if (level.starts_with("avx512")) return gflops(16, best_seconds(chains_avx512));
  if (level == "avx2") return gflops(8, best_seconds(chains_avx2));
#endif
  return 0;
}

}  // namespace tileflow
