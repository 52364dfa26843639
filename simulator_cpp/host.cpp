#include "host.h"

#include <algorithm>

#include "pacer.h"

namespace tileflow {
namespace {

// A sleeper looks up so often; only the calling thread has something to look at.
constexpr auto kSleep = std::chrono::milliseconds(20);

}  // namespace

void Shared::fail(std::exception_ptr error, const std::vector<Host*>& hosts) {
  {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
  }
  stop.store(true);
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
  std::optional<Pacer> pacer;
  if (poll_ != nullptr) pacer.emplace(*poll_);
  shared_.overlap.busy(side_);
  for (bool working = true; working;) {
    bool progress = false;
    working = false;
    for (Runner& runner : runners_) {
      if (runner.finished()) continue;
      const Runner::Step step = runner.step(shared_);
      progress |= step != Runner::Step::kBlocked;
      working |= step != Runner::Step::kFinished;
      if (pacer) pacer->step(runner.core());
      if (poll_ != nullptr && step == Runner::Step::kPaused) (*poll_)();
    }
    if (shared_.stop.load(std::memory_order_relaxed)) break;
    if (!progress) wait();
  }
  shared_.overlap.idle(side_);
}

bool Host::anyone_ready() const {
  return shared_.stop.load() || std::ranges::any_of(runners_, [&](const Runner& runner) {
           return !runner.finished() && runner.ready(shared_);
         });
}

void Host::wait() {
  shared_.overlap.idle(side_);
  while (!parker_.wait(shared_.spin_ns, kSleep, [&] { return anyone_ready(); })) {
    if (poll_ != nullptr) (*poll_)();
  }
  shared_.overlap.busy(side_);
}

}  // namespace tileflow
