// The sequencer: executes control flow and keeps loops, generators, extents and scalars.
//
// A walk covers all engines or one. Every engine may walk the program on its own, because no
// control flow depends on data; a walk of all can be copied, and continued for one of them.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "fault.h"
#include "program.h"

namespace tileflow {

class Walker {
 public:
  Walker(const Program& program, std::span<const std::int64_t> scalars);

  // The next instruction of these engines. Null at the end, and (done() is false) after many
  // steps of control flow without one, so that a caller can look at the clock.
  const Op* next();
  bool done() const { return done_; }
  // Sequencer instructions that the last next() executed.
  int steps() const { return steps_; }
  void restrict_to(int engine) {
    next_ = program_->next_of[static_cast<std::size_t>(engine)].data();
  }

  // The pc of the instruction that next() returned.
  std::int64_t pc() const { return pc_; }
  const Program& program() const { return *program_; }

  // Evaluation at the current instruction. Throw Fault (kRun) where a register was never set, a
  // generator walks a loop that is not open, or a value leaves 64 bits.
  std::int64_t address(std::uint8_t agen) const;
  std::int64_t coordinate(std::uint8_t agen) const { return agen == kNone ? 0 : address(agen); }
  std::int64_t extent(std::uint8_t ext) const;
  int pitch(std::uint8_t agen) const { return agens_[agen].pitch; }
  isa::DType dtype(std::uint8_t agen) const { return agens_[agen].dtype; }
  bool at_first_iteration(std::uint8_t level) const { return sources_[level] == 0; }

  [[noreturn]] void fault(const std::string& what, const std::string& hint = "") const;

 private:
  static constexpr int kLevels = isa::kScalarSource;
  static constexpr int kSources = 2 * kLevels;

  struct Term {
    std::int64_t step;
    std::uint8_t source;
  };
  struct Generator {
    std::int64_t base = 0;
    std::int64_t wrap = 0;
    std::uint16_t pitch = 0;
    isa::DType dtype{};
    std::uint8_t levels = 0;  // loops that must be open
    std::uint8_t terms = 0;
    bool set = false;
    std::array<Term, kSources> term;  // the first `terms` of them
  };
  struct Extent {
    std::int64_t limit = 0;
    std::int64_t max = 0;
    std::uint8_t coord = kNone;
    bool set = false;
  };
  struct Frame {
    std::uint64_t trips;
    std::uint32_t body;
  };

  void enter(const Op& op);
  void leave(const Op& op);
  void set(const isa::Stride& insn);
  void set(const isa::Scalar& insn);
  void set_register(const Op& op);
  [[noreturn]] void fault_at(const Generator& agen, std::uint8_t number) const;
  [[noreturn]] void fault_unset(char kind, int number) const;
  [[noreturn]] void fault_overflow(char kind, int number) const;

  const Program* program_;
  const std::uint32_t* next_;
  std::uint32_t at_ = 0;  // where the walk goes on
  std::uint32_t pc_ = 0;  // what is being executed
  int depth_ = 0;
  int steps_ = 0;
  bool done_ = false;
  std::array<std::int64_t, kSources> sources_{};  // loop iterations, then scalars
  std::array<bool, kLevels> scalar_set_{};
  std::array<Frame, kLevels> frames_{};
  std::array<Generator, 64> agens_;  // 34 KB: their terms are not cleared
  std::array<Extent, 64> extents_{};
};

inline std::int64_t Walker::address(std::uint8_t number) const {
  const Generator& agen = agens_[number];
  if (!agen.set || agen.levels > depth_) [[unlikely]]
    fault_at(agen, number);
  std::int64_t walk = 0;
  bool overflow = false;
  for (int i = 0; i < agen.terms; ++i) {
    std::int64_t term = 0;
    overflow |= __builtin_mul_overflow(agen.term[i].step, sources_[agen.term[i].source], &term);
    overflow |= __builtin_add_overflow(walk, term, &walk);
  }
  if (agen.wrap != 0 && (walk < 0 || walk >= agen.wrap)) {
    walk %= agen.wrap;
    if (walk < 0) walk += agen.wrap;
  }
  overflow |= __builtin_add_overflow(walk, agen.base, &walk);
  if (overflow) [[unlikely]]
    fault_overflow('a', number);
  return walk;
}

inline std::int64_t Walker::extent(std::uint8_t number) const {
  const Extent& ext = extents_[number];
  if (!ext.set) [[unlikely]]
    fault_unset('e', number);
  std::int64_t size = 0;
  if (__builtin_sub_overflow(ext.limit, coordinate(ext.coord), &size)) [[unlikely]] {
    fault_overflow('e', number);
  }
  return size < 0 ? 0 : size > ext.max ? ext.max : size;
}

}  // namespace tileflow
