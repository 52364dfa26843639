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

std::size_t row_of_cast(isa::DType from, isa::DType to) {
  const auto at = std::ranges::find_if(isa::kCastDTypes, [&](const isa::DTypePair& pair) {
    return pair.from == from && pair.to == to;
  });
  return static_cast<std::size_t>(at - isa::kCastDTypes.begin());
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
           GemmShare* share)
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
  if (share_ != nullptr && share_->attended() && flops >= 2 * kFlopsOfShare) {
    share_->compute(GemmBands(kernel, args, use, kFlopsOfShare), polls ? poll_ : nullptr);
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
  kernels_.unary[static_cast<std::size_t>(use.insn.func)]({.dst = operand(use.dst),
                                                           .src = operand(use.src),
                                                           .m = narrow(use.dst.rows),
                                                           .n = narrow(use.dst.cols),
                                                           .tile = tile_,
                                                           .scale = use.insn.scale,
                                                           .bias = use.insn.bias});
  count_elements(use.dst.rows * use.dst.cols);
}

void Core::operator()(const BinaryUse& use) {
  kernels_.binary[static_cast<std::size_t>(use.insn.func)](
      {.dst = operand(use.dst),
       .lhs = operand(use.lhs),
       .rhs = operand(use.rhs),
       .lmode = static_cast<Mode>(use.insn.lmode),
       .rmode = static_cast<Mode>(use.insn.rmode),
       .imm = use.insn.imm,
       .m = narrow(use.dst.rows),
       .n = narrow(use.dst.cols),
       .tile = tile_});
  count_elements(use.dst.rows * use.dst.cols);
}

void Core::operator()(const ReduceUse& use) {
  kernels_.reduce[static_cast<std::size_t>(use.insn.func)](
      {.dst = operand(use.dst),
       .src = operand(use.src),
       .m = narrow(use.src.rows),
       .n = narrow(use.src.cols),
       .tile = tile_,
       .along_cols = use.insn.axis == isa::Axis::kCols,
       .clear = use.clear});
  count_elements(use.src.rows * use.src.cols);
}

void Core::operator()(const FillUse& use) {
  kernels_.fill[row_of(use.dst.dtype)]({.dst = operand(use.dst),
                                        .m = narrow(use.dst.rows),
                                        .n = narrow(use.dst.cols),
                                        .tile = tile_,
                                        .value = use.value});
  effort_ += use.dst.rows * use.dst.cols / 8;
}

void Core::operator()(const TransposeUse& use) {
  kernels_.transpose[row_of(use.src.dtype)]({.dst = operand(use.dst),
                                             .src = operand(use.src),
                                             .m = narrow(use.src.rows),
                                             .n = narrow(use.src.cols),
                                             .tile = tile_});
  effort_ += use.dst.rows * use.dst.cols;
}

void Core::operator()(const CastUse& use) {
  kernels_.cast[row_of_cast(use.src.dtype, use.dst.dtype)]({.dst = operand(use.dst),
                                                            .src = operand(use.src),
                                                            .m = narrow(use.dst.rows),
                                                            .n = narrow(use.dst.cols),
                                                            .tile = tile_,
                                                            .scale = use.insn.scale});
  count_elements(use.dst.rows * use.dst.cols);
}

std::int64_t Core::move(const DmaUse& use, DmaFn kernel) {
  const Tensor& tensor = program_.tensors[use.tensor];
  effort_ += use.sram.rows * use.sram.cols / 2;
  return kernel({.sram = operand(use.sram).data,
                 .pitch = use.sram.pitch,
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
  counters_.loaded_elements[use.tensor] += move(use, kernels_.load[row_of(use.sram.dtype)]);
}

void Core::operator()(const StoreUse& use) {
  counters_.stored_elements[use.tensor] += move(use, kernels_.store[row_of(use.sram.dtype)]);
}

}  // namespace tileflow
