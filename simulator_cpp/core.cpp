#include "core.h"

#include <algorithm>

namespace tileflow {
namespace {

// A product of more operations is done in bands, so that a run can be interrupted: some 10 ms.
constexpr std::int64_t kFlopsAtOnce = std::int64_t{1} << 30;
// Of a band that several threads may compute, a microsecond; handing one over takes a tenth.
constexpr std::int64_t kFlopsOfShare = std::int64_t{1} << 17;

std::byte* storage_of(const Program& program, const Memory& memory, const Tensor& tensor) {
  switch (tensor.storage) {
    case isa::StorageKind::kArg: return memory.args[tensor.index];
    case isa::StorageKind::kConst:
      // Never written through: decoding refuses stores into constants.
      return const_cast<std::byte*>(program.constant_data.data()) +
             program.constants[tensor.index].offset;
    case isa::StorageKind::kScratch: return memory.scratch;
  }
  return nullptr;
}

// The row of a kernel's table for an element type.
std::size_t row_of(isa::DType dtype) { return static_cast<std::size_t>(dtype); }

// The row of a table of functions for a type that is computed with.
std::size_t arithmetic_row(isa::DType dtype) {
  return static_cast<std::size_t>(std::ranges::find(isa::kArithmeticDTypes, dtype) -
                                  isa::kArithmeticDTypes.begin());
}

std::size_t row_of_cast(isa::DType from, isa::DType to) {
  const auto at = std::ranges::find_if(isa::kCastDTypes, [&](const isa::DTypePair& pair) {
    return pair.from == from && pair.to == to;
  });
  return static_cast<std::size_t>(at - isa::kCastDTypes.begin());
}

std::size_t row_of_indexed(isa::DType dtype) {
  const auto at = std::ranges::find(isa::kIndexedDTypes, dtype);
  return static_cast<std::size_t>(at - isa::kIndexedDTypes.begin());
}

int narrow(std::int64_t extent) { return static_cast<int>(extent); }

}  // namespace

void Counters::add(const Counters& other) {
  const auto add_all = [](auto& into, const auto& from) {
    std::transform(into.begin(), into.end(), from.begin(), into.begin(), std::plus<>());
  };
  add_all(instructions, other.instructions);
  add_all(loaded_elements, other.loaded_elements);
  add_all(stored_elements, other.stored_elements);
  flops += other.flops;
}

Core::Core(const Program& program, const Kernels& kernels, const Memory& memory, const Poll* poll,
           GemmShare* share, bool forwards)
    : kernels_(kernels),
      program_(program),
      sram_(memory.sram),
      poll_(poll),
      share_(share),
      tile_(program.tile()),
      counters_(program) {
  for (const Tensor& tensor : program.tensors) {
    tensors_.push_back(storage_of(program, memory, tensor) + tensor.offset);
  }
  if (forwards) forwarding_.emplace(program, kernels, sram_, tensors_);
}

// What may be stored next waits to see whether it is.
template <class Args>
void Core::compute(void (*kernel)(const Args&), const Args& args, const Block& dst,
                   const std::array<std::optional<Window>, 2>& reads) {
  if (forwarding_) {
    held_.emplace(Held{args, kernel, dst, reads});
  } else {
    kernel(args);
  }
}

void Core::run_held() {
  const Held held = *std::exchange(held_, std::nullopt);
  std::visit(
      [&](const auto& args) {
        std::get<void (*)(const std::remove_cvref_t<decltype(args)>&)>(held.kernel)(args);
      },
      held.args);
}

// Computes what is held into the memory of the tensor, if all of it and nothing else goes there.
bool Core::store_held(const StoreUse& use, const std::optional<Window>& window) {
  const Block& dst = held_->dst;
  const auto meets = [&](const std::optional<Window>& read) {
    return read && read->meets(*window);
  };
  const std::int64_t rows = dst.pitch == 0 ? 1 : dst.rows;
  const std::int64_t cols = dst.pitch == 0 ? dst.rows * dst.cols : dst.cols;
  if (!window || dst.address != use.sram.address || dst.pitch != use.sram.pitch ||
      dst.dtype != use.sram.dtype || window->rows != rows || window->cols != cols ||
      (rows > 1 && window->stride < cols) || std::ranges::any_of(held_->reads, meets)) {
    return false;
  }
  forwarding_->change(window, use.tensor);
  std::visit(
      [&](auto& args) {
        args.dst = dst.pitch == 0 ? Operand{window->first, 0}
                                  : Operand{window->first, kStridedRows, window->stride};
      },
      held_->args);
  run_held();
  forwarding_->lend(dst, *window);
  counters_.stored_elements[use.tensor] += rows * cols;
  effort_ += rows * cols / 2;
  return true;
}

void Core::operator()(const GemmUse& use) {
  const GemmArgs args{.dst = operand(use.dst),
                      .lhs = operand(use.lhs),
                      .rhs = operand(use.rhs),
                      .m = narrow(use.m),
                      .n = narrow(use.n),
                      .k = narrow(use.k),
                      .tile = tile_,
                      .clear = use.clear,
                      .lhs_transposed = use.insn.ta,
                      .rhs_transposed = use.insn.tb};
  const std::int64_t flops = 2 * use.m * use.n * use.k;
  counters_.flops += flops;
  effort_ += flops / 32;
  const auto semiring = static_cast<std::size_t>(use.insn.semiring);
  const GemmFn kernel =
      semiring == 0 ? kernels_.gemm[row_of(use.lhs.dtype)] : kernels_.gemm_chosen[semiring - 1];
  const bool polls = poll_ != nullptr && flops > kFlopsAtOnce;
  const std::int64_t share = share_ != nullptr && share_->forced() ? 1 : kFlopsOfShare;
  if (share_ != nullptr && share_->attended() && flops >= 2 * share) {
    share_->compute(GemmBands(kernel, args, use, share), polls ? poll_ : nullptr);
  } else if (polls) {
    const GemmBands bands(kernel, args, use, kFlopsAtOnce);
    for (int band = 0; band < bands.count(); ++band) {
      bands.compute(band);
      (*poll_)();
    }
  } else {
    kernel(args);
  }
}

void Core::operator()(const UnaryUse& use) {
  std::array<std::optional<Window>, 2> reads;
  const Operand src = source(use.src, &reads[0]);
  compute(kernels_.unary[arithmetic_row(use.dst.dtype)][static_cast<std::size_t>(use.insn.func)],
          UnaryArgs{.dst = target(use.dst),
                    .src = src,
                    .m = narrow(use.dst.rows),
                    .n = narrow(use.dst.cols),
                    .tile = tile_,
                    .scale = use.insn.scale,
                    .bias = use.insn.bias},
          use.dst, reads);
  count_elements(use.dst.rows * use.dst.cols);
}

void Core::operator()(const BinaryUse& use) {
  std::array<std::optional<Window>, 2> reads;
  const Operand lhs = source(use.lhs, &reads[0]);
  const Operand rhs = source(use.rhs, &reads[1]);
  compute(kernels_.binary[arithmetic_row(use.dst.dtype)][static_cast<std::size_t>(use.insn.func)],
          BinaryArgs{.dst = target(use.dst),
                     .lhs = lhs,
                     .rhs = rhs,
                     .lmode = static_cast<Mode>(use.insn.lmode),
                     .rmode = static_cast<Mode>(use.insn.rmode),
                     .imm = use.insn.imm,
                     .m = narrow(use.dst.rows),
                     .n = narrow(use.dst.cols),
                     .tile = tile_},
          use.dst, reads);
  count_elements(use.dst.rows * use.dst.cols);
}

void Core::operator()(const SelectUse& use) {
  kernels_.select[arithmetic_row(use.cond.dtype)]({.dst = operand(use.dst),
                                                   .cond = operand(use.cond),
                                                   .a = operand(use.a),
                                                   .b = operand(use.b),
                                                   .cmode = static_cast<Mode>(use.insn.cmode),
                                                   .amode = static_cast<Mode>(use.insn.amode),
                                                   .bmode = static_cast<Mode>(use.insn.bmode),
                                                   .imm = use.insn.imm,
                                                   .m = narrow(use.dst.rows),
                                                   .n = narrow(use.dst.cols),
                                                   .tile = tile_});
  count_elements(use.dst.rows * use.dst.cols);
}

void Core::operator()(const ReduceUse& use) {
  const Operand src = source(use.src);
  kernels_.reduce[static_cast<std::size_t>(use.insn.func)](
      {.dst = use.clear ? target(use.dst) : operand(use.dst),
       .src = src,
       .m = narrow(use.src.rows),
       .n = narrow(use.src.cols),
       .tile = tile_,
       .along_cols = use.insn.axis == isa::Axis::kCols,
       .clear = use.clear});
  count_elements(use.src.rows * use.src.cols);
}

void Core::operator()(const FillUse& use) {
  kernels_.fill[row_of(use.dst.dtype)]({.dst = target(use.dst),
                                        .m = narrow(use.dst.rows),
                                        .n = narrow(use.dst.cols),
                                        .tile = tile_,
                                        .value = use.value});
  effort_ += use.dst.rows * use.dst.cols / 8;
}

void Core::operator()(const TransposeUse& use) {
  const Operand src = source(use.src);
  kernels_.transpose[row_of(use.src.dtype)]({.dst = target(use.dst),
                                             .src = src,
                                             .m = narrow(use.src.rows),
                                             .n = narrow(use.src.cols),
                                             .tile = tile_});
  effort_ += use.dst.rows * use.dst.cols;
}

void Core::operator()(const CastUse& use) {
  const Operand src = source(use.src);
  kernels_.cast[row_of_cast(use.src.dtype, use.dst.dtype)]({.dst = target(use.dst),
                                                            .src = src,
                                                            .m = narrow(use.dst.rows),
                                                            .n = narrow(use.dst.cols),
                                                            .tile = tile_,
                                                            .scale = use.insn.scale});
  count_elements(use.dst.rows * use.dst.cols);
}

void Core::operator()(const AffineSelectUse& use) {
  kernels_.affine_select[row_of_indexed(use.dst.dtype)]({.dst = operand(use.dst),
                                                         .src = operand(use.src),
                                                         .m = narrow(use.dst.rows),
                                                         .n = narrow(use.dst.cols),
                                                         .tile = tile_,
                                                         .base = use.base,
                                                         .rstep = use.insn.rstep,
                                                         .cstep = use.insn.cstep,
                                                         .value = use.value});
  count_elements(use.dst.rows * use.dst.cols);
}

void Core::operator()(const IotaUse& use) {
  kernels_.iota[row_of_indexed(use.dst.dtype)]({.dst = operand(use.dst),
                                                .m = narrow(use.dst.rows),
                                                .n = narrow(use.dst.cols),
                                                .tile = tile_,
                                                .base = use.base,
                                                .rstep = use.insn.rstep,
                                                .cstep = use.insn.cstep});
  count_elements(use.dst.rows * use.dst.cols);
}

std::int64_t Core::move(const DmaUse& use, const Operand& sram, DmaFn kernel) {
  const Tensor& tensor = program_.tensors[use.tensor];
  effort_ += use.sram.rows * use.sram.cols / 2;
  return kernel({.sram = sram.data,
                 .pitch = sram.pitch,
                 .sram_stride = sram.stride,
                 .tile = tile_,
                 .tensor = tensors_[use.tensor],
                 .rank = tensor.rank,
                 .shape = tensor.shape,
                 .strides = tensor.strides,
                 .coords = use.coords,
                 .box = use.access.dims,
                 .fill = use.fill});
}

void Core::operator()(const LoadUse& use) {
  std::int64_t& loaded = counters_.loaded_elements[use.tensor];
  if (forwarding_) {
    if (const auto lent = forwarding_->lend(use)) {
      loaded += *lent;
      return;
    }
  }
  loaded += move(use, operand(use.sram), kernels_.load[row_of(use.sram.dtype)]);
}

void Core::operator()(const StoreUse& use) {
  Block read = use.sram;
  if (forwarding_) {
    const auto window = window_of(use, program_.tensors[use.tensor], tensors_[use.tensor]);
    if (held_ && store_held(use, window)) return;
    if (held_) run_held();
    forwarding_->change(window, use.tensor);
    if (window && use.sram.pitch > 0) read.rows = window->rows, read.cols = window->cols;
  }
  counters_.stored_elements[use.tensor] +=
      move(use, source(read), kernels_.store[row_of(use.sram.dtype)]);
}

}  // namespace tileflow
