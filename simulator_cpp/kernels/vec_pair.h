// Two vectors side by side as one of twice the width, so that the code of a wide level can be
// tested on a processor that lacks it. The vocabulary is that of vec_scalar.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace tileflow {
namespace {

template <class V>
struct Pair {
  static constexpr int kHalf = V::kWidth;
  static constexpr int kWidth = 2 * kHalf;
  static constexpr int kRegisters = 32;
  struct F {
    typename V::F lo, hi;
    friend F operator+(F a, F b) { return {a.lo + b.lo, a.hi + b.hi}; }
    friend F operator-(F a, F b) { return {a.lo - b.lo, a.hi - b.hi}; }
    friend F operator*(F a, F b) { return {a.lo * b.lo, a.hi * b.hi}; }
    friend F operator/(F a, F b) { return {a.lo / b.lo, a.hi / b.hi}; }
  };
  struct I {
    typename V::I lo, hi;
  };
  struct M {
    typename V::M lo, hi;
  };
  struct Tail {
    typename V::Tail lo, hi;
  };
  using Flushing = Pair<typename V::Flushing>;
  using DenormalsAsZeros = typename V::DenormalsAsZeros;

  static Tail tail(int n) { return {V::tail(n), V::tail(n - kHalf)}; }
  static F load(const float* p) { return {V::load(p), V::load(p + kHalf)}; }
  static F load(const float* p, Tail t) { return {V::load(p, t.lo), V::load(p + kHalf, t.hi)}; }
  static F load(const float* p, Tail t, F rest) {
    return {V::load(p, t.lo, rest.lo), V::load(p + kHalf, t.hi, rest.hi)};
  }
  static void store(float* p, F v) {
    V::store(p, v.lo);
    V::store(p + kHalf, v.hi);
  }
  static void store(float* p, F v, Tail t) {
    V::store(p, v.lo, t.lo);
    V::store(p + kHalf, v.hi, t.hi);
  }

  static F splat(float x) { return {V::splat(x), V::splat(x)}; }
  static F fma(F a, F b, F c) { return {V::fma(a.lo, b.lo, c.lo), V::fma(a.hi, b.hi, c.hi)}; }
  static F sqrt(F a) { return {V::sqrt(a.lo), V::sqrt(a.hi)}; }
  static F floor(F a) { return {V::floor(a.lo), V::floor(a.hi)}; }
  static F ceil(F a) { return {V::ceil(a.lo), V::ceil(a.hi)}; }
  static F trunc(F a) { return {V::trunc(a.lo), V::trunc(a.hi)}; }
  static F nearest(F a) { return {V::nearest(a.lo), V::nearest(a.hi)}; }
  static F max_or_second(F a, F b) {
    return {V::max_or_second(a.lo, b.lo), V::max_or_second(a.hi, b.hi)};
  }
  static F min_or_second(F a, F b) {
    return {V::min_or_second(a.lo, b.lo), V::min_or_second(a.hi, b.hi)};
  }
  static M less(F a, F b) { return {V::less(a.lo, b.lo), V::less(a.hi, b.hi)}; }
  static M less_equal(F a, F b) { return {V::less_equal(a.lo, b.lo), V::less_equal(a.hi, b.hi)}; }
  static M equal(F a, F b) { return {V::equal(a.lo, b.lo), V::equal(a.hi, b.hi)}; }
  static M unordered(F a, F b) { return {V::unordered(a.lo, b.lo), V::unordered(a.hi, b.hi)}; }
  static M negative(I a) { return {V::negative(a.lo), V::negative(a.hi)}; }
  static M either(M a, M b) { return {V::either(a.lo, b.lo), V::either(a.hi, b.hi)}; }
  static F select(M m, F yes, F no) {
    return {V::select(m.lo, yes.lo, no.lo), V::select(m.hi, yes.hi, no.hi)};
  }
  static bool any(M m) { return V::any(m.lo) || V::any(m.hi); }

