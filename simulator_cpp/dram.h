// What the verifier knows of the memories behind the tensors.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "program.h"
#include "shadow.h"

namespace tileflow {

// Arguments and scratch memory. Only a memory that is both loaded and stored has histories of its
// bytes; of an output that is only stored it is enough to know which elements were.
class DramMap {
 public:
  explicit DramMap(const Program& program);

  // Whether accesses through this tensor have to be told.
  bool follows(const Tensor& tensor) const;
  std::optional<Conflict> load(const Tensor& tensor, std::int64_t lo, std::int64_t hi,
                               const Access& access);
  std::optional<Conflict> store(const Tensor& tensor, std::int64_t lo, std::int64_t hi,
                                const Access& access);

  // Throws Fault (kVerify) for an output with an element that was never stored.
  void check_outputs() const;

 private:
  struct Memory {
    bool loaded = false, stored = false;
    std::unique_ptr<Shadow> shadow;
    std::vector<std::uint64_t> stored_elements;  // one bit each, of an output without a shadow
  };

  void note_uses();
  Memory& of(const Tensor& tensor) { return memories_[slot(tensor)]; }
  const Memory& of(const Tensor& tensor) const { return memories_[slot(tensor)]; }
  std::size_t slot(const Tensor& tensor) const;
  std::int64_t last_store(std::size_t arg) const;
  std::optional<std::int64_t> first_missing(std::size_t arg) const;

  const Program& program_;
  std::vector<Memory> memories_;  // one an argument, the scratch memory, one for all constants
};

}  // namespace tileflow
