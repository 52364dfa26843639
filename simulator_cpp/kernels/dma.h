// load and store: a box of a tensor in DRAM against a matrix in SRAM.
//
// The box is cut into rectangles spanned by its innermost row and innermost column dimension. Of
// a rectangle the part inside the tensor is again a rectangle; it is moved by rows, by transposed
// squares, or one by one, whichever its strides allow.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "kernels/elementwise.h"
#include "kernels/transpose_narrow.h"
#include "kernels/view.h"

namespace tileflow {
namespace {

// One side of a rectangle, or a dimension walked around it.
struct Way {
  int extent = 1;
  int dim = kBroadcast;
  std::int64_t step = 0;    // of the coordinate
  std::int64_t stride = 0;  // of the tensor's memory, in elements
  int rows = 0, cols = 0;   // an index further in SRAM
};

struct Range {
  int begin, end;
};

// The indices 0 .. extent for which 0 <= start + step * index < size.
inline Range inside(std::int64_t start, std::int64_t step, int extent, std::int64_t size) {
  const auto up = [](std::int64_t a, std::int64_t b) { return a <= 0 ? 0 : (a - 1) / b + 1; };
  std::int64_t begin = 0;
  std::int64_t end = extent;
  if (step == 0) {
    if (start < 0 || start >= size) end = 0;
  } else if (step > 0) {
    begin = start < 0 ? up(-start, step) : 0;
    end = start < size ? up(size - start, step) : 0;
  } else {
    begin = start >= size ? up(start - size + 1, -step) : 0;
    end = start >= 0 ? start / -step + 1 : 0;
  }
  if (end > extent) end = extent;
  if (begin >= end) return {0, 0};
  return {static_cast<int>(begin), static_cast<int>(end)};
}

// How the box is walked.
struct Plan {
  std::array<Way, kMaxRank> outer;
  int outer_count = 0;
  Way row, col;
  int rows = 1, cols = 1;  // of the matrix in SRAM

  Plan(const DmaArgs& args, bool is_store) {
    std::array<Way, kMaxRank> ways;
    int count = 0;
    for (std::size_t i = args.box.size(); i-- > 0;) {  // least significant first
      const BoxDim& dim = args.box[i];
      Way way;
      way.extent = static_cast<int>(dim.extent);
      way.dim = dim.tensor_dim;
      if (dim.tensor_dim != kBroadcast) {
        way.step = dim.step;
        way.stride = wrapping_product(dim.step, args.strides[dim.tensor_dim]);
      }
      (dim.column ? way.cols : way.rows) = dim.column ? cols : rows;
      (dim.column ? cols : rows) *= way.extent;
      if (way.extent != 1) ways[count++] = way;
    }
    if (args.pitch == 0 && cols == 1) {  // a contiguous column is a row
      for (int i = 0; i < count; ++i) ways[i].cols = std::exchange(ways[i].rows, 0);
      std::swap(rows, cols);
    }
    choose(ways, count, is_store);
  }

  static std::int64_t wrapping_product(std::int64_t a, std::int64_t b) {
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) * static_cast<std::uint64_t>(b));
  }

 private:
  // Picks the sides of the rectangle: a row way and a column way that move along different
  // dimensions. Where a store might write a place twice, the last in row-major order has to win:
  // its rectangles are single rows.
  void choose(const std::array<Way, kMaxRank>& ways, int count, bool is_store) {
    int row_at = -1;
    int col_at = -1;
    for (int i = count; i-- > 0;) (ways[i].cols != 0 ? col_at : row_at) = i;
    if (is_store && writes_twice(ways, count)) {
      row_at = -1;
    } else if (row_at >= 0 && col_at >= 0 && ways[row_at].dim == ways[col_at].dim) {
      (ways[row_at].extent < ways[col_at].extent ? row_at : col_at) = -1;
    }
    if (row_at >= 0) row = ways[row_at];
    if (col_at >= 0) col = ways[col_at];
    for (const bool along_cols : {false, true}) {
      for (int i = count; i-- > 0;) {
        if (i == row_at || i == col_at || (ways[i].cols != 0) != along_cols) continue;
        outer[outer_count++] = ways[i];
      }
    }
  }

