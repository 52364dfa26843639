// The processors of the host, and whether other programs leave one.
#pragma once

#ifdef __linux__
#include <sched.h>
#endif

#include <atomic>
#include <cstdint>

namespace tileflow {

// Processors the calling thread may run on.
int usable_processors();

// The number of the processor that the thread is on; kNoProcessor where it cannot be told.
inline constexpr int kNoProcessor = -1;
inline int current_processor() {
#ifdef __linux__
  return sched_getcpu();
#else
  return kNoProcessor;
#endif
}

// Whether more threads want to run, those of all programs on the host and `more` that sleep as yet,
// than there are processors. False where it cannot be told. Takes some microseconds.
bool crowded(int more);

// After a wait for a thread that has lost its processor to another program, threads do without each
// other for a while, which grows with what was lost.
class Respite {
 public:
  void begin(std::int64_t lost_ns);
  bool lasts() const;

 private:
  std::atomic<std::int64_t> until_ = 0;
};

// What threads at work ask again and again: whether all of the host's together are too many.
class Crowd {
 public:
  // Looks once a millisecond.
  bool lasts();

 private:
  std::atomic<std::int64_t> next_look_ = 0;
  std::atomic<bool> crowded_ = false;
};

}  // namespace tileflow
