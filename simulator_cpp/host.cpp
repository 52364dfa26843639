#include "host.h"

#include <algorithm>

namespace tileflow {
namespace {

// A sleeper looks up so often; only the calling thread has something to look at.
constexpr auto kSleep = std::chrono::milliseconds(20);
// Of a thread that is in the way of another one: each is twice as long as the one before, because
// its end may take the processor from that thread.
constexpr auto kFirstNap = std::chrono::microseconds(500);
constexpr auto kLongestNap = std::chrono::milliseconds(8);
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
  for (Host* host : hosts) host->wake_for_news();
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
  attend(true);
  while (!shared_.over()) {
    note_processor();
    if (is_in_the_way() && !stand_aside()) return;
    if (!step(own_) && !step(others_) && !lend_a_hand()) wait();
  }
  shared_.overlap.idle(side_);
  leave();
}

// False where none of these engines could go on.
bool Host::step(const std::vector<Seat*>& seats) {
  bool progress = false;
  for (Seat* seat : seats) {
    if (!seat->try_take()) continue;
    if (!seat->runner.finished()) {
      const Runner::Step step = seat->runner.step(shared_);
      progress |= step != Runner::Step::kBlocked;
      if (step == Runner::Step::kFinished && --shared_.unfinished == 0) shared_.wake_all();
      if (pacer_) pacer_->spend(seat->runner.core().take_effort());
      if (poll_ != nullptr && step == Runner::Step::kPaused) (*poll_)();
    }
    give_back(*seat);
  }
  return progress;
}

// Whether a thread before this one has the same processor, because other programs run on the rest,
// or has lately waited in vain for help, or would soon.
bool Host::is_in_the_way() const {
  if (is_caller() || shared_.shares_all) return false;
  if (shared_.respite->lasts()) return true;
  const int processor = processor_.load(std::memory_order_relaxed);
  if (processor == kNoProcessor) return false;
  for (const Host* host : shared_.hosts) {
    if (host == this) return false;
    if (host->processor_.load(std::memory_order_relaxed) == processor) return true;
  }
  return false;
}

// The threads before it do its work meanwhile. False where the run has come to its end without it.
bool Host::stand_aside() {
  shared_.overlap.idle(side_);
  attend(false);
  // One of them may have gone to sleep where it found an engine taken.
  for (Host* host : shared_.hosts) {
    if (host != this) host->wake();
  }
  shared_.gate.leave();
  Nanoseconds nap = kFirstNap;
  while (is_in_the_way() && !nap_.wait(0, nap, [&] { return shared_.over(); })) {
    nap = std::min<Nanoseconds>(2 * nap, kLongestNap);
    note_processor();
  }
  if (!shared_.gate.enter()) return false;
  attend(true);
  shared_.overlap.busy(side_);
  return true;
}

// Threads that move data help with gemms, unless they sleep and nobody would wake them.
void Host::attend(bool attends) {
  if (side_ != OverlapClock::kDma || attends == attends_) return;
  attends_ = attends;
  for (const auto& gemm : shared_.gemms) attends ? gemm->attend() : gemm->leave();
}

bool Host::can_help() const {
  return side_ == OverlapClock::kDma &&
         std::ranges::any_of(shared_.gemms, [](const auto& gemm) { return gemm->open(); });
}

// A band of a gemm at a time: the thread's own engines come first.
bool Host::lend_a_hand() {
  if (side_ != OverlapClock::kDma) return false;
  for (const auto& gemm : shared_.gemms) {
    if (!gemm->open()) continue;
    const std::int64_t start = now_ns();
    const bool helped = gemm->help();
    lent_ns_ += now_ns() - start;
    if (helped) return true;
  }
  return false;
}

// The owner may have found its seat taken and gone to sleep.
void Host::give_back(Seat& seat) const {
  seat.give_back();
  if (&seat.owner() != this) seat.owner().wake();
}

bool Host::can_go_on(const std::vector<Seat*>& seats) const {
  for (Seat* seat : seats) {
    if (!seat->try_take()) continue;
    const bool ready = !seat->runner.finished() && seat->runner.ready(shared_);
    give_back(*seat);
    if (ready) return true;
  }
  return false;
}

void Host::wait() {
  const auto ready = [&](bool look_everywhere) {
    if (shared_.over() || can_help() || can_go_on(own_)) return true;
    if (!look_everywhere) return false;
    note_processor();
    return is_in_the_way() || can_go_on(others_);
  };
  shared_.overlap.idle(side_);
  const std::int64_t start = now_ns();
  int polls = 0;
  if (!parker_.spin(shared_.spin_ns, [&] { return ready(++polls % kPollsBetweenHelp == 0); })) {
    if (!shared_.shares_all) attend(false);
    while (!parker_.sleep(kSleep, [&] { return ready(true); })) {
      if (poll_ != nullptr) (*poll_)();
    }
    attend(true);
  }
  const std::int64_t waited = now_ns() - start;
  if (is_caller() && waited > shared_.longest_wait_ns) shared_.respite->begin(waited);
  if (poll_ != nullptr) (*poll_)();
  shared_.overlap.busy(side_);
}

}  // namespace tileflow
