#include "loaded_program.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "fault.h"
#include "parker.h"
#include "processors.h"

namespace tileflow {
namespace {

constexpr std::size_t kMostProofs = 4096;  // and timings

// TILEFLOW_HAND_OVER=n makes the threaded engine wait for its threads after n instructions, so that
// tests and experiments on short programs are not over before the threads wake up.
// TILEFLOW_SHARE_GEMMS=1 makes several threads compute every product, however busy the host is.
Threading with_environment(Threading threading) {
  const char* share = std::getenv("TILEFLOW_SHARE_GEMMS");
  if (share != nullptr && *share != '\0') {
    const std::string_view value = share;
    if (value != "0" && value != "1") {
      throw Fault(FaultKind::kRun,
                  "TILEFLOW_SHARE_GEMMS is '" + std::string(value) + "', not 0 or 1");
    }
    threading.share_gemms |= value == "1";
  }
  const char* text = std::getenv("TILEFLOW_HAND_OVER");
  if (threading.hand_over >= 0 || text == nullptr || *text == '\0') return threading;
  const std::string_view digits = text;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), threading.hand_over);
  if (error != std::errc() || end != digits.data() + digits.size() || threading.hand_over < 0) {
    throw Fault(FaultKind::kRun, "TILEFLOW_HAND_OVER is '" + std::string(digits) +
                                     "', not a number of instructions");
  }
  return threading;
}

}  // namespace

Buffers::Buffers(const Program& program)
    : sram_bytes_(static_cast<std::size_t>(program.sram_bytes())),
      scratch_bytes_(static_cast<std::size_t>(program.scratch_bytes)),
      sram_(allocate(sram_bytes_)),
      scratch_(allocate(scratch_bytes_)) {}

void Buffers::poison() {
  std::memset(sram_.get(), 0xFF, sram_bytes_);
  std::memset(scratch_.get(), 0xFF, scratch_bytes_);
}

const Kernels& find_kernels(const std::string& level) {
  const char* from_environment = std::getenv("TILEFLOW_SIMD");
  std::string wanted = level;
  if (wanted.empty() && from_environment != nullptr) wanted = from_environment;
  const auto available = available_kernels();
  if (wanted.empty()) return *available.back();
  for (const Kernels* kernels : available) {
    if (wanted == kernels->level) return *kernels;
  }
  std::string names;
  for (const Kernels* kernels : available) {
    names += (names.empty() ? "" : ", ") + std::string(kernels->level);
  }
  throw Fault(FaultKind::kRun, (level.empty() ? "TILEFLOW_SIMD: " : "") +
                                   std::string("no SIMD level '") + wanted +
                                   "' on this processor; there are: " + names);
}

EngineChoice engine_named(std::string_view name) {
  const auto found = std::ranges::find(kEngineNames, name);
  if (found != kEngineNames.end()) return static_cast<EngineChoice>(found - kEngineNames.begin());
  std::string names;
  for (const std::string_view known : kEngineNames) {
    names += (names.empty() ? "" : ", ") + std::string(known);
  }
  throw Fault(FaultKind::kCall, "no engine '" + std::string(name) + "'; there are: " + names);
}

std::vector<std::pair<std::string, std::int64_t>> instructions_run(const Counters& counters) {
  std::vector<std::pair<std::string, std::int64_t>> run;
  for (const isa::RowInfo& row : isa::kRows) {
    const std::int64_t count = counters.instructions[static_cast<std::size_t>(row.opcode)];
    if (count != 0) run.emplace_back(row.mnemonic, count);
  }
  return run;
}

std::vector<Traffic> dram_traffic(const Program& program, const Counters& counters) {
  std::vector<Traffic> traffic;
  for (std::size_t i = 0; i < program.tensors.size(); ++i) {
    const std::int64_t item = isa::item_bytes(program.tensors[i].dtype);
    const std::int64_t loaded = counters.loaded_elements[i] * item;
    const std::int64_t stored = counters.stored_elements[i] * item;
    if (loaded != 0 || stored != 0) traffic.push_back({program.tensors[i].name, loaded, stored});
  }
  return traffic;
}

