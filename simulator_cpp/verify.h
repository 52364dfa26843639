// The proof that a program is well-synchronised and stays inside its memory.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>

#include "program.h"

namespace tileflow {

// Called now and then by what runs long; throws to stop it.
using Poll = std::function<void()>;

// What a walk of the program counted.
struct Work {
  std::int64_t instructions = 0;
  std::int64_t flops = 0;
  std::int64_t exec_elements = 0;  // of all that is not a gemm
  std::int64_t dma_bytes = 0;      // including what lies outside of tensors
  int execs = 0;                   // EXEC engines that have an instruction
};

// Walks the whole program without data, for these launch scalars. Proves that in program order
// no wait finds zero; that of two accesses to a byte from different engines, one of them a write,
// the later one is ordered behind the earlier one by semaphores; that SRAM accesses stay inside;
// that no byte of SRAM, scratch or an output is read before it is written; and that every element
// of an output is stored. Throws Fault (kVerify).
Work verify(const Program& program, std::span<const std::int64_t> scalars, const Poll& poll);

}  // namespace tileflow
