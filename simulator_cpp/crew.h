// The threads that run engines: made once a process, asleep between runs.
#pragma once

#ifdef __linux__
#include <sched.h>
#endif

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

#include "parker.h"
#include "processors.h"
#include "program.h"

namespace tileflow {

// One thread. A caller offers it work; once the thread is awake it accepts, and only then the
// caller starts the work. An offer that was not started can be taken back at no cost.
class Worker {
 public:
  explicit Worker(Parker& caller);

  // Caller's side. Only where idle(). The thread accepts on another processor than `beside`, which
  // may be kNoProcessor: on the caller's own it would only take the caller's time.
  void offer(std::int64_t spin_ns, int beside);
  bool accepted() const { return state_.load(std::memory_order_acquire) == kAccepted; }
  void start(std::function<void()> work);  // only after accepted(); `work` does not throw
  void take_back();                        // an offer that was not started
  bool idle() const { return state_.load() == kIdle; }
  // Where the thread waits while it works.
  Parker& parker() { return parker_; }

 private:
  enum State : int { kIdle, kOffered, kAccepted, kStarted, kTakenBack };

  [[noreturn]] void live();
  void wait_for_offer();
  bool is_in_the_way() const;

  std::atomic<State> state_ = kIdle;
  std::atomic<std::int64_t> spin_ns_ = 0;
  std::atomic<int> beside_ = kNoProcessor;
  std::function<void()> work_;
#ifdef __linux__
  cpu_set_t processors_{};  // where the caller may run, so the work may, too
#endif
  Parker parker_;
  Parker& caller_;
};

// All threads of the process, for one run at a time.
class Crew {
 public:
  static constexpr int kWorkers = kEngines - 1;

  // The crew of this process; a forked child gets its own. Not for use before and after a fork.
  static Crew& of_process();

  // Whoever gets the lock has all workers until it is released.
  std::unique_lock<std::mutex> try_claim() { return {busy_, std::try_to_lock}; }
  Worker& worker(int index);
  Parker& caller() { return caller_; }
  Respite& respite() { return respite_; }

 private:
  std::mutex busy_;
  Parker caller_;  // where the claimant waits
  Respite respite_;
  std::array<std::unique_ptr<Worker>, kWorkers> workers_;
};

}  // namespace tileflow
