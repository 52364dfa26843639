#include "gemm_share.h"

namespace tileflow {
namespace {

constexpr auto kSleep = std::chrono::milliseconds(20);
constexpr auto kForcedSleep = std::chrono::milliseconds(1);
// More than a cache line ever takes from one processor to another.
constexpr std::int64_t kLongHandOverNs = 20'000;

}  // namespace

void GemmShare::compute(const GemmBands& bands, const Poll* poll) {
  bands_ = bands;
  returned_.store(0, std::memory_order_relaxed);
  State state{state_.load(std::memory_order_relaxed).round + 1, 0,
              static_cast<std::uint16_t>(bands.count())};
  state_.store(state);
  if (forced() && bands.count() > 1) call_helpers(poll);
  state = state_.load(std::memory_order_relaxed);
  int own = 0;
  while (open(state)) {
    const State taken{state.round, static_cast<std::uint16_t>(state.first + 1), state.end};
    if (!state_.compare_exchange_weak(state, taken, std::memory_order_relaxed)) continue;
    bands.compute(state.first);
    ++own;
    state = state_.load(std::memory_order_relaxed);
    if (poll != nullptr) (*poll)();
  }
  helped_ += bands.count() - own;
  if (own < bands.count()) wait_for_helpers(bands.count() - own, poll);
}

// Until one of them has taken a band, or none is left that could.
void GemmShare::call_helpers(const Poll* poll) {
  for (Parker* helper : forced_) helper->wake();
  const auto taken = [&] {
    const State state = state_.load();
    return state.end < bands_.count() || !attended();
  };
  while (!owner_.wait(0, kForcedSleep, taken)) {
    if (poll != nullptr) (*poll)();
  }
}

bool GemmShare::help() {
  State state = state_.load(std::memory_order_relaxed);
  while (open(state)) {
    const State taken{state.round, state.first, static_cast<std::uint16_t>(state.end - 1)};
    if (!state_.compare_exchange_weak(state, taken, std::memory_order_acquire)) continue;
    if (forced()) owner_.wake();
    bands_.compute(taken.end);
    returned_.fetch_add(1);
    owner_.wake();
    return true;
  }
  return false;
}

void GemmShare::wait_for_helpers(int taken, const Poll* poll) {
  const std::int64_t start = now_ns();
  while (!owner_.wait(spin_ns_, kSleep, [&] { return returned_.load() == taken; })) {
    if (poll != nullptr) (*poll)();
  }
  const std::int64_t lost = now_ns() - start;
  if (!forced() && lost > bands_.most_ns() + kLongHandOverNs) respite_.begin(lost);
}

}  // namespace tileflow
