#include "forward.h"

#include <algorithm>
#include <cstring>

namespace tileflow {
namespace {

// With more, looking through them would cost more than the copies.
constexpr std::size_t kMostLoans = 32;

// Tensors with more are mostly not in a cache. Where their rows are longer than those of a window,
// processors fetch too little ahead.
constexpr std::int64_t kFarBytes = std::int64_t{8} << 20;

void fetch(const Window& window) {
  constexpr std::int64_t kLine = 64;
  for (std::int64_t r = 0; r < window.rows; ++r) {
    const std::byte* row = window.first + r * window.stride * window.item;
    for (std::int64_t at = 0; at < window.cols * window.item; at += kLine) {
      __builtin_prefetch(row + at, 0, 2);
    }
  }
}

// One side of a box: how many of its indices are inside the tensor, and how far apart they are.
struct Side {
  std::int64_t count = 1, step = 0;
  bool clipped = false;
};

// Joins a dimension of more than one index to those of less significance. False where the indices
// are then not a constant distance apart.
bool join(Side& side, const BoxDim& dim, std::int64_t start, std::int64_t size,
          std::int64_t stride) {
  const std::int64_t extent = dim.extent;
  std::int64_t count = extent;
  std::int64_t step = 0;
  if (dim.tensor_dim != kBroadcast && dim.step != 0) {
    const std::int64_t by = dim.step;
    count = std::min(extent, (by > 0 ? (size - 1 - start) / by : start / -by) + 1);
    if (count > 1) step = by * stride;  // inside the tensor, so it does not overflow
  }
  if (side.count == 1 && !side.clipped) {
    side = {count, step, count < extent};
    return true;
  }
  if (side.clipped || step != side.step * side.count) return false;
  side.count *= count;
  side.clipped = count < extent;
  return true;
}

bool same_place(const Block& a, const Block& b) {
  return a.address == b.address && a.pitch == b.pitch && a.dtype == b.dtype;
}

// Whether the elements of `inner`, at the same place, are among those of rows x cols.
bool holds(std::int64_t rows, std::int64_t cols, const Block& inner) {
  if (inner.pitch == 0) return inner.rows * inner.cols <= rows * cols;
  return inner.rows <= rows && inner.cols <= cols;
}

bool covers(const Block& outer, std::int64_t rows, std::int64_t cols) {
  if (outer.pitch == 0) return rows * cols <= outer.rows * outer.cols;
  return rows <= outer.rows && cols <= outer.cols;
}

}  // namespace

bool Window::meets(const Window& other) const {
  struct Span {
    const std::byte *begin, *end;
    std::int64_t width, distance;
  };
  const auto span_of = [](const Window& window) {
    const std::int64_t width = window.cols * window.item;
    const std::int64_t distance = std::abs(window.stride) * window.item;
    const std::int64_t height = (window.rows - 1) * distance;
    const std::byte* begin = window.stride < 0 ? window.first - height : window.first;
    return Span{begin, begin + height + width, width, distance};
  };
  const Span a = span_of(*this);
  const Span b = span_of(other);
  if (a.end <= b.begin || b.end <= a.begin) return false;
  if (a.distance != b.distance || a.distance == 0) return true;
  // Of rows as far apart, columns decide.
  std::int64_t ahead = (b.begin - a.begin) % a.distance;
  if (ahead < 0) ahead += a.distance;
  return ahead < a.width || ahead + b.width > a.distance;
}

std::optional<Window> window_of(const DmaUse& use, const Tensor& tensor, std::byte* memory) {
  std::int64_t offset = 0;
  for (int d = 0; d < tensor.rank; ++d) {
    if (use.coords[d] < 0 || use.coords[d] >= tensor.shape[d]) return std::nullopt;
    offset += use.coords[d] * tensor.strides[d];
  }
  Side rows;
  Side cols;
  unsigned seen = 0;
  for (auto dim = use.access.dims.rbegin(); dim != use.access.dims.rend(); ++dim) {
    if (dim->extent == 1) continue;
    std::int64_t start = 0;
    std::int64_t size = 0;
    std::int64_t stride = 0;
    if (dim->tensor_dim != kBroadcast) {
      const int d = dim->tensor_dim;
      if ((seen & 1U << d) != 0) return std::nullopt;
      seen |= 1U << d;
      start = use.coords[d];
      size = tensor.shape[d];
      stride = tensor.strides[d];
    }
    if (!join(dim->column ? cols : rows, *dim, start, size, stride)) return std::nullopt;
  }
  const std::int64_t item = use.sram.item();
  std::byte* const first = memory + offset * item;
  if (reinterpret_cast<std::uintptr_t>(first) % static_cast<std::uintptr_t>(item) != 0) {
    return std::nullopt;
  }
  if (use.sram.pitch == 0) {
    if (use.sram.rows != 1 && use.sram.cols != 1) return std::nullopt;
    const Side& along = use.sram.cols == 1 ? rows : cols;
    if (along.count != 1 && along.step != 1) return std::nullopt;
    return Window{first, 1, along.count, 0, item};
  }
  if (cols.count != 1 && cols.step != 1) return std::nullopt;
  return Window{first, rows.count, cols.count, rows.step, item};
}

bool Forwarding::Loan::lends(const Block& asked) const {
  return same_place(block, asked) && holds(window.rows, window.cols, asked);
}

bool Forwarding::meet(const Block& a, const Block& b) const {
  const int shift = program_.tile_shift();
  return a.address < end_of(b, shift) && b.address < end_of(a, shift);
}

template <class Ends>
void Forwarding::end_if(Ends ends) {
  std::erase_if(loans_, [&](const Loan& loan) {
    if (!ends(loan)) return false;
    copy(loan);
    return true;
  });
}

std::optional<std::int64_t> Forwarding::lend(const DmaUse& use) {
  replace(use.sram);
  if (loans_.size() >= kMostLoans) return std::nullopt;
  const auto window = window_of(use, program_.tensors[use.tensor], tensors_[use.tensor]);
  if (!window) return std::nullopt;
  fetch_far(*window, use.tensor);
  loans_.push_back({use.sram, *window, &use.access, use.tensor, use.coords, use.fill});
  return window->rows * window->cols;
}

void Forwarding::lend(const Block& block, const Window& window) {
  loans_.push_back({.block = block, .window = window});
}

Operand Forwarding::source(const Block& block, std::optional<Window>* from) {
  if (block.empty()) return {sram_ + block.address, block.pitch};
  const Loan* lender = nullptr;
  end_if([&](const Loan& loan) { return meet(loan.block, block) && !loan.lends(block); });
  for (const Loan& loan : loans_) {
    if (!loan.rest_only && loan.lends(block)) lender = &loan;
  }
  if (lender == nullptr) return {sram_ + block.address, block.pitch};
  const Window& window = lender->window;
  if (from != nullptr) *from = window;
  if (block.pitch == 0) return {window.first, 0};
  return {window.first, kStridedRows, window.stride};
}

void Forwarding::replace(const Block& block) {
  const auto covered = [&](const Loan& loan) {
    return same_place(loan.block, block) && covers(block, loan.window.rows, loan.window.cols);
  };
  end_if([&](const Loan& loan) { return meet(loan.block, block) && !covered(loan); });
  std::erase_if(loans_, [&](Loan& loan) {
    if (!covered(loan)) return false;
    loan.rest_only = true;
    return loan.access == nullptr || covers(block, loan.block.rows, loan.block.cols);
  });
}

void Forwarding::settle(const Block& block) {
  if (block.empty()) return;
  end_if([&](const Loan& loan) { return meet(loan.block, block); });
}

void Forwarding::change(const std::optional<Window>& window, int tensor) {
  if (loans_.empty()) return;
  const Window changed = window ? *window : whole(tensor);
  end_if([&](const Loan& loan) { return !loan.rest_only && loan.window.meets(changed); });
}

void Forwarding::fetch_far(const Window& window, int tensor) const {
  if (window.rows == 1 || window.stride <= window.cols) return;
  const Window all = whole(tensor);
  if (all.cols * all.item > kFarBytes) fetch(window);
}

// All that lies between its first element and its last.
Window Forwarding::whole(int tensor) const {
  const Tensor& of = program_.tensors[tensor];
  const std::int64_t item = isa::item_bytes(of.dtype);
  std::int64_t low = 0;
  std::int64_t high = 0;
  for (int d = 0; d < of.rank; ++d) {
    (of.strides[d] < 0 ? low : high) += (of.shape[d] - 1) * of.strides[d];
  }
  return {tensors_[tensor] + low * item, 1, high - low + 1, 0, item};
}

void Forwarding::copy(const Loan& loan) const {
  if (loan.rest_only) return fill_rest(loan);
  if (loan.access == nullptr) return copy_rows(loan);
  const Tensor& tensor = program_.tensors[loan.tensor];
  kernels_.load[static_cast<std::size_t>(loan.block.dtype)]({.sram = sram_ + loan.block.address,
                                                             .pitch = loan.block.pitch,
                                                             .tile = program_.tile(),
                                                             .tensor = tensors_[loan.tensor],
                                                             .rank = tensor.rank,
                                                             .shape = tensor.shape,
                                                             .strides = tensor.strides,
                                                             .coords = loan.coords,
                                                             .box = loan.access->dims,
                                                             .fill = loan.fill});
}

std::byte* Forwarding::element(const Block& block, std::int64_t r, std::int64_t c) const {
  const Block up_to{block.address, r + 1, c + 1, block.pitch, block.dtype};
  return sram_ + end_of(up_to, program_.tile_shift()) - block.item();
}

void Forwarding::copy_rows(const Loan& loan) const {
  const Window& from = loan.window;
  const std::int64_t step = loan.block.pitch == 0 ? from.cols : program_.tile();
  for (std::int64_t r = 0; r < from.rows; ++r) {
    for (std::int64_t c = 0; c < from.cols; c += step) {
      const std::byte* src = from.first + (r * from.stride + c) * from.item;
      const std::int64_t count = std::min(step, from.cols - c);
      std::memcpy(element(loan.block, r, c), src, static_cast<std::size_t>(count * from.item));
    }
  }
}

void Forwarding::fill_rest(const Loan& loan) const {
  const Block& block = loan.block;
  const std::int64_t rows = block.pitch == 0 ? 1 : block.rows;
  const std::int64_t cols = block.pitch == 0 ? block.rows * block.cols : block.cols;
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = r < loan.window.rows ? loan.window.cols : 0; c < cols; ++c) {
      std::memcpy(element(block, r, c), &loan.fill, static_cast<std::size_t>(block.item()));
    }
  }
}

}  // namespace tileflow
