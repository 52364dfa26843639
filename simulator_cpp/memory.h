// Memory for arrays of floats.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <string>

#include "fault.h"

namespace tileflow {

struct FreeFloats {
  void operator()(float* memory) const { std::free(memory); }
};
using Floats = std::unique_ptr<float[], FreeFloats>;

// At a cache line, with room for a whole vector behind the last element; not initialised. Throws
// Fault (kRun) where there is not so much.
inline Floats allocate_floats(std::size_t bytes) {
  constexpr std::size_t kAlignment = 64;
  const std::size_t size = (bytes / kAlignment + 2) * kAlignment;
  Floats memory(static_cast<float*>(std::aligned_alloc(kAlignment, size)));
  if (!memory) {
    throw Fault(FaultKind::kRun, "cannot allocate " + std::to_string(bytes) + " bytes", kNoPc,
                kNoPc, "use smaller arrays, or a machine with more room");
  }
  return memory;
}

}  // namespace tileflow
