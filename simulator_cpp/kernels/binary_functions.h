// f of `exec.binary` on f32: one source for every vector width.
#pragma once

#include <bit>
#include <cmath>
#include <limits>

#include "kernels/functions.h"
#include "kernels/trigonometry.h"

namespace tileflow {
namespace {

struct Add {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return a + b;
  }
  static constexpr float kIdentity = -0.0F;
};
struct Sub {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return a - b;
  }
};
struct Mul {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return a * b;
  }
  static constexpr float kIdentity = 1.0F;
};
struct Div {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return a / b;
  }
};
struct Max {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return maximum<V>(a, b);
  }
  static constexpr float kIdentity = -std::numeric_limits<float>::infinity();
};
struct Min {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return minimum<V>(a, b);
  }
  static constexpr float kIdentity = std::numeric_limits<float>::infinity();
};

struct Less {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return truth<V>(V::less(a, b));
  }
};
struct LessEqual {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return truth<V>(V::less_equal(a, b));
  }
};
struct Equal {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return truth<V>(V::equal(a, b));
  }
};
struct NotEqual {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return V::select(V::equal(a, b), V::splat(0.0F), V::splat(1.0F));
  }
};

// Op with its operands changed over.
template <class Op>
struct Swapped {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return Op::template of<V>(b, a);
  }
};

// Lanes one by one, where a vector does not have what an operation needs.
template <class V, class T, class Function>
[[gnu::noinline]] typename V::F by_lanes(typename V::F a, typename V::F b, Function function) {
  float left[V::kWidth], right[V::kWidth];
  V::store(left, a);
  V::store(right, b);
  for (int i = 0; i < V::kWidth; ++i) {
    left[i] = std::bit_cast<float>(function(std::bit_cast<T>(left[i]), std::bit_cast<T>(right[i])));
  }
  return V::load(left);
}

// |a| - trunc(|a| / |b|) |b|, exact, with the sign of a. A rounded quotient below 2^23 is at most
// one too large, and what is left then is exact by the fma; fmod of the C library is exact for all.
template <class V>
[[gnu::always_inline]] inline typename V::F remainder_of(typename V::F a, typename V::F b) {
  const auto x = absolute<V>(a);
  const auto y = absolute<V>(b);
  const auto quotient = V::trunc(x / y);
  auto rest = V::fma(quotient, V::splat(0.0F) - y, x);
  rest = V::select(V::less(rest, V::splat(0.0F)), rest + y, rest);
  rest = with_sign_of<V>(a, V::select(V::less(x, y), x, rest));
  const auto small = V::less(quotient, V::splat(0x1p23F));
  const auto large = V::select(small, V::splat(0.0F), V::splat(-1.0F));
  if (!V::any(V::negative(V::bits(large)))) return rest;
  const auto exact = by_lanes<V, float>(a, b, [](float p, float q) { return std::fmod(p, q); });
  return V::select(small, rest, exact);
}

struct Remainder {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return remainder_of<V>(a, b);
  }
};
// As numpy.mod: the remainder has the sign of b.
struct Modulo {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    const auto zero = V::splat(0.0F);
    const auto rest = remainder_of<V>(a, b);
    const auto differ = V::negative(V::bit_xor(V::bits(rest), V::bits(b)));
    const auto moved = V::select(differ, rest + b, rest);
    const auto nothing = V::from_bits(V::bit_and(V::bits(b), V::splat_bits(0x80000000U)));
    return V::select(V::equal(rest, zero), nothing, moved);
  }
};
// The quotient is rounded before it is cut down.
struct FloorQuotient {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return V::floor(a / b);
  }
};

}  // namespace
}  // namespace tileflow
