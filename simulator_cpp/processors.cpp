#include "processors.h"

#include <algorithm>
#include <thread>

#include "parker.h"

namespace tileflow {
namespace {

constexpr int kRespites = 32;  // times what was lost

}  // namespace

int usable_processors() {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

void Respite::begin(std::int64_t lost_ns) {
  until_.store(now_ns() + kRespites * lost_ns, std::memory_order_relaxed);
}

bool Respite::lasts() const {
  const std::int64_t until = until_.load(std::memory_order_relaxed);
  return until != 0 && now_ns() < until;
}

}  // namespace tileflow
