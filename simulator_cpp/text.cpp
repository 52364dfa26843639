// Decodes the text section and checks all that can be checked without executing it.
#include <algorithm>
#include <cstdlib>

#include "byte_reader.h"
#include "program.h"

namespace tileflow {
namespace {

using isa::Kind;
using isa::Opcode;

constexpr std::size_t kWordBytes = 16;
// A pc has 24 bits in the verifier's stamps.
constexpr std::size_t kMaxOps = std::size_t{1} << 24;

std::string name(const char* what, std::uint64_t number) {
  return std::string(what) + " " + std::to_string(number);
}

// Offsets |step_i| * index_i of these dimensions never meet: each step is larger than what all
// smaller ones reach together.
using Steps = std::vector<std::pair<std::int64_t, std::int64_t>>;  // step, extent
bool meets_itself(Steps steps) {
  if (std::ranges::any_of(steps, [](const auto& dim) { return dim.second == 0; })) return false;
  std::erase_if(steps, [](const auto& dim) { return dim.second == 1; });
  for (auto& [step, extent] : steps) step = std::abs(step);
  std::ranges::sort(steps);
  std::int64_t reach = 0;
  for (const auto& [step, extent] : steps) {
    if (step <= reach) return true;
    reach += step * (extent - 1);
  }
  return false;
}

class Decoder {
 public:
  explicit Decoder(Program& program) : program_(program) {}

  void run(std::span<const std::uint8_t> text) {
    if (text.empty() || text.size() % kWordBytes != 0) {
      throw Fault(FaultKind::kBinary, "the text is not a whole number of instructions");
    }
    if (text.size() / kWordBytes > kMaxOps) {
      throw Fault(FaultKind::kBinary, "more than " + std::to_string(kMaxOps) + " instructions");
    }
    ByteReader in(text, "text");
    for (pc_ = 0; pc_ * kWordBytes < text.size(); ++pc_) {
      const auto lo = in.number<std::uint64_t>();
      const auto hi = in.number<std::uint64_t>();
      check_word(lo, hi);
      add(lo, hi);
    }
    if (!open_.empty()) fault_at(open_.back(), "this loop has no end");
    if (!halted_) fault_at(pc_ - 1, "the text does not end in halt");
  }

 private:
  [[noreturn]] void fault_at(std::size_t pc, const std::string& what,
                             const std::string& hint = "") const {
    const std::string where = pc < program_.ops.size()
                                  ? " " + std::string(mnemonic_of(program_.ops[pc].opcode))
                                  : mnemonic_;
    throw Fault(FaultKind::kBinary, name("pc", pc) + where + ": " + what,
                static_cast<std::int64_t>(pc), kNoPc, hint);
  }
  [[noreturn]] void fault(const std::string& what, const std::string& hint = "") const {
    fault_at(pc_, what, hint);
  }

  void check_word(std::uint64_t lo, std::uint64_t hi) {
    const isa::RowInfo* row = isa::find_row(lo);
    mnemonic_.clear();
    if (row == nullptr) fault(name("no instruction has opcode", lo & 0xFFU));
    mnemonic_ = " " + std::string(row->mnemonic);
    const isa::WordFault wrong = isa::check(lo, hi);
    if (wrong.fault == isa::Fault::kStray) fault("bits that mean nothing are set");
    if (wrong.fault == isa::Fault::kChoice) {
      fault("no such " + std::string(wrong.field->name));
    }
    for (const isa::FieldInfo& field : row->fields) {
      check_field(field, isa::bits(lo, hi, field.lo, field.width));
    }
  }

