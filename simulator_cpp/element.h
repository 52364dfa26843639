// Constants in an element type.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <optional>

#include "isa.h"

namespace tileflow {

// The bits of the element that is equal to `value`; nothing where there is none.
inline std::optional<std::uint32_t> element_of(float value, isa::DType dtype) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const bool whole = value == std::nearbyint(value);
  switch (dtype) {
    case isa::DType::kF32: return bits;
    case isa::DType::kBf16:
      if (std::isnan(value)) return bits >> 16 | 0x40;  // quiet
      if ((bits & 0xFFFF) != 0) return std::nullopt;
      return bits >> 16;
    case isa::DType::kI8:
      if (!whole || value < -128 || value > 127) return std::nullopt;
      return static_cast<std::uint8_t>(static_cast<std::int8_t>(value));
    case isa::DType::kI32:
      if (!whole || value < -0x1p31F || value >= 0x1p31F) return std::nullopt;
      return static_cast<std::uint32_t>(static_cast<std::int32_t>(value));
  }
  return std::nullopt;
}

}  // namespace tileflow
