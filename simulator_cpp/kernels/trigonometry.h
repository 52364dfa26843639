// Sine and cosine of any finite float.
#pragma once

#include <cstdint>
#include <cstring>

namespace tileflow {
namespace {

template <class V>
[[gnu::always_inline]] inline typename V::F absolute(typename V::F x) {
  return V::from_bits(V::bit_and(V::bits(x), V::splat_bits(0x7FFFFFFFU)));
}

// `magnitude` (sign clear) with the sign of x.
template <class V>
[[gnu::always_inline]] inline typename V::F with_sign_of(typename V::F x, typename V::F magnitude) {
  const auto sign = V::bit_and(V::bits(x), V::splat_bits(0x80000000U));
  return V::from_bits(V::bit_or(V::bits(magnitude), sign));
}

// Adding it to |x| < 2^22 leaves x rounded to an integer in the low bits.
constexpr float kRoundToInteger = 0x1.8p23F;

struct Reduced {
  float r;                 // in [-pi/4, pi/4]
  std::uint32_t quadrant;  // mod 4
};

// x = (4 i + quadrant) pi/2 + r for finite |x| >= 2^17, after Payne and Hanek ("Radian reduction
// for trigonometric functions", 1983): of x * 2/pi only the bits worth less than 4 are computed.
inline Reduced reduce_large(float x) {
  // 2/pi after the binary point, behind a word of zeros.
  static constexpr std::uint32_t kTwoOverPi[] = {
      0, 0xA2F9836EU, 0x4E441529U, 0xFC2757D1U, 0xF534DDC0U, 0xDB629599U, 0x3C439041U, 0xFE5163ABU};
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const int exponent = static_cast<int>((bits >> 23) & 0xFF) - 150;  // x = mantissa * 2^exponent
  const std::uint64_t mantissa = (bits & 0x007FFFFFU) | 0x00800000U;

  // 96 bits of 2/pi from the one that is worth 2 on: bit i of the table is worth
  // 2^(31 - i + exponent).
  const int first = 30 + exponent;
  const auto window = [&](int bit) {
    const std::uint64_t two = std::uint64_t{kTwoOverPi[bit / 32]} << 32 | kTwoOverPi[bit / 32 + 1];
    return two << (bit % 32) >> 32;
  };
  const std::uint64_t high = mantissa * window(first);
  const std::uint64_t middle = mantissa * window(first + 32);
  const std::uint64_t low = mantissa * window(first + 64);
  // Their sum, in units of 2^-62, mod 4.
  const std::uint64_t turns = (high << 32) + middle + (low >> 32);

  const std::uint64_t quadrant = (turns + (std::uint64_t{1} << 61)) >> 62;
  const auto fraction = static_cast<std::int64_t>(turns - (quadrant << 62));
  const double r = static_cast<double>(fraction) * (0x1.921fb54442d18p+0 * 0x1p-62);
  const bool negative = (bits >> 31) != 0;
  return {static_cast<float>(negative ? -r : r),
          static_cast<std::uint32_t>(negative ? 0 - quadrant : quadrant) & 3U};
}

template <class V>
struct Angle {
  typename V::F r;
  typename V::I quadrant;
};

template <class V>
[[gnu::noinline]] void reduce_large_lanes(typename V::F x, Angle<V>& angle) {
  float xs[V::kWidth], r[V::kWidth], quadrant[V::kWidth];
  V::store(xs, x);
  V::store(r, angle.r);
  V::store(quadrant, V::from_bits(angle.quadrant));
  for (int i = 0; i < V::kWidth; ++i) {
    const float size = xs[i] < 0 ? -xs[i] : xs[i];
    if (!(size >= 0x1p17F)) continue;
    const bool infinite = size > 0x1.fffffep127F;
    const Reduced reduced = infinite ? Reduced{xs[i] - xs[i], 0} : reduce_large(xs[i]);
    r[i] = reduced.r;
    std::memcpy(&quadrant[i], &reduced.quadrant, sizeof reduced.quadrant);
  }
  angle = {V::load(r), V::bits(V::load(quadrant))};
}

// Below 2^17 by Cody and Waite ("Software manual for the elementary functions", 1980): with fma
// the first step is exact. All three parts of pi/2 are positive, which keeps r = x for x = -0.
template <class V>
[[gnu::always_inline]] inline Angle<V> reduce_angle(typename V::F x) {
  const auto t = V::fma(x, V::splat(0x1.45f306p-1F), V::splat(kRoundToInteger));
  const auto n = t - V::splat(kRoundToInteger);
  auto r = V::fma(n, V::splat(-0x1.921fb4p+0F), x);
  r = V::fma(n, V::splat(-0x1.4442dp-24F), r);
  r = V::fma(n, V::splat(-0x1.846988p-48F), r);
  Angle<V> angle{r, V::bits(t)};
  const auto size = V::max_or_second(x, V::splat(0.0F) - x);
  const auto large = V::less(V::splat(0x1.fffffep16F), size);
  if (V::any(large)) reduce_large_lanes<V>(x, angle);
  return angle;
}

// sin(x + shift pi/2), as r + r s p(s) or 1 + 1 s p(s) with s = r^2.
template <class V>
[[gnu::always_inline]] inline typename V::F sine(typename V::F x, std::uint32_t shift) {
  const auto [r, quadrant] = reduce_angle<V>(x);
  const auto q = V::add(quadrant, V::splat_bits(shift));
  const auto cosine = V::negative(V::template shl<31>(q));
  const auto either = [&](float of_cosine, float of_sine) {
    return V::select(cosine, V::splat(of_cosine), V::splat(of_sine));
  };
  const auto s = r * r;
  const auto first = V::select(cosine, V::splat(1.0F), r);
  auto p =
      V::fma(s, either(-0x1.644856p-10F, -0x1.9951fap-13F), either(0x1.553e60p-5F, 0x1.110774p-7F));
  p = V::fma(s, p, either(-0x1.ffffb2p-2F, -0x1.555546p-3F));
  const auto y = with_sign_of<V>(first, V::fma(p, first * s, first));  // -0 for -0
  const auto sign = V::bit_and(V::template shl<30>(q), V::splat_bits(0x80000000U));
  return V::from_bits(V::bit_xor(V::bits(y), sign));
}

}  // namespace
}  // namespace tileflow