  void check_field(const isa::FieldInfo& field, std::uint64_t value) const {
    if (field.may_be_none && value == kNone) return;
    const isa::Machine& m = program_.machine;
    const auto below = [&](std::uint64_t limit, const char* what) {
      if (value < limit) return;
      fault(std::string(field.name) + " names " + name(what, value) + ", but there are " +
            std::to_string(limit));
    };
    switch (field.kind) {
      case Kind::kAgen: return below(m.address_generators, "address generator");
      case Kind::kExtent: return below(m.extents, "extent register");
      case Kind::kScalar: return below(m.scalars, "scalar register");
      case Kind::kSem: return below(m.semaphores, "semaphore");
      case Kind::kLevel: return below(m.loop_levels, "loop level");
      case Kind::kTensor: return below(program_.tensors.size(), "tensor");
      case Kind::kAccess: return below(program_.accesses.size(), "access pattern");
      case Kind::kSource: {
        const bool scalar = value >= isa::kScalarSource;
        if (scalar && value - isa::kScalarSource >= m.scalars) {
          fault(name("source names scalar register", value - isa::kScalarSource) +
                ", but there are " + std::to_string(m.scalars));
        }
        return scalar ? void() : below(m.loop_levels, "loop level");
      }
      default: return;
    }
  }

  void add(std::uint64_t lo, std::uint64_t hi) {
    if (halted_) fault("an instruction after halt");
    Op op{.insn = isa::decode(lo, hi)};
    const isa::RowInfo* row = isa::find_row(lo);
    op.opcode = row->opcode;
    op.engine = row->engine;
    if (op.opcode == Opcode::kEnd) close(op);
    op.depth = static_cast<std::uint8_t>(open_.size());
    std::visit([&](const auto& insn) { check(insn, op); }, op.insn);
    if (op.engine != isa::Engine::kSequencer) note_engine(op);
    if (op.opcode == Opcode::kLoop) open_.push_back(pc_);
    started_ |= op.opcode == Opcode::kLoop || op.engine != isa::Engine::kSequencer;
    program_.ops.push_back(std::move(op));
  }

  void close(Op& op) {
    if (open_.empty()) fault("no loop is open");
    op.match = static_cast<std::uint32_t>(open_.back());
    program_.ops[open_.back()].match = static_cast<std::uint32_t>(pc_);
    open_.pop_back();
  }

  // Sequencer instructions.
  void check(const isa::Halt&, const Op&) {
    if (!open_.empty()) fault_at(open_.back(), "this loop has no end");
    halted_ = true;
  }
  void check(const isa::Loop& insn, const Op&) {
    if (insn.by != kNone && insn.count != 0) fault("both count and by are given");
    if (open_.size() >= program_.machine.loop_levels) {
      fault("loops nest deeper than the machine's " + std::to_string(program_.machine.loop_levels) +
            " levels");
    }
  }
  void check(const isa::Sem& insn, const Op&) {
    if (started_) fault("legal only before the first loop and the first engine instruction");
    if (sem_set_[insn.dst]) fault("sets sem" + std::to_string(insn.dst) + " a second time");
    sem_set_[insn.dst] = true;
    program_.sem_counts[insn.dst] = insn.count;
  }
  void check(const isa::Scalar& insn, const Op& op) {
    if (op.depth != 0) fault("legal only outside loops");
    if (insn.rhs != kNone && insn.imm != 0) fault("both rhs and imm are given");
  }
  void check(const isa::End&, const Op&) {}
  void check(const isa::Agen&, const Op&) {}
  void check(const isa::Stride&, const Op&) {}
  void check(const isa::Ext&, const Op&) {}

