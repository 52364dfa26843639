#include "verify.h"

#include <algorithm>
#include <string>
#include <vector>

#include "box.h"
#include "dram.h"
#include "ordering.h"
#include "resolve.h"
#include "shadow.h"
#include "walker.h"

namespace tileflow {
namespace {

constexpr std::int64_t kOpsBetweenPolls = 1 << 10;

constexpr const char* kTokens =
    "each wait=semN takes what one earlier post=semN gave, or one of the tokens that "
    "'sem semN, COUNT' puts there at the start";

std::string bytes(std::int64_t lo, std::int64_t hi) {
  return "bytes " + std::to_string(lo) + ".." + std::to_string(hi - 1);
}

class Verifier {
 public:
  Verifier(const Program& program, std::span<const std::int64_t> scalars)
      : program_(program),
        walker_(program, scalars),
        ordering_(program),
        sram_(program.engines(), program.sram_bytes(), false),
        dram_(program) {}

  Work run(const Poll& poll) {
    while (true) {
      const Op* op = walker_.next();
      if (op == nullptr) {
        if (walker_.done()) break;
        poll();
        continue;
      }
      step(*op);
      if (++work_.instructions % kOpsBetweenPolls == 0) poll();
    }
    dram_.check_outputs();
    for (int exec = 0; exec < program_.execs(); ++exec) {
      work_.execs += ordering_.number(kFirstExec + exec) > 0 ? 1 : 0;
    }
    return work_;
  }

  // What an instruction touches; called by the resolver.
  void operator()(const GemmUse& use) {
    check_apart(use.dst, "dst", use.lhs, "lhs");
    check_apart(use.dst, "dst", use.rhs, "rhs");
    read(use.lhs, "lhs");
    read(use.rhs, "rhs");
    use.clear ? write(use.dst, "dst") : update(use.dst, "dst");
    work_.flops += 2 * use.m * use.n * use.k;
  }
  void operator()(const UnaryUse& use) {
    check_same_or_apart(use.dst, use.src, "src");
    read(use.src, "src");
    write_elements(use.dst);
  }
  void operator()(const BinaryUse& use) {
    check_operand(use.insn.lmode, use.dst, use.lhs, "lhs");
    check_operand(use.insn.rmode, use.dst, use.rhs, "rhs");
    read(use.lhs, "lhs");
    read(use.rhs, "rhs");
    write_elements(use.dst);
  }
  void operator()(const SelectUse& use) {
    check_operand(use.insn.cmode, use.dst, use.cond, "cond");
    check_operand(use.insn.amode, use.dst, use.a, "a");
    check_operand(use.insn.bmode, use.dst, use.b, "b");
    read(use.cond, "cond");
    read(use.a, "a");
    read(use.b, "b");
    write_elements(use.dst);
  }
  void operator()(const ReduceUse& use) {
    check_apart(use.dst, "dst", use.src, "src");
    read(use.src, "src");
    use.clear ? write(use.dst, "dst") : update(use.dst, "dst");
    work_.exec_elements += use.src.rows * use.src.cols;
    work_.flops += use.src.rows * use.src.cols;
  }
  void operator()(const FillUse& use) {
    write(use.dst, "dst");
    work_.exec_elements += use.dst.rows * use.dst.cols;
  }
  void operator()(const TransposeUse& use) {
    check_apart(use.dst, "dst", use.src, "src");
    read(use.src, "src");
    write(use.dst, "dst");
    work_.exec_elements += use.dst.rows * use.dst.cols;
  }
  void operator()(const CastUse& use) {
    check_apart(use.dst, "dst", use.src, "src");
    read(use.src, "src");
    write_elements(use.dst);
  }
  void operator()(const AffineSelectUse& use) {
    check_same_or_apart(use.dst, use.src, "src");
    read(use.src, "src");
    write_elements(use.dst);
  }
  void operator()(const IotaUse& use) { write_elements(use.dst); }
  void operator()(const LoadUse& use) {
    const Tensor& tensor = program_.tensors[use.tensor];
    work_.dma_bytes += use.sram.rows * use.sram.cols * use.sram.item();
    if (dram_.follows(tensor)) visit_dram(use, tensor, &DramMap::load, "reads");
    write(use.sram, "dst");
  }
  void operator()(const StoreUse& use) {
    const Tensor& tensor = program_.tensors[use.tensor];
    work_.dma_bytes += use.sram.rows * use.sram.cols * use.sram.item();
    rects_.clear();
    runs_.clear();
    Box(use, tensor).append_sram_rects(rects_);
    for (const Rect& rect : rects_) append_runs(use.sram, program_.tile_shift(), rect, runs_);
    read_runs("src");
    if (dram_.follows(tensor)) visit_dram(use, tensor, &DramMap::store, "writes");
  }

