#include "dram.h"

#include <bit>

#include "fault.h"

namespace tileflow {
namespace {

constexpr int kBits = 64;

void set_bits(std::vector<std::uint64_t>& bits, std::int64_t lo, std::int64_t hi) {
  for (std::int64_t word = lo / kBits; word * kBits < hi; ++word) {
    std::uint64_t mask = ~std::uint64_t{0};
    if (lo > word * kBits) mask &= ~std::uint64_t{0} << (lo - word * kBits);
    if (hi < (word + 1) * kBits) mask &= ~(~std::uint64_t{0} << (hi - word * kBits));
    bits[static_cast<std::size_t>(word)] |= mask;
  }
}

}  // namespace

DramMap::DramMap(const Program& program) : program_(program), memories_(program.args.size() + 2) {
  note_uses();
  for (std::size_t i = 0; i <= program.args.size(); ++i) {
    Memory& memory = memories_[i];
    const bool scratch = i == program.args.size();
    const std::int64_t bytes = scratch ? program.scratch_bytes : program.args[i].bytes;
    const isa::Role role = scratch ? isa::Role::kOut : program.args[i].role;
    const bool has_history =
        role == isa::Role::kOut ? memory.loaded : memory.loaded && memory.stored;
    if ((has_history || role == isa::Role::kOut) && bytes > Shadow::kMostBytes) {
      throw Fault(FaultKind::kVerify,
                  (scratch ? std::string("the scratch memory")
                           : "argument '" + program.args[i].name + "'") +
                      " is too large to verify",
                  kNoPc, kNoPc, kUnproven);
    }
    if (has_history) {
      memory.shadow = std::make_unique<Shadow>(program.engines(), bytes, role == isa::Role::kInout);
    } else if (role == isa::Role::kOut && !scratch) {
      memory.stored_elements.resize(
          static_cast<std::size_t>(bytes / isa::item_bytes(program.args[i].dtype) / kBits + 1));
    }
  }
}

void DramMap::note_uses() {
  for (const Op& op : program_.ops) {
    if (op.opcode == isa::Opcode::kLoad) {
      of(program_.tensors[op.as<isa::Load>().tensor]).loaded = true;
    } else if (op.opcode == isa::Opcode::kStore) {
      of(program_.tensors[op.as<isa::Store>().tensor]).stored = true;
    }
  }
}

std::size_t DramMap::slot(const Tensor& tensor) const {
  if (tensor.storage == isa::StorageKind::kArg) return tensor.index;
  return program_.args.size() + (tensor.storage == isa::StorageKind::kScratch ? 0 : 1);
}

bool DramMap::follows(const Tensor& tensor) const {
  const Memory& memory = of(tensor);
  return memory.shadow != nullptr || !memory.stored_elements.empty();
}

std::optional<Conflict> DramMap::load(const Tensor& tensor, std::int64_t lo, std::int64_t hi,
                                      const Access& access) {
  return of(tensor).shadow->read(lo, hi, access);
}

std::optional<Conflict> DramMap::store(const Tensor& tensor, std::int64_t lo, std::int64_t hi,
                                       const Access& access) {
  Memory& memory = of(tensor);
  if (memory.shadow) return memory.shadow->write(lo, hi, access);
  const std::int64_t item = isa::item_bytes(tensor.dtype);
  set_bits(memory.stored_elements, lo / item, hi / item);
  return std::nullopt;
}

std::optional<std::int64_t> DramMap::first_missing(std::size_t arg) const {
  const Memory& memory = memories_[arg];
  const std::int64_t item = isa::item_bytes(program_.args[arg].dtype);
  const std::int64_t elements = program_.args[arg].bytes / item;
  if (memory.shadow) {
    const auto byte = memory.shadow->first_unwritten(0, elements * item);
    return byte ? std::optional(*byte / item) : std::nullopt;
  }
  for (std::size_t word = 0; word < memory.stored_elements.size(); ++word) {
    const auto element =
        static_cast<std::int64_t>(word) * kBits + std::countr_one(memory.stored_elements[word]);
    if (element < elements && element < static_cast<std::int64_t>(word + 1) * kBits) return element;
  }
  return std::nullopt;
}

// The pc of the last store into an argument.
std::int64_t DramMap::last_store(std::size_t arg) const {
  for (std::size_t pc = program_.ops.size(); pc-- > 0;) {
    const Op& op = program_.ops[pc];
    if (op.opcode != isa::Opcode::kStore) continue;
    const Tensor& tensor = program_.tensors[op.as<isa::Store>().tensor];
    if (tensor.storage == isa::StorageKind::kArg && slot(tensor) == arg) {
      return static_cast<std::int64_t>(pc);
    }
  }
  return kNoPc;
}

void DramMap::check_outputs() const {
  for (std::size_t i = 0; i < program_.args.size(); ++i) {
    const Argument& arg = program_.args[i];
    if (arg.role != isa::Role::kOut) continue;
    const auto missing = first_missing(i);
    if (!missing) continue;
    std::string index;
    std::int64_t rest = *missing;
    for (std::size_t d = arg.shape.size(); d-- > 0; rest /= arg.shape[d]) {
      index = std::to_string(rest % arg.shape[d]) + (index.empty() ? "" : ", ") + index;
    }
    throw Fault(FaultKind::kVerify,
                "output '" + arg.name + "': no instruction stores element [" + index +
                    "]; every element of an output has to be stored",
                last_store(i), kNoPc,
                "let the blocks that are stored cover '" + arg.name +
                    "'; one that is loaded before it is stored is an input as well and may keep "
                    "elements");
  }
}

}  // namespace tileflow
