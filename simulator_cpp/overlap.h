// Measures for how long DMA and compute are busy at the same time, as it happens.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>

#include "parker.h"

namespace tileflow {

class OverlapClock {
 public:
  enum Side : std::uint8_t { kDma, kCompute };

  void busy(Side side) { change(side, 1); }
  void idle(Side side) { change(side, -1); }
  std::int64_t total_ns() const { return total_; }

 private:
  void change(Side side, int by) {
    const std::lock_guard lock(mutex_);
    const std::int64_t now = now_ns();
    if (busy_[kDma] > 0 && busy_[kCompute] > 0) total_ += now - since_;
    since_ = now;
    busy_[side] += by;
  }

  std::mutex mutex_;
  std::array<int, 2> busy_{};  // hosts of each side that are
  std::int64_t since_ = 0;     // the last change
  std::int64_t total_ = 0;
};

}  // namespace tileflow
