// A gemm cut into bands of whole tiles, for several threads, or to come up for air in between.
#pragma once

#include <cstdint>

#include "kernels/kernels.h"
#include "resolve.h"

namespace tileflow {

using GemmFn = void (*)(const GemmArgs&);

// Bands of rows or of columns, whichever there are more of. Every element of dst has the same sums
// in the same order as in one piece.
class GemmBands {
 public:
  static constexpr int kMost = 1 << 10;

  GemmBands() = default;
  // As many bands of about `flops` each as there can be; one where an operand is a vector.
  GemmBands(GemmFn kernel, const GemmArgs& args, const GemmUse& use, std::int64_t flops);

  int count() const { return count_; }
  // The longest that a band may take, if its thread has a processor.
  std::int64_t most_ns() const;
  void compute(int band) const;

 private:
  // Bytes from a tile of an operand to the one that the next tile of the cut needs; 0: the same.
  struct Steps {
    std::int64_t dst = 0, lhs = 0, rhs = 0;
  };

  GemmFn kernel_ = nullptr;
  GemmArgs args_;
  bool rows_ = false;  // are cut, not columns
  int edge_ = 0;       // rows or columns of a band
  int count_ = 0;
  Steps steps_;
};

}  // namespace tileflow
