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

// Rows of `pieces` pieces of `cols` elements each; distances in elements.
struct Pieces {
  int rows, pieces, cols;
  std::ptrdiff_t row, piece;   // from one to the next on the side without gaps
  std::ptrdiff_t strided_row;  // on the other; its pieces follow each other
};

// body(without gaps, strided) for every piece, row by row.
template <class A, class B, class Body>
inline void for_pieces(A* dense, B* strided, std::ptrdiff_t step, const Pieces& what, Body body) {
  for (int i = 0; i < what.rows; ++i, dense += what.row, strided += what.strided_row) {
    for (int p = 0; p < what.pieces; ++p) {
      body(dense + p * what.piece, strided + p * step * what.cols);
    }
  }
}

// dst[j] = src[K * j] by vectors of W bytes. The last of a piece ends where the piece does, over
// the one before it where need be.
template <int K, int W, class T>
void gather_by_vectors(T* dst, const T* src, const Pieces& what) {
  using Vector = Strided<sizeof(T), W>;
  constexpr int kCount = Vector::kCount;
  for_pieces(dst, src, K, what, [cols = what.cols](T* to, const T* from) {
    for (int j = 0; j < cols; j += kCount) {
      const int at = min_of(j, cols - kCount);
      const auto* first = reinterpret_cast<const typename Vector::Element*>(from + K * at);
      Vector::store(to + at, Vector::template gather<K>(first));
    }
  });
}

template <int K, int W, class T>
bool gather_by_widest(T* dst, const T* src, const Pieces& what) {
  if constexpr (W < 16) {
    return false;
  } else {
    if (what.cols * static_cast<int>(sizeof(T)) < W) {
      return gather_by_widest<K, W / 2>(dst, src, what);
    }
    gather_by_vectors<K, W>(dst, src, what);
    return true;
  }
}

// dst[j] = src[step * j] in every piece.
template <class V, class T>
void gather_pieces(T* dst, const T* src, std::ptrdiff_t step, const Pieces& what) {
  if (step == 2 && gather_by_widest<2, kVectorBytes<V>>(dst, src, what)) return;
  if (step == 4 && gather_by_widest<4, kVectorBytes<V>>(dst, src, what)) return;
  for_pieces(dst, src, step, what, [step, cols = what.cols](T* to, const T* from) {
    for (int j = 0; j < cols; ++j) to[j] = from[j * step];
  });
}

// dst[K * j] = src[j], where a level stores chosen elements of a vector.
template <class V, int K, class T>
bool scatter_by_masks(T* src, T* dst, const Pieces& what) {
  if constexpr (requires(typename V::I v) { V::store_some(dst, v, 0); } && K * sizeof(T) <= 8) {
    constexpr int kBytes = sizeof(typename V::I);
    using Narrow = RawVector<sizeof(T), kBytes / K>;
    using Wide = RawVector<K * sizeof(T), kBytes>;
    constexpr std::uint64_t kEvery = K == 2 ? 0x5555555555555555 : 0x1111111111111111;
    if (what.cols < Narrow::kCount) return false;
    for_pieces(src, dst, K, what, [cols = what.cols](T* from, T* to) {
      for (int j = 0; j < cols; j += Narrow::kCount) {
        const int at = min_of(j, cols - Narrow::kCount);
        const auto wide = __builtin_convertvector(Narrow::load(from + at), typename Wide::Type);
        V::store_some(to + K * at, (typename V::I)wide, kEvery);
      }
    });
    return true;
  }
  return false;
}

// dst[step * j] = src[j] in every piece; nothing between them is written.
template <class V, class T>
void scatter_pieces(T* src, T* dst, std::ptrdiff_t step, const Pieces& what) {
  if (step == 2 && scatter_by_masks<V, 2>(src, dst, what)) return;
  if (step == 4 && scatter_by_masks<V, 4>(src, dst, what)) return;
  for_pieces(src, dst, step, what, [step, cols = what.cols](T* from, T* to) {
    for (int j = 0; j < cols; ++j) to[j * step] = from[j];
  });
}

}  // namespace
}  // namespace tileflow
