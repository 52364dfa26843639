#include "box.h"

#include <algorithm>
#include <bit>

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

// A walk goes on with another one.
void append(Footprint& walk, const Footprint& next) {
  if (next.bursts == 0) return;
  if (walk.bursts == 0) {
    walk = next;
    return;
  }
  walk.bursts += next.bursts - (next.first == walk.last ? 1 : 0);
  walk.elements += next.elements;
  walk.last = next.last;
}

// A walk along lines, one inside the other, from a byte address.
Footprint footprint_of(std::span<const Line> lines, std::int64_t address, int burst_bits) {
  if (lines.empty()) return {address >> burst_bits, address >> burst_bits, 1, 1};
  const auto [count, step] = lines.front();
  const std::int64_t burst_bytes = std::int64_t{1} << burst_bits;
  if (lines.size() == 1) {
    const std::int64_t first = address >> burst_bits;
    const std::int64_t last = (address + (count - 1) * step) >> burst_bits;
    const std::int64_t span = (first < last ? last - first : first - last) + 1;
    const bool dense = -burst_bytes < step && step < burst_bytes;
    return {first, last, dense ? span : count, step == 0 ? 1 : count};
  }
  Footprint all = footprint_of(lines.subspan(1), address, burst_bits);
  if (step % burst_bytes == 0) {
    // Every index meets the same bursts, moved on.
    const std::int64_t on = step >> burst_bits;
    const std::int64_t joints = all.last == all.first + on ? count - 1 : 0;
    return {all.first, all.last + (count - 1) * on, all.bursts * count - joints,
            all.elements * (step == 0 ? 1 : count)};
  }
  for (std::int64_t k = 1; k < count; ++k) {
    append(all, footprint_of(lines.subspan(1), address + k * step, burst_bits));
  }
  return all;
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

Box::Order Box::dram_order() const {
  Order order;
  for (int i = 0; i < both_.count; ++i) {
    const BoxDim* dim = both_.dims[i];
    if (dim->tensor_dim == kBroadcast) continue;
    const auto begin = order.dims.begin();
    const auto end = begin + order.count;
    const auto at = std::upper_bound(begin, end, dim, [&](const BoxDim* a, const BoxDim* b) {
      return magnitude(address_step(*a)) > magnitude(address_step(*b));
    });
    order.add(*dim);
    std::rotate(at, end, end + 1);
  }
  return order;
}

std::int64_t Box::byte_address(const Coords& at, std::int64_t moved) const {
  std::int64_t element = moved;
  for (int d = 0; d < tensor_.rank; ++d) {
    element = wrap_add(element, wrap_mul(at[d], tensor_.strides[d]));
  }
  return wrap_add(tensor_.offset, wrap_mul(element, isa::item_bytes(tensor_.dtype)));
}

void Box::append_dram_runs(std::vector<Run>& runs) const {
  if (!fixed_inside()) return;
  Coords at = start_;
  walk_dram(dram_order(), 0, at, runs);
}

void Box::walk_dram(const Order& order, int i, Coords& at, std::vector<Run>& runs) const {
  const auto address = [&](std::int64_t moved) { return byte_address(at, moved); };
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

Footprint Box::dram_footprint(std::int64_t burst_bytes) const {
  if (!fixed_inside()) return {};
  const int burst_bits = std::countr_zero(static_cast<std::uint64_t>(burst_bytes));
  const Order order = dram_order();
  Coords at = start_;
  if (shared_) return walk_bursts(order, 0, at, burst_bits);
  std::array<Line, kMaxRank> lines;
  for (int i = 0; i < order.count; ++i) {
    const BoxDim& dim = *order.dims[i];
    const Range inside = range(order, i, start_);
    if (inside.lo >= inside.hi) return {};
    lines[i] = line(dim, inside);
    at[dim.tensor_dim] += inside.lo * dim.step;
  }
  return footprint_of(std::span(lines).first(order.count), byte_address(at, 0), burst_bits);
}

Line Box::line(const BoxDim& dim, const Range& inside) const {
  const std::int64_t count = dim.step == 0 ? 1 : inside.hi - inside.lo;
  return {count, wrap_mul(address_step(dim), isa::item_bytes(tensor_.dtype))};
}

Footprint Box::walk_bursts(const Order& order, int i, Coords& at, int burst_bits) const {
  const BoxDim& dim = *order.dims[i];
  const Range here = range(order, i, at);
  if (here.lo >= here.hi) return {};
  const Line walk = line(dim, here);
  const std::int64_t before = at[dim.tensor_dim];
  Footprint all;
  if (i + 1 == order.count) {
    at[dim.tensor_dim] += here.lo * dim.step;
    all = footprint_of({&walk, 1}, byte_address(at, 0), burst_bits);
  } else {
    for (std::int64_t k = here.lo; k < here.lo + walk.count; ++k) {
      at[dim.tensor_dim] = before + k * dim.step;
      append(all, walk_bursts(order, i + 1, at, burst_bits));
    }
  }
  at[dim.tensor_dim] = before;
  return all;
}

}  // namespace tileflow
