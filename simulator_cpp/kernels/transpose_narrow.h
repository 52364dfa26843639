// Transposition of elements of any type; those that are not floats go in squares of 16 bytes a
// side.
#pragma once

#include <cstddef>
#include <cstring>
#include <type_traits>
#include <utility>

#include "kernels/transpose.h"

namespace tileflow {
namespace {

template <class T>
struct Square {
  static constexpr int kSide = 16 / sizeof(T);
  typedef T Row __attribute__((vector_size(16)));
  Row rows[kSide];

  // Each round interleaves the upper half of the rows with the lower; after log2(kSide) of them
  // rows are columns.
  void transpose() { transpose_rounds<kSide>(); }

 private:
  template <int kLeft>
  void transpose_rounds() {
    if constexpr (kLeft > 1) {
      Row next[kSide];
      for (int i = 0; i < kSide / 2; ++i) {
        next[2 * i] = interleave<0>(rows[i], rows[i + kSide / 2], Lanes());
        next[2 * i + 1] = interleave<kSide / 2>(rows[i], rows[i + kSide / 2], Lanes());
      }
      std::memcpy(rows, next, sizeof(rows));
      transpose_rounds<kLeft / 2>();
    }
  }

  using Lanes = std::make_integer_sequence<int, kSide>;
  // Lanes kFirst, kFirst + 1, ... of a and b in turns.
  template <int kFirst, int... I>
  static Row interleave(Row a, Row b, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(a, b, (kFirst + I / 2 + (I & 1) * kSide)...);
  }
};

// dst[c * dst_stride + r] = src[r * src_stride + c] for rows x cols.
template <class V, class T>
void transpose_elements(const T* src, std::ptrdiff_t src_stride, T* dst, std::ptrdiff_t dst_stride,
                        int rows, int cols) {
  if constexpr (std::is_same_v<T, float>) {
    transpose_rectangle<V>(src, src_stride, dst, dst_stride, rows, cols);
  } else {
    constexpr int kSide = Square<T>::kSide;
    for (int r = 0; r < rows; r += kSide) {
      const int height = min_of(kSide, rows - r);
      for (int c = 0; c < cols; c += kSide) {
        const int width = min_of(kSide, cols - c);
        const T* from = src + r * src_stride + c;
        T* to = dst + c * dst_stride + r;
        if (height < kSide || width < kSide) {
          for (int i = 0; i < height; ++i) {
            for (int j = 0; j < width; ++j) to[j * dst_stride + i] = from[i * src_stride + j];
          }
          continue;
        }
        Square<T> square;
        for (int i = 0; i < kSide; ++i) std::memcpy(&square.rows[i], from + i * src_stride, 16);
        square.transpose();
        for (int i = 0; i < kSide; ++i) std::memcpy(to + i * dst_stride, &square.rows[i], 16);
      }
    }
  }
}

template <class V, class T>
void transpose(const TransposeArgs& args) {
  const ViewOf<T> src(args.src, args.n, args.tile);
  const ViewOf<T> dst(args.dst, args.m, args.tile);
  for (int r = 0; r < args.m; r += args.tile) {
    const int rows = min_of(args.tile, args.m - r);
    for (int c = 0; c < args.n; c += args.tile) {
      const int cols = min_of(args.tile, args.n - c);
      transpose_elements<V>(static_cast<const T*>(src.at(r, c)), src.rows.stride, dst.at(c, r),
                            dst.rows.stride, rows, cols);
    }
  }
}

}  // namespace
}  // namespace tileflow
