// load and store: a box of a tensor in DRAM against a matrix in SRAM.
//
// The box is cut into rectangles spanned by its innermost row and innermost column dimension. Of
// a rectangle the part inside the tensor is again a rectangle; it is moved by rows, by transposed
// squares, or element by element, whichever its strides allow.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/copy_rows.h"
#include "kernels/dma_plan.h"
#include "kernels/strided.h"
#include "kernels/transpose_narrow.h"
#include "kernels/view.h"

namespace tileflow {
namespace {

template <class V, class T, bool kStore>
class Mover {
 public:
  explicit Mover(const DmaArgs& args)
      : args_(args),
        plan_(args, kStore),
        sram_({args.sram, args.pitch, args.sram_stride}, plan_.cols, args.tile),
        coords_(args.coords) {}

  std::int64_t run() {
    if (plan_.rows > 0 && plan_.cols > 0) walk(0, 0, 0);
    return moved_;
  }

 private:
  void walk(int depth, int r, int c) {
    if (depth == plan_.outer_count) return rectangle(r, c);
    const Way& way = plan_.outer[depth];
    const bool moves = way.dim != kBroadcast;
    const std::int64_t start = moves ? coords_[way.dim] : 0;
    for (int i = 0; i < way.extent; ++i) {
      if (moves) coords_[way.dim] = start + way.step * i;
      walk(depth + 1, r + i * way.rows, c + i * way.cols);
    }
    if (moves) coords_[way.dim] = start;
  }

  void rectangle(int r, int c) {
    const Way& row = plan_.row;
    const Way& col = plan_.col;
    std::uint64_t offset = 0;  // wraps as long as it is outside the tensor
    bool outside = false;
    for (int d = 0; d < args_.rank; ++d) {
      offset += static_cast<std::uint64_t>(Plan::wrapping_product(coords_[d], args_.strides[d]));
      const bool fixed = d != row.dim && d != col.dim;
      outside = outside || (fixed && (coords_[d] < 0 || coords_[d] >= args_.shape[d]));
    }
    const Range rows = outside ? Range{0, 0} : range(row);
    const Range cols = rows.begin == rows.end ? Range{0, 0} : range(col);
    if (cols.begin == cols.end) return pad(r, c, row.extent, col.extent);
    const int height = rows.end - rows.begin;
    const int width = cols.end - cols.begin;
    pad(r, c, rows.begin, col.extent);
    pad(r + rows.begin, c, height, cols.begin);
    pad(r + rows.begin, c + cols.end, height, col.extent - cols.end);
    pad(r + rows.end, c, row.extent - rows.end, col.extent);
    offset += static_cast<std::uint64_t>(Plan::wrapping_product(row.stride, rows.begin));
    offset += static_cast<std::uint64_t>(Plan::wrapping_product(col.stride, cols.begin));
    move(r + rows.begin, c + cols.begin, height, width,
         static_cast<T*>(args_.tensor) + static_cast<std::int64_t>(offset));
    moved_ += std::int64_t{height} * width;
  }

  Range range(const Way& way) const {
    if (way.dim == kBroadcast) return {0, way.extent};
    return inside(coords_[way.dim], way.step, way.extent, args_.shape[way.dim]);
  }

  void pad(int r, int c, int height, int width) {
    if (kStore || height == 0 || width == 0) return;
    const T fill = element_from<T>(args_.fill);
    for_each_piece(r, c, height, width, [&](T* sram, int, int, int rows, int cols) {
      for (int i = 0; i < rows; ++i, sram += sram_.rows.stride) {
        for (int j = 0; j < cols; ++j) sram[j] = fill;
      }
    });
  }

  void move(int r, int c, int height, int width, T* tensor) {
    const std::ptrdiff_t row = plan_.row.stride;
    const std::ptrdiff_t col = plan_.col.stride;
    if (col == 1 || width == 1) {
      for_each_band(r, c, height, width, tensor,
                    [&](T* sram, T* at, const Pieces& what) { copy_pieces(sram, at, what); });
      if (!kStore) prefetch_next(tensor, height, width);
    } else if (height == 1 || magnitude(row) >= magnitude(col)) {
      for_each_band(r, c, height, width, tensor,
                    [&](T* sram, T* at, const Pieces& what) { move_strided(sram, at, col, what); });
    } else {
      // Along the rows of the tensor: the lines and pages of few of them are in use at a time.
      for (int j = 0, cols = 0; j < width; j += cols) {
        cols = sram_.cols.run(c + j, c + width);
        for_each_piece(r, c + j, height, cols, [&](T* sram, int i, int, int rows, int) {
          T* at = tensor + i * row + j * col;
          if (row == 1) {
            move_transposed(sram, at, rows, cols);
          } else {
            move_transposed_and_strided(sram, at, rows, cols);
          }
        });
      }
    }
  }

