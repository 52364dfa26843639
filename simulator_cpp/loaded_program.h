// A decoded program together with what is known about it: proofs, and memory to run in.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engines.h"
#include "memory.h"
#include "program.h"
#include "timing.h"
#include "verify.h"

namespace tileflow {

// On-chip memory and scratch of one run.
class Buffers {
 public:
  explicit Buffers(const Program& program);
  std::byte* sram() const { return sram_.get(); }
  std::byte* scratch() const { return scratch_.get(); }
  // Quiet NaNs, so that a program that was not verified does not see what an earlier run left.
  void poison();

 private:
  std::size_t sram_bytes_, scratch_bytes_;
  HostMemory sram_, scratch_;
};

enum class EngineChoice : std::uint8_t { kAuto, kSequential, kThreaded };
inline constexpr std::array<std::string_view, 3> kEngineNames = {"auto", "sequential", "threaded"};
// Throws Fault (kCall) that names the engines there are.
EngineChoice engine_named(std::string_view name);

struct RunRequest {
  std::vector<std::byte*> args;
  std::vector<std::int64_t> scalars;
  EngineChoice engine = EngineChoice::kAuto;
  std::string level;  // of the kernels; empty: TILEFLOW_SIMD, else the fastest
  bool verify = true;
  Threading threading;
};

struct RunReport {
  const char* engine;
  const char* level;
  Counters counters;
  std::int64_t wall_ns = 0, overlap_ns = 0, verify_ns = 0;
  std::int64_t helped_bands = 0;
};

// How many of each mnemonic ran, in the order of the instruction table.
std::vector<std::pair<std::string, std::int64_t>> instructions_run(const Counters& counters);

// What was moved of the tensors that were touched at all.
struct Traffic {
  std::string tensor;
  std::int64_t loaded_bytes = 0, stored_bytes = 0;
};
std::vector<Traffic> dram_traffic(const Program& program, const Counters& counters);

// Several threads may use one at once.
class LoadedProgram {
 public:
  explicit LoadedProgram(std::span<const std::uint8_t> file) : program_(parse_program(file)) {}

  const Program& program() const { return *program_; }
  std::shared_ptr<const Program> shared_program() const { return program_; }
  // Proves the program for these scalars unless it was. The time it took, in ns.
  std::int64_t verify(const std::vector<std::int64_t>& scalars, const Poll& poll);
  // Model time for these scalars; proves the program unless it was.
  std::shared_ptr<const TimingReport> time(const std::vector<std::int64_t>& scalars,
                                           const Poll& poll);
  RunReport run(const RunRequest& request, const Poll& poll);

 private:
  void check_scalars(const std::vector<std::int64_t>& scalars) const;
  std::optional<Work> proof_for(const std::vector<std::int64_t>& scalars);
  std::unique_ptr<Buffers> take_buffers();
  void give_back(std::unique_ptr<Buffers> buffers);

  std::shared_ptr<const Program> program_;
  std::mutex mutex_;  // of what follows
  std::map<std::vector<std::int64_t>, Work> proofs_;
  std::map<std::vector<std::int64_t>, std::shared_ptr<const TimingReport>> timings_;
  std::unique_ptr<Buffers> spare_;
};

// The kernels of a level of this processor. Throws Fault (kRun) that names the levels there are.
const Kernels& find_kernels(const std::string& level);

}  // namespace tileflow
