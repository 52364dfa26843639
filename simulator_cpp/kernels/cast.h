// Narrow element types to and from 32-bit lanes, and exec.cast.
#pragma once

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

// To the nearest integer of [low, high], which are whole; 0 for NaN.
template <class V>
typename V::F clamped(typename V::F x, float low, float high) {
  x = V::select(V::unordered(x, x), V::splat(0.0F), x);
  return V::min_or_second(V::max_or_second(x, V::splat(low)), V::splat(high));
}

template <class V>
void narrow(float* p, typename V::F x) {
  V::store(p, x);
}
// Half of what is cut off is added, less one bit where the result would be odd.
template <class V>
void narrow(Bf16* p, typename V::F x) {
  const auto bits = V::bits(x);
  const auto odd = V::bit_and(V::template shr<16>(bits), V::splat_bits(1));
  const auto rounded = V::add(bits, V::add(V::splat_bits(0x7FFF), odd));
  const auto quiet = V::bit_or(bits, V::splat_bits(0x0040'0000));
  const auto result = V::select(V::unordered(x, x), V::from_bits(quiet), V::from_bits(rounded));
  V::store(p, V::template shr<16>(V::bits(result)));
}
template <class V>
void narrow(std::int8_t* p, typename V::F x) {
  V::store(p, V::round(clamped<V>(x, -128.0F, 127.0F)));
}
// The largest float below 2^31 is 2^31 - 128; what is larger becomes 2^31 - 1.
template <class V>
void narrow(std::int32_t* p, typename V::F x) {
  const auto large = V::less(V::splat(0x1.fffffep30F), x);
  const auto inside = V::round(clamped<V>(x, -0x1p31F, 0x1.fffffep30F));
  const auto most = V::from_bits(V::splat_bits(0x7FFF'FFFF));
  V::store(p, V::bits(V::select(large, most, V::from_bits(inside))));
}

// dst[i] = src[i] * scale. Elements of a vector that are not there come from, and go to, a copy.
template <class V, class From, class To>
void cast_run(const From* src, To* dst, int count, typename V::F scale) {
  constexpr int kWidth = V::kWidth;
  for (; count >= kWidth; count -= kWidth, src += kWidth, dst += kWidth) {
    narrow<V>(dst, widened<V>(src) * scale);
  }
  if (count == 0) return;
  From from[kWidth]{};
  To to[kWidth];
  std::memcpy(from, src, sizeof(From) * static_cast<std::size_t>(count));
  narrow<V>(to, widened<V>(from) * scale);
  std::memcpy(dst, to, sizeof(To) * static_cast<std::size_t>(count));
}

template <class V, class From, class To>
void cast(const CastArgs& args) {
  const bool flip = args.n == 1 && args.dst.pitch == 0 && args.src.pitch == 0;
  const int m = flip ? 1 : args.m;
  const int n = flip ? args.m : args.n;
  const ViewOf<To> dst(args.dst, n, args.tile);
  const ViewOf<From> src(args.src, n, args.tile);
  const auto scale = V::splat(args.scale);
  for_each_run(m, n, args.tile, {&dst, &src}, {}, [&](int r, int c, int count) {
    cast_run<V>(static_cast<const From*>(src.at(r, c)), dst.at(r, c), count, scale);
  });
}

}  // namespace
}  // namespace tileflow
