// A thread's part of a threaded run: the engines it is host to, and how they wait.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <optional>
#include <vector>

#include "core.h"
#include "overlap.h"
#include "parker.h"
#include "walker.h"

namespace tileflow {

using TokenCounts = std::array<std::uint64_t, 64>;

// A semaphore: how often it was posted, the initial count included. Its waiter counts what it took.
struct alignas(64) Channel {
  std::atomic<std::uint64_t> posted = 0;
};

class Host;

// What the threads of a run share.
struct Shared {
  std::array<Channel, 64> channels;
  std::array<Host*, 64> waiter{};  // of each channel; null where nobody waits
  std::atomic<bool> stop = false;
  std::int64_t spin_ns = 0;
  OverlapClock overlap;

  // The first exception wins; all hosts stop.
  void fail(std::exception_ptr error, const std::vector<Host*>& hosts);
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::mutex mutex_;
  std::exception_ptr error_;
};

// An engine at some point of its own walk through the program.
class Runner {
 public:
  Runner(Walker walker, Core core, const TokenCounts& taken)
      : walker_(std::move(walker)), core_(std::move(core)), taken_(taken) {}

  enum class Step : std::uint8_t { kDone, kBlocked, kFinished, kPaused };
  // Executes the next instruction unless it has to wait.
  Step step(Shared& shared);
  // Whether the instruction that step() was blocked at can go on.
  bool ready(const Shared& shared) const;
  bool finished() const { return walker_.done(); }
  const Core& core() const { return core_; }

 private:
  void post(Shared& shared) const;

  Walker walker_;
  Core core_;
  const Op* op_ = nullptr;  // the next instruction, where known
  TokenCounts taken_;
};

class Host {
 public:
  // `poll` is null in threads that may not.
  Host(Shared& shared, Parker& parker, OverlapClock::Side side, const Poll* poll)
      : shared_(shared), parker_(parker), side_(side), poll_(poll) {}

  void add(Runner runner) { runners_.push_back(std::move(runner)); }
  // Until all engines have finished, or a thread failed.
  void run();
  void wake() { parker_.wake(); }
  const std::vector<Runner>& runners() const { return runners_; }

 private:
  bool anyone_ready() const;
  void wait();

  Shared& shared_;
  Parker& parker_;
  OverlapClock::Side side_;
  const Poll* poll_;
  std::vector<Runner> runners_;
  std::int64_t polled_at_ = 0;
};

}  // namespace tileflow
