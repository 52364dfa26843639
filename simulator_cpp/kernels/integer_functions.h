// f of `exec.unary` and `exec.binary` on i32, whose lanes travel as the bits of floats: they are
// moved and never computed with as such.
#pragma once

#include <cstdint>
#include <limits>

#include "kernels/binary_functions.h"

namespace tileflow {
namespace {

// A function of i32 vectors as one of their bits.
template <class V, class Function>
[[gnu::always_inline]] inline typename V::F on_bits(typename V::F a, typename V::F b,
                                                    Function function) {
  return V::from_bits(function(V::bits(a), V::bits(b)));
}

struct IntAbs {
  template <class V>
  static typename V::F of(typename V::F x) {
    const auto bits = V::bits(x);
    return V::from_bits(V::max(bits, V::sub(V::splat_bits(0), bits)));  // -2^31 stays
  }
};
struct IntNeg {
  template <class V>
  static typename V::F of(typename V::F x) {
    return V::from_bits(V::sub(V::splat_bits(0), V::bits(x)));
  }
};

struct IntAdd {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return on_bits<V>(a, b, [](auto x, auto y) { return V::add(x, y); });
  }
};
struct IntSub {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return on_bits<V>(a, b, [](auto x, auto y) { return V::sub(x, y); });
  }
};
struct IntMul {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return on_bits<V>(a, b, [](auto x, auto y) { return V::mul(x, y); });
  }
};
struct IntMax {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return on_bits<V>(a, b, [](auto x, auto y) { return V::max(x, y); });
  }
};
struct IntMin {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return on_bits<V>(a, b, [](auto x, auto y) { return V::min(x, y); });
  }
};
struct IntAnd {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return on_bits<V>(a, b, [](auto x, auto y) { return V::bit_and(x, y); });
  }
};
struct IntOr {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return on_bits<V>(a, b, [](auto x, auto y) { return V::bit_or(x, y); });
  }
};
struct IntXor {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return on_bits<V>(a, b, [](auto x, auto y) { return V::bit_xor(x, y); });
  }
};
struct IntShl {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return on_bits<V>(a, b, [](auto x, auto y) { return V::shl(x, y); });
  }
};
struct IntShr {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return on_bits<V>(a, b, [](auto x, auto y) { return V::shr(x, y); });
  }
};

// The integers 1 and 0.
template <class V>
[[gnu::always_inline]] inline typename V::F either_of(typename V::M holds, std::uint32_t yes,
                                                      std::uint32_t no) {
  return V::select(holds, V::from_bits(V::splat_bits(yes)), V::from_bits(V::splat_bits(no)));
}

struct IntLess {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return either_of<V>(V::less(V::bits(a), V::bits(b)), 1, 0);
  }
};
struct IntLessEqual {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return either_of<V>(V::less(V::bits(b), V::bits(a)), 0, 1);
  }
};
struct IntEqual {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return either_of<V>(V::equal(V::bits(a), V::bits(b)), 1, 0);
  }
};
struct IntNotEqual {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return either_of<V>(V::equal(V::bits(a), V::bits(b)), 0, 1);
  }
};

// Quotient and remainder of the quotient cut off; by 0 both are 0, and -2^31 / -1 wraps.
struct Division {
  std::int32_t quotient = 0, rest = 0;

  Division(std::int32_t a, std::int32_t b) {
    if (b == 0) return;
    if (b == -1) {
      quotient = static_cast<std::int32_t>(0U - static_cast<std::uint32_t>(a));
      return;
    }
    quotient = a / b;
    rest = a % b;
  }
  // Whether the quotient rounded down is one less.
  static bool rounds_down(std::int32_t rest, std::int32_t b) {
    return rest != 0 && (rest < 0) != (b < 0);
  }
};

struct IntDiv {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return by_lanes<V, std::int32_t>(
        a, b, [](std::int32_t x, std::int32_t y) { return Division(x, y).quotient; });
  }
};
struct IntRemainder {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return by_lanes<V, std::int32_t>(
        a, b, [](std::int32_t x, std::int32_t y) { return Division(x, y).rest; });
  }
};
struct IntFloorDiv {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return by_lanes<V, std::int32_t>(a, b, [](std::int32_t x, std::int32_t y) {
      const Division of(x, y);
      return of.quotient - (Division::rounds_down(of.rest, y) ? 1 : 0);
    });
  }
};
struct IntModulo {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return by_lanes<V, std::int32_t>(a, b, [](std::int32_t x, std::int32_t y) {
      const Division of(x, y);
      return of.rest + (Division::rounds_down(of.rest, y) ? y : 0);
    });
  }
};

}  // namespace
}  // namespace tileflow