  // Engine instructions.
  void check(const isa::Load& insn, const Op&) { check_box(insn); }
  void check(const isa::Store& insn, const Op&) {
    check_box(insn);
    check_target(program_.tensors[insn.tensor]);
    const AccessPattern& access = program_.accesses[insn.access];
    for (int d = kBroadcast; d < kMaxRank; ++d) {
      Steps steps;
      for (const BoxDim& dim : access.dims) {
        const std::int64_t step = d == kBroadcast ? 0 : dim.step;
        if (dim.tensor_dim == d) steps.emplace_back(step, dim.extent);
      }
      if (!meets_itself(steps)) continue;
      fault("the access pattern writes an element more than once",
            "give each of its dimensions a step past what the smaller ones reach");
    }
  }
  void check(const isa::ExecGemm& insn, const Op& op) { check_clear(insn, op); }
  void check(const isa::ExecReduce& insn, const Op& op) { check_clear(insn, op); }
  void check(const isa::ExecBinary& insn, const Op&) {
    check_side(insn.lmode, insn.lhs, "lhs");
    check_side(insn.rmode, insn.rhs, "rhs");
  }
  void check(const isa::ExecSelect& insn, const Op&) {
    check_side(insn.cmode, insn.cond, "cond");
    check_side(insn.amode, insn.a, "a");
    check_side(insn.bmode, insn.b, "b");
  }
  void check(const isa::ExecUnary&, const Op&) {}
  void check(const isa::ExecFill&, const Op&) {}
  void check(const isa::ExecTranspose&, const Op&) {}
  void check(const isa::ExecCast&, const Op&) {}
  void check(const isa::ExecAffineSelect&, const Op&) {}
  void check(const isa::ExecIota&, const Op&) {}
  void check(const isa::LoadNop&, const Op&) {}
  void check(const isa::ExecNop&, const Op&) {}
  void check(const isa::StoreNop&, const Op&) {}

  void check_side(isa::OperandMode mode, std::uint8_t agen, const char* which) const {
    const bool imm = mode == isa::OperandMode::kImm;
    if (imm == (agen == kNone)) return;
    fault(std::string(which) + (imm ? " is the immediate and names a generator"
                                    : " names no generator and is not the immediate"));
  }

  template <class T>
  void check_clear(const T& insn, const Op& op) const {
    if (insn.clear == isa::ClearMode::kAt0 && insn.level >= op.depth) {
      fault(name("clears at iteration 0 of loop level", insn.level) + ", but only " +
            std::to_string(op.depth) + " loops are open");
    }
  }

  template <class T>
  void check_box(const T& insn) const {
    const Tensor& tensor = program_.tensors[insn.tensor];
    const std::array<std::uint8_t, kMaxRank> coords = {insn.c0, insn.c1, insn.c2, insn.c3, insn.c4};
    for (int d = tensor.rank; d < kMaxRank; ++d) {
      if (coords[d] == kNone) continue;
      fault(name("gives a coordinate of dimension", d) + ", but tensor '" + tensor.name +
            "' has rank " + std::to_string(tensor.rank));
    }
    for (const BoxDim& dim : program_.accesses[insn.access].dims) {
      if (dim.tensor_dim < tensor.rank) continue;
      fault(name("the access pattern moves along dimension", dim.tensor_dim) + ", but tensor '" +
            tensor.name + "' has rank " + std::to_string(tensor.rank));
    }
  }

  void check_target(const Tensor& tensor) const {
    if (tensor.storage == isa::StorageKind::kConst) {
      fault("stores into the constant of tensor '" + tensor.name + "'",
            "store into an argument that is out or inout, or into scratch");
    }
    if (tensor.storage == isa::StorageKind::kArg &&
        program_.args[tensor.index].role == isa::Role::kIn) {
      fault("stores into the input argument '" + program_.args[tensor.index].name + "'",
            "declare the argument out, or inout where it is read as well");
    }
    Steps strides;
    for (int d = 0; d < tensor.rank; ++d) strides.emplace_back(tensor.strides[d], tensor.shape[d]);
    if (meets_itself(strides)) {
      fault("elements of tensor '" + tensor.name + "' share memory: it cannot be stored to",
            "give it strides that keep its elements apart");
    }
  }

  void note_engine(Op& op) {
    std::visit(
        [&](const auto& insn) {
          if constexpr (requires { insn.unit; }) {
            op.engine_index = engine_index(op.engine, insn.unit);
            op.waits = {insn.wait0, insn.wait1};
            op.posts = {insn.post0, insn.post1};
          }
        },
        op.insn);
    for (const std::uint8_t sem : op.waits) claim(waiter_, sem, op.engine_index, "waits on");
    for (const std::uint8_t sem : op.posts) claim(poster_, sem, op.engine_index, "posts");
  }

