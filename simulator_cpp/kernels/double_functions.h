// Functions that are computed in double precision and rounded once: plain series on reduced
// arguments, at least 2^-40 exact, written once for vectors of doubles as wide as the level has.
// Every float is a normal double, so that denormals need no care.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "kernels/trigonometry.h"

namespace tileflow {
namespace {

#if defined(__AVX512F__)
constexpr int kDoubles = 8;
#elif defined(__AVX2__)
constexpr int kDoubles = 4;
#else
constexpr int kDoubles = 2;
#endif

typedef double D __attribute__((vector_size(8 * kDoubles)));
typedef std::int64_t L __attribute__((vector_size(8 * kDoubles)));
typedef std::uint64_t U __attribute__((vector_size(8 * kDoubles)));
typedef float Floats __attribute__((vector_size(4 * kDoubles)));

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kPi = 0x1.921fb54442d18p+1;
// Adding it leaves a number rounded to an integer, in the low bits.
constexpr double kToInteger = 0x1.8p52;

inline D all(double x) {
  D d;
  for (int i = 0; i < kDoubles; ++i) d[i] = x;
  return d;
}
inline D pick(L holds, D yes, D no) { return holds ? yes : no; }
inline D magnitude(D x) { return std::bit_cast<D>(std::bit_cast<L>(x) & 0x7FFFFFFFFFFFFFFFL); }
// `size` (sign clear) with the sign of x.
inline D signed_as(D x, D size) {
  const L sign = std::bit_cast<L>(x) & std::numeric_limits<std::int64_t>::min();
  return std::bit_cast<D>(std::bit_cast<L>(size) | sign);
}
inline D root(D x) {
  for (int i = 0; i < kDoubles; ++i) x[i] = __builtin_sqrt(x[i]);
  return x;
}

// first + x (second + x (...)).
template <class... Rest>
inline D series(D x, double first, Rest... rest) {
  if constexpr (sizeof...(rest) == 0) {
    return all(first);
  } else {
    return series(x, rest...) * x + first;
  }
}

// log((1 + s) / (1 - s)), |s| < 0.172.
inline D log_of_ratio(D s) {
  return 2.0 * s *
         series(s * s, 1.0, 1.0 / 3, 1.0 / 5, 1.0 / 7, 1.0 / 9, 1.0 / 11, 1.0 / 13, 1.0 / 15,
                1.0 / 17, 1.0 / 19);
}

// log of x = 2^k m, sqrt(1/2) <= m < sqrt(2).
inline D log_of(D x) {
  constexpr std::int64_t kRootOfHalf = 0x3FE6A09E00000000;
  const L above = std::bit_cast<L>(x) - kRootOfHalf;
  const U biased = std::bit_cast<U>(above + (std::int64_t{1024} << 52)) >> 52;
  const D k = std::bit_cast<D>(biased | 0x4330000000000000U) - (0x1p52 + 1024);
  const D m = std::bit_cast<D>((above & 0x000FFFFFFFFFFFFF) + kRootOfHalf);
  D y = k * 0x1.62e42fefa39efp-1 + log_of_ratio((m - 1.0) / (m + 1.0));
  y = pick(x < kInfinity, y, x + x);  // +inf and NaN
  y = pick(x == 0.0, all(-kInfinity), y);
  return pick(x < 0.0, all(std::numeric_limits<double>::quiet_NaN()), y);
}
inline D log1p_of(D x) {
  return pick(magnitude(x) < 0.4, log_of_ratio(x / (x + 2.0)), log_of(x + 1.0));
}

// e^x = power (1 + rest); what is beyond the range of floats stays beyond.
struct Exponential {
  D power, rest;

