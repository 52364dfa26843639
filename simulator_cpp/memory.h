// Memory for arrays.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <string>

#include "fault.h"

namespace tileflow {

struct FreeMemory {
  void operator()(std::byte* memory) const { std::free(memory); }
};
using HostMemory = std::unique_ptr<std::byte[], FreeMemory>;

// At a cache line, with room for a whole vector behind the last element; not initialised. Throws
// Fault (kRun) where there is not so much.
inline HostMemory allocate(std::size_t bytes) {
  constexpr std::size_t kAlignment = 64;
  const std::size_t size = (bytes / kAlignment + 2) * kAlignment;
  HostMemory memory(static_cast<std::byte*>(std::aligned_alloc(kAlignment, size)));
  if (!memory) {
    throw Fault(FaultKind::kRun, "cannot allocate " + std::to_string(bytes) + " bytes", kNoPc,
                kNoPc, "use smaller arrays, or a machine with more room");
  }
  return memory;
}

}  // namespace tileflow
