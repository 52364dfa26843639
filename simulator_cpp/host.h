// A thread's part of a threaded run: the engines it is host to, and how they wait.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "core.h"
#include "gemm_share.h"
#include "overlap.h"
#include "pacer.h"
#include "parker.h"
#include "processors.h"
#include "walker.h"

namespace tileflow {

using TokenCounts = std::array<std::uint64_t, 64>;

// A semaphore: how often it was posted, the initial count included. Its waiter counts what it took.
struct alignas(64) Channel {
  std::atomic<std::uint64_t> posted = 0;
};

class Host;

// Who is at work in a run. At its end it is closed, and waits for those inside alone: a thread that
// sleeps outside may come back much later, where all processors are taken.
class Gate {
 public:
  explicit Gate(Parker& caller) : caller_(caller) {}

  // False where it is closed.
  bool enter() {
    int inside = inside_.load();
    while ((inside & kClosed) == 0) {
      if (inside_.compare_exchange_weak(inside, inside + 1)) return true;
    }
    return false;
  }
  void leave() {
    inside_.fetch_sub(1);
    caller_.wake();
  }
  // Caller: lets nobody in any more.
  void close() { inside_.fetch_or(kClosed); }
  bool empty() const { return (inside_.load() & ~kClosed) == 0; }

 private:
  static constexpr int kClosed = 1 << 30;

  Parker& caller_;
  std::atomic<int> inside_ = 0;  // threads, but for the caller's
};

// What the threads of a run share.
struct Shared {
  explicit Shared(Parker& caller) : gate(caller) {}

  Gate gate;
  std::array<Channel, 64> channels;
  std::array<Host*, 64> waiter{};  // of each channel; null where nobody waits
  std::vector<Host*> hosts;
  std::vector<std::unique_ptr<GemmShare>> gemms;  // of those that compute
  std::atomic<bool> stop = false;
  std::atomic<int> unfinished = 0;  // engines
  std::int64_t spin_ns = 0;
  // A wait of the caller's for transfers beyond this time is one for a thread without a processor.
  std::int64_t longest_wait_ns = 0;
  Respite* respite = nullptr;
  bool shares_all = false;  // gemms are shared for certain: no thread stands aside
  OverlapClock overlap;

  // The first exception wins; all hosts stop.
  void fail(std::exception_ptr error);
  bool over() const { return stop.load() || unfinished.load() == 0; }
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
  // Before it runs: helps from now on.
  void enrol() { attend(true); }
  void note_processor() { processor_.store(current_processor(), std::memory_order_relaxed); }
  // Until all engines have finished, or a thread failed. A thread other than the caller's is inside
  // the gate at first, and has left it at the end.
  void run();
  // Its last words, where run() threw.
  void leave() {
    attend(false);
    if (!is_caller()) shared_.gate.leave();
  }
  void wake() { parker_.wake(); }
  // Where the run has come to its end, or an engine has.
  void wake_for_news() {
    parker_.wake();
    nap_.wake();
  }
  // Nanoseconds it spent on gemms of other threads, once they have stopped.
  std::int64_t lent_ns() const { return lent_ns_; }

 private:
  bool step(const std::vector<Seat*>& seats);
  void attend(bool attends);
  bool can_help() const;
  bool lend_a_hand();
  bool is_in_the_way() const;
  bool stand_aside();
  bool is_caller() const { return shared_.hosts.front() == this; }
  void give_back(Seat& seat) const;
  bool can_go_on(const std::vector<Seat*>& seats) const;
  void wait();

  Shared& shared_;
  Parker& parker_;
  OverlapClock::Side side_;
  const Poll* poll_;
  std::optional<Pacer> pacer_;
  Parker nap_;
  std::atomic<int> processor_ = kNoProcessor;  // that it runs on
  std::vector<Seat*> own_, others_;
  bool attends_ = false;
  std::int64_t lent_ns_ = 0;
};

}  // namespace tileflow
