#include "crew.h"

#include <pthread.h>
#include <signal.h>

#include <thread>

namespace tileflow {
namespace {

constexpr auto kForever = std::chrono::hours(1);
// Of a thread that finds itself on the caller's processor.
constexpr auto kNap = std::chrono::milliseconds(1);

// Signals are the business of the process's own threads.
void block_signals(sigset_t* before) {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, before);
}

// Leaked on purpose: its threads may sleep in it until the process ends. In a forked child, which
// has none of the threads, it is forgotten.
std::atomic<Crew*> the_crew = nullptr;

}  // namespace

Worker::Worker(Parker& caller) : caller_(caller) {
  sigset_t before;
  block_signals(&before);
  std::thread([this] { live(); }).detach();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void Worker::offer(std::int64_t spin_ns, int beside) {
  spin_ns_.store(spin_ns, std::memory_order_relaxed);
  beside_.store(beside, std::memory_order_relaxed);
#ifdef __linux__
  if (sched_getaffinity(0, sizeof processors_, &processors_) != 0) CPU_ZERO(&processors_);
#endif
  state_.store(kOffered);
  parker_.wake();
}

void Worker::start(std::function<void()> work) {
  work_ = std::move(work);
  state_.store(kStarted);
  parker_.wake();
}

void Worker::take_back() {
  State offered = kOffered;
  if (state_.compare_exchange_strong(offered, kIdle)) return;
  state_.store(kTakenBack);
  parker_.wake();
}

void Worker::live() {
#ifdef __linux__
  cpu_set_t own;
  CPU_ZERO(&own);
#endif
  while (true) {
    wait_for_offer();
#ifdef __linux__
    if (!CPU_EQUAL(&own, &processors_) && CPU_COUNT(&processors_) > 0) {
      own = processors_;
      sched_setaffinity(0, sizeof own, &own);
    }
#endif
    const std::int64_t spin_ns = spin_ns_.load(std::memory_order_relaxed);
    while (!parker_.wait(spin_ns, kForever, [&] { return state_.load() != kAccepted; })) {
    }
    if (state_.load() == kStarted) {
      work_();
      work_ = nullptr;
    }
    state_.store(kIdle);
    caller_.wake();
  }
}

bool Worker::is_in_the_way() const {
  const int beside = beside_.load(std::memory_order_relaxed);
  return beside != kNoProcessor && current_processor() == beside;
}

void Worker::wait_for_offer() {
  while (true) {
    const std::int64_t spin_ns = is_in_the_way() ? 0 : spin_ns_.load(std::memory_order_relaxed);
    if (!parker_.wait(spin_ns, kForever, [&] { return state_.load() == kOffered; })) continue;
    if (is_in_the_way()) {
      parker_.wait(0, kNap, [&] { return state_.load() != kOffered; });
      if (is_in_the_way()) continue;
    }
    State offered = kOffered;
    if (state_.compare_exchange_strong(offered, kAccepted)) {
      caller_.wake();
      return;
    }
  }
}

Crew& Crew::of_process() {
  static std::mutex making;
  static const int registered =
      pthread_atfork(nullptr, nullptr, [] { the_crew.store(nullptr, std::memory_order_relaxed); });
  (void)registered;
  Crew* crew = the_crew.load();
  if (crew != nullptr) return *crew;
  const std::lock_guard lock(making);
  if (the_crew.load() == nullptr) the_crew.store(new Crew);
  return *the_crew.load();
}

Worker& Crew::worker(int index) {
  std::unique_ptr<Worker>& worker = workers_[static_cast<std::size_t>(index)];
  if (!worker) worker = std::make_unique<Worker>(caller_);
  return *worker;
}

}  // namespace tileflow
