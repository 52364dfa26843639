#include "host.h"

#include <algorithm>

namespace tileflow {
namespace {

// A sleeper looks up so often; only the calling thread has something to look at.
constexpr auto kSleep = std::chrono::milliseconds(20);
// Looking at another thread's engine disturbs it.
constexpr int kPollsBetweenHelp = 64;

}  // namespace

void Shared::fail(std::exception_ptr error) {
  {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
  }
  stop.store(true);
  wake_all();
}

void Shared::wake_all() {
  for (Host* host : hosts) host->wake();
}

bool Runner::ready(const Shared& shared) const {
  if (op_ == nullptr) return true;
  const auto [first, second] = op_->waits;
  const auto left = [&](std::uint8_t sem) {
    return shared.channels[sem].posted.load(std::memory_order_acquire) - taken_[sem];
  };
  if (first == second) return first == kNone || left(first) >= 2;
  return (first == kNone || left(first) > 0) && (second == kNone || left(second) > 0);
}

Runner::Step Runner::step(Shared& shared) {
  if (op_ == nullptr) {
    op_ = walker_.next();
    if (op_ == nullptr) return walker_.done() ? Step::kFinished : Step::kPaused;
  }
  if (!ready(shared)) return Step::kBlocked;
  for (const std::uint8_t sem : op_->waits) ++taken_[sem];  // that of "none" counts nothing
  core_.execute<false>(*op_, walker_);
  post(shared);
  op_ = nullptr;
  return Step::kDone;
}

void Runner::post(Shared& shared) const {
  for (const std::uint8_t sem : op_->posts) {
    if (sem == kNone || shared.waiter[sem] == nullptr) continue;
    shared.channels[sem].posted.fetch_add(1);
    shared.waiter[sem]->wake();
  }
}

void Host::run() {
  if (poll_ != nullptr) pacer_.emplace(*poll_);
  shared_.overlap.busy(side_);
  while (!shared_.stop.load(std::memory_order_relaxed)) {
    Round round = step(own_);
    if (!round.progress && !others_.empty()) {
      const Round helped = step(others_);
      round = {helped.progress, round.unfinished || helped.unfinished};
    }
    if (!round.unfinished) break;
    if (!round.progress) wait();
  }
  shared_.overlap.idle(side_);
}

Host::Round Host::step(const std::vector<Seat*>& seats) {
  Round round;
  for (Seat* seat : seats) {
    if (!seat->try_take()) {
      round.unfinished = true;
      continue;
    }
    if (!seat->runner.finished()) {
      const Runner::Step step = seat->runner.step(shared_);
      round.progress |= step != Runner::Step::kBlocked;
      round.unfinished |= step != Runner::Step::kFinished;
      if (step == Runner::Step::kFinished) shared_.wake_all();
      if (pacer_) pacer_->spend(seat->runner.core().take_effort());
      if (poll_ != nullptr && step == Runner::Step::kPaused) (*poll_)();
    }
    give_back(*seat);
  }
  return round;
}

// The owner may have found its seat taken and gone to sleep.
void Host::give_back(Seat& seat) const {
  seat.give_back();
  if (&seat.owner() != this) seat.owner().wake();
}

// Whether an engine of `seats` can go on; `finished` stays true if all have come to their end.
bool Host::can_go_on(const std::vector<Seat*>& seats, bool& finished) const {
  for (Seat* seat : seats) {
    if (!seat->try_take()) {
      finished = false;
      continue;
    }
    const bool done = seat->runner.finished();
    const bool ready = !done && seat->runner.ready(shared_);
    give_back(*seat);
    if (ready) return true;
    finished = finished && done;
  }
  return false;
}

void Host::wait() {
  int polls = 0;
  const auto ready = [&] {
    if (shared_.stop.load()) return true;
    bool finished = true;
    if (can_go_on(own_, finished)) return true;
    if (!finished && ++polls % kPollsBetweenHelp != 0) return false;
    return can_go_on(others_, finished) || finished;
  };
  shared_.overlap.idle(side_);
  while (!parker_.wait(shared_.spin_ns, kSleep, ready)) {
    if (poll_ != nullptr) (*poll_)();
  }
  if (poll_ != nullptr) (*poll_)();
  shared_.overlap.busy(side_);
}

}  // namespace tileflow
