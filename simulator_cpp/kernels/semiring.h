// What exec.gemm takes for products, and for their sum: isa.table SEMIRINGS but for the first.
#pragma once

#include <limits>

namespace tileflow {
namespace {

// kOfMagnitudes: whether it is zero and infinity that make a NaN, not infinities of both signs.
struct Plus {
  static constexpr bool kOfMagnitudes = false;
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return a + b;
  }
};
struct Times {
  static constexpr bool kOfMagnitudes = true;
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return a * b;
  }
};

// Of values that are equal, which zeros of either sign are, acc stays; so it does where it or the
// value is NaN.
struct Least {
  static constexpr float kEmpty = std::numeric_limits<float>::infinity();
  template <class V>
  static typename V::F of(typename V::F value, typename V::F acc) {
    return V::min_or_second(value, acc);
  }
};
struct Greatest {
  static constexpr float kEmpty = -std::numeric_limits<float>::infinity();
  template <class V>
  static typename V::F of(typename V::F value, typename V::F acc) {
    return V::max_or_second(value, acc);
  }
};

}  // namespace
}  // namespace tileflow
