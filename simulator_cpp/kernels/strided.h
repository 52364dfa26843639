// Rows of which every so many elements are taken, against rows without gaps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "kernels/raw_vector.h"
#include "kernels/view.h"

namespace tileflow {
namespace {

template <int kItem, int W>
struct Strided : RawVector<kItem, W> {
  using Raw = RawVector<kItem, W>;
  using Raw::kCount;
  using Raw::load;
  using typename Raw::Element;
  using typename Raw::Sequence;
  using Vector = typename Raw::Type;

  // a[0], a[2], ... and then b[1], b[3], ...
  static Vector evens_and_odds(Vector a, Vector b) {
    return separate(alternate(a, b, Sequence()), Sequence());
  }

  // p[0], p[K], p[2 * K], ...: K is a power of two. Nothing behind the last of them is read.
  template <int K>
  static Vector gather(const Element* p) {
    if constexpr (K == 1) {
      return load(p);
    } else {
      return evens_and_odds(gather<K / 2>(p), gather<K / 2>(p + K / 2 * (kCount - 1)));
    }
  }

 private:
  template <int, int>
  friend struct Strided;
  static constexpr int kPart = 16 / kItem;  // processors shuffle within 16 bytes

  template <int... I>
  static Vector alternate(Vector a, Vector b, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(a, b, (I + (I & 1) * kCount)...);
  }
  // The evens before the odds: in every 16 bytes, then their halves.
  template <int... I>
  static Vector separate(Vector a, std::integer_sequence<int, I...>) {
    if constexpr (kItem >= 4 || W <= 16) {
      return __builtin_shufflevector(a, a, (2 * I % kCount + 2 * I / kCount)...);
    } else {
      using Halves = Strided<8, W>;
      const auto parts = (typename Halves::Vector)__builtin_shufflevector(
          a, a, (I / kPart * kPart + 2 * I % kPart + 2 * (I % kPart) / kPart)...);
      return (Vector)Halves::separate(parts, typename Halves::Sequence());
    }
  }
};

// dst[j] = src[K * j] in every row, by vectors of W bytes. The last of a row ends where the row
// does, over the one before it where need be.
template <int K, int W, class T>
void gather_by_vectors(T* dst, std::ptrdiff_t dst_row, const T* src, std::ptrdiff_t src_row,
                       int rows, int cols) {
  using Vector = Strided<sizeof(T), W>;
  constexpr int kCount = Vector::kCount;
  for (int i = 0; i < rows; ++i, dst += dst_row, src += src_row) {
    for (int j = 0; j < cols; j += kCount) {
      const int at = min_of(j, cols - kCount);
      Vector::store(dst + at, Vector::template gather<K>(
                                  reinterpret_cast<const typename Vector::Element*>(src + K * at)));
    }
  }
}

template <int K, int W, class T>
bool gather_by_widest(T* dst, std::ptrdiff_t dst_row, const T* src, std::ptrdiff_t src_row,
                      int rows, int cols) {
  if constexpr (W < 16) {
    return false;
  } else {
    if (cols * static_cast<int>(sizeof(T)) < W) {
      return gather_by_widest<K, W / 2>(dst, dst_row, src, src_row, rows, cols);
    }
    gather_by_vectors<K, W>(dst, dst_row, src, src_row, rows, cols);
    return true;
  }
}

// dst[j] = src[step * j] in every row.
template <class V, class T>
void gather_rows(T* dst, std::ptrdiff_t dst_row, const T* src, std::ptrdiff_t src_row,
                 std::ptrdiff_t step, int rows, int cols) {
  if (step == 2 && gather_by_widest<2, kVectorBytes<V>>(dst, dst_row, src, src_row, rows, cols))
    return;
  if (step == 4 && gather_by_widest<4, kVectorBytes<V>>(dst, dst_row, src, src_row, rows, cols))
    return;
  for (int i = 0; i < rows; ++i, dst += dst_row, src += src_row) {
    for (int j = 0; j < cols; ++j) dst[j] = src[j * step];
  }
}

// dst[step * j] = src[j] in every row; nothing between them is written.
template <class V, class T>
void scatter_rows(const T* src, std::ptrdiff_t src_row, T* dst, std::ptrdiff_t dst_row,
                  std::ptrdiff_t step, int rows, int cols) {
  for (int i = 0; i < rows; ++i, dst += dst_row, src += src_row) {
    for (int j = 0; j < cols; ++j) dst[j * step] = src[j];
  }
}

}  // namespace
}  // namespace tileflow
