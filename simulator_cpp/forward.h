// Blocks that are read where they come from: a LOAD of rows copies nothing until something needs
// the copy, and what is computed next and stored at once is written to where it goes.
//
// What a verified program sees is the same. A block that was loaded but not copied is a loan: SRAM
// stands for a window of a tensor's memory, until either is about to change. Only program order
// allows it: of another engine nobody knows how far it is.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "block.h"
#include "kernels/kernels.h"
#include "program.h"
#include "resolve.h"

namespace tileflow {

// rows x cols elements of a tensor's memory: those of a row adjoin, rows begin `stride` elements
// apart.
struct Window {
  std::byte* first = nullptr;
  std::int64_t rows = 0, cols = 0;
  std::int64_t stride = 0;
  std::int64_t item = 0;  // bytes of an element

  // Whether they may share a byte.
  bool meets(const Window& other) const;
};

// Of the elements of a box that lie inside its tensor, if they are the first rows and columns of
// its block; of a vector one row. `memory` is the tensor's element (0, ..., 0).
std::optional<Window> window_of(const DmaUse& use, const Tensor& tensor, std::byte* memory);

class Forwarding {
 public:
  Forwarding(const Program& program, const Kernels& kernels, std::byte* sram,
             std::span<std::byte* const> tensors)
      : program_(program), kernels_(kernels), sram_(sram), tensors_(tensors) {}

  // Before a LOAD: whether it became a loan, of so many elements. If not, do it.
  std::optional<std::int64_t> lend(const DmaUse& use);
  // What is in `window` is what would be in this block.
  void lend(const Block& block, const Window& window);

  // Where a block is to be read; and, if that is a loan, which memory.
  Operand source(const Block& block, std::optional<Window>* from = nullptr);
  // Before every element of a block is written.
  void replace(const Block& block);
  // Before a block is read or written in SRAM in any other way.
  void settle(const Block& block);
  // Before a STORE writes there; empty: anywhere in this tensor.
  void change(const std::optional<Window>& window, int tensor);

 private:
  struct Loan {
    Block block;    // what the load replaces
    Window window;  // whence its first rows and columns come
    // The load, for which the rest of the block is `fill`. None: there is no rest.
    const AccessPattern* access = nullptr;
    int tensor = 0;
    std::array<std::int64_t, kMaxRank> coords{};
    std::uint32_t fill = 0;
    bool rest_only = false;  // the first rows and columns have been written since

    bool lends(const Block& asked) const;
  };

  bool meet(const Block& a, const Block& b) const;
  void copy(const Loan& loan) const;
  void copy_rows(const Loan& loan) const;
  void fill_rest(const Loan& loan) const;
  std::byte* element(const Block& block, std::int64_t r, std::int64_t c) const;
  Window whole(int tensor) const;
  void fetch_far(const Window& window, int tensor) const;
  // Copies the loans for which ends(loan), and ends them.
  template <class Ends>
  void end_if(Ends ends);

  const Program& program_;
  const Kernels& kernels_;
  std::byte* sram_;
  std::span<std::byte* const> tensors_;
  std::vector<Loan> loans_;
};

}  // namespace tileflow
