// Which elements of a DMA's box lie inside its tensor, seen from SRAM and from DRAM.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "block.h"
#include "program.h"
#include "resolve.h"

namespace tileflow {

// What a walk over elements meets in DRAM.
struct Footprint {
  std::int64_t first = 0, last = 0;  // bursts, numbered from the start of the storage
  std::int64_t bursts = 0;           // how often the walk enters another one than it was in
  std::int64_t elements = 0;         // those that do not move in DRAM once
};

// Elements `step` bytes apart.
struct Line {
  std::int64_t count = 0, step = 0;
};

class Box {
 public:
  Box(const DmaUse& use, const Tensor& tensor);

  // Appends rectangles of the SRAM block that together are the elements inside the tensor.
  void append_sram_rects(std::vector<Rect>& rects) const;

  // Appends the bytes of the tensor's storage under the elements inside.
  void append_dram_runs(std::vector<Run>& runs) const;

  // What a transfer of the elements inside meets; the storage begins with a burst, of a power of
  // two bytes. The walk's innermost dimension is the one with the shortest step in DRAM.
  Footprint dram_footprint(std::int64_t burst_bytes) const;

 private:
  using Coords = std::array<std::int64_t, kMaxRank>;

  // Box dimensions in the order in which they are walked, the innermost last.
  struct Order {
    std::array<const BoxDim*, kMaxRank> dims{};
    int count = 0;

    void add(const BoxDim& dim) { dims[count++] = &dim; }
  };

  // Indices [lo, hi).
  struct Range {
    std::int64_t lo = 0, hi = 0;
  };

  // Indices of dimension i of an order for which the coordinate can be, and if no later dimension
  // moves it is, inside the tensor; `at` has the coordinates with all earlier dimensions.
  Range range(const Order& order, int i, const Coords& at) const;
  std::int64_t address_step(const BoxDim& dim) const;  // in elements
  std::int64_t byte_address(const Coords& at, std::int64_t moved) const;
  // The dimensions that move in DRAM, long steps first.
  Order dram_order() const;
  bool fixed_inside() const;

  void walk_sram(int i, std::int64_t row, std::int64_t col, Coords& at,
                 std::vector<Rect>& rects) const;
  void walk_dram(const Order& order, int i, Coords& at, std::vector<Run>& runs) const;
  Line line(const BoxDim& dim, const Range& inside) const;
  Footprint walk_bursts(const Order& order, int i, Coords& at, int burst_bits) const;
  // Consecutive indices along one side; only where no tensor dim is shared.
  void append_side(const Order& side, int i, std::int64_t index, std::vector<Range>& out) const;

  const Tensor& tensor_;
  Coords start_;
  Order rows_, cols_, both_;
  bool shared_ = false;  // two box dimensions move along one tensor dimension
  std::array<bool, kMaxRank> moves_{};
};

}  // namespace tileflow
