// Instantiates every kernel for one vector type. Included once by each level's source file, which
// is compiled for that level's processor.
#pragma once

#include "kernels/dma.h"
#include "kernels/elementwise.h"
#include "kernels/functions.h"
#include "kernels/gemm.h"
#include "kernels/kernels.h"
#include "kernels/reduce.h"
#include "kernels/transpose.h"

namespace tileflow {
namespace {

template <class V>
constexpr Kernels make_kernels(const char* level) {
  return {
      .level = level,
      .gemm = Gemm<V>::run,
      .unary = {unary<V, Identity>, unary<V, Relu>, unary<V, Exp>, unary<V, Log>, unary<V, Sqrt>,
                unary<V, Rsqrt>, unary<V, Reciprocal>, unary<V, Tanh>, unary<V, Sigmoid>,
                unary<V, Abs>, unary<V, Neg>, unary<V, Sin>, unary<V, Cos>, unary<V, Erf>},
      .binary = {binary<V, Add>, binary<V, Sub>, binary<V, Mul>, binary<V, Div>, binary<V, Max>,
                 binary<V, Min>},
      .reduce = {reduce<V, Add>, reduce<V, Max>, reduce<V, Min>, reduce<V, Mul>},
      .fill = fill<V>,
      .transpose = transpose<V>,
      .load = load<V>,
      .store = store<V>,
  };
}

}  // namespace
}  // namespace tileflow
