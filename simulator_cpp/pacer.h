// Looks after a run in the calling thread: polls, but not after every instruction.
#pragma once

#include <cstdint>

#include "core.h"
#include "verify.h"

namespace tileflow {

class Pacer {
 public:
  explicit Pacer(const Poll& poll) : poll_(poll) {}

  // After an instruction.
  void step(const Core& core) {
    if (core.effort() - polled_at_ < kEffortBetweenPolls) return;
    polled_at_ = core.effort();
    poll_();
  }

 private:
  static constexpr std::int64_t kEffortBetweenPolls = 1 << 20;  // below a millisecond

  const Poll& poll_;
  std::int64_t polled_at_ = 0;
};

}  // namespace tileflow
