#include "box.h"

#include <algorithm>

namespace tileflow {
namespace {

// For b > 0.
std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return b == 1 ? a : a / b + (a % b > 0 ? 1 : 0);
}

std::uint64_t magnitude(std::int64_t a) {
  return a < 0 ? -static_cast<std::uint64_t>(a) : static_cast<std::uint64_t>(a);
}

// Modulo 2^64: the address of an element inside its tensor comes out right whatever the
// intermediate products of a far coordinate and a long stride.
std::int64_t wrap_mul(std::int64_t a, std::int64_t b) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) * static_cast<std::uint64_t>(b));
}
std::int64_t wrap_add(std::int64_t a, std::int64_t b) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
}

}  // namespace

Box::Box(const DmaUse& use, const Tensor& tensor) : tensor_(tensor), start_(use.coords) {
  for (const bool column : {false, true}) {
    for (const BoxDim& dim : use.access.dims) {
      if (dim.column != column) continue;
      (column ? cols_ : rows_).add(dim);
      both_.add(dim);
    }
  }
  for (const BoxDim& dim : use.access.dims) {
    if (dim.tensor_dim == kBroadcast) continue;
    shared_ |= moves_[dim.tensor_dim];
    moves_[dim.tensor_dim] = true;
  }
}

bool Box::fixed_inside() const {
  for (int d = 0; d < tensor_.rank; ++d) {
    if (!moves_[d] && (start_[d] < 0 || start_[d] >= tensor_.shape[d])) return false;
  }
  return true;
}

Box::Range Box::range(const Order& order, int i, const Coords& at) const {
  const BoxDim& dim = *order.dims[i];
  const Range all{0, dim.extent};
  if (dim.tensor_dim == kBroadcast) return all;
  for (int later = i + 1; later < order.count; ++later) {
    if (order.dims[later]->tensor_dim == dim.tensor_dim) return all;
  }
  const std::int64_t from = at[dim.tensor_dim];
  const std::int64_t size = tensor_.shape[dim.tensor_dim];
  Range range;
  if (dim.step > 0) {
    range = {ceil_div(-from, dim.step), ceil_div(size - from, dim.step)};
  } else if (dim.step < 0) {
    const std::int64_t step = -std::int64_t{dim.step};
    range = {ceil_div(from - size + 1, step), ceil_div(from + 1, step)};
  } else if (from >= 0 && from < size) {
    range = all;
  }
  range.lo = std::max(range.lo, all.lo);
  range.hi = std::min(range.hi, all.hi);
  return range;
}

std::int64_t Box::address_step(const BoxDim& dim) const {
  return dim.tensor_dim == kBroadcast ? 0 : wrap_mul(dim.step, tensor_.strides[dim.tensor_dim]);
}

void Box::append_sram_rects(std::vector<Rect>& rects) const {
  if (!fixed_inside()) return;
  if (shared_) {
    Coords at = start_;
    walk_sram(0, 0, 0, at, rects);
    return;
  }
  std::vector<Range> rows;
  std::vector<Range> cols;
  append_side(rows_, 0, 0, rows);
  append_side(cols_, 0, 0, cols);
  for (const Range& r : rows) {
    for (const Range& c : cols) rects.push_back({r.lo, r.hi, c.lo, c.hi});
  }
}

void Box::append_side(const Order& side, int i, std::int64_t index, std::vector<Range>& out) const {
  if (i == side.count) {
    out.push_back({index, index + 1});
    return;
  }
  const Range here = range(side, i, start_);
  std::int64_t below = 1;  // indices to one step of this dimension
  bool whole = true;       // all dimensions below are wholly inside
  for (int later = i + 1; later < side.count; ++later) {
    const Range inner = range(side, later, start_);
    below *= side.dims[later]->extent;
    whole &= inner.lo == 0 && inner.hi == side.dims[later]->extent;
  }
  const std::int64_t base = index * side.dims[i]->extent;
  if (whole && here.lo < here.hi) {
    out.push_back({(base + here.lo) * below, (base + here.hi) * below});
    return;
  }
  for (std::int64_t k = here.lo; k < here.hi; ++k) append_side(side, i + 1, base + k, out);
}

void Box::walk_sram(int i, std::int64_t row, std::int64_t col, Coords& at,
                    std::vector<Rect>& rects) const {
  const BoxDim& dim = *both_.dims[i];
  const Range here = range(both_, i, at);
  const std::int64_t base = (dim.column ? col : row) * dim.extent;
  if (i + 1 == both_.count) {
    if (here.lo >= here.hi) return;
    if (dim.column) {
      rects.push_back({row, row + 1, base + here.lo, base + here.hi});
    } else {
      rects.push_back({base + here.lo, base + here.hi, col, col + 1});
    }
    return;
  }
  const bool moves = dim.tensor_dim != kBroadcast;
  const std::int64_t before = moves ? at[dim.tensor_dim] : 0;
  for (std::int64_t k = here.lo; k < here.hi; ++k) {
    if (moves) at[dim.tensor_dim] = before + k * dim.step;
    walk_sram(i + 1, dim.column ? row : base + k, dim.column ? base + k : col, at, rects);
  }
  if (moves) at[dim.tensor_dim] = before;
}

void Box::append_dram_runs(std::vector<Run>& runs) const {
  if (!fixed_inside()) return;
  Order order;
  for (int i = 0; i < both_.count; ++i) {
    if (both_.dims[i]->tensor_dim != kBroadcast) order.add(*both_.dims[i]);
  }
  std::sort(order.dims.begin(), order.dims.begin() + order.count,
            [&](const BoxDim* a, const BoxDim* b) {
              return magnitude(address_step(*a)) > magnitude(address_step(*b));
            });
  Coords at = start_;
  walk_dram(order, 0, at, runs);
}

void Box::walk_dram(const Order& order, int i, Coords& at, std::vector<Run>& runs) const {
  const auto address = [&](std::int64_t moved) {
    std::int64_t element = moved;
    for (int d = 0; d < tensor_.rank; ++d) {
      element = wrap_add(element, wrap_mul(at[d], tensor_.strides[d]));
    }
    return wrap_add(tensor_.offset, wrap_mul(element, kItemBytes));
  };
  if (i == order.count) return append(runs, address(0), address(1));
  const BoxDim& dim = *order.dims[i];
  const Range here = range(order, i, at);
  if (here.lo >= here.hi) return;
  if (i + 1 == order.count) {
    const std::int64_t step = address_step(dim);
    if (step == 1) return append(runs, address(here.lo), address(here.hi));
    if (step == -1) return append(runs, address(1 - here.hi), address(1 - here.lo));
    if (step == 0) return append(runs, address(0), address(1));
    for (std::int64_t k = here.lo; k < here.hi; ++k) {
      const std::int64_t moved = wrap_mul(k, step);
      append(runs, address(moved), address(wrap_add(moved, 1)));
    }
    return;
  }
  const std::int64_t before = at[dim.tensor_dim];
  for (std::int64_t k = here.lo; k < here.hi; ++k) {
    at[dim.tensor_dim] = before + k * dim.step;
    walk_dram(order, i + 1, at, runs);
  }
  at[dim.tensor_dim] = before;
}

}  // namespace tileflow
