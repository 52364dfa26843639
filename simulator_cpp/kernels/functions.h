// f of `exec.unary`: one source for every vector width, at most 2 ulp off, gelu 4 (tests sweep all
// of float32). The polynomials are minimax fits (Lawson's reweighted least squares on Chebyshev
// nodes, coefficients rounded to float32 one after the other); the error of each is in its line.
#pragma once

#include <cstdint>
#include <limits>
#include <type_traits>

#include "kernels/error_function.h"
#include "kernels/exponentials.h"
#include "kernels/trigonometry.h"

namespace tileflow {
namespace {

// IEEE 754-2019 maximum and minimum: NaN where either is NaN, +0 above -0.
template <class V>
[[gnu::always_inline]] inline typename V::F maximum(typename V::F a, typename V::F b) {
  const auto either = V::bit_and(V::bits(V::max_or_second(a, b)), V::bits(V::max_or_second(b, a)));
  return V::select(V::unordered(a, b), a + b, V::from_bits(either));
}

template <class V>
[[gnu::always_inline]] inline typename V::F minimum(typename V::F a, typename V::F b) {
  const auto either = V::bit_or(V::bits(V::min_or_second(a, b)), V::bits(V::min_or_second(b, a)));
  return V::select(V::unordered(a, b), a + b, V::from_bits(either));
}

// 1/c and log c of the sixteen c that x = 2^e c (1 + r) takes, by the four bits after the first of
// x.
alignas(64) constexpr float kInverse[16] = {
    0x1.5564f6p+0F, 0x1.47bbccp+0F, 0x1.3b20d8p+0F, 0x1.2f63fap+0F, 0x1.248eeep+0F, 0x1.1a814ap+0F,
    0x1.11031cp+0F, 0x1.083b62p+0F, 0x1.0000p+0F,   0x1.e1d73ep-1F, 0x1.c711d4p-1F, 0x1.af1f4ap-1F,
    0x1.99a93ap-1F, 0x1.8624d2p-1F, 0x1.746c6cp-1F, 0x1.6430f4p-1F};
alignas(64) constexpr float kLogarithm[16] = {
    -0x1.26c502p-2F, -0x1.f9e780p-3F, -0x1.a9944ep-3F, -0x1.5bd6dep-3F,
    -0x1.11616ap-3F, -0x1.938896p-4F, -0x1.07882ap-4F, -0x1.0346b4p-5F,
    0x0.0p+0F,       0x1.f157f0p-5F,  0x1.e2d004p-4F,  0x1.601e68p-3F,
    0x1.c8b15cp-3F,  0x1.165524p-2F,  0x1.45ee94p-2F,  0x1.7390c2p-2F};

// log of a positive float that is neither a denormal nor infinite; `shift` is added to its
// exponent. The intervals of c are bounded halfway between two c, and the lowest begins at 47/64.
template <class V>
[[gnu::always_inline]] inline typename V::F normal_logarithm(typename V::F x, auto shift) {
  const auto lowest = V::splat_bits(0x3F3C0000U);
  const auto above = V::sub(V::bits(x), lowest);
  auto e = V::to_float(V::template shr<23>(above));
  if constexpr (!std::is_same_v<decltype(shift), int>) e = e + shift;
  const auto mantissa = V::from_bits(V::add(V::bit_and(above, V::splat_bits(0x007FFFFFU)), lowest));
  const auto interval = V::template shr<19>(above);
  const auto r = V::fma(mantissa, V::lookup(kInverse, interval), V::splat(-1.0F));
  const auto q = polynomial<V>(r, -0x1.fffffap-2F, 0x1.5582acp-2F,
                               -0x1.0044bap-2F);  // (log(1 + r) - r) / r^2, 2^-24.7
  const auto base = V::fma(e, V::splat(kLn2), V::lookup(kLogarithm, interval));
  return base + V::fma(q, r * r, r);
}

template <class V>
[[gnu::noinline]] typename V::F any_logarithm(typename V::F x) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const auto zero = V::splat(0.0F);
  const auto denormal = V::less(x, V::splat(0x1p-126F));
  auto y = normal_logarithm<V>(V::select(denormal, x * V::splat(0x1p23F), x),
                               V::select(denormal, V::splat(-23.0F), zero));
  y = V::select(V::less(x, V::splat(kInf)), y, x + x);  // +inf and NaN
  const auto outside = V::select(V::less(x, zero), V::splat(kNan), V::splat(-kInf));
  return V::select(V::less(x, V::splat(0x1p-149F)), outside, y);
}

template <class V>
[[gnu::always_inline]] inline typename V::F logarithm(typename V::F x) {
  const auto above_least = V::sub(V::bits(x), V::splat_bits(0x00800000U));
  const auto below_infinity = V::sub(V::splat_bits(0x7F7FFFFFU), V::bits(x));
  if (V::any(V::negative(V::bit_or(above_least, below_infinity)))) return any_logarithm<V>(x);
  return normal_logarithm<V>(x, 0);
}

// In the order of UNARY_FUNCS.
struct Identity {
  template <class V>
  [[gnu::always_inline]] static typename V::F of(typename V::F x) {
    return x;
  }
};
struct Relu {
  template <class V>
  [[gnu::always_inline]] static typename V::F of(typename V::F x) {
    return V::max_or_second(V::splat(0.0F), x) + V::splat(0.0F);  // NaN stays; -0 becomes +0
  }
};
struct Exp {
  template <class V>
  [[gnu::always_inline]] static typename V::F of(typename V::F x) {
    return exponential<V>(x);
  }
};
struct Log {
  template <class V>
  [[gnu::always_inline]] static typename V::F of(typename V::F x) {
    return logarithm<V>(x);
  }
};
struct Sqrt {
  template <class V>
  [[gnu::always_inline]] static typename V::F of(typename V::F x) {
    return V::sqrt(x);
  }
};
struct Rsqrt {
  template <class V>
  [[gnu::always_inline]] static typename V::F of(typename V::F x) {
    return V::splat(1.0F) / V::sqrt(x);
  }
};
struct Reciprocal {
  template <class V>
  [[gnu::always_inline]] static typename V::F of(typename V::F x) {
    return V::splat(1.0F) / x;
  }
};
struct Tanh {
  template <class V>
  [[gnu::always_inline]] static typename V::F of(typename V::F x) {
    return hyperbolic_tangent<V>(x);
  }
};
struct Sigmoid {
  template <class V>
  [[gnu::always_inline]] static typename V::F of(typename V::F x) {
    return logistic<V>(x);
  }
};
struct Abs {
  template <class V>
  [[gnu::always_inline]] static typename V::F of(typename V::F x) {
    return absolute<V>(x);
  }
};
struct Neg {
  template <class V>
  [[gnu::always_inline]] static typename V::F of(typename V::F x) {
    return V::from_bits(V::bit_xor(V::bits(x), V::splat_bits(0x80000000U)));
  }
};
struct Sin {
  template <class V>
  [[gnu::always_inline]] static typename V::F of(typename V::F x) {
    return sine<V>(x, 0);
  }
};
struct Cos {
  template <class V>
  [[gnu::always_inline]] static typename V::F of(typename V::F x) {
    return sine<V>(x, 1);
  }
};
struct Erf {
  template <class V>
  [[gnu::always_inline]] static typename V::F of(typename V::F x) {
    return error_function<V>(x);
  }
};
struct Gelu {
  template <class V>
  [[gnu::always_inline]] static typename V::F of(typename V::F x) {
    return gaussian_weighted<V>(x);
  }
};
struct Silu {
  template <class V>
  [[gnu::always_inline]] static typename V::F of(typename V::F x) {
    return sigmoid_weighted<V>(x);
  }
};
struct Floor {
  template <class V>
  [[gnu::always_inline]] static typename V::F of(typename V::F x) {
    return V::floor(x);
  }
};
struct Ceil {
  template <class V>
  [[gnu::always_inline]] static typename V::F of(typename V::F x) {
    return V::ceil(x);
  }
};
struct Round {
  template <class V>
  [[gnu::always_inline]] static typename V::F of(typename V::F x) {
    return V::nearest(x);
  }
};
struct Trunc {
  template <class V>
  [[gnu::always_inline]] static typename V::F of(typename V::F x) {
    return V::trunc(x);
  }
};
struct Sign {
  template <class V>
  [[gnu::always_inline]] static typename V::F of(typename V::F x) {
    const auto zero = V::splat(0.0F);
    const auto one = with_sign_of<V>(x, V::splat(1.0F));
    return V::select(V::unordered(x, x), x, V::select(V::equal(x, zero), zero, one));
  }
};

// 1 where a condition holds, else 0.
template <class V>
[[gnu::always_inline]] inline typename V::F truth(typename V::M holds) {
  return V::select(holds, V::splat(1.0F), V::splat(0.0F));
}

struct IsNan {
  template <class V>
  [[gnu::always_inline]] static typename V::F of(typename V::F x) {
    return truth<V>(V::unordered(x, x));
  }
};
struct IsInf {
  template <class V>
  [[gnu::always_inline]] static typename V::F of(typename V::F x) {
    return truth<V>(V::equal(absolute<V>(x), V::splat(std::numeric_limits<float>::infinity())));
  }
};
struct IsFinite {
  template <class V>
  [[gnu::always_inline]] static typename V::F of(typename V::F x) {
    return truth<V>(V::less(absolute<V>(x), V::splat(std::numeric_limits<float>::infinity())));
  }
};

}  // namespace
}  // namespace tileflow
