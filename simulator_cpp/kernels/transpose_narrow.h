// Transposition of elements of any type, and of whole matrices.
#pragma once

#include <cstddef>

#include "kernels/transpose.h"
#include "kernels/view.h"

namespace tileflow {
namespace {

// dst[c * dst_stride + r] = src[r * src_stride + c] for rows x cols.
template <class V, class T>
void transpose_elements(const T* src, std::ptrdiff_t src_stride, T* dst, std::ptrdiff_t dst_stride,
                        int rows, int cols) {
  transpose_rectangle<V>(src, src_stride, dst, dst_stride, rows, cols);
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
