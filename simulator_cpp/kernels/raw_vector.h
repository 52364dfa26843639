// Vectors whose elements are moved, never computed with.
#pragma once

#include <cstdint>
#include <type_traits>
#include <utility>

namespace tileflow {
namespace {

template <int kBytes>
using UnsignedOf = std::conditional_t<
    kBytes == 1, std::uint8_t,
    std::conditional_t<kBytes == 2, std::uint16_t,
                       std::conditional_t<kBytes == 4, std::uint32_t, std::uint64_t>>>;

// Those that rows are moved by. Of wider ones most cross a cache line: NumPy's arrays lie at
// multiples of 16 bytes.
template <class V>
constexpr int kVectorBytes = V::kWidth == 1 ? 8 : 32;

// kBytes bytes in elements of kItem bytes.
template <int kItem, int kBytes>
struct RawVector {
  using Element = UnsignedOf<kItem>;
  typedef Element Type __attribute__((vector_size(kBytes)));
  static constexpr int kCount = kBytes / kItem;
  using Sequence = std::make_integer_sequence<int, kCount>;

  // Anywhere in memory, whatever is there.
  static Type load(const void* p) { return *static_cast<const Unaligned*>(p); }
  static void store(void* p, Type v) { *static_cast<Unaligned*>(p) = v; }

  // The first half from one place, the second from another.
  static Type load_halves(const void* low, const void* high)
    requires(kBytes >= 16)
  {
    // Of floats: compilers use what inserts a half for them only.
    using Half = FloatVector<kBytes / 2>;
    return (Type)join(*static_cast<const Half*>(low), *static_cast<const Half*>(high),
                      std::make_integer_sequence<int, kBytes / 4>());
  }

 private:
  typedef Element Unaligned __attribute__((vector_size(kBytes), aligned(1), may_alias));
  template <int kSize>
  struct Floats {
    typedef float Type __attribute__((vector_size(kSize), aligned(1), may_alias));
  };
  template <int kSize>
  using FloatVector = typename Floats<kSize>::Type;
  template <class Half, int... I>
  static auto join(Half low, Half high, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(low, high, I...);
  }
};

}  // namespace
}  // namespace tileflow