  static I bits(F a) { return {V::bits(a.lo), V::bits(a.hi)}; }
  static F from_bits(I a) { return {V::from_bits(a.lo), V::from_bits(a.hi)}; }
  static I splat_bits(std::uint32_t x) { return {V::splat_bits(x), V::splat_bits(x)}; }
  static I add(I a, I b) { return {V::add(a.lo, b.lo), V::add(a.hi, b.hi)}; }
  static I sub(I a, I b) { return {V::sub(a.lo, b.lo), V::sub(a.hi, b.hi)}; }
  static I bit_and(I a, I b) { return {V::bit_and(a.lo, b.lo), V::bit_and(a.hi, b.hi)}; }
  static I bit_or(I a, I b) { return {V::bit_or(a.lo, b.lo), V::bit_or(a.hi, b.hi)}; }
  static I bit_xor(I a, I b) { return {V::bit_xor(a.lo, b.lo), V::bit_xor(a.hi, b.hi)}; }
  static I max(I a, I b) { return {V::max(a.lo, b.lo), V::max(a.hi, b.hi)}; }
  static I min(I a, I b) { return {V::min(a.lo, b.lo), V::min(a.hi, b.hi)}; }
  static M less(I a, I b) { return {V::less(a.lo, b.lo), V::less(a.hi, b.hi)}; }
  static M equal(I a, I b) { return {V::equal(a.lo, b.lo), V::equal(a.hi, b.hi)}; }
  static I mul(I a, I b) { return {V::mul(a.lo, b.lo), V::mul(a.hi, b.hi)}; }
  static I shl(I a, I bits) { return {V::shl(a.lo, bits.lo), V::shl(a.hi, bits.hi)}; }
  static I shr(I a, I bits) { return {V::shr(a.lo, bits.lo), V::shr(a.hi, bits.hi)}; }
  template <int N>
  static I shl(I a) {
    return {V::template shl<N>(a.lo), V::template shl<N>(a.hi)};
  }
  template <int N>
  static I shr(I a) {
    return {V::template shr<N>(a.lo), V::template shr<N>(a.hi)};
  }
  static F to_float(I a) { return {V::to_float(a.lo), V::to_float(a.hi)}; }
  static I round(F a) { return {V::round(a.lo), V::round(a.hi)}; }
  template <std::size_t N>
  static F lookup(const float (&table)[N], I index) {
    return {V::lookup(table, index.lo), V::lookup(table, index.hi)};
  }

  static F scale(F a, F k)
    requires requires { V::scale(a.lo, k.lo); }
  {
    return {V::scale(a.lo, k.lo), V::scale(a.hi, k.hi)};
  }

  template <class T>
  static I load(const T* p)
    requires std::is_integral_v<T>
  {
    return {V::load(p), V::load(p + kHalf)};
  }
  template <class T>
  static void store(T* p, I v)
    requires std::is_integral_v<T>
  {
    V::store(p, v.lo);
    V::store(p + kHalf, v.hi);
  }

  static void store_upper(std::uint16_t* p, I a, I b) {
    V::store_upper(p, a.lo, a.hi);
    V::store_upper(p + kWidth, b.lo, b.hi);
  }
  static void store_saturated(std::int8_t* p, I a, I b) {
    V::store_saturated(p, a.lo, a.hi);
    V::store_saturated(p + kWidth, b.lo, b.hi);
  }
  static I dot(I acc, I a, I b) { return {V::dot(acc.lo, a.lo, b.lo), V::dot(acc.hi, a.hi, b.hi)}; }

  template <int D>
  static F swap(F a) {
    if constexpr (D == kHalf) {
      return {a.hi, a.lo};
    } else {
      return {V::template swap<D>(a.lo), V::template swap<D>(a.hi)};
    }
  }
  template <int D>
  static F mix(F a, F b) {
    if constexpr (D == kHalf) {
      return {a.lo, b.hi};
    } else {
      return {V::template mix<D>(a.lo, b.lo), V::template mix<D>(a.hi, b.hi)};
    }
  }
};

}  // namespace
}  // namespace tileflow
