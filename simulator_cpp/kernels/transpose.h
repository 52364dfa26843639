// Transposition through registers, in squares of 16 bytes a side: two of them, one below the other,
// share the registers, so that what is written is 32 bytes long.
#pragma once

#include <cstddef>
#include <utility>

#include "kernels/copy_rows.h"
#include "kernels/raw_vector.h"
#include "kernels/view.h"

namespace tileflow {
namespace {

template <class T, int kSquares>
struct Squares {
  static constexpr int kSide = 16 / sizeof(T);
  static constexpr int kHeight = kSquares * kSide;
  using Vector = RawVector<sizeof(T), 16 * kSquares>;
  using Row = typename Vector::Type;
  Row rows[kSide];  // of every square, side by side

  void load(const T* src, std::ptrdiff_t stride) {
    for (int i = 0; i < kSide; ++i, src += stride) {
      if constexpr (kSquares == 2) {
        rows[i] = Vector::load_halves(src, src + kSide * stride);
      } else {
        rows[i] = Vector::load(src);
      }
    }
  }
  void store(T* dst, std::ptrdiff_t stride) const {
    for (int i = 0; i < kSide; ++i, dst += stride) Vector::store(dst, rows[i]);
  }

  // Each round interleaves the upper half of the rows with the lower; after log2(kSide) of them
  // rows are columns.
  void transpose() { transpose_rounds<kSide>(); }

 private:
  template <int kLeft>
  void transpose_rounds() {
    if constexpr (kLeft > 1) {
      Row next[kSide];
      for (int i = 0; i < kSide / 2; ++i) {
        const Row upper = rows[i];
        const Row lower = rows[i + kSide / 2];
        next[2 * i] = interleave<0>(upper, lower, typename Vector::Sequence());
        next[2 * i + 1] = interleave<kSide / 2>(upper, lower, typename Vector::Sequence());
      }
      for (int i = 0; i < kSide; ++i) rows[i] = next[i];
      transpose_rounds<kLeft / 2>();
    }
  }

  // In each square, lanes kFirst, kFirst + 1, ... of a and b in turns.
  template <int kFirst, int... I>
  static Row interleave(Row a, Row b, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(
        a, b, (I / kSide * kSide + kFirst + I % kSide / 2 + (I & 1) * kHeight)...);
  }
};

// dst[c * dst_stride + r] = src[r * src_stride + c] for rows x cols, of which there are at least
// those of the squares. The last ones overlap those before. They follow the rows of the side whose
// rows are further apart: its cache lines, which may compete for their place, are done with one
// after the other.
template <class T, int kSquares>
void transpose_by_squares(const T* src, std::ptrdiff_t src_stride, T* dst,
                          std::ptrdiff_t dst_stride, int rows, int cols) {
  using Block = Squares<T, kSquares>;
  const auto at = [&](int r, int c) {
    r = min_of(r, rows - Block::kHeight);
    c = min_of(c, cols - Block::kSide);
    Block block;
    block.load(src + r * src_stride + c, src_stride);
    block.transpose();
    block.store(dst + c * dst_stride + r, dst_stride);
  };
  if (src_stride > dst_stride) {
    for (int r = 0; r < rows; r += Block::kHeight) {
      for (int c = 0; c < cols; c += Block::kSide) at(r, c);
    }
  } else {
    for (int c = 0; c < cols; c += Block::kSide) {
      for (int r = 0; r < rows; r += Block::kHeight) at(r, c);
    }
  }
}

// Where one side is shorter than a square.
template <class V, class T>
void transpose_narrow(const T* src, std::ptrdiff_t src_stride, T* dst, std::ptrdiff_t dst_stride,
                      int rows, int cols) {
  using Block = Squares<T, 1>;
  constexpr int kSide = Block::kSide;
  constexpr std::ptrdiff_t kItem = sizeof(T);
  T whole[kSide * kSide]{};
  for (int r = 0; r < rows; r += kSide) {
    const int height = min_of(kSide, rows - r);
    for (int c = 0; c < cols; c += kSide) {
      const int width = min_of(kSide, cols - c);
      copy_rows<V>(whole, {16, 0}, src + r * src_stride + c, {src_stride * kItem, 0},
                   {height, 1, width * static_cast<int>(kItem)});
      Block block;
      block.load(whole, kSide);
      block.transpose();
      block.store(whole, kSide);
      copy_rows<V>(dst + c * dst_stride + r, {dst_stride * kItem, 0}, whole, {16, 0},
                   {width, 1, height * static_cast<int>(kItem)});
    }
  }
}

// dst[c * dst_stride + r] = src[r * src_stride + c] for rows x cols.
template <class V, class T>
void transpose_rectangle(const T* src, std::ptrdiff_t src_stride, T* dst, std::ptrdiff_t dst_stride,
                         int rows, int cols) {
  if constexpr (V::kWidth == 1) {
    for (int r = 0; r < rows; ++r) {
      for (int c = 0; c < cols; ++c) dst[c * dst_stride + r] = src[r * src_stride + c];
    }
  } else if (cols >= Squares<T, 2>::kSide && rows >= Squares<T, 2>::kHeight) {
    transpose_by_squares<T, 2>(src, src_stride, dst, dst_stride, rows, cols);
  } else if (cols >= Squares<T, 1>::kSide && rows >= Squares<T, 1>::kHeight) {
    transpose_by_squares<T, 1>(src, src_stride, dst, dst_stride, rows, cols);
  } else {
    transpose_narrow<V>(src, src_stride, dst, dst_stride, rows, cols);
  }
}

}  // namespace
}  // namespace tileflow
