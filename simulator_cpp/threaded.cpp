#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <system_error>
#include <thread>
#include <vector>

#include "crew.h"
#include "engines.h"
#include "host.h"
#include "pacer.h"
#include "processors.h"

namespace tileflow {
namespace {

// Waits are mostly shorter than this; sleeping and being woken costs about as much.
constexpr std::int64_t kSpinNs = 100'000;
constexpr auto kSleep = std::chrono::milliseconds(20);
// A thread that fills SRAM takes no longer, if it has a processor.
constexpr std::int64_t kLongestWaitNs = 200'000;
constexpr std::int64_t kSlowestTransfer = 1;  // bytes a nanosecond
// What threads can save, at the least, for it to pay to wake them: a wake-up takes some 100 us, at
// times a millisecond, and what one core has loaded another one has to fetch.
constexpr std::int64_t kWorthThreadsNs = 500'000;
// Effort after which a run that found no processor for threads looks again.
constexpr std::int64_t kEffortBetweenCalls = 4'000'000;

// What the threads of a run have; it lives until the last of them has noticed that the run is over.
struct Team {
  explicit Team(Parker& caller) : shared(caller) {}

  Shared shared;
  std::vector<std::unique_ptr<Host>> hosts;
  std::vector<std::unique_ptr<Seat>> seats;
};

class ThreadedRun {
 public:
  ThreadedRun(const Launch& launch, const Threading& threading)
      : launch_(launch),
        threads_(threading.threads),
        hand_over_(threading.hand_over),
        share_gemms_(threading.share_gemms),
        walker_(launch.program, launch.scalars),
        core_(launch.program, launch.kernels, launch.memory, &launch.poll),
        team_(std::make_shared<Team>(Crew::of_process().caller())),
        shared_(team_->shared),
        hosts_(team_->hosts),
        seats_(team_->seats) {
    std::ranges::copy(launch.program.sem_counts, posted_.begin());
  }

  Outcome run() {
    Crew& crew = Crew::of_process();
    // Where the crew is at work for somebody else, this run needs no threads to be right.
    const auto claim = crew.try_claim();
    calls_ = threads_ > 1 && claim;
    if (calls_) call_workers(crew);
    if (!run_alone()) run_together(crew);
    Outcome outcome{core_.counters(), overlap_ns()};
    for (const auto& seat : seats_) outcome.counters.add(seat->runner.core().counters());
    for (const auto& share : shared_.gemms) outcome.helped_bands += share->helped_bands();
    return outcome;
  }

 private:
  // A thread that computes for another one is no longer busy with DMA.
  std::int64_t overlap_ns() const {
    std::int64_t overlap = shared_.overlap.total_ns();
    for (const auto& host : hosts_) overlap -= host->lent_ns();
    return std::max<std::int64_t>(overlap, 0);
  }

  void call_workers(Crew& crew) {
    shared_.spin_ns = threads_ <= usable_processors() ? kSpinNs : 0;
    try {
      for (int i = 0; i + 1 < threads_; ++i) workers_.push_back(&crew.worker(i));
    } catch (const std::system_error&) {  // no more threads to be had
      workers_.clear();
    }
    // A thread may still be about to drop the last offer; it is not worth waiting for.
    if (!waits_for_workers() && (crew.respite().lasts() || !all_idle())) {
      workers_.clear();
    }
    while (!crew.caller().wait(0, kSleep, [&] { return all_idle(); })) launch_.poll();
    const bool anywhere = waits_for_workers() || shared_.spin_ns == 0;
    const int beside = anywhere ? kNoProcessor : current_processor();
    for (Worker* worker : workers_) worker->offer(shared_.spin_ns, beside);
  }

  bool waits_for_workers() const { return hand_over_ >= 0; }

  bool all_idle() const {
    return std::ranges::all_of(workers_, [](const Worker* worker) { return worker->idle(); });
  }