void LoadedProgram::check_scalars(const std::vector<std::int64_t>& scalars) const {
  if (scalars.size() == program_->scalars.size()) return;
  throw Fault(FaultKind::kCall, "the program has " + std::to_string(program_->scalars.size()) +
                                    " launch scalars, not " + std::to_string(scalars.size()));
}

std::optional<Work> LoadedProgram::proof_for(const std::vector<std::int64_t>& scalars) {
  const std::lock_guard lock(mutex_);
  const auto found = proofs_.find(scalars);
  return found == proofs_.end() ? std::nullopt : std::optional(found->second);
}

std::int64_t LoadedProgram::verify(const std::vector<std::int64_t>& scalars, const Poll& poll) {
  check_scalars(scalars);
  if (proof_for(scalars)) return 0;
  const std::int64_t start = now_ns();
  const Work work = tileflow::verify(*program_, scalars, poll);
  const std::int64_t time = now_ns() - start;
  const std::lock_guard lock(mutex_);
  if (proofs_.size() >= kMostProofs) proofs_.clear();
  proofs_.emplace(scalars, work);
  return time;
}

std::shared_ptr<const TimingReport> LoadedProgram::time(const std::vector<std::int64_t>& scalars,
                                                        const Poll& poll) {
  verify(scalars, poll);
  {
    const std::lock_guard lock(mutex_);
    const auto found = timings_.find(scalars);
    if (found != timings_.end()) return found->second;
  }
  NullSink sink;
  auto timing = std::make_shared<const TimingReport>(time_program(*program_, scalars, poll, sink));
  const std::lock_guard lock(mutex_);
  if (timings_.size() >= kMostProofs) timings_.clear();
  return timings_.emplace(scalars, std::move(timing)).first->second;
}

std::unique_ptr<Buffers> LoadedProgram::take_buffers() {
  {
    const std::lock_guard lock(mutex_);
    if (spare_) return std::move(spare_);
  }
  return std::make_unique<Buffers>(*program_);
}

void LoadedProgram::give_back(std::unique_ptr<Buffers> buffers) {
  const std::lock_guard lock(mutex_);
  spare_ = std::move(buffers);
}

RunReport LoadedProgram::run(const RunRequest& request, const Poll& poll) {
  check_scalars(request.scalars);
  const Kernels& kernels = find_kernels(request.level);
  std::int64_t verify_ns = 0;
  if (request.verify) verify_ns = verify(request.scalars, poll);
  const std::optional<Work> proof = proof_for(request.scalars);
  bool threaded = request.engine == EngineChoice::kThreaded;
  if (threaded && !proof) {
    throw Fault(FaultKind::kRun, "the threaded engine runs only programs that were verified", kNoPc,
                kNoPc, "take the sequential engine, or let it be verified");
  }
  if (request.engine == EngineChoice::kAuto) {
    // In program order, blocks that are not multiplied are read where they come from.
    const bool forwards = proof && proof->flops == proof->exec_elements && proof->execs <= 1;
    threaded = proof && !forwards && threads_pay(*proof) && usable_processors() > 1;
  }
  std::unique_ptr<Buffers> buffers = take_buffers();
  if (!proof) buffers->poison();
  const Launch launch{*program_,
                      request.scalars,
                      kernels,
                      {buffers->sram(), buffers->scratch(), request.args},
                      poll};
  const std::int64_t start = now_ns();
  Threading threading = with_environment(request.threading);
  // A short program is over before a thread is awake: calling one would only cost time.
  const bool for_speed = threading.hand_over < 0 && !threading.share_gemms;
  if (threaded && for_speed && !threads_pay(*proof)) threading.threads = 1;
  Outcome outcome =
      threaded ? run_threaded(launch, threading) : run_sequential(launch, proof.has_value());
  const std::int64_t wall_ns = now_ns() - start;
  give_back(std::move(buffers));
  return {threaded ? "threaded" : "sequential",
          kernels.level,
          std::move(outcome.counters),
          wall_ns,
          outcome.overlap_ns,
          verify_ns,
          outcome.helped_bands};
}

}  // namespace tileflow
