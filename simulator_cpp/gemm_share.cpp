#include "gemm_share.h"

namespace tileflow {
namespace {

constexpr auto kSleep = std::chrono::milliseconds(20);
// More than a cache line ever takes from one processor to another.
constexpr std::int64_t kLongHandOverNs = 20'000;

}  // namespace

void GemmShare::compute(const GemmBands& bands, const Poll* poll) {
  bands_ = bands;
  returned_.store(0, std::memory_order_relaxed);
  State state{state_.load(std::memory_order_relaxed).round + 1, 0,
              static_cast<std::uint16_t>(bands.count())};
  state_.store(state, std::memory_order_release);
  int own = 0;
  while (open(state)) {
    const State taken{state.round, static_cast<std::uint16_t>(state.first + 1), state.end};
    if (!state_.compare_exchange_weak(state, taken, std::memory_order_relaxed)) continue;
    bands.compute(state.first);
    ++own;
    state = state_.load(std::memory_order_relaxed);
    if (poll != nullptr) (*poll)();
  }
  if (own < bands.count()) wait_for_helpers(bands.count() - own, poll);
}

bool GemmShare::help() {
  State state = state_.load(std::memory_order_relaxed);
  while (open(state)) {
    const State taken{state.round, state.first, static_cast<std::uint16_t>(state.end - 1)};
    if (!state_.compare_exchange_weak(state, taken, std::memory_order_acquire)) continue;
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
  if (lost > bands_.most_ns() + kLongHandOverNs) respite_.begin(lost);
}

}  // namespace tileflow
