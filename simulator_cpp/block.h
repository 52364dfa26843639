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

// Byte after the last of a block that is not empty and whose pitch holds its columns.
inline std::int64_t end_of(const Block& block, std::int64_t tile) {
  const std::int64_t r = block.rows - 1;
  const std::int64_t c = block.cols - 1;
  if (block.pitch == 0) return block.address + (r * block.cols + c + 1) * kItemBytes;
  const std::int64_t tiles = r / tile * block.pitch + c / tile;
  return block.address + ((tiles * tile + r % tile) * tile + c % tile + 1) * kItemBytes;
}

// Rows [r0, r1) and columns [c0, c1) of a block.
struct Rect {
  std::int64_t r0 = 0, r1 = 0, c0 = 0, c1 = 0;
};

// Appends the bytes of a rectangle, in ascending order.
inline void append_runs(const Block& block, std::int64_t tile, const Rect& rect,
                        std::vector<Run>& runs) {
  if (rect.r0 >= rect.r1 || rect.c0 >= rect.c1) return;
  const auto add = [&](std::int64_t lo, std::int64_t hi) {
    append(runs, block.address + lo * kItemBytes, block.address + hi * kItemBytes);
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
  for (std::int64_t tr = rect.r0 / tile; tr * tile < rect.r1; ++tr) {
    const std::int64_t ra = std::max<std::int64_t>(rect.r0 - tr * tile, 0);
    const std::int64_t rb = std::min(rect.r1 - tr * tile, tile);
    for (std::int64_t tc = rect.c0 / tile; tc * tile < rect.c1; ++tc) {
      const std::int64_t ca = std::max<std::int64_t>(rect.c0 - tc * tile, 0);
      const std::int64_t cb = std::min(rect.c1 - tc * tile, tile);
      const std::int64_t base = (tr * block.pitch + tc) * tile * tile;
      if (ca == 0 && cb == tile) {
        add(base + ra * tile, base + rb * tile);
        continue;
      }
      for (std::int64_t r = ra; r < rb; ++r) add(base + r * tile + ca, base + r * tile + cb);
    }
  }
}

inline void append_runs(const Block& block, std::int64_t tile, std::vector<Run>& runs) {
  append_runs(block, tile, {0, block.rows, 0, block.cols}, runs);
}

}  // namespace tileflow
