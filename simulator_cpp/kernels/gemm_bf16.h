// gemm of bf16 into f32: fma in ascending k, where denormals count as zeros of their sign. That is
// what processors with instructions for it do, two steps at once; others do it in two.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/cast.h"
#include "kernels/gemm.h"
#include "kernels/gemm_words.h"

namespace tileflow {
namespace {

// One step at a time, of operands widened to f32.
template <class V>
struct GemmBf16 {
  static void run(const GemmArgs& args) {
    [[maybe_unused]] const typename V::DenormalsAsZeros here;
    multiply(args);
  }

 private:
  // A function of its own: arithmetic must not move across the change of mode.
  [[gnu::noinline]] static void multiply(const GemmArgs& args) {
    Gemm<typename V::Flushing, Bf16>::run(args);
  }
};

// Pairs, for an instruction that takes the upper halves of words before the lower ones:
// V::dot_bf16. So the first of two neighbours is the upper one.
template <class V>
struct PairsBf16 {
  using Vector = V;
  using In = Bf16;
  using Out = float;
  using Acc = typename V::F;
  static constexpr int kGroup = 2;
  static constexpr int kAcross = 8;

  static Acc load(const Out* p) { return V::load(p); }
  static void store(Out* p, Acc acc) { V::store(p, acc); }
  static Acc first(const std::int32_t*) { return V::splat(0.0F); }
  static Acc first(Acc before, const std::int32_t*) { return before; }
  template <int kCols>
  static void measure(const std::int32_t*, int, std::int32_t*) {}
  static Acc dot(Acc acc, typename V::I lhs, typename V::I rhs) {
    return V::dot_bf16(acc, lhs, rhs);
  }

  template <Factor>
  static Words along(const In* src) {
    const auto pairs = loaded(src);
    return reinterpret_cast<Words>(__builtin_shufflevector(pairs, pairs, 1, 0, 3, 2, 5, 4, 7, 6));
  }
  template <Factor>
  static void across(const In* src, std::ptrdiff_t stride, std::int32_t* to) {
    const auto high = loaded(src);
    const auto low = loaded(src + stride);
    store_words(to, __builtin_shufflevector(low, high, 0, 8, 1, 9, 2, 10, 3, 11));
    store_words(to + 4, __builtin_shufflevector(low, high, 4, 12, 5, 13, 6, 14, 7, 15));
  }
  // What is not there is 0.0 of lhs and -0.0 of rhs, whose product changes no sum.
  template <Factor factor>
  static std::int32_t word(const In* src, std::ptrdiff_t stride, int count) {
    const std::uint32_t absent = factor == Factor::kLhs ? 0 : 0x8000;
    const std::uint32_t low = count > 1 ? src[stride] : absent;
    return static_cast<std::int32_t>(std::uint32_t{src[0]} << 16 | low);
  }

 private:
  typedef Bf16 Halves __attribute__((vector_size(16)));
  static Halves loaded(const In* src) {
    Halves result;
    std::memcpy(&result, src, sizeof(result));
    return result;
  }
};

}  // namespace
}  // namespace tileflow