  std::uint8_t engine_index(isa::Engine engine, std::uint8_t unit) const {
    const bool exec = engine == isa::Engine::kExec;
    const int count = exec ? program_.execs() : 1;
    if (unit >= count) {
      fault(name("runs on unit", unit) + ", but the machine has " + std::to_string(count) +
                " engine" + (count == 1 ? "" : "s") + " of this kind",
            exec ? "the machine's exec_engines is how many EXECs there are"
                 : "there is one engine that loads and one that stores: unit 0");
    }
    const int index = exec                           ? kFirstExec + unit
                      : engine == isa::Engine::kLoad ? kLoad
                                                     : program_.store_engine();
    return static_cast<std::uint8_t>(index);
  }

  struct Claim {
    int engine = -1;
    std::size_t pc = 0;
  };

  void claim(std::array<Claim, 64>& claims, std::uint8_t sem, int engine, const char* does) const {
    if (sem == kNone) return;
    Claim& claim = claims[sem];
    if (claim.engine < 0) claim = {engine, pc_};
    if (claim.engine == engine) return;
    throw Fault(FaultKind::kBinary,
                name("pc", pc_) + mnemonic_ + ": " + does + " sem" + std::to_string(sem) +
                    ", but so does " + name("pc", claim.pc) + " " +
                    std::string(mnemonic_of(program_.ops[claim.pc].opcode)) +
                    " of another engine; a semaphore has one engine on each side",
                static_cast<std::int64_t>(pc_), static_cast<std::int64_t>(claim.pc),
                "use a semaphore of its own for each pair of engines");
  }

  Program& program_;
  std::size_t pc_ = 0;
  std::string mnemonic_;
  std::vector<std::size_t> open_;
  bool started_ = false, halted_ = false;
  std::array<bool, 64> sem_set_{};
  std::array<Claim, 64> waiter_{}, poster_{};
};

bool sets_register(Opcode opcode) {
  return opcode == Opcode::kAgen || opcode == Opcode::kStride || opcode == Opcode::kExt ||
         opcode == Opcode::kScalar;
}

constexpr int kAllEngines = -1;

// Program::next of one engine, or of all.
std::vector<std::uint32_t> link(const std::vector<Op>& ops, int engine) {
  const auto works = [&](const Op& op) {
    if (op.engine == isa::Engine::kSequencer) return sets_register(op.opcode);
    return engine == kAllEngines || op.engine_index == engine;
  };
  std::vector<std::uint32_t> work_before(ops.size() + 1, 0);
  for (std::size_t pc = 0; pc < ops.size(); ++pc) {
    work_before[pc + 1] = work_before[pc] + (works(ops[pc]) ? 1 : 0);
  }
  std::vector<std::uint32_t> next(ops.size() + 1, static_cast<std::uint32_t>(ops.size()) - 1);
  for (std::size_t pc = ops.size(); pc-- > 0;) {
    const Op& op = ops[pc];
    bool needed = works(op) || op.opcode == Opcode::kHalt;
    if (op.opcode == Opcode::kLoop || op.opcode == Opcode::kEnd) {
      needed = work_before[pc] != work_before[op.match];
    }
    next[pc] = needed ? static_cast<std::uint32_t>(pc) : next[pc + 1];
  }
  return next;
}

}  // namespace

std::string_view mnemonic_of(Opcode opcode) {
  const isa::RowInfo* row = isa::find_row(static_cast<std::uint64_t>(opcode));
  return row == nullptr ? "?" : row->mnemonic;
}

void decode_text(std::span<const std::uint8_t> text, Program& program) {
  Decoder(program).run(text);
  program.next = link(program.ops, kAllEngines);
  for (int engine = 0; engine < program.engines(); ++engine) {
    program.next_of[static_cast<std::size_t>(engine)] = link(program.ops, engine);
  }
}

}  // namespace tileflow