  bool workers_are_ready(Crew& crew, std::int64_t executed) const {
    const auto ready = [&] {
      return std::ranges::all_of(workers_, [](const Worker* w) { return w->accepted(); });
    };
    if (workers_.empty()) return false;
    if (!waits_for_workers()) return ready();
    if (executed < hand_over_) return false;
    while (!crew.caller().wait(0, kSleep, ready)) launch_.poll();
    return true;
  }

  // In program order, until the end (true) or until the workers are awake (false).
  bool run_alone() {
    Pacer pacer(launch_.poll);
    std::int64_t alone = 0;  // effort since workers were called
    Crew& crew = Crew::of_process();
    try {
      for (std::int64_t executed = 0; !workers_are_ready(crew, executed); ++executed) {
        const Op* op = walker_.next();
        if (op == nullptr && walker_.done()) {
          take_back_offers();
          return true;
        }
        if (op == nullptr) {
          launch_.poll();
          continue;
        }
        for (const std::uint8_t sem : op->waits) ++taken_[sem];
        core_.execute<false>(*op, walker_);
        for (const std::uint8_t sem : op->posts) ++posted_[sem];
        const std::int64_t effort = core_.take_effort();
        pacer.spend(effort);
        alone += effort;
        if (calls_ && workers_.empty() && alone > kEffortBetweenCalls) {
          alone = 0;
          call_workers(crew);
        }
      }
    } catch (...) {
      take_back_offers();
      throw;
    }
    return false;
  }

  void take_back_offers() {
    for (Worker* worker : workers_) worker->take_back();
    workers_.clear();
  }

  void run_together(Crew& crew) {
    shared_.respite = &crew.respite();
    shared_.shares_all = share_gemms_;
    shared_.longest_wait_ns = kLongestWaitNs + launch_.program.sram_bytes() / kSlowestTransfer;
    make_hosts(crew);
    for (const auto& host : hosts_) shared_.hosts.push_back(host.get());
    shared_.unfinished.store(static_cast<int>(seats_.size()));
    hosts_.front()->note_processor();
    for (std::size_t i = 0; i < workers_.size(); ++i) {
      shared_.gate.enter();
      workers_[i]->start([team = team_, i] { run_host(team->shared, *team->hosts[i + 1]); });
    }
    run_host(shared_, *hosts_.front());
    shared_.gate.close();
    const std::int64_t closed = now_ns();
    while (!crew.caller().wait(shared_.spin_ns, kSleep, [&] { return shared_.gate.empty(); })) {
      try {
        launch_.poll();
      } catch (...) {
        shared_.fail(std::current_exception());
      }
    }
    const std::int64_t waited = now_ns() - closed;
    if (waited > shared_.longest_wait_ns) crew.respite().begin(waited);
    shared_.rethrow();
  }

  static void run_host(Shared& shared, Host& host) {
    try {
      host.run();
    } catch (...) {
      shared.fail(std::current_exception());
      host.leave();
    }
  }

  // The first EXEC is the calling thread's, each further one has a worker, LOAD and STORE have the
  // next two. Where workers are short, the last one has the rest.
  std::size_t host_index(int engine) const {
    if (engine == kFirstExec) return 0;
    const Program& program = launch_.program;
    const int wanted = engine == kLoad                    ? program.execs()
                       : engine == program.store_engine() ? program.execs() + 1
                                                          : engine - kFirstExec;
    return std::min(static_cast<std::size_t>(wanted), workers_.size());
  }