  explicit Exponential(D x) {
    x = pick(x > 700.0, all(700.0), x);  // keeps NaN
    x = pick(x < -700.0, all(-700.0), x);
    const D rounded = x * 0x1.71547652b82fep+0 + kToInteger;
    const D k = rounded - kToInteger;
    const D r = (x - k * 0x1.62e42feep-1) - k * 0x1.a39ef35793c76p-33;
    rest = r * series(r, 1.0, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040,
                      1.0 / 40320, 1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800);
    power = std::bit_cast<D>((std::bit_cast<L>(rounded) + 1023) << 52);
  }
  D value() const { return power * rest + power; }
  D minus_one() const { return power * rest + (power - 1.0); }
};

// Of x >= 0.
inline D atan_of(D x) {
  const L inverse = x > 1.0;
  const D t = pick(inverse, 1.0 / x, x);
  const L turned = t > 0.41421356237309503;  // tan(pi / 8)
  const D u = pick(turned, (t - 1.0) / (t + 1.0), t);
  D y = u * series(u * u, 1.0, -1.0 / 3, 1.0 / 5, -1.0 / 7, 1.0 / 9, -1.0 / 11, 1.0 / 13, -1.0 / 15,
                   1.0 / 17, -1.0 / 19, 1.0 / 21, -1.0 / 23, 1.0 / 25, -1.0 / 27, 1.0 / 29,
                   -1.0 / 31);
  y = pick(turned, y + kPi / 4, y);
  return pick(inverse, kPi / 2 - y, y);
}

// |x| < 2^18; pi/2 in two parts, of which the first has 33 bits.
inline D tan_of(D x) {
  const D rounded = x * 0x1.45f306dc9c883p-1 + kToInteger;
  const D n = rounded - kToInteger;
  const D r = (x - n * 0x1.921fb544p+0) - n * 0x1.0b4611a626331p-34;
  const D z = r * r;
  const D sine = r * series(z, 1.0, -1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880, -1.0 / 39916800,
                            1.0 / 6227020800);
  const D cosine = series(z, 1.0, -1.0 / 2, 1.0 / 24, -1.0 / 720, 1.0 / 40320, -1.0 / 3628800,
                          1.0 / 479001600, -1.0 / 87178291200);
  const L odd = (std::bit_cast<L>(rounded) & 1) != 0;
  return pick(odd, -cosine, sine) / pick(odd, sine, cosine);
}

// As the C library's and NumPy's.
inline D pow_of(D x, D y) {
  const D a = magnitude(x);
  const D size = magnitude(y);
  const D rounded = y + kToInteger;
  const L even = size >= 0x1p25;  // as every float from there on, and infinity
  const L whole = even | (rounded - kToInteger == y);
  const L odd = ~even & whole & ((std::bit_cast<L>(rounded) & 1) != 0);
  D power = Exponential(y * log_of(a)).value();
  power = pick((a == 1.0) & (size == kInfinity), all(1.0), power);
  const L negative = std::bit_cast<L>(x) < 0;
  power = pick(negative & odd, -power, power);
  const L none = (x < 0.0) & (a < kInfinity) & ~whole & (y == y);
  power = pick(none, all(std::numeric_limits<double>::quiet_NaN()), power);
  return pick((y == 0.0) | (x == 1.0), all(1.0), power);
}

struct InLog2 {
  static D of(D x) { return log_of(x) * 0x1.71547652b82fep+0; }
};
struct InLog10 {
  static D of(D x) { return log_of(x) * 0x1.bcb7b1526e50ep-2; }
};
struct InLog1p {
  static D of(D x) { return log1p_of(x); }
};
struct InExpm1 {
  static D of(D x) { return pick(x == 0.0, x, Exponential(x).minus_one()); }
};
struct InAsin {
  static D of(D x) {
    const D a = magnitude(x);
    return signed_as(x, atan_of(a / root((1.0 - a) * (1.0 + a))));
  }
};
struct InAcos {
  static D of(D x) { return 2.0 * atan_of(root((1.0 - x) / (1.0 + x))); }
};
struct InAtan {
  static D of(D x) { return signed_as(x, atan_of(magnitude(x))); }
};
struct InSinh {
  static D of(D x) {
    const D e = Exponential(magnitude(x)).minus_one();
    return pick(x == 0.0, x, signed_as(x, magnitude((e + e / (e + 1.0)) * 0.5)));
  }
};
struct InCosh {
  static D of(D x) {
    const D e = Exponential(magnitude(x)).value();
    return (e + 1.0 / e) * 0.5;
  }
};
struct InAsinh {
  static D of(D x) {
    const D a = magnitude(x);
    const D y = log1p_of(a + a * a / (root(a * a + 1.0) + 1.0));
    return signed_as(x, pick(a < kInfinity, magnitude(y), a));
  }
};
struct InAcosh {
  static D of(D x) {
    const D t = x - 1.0;
    const D y = log1p_of(t + root(t * (t + 2.0)));
    return pick(t < 0.0, all(std::numeric_limits<double>::quiet_NaN()), y);
  }
};
struct InAtanh {
  static D of(D x) {
    const D a = magnitude(x);
    return signed_as(x, magnitude(log1p_of(2.0 * a / (1.0 - a)) * 0.5));
  }
};

template <class V>
constexpr int kPadded = V::kWidth < kDoubles ? kDoubles : V::kWidth;

inline D widened(const float* from) {
  Floats floats;
  std::memcpy(&floats, from, sizeof floats);
  return __builtin_convertvector(floats, D);
}
inline void narrowed(D values, float* to) {
  const Floats floats = __builtin_convertvector(values, Floats);
  std::memcpy(to, &floats, sizeof floats);
}

template <class V, class Function>
[[gnu::noinline]] typename V::F in_doubles(typename V::F x) {
  float lanes[kPadded<V>] = {};
  V::store(lanes, x);
  for (int i = 0; i < V::kWidth; i += kDoubles)
    narrowed(Function::of(widened(lanes + i)), lanes + i);
  return V::load(lanes);
}

template <class V>
[[gnu::noinline]] typename V::F power_in_doubles(typename V::F x, typename V::F y) {
  float bases[kPadded<V>] = {};
  float exponents[kPadded<V>] = {};
  V::store(bases, x);
  V::store(exponents, y);
  for (int i = 0; i < V::kWidth; i += kDoubles) {
    narrowed(pow_of(widened(bases + i), widened(exponents + i)), bases + i);
  }
  return V::load(bases);
}

// From 2^17 on, of an angle that is reduced before: tan(r + pi/2) = -1 / tan(r).
template <class V>
[[gnu::noinline]] typename V::F tangent(typename V::F x) {
  float lanes[kPadded<V>] = {};
  bool odd[kPadded<V>] = {};
  V::store(lanes, x);
  for (int i = 0; i < V::kWidth; ++i) {
    const float size = std::fabs(lanes[i]);
    if (!(size >= 0x1p17F)) continue;
    if (size > std::numeric_limits<float>::max()) {
      lanes[i] = std::numeric_limits<float>::quiet_NaN();
      continue;
    }
    const Reduced reduced = reduce_large(lanes[i]);
    lanes[i] = reduced.r;
    odd[i] = reduced.quadrant % 2 != 0;
  }
  for (int i = 0; i < V::kWidth; i += kDoubles) {
    D y = tan_of(widened(lanes + i));
    for (int j = 0; j < kDoubles; ++j) y[j] = odd[i + j] ? -1.0 / y[j] : y[j];
    narrowed(y, lanes + i);
  }
  return V::load(lanes);
}

// A function of doubles as one of `exec.unary`.
template <class Function>
struct Doubled {
  template <class V>
  static typename V::F of(typename V::F x) {
    return in_doubles<V, Function>(x);
  }
};
struct Tan {
  template <class V>
  static typename V::F of(typename V::F x) {
    return tangent<V>(x);
  }
};
struct Power {
  template <class V>
  static typename V::F of(typename V::F x, typename V::F y) {
    return power_in_doubles<V>(x, y);
  }
};

}  // namespace
}  // namespace tileflow
