// f of `exec.unary`: one source for every vector width, at most 2 ulp off (tests sweep all of
// float32). The polynomials are minimax fits (Lawson's reweighted least squares on Chebyshev
// nodes, coefficients rounded to float32 one after the other); the error of each is in its line.
#pragma once

#include <limits>

#include "kernels/trigonometry.h"

namespace tileflow {
namespace {

// c[0] + c[1] x + ... by Horner's rule.
template <class V, class... Rest>
typename V::F polynomial(typename V::F x, float first, Rest... rest) {
  if constexpr (sizeof...(rest) == 0) {
    return V::splat(first);
  } else {
    return V::fma(polynomial<V>(x, rest...), x, V::splat(first));
  }
}

// IEEE 754-2019 maximum and minimum: NaN where either is NaN, +0 above -0.
template <class V>
typename V::F maximum(typename V::F a, typename V::F b) {
  const auto either = V::bit_and(V::bits(V::max_or_second(a, b)), V::bits(V::max_or_second(b, a)));
  return V::select(V::unordered(a, b), a + b, V::from_bits(either));
}

template <class V>
typename V::F minimum(typename V::F a, typename V::F b) {
  const auto either = V::bit_or(V::bits(V::min_or_second(a, b)), V::bits(V::min_or_second(b, a)));
  return V::select(V::unordered(a, b), a + b, V::from_bits(either));
}

// 2^k, -126 <= k <= 127.
template <class V>
typename V::F power_of_two(typename V::I k) {
  return V::from_bits(V::template shl<23>(V::add(k, V::splat_bits(127))));
}

// e^x = (high + low) 2^k, low being what high lacks in precision.
template <class V>
struct Power {
  typename V::F high, low;
  typename V::I k;

  // In two steps, as 2^k may be denormal or 2^128.
  typename V::F scale(typename V::F x) const {
    const auto half = V::template shr<1>(k);
    return x * power_of_two<V>(half) * power_of_two<V>(V::sub(k, half));
  }
};

// x = k ln 2 + r; e^r = 1 + r + r^2 p(r).
template <class V>
Power<V> natural_power(typename V::F x) {
  x = V::max_or_second(V::splat(-104.0F), V::min_or_second(V::splat(89.0F), x));  // keeps NaN
  const auto t = V::fma(x, V::splat(0x1.715476p+0F), V::splat(kRoundToInteger));
  const auto k = t - V::splat(kRoundToInteger);
  const auto lower_ln2 = V::splat(0x1.05c610p-29F);
  const auto upper = V::fma(k, V::splat(-0x1.62e430p-1F), x);
  const auto r = V::fma(k, lower_ln2, upper);
  const auto p = polynomial<V>(r, 0x1.fffffcp-2F, 0x1.555492p-3F, 0x1.5558b8p-5F, 0x1.1239aap-7F,
                               0x1.6a4508p-10F);  // 2^-28
  const auto y = V::fma(r * r, p, r);
  const auto one = V::splat(1.0F);
  const auto high = one + y;
  const auto lost = V::fma(k, lower_ln2, upper - r) + V::fma(r * r, p, r - y);
  return {high, (y - (high - one)) + lost, V::sub(V::bits(t), V::bits(V::splat(kRoundToInteger)))};
}

template <class V>
typename V::F exponential(typename V::F x) {
  const auto power = natural_power<V>(x);
  return power.scale(power.high);
}

// x = 2^e (1 + f), 1 + f in [sqrt(1/2), sqrt(2)); log x = e ln 2 + f - f^2/2 + f^3 p(f).
template <class V>
typename V::F logarithm(typename V::F x) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr std::uint32_t kSqrtHalf = 0x3F3504F3U;
  const auto denormal = V::less(x, V::splat(0x1p-126F));
  const auto scaled = V::select(denormal, x * V::splat(0x1p23F), x);
  const auto above = V::sub(V::bits(scaled), V::splat_bits(kSqrtHalf));
  const auto e = V::to_float(V::template shr<23>(above)) +
                 V::select(denormal, V::splat(-23.0F), V::splat(0.0F));
  const auto mantissa = V::bit_and(above, V::splat_bits(0x007FFFFFU));
  const auto f = V::from_bits(V::add(mantissa, V::splat_bits(kSqrtHalf))) - V::splat(1.0F);
  const auto p = polynomial<V>(f, 0x1.555548p-2F, -0x1.000006p-2F, 0x1.99a476p-3F, -0x1.555c46p-3F,
                               0x1.233ba8p-3F, -0x1.fc2884p-4F, 0x1.e6bf38p-4F, -0x1.de02d6p-4F,
                               0x1.14763ap-4F);  // 2^-30
  const auto f2 = f * f;
  auto y = V::fma(e, V::splat(-0x1.05c610p-29F), f2 * f * p);
  y = f + V::fma(V::splat(-0.5F), f2, y);
  y = V::fma(e, V::splat(0x1.62e430p-1F), y);

