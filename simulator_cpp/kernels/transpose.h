// Transposition through registers, in squares of a vector's width.
#pragma once

#include "kernels/view.h"

namespace tileflow {
namespace {

// Swaps the off-diagonal D x D squares of every 2D x 2D square, then those within.
template <class V, int D = V::kWidth / 2>
void transpose_square(typename V::F (&rows)[V::kWidth]) {
  if constexpr (D > 0) {
    for (int r = 0; r < V::kWidth; ++r) {
      if (r & D) continue;
      const auto upper = rows[r];
      const auto lower = rows[r + D];
      rows[r] = V::template mix<D>(upper, V::template swap<D>(lower));
      rows[r + D] = V::template mix<D>(V::template swap<D>(upper), lower);
    }
    transpose_square<V, D / 2>(rows);
  }
}

// dst[c * dst_stride + r] = src[r * src_stride + c] for rows x cols, at most a square of them.
template <class V>
void transpose_at_most_square(const float* src, std::ptrdiff_t src_stride, float* dst,
                              std::ptrdiff_t dst_stride, int rows, int cols) {
  constexpr int kWidth = V::kWidth;
  typename V::F square[kWidth];
  if (rows == kWidth && cols == kWidth) {
    for (int i = 0; i < kWidth; ++i) square[i] = V::load(src + i * src_stride);
    transpose_square<V>(square);
    for (int i = 0; i < kWidth; ++i) V::store(dst + i * dst_stride, square[i]);
    return;
  }
  const auto in = V::tail(cols);
  const auto out = V::tail(rows);
  for (int i = 0; i < kWidth; ++i) {
    square[i] = i < rows ? V::load(src + i * src_stride, in) : V::splat(0.0F);
  }
  transpose_square<V>(square);
  for (int i = 0; i < cols; ++i) V::store(dst + i * dst_stride, square[i], out);
}

// The same for any rectangle. The squares follow the rows of the side whose rows are further
// apart: its cache lines, which may compete for their place, are done with one after the other.
template <class V>
void transpose_rectangle(const float* src, std::ptrdiff_t src_stride, float* dst,
                         std::ptrdiff_t dst_stride, int rows, int cols) {
  constexpr int kWidth = V::kWidth;
  const bool along_src = src_stride > dst_stride;
  const int outer = along_src ? rows : cols;
  const int inner = along_src ? cols : rows;
  for (int i = 0; i < outer; i += kWidth) {
    for (int j = 0; j < inner; j += kWidth) {
      const int r = along_src ? i : j;
      const int c = along_src ? j : i;
      transpose_at_most_square<V>(src + r * src_stride + c, src_stride, dst + c * dst_stride + r,
                                  dst_stride, min_of(kWidth, rows - r), min_of(kWidth, cols - c));
    }
  }
}

}  // namespace
}  // namespace tileflow
