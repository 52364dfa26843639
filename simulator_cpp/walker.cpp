#include "walker.h"

#include <algorithm>
#include <limits>
#include <string>

namespace tileflow {
namespace {

using isa::Opcode;

// Steps of control flow after which next() comes up for air; some 100 us.
constexpr int kStepsAtOnce = 1 << 15;

constexpr const char* kSmaller = "use smaller bases, steps and launch scalars";

std::int64_t floor_div(std::int64_t a, std::int64_t b) {
  const std::int64_t quotient = a / b;
  return quotient - ((a % b != 0 && (a < 0) != (b < 0)) ? 1 : 0);
}

}  // namespace

Walker::Walker(const Program& program, std::span<const std::int64_t> scalars)
    : program_(&program), next_(program.next.data()) {
  std::ranges::copy(scalars, sources_.begin() + kLevels);
  std::fill_n(scalar_set_.begin(), scalars.size(), true);
}

const Op* Walker::next() {
  const Op* ops = program_->ops.data();
  for (steps_ = 0; steps_ < kStepsAtOnce; ++steps_) {
    pc_ = next_[at_];
    const Op& op = ops[pc_];
    if (op.engine != isa::Engine::kSequencer) {
      at_ = pc_ + 1;
      return &op;
    }
    switch (op.opcode) {
      case Opcode::kLoop: enter(op); break;
      case Opcode::kEnd: leave(op); break;
      case Opcode::kHalt: done_ = true; return nullptr;
      default: set_register(op); at_ = pc_ + 1;
    }
  }
  return nullptr;
}

void Walker::enter(const Op& op) {
  const auto& loop = op.as<isa::Loop>();
  std::uint64_t trips = loop.count;
  if (loop.by != kNone) {
    trips = static_cast<std::uint64_t>(std::max<std::int64_t>(0, address(loop.by)));
  }
  if (trips == 0) {
    at_ = op.match + 1;
    return;
  }
  at_ = pc_ + 1;
  // Loops that are left out keep their level: op.depth counts them too.
  depth_ = op.depth + 1;
  sources_[op.depth] = 0;
  frames_[op.depth] = {trips, at_};
}

void Walker::leave(const Op& op) {
  const Frame& frame = frames_[op.depth];
  const auto iteration = static_cast<std::uint64_t>(++sources_[op.depth]);
  if (iteration < frame.trips) {
    at_ = frame.body;
    return;
  }
  depth_ = op.depth;
  at_ = pc_ + 1;
}

void Walker::set_register(const Op& op) {
  if (op.opcode == Opcode::kAgen) {
    const auto& insn = op.as<isa::Agen>();
    Generator& agen = agens_[insn.dst];
    agen.base = insn.base;
    agen.wrap = static_cast<std::int64_t>(insn.wrap);
    agen.pitch = insn.pitch;
    agen.dtype = insn.dtype;
    agen.terms = 0;
    agen.levels = 0;
    agen.set = true;
  } else if (op.opcode == Opcode::kStride) {
    set(op.as<isa::Stride>());
  } else if (op.opcode == Opcode::kExt) {
    const auto& insn = op.as<isa::Ext>();
    extents_[insn.dst] = {insn.limit, insn.max, insn.coord, true};
  } else if (op.opcode == Opcode::kScalar) {
    set(op.as<isa::Scalar>());
  }
}

void Walker::set(const isa::Stride& insn) {
  Generator& agen = agens_[insn.dst];
  if (!agen.set) fault_unset('a', insn.dst);
  const bool scalar = insn.source >= isa::kScalarSource;
  if (scalar && !scalar_set_[insn.source - isa::kScalarSource]) {
    fault_unset('s', insn.source - isa::kScalarSource);
  }
  if (!scalar) agen.levels = std::max<std::uint8_t>(agen.levels, insn.source + 1);
  for (int i = 0; i < agen.terms; ++i) {
    if (agen.term[i].source != insn.source) continue;
    if (__builtin_add_overflow(agen.term[i].step, insn.step, &agen.term[i].step)) {
      fault("the step of a" + std::to_string(insn.dst) + " leaves 64 bits", kSmaller);
    }
    return;
  }
  agen.term[agen.terms++] = {insn.step, insn.source};
}

void Walker::set(const isa::Scalar& insn) {
  const auto read = [&](std::uint8_t number) {
    if (!scalar_set_[number]) fault_unset('s', number);
    return sources_[kLevels + number];
  };
  const std::int64_t lhs = read(insn.lhs);
  const std::int64_t rhs = insn.rhs == kNone ? insn.imm : read(insn.rhs);
  std::int64_t value = 0;
  bool overflow = false;
  switch (insn.func) {
    case isa::ScalarFunc::kAdd: overflow = __builtin_add_overflow(lhs, rhs, &value); break;
    case isa::ScalarFunc::kSub: overflow = __builtin_sub_overflow(lhs, rhs, &value); break;
    case isa::ScalarFunc::kMul: overflow = __builtin_mul_overflow(lhs, rhs, &value); break;
    case isa::ScalarFunc::kDiv:
    case isa::ScalarFunc::kMod:
      if (rhs == 0) fault("divides by zero", "launch with a divisor that is not 0, or take max 1");
      if (lhs == std::numeric_limits<std::int64_t>::min() && rhs == -1) {
        overflow = insn.func == isa::ScalarFunc::kDiv;
      } else {
        const std::int64_t quotient = floor_div(lhs, rhs);
        value = insn.func == isa::ScalarFunc::kDiv ? quotient : lhs - quotient * rhs;
      }
      break;
    case isa::ScalarFunc::kMin: value = std::min(lhs, rhs); break;
    case isa::ScalarFunc::kMax: value = std::max(lhs, rhs); break;
  }
  if (overflow) fault("the result leaves 64 bits", kSmaller);
  sources_[kLevels + insn.dst] = value;
  scalar_set_[insn.dst] = true;
}

void Walker::fault(const std::string& what, const std::string& hint) const {
  throw Fault(FaultKind::kRun,
              "pc " + std::to_string(pc_) + " " +
                  std::string(mnemonic_of(program_->ops[pc_].opcode)) + ": " + what,
              pc_, kNoPc, hint);
}

void Walker::fault_unset(char kind, int number) const {
  const char* setter = kind == 'a' ? "agen" : kind == 'e' ? "ext" : "scalar";
  const std::string name = kind + std::to_string(number);
  fault(name + " is used but was never set",
        "set it before with '" + std::string(setter) + " " + name + ", ...'");
}

void Walker::fault_overflow(char kind, int number) const {
  fault(kind + std::to_string(number) + " leaves 64 bits", kSmaller);
}

void Walker::fault_at(const Generator& agen, std::uint8_t number) const {
  if (!agen.set) fault_unset('a', number);
  fault("a" + std::to_string(number) + " walks loop level " + std::to_string(agen.levels - 1) +
            ", but only " + std::to_string(depth_) + " loops are open",
        "use it inside the loops that it walks over, or set it anew with agen");
}

}  // namespace tileflow
