// One pass in program order. Every moment is the latest of moments of earlier instructions, plus a
// cost: so nothing that costs less can make anything later.
#include "timing.h"

#include <algorithm>

#include "costs.h"
#include "ordering.h"
#include "walker.h"

namespace tileflow {
namespace {

constexpr std::int64_t kOpsBetweenPolls = 1 << 13;

// A point in time, and how it came about.
struct Moment {
  std::int64_t at = 0;
  Path path;

  void spend(Spent what, std::int64_t cycles) {
    at += cycles;
    path.cycles[static_cast<std::size_t>(what)] += cycles;
  }
};

// The last moments of a kind, as many as it holds; time 0 where there were none yet.
class Ring {
 public:
  explicit Ring(std::uint32_t size) : moments_(size) {}
  const Moment& oldest() const { return moments_[at_]; }
  // The oldest makes room for `moment`.
  Moment& push(const Moment& moment) {
    Moment& place = moments_[at_];
    place = moment;
    if (++at_ == moments_.size()) at_ = 0;
    return place;
  }

 private:
  std::vector<Moment> moments_;
  std::size_t at_ = 0;
};

struct Engine {
  explicit Engine(const isa::Machine& machine)
      : left_queue(machine.queue_depth), finished(machine.dma_outstanding) {}

  Ring left_queue;             // of instructions
  Ring finished;               // of transfers
  Moment ready;                // for the next instruction
  Moment ready_for_gemm;       // for the next one where it is a gemm
  Moment moved;                // the last byte of the last store
  Moment done;                 // with all instructions
  std::int64_t accounted = 0;  // up to here `time` says what the engine did
  EngineTime time;

  void account(std::int64_t& part, std::int64_t until) {
    if (until <= accounted) return;
    part += until - accounted;
    accounted = until;
  }
  void busy(std::int64_t until) { account(time.busy, until); }
  void waits(Wait cause, std::int64_t until) {
    account(time.waiting[static_cast<std::size_t>(cause)], until);
  }
};

Wait wait_for_kind(isa::Engine poster) {
  return poster == isa::Engine::kLoad   ? Wait::kLoad
         : poster == isa::Engine::kExec ? Wait::kExec
                                        : Wait::kStore;
}

template <class Sink>
class Timer {
 public:
  Timer(const Program& program, std::span<const std::int64_t> scalars, Sink& sink)
      : machine_(program.machine),
        walker_(program, scalars),
        costs_(program),
        sink_(sink),
        initial_(program.sem_counts),
        engines_(static_cast<std::size_t>(program.engines()), Engine(machine_)) {
    report_.sequencer.stalled.resize(engines_.size());
    report_.loads.resize(program.tensors.size());
    report_.stores.resize(program.tensors.size());
    for (const Op& op : program.ops) {
      for (const std::uint8_t sem : op.posts) poster_[sem] = op.engine;
      for (const std::uint8_t sem : op.waits) has_waiter_[sem] = true;
    }
    has_waiter_[kNone] = false;
    for (std::size_t sem = 0; sem < initial_.size(); ++sem) {
      starts_with_tokens_[sem] = initial_[sem] > 0;
    }
  }

  TimingReport run(const Poll& poll) {
    while (true) {
      const Op* op = walker_.next();
      issue(walker_.steps());
      report_.control += walker_.steps();
      if (op != nullptr) {
        step(*op);
        if (++report_.instructions % kOpsBetweenPolls == 0) poll();
      } else if (walker_.done()) {
        break;
      } else {
        poll();
      }
    }
    close();
    return std::move(report_);
  }

 private:
  void issue(std::int64_t instructions) {
    const std::int64_t cycles = instructions * machine_.issue_cycles;
    sequencer_.spend(Spent::kIssue, cycles);
    report_.sequencer.issuing += cycles;
  }

  void step(const Op& op) {
    Engine& engine = engines_[op.engine_index];
    enter_queue(op, engine);
    demand_ = {};
    Resolver<false>{walker_}(op, [&](const auto& use) { demand_ = costs_(use); });
    const bool moves = op.opcode == isa::Opcode::kLoad || op.opcode == isa::Opcode::kStore;
    const Moment& start = leave_queue(op, engine, moves);
    times_ = {start.at, start.at, start.at, start.at};
    if (moves) {
      transfer(op, engine, start);
    } else {
      execute(engine, start);
    }
    post_tokens(op, engine.done);
    sink_(Event{op, walker_.pc(), sequencer_.at, times_.start, times_.request, times_.transfer,
                times_.moved, engine.done.at});
  }

  void enter_queue(const Op& op, const Engine& engine) {
    issue(1);
    const Moment& room = engine.left_queue.oldest();
    if (room.at <= sequencer_.at) return;
    report_.sequencer.stalled[op.engine_index] += room.at - sequencer_.at;
    sequencer_ = room;
    ++sequencer_.path.queue;
  }

