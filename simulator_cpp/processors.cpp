#include "processors.h"

#include <algorithm>
#include <thread>
#ifdef __linux__
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <string_view>
#endif

#include "parker.h"

namespace tileflow {
namespace {

constexpr std::int64_t kBetweenLooks = 1'000'000;  // ns
constexpr int kRespites = 32;                      // times what was lost

// Of all programs on the host, the one that asks among them; 0 where it cannot be told.
int running_threads() {
#ifdef __linux__
  const int file = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  std::array<char, 128> text{};
  const ssize_t size = read(file, text.data(), text.size());
  close(file);
  // Such as "0.20 0.18 0.12 2/81 11206": two of 81 threads run, or would if they could.
  std::string_view rest(text.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
  for (int word = 0; word < 3; ++word)
    rest.remove_prefix(std::min(rest.find(' '), rest.size() - 1) + 1);
  int running = 0;
  std::from_chars(rest.data(), rest.data() + rest.size(), running);
  return running;
#else
  return 0;
#endif
}

}  // namespace

int usable_processors() {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

bool crowded(int more) {
#ifdef __linux__
  static const long processors = sysconf(_SC_NPROCESSORS_ONLN);
  return running_threads() + more > std::max(processors, 1L);
#else
  return false;
#endif
}

void Respite::begin(std::int64_t lost_ns) {
  until_.store(now_ns() + kRespites * lost_ns, std::memory_order_relaxed);
}

bool Respite::lasts() const {
  const std::int64_t until = until_.load(std::memory_order_relaxed);
  return until != 0 && now_ns() < until;
}

bool Crowd::lasts() {
  const std::int64_t now = now_ns();
  std::int64_t look = next_look_.load(std::memory_order_relaxed);
  if (now >= look && next_look_.compare_exchange_strong(look, now + kBetweenLooks)) {
    crowded_.store(crowded(0), std::memory_order_relaxed);
  }
  return crowded_.load(std::memory_order_relaxed);
}

}  // namespace tileflow
