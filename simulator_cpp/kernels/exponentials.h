// e^x and what is made of one: the logistic function, silu. x is split into k ln 2 + r, where
// k is a multiple of 1/8: e^x = 2^floor(k) 2^(j/8) e^r, with the eight powers looked up in
// registers, and |r| <= ln 2 / 16, for which three coefficients do.
#pragma once

#include <cstdint>

#include "kernels/trigonometry.h"

namespace tileflow {
namespace {

// c[0] + c[1] x + ... by Horner's rule.
template <class V, class... Rest>
[[gnu::always_inline]] inline typename V::F polynomial(typename V::F x, float first, Rest... rest) {
  if constexpr (sizeof...(rest) == 0) {
    return V::splat(first);
  } else {
    return V::fma(polynomial<V>(x, rest...), x, V::splat(first));
  }
}

// Adding it to |x| < 2^19 leaves x rounded to a multiple of 1/8, and 8 x in the low bits.
constexpr float kRoundToEighth = 0x1.8p20F;
constexpr float kLog2E = 0x1.715476p+0F;
constexpr float kLn2 = 0x1.62e430p-1F;
constexpr float kLn2Low = -0x1.05c610p-29F;  // ln 2 - kLn2

// T_j, 2^(j/8) rounded to 12 bits, so that e^-x has no error of its own; and (j/8) ln 2 - ln T_j.
alignas(32) constexpr float kShortPowers[8] = {0x1p+0F,    0x1.172p+0F, 0x1.306p+0F, 0x1.4cp+0F,
                                               0x1.6ap+0F, 0x1.8acp+0F, 0x1.ae8p+0F, 0x1.d58p+0F};
alignas(32) constexpr float kShortPowersLost[8] = {
    0x0p+0F,         0x1.51eb06p-13F, 0x1.ab4930p-13F, -0x1.ca8ce0p-16F,
    0x1.c00c40p-14F, 0x1.295520p-13F, 0x1.7b9c1cp-14F, 0x1.b1d1bap-17F};
// 2^(j/8) rounded to 24 bits.
alignas(32) constexpr float kEighthPowers[8] = {0x1p+0F,        0x1.172b84p+0F, 0x1.306fe0p+0F,
                                                0x1.4bfdaep+0F, 0x1.6a09e6p+0F, 0x1.8ace54p+0F,
                                                0x1.ae89fap+0F, 0x1.d5818ep+0F};

// floor(k) of `rounded` = k + kRoundToEighth, in the place of a float's exponent.
template <class V>
[[gnu::always_inline]] inline typename V::I exponent_of(typename V::F rounded) {
  return V::template shl<20>(V::bit_and(V::bits(rounded), V::splat_bits(~7U)));
}

// f times two to the power of an exponent, neither of which is a denormal.
template <class V>
[[gnu::always_inline]] inline typename V::F with_exponent(typename V::F f, typename V::I exponent) {
  return V::from_bits(V::add(V::bits(f), exponent));
}

// e^x = 2^floor(k) 2^(j/8) (1 + p).
template <class V>
struct PositivePower {
  typename V::F rounded, k, p, eighth;

