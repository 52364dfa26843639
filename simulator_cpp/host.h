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
#include "pacer.h"
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
  std::vector<Host*> hosts;
  std::atomic<bool> stop = false;
  std::int64_t spin_ns = 0;
  OverlapClock overlap;

  // The first exception wins; all hosts stop.
  void fail(std::exception_ptr error);
  void wake_all();
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
  Core& core() { return core_; }

 private:
  void post(Shared& shared) const;

  Walker walker_;
  Core core_;
  const Op* op_ = nullptr;  // the next instruction, where known
  TokenCounts taken_;
};

// An engine of a run. Only the thread that has taken it may look at its runner.
class Seat {
 public:
  Seat(Host& owner, Runner runner) : runner(std::move(runner)), owner_(owner) {}

  bool try_take() { return !taken_.load() && !taken_.exchange(true); }
  void give_back() { taken_.store(false); }
  Host& owner() const { return owner_; }

  Runner runner;

 private:
  Host& owner_;
  alignas(64) std::atomic<bool> taken_ = false;
};

// A thread steps the engines it owns; where none of them can go on, it helps with those of other
// threads, which may have no processor at the moment.
class Host {
 public:
  // `poll` is null in threads that may not.
  Host(Shared& shared, Parker& parker, OverlapClock::Side side, const Poll* poll)
      : shared_(shared), parker_(parker), side_(side), poll_(poll) {}

  void own(Seat& seat) { own_.push_back(&seat); }
  void help(Seat& seat) { others_.push_back(&seat); }
  // Until all engines have finished, or a thread failed.
  void run();
  void wake() { parker_.wake(); }

 private:
  // What a round over some engines came to.
  struct Round {
    bool progress = false;
    bool unfinished = false;
  };
  Round step(const std::vector<Seat*>& seats);
  void give_back(Seat& seat) const;
  bool can_go_on(const std::vector<Seat*>& seats, bool& finished) const;
  void wait();

  Shared& shared_;
  Parker& parker_;
  OverlapClock::Side side_;
  const Poll* poll_;
  std::optional<Pacer> pacer_;
  std::vector<Seat*> own_, others_;
};

}  // namespace tileflow
