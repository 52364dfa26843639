// Executes instructions on the host: resolves operands and calls the kernels.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

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
  // `share` is null where no other thread helps.
  Core(const Program& program, const Kernels& kernels, const Memory& memory, const Poll* poll,
       GemmShare* share = nullptr);

  // kChecked is for programs that were not verified: it keeps them inside their memory.
  template <bool kChecked>
  void execute(const Op& op, const Walker& walker) {
    ++counters_.instructions[static_cast<std::size_t>(op.opcode)];
    effort_ += kEffortOfOne;
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

  Operand operand(const Block& block) const { return {sram_ + block.address, block.pitch}; }
  std::int64_t move(const DmaUse& use, DmaFn kernel);
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
  int tile_;
  std::int64_t effort_ = 0;
  Counters counters_;
};

}  // namespace tileflow