  // When the engine takes the instruction out of its queue: all it waits for is there.
  const Moment& leave_queue(const Op& op, Engine& engine, bool moves) {
    const Moment* latest = &sequencer_;
    const auto wait_for = [&](const Moment& moment) {
      if (moment.at <= latest->at) return false;
      latest = &moment;
      return true;
    };
    engine.waits(Wait::kSequencer, latest->at);
    wait_for(demand_.array ? engine.ready_for_gemm : engine.ready);
    const bool crowded = moves && wait_for(engine.finished.oldest());
    if (crowded) engine.waits(Wait::kLatency, latest->at);
    std::uint8_t starved_of = kNone;
    for (const std::uint8_t sem : op.waits) {
      if (sem == kNone) continue;
      if (initial_[sem] > 0) {
        --initial_[sem];
      } else if (wait_for(tokens_[sem].pop())) {
        starved_of = sem;
      }
    }
    Moment& start = engine.left_queue.push(*latest);
    if (starved_of != kNone) {
      engine.waits(wait_for_kind(poster_[starved_of]), start.at);
      if (starts_with_tokens_[starved_of]) ++start.path.slot;
    } else if (crowded) {
      ++start.path.outstanding;
    }
    return start;
  }

  void post_tokens(const Op& op, const Moment& end) {
    for (const std::uint8_t sem : op.posts) {
      if (!has_waiter_[sem]) continue;
      tokens_[sem].push(end).spend(Spent::kSemaphore, machine_.semaphore_cycles);
    }
  }

  // An instruction of EXEC, or a nop.
  void execute(Engine& engine, const Moment& start) {
    Moment end = start;
    end.spend(demand_.array ? Spent::kFill : Spent::kStartup, demand_.overhead);
    end.spend(demand_.array ? Spent::kArray : Spent::kLanes, demand_.work);
    finish(engine, end);
    engine.busy(engine.done.at);
    engine.ready = engine.ready_for_gemm = engine.done;
    if (demand_.array) {
      engine.ready_for_gemm = start;
      if (demand_.work > demand_.overhead) {
        engine.ready_for_gemm.spend(Spent::kArray, demand_.work);
      } else {
        engine.ready_for_gemm.spend(Spent::kFill, demand_.overhead);
      }
    }
    report_.macs += demand_.macs;
    report_.lane_cycles += demand_.lane_cycles;
  }

  void transfer(const Op& op, Engine& engine, const Moment& start) {
    const bool loads = op.engine == isa::Engine::kLoad;
    engine.ready = start;
    engine.ready.spend(Spent::kSetup, machine_.dma_setup_cycles);
    engine.busy(engine.ready.at);
    times_.request = times_.transfer = times_.moved = engine.ready.at;
    if (demand_.transfer == 0) {
      finish(engine, engine.ready);
    } else if (loads) {
      load(engine);
      count(report_.loads[op.as<isa::Load>().tensor]);
    } else {
      store(engine);
      count(report_.stores[op.as<isa::Store>().tensor]);
    }
    engine.finished.push(engine.done);
  }

  // Instructions finish in order.
  static void finish(Engine& engine, const Moment& end) {
    if (end.at > engine.done.at) engine.done = end;
  }

  void load(Engine& engine) {
    Moment data = engine.ready;
    data.spend(Spent::kLatency, machine_.dram_latency_cycles);
    engine.waits(Wait::kLatency, data.at);
    if (data.at > dram_.at) dram_ = data;
    move(engine, dram_);
    engine.done = dram_;
  }

  // DRAM's time for it is set aside at its place in program order, and used when its data are
  // there.
  void store(Engine& engine) {
    const Moment& free = dram_.at > engine.moved.at ? dram_ : engine.moved;
    engine.moved = free.at > engine.ready.at ? free : engine.ready;
    dram_.spend(Spent::kTransfer, demand_.transfer);
    move(engine, engine.moved);
    engine.done = engine.moved;
    engine.done.spend(Spent::kLatency, machine_.dram_latency_cycles);
  }

  void move(Engine& engine, Moment& now) {
    engine.waits(Wait::kDram, now.at);
    times_.transfer = now.at;
    now.spend(Spent::kTransfer, demand_.transfer);
    times_.moved = now.at;
    engine.busy(now.at);
    report_.dram_cycles += demand_.transfer;
  }

  void count(Transfers& all) const {
    ++all.count;
    all.bytes += demand_.bytes;
    all.burst_bytes += demand_.burst_bytes;
  }

  void close() {
    const Moment* end = &sequencer_;
    for (const Engine& engine : engines_) {
      if (engine.done.at > end->at) end = &engine.done;
    }
    report_.cycles = end->at;
    report_.path = end->path;
    for (Engine& engine : engines_) {
      engine.waits(Wait::kLatency, engine.done.at);
      engine.account(engine.time.idle, end->at);
      report_.engines.push_back(engine.time);
    }
    report_.sequencer.idle = end->at - sequencer_.at;
  }

  struct Times {
    std::int64_t start, request, transfer, moved;
  };

  isa::Machine machine_;
  Walker walker_;
  CostModel costs_;
  Sink& sink_;
  std::array<std::uint32_t, 64> initial_;
  std::array<isa::Engine, 64> poster_{};
  std::array<bool, 64> has_waiter_{}, starts_with_tokens_{};
  std::array<Fifo<Moment>, 64> tokens_;
  Moment sequencer_;
  Moment dram_;  // its time is given away up to here
  std::vector<Engine> engines_;
  Demand demand_;  // of the current instruction, as are the times
  Times times_{};
  TimingReport report_;
};

}  // namespace

template <class Sink>
TimingReport time_program(const Program& program, std::span<const std::int64_t> scalars,
                          const Poll& poll, Sink& sink) {
  return Timer<Sink>(program, scalars, sink).run(poll);
}

template TimingReport time_program(const Program&, std::span<const std::int64_t>, const Poll&,
                                   NullSink&);

}  // namespace tileflow
