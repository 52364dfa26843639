// Where the elements of a matrix in SRAM are.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

namespace tileflow {
namespace {

// The way along one side of a matrix: `stride` elements from an index to the next within a tile,
// `tile_step` elements from a tile to the next.
struct Axis {
  std::ptrdiff_t stride, tile_step;
  int tile, shift;

  std::ptrdiff_t at(int i) const { return (i >> shift) * tile_step + (i & (tile - 1)) * stride; }
  // Equal distances all along, not only within a tile.
  bool uniform() const { return tile_step == stride * tile; }
  // How many indices from i on, before `end`, are a stride apart.
  int run(int i, int end) const {
    const int edge = uniform() ? end : (i | (tile - 1)) + 1;
    return (edge < end ? edge : end) - i;
  }
};

// The ways along both sides of a matrix.
struct Sides {
  Axis rows, cols;
};

template <class T>
struct ViewOf : Sides {
  T* data;

  // `width` is the number of columns, which spaces the rows of a matrix without a grid.
  ViewOf(const Operand& operand, int width, int tile) : data(static_cast<T*>(operand.data)) {
    const int shift = std::countr_zero(static_cast<unsigned>(tile));
    const std::ptrdiff_t area = std::ptrdiff_t{tile} * tile;
    if (operand.pitch > 0) {
      rows = {tile, operand.pitch * area, tile, shift};
      cols = {1, area, tile, shift};
    } else {
      const std::ptrdiff_t stride = operand.pitch == kStridedRows ? operand.stride : width;
      rows = {stride, stride * tile, tile, shift};
      cols = {1, tile, tile, shift};
    }
  }

  T* at(int r, int c) const { return data + rows.at(r) + cols.at(c); }

  ViewOf transposed() const {
    ViewOf other = *this;
    other.rows = cols;
    other.cols = rows;
    return other;
  }
};

using View = ViewOf<float>;

// An element from its bits.
template <class T>
T element_from(std::uint32_t bits) {
  if constexpr (sizeof(T) == sizeof(bits)) {
    return std::bit_cast<T>(bits);
  } else {
    return static_cast<T>(bits);
  }
}

inline int min_of(int a, int b) { return a < b ? a : b; }

}  // namespace
}  // namespace tileflow
