// Model time: when a program's instructions begin and end on the machine; doc/timing.md says how.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "program.h"
#include "verify.h"

namespace tileflow {

// What the time on the critical path goes to.
enum class Spent : std::uint8_t {
  kIssue,
  kSemaphore,
  kSetup,
  kLatency,
  kTransfer,
  kFill,
  kArray,
  kStartup,
  kLanes
};
inline constexpr std::array<std::string_view, 9> kSpentNames = {
    "issue", "semaphore", "setup", "latency", "transfer", "fill", "array", "startup", "lanes"};

// How the end came about: followed back from it, always to what was waited for.
struct Path {
  std::array<std::int64_t, kSpentNames.size()> cycles{};
  // How often it was a wait for room, not for something to be done.
  std::int64_t queue = 0;        // in an engine's queue
  std::int64_t slot = 0;         // of a ring: for a semaphore that starts with tokens
  std::int64_t outstanding = 0;  // among the transfers under way
};

// What an engine waits for: tokens of an engine of this kind; the sequencer; DRAM, while it works
// for another engine, or its latency.
enum class Wait : std::uint8_t { kLoad, kExec, kStore, kSequencer, kDram, kLatency };
inline constexpr std::array<std::string_view, 6> kWaitNames = {"load",      "exec", "store",
                                                               "sequencer", "dram", "latency"};

// Each cycle counts for what the engine's oldest unfinished instruction does; idle is after the
// last. The parts add up to the cycles of the program.
struct EngineTime {
  std::int64_t busy = 0, idle = 0;
  std::array<std::int64_t, kWaitNames.size()> waiting{};
};

// `stalled` is by the engine whose queue is full.
struct SequencerTime {
  std::int64_t issuing = 0, idle = 0;
  std::vector<std::int64_t> stalled;
};

// All transfers of a tensor one way.
struct Transfers {
  std::int64_t count = 0, bytes = 0, burst_bytes = 0;
};

struct TimingReport {
  std::int64_t cycles = 0;
  std::int64_t instructions = 0;  // of the engines
  std::int64_t control = 0;       // of the sequencer
  std::vector<EngineTime> engines;
  SequencerTime sequencer;
  Path path;
  std::int64_t macs = 0, lane_cycles = 0, dram_cycles = 0;
  std::vector<Transfers> loads, stores;  // by tensor
};

// What a sink is told of each instruction, in program order.
struct Event {
  const Op& op;
  std::int64_t pc;
  std::int64_t entered;   // the engine's queue
  std::int64_t start;     // left the queue
  std::int64_t request;   // a transfer asks DRAM
  std::int64_t transfer;  // the first byte moves
  std::int64_t moved;     // the last byte moved
  std::int64_t end;       // posts
};

struct NullSink {
  void operator()(const Event&) const {}
};

// Walks a program that was verified for these scalars.
template <class Sink>
TimingReport time_program(const Program& program, std::span<const std::int64_t> scalars,
                          const Poll& poll, Sink& sink);
extern template TimingReport time_program(const Program&, std::span<const std::int64_t>,
                                          const Poll&, NullSink&);

}  // namespace tileflow