  // The box to the right is mostly what is loaded next, and the processor does not see that where
  // rows are short and far apart. A prefetch of what is not there has no effect.
  void prefetch_next(const T* tensor, int height, int width) const {
    constexpr int kLine = 64 / sizeof(T);
    if (width > 4 * kLine || magnitude(plan_.row.stride) <= 4 * kLine) return;
    for (int i = 0; i < height; ++i, tensor += plan_.row.stride) {
      for (int j = width; j < 2 * width; j += kLine) __builtin_prefetch(tensor + j, 0, 3);
    }
  }

  static std::ptrdiff_t magnitude(std::ptrdiff_t stride) { return stride < 0 ? -stride : stride; }

  // body(where it is in SRAM, where in the tensor, what) for bands of rows that are evenly spaced
  // in SRAM: the parts of them in whole tiles at once, so that a row of the tensor is done with at
  // once, and the parts before and behind.
  template <class Body>
  void for_each_band(int r, int c, int height, int width, T* tensor, Body body) const {
    const int head = sram_.cols.run(c, c + width);
    const int edge = sram_.cols.uniform() ? width : sram_.cols.tile;
    const int whole = head < edge ? head : 0;  // where whole tiles begin
    const int tiles = (width - whole) / edge;
    const int tail = whole + tiles * edge;
    for (int i = 0, rows = 0; i < height; i += rows) {
      rows = sram_.rows.run(r + i, r + height);
      const auto part = [&](int j, int pieces, int cols) {
        body(sram_.at(r + i, c + j), tensor + i * plan_.row.stride + j * plan_.col.stride,
             Pieces{rows, pieces, cols, sram_.rows.stride, sram_.cols.tile_step, plan_.row.stride});
      };
      if (whole > 0) part(0, 1, whole);
      if (tiles > 0) part(whole, tiles, edge);
      if (tail < width) part(tail, 1, width - tail);
    }
  }

  static void copy_pieces(T* sram, T* tensor, const Pieces& what) {
    constexpr std::ptrdiff_t kItem = sizeof(T);
    const Spacing in_sram{what.row * kItem, what.piece * kItem};
    const Spacing in_tensor{what.strided_row * kItem, what.cols * kItem};
    const RowPieces rows{what.rows, what.pieces, what.cols * static_cast<int>(kItem)};
    if (kStore) {
      copy_rows<V>(tensor, in_tensor, sram, in_sram, rows);
    } else {
      copy_rows<V>(sram, in_sram, tensor, in_tensor, rows);
    }
  }

  static void move_strided(T* sram, T* tensor, std::ptrdiff_t step, const Pieces& what) {
    if (kStore) {
      scatter_pieces<V>(sram, tensor, step, what);
    } else {
      gather_pieces<V>(sram, tensor, step, what);
    }
  }

  void move_transposed(T* sram, T* tensor, int rows, int cols) const {
    if (kStore) {
      transpose_elements<V>(sram, sram_.rows.stride, tensor, plan_.col.stride, rows, cols);
    } else {
      transpose_elements<V>(tensor, plan_.col.stride, sram, sram_.rows.stride, cols, rows);
    }
  }

  // Through a square without gaps.
  void move_transposed_and_strided(T* sram, T* tensor, int rows, int cols) const {
    constexpr int kSide = 32;
    const std::ptrdiff_t row = plan_.row.stride;
    const std::ptrdiff_t col = plan_.col.stride;
    T square[kSide * kSide];
    for (int i = 0; i < rows; i += kSide) {
      const int height = min_of(kSide, rows - i);
      for (int j = 0; j < cols; j += kSide) {
        const int width = min_of(kSide, cols - j);
        T* block = sram + i * sram_.rows.stride + j;
        if (kStore) transpose_elements<V>(block, sram_.rows.stride, square, kSide, height, width);
        move_strided(square, tensor + i * row + j * col, row,
                     Pieces{width, 1, height, kSide, 0, col});
        if (!kStore) transpose_elements<V>(square, kSide, block, sram_.rows.stride, width, height);
      }
    }
  }

  // body(where it is in SRAM, first row and column within the rectangle, rows, columns) for the
  // parts of a rectangle whose rows, and the elements of them, are evenly spaced in SRAM.
  template <class Body>
  void for_each_piece(int r, int c, int height, int width, Body body) const {
    int rows = 0;
    for (int i = 0; i < height; i += rows) {
      rows = sram_.rows.run(r + i, r + height);
      int cols = 0;
      for (int j = 0; j < width; j += cols) {
        cols = sram_.cols.run(c + j, c + width);
        body(sram_.at(r + i, c + j), i, j, rows, cols);
      }
    }
  }

  const DmaArgs& args_;
  const Plan plan_;
  const ViewOf<T> sram_;
  std::array<std::int64_t, kMaxRank> coords_;
  std::int64_t moved_ = 0;
};

template <class V, class T>
std::int64_t load(const DmaArgs& args) {
  return Mover<V, T, false>(args).run();
}

template <class V, class T>
std::int64_t store(const DmaArgs& args) {
  return Mover<V, T, true>(args).run();
}

}  // namespace
}  // namespace tileflow
