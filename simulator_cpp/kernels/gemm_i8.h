// gemm of i8 into i32. Sums are modulo 2^32, so that their order does not matter.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/gemm_words.h"

namespace tileflow {
namespace {

typedef std::int8_t Bytes8 __attribute__((vector_size(8)));
typedef std::int8_t Bytes16 __attribute__((vector_size(16)));
typedef std::int16_t Shorts8 __attribute__((vector_size(16)));

template <class To, class From>
To loaded(const From* src) {
  To result;
  std::memcpy(&result, src, sizeof(result));
  return result;
}

// What is common to both ways.
template <class V>
struct StepsI8 {
  using Vector = V;
  using In = std::int8_t;
  using Out = std::int32_t;
  using Acc = typename V::I;
  static Acc load(const Out* p) { return V::load(p); }
  static void store(Out* p, Acc acc) { V::store(p, acc); }
};

// Pairs, widened to 16 bits.
template <class V>
struct PairsI8 : StepsI8<V> {
  using In = std::int8_t;
  using I = typename V::I;
  static constexpr int kGroup = 2;
  static constexpr int kAcross = 8;

  static I dot(I acc, I lhs, I rhs) { return V::dot(acc, lhs, rhs); }
  static I first(const std::int32_t*) { return V::splat_bits(0); }
  static I first(I before, const std::int32_t*) { return before; }
  template <int kCols>
  static void measure(const std::int32_t*, int, std::int32_t*) {}

  template <Factor>
  static Words along(const In* src) {
    return reinterpret_cast<Words>(__builtin_convertvector(loaded<Bytes8>(src), Shorts8));
  }
  template <Factor>
  static void across(const In* src, std::ptrdiff_t stride, std::int32_t* to) {
    const auto low = __builtin_convertvector(loaded<Bytes8>(src), Shorts8);
    const auto high = __builtin_convertvector(loaded<Bytes8>(src + stride), Shorts8);
    store_words(to, __builtin_shufflevector(low, high, 0, 8, 1, 9, 2, 10, 3, 11));
    store_words(to + 4, __builtin_shufflevector(low, high, 4, 12, 5, 13, 6, 14, 7, 15));
  }
  template <Factor>
  static std::int32_t word(const In* src, std::ptrdiff_t stride, int count) {
    const int high = count > 1 ? src[stride] : 0;
    return (src[0] & 0xFFFF) | high * (1 << 16);
  }
};

// Quadruples, for an instruction that multiplies unsigned bytes by signed ones: V::dot_bytes. Those
// of lhs are 128 more than they should be, which the sums of the columns of rhs make good.
template <class V>
struct QuadsI8 : StepsI8<V> {
  using In = std::int8_t;
  using I = typename V::I;
  static constexpr int kGroup = 4;
  static constexpr int kAcross = 16;
  static constexpr std::uint32_t kMore = 0x8080'8080;

  static I dot(I acc, I lhs, I rhs) { return V::dot_bytes(acc, lhs, rhs); }
  static I first(const std::int32_t* offset) { return V::load(offset); }
  static I first(I before, const std::int32_t* offset) { return V::add(before, V::load(offset)); }
  template <int kCols>
  static void measure(const std::int32_t* words, int count, std::int32_t* offset) {
    I sums[kCols / V::kWidth];
    for (I& sum : sums) sum = V::splat_bits(0);
    for (; count > 0; --count) {
      for (I& sum : sums) {
        sum = V::dot_bytes(sum, V::splat_bits(kMore), V::load(words));
        words += V::kWidth;
      }
    }
    for (const I& sum : sums) {
      V::store(offset, V::sub(V::splat_bits(0), sum));
      offset += V::kWidth;
    }
  }

  template <Factor factor>
  static Words along(const In* src) {
    return shifted<factor>(loaded<Words>(src));
  }
  template <Factor factor>
  static void across(const In* src, std::ptrdiff_t stride, std::int32_t* to) {
    const auto low = interleaved(loaded<Bytes16>(src), loaded<Bytes16>(src + stride));
    const auto high =
        interleaved(loaded<Bytes16>(src + 2 * stride), loaded<Bytes16>(src + 3 * stride));
    for (int half = 0; half < 2; ++half) {
      const Shorts8 a = half == 0 ? low.first : low.second;
      const Shorts8 b = half == 0 ? high.first : high.second;
      store_words(to + half * 8, shifted<factor>(reinterpret_cast<Words>(
                                     __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11))));
      store_words(to + half * 8 + 4,
                  shifted<factor>(reinterpret_cast<Words>(
                      __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15))));
    }
  }
  template <Factor factor>
  static std::int32_t word(const In* src, std::ptrdiff_t stride, int count) {
    std::uint32_t bytes = 0;
    for (int i = 0; i < count; ++i) {
      bytes |= static_cast<std::uint32_t>(static_cast<std::uint8_t>(src[i * stride])) << 8 * i;
    }
    return static_cast<std::int32_t>(factor == Factor::kLhs ? bytes ^ kMore : bytes);
  }

 private:
  template <Factor factor>
  static Words shifted(Words words) {
    return factor == Factor::kLhs ? words ^ static_cast<std::int32_t>(kMore) : words;
  }
  static std::pair<Shorts8, Shorts8> interleaved(Bytes16 a, Bytes16 b) {
    return {reinterpret_cast<Shorts8>(__builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4,
                                                              20, 5, 21, 6, 22, 7, 23)),
            reinterpret_cast<Shorts8>(__builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27,
                                                              12, 28, 13, 29, 14, 30, 15, 31))};
  }
};

template <class V>
using GemmI8 = GemmWords<PairsI8<V>>;

}  // namespace
}  // namespace tileflow
