// Looks after a run in the calling thread: polls, but not after every instruction.
#pragma once

#include <cstdint>

#include "verify.h"

namespace tileflow {

class Pacer {
 public:
  explicit Pacer(const Poll& poll) : poll_(poll) {}

  // After instructions that took this effort.
  void spend(std::int64_t effort) {
    spent_ += effort;
    if (spent_ < kEffortBetweenPolls) return;
    spent_ = 0;
    poll_();
  }

 private:
  static constexpr std::int64_t kEffortBetweenPolls = 1 << 20;  // below a millisecond

  const Poll& poll_;
  std::int64_t spent_ = 0;  // since the last poll
};

}  // namespace tileflow
