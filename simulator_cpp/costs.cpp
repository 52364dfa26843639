#include "costs.h"

#include <algorithm>

#include "box.h"

namespace tileflow {
namespace {

// For a >= 0.
std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

bool is_function(isa::UnaryFunc func) {
  switch (func) {
    case isa::UnaryFunc::kExp:
    case isa::UnaryFunc::kLog:
    case isa::UnaryFunc::kSqrt:
    case isa::UnaryFunc::kRsqrt:
    case isa::UnaryFunc::kReciprocal:
    case isa::UnaryFunc::kTanh:
    case isa::UnaryFunc::kSigmoid:
    case isa::UnaryFunc::kSin:
    case isa::UnaryFunc::kCos:
    case isa::UnaryFunc::kErf:
    case isa::UnaryFunc::kGelu:
    case isa::UnaryFunc::kSilu:
    case isa::UnaryFunc::kLog2:
    case isa::UnaryFunc::kLog10:
    case isa::UnaryFunc::kLog1p:
    case isa::UnaryFunc::kExpm1:
    case isa::UnaryFunc::kTan:
    case isa::UnaryFunc::kAsin:
    case isa::UnaryFunc::kAcos:
    case isa::UnaryFunc::kAtan:
    case isa::UnaryFunc::kSinh:
    case isa::UnaryFunc::kCosh:
    case isa::UnaryFunc::kAsinh:
    case isa::UnaryFunc::kAcosh:
    case isa::UnaryFunc::kAtanh: return true;
    case isa::UnaryFunc::kIdentity:
    case isa::UnaryFunc::kRelu:
    case isa::UnaryFunc::kAbs:
    case isa::UnaryFunc::kNeg:
    case isa::UnaryFunc::kFloor:
    case isa::UnaryFunc::kCeil:
    case isa::UnaryFunc::kRound:
    case isa::UnaryFunc::kTrunc:
    case isa::UnaryFunc::kSign:
    case isa::UnaryFunc::kIsnan:
    case isa::UnaryFunc::kIsinf:
    case isa::UnaryFunc::kIsfinite: return false;
  }
  return false;
}

bool is_function(isa::BinaryFunc func) {
  switch (func) {
    case isa::BinaryFunc::kDiv:
    case isa::BinaryFunc::kMod:
    case isa::BinaryFunc::kFmod:
    case isa::BinaryFunc::kPow:
    case isa::BinaryFunc::kFloordiv: return true;
    default: return false;
  }
}

std::int64_t area(const Block& block) { return block.rows * block.cols; }

}  // namespace

Demand CostModel::elements(std::int64_t count, std::int64_t cycles_each) const {
  return {.overhead = machine_.vector_startup_cycles,
          .work = ceil_div(count, machine_.vector_lanes) * cycles_each,
          .lane_cycles = count * cycles_each};
}

// A weight-stationary array: for each tile of rhs, the m rows of lhs stream through it.
Demand CostModel::operator()(const GemmUse& use) const {
  if (use.k == 0) return elements(use.m * use.n);  // only clears
  const std::int64_t tiles = ceil_div(use.k, tile_) * ceil_div(use.n, tile_);
  return {.overhead = std::int64_t{machine_.mac_fill_cycles} + machine_.mac_drain_cycles,
          .work = ceil_div(use.m * tiles * tile_ * tile_, machine_.macs_per_cycle),
          .array = true,
          .macs = use.m * use.n * use.k};
}

Demand CostModel::operator()(const UnaryUse& use) const {
  return elements(area(use.dst), is_function(use.insn.func) ? machine_.function_cycles : 1);
}

Demand CostModel::operator()(const BinaryUse& use) const {
  return elements(area(use.dst), is_function(use.insn.func) ? machine_.function_cycles : 1);
}

Demand CostModel::operator()(const SelectUse& use) const { return elements(area(use.dst)); }

// A reduction of nothing still writes its results.
Demand CostModel::operator()(const ReduceUse& use) const {
  return elements(std::max(area(use.src), area(use.dst)));
}

Demand CostModel::operator()(const FillUse& use) const { return elements(area(use.dst)); }

Demand CostModel::operator()(const TransposeUse& use) const { return elements(area(use.dst)); }

Demand CostModel::operator()(const CastUse& use) const { return elements(area(use.dst)); }

Demand CostModel::operator()(const AffineSelectUse& use) const { return elements(area(use.dst)); }

Demand CostModel::operator()(const IotaUse& use) const { return elements(area(use.dst)); }

Demand CostModel::operator()(const DmaUse& use) const {
  const std::int64_t burst = machine_.dram_burst_bytes;
  const Footprint walk = Box(use, program_.tensors[use.tensor]).dram_footprint(burst);
  const std::int64_t moved = walk.bursts * burst;
  return {.bytes = std::min(walk.elements * use.sram.item(), moved),
          .burst_bytes = moved,
          .transfer = ceil_div(moved, machine_.dram_bytes_per_cycle)};
}

}  // namespace tileflow
