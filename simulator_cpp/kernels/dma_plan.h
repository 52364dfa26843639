// How the box of a load or store is walked.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/kernels.h"

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

}  // namespace
}  // namespace tileflow