  explicit PositivePower(typename V::F x) {
    rounded = V::fma(x, V::splat(kLog2E), V::splat(kRoundToEighth));
    k = rounded - V::splat(kRoundToEighth);
    auto r = V::fma(k, V::splat(-kLn2), x);
    r = V::fma(k, V::splat(-kLn2Low), r);
    p = r * polynomial<V>(r, 1.0F, 0x1.000878p-1F, 0x1.5556eap-3F);  // 2^-25
    eighth = V::lookup(kEighthPowers, V::bits(rounded));
  }
};

// In two steps, as 2^k may be a denormal or 2^128.
template <class V>
[[gnu::noinline]] typename V::F any_exponential(typename V::F x) {
  x = V::max_or_second(V::splat(-104.0F), V::min_or_second(V::splat(89.0F), x));  // keeps NaN
  const PositivePower<V> of(x);
  const auto exponent = exponent_of<V>(of.rounded);
  const auto half = V::bit_and(V::template shr<1>(exponent), V::splat_bits(0xFF800000U));
  const auto power = with_exponent<V>(of.eighth, half);
  const auto rest = with_exponent<V>(V::splat(1.0F), V::sub(exponent, half));
  return V::fma(of.p, power, power) * rest;
}

template <class V>
[[gnu::always_inline]] inline typename V::F exponential(typename V::F x) {
  if constexpr (requires(typename V::F f) { V::scale(f, f); }) {
    x = V::max_or_second(V::splat(-104.0F), V::min_or_second(V::splat(89.0F), x));  // keeps NaN
    const PositivePower<V> of(x);
    return V::scale(V::fma(of.p, of.eighth, of.eighth), of.k);
  } else {
    if (V::any(V::less(V::splat(87.0F), absolute<V>(x)))) return any_exponential<V>(x);
    const PositivePower<V> of(x);
    const auto power = with_exponent<V>(of.eighth, exponent_of<V>(of.rounded));
    return V::fma(of.p, power, power);
  }
}

// e^-x = 2^floor(k) T_j (1 + s q), for x >= -110.
template <class V>
struct NegativePower {
  typename V::F rounded, s;

  explicit NegativePower(typename V::F x) {
    rounded = V::fma(x, V::splat(-kLog2E), V::splat(kRoundToEighth));
    const auto k = rounded - V::splat(kRoundToEighth);
    s = V::fma(k, V::splat(kLn2), x);
    s = V::fma(k, V::splat(kLn2Low), s) - V::lookup(kShortPowersLost, V::bits(rounded));
  }
  typename V::F q() const {  // (e^-s - 1) / s; of e^-s, 2^-25
    return polynomial<V>(s, -1.0F, 0x1.00088ap-1F, -0x1.5556dep-3F);
  }
  // power (1 + s q) + one, rounded once.
  typename V::F plus(typename V::F power, typename V::F one) const {
    const auto larger = V::max_or_second(power, one);
    const auto smaller = V::min_or_second(power, one);
    const auto sum = larger + smaller;
    const auto lost = smaller - (sum - larger);
    return sum + V::fma(q(), s * power, lost);
  }
  // 2^(floor(k) + kShift) T_j.
  template <int kShift>
  typename V::F power() const {
    const auto shift = V::splat_bits(static_cast<std::uint32_t>(kShift) << 23);
    const auto exponent = exponent_of<V>(rounded);
    const auto shifted = kShift == 0 ? exponent : V::add(exponent, shift);
    return with_exponent<V>(V::lookup(kShortPowers, V::bits(rounded)), shifted);
  }
};

// Both sides of the fraction 1 / (1 + e^-x) are times 2^-32, so that only it may be a denormal.
template <class V>
[[gnu::always_inline]] inline typename V::F logistic(typename V::F x) {
  const auto one = V::splat(0x1p-32F);
  x = V::min_or_second(V::splat(60.0F), V::max_or_second(V::splat(-110.0F), x));  // keeps NaN
  const NegativePower<V> of(x);
  const auto power = of.template power<-32>();
  return one / of.plus(power, one);
}

// x / (1 + e^-x), where e^-x may exceed 2^127.
template <class V>
[[gnu::noinline]] typename V::F any_sigmoid_weighted(typename V::F x) {
  const auto over = V::max_or_second(V::splat(-110.0F), x);
  const NegativePower<V> of(V::min_or_second(V::splat(60.0F), over));
  const auto small = V::less(x, V::splat(-80.0F));
  const auto scale = V::select(small, V::splat(0x1p-32F), V::splat(1.0F));
  const auto power = V::select(small, of.template power<-32>(), of.template power<0>());
  return over * scale / of.plus(power, scale);
}

template <class V>
[[gnu::always_inline]] inline typename V::F sigmoid_weighted(typename V::F x) {
  if (V::any(V::less(x, V::splat(-80.0F)))) return any_sigmoid_weighted<V>(x);
  const NegativePower<V> of(V::min_or_second(V::splat(60.0F), x));  // keeps NaN
  const auto power = of.template power<0>();
  return x / of.plus(power, V::splat(1.0F));
}

}  // namespace
}  // namespace tileflow
