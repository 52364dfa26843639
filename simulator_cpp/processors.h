// The processors of the host, and what is done where other programs take one.
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

// After a wait for a thread that has lost its processor to another program, threads do without each
// other for a while, which grows with what was lost.
class Respite {
 public:
  void begin(std::int64_t lost_ns);
  bool lasts() const;

 private:
  std::atomic<std::int64_t> until_ = 0;
};

}  // namespace tileflow
