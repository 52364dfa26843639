#include "interrupt.h"

#include <signal.h>

#include <atomic>

#include "errors.h"

namespace tileflow {
namespace {

std::atomic<bool> interrupted = false;
static_assert(std::atomic<bool>::is_always_lock_free, "set in a signal handler");

}  // namespace

void catch_interrupts() {
  struct sigaction action = {};
  action.sa_handler = [](int) { interrupted.store(true); };
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
}

void check_interrupt() {
  if (interrupted.load(std::memory_order_relaxed)) throw Interrupted();
}

}  // namespace tileflow
