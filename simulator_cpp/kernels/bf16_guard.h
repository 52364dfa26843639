// Whether an instruction for products of bf16 gives the bits that exec.gemm promises. Processors'
// manuals say so of VDPBF16PS, and it was found on Zen 4; another processor may do otherwise.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

namespace tileflow {

inline constexpr int kBf16Lanes = 16;

// acc += the product of the upper halves of lhs and rhs, then that of the lower ones.
using Bf16Dot =
    std::function<void(std::span<float, kBf16Lanes> acc, std::span<const std::int32_t, kBf16Lanes>,
                       std::span<const std::int32_t, kBf16Lanes>)>;

// On cases that tell the roundings one could think of apart.
bool gives_contract_bits(const Bf16Dot& dot);

}  // namespace tileflow