 private:
  void step(const Op& op) {
    engine_ = op.engine_index;
    const std::uint64_t number = ordering_.begin(engine_);
    if (number >= Stamp::kMaxNumber) walker_.fault("the program is too long to verify", kUnproven);
    stamp_ = Stamp(number, walker_.pc());
    for (const std::uint8_t sem : op.waits) {
      if (sem != kNone && !ordering_.wait(engine_, sem)) fault_zero(sem);
    }
    Resolver<true>{walker_}(op, *this);
    for (const std::uint8_t sem : op.posts) {
      if (sem != kNone && !ordering_.post(engine_, sem)) {
        walker_.fault("sem" + std::to_string(sem) + " is more than " +
                          std::to_string(Ordering::kMostPosts) + " posts ahead of its waits",
                      "post it once for each wait");
      }
    }
  }

  Access access() const { return {engine_, stamp_, ordering_.clock(engine_)}; }

  std::span<const Run> runs_of(const Block& block, std::vector<Run>& runs) const {
    runs.clear();
    append_runs(block, program_.tile_shift(), runs);
    return runs;
  }

  void read(const Block& block, const char* role) {
    runs_of(block, runs_);
    read_runs(role);
  }
  void read_runs(const char* role) {
    for (const Run& run : runs_) {
      if (const auto conflict = sram_.read(run.lo, run.hi, access())) {
        fault_sram(*conflict, "reads", role);
      }
    }
  }
  void write(const Block& block, const char* role) {
    for (const Run& run : runs_of(block, runs_)) {
      if (const auto conflict = sram_.write(run.lo, run.hi, access())) {
        fault_sram(*conflict, "writes", role);
      }
    }
  }
  // Read and written.
  void update(const Block& block, const char* role) {
    for (const Run& run : runs_of(block, runs_)) {
      if (const auto conflict = sram_.update(run.lo, run.hi, access())) {
        const bool unwritten = conflict->kind == Conflict::Kind::kUnwritten;
        fault_sram(*conflict, unwritten || conflict->other_writes ? "reads" : "writes", role);
      }
    }
  }
  void write_elements(const Block& dst) {
    write(dst, "dst");
    work_.exec_elements += dst.rows * dst.cols;
    work_.flops += dst.rows * dst.cols;
  }

  template <class Visit>
  void visit_dram(const DmaUse& use, const Tensor& tensor, Visit visit, const char* does) {
    runs_.clear();
    Box(use, tensor).append_dram_runs(runs_);
    for (const Run& run : runs_) {
      if (const auto conflict = (dram_.*visit)(tensor, run.lo, run.hi, access())) {
        fault_dram(*conflict, tensor, does);
      }
    }
  }

  // Aliasing within one instruction.
  void check_operand(isa::OperandMode mode, const Block& dst, const Block& src, const char* role) {
    if (mode == isa::OperandMode::kFull) return check_same_or_apart(dst, src, role);
    check_apart(dst, "dst", src, role);
  }
  void check_same_or_apart(const Block& dst, const Block& src, const char* role) {
    if (dst.address == src.address && dst.pitch == src.pitch) return;
    check_apart(dst, "dst", src, role);
  }
  void check_apart(const Block& a, const char* a_role, const Block& b, const char* b_role) {
    if (a.empty() || b.empty()) return;
    const int shift = program_.tile_shift();
    if (end_of(a, shift) <= b.address || end_of(b, shift) <= a.address) return;
    const auto left = runs_of(a, runs_);
    const auto right = runs_of(b, other_runs_);
    for (std::size_t i = 0, j = 0; i < left.size() && j < right.size();) {
      const std::int64_t lo = std::max(left[i].lo, right[j].lo);
      const std::int64_t hi = std::min(left[i].hi, right[j].hi);
      if (lo < hi) {
        walker_.fault(std::string(a_role) + " and " + b_role + " overlap in SRAM " + bytes(lo, hi),
                      std::string("give dst bytes of its own") + kDefect);
      }
      left[i].hi < right[j].hi ? ++i : ++j;
    }
  }

