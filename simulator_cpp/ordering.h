// Happens-before between engines, as semaphores make it in program order.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "program.h"
#include "shadow.h"

namespace tileflow {

// A first-in first-out queue in a ring.
template <class T>
class Fifo {
 public:
  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }
  T& push(const T& value) {
    if (size_ == ring_.size()) grow();
    T& place = ring_[(head_ + size_++) & (ring_.size() - 1)];
    place = value;
    return place;
  }
  // Valid until the next push.
  const T& pop() {
    const T& value = ring_[head_];
    head_ = (head_ + 1) & (ring_.size() - 1);
    --size_;
    return value;
  }

 private:
  void grow() {
    std::vector<T> larger(ring_.empty() ? 8 : 2 * ring_.size());
    for (std::size_t i = 0; i < size_; ++i) larger[i] = ring_[(head_ + i) & (ring_.size() - 1)];
    ring_.swap(larger);
    head_ = 0;
  }

  std::vector<T> ring_;  // a power of two
  std::size_t head_ = 0, size_ = 0;
};

// Vector clocks of the engines, and of the posts that nobody has waited for yet. A semaphore has
// one poster and one waiter, both in order: its n-th wait takes the (n - initial)-th post.
class Ordering {
 public:
  // Posts a semaphore may be ahead of its waits.
  static constexpr std::size_t kMostPosts = std::size_t{1} << 24;

  explicit Ordering(const Program& program) : engines_(program.engines()) {
    std::copy(program.sem_counts.begin(), program.sem_counts.end(), initial_.begin());
    for (const Op& op : program.ops) {
      for (const std::uint8_t sem : op.waits) has_waiter_[sem] = true;
    }
  }

  // The next instruction of `engine` begins; its number among those of the engine.
  std::uint64_t begin(int engine) { return ++clocks_[engine][engine]; }
  // How many instructions `engine` has begun.
  std::uint64_t number(int engine) const { return clocks_[engine][engine]; }
  const Clock& clock(int engine) const { return clocks_[engine]; }

  // False where the semaphore is zero.
  bool wait(int engine, std::uint8_t sem) {
    if (initial_[sem] > 0) {
      --initial_[sem];
      return true;
    }
    if (posts_[sem].empty()) return false;
    const Clock posted = posts_[sem].pop();
    for (int e = 0; e < engines_; ++e) clocks_[engine][e] = std::max(clocks_[engine][e], posted[e]);
    return true;
  }

  // False where there are too many posts that nobody waited for.
  bool post(int engine, std::uint8_t sem) {
    if (!has_waiter_[sem]) return true;
    if (posts_[sem].size() >= kMostPosts) return false;
    posts_[sem].push(clocks_[engine]);
    return true;
  }

 private:
  int engines_;
  std::array<Clock, kEngines> clocks_{};
  std::array<std::uint64_t, 64> initial_{};
  std::array<bool, 64> has_waiter_{};
  std::array<Fifo<Clock>, 64> posts_;
};

}  // namespace tileflow
