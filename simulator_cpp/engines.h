// The two ways to run a program. Both give the same bits.
#pragma once

#include <cstdint>
#include <span>

#include "core.h"
#include "program.h"
#include "verify.h"

namespace tileflow {

struct Launch {
  const Program& program;
  std::span<const std::int64_t> scalars;
  const Kernels& kernels;
  Memory memory;
  const Poll& poll;  // called by the calling thread alone
};

struct Outcome {
  Counters counters;
  std::int64_t overlap_ns = 0;    // DMA and compute were both busy
  std::int64_t helped_bands = 0;  // of gemms, computed by threads of other engines
};

// In program order, in the calling thread. A program that was not verified is kept inside its
// memory, and a wait that finds zero throws.
Outcome run_sequential(const Launch& launch, bool verified);

struct Threading {
  int threads = 0;              // 1..engines; 0: as many as there are processors to run on
  std::int64_t hand_over = -1;  // after so many instructions wait for the threads; -1: never wait
  // For tests: every gemm of more than one tile is computed by several threads, if there are.
  bool share_gemms = false;
};

// Each engine at its own pace, for verified programs. The calling thread executes in program order
// until the other threads are awake, then hands the other engines over and goes on with the first
// EXEC: a short program never waits for a thread to wake up.
Outcome run_threaded(const Launch& launch, Threading threading);

// Whether the threaded engine pays for a program that does this work.
bool threads_pay(const Work& work);

}  // namespace tileflow
