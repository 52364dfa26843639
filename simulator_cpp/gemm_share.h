// A gemm that its engine's thread computes together with threads that have nothing else to do.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>
#include <vector>

#include "gemm_bands.h"
#include "parker.h"
#include "processors.h"
#include "verify.h"

namespace tileflow {

// The owner takes bands from the front, helpers from the back: from one gemm to the next most of
// dst stays in the caches of the same core.
class GemmShare {
 public:
  // The owner waits for `spin_ns` without sleeping. A helper that loses its processor in the middle
  // of a band begins a respite. `forced`: for tests; the owner wakes these and begins a gemm only
  // when one of them has taken a band.
  GemmShare(std::int64_t spin_ns, Respite& respite, std::vector<Parker*> forced)
      : spin_ns_(spin_ns), respite_(respite), forced_(std::move(forced)) {}

  // Owner: whether somebody is there to help.
  bool attended() const { return attending_.load(std::memory_order_relaxed) > 0; }
  // Whether every gemm that can be cut is to be shared.
  bool forced() const { return !forced_.empty(); }
  // Once all threads have stopped: how many bands helpers have computed.
  std::int64_t helped_bands() const { return helped_; }
  // Owner: computes all bands, with whatever help there is. `poll` is null, or called after
  // each band; where it throws, helpers may be at work on bands for a while.
  void compute(const GemmBands& bands, const Poll* poll);
  // Any other thread: looks out for bands from now on, or no longer.
  void attend() { attending_.fetch_add(1, std::memory_order_relaxed); }
  void leave() { attending_.fetch_sub(1, std::memory_order_relaxed); }
  // Any other thread: whether a band is to be had.
  bool open() const { return open(state_.load(std::memory_order_relaxed)); }
  // Any other thread: computes one band. False where there was none.
  bool help();

 private:
  // The bands that nobody has taken are first..end - 1 of gemm number `round`.
  struct State {
    std::uint32_t round = 0;
    std::uint16_t first = 0, end = 0;
  };
  static bool open(State state) { return state.first < state.end; }
  void call_helpers(const Poll* poll);
  void wait_for_helpers(int taken, const Poll* poll);

  std::int64_t spin_ns_;
  Respite& respite_;
  std::vector<Parker*> forced_;
  std::int64_t helped_ = 0;
  Parker owner_;     // whoever computes for the engine; a thread has others to wait for elsewhere
  GemmBands bands_;  // of the current round; written while none is open or being computed
  alignas(64) std::atomic<State> state_ = State{};
  std::atomic<int> attending_ = 0;
  alignas(64) std::atomic<int> returned_ = 0;  // bands of this round that helpers have computed
};

}  // namespace tileflow