  std::string at(std::int64_t pc) const {
    return "pc " + std::to_string(pc) + " " +
           std::string(mnemonic_of(program_.ops[static_cast<std::size_t>(pc)].opcode));
  }

  // "pc 7 exec.gemm reads SRAM bytes 0..4095 (lhs), which ...".
  [[noreturn]] void fault(const Conflict& conflict, const std::string& does,
                          const std::string& other_tensor) const {
    if (conflict.kind == Conflict::Kind::kUnwritten) {
      throw Fault(FaultKind::kVerify,
                  at(walker_.pc()) + " " + does + ", which nothing has written before",
                  walker_.pc(), kNoPc,
                  "load, fill or store it first, or begin the sum with clear; a loop without "
                  "iterations writes nothing");
    }
    throw Fault(FaultKind::kVerify,
                at(walker_.pc()) + " " + does + ", which " + at(conflict.other_pc) +
                    (conflict.other_writes ? " writes" : " reads") + other_tensor +
                    "; no semaphore orders the two",
                walker_.pc(), conflict.other_pc,
                "engines are ordered by a semaphore: the earlier instruction says post=semN, the "
                "later one wait=semN" +
                    std::string(kDefect));
  }
  [[noreturn]] void fault_sram(const Conflict& conflict, const std::string& does,
                               const char* role) const {
    fault(conflict, does + " SRAM " + bytes(conflict.lo, conflict.hi) + " (" + role + ")", "");
  }
  [[noreturn]] void fault_dram(const Conflict& conflict, const Tensor& tensor,
                               const std::string& does) const {
    const std::string memory = tensor.storage == isa::StorageKind::kScratch
                                   ? "scratch"
                                   : "'" + program_.args[tensor.index].name + "'";
    std::string other;
    if (conflict.kind == Conflict::Kind::kRace) {
      const Op& op = program_.ops[static_cast<std::size_t>(conflict.other_pc)];
      const int index =
          op.opcode == isa::Opcode::kLoad ? op.as<isa::Load>().tensor : op.as<isa::Store>().tensor;
      other = " (tensor '" + program_.tensors[static_cast<std::size_t>(index)].name + "')";
    }
    fault(conflict,
          does + " " + memory + " " + bytes(conflict.lo, conflict.hi) + " (tensor '" + tensor.name +
              "')",
          other);
  }

  [[noreturn]] void fault_zero(std::uint8_t sem) const {
    const std::string head = at(walker_.pc()) + " waits on sem" + std::to_string(sem) +
                             ", which is 0 at that point of program order: the program would stop";
    for (std::size_t pc = 0; pc < program_.ops.size(); ++pc) {
      if (std::ranges::find(program_.ops[pc].posts, sem) == program_.ops[pc].posts.end()) continue;
      const auto poster = static_cast<std::int64_t>(pc);
      throw Fault(FaultKind::kVerify, head + "; " + at(poster) + " posts it too late or too rarely",
                  walker_.pc(), poster, kTokens + std::string(kDefect));
    }
    throw Fault(FaultKind::kVerify, head + "; no instruction posts it", walker_.pc(), kNoPc,
                kTokens + std::string(kDefect));
  }

  const Program& program_;
  Walker walker_;
  Ordering ordering_;
  Shadow sram_;
  DramMap dram_;
  Work work_;
  int engine_ = 0;
  Stamp stamp_;
  std::vector<Run> runs_, other_runs_;
  std::vector<Rect> rects_;
};

}  // namespace

Work verify(const Program& program, std::span<const std::int64_t> scalars, const Poll& poll) {
  try {
    return Verifier(program, scalars).run(poll);
  } catch (const Fault& fault) {
    throw Fault(FaultKind::kVerify, fault.message(), fault.pc(), fault.other_pc(), fault.hint());
  }
}

}  // namespace tileflow
