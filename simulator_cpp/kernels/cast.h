// Narrow element types to and from 32-bit lanes, and exec.cast.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/elementwise.h"
#include "kernels/view.h"

namespace tileflow {
namespace {

// Elements of bf16 are 16-bit integers, the upper halves of floats.
using Bf16 = std::uint16_t;

// The lanes of f32 that elements of type T are converted to. i32 is rounded, the others are exact.
template <class V>
typename V::F widened(const float* p) {
  return V::load(p);
}
template <class V>
typename V::F widened(const Bf16* p) {
  return V::from_bits(V::template shl<16>(V::load(p)));
}
template <class V>
typename V::F widened(const std::int8_t* p) {
  return V::to_float(V::load(p));
}
template <class V>
typename V::F widened(const std::int32_t* p) {
  return V::to_float(V::load(p));
}

// x in the form in which elements of type T are stored: a lane of bits or of an integer each, which
// store_narrowed narrows. The nearest even; integers saturate, and are 0 for NaN, if there is any.
template <class V, bool kNan>
typename V::I narrowed(float*, typename V::F x) {
  return V::bits(x);
}
// Half of what is cut off is added, less one bit where the result would be odd. A NaN is quiet, as
// it comes from a product: one of its upper bits is set.
template <class V, bool kNan>
typename V::I narrowed(Bf16*, typename V::F x) {
  const auto bits = V::bits(x);
  const auto odd = V::bit_and(V::template shr<16>(bits), V::splat_bits(1));
  const auto rounded = V::add(V::add(bits, V::splat_bits(0x7FFF)), odd);
  return V::bits(V::select(V::unordered(x, x), x, V::from_bits(rounded)));
}
// To the nearest integer, once it is below 2^31; V::round makes of what is below -2^31 just that.
template <class V, bool kNan>
typename V::I integer(typename V::F x) {
  if constexpr (!kNan) return V::round(x);
  const auto whole = V::from_bits(V::round(x));
  return V::bits(V::select(V::unordered(x, x), V::splat(0.0F), whole));
}
template <class V, bool kNan>
typename V::I narrowed(std::int8_t*, typename V::F x) {
  return integer<V, kNan>(V::min_or_second(V::splat(127.0F), x));  // keeps NaN; the store saturates
}
// The largest float below 2^31 is 2^31 - 128; what is larger becomes 2^31 - 1.
template <class V, bool kNan>
typename V::I narrowed(std::int32_t*, typename V::F x) {
  const auto large = V::less(V::splat(0x1.fffffep30F), x);
  const auto most = V::from_bits(V::splat_bits(0x7FFF'FFFF));
  return V::bits(V::select(large, most, V::from_bits(integer<V, kNan>(x))));
}

// Two vectors of elements.
template <class V>
void store_narrowed(float* p, typename V::I a, typename V::I b) {
  V::store(p, V::from_bits(a));
  V::store(p + V::kWidth, V::from_bits(b));
}
template <class V>
void store_narrowed(std::int32_t* p, typename V::I a, typename V::I b) {
  V::store(p, a);
  V::store(p + V::kWidth, b);
}
template <class V>
void store_narrowed(Bf16* p, typename V::I a, typename V::I b) {
  V::store_upper(p, a, b);
}
template <class V>
void store_narrowed(std::int8_t* p, typename V::I a, typename V::I b) {
  V::store_saturated(p, a, b);
}

template <class V, bool kNan, class From, class To>
[[gnu::always_inline]] inline void cast_two(const From* src, To* dst, typename V::F scale) {
  const auto first = narrowed<V, kNan>(dst, widened<V>(src) * scale);
  const auto second = narrowed<V, kNan>(dst, widened<V>(src + V::kWidth) * scale);
  store_narrowed<V>(dst, first, second);
}

// dst[i] = src[i] * scale. Elements of two vectors that are not there come from, and go to, a copy.
template <class V, class From, class To, bool kNan>
void cast_run(const From* src, To* dst, int count, float factor) {
  const auto scale = V::splat(factor);
  constexpr int kStep = 2 * V::kWidth;
  for (; count >= kStep; count -= kStep, src += kStep, dst += kStep) {
    cast_two<V, kNan>(src, dst, scale);
  }
  if (count <= 0) return;
  From from[kStep]{};
  To to[kStep];
  std::memcpy(from, src, sizeof(From) * static_cast<std::size_t>(count));
  cast_two<V, kNan>(from, to, scale);
  std::memcpy(dst, to, sizeof(To) * static_cast<std::size_t>(count));
}

template <class V, class From, class To>
void cast(const CastArgs& args) {
  const bool flip = args.n == 1 && args.dst.pitch == 0 && args.src.pitch == 0;
  const int m = flip ? 1 : args.m;
  const int n = flip ? args.m : args.n;
  const ViewOf<To> dst(args.dst, n, args.tile);
  const ViewOf<From> src(args.src, n, args.tile);
  // A product of an integer and a finite number is none.
  const bool no_nan =
      std::is_integral_v<From> && !std::is_same_v<From, Bf16> && std::isfinite(args.scale);
  const auto run = no_nan ? cast_run<V, From, To, false> : cast_run<V, From, To, true>;
  for_each_block(m, n, args.tile, {&dst, &src}, false, [&](int r, int c, int rows, int count) {
    To* to = dst.at(r, c);
    const From* from = src.at(r, c);
    for (int i = 0; i < rows; ++i, to += dst.rows.stride, from += src.rows.stride) {
      run(from, to, count, args.scale);
    }
  });
}

}  // namespace
}  // namespace tileflow
