// Executes instructions on the host: resolves operands and calls the kernels.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "forward.h"
#include "gemm_share.h"
#include "kernels/kernels.h"
#include "program.h"
#include "resolve.h"
#include "verify.h"
#include "walker.h"

namespace tileflow {

// Where a run's memories are. Arguments are in the program's order.
struct Memory {
  std::byte* sram = nullptr;
  std::byte* scratch = nullptr;
  std::vector<std::byte*> args;
};

struct Counters {
  std::array<std::int64_t, 256> instructions{};                // by opcode
  std::vector<std::int64_t> loaded_elements, stored_elements;  // by tensor
  std::int64_t flops = 0;

  explicit Counters(const Program& program)
      : loaded_elements(program.tensors.size()), stored_elements(program.tensors.size()) {}
  void add(const Counters& other);
};

// What one engine, or all of them one after another, execute with.
class Core {
 public:
  // `poll` is called between the pieces of a long instruction; null where another thread polls.
  // `share` is null where no other thread helps. `forwards`: this is a verified program in program
  // order, whose blocks may be read and written where they come from and go to.
  Core(const Program& program, const Kernels& kernels, const Memory& memory, const Poll* poll,
       GemmShare* share = nullptr, bool forwards = false);

  // kChecked is for programs that were not verified: it keeps them inside their memory.
  template <bool kChecked>
  void execute(const Op& op, const Walker& walker) {
    ++counters_.instructions[static_cast<std::size_t>(op.opcode)];
    effort_ += kEffortOfOne;
    if (held_ && op.opcode != isa::Opcode::kStore) run_held();
    Resolver<kChecked>{walker}(op, *this);
  }

  const Counters& counters() const { return counters_; }
  // What instructions took since the last call: about one a nanosecond.
  std::int64_t take_effort() { return std::exchange(effort_, 0); }

  // Called by the resolver.
  void operator()(const GemmUse& use);
  void operator()(const UnaryUse& use);
  void operator()(const BinaryUse& use);
  void operator()(const SelectUse& use);
  void operator()(const ReduceUse& use);
  void operator()(const FillUse& use);
  void operator()(const TransposeUse& use);
  void operator()(const CastUse& use);
  void operator()(const AffineSelectUse& use);
  void operator()(const IotaUse& use);
  void operator()(const LoadUse& use);
  void operator()(const StoreUse& use);

 private:
  static constexpr std::int64_t kEffortOfOne = 64;

  // An operation on elements whose result may be on its way to DRAM.
  struct Held {
    std::variant<UnaryArgs, BinaryArgs> args;
    std::variant<void (*)(const UnaryArgs&), void (*)(const BinaryArgs&)> kernel;
    Block dst;
    std::array<std::optional<Window>, 2> reads;  // of DRAM
  };

  // In SRAM, whatever is done with it.
  Operand operand(const Block& block) {
    if (forwarding_) forwarding_->settle(block);
    return in_sram(block);
  }
  Operand in_sram(const Block& block) const { return {sram_ + block.address, block.pitch}; }
  // A block that is only read, and one of which every element is written.
  Operand source(const Block& block, std::optional<Window>* from = nullptr) {
    return forwarding_ ? forwarding_->source(block, from) : in_sram(block);
  }
  Operand target(const Block& block) {
    if (forwarding_) forwarding_->replace(block);
    return in_sram(block);
  }
  template <class Args>
  void compute(void (*kernel)(const Args&), const Args& args, const Block& dst,
               const std::array<std::optional<Window>, 2>& reads);
  void run_held();
  bool store_held(const StoreUse& use, const std::optional<Window>& window);
  std::int64_t move(const DmaUse& use, const Operand& sram, DmaFn kernel);
  void count_elements(std::int64_t elements) {
    counters_.flops += elements;
    effort_ += elements;
  }

  const Kernels& kernels_;
  const Program& program_;
  std::byte* sram_;
  std::vector<std::byte*> tensors_;  // element (0, ..., 0) of each
  const Poll* poll_;
  GemmShare* share_;
  std::optional<Forwarding> forwarding_;
  std::optional<Held> held_;
  int tile_;
  std::int64_t effort_ = 0;
  Counters counters_;
};

}  // namespace tileflow