  static bool writes_twice(const std::array<Way, kMaxRank>& ways, int count) {
    unsigned seen = 0;
    for (int i = 0; i < count; ++i) {
      const unsigned bit = 1U << (ways[i].dim + 1);
      if (ways[i].step == 0 || (seen & bit) != 0) return true;
      seen |= bit;
    }
    return false;
  }
};

// Less than a call of memcpy takes, for short rows.
inline void copy_bytes(void* to, const void* from, std::size_t count) {
  auto* dst = static_cast<std::byte*>(to);
  const auto* src = static_cast<const std::byte*>(from);
  const auto some = [&]<std::size_t N>(std::integral_constant<std::size_t, N>) {
    std::memcpy(dst, src, N);
    dst += N;
    src += N;
  };
  for (; count >= 64; count -= 64) some(std::integral_constant<std::size_t, 64>());
  if (count & 32) some(std::integral_constant<std::size_t, 32>());
  if (count & 16) some(std::integral_constant<std::size_t, 16>());
  if (count & 8) some(std::integral_constant<std::size_t, 8>());
  if (count & 4) some(std::integral_constant<std::size_t, 4>());
  if (count & 2) some(std::integral_constant<std::size_t, 2>());
  if (count & 1) some(std::integral_constant<std::size_t, 1>());
}

template <class V, class T, bool kStore>
class Mover {
 public:
  explicit Mover(const DmaArgs& args)
      : args_(args),
        plan_(args, kStore),
        sram_({args.sram, args.pitch}, plan_.cols, args.tile),
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
      for_each_piece(r, c, height, width, [&](T* sram, int i, int j, int rows, int cols) {
        move_rows(sram, tensor + i * row + j * col, rows, cols);
      });
    } else if (row == 1 && height > 1) {
      for_each_piece(r, c, height, width, [&](T* sram, int i, int j, int rows, int cols) {
        move_transposed(sram, tensor + i * row + j * col, rows, cols);
      });
    } else {
      for_each_piece(r, c, height, width, [&](T* sram, int i, int j, int rows, int cols) {
        move_strided(sram, tensor + i * row + j * col, rows, cols);
      });
    }
  }

  void move_rows(T* sram, T* tensor, int rows, int cols) const {
    if (cols == 1) return move_strided(sram, tensor, rows, cols);
    for (int i = 0; i < rows; ++i, sram += sram_.rows.stride, tensor += plan_.row.stride) {
      copy(kStore ? tensor : sram, kStore ? sram : tensor, cols);
      if (!kStore) prefetch(tensor + cols, cols);
    }
  }

  // The box to the right is mostly what is loaded next, and the processor does not see that: rows
  // of a box are short, and a page apart. A prefetch of what is not there has no effect.
  static void prefetch(const T* next, int count) {
    constexpr int kLine = 64 / sizeof(T);
    for (int j = 0; j < count; j += kLine) __builtin_prefetch(next + j, 0, 2);
  }

  static void copy(T* dst, const T* src, int count) {
    constexpr int kLong = 1024 / sizeof(T);
    if (count >= kLong) {
      std::memcpy(dst, src, sizeof(T) * static_cast<std::size_t>(count));
    } else if constexpr (std::is_same_v<T, float>) {
      for_each_vector<V>(dst, count, [&](auto load) { return load(src); });
    } else {
      copy_bytes(dst, src, sizeof(T) * static_cast<std::size_t>(count));
    }
  }

  void move_transposed(T* sram, T* tensor, int rows, int cols) const {
    if (kStore) {
      transpose_elements<V>(sram, sram_.rows.stride, tensor, plan_.col.stride, rows, cols);
    } else {
      transpose_elements<V>(tensor, plan_.col.stride, sram, sram_.rows.stride, cols, rows);
    }
  }

  void move_strided(T* sram, T* tensor, int rows, int cols) const {
    const std::ptrdiff_t step = plan_.col.stride;
    for (int i = 0; i < rows; ++i, sram += sram_.rows.stride, tensor += plan_.row.stride) {
      for (int j = 0; j < cols; ++j) {
        if constexpr (kStore) {
          tensor[j * step] = sram[j];
        } else {
          sram[j] = tensor[j * step];
        }
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