  void make_hosts(Crew& crew) {
    for (std::size_t sem = 0; sem < posted_.size(); ++sem) {
      shared_.channels[sem].posted.store(posted_[sem]);
    }
    hosts_.push_back(
        std::make_unique<Host>(shared_, crew.caller(), OverlapClock::kCompute, &launch_.poll));
    for (std::size_t i = 1; i <= workers_.size(); ++i) {
      const auto side = i < host_index(kLoad) ? OverlapClock::kCompute : OverlapClock::kDma;
      hosts_.push_back(std::make_unique<Host>(shared_, workers_[i - 1]->parker(), side, nullptr));
    }
    // STORE first: it gives back what compute waits for.
    add_seat(launch_.program.store_engine());
    add_seat(kLoad);
    for (int exec = launch_.program.execs(); exec-- > 0;) add_seat(kFirstExec + exec);
    for (const auto& host : hosts_) host->enrol();
    for (const Op& op : launch_.program.ops) {
      for (const std::uint8_t sem : op.waits) {
        if (sem != kNone) shared_.waiter[sem] = hosts_[host_index(op.engine_index)].get();
      }
    }
  }

  // Threads that compute help with engines of those behind them: a thread wakes the owner of an
  // engine that it has looked at, and two that do so to each other could wait for ever. The
  // calling thread polls in its own engine.
  void add_seat(int engine) {
    Walker walker = walker_;
    walker.restrict_to(engine);
    const Poll* poll = engine == kFirstExec ? &launch_.poll : nullptr;
    const std::size_t owner = host_index(engine);
    GemmShare* share = nullptr;
    // Where threads share a processor nobody is idle while another one computes.
    if (owner < host_index(kLoad) && (shared_.spin_ns > 0 || share_gemms_)) {
      share = shared_.gemms
                  .emplace_back(std::make_unique<GemmShare>(
                      shared_.spin_ns, Crew::of_process().respite(), forced_helpers()))
                  .get();
    }
    Core core(launch_.program, launch_.kernels, launch_.memory, poll, share);
    seats_.push_back(
        std::make_unique<Seat>(*hosts_[owner], Runner(std::move(walker), std::move(core), taken_)));
    Seat& seat = *seats_.back();
    hosts_[owner]->own(seat);
    for (std::size_t i = 0; i < std::min(owner, host_index(kLoad)); ++i) hosts_[i]->help(seat);
  }

  // Those that have the transfers, where gemms are shared for certain.
  std::vector<Parker*> forced_helpers() {
    std::vector<Parker*> helpers;
    for (std::size_t i = host_index(kLoad); share_gemms_ && i <= workers_.size(); ++i) {
      helpers.push_back(&workers_[i - 1]->parker());
    }
    return helpers;
  }

  const Launch& launch_;
  int threads_;
  std::int64_t hand_over_;
  bool share_gemms_;
  bool calls_ = false;  // this run may have the crew's workers
  Walker walker_;       // of all engines, until the hand-over
  Core core_;
  TokenCounts posted_{}, taken_{};
  std::vector<Worker*> workers_;
  std::shared_ptr<Team> team_;
  Shared& shared_;
  std::vector<std::unique_ptr<Host>>& hosts_;
  std::vector<std::unique_ptr<Seat>>& seats_;
};

}  // namespace

bool threads_pay(const Work& work) {
  // Rough rates; only the order of magnitude counts.
  const std::int64_t gemm_ns = work.flops / 80;
  const std::int64_t exec_ns = gemm_ns + work.exec_elements / 4 + 50 * work.instructions;
  const std::int64_t dma_ns = work.dma_bytes / 8 + 50 * work.instructions;
  const std::int64_t others_ns = exec_ns - exec_ns / std::max(1, work.execs);
  // What goes on beside other work: transfers, gemms in bands, and what other EXECs do.
  const std::int64_t beside_ns = std::max(std::min(exec_ns, dma_ns) + gemm_ns / 2, others_ns);
  return std::min(beside_ns, (exec_ns + dma_ns) / 2) > kWorthThreadsNs;
}

Outcome run_threaded(const Launch& launch, Threading threading) {
  const int most = launch.program.engines();
  if (threading.threads == 0)
    threading.threads = threading.share_gemms ? most : usable_processors();
  threading.threads = std::clamp(threading.threads, 1, most);
  if (threading.share_gemms) threading.hand_over = std::max<std::int64_t>(threading.hand_over, 0);
  return ThreadedRun(launch, threading).run();
}

}  // namespace tileflow
