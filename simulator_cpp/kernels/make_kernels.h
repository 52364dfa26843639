// Instantiates every kernel for one vector type. Included once by each level's source file, which
// is compiled for that level's processor.
#pragma once

#include "kernels/cast.h"
#include "kernels/dma.h"
#include "kernels/elementwise.h"
#include "kernels/functions.h"
#include "kernels/gemm.h"
#include "kernels/gemm_bf16.h"
#include "kernels/gemm_chosen.h"
#include "kernels/gemm_i8.h"
#include "kernels/kernels.h"
#include "kernels/reduce.h"
#include "kernels/transpose_narrow.h"

namespace tileflow {
namespace {

template <class V>
constexpr Kernels make_kernels(const char* level) {
  return {
      .level = level,
      .gemm = {Gemm<V, float>::run, GemmBf16<V>::run, GemmI8<V>::run},
      .gemm_chosen = {GemmChosen<V, Plus, Least>::run, GemmChosen<V, Plus, Greatest>::run,
                      GemmChosen<V, Times, Greatest>::run, GemmChosen<V, Times, Least>::run},
      .unary = {unary<V, Identity>, unary<V, Relu>, unary<V, Exp>, unary<V, Log>, unary<V, Sqrt>,
                unary<V, Rsqrt>, unary<V, Reciprocal>, unary<V, Tanh>, unary<V, Sigmoid>,
                unary<V, Abs>, unary<V, Neg>, unary<V, Sin>, unary<V, Cos>, unary<V, Erf>,
                unary<V, Gelu>, unary<V, Silu>},
      .binary = {binary<V, Add>, binary<V, Sub>, binary<V, Mul>, binary<V, Div>, binary<V, Max>,
                 binary<V, Min>},
      .reduce = {reduce<V, Add>, reduce<V, Max>, reduce<V, Min>, reduce<V, Mul>},
      .fill = {fill<float>, fill<Bf16>, fill<std::int8_t>, fill<std::int32_t>},
      .transpose = {transpose<V, float>, transpose<V, Bf16>, transpose<V, std::int8_t>,
                    transpose<V, std::int32_t>},
      .cast = {cast<V, float, Bf16>, cast<V, float, std::int8_t>, cast<V, float, std::int32_t>,
               cast<V, Bf16, float>, cast<V, std::int8_t, float>,
               cast<V, std::int8_t, std::int32_t>, cast<V, std::int32_t, float>,
               cast<V, std::int32_t, std::int8_t>},
      .load = {load<V, float>, load<V, Bf16>, load<V, std::int8_t>, load<V, std::int32_t>},
      .store = {store<V, float>, store<V, Bf16>, store<V, std::int8_t>, store<V, std::int32_t>},
  };
}

}  // namespace
}  // namespace tileflow
