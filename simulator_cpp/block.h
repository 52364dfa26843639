// Matrices and vectors in SRAM, and the bytes they cover.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "program.h"

namespace tileflow {

// rows x cols elements from byte `address`, laid out as in Operand (kernels.h).
struct Block {
  std::int64_t address = 0;
  std::int64_t rows = 0, cols = 0;
  int pitch = 0;
  isa::DType dtype{};

  std::int64_t item() const { return isa::item_bytes(dtype); }
  bool empty() const { return rows == 0 || cols == 0; }
};

// Bytes [lo, hi).
struct Run {
  std::int64_t lo = 0, hi = 0;
};

// Adds a run, joined to the last one where they touch.
inline void append(std::vector<Run>& runs, std::int64_t lo, std::int64_t hi) {
  if (!runs.empty() && runs.back().hi == lo) {
    runs.back().hi = hi;
  } else {
    runs.push_back({lo, hi});
  }
}

// Tiles are squares of 1 << shift elements; divisions by their edge would take most of the time.

// Byte after the last of a block that is not empty and whose pitch holds its columns.
inline std::int64_t end_of(const Block& block, int shift) {
  const std::int64_t r = block.rows - 1;
  const std::int64_t c = block.cols - 1;
  if (block.pitch == 0) return block.address + (r * block.cols + c + 1) * block.item();
  const std::int64_t inside = (std::int64_t{1} << shift) - 1;
  const std::int64_t tiles = (r >> shift) * block.pitch + (c >> shift);
  const std::int64_t rows = (tiles << shift) + (r & inside);
  return block.address + ((rows << shift) + (c & inside) + 1) * block.item();
}

// Rows [r0, r1) and columns [c0, c1) of a block.
struct Rect {
  std::int64_t r0 = 0, r1 = 0, c0 = 0, c1 = 0;
};

// Appends the bytes of a rectangle, in ascending order.
inline void append_runs(const Block& block, int shift, const Rect& rect, std::vector<Run>& runs) {
  if (rect.r0 >= rect.r1 || rect.c0 >= rect.c1) return;
  const auto add = [&](std::int64_t lo, std::int64_t hi) {
    append(runs, block.address + lo * block.item(), block.address + hi * block.item());
  };
  if (block.pitch == 0) {
    if (rect.c0 == 0 && rect.c1 == block.cols) {
      return add(rect.r0 * block.cols, rect.r1 * block.cols);
    }
    for (std::int64_t r = rect.r0; r < rect.r1; ++r) {
      add(r * block.cols + rect.c0, r * block.cols + rect.c1);
    }
    return;
  }
  const std::int64_t tile = std::int64_t{1} << shift;
  for (std::int64_t tr = rect.r0 >> shift; tr << shift < rect.r1; ++tr) {
    const std::int64_t ra = std::max<std::int64_t>(rect.r0 - (tr << shift), 0);
    const std::int64_t rb = std::min(rect.r1 - (tr << shift), tile);
    std::int64_t tc = rect.c0 >> shift;
    while (tc << shift < rect.c1) {
      const std::int64_t ca = std::max<std::int64_t>(rect.c0 - (tc << shift), 0);
      const std::int64_t cb = std::min(rect.c1 - (tc << shift), tile);
      const std::int64_t base = (tr * block.pitch + tc) << 2 * shift;
      ++tc;
      if (ca == 0 && rb - ra == tile && cb == tile) {  // and so are the tiles up to c1
        const std::int64_t next = std::max(tc, rect.c1 >> shift);
        add(base, base + ((next - tc + 1) << 2 * shift));
        tc = next;
      } else if (ca == 0 && cb == tile) {
        add(base + (ra << shift), base + (rb << shift));
      } else {
        for (std::int64_t r = ra; r < rb; ++r) {
          add(base + (r << shift) + ca, base + (r << shift) + cb);
        }
      }
    }
  }
}

inline void append_runs(const Block& block, int shift, std::vector<Run>& runs) {
  append_runs(block, shift, {0, block.rows, 0, block.cols}, runs);
}

}  // namespace tileflow