  y = V::select(V::less(x, V::splat(kInf)), y, x + x);  // +inf and NaN
  const auto zero = V::splat(0.0F);
  const auto outside = V::select(
      V::less(x, zero), V::splat(std::numeric_limits<float>::quiet_NaN()), V::splat(-kInf));
  return V::select(V::less(x, V::splat(0x1p-149F)), outside, y);
}

template <class V>
typename V::F hyperbolic_tangent(typename V::F x) {
  const auto a = absolute<V>(x);
  const auto s = a * a;
  const auto p = polynomial<V>(s, -0x1.555548p-2F, 0x1.110c60p-3F, -0x1.b90672p-5F, 0x1.581a22p-6F,
                               -0x1.948f8ap-8F);  // (tanh(x) - x) / x^3 up to 0.5625, 2^-29
  const auto small = V::fma(p * s, a, a);
  const auto one = V::splat(1.0F);
  const auto large = one - V::splat(2.0F) / (exponential<V>(a + a) + one);
  return with_sign_of<V>(x, V::select(V::less(a, V::splat(0.55F)), small, large));
}

// 1 / (1 + e) or, for x < 0, e / (1 + e), with e = exp(-|x|): neither overflows, nor loses what is
// small. The quotient is corrected for what was rounded away on the way.
template <class V>
typename V::F logistic(typename V::F x) {
  const auto zero = V::splat(0.0F);
  const auto one = V::splat(1.0F);
  const auto power = natural_power<V>(zero - absolute<V>(x));
  const auto e = power.scale(power.high);
  const auto e_lost = power.scale(power.low);
  const auto negative = V::less(x, zero);
  const auto over = V::select(negative, e, one);
  const auto under = one + e;
  const auto under_lost = (e - (under - one)) + e_lost;
  const auto quotient = over / under;
  const auto reciprocal = V::select(negative, one - quotient, quotient);  // 1 / under
  auto lost = V::fma(zero - quotient, under, over) + V::select(negative, e_lost, zero);
  lost = V::fma(zero - quotient, under_lost, lost);
  return V::fma(lost, reciprocal, quotient);
}

template <class V>
typename V::F error_function(typename V::F x) {
  const auto a = absolute<V>(x);
  const auto s = a * a;
  const auto p = polynomial<V>(s, 0x1.06eba8p-3F, -0x1.812740p-2F, 0x1.ce2d64p-4F, -0x1.b80120p-6F,
                               0x1.544aa8p-8F, -0x1.a6126ep-11F,
                               0x1.4f8e58p-14F);  // erf(x) / x - 1 up to 0.9375, 2^-30
  const auto small = V::fma(p, a, a);
  const auto t = V::min_or_second(V::splat(4.0F), a);  // erf(4) rounds to 1; keeps NaN
  const auto q = polynomial<V>(t, -0x1.0730eap-3F, -0x1.457e3cp-1F, -0x1.af18c2p-4F, 0x1.76e308p-6F,
                               -0x1.a5098ep-9F, 0x1.c0138cp-13F);  // log(erfc(t)) / t + 1, 2^-28
  const auto large = V::splat(1.0F) - exponential<V>(V::fma(q, t, V::splat(0.0F) - t));
  return with_sign_of<V>(x, V::select(V::less(a, V::splat(0.9296875F)), small, large));
}

// In the order of UNARY_FUNCS.
struct Identity {
  template <class V>
  static typename V::F of(typename V::F x) {
    return x;
  }
};
struct Relu {
  template <class V>
  static typename V::F of(typename V::F x) {
    return maximum<V>(x, V::splat(0.0F));
  }
};
struct Exp {
  template <class V>
  static typename V::F of(typename V::F x) {
    return exponential<V>(x);
  }
};
struct Log {
  template <class V>
  static typename V::F of(typename V::F x) {
    return logarithm<V>(x);
  }
};
struct Sqrt {
  template <class V>
  static typename V::F of(typename V::F x) {
    return V::sqrt(x);
  }
};
struct Rsqrt {
  template <class V>
  static typename V::F of(typename V::F x) {
    return V::splat(1.0F) / V::sqrt(x);
  }
};
struct Reciprocal {
  template <class V>
  static typename V::F of(typename V::F x) {
    return V::splat(1.0F) / x;
  }
};
struct Tanh {
  template <class V>
  static typename V::F of(typename V::F x) {
    return hyperbolic_tangent<V>(x);
  }
};
struct Sigmoid {
  template <class V>
  static typename V::F of(typename V::F x) {
    return logistic<V>(x);
  }
};
struct Abs {
  template <class V>
  static typename V::F of(typename V::F x) {
    return absolute<V>(x);
  }
};
struct Neg {
  template <class V>
  static typename V::F of(typename V::F x) {
    return V::from_bits(V::bit_xor(V::bits(x), V::splat_bits(0x80000000U)));
  }
};
struct Sin {
  template <class V>
  static typename V::F of(typename V::F x) {
    return sine<V>(x, 0);
  }
};
struct Cos {
  template <class V>
  static typename V::F of(typename V::F x) {
    return sine<V>(x, 1);
  }
};
struct Erf {
  template <class V>
  static typename V::F of(typename V::F x) {
    return error_function<V>(x);
  }
};

}  // namespace
}  // namespace tileflow
