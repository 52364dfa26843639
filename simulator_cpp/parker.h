// Where a thread waits: a short while spinning, then asleep.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace tileflow {

using Nanoseconds = std::chrono::nanoseconds;

inline std::int64_t now_ns() {
  return std::chrono::duration_cast<Nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

inline void relax_cpu() {
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// One thread waits, any thread wakes it. The waker first makes the condition true with a
// sequentially consistent write, then calls wake().
class Parker {
 public:
  // Spins for up to `spin_ns`, then sleeps for up to `sleep`. True once ready() is.
  template <class Ready>
  bool wait(std::int64_t spin_ns, Nanoseconds sleep, Ready ready) {
    return spin(spin_ns, ready) || this->sleep(sleep, ready);
  }

  template <class Ready>
  static bool spin(std::int64_t spin_ns, Ready ready) {
    if (ready()) return true;
    if (spin_ns == 0) return false;
    const std::int64_t end = now_ns() + spin_ns;
    do {
      for (int i = 0; i < kSpinsBetweenClocks; ++i) {
        relax_cpu();
        if (ready()) return true;
      }
    } while (now_ns() < end);
    return false;
  }

  template <class Ready>
  bool sleep(Nanoseconds time, Ready ready) {
    std::unique_lock lock(mutex_);
    asleep_.store(true);
    // A waker that wrote before this line is seen here; a later one sees asleep_.
    if (!ready()) awake_.wait_for(lock, time, [&] { return !asleep_.load(); });
    asleep_.store(false);
    return ready();
  }

  void wake() {
    if (!asleep_.load()) return;
    {
      const std::lock_guard lock(mutex_);
      asleep_.store(false);
    }
    awake_.notify_one();
  }

 private:
  static constexpr int kSpinsBetweenClocks = 32;

  std::mutex mutex_;
  std::condition_variable awake_;
  std::atomic<bool> asleep_ = false;
};

}  // namespace tileflow
