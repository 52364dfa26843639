#include <algorithm>
#include <string>

#include "engines.h"
#include "fault.h"
#include "pacer.h"
#include "walker.h"

namespace tileflow {
namespace {

// Counts of the semaphores of a program that was not verified.
class Tokens {
 public:
  explicit Tokens(const Program& program)
      : counts_(program.sem_counts.begin(), program.sem_counts.end()) {}

  void wait(const Op& op, const Walker& walker) {
    for (const std::uint8_t sem : op.waits) {
      if (sem == kNone) continue;
      if (counts_[sem] == 0) {
        walker.fault("waits on sem" + std::to_string(sem) +
                     ", which is 0 at that point of program order");
      }
      --counts_[sem];
    }
  }
  void post(const Op& op) {
    for (const std::uint8_t sem : op.posts) ++counts_[sem];
  }

 private:
  std::vector<std::uint64_t> counts_;
};

// Operands of a gemm have to be in tiles: their loads, put off, would only come at a worse time.
bool multiplies(const Program& program) {
  return std::ranges::any_of(program.ops,
                             [](const Op& op) { return op.opcode == isa::Opcode::kExecGemm; });
}

template <bool kChecked>
Outcome run(const Launch& launch) {
  Walker walker(launch.program, launch.scalars);
  const bool forwards = !kChecked && !multiplies(launch.program);
  Core core(launch.program, launch.kernels, launch.memory, &launch.poll, nullptr, forwards);
  Pacer pacer(launch.poll);
  Tokens tokens(launch.program);
  while (true) {
    const Op* op = walker.next();
    if (op == nullptr) {
      if (walker.done()) break;
      launch.poll();
      continue;
    }
    if constexpr (kChecked) tokens.wait(*op, walker);
    core.execute<kChecked>(*op, walker);
    if constexpr (kChecked) tokens.post(*op);
    pacer.spend(core.take_effort());
  }
  return {core.counters()};
}

}  // namespace

Outcome run_sequential(const Launch& launch, bool verified) {
  return verified ? run<false>(launch) : run<true>(launch);
}

}  // namespace tileflow
