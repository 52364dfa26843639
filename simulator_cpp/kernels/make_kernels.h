// Instantiates every kernel for one vector type. Included once by each level's source file, which
// is compiled for that level's processor.
#pragma once

#include "kernels/cast.h"
#include "kernels/dma.h"
#include "kernels/double_functions.h"
#include "kernels/elementwise.h"
#include "kernels/functions.h"
#include "kernels/gemm.h"
#include "kernels/gemm_bf16.h"
#include "kernels/gemm_chosen.h"
#include "kernels/gemm_i8.h"
#include "kernels/indexed.h"
#include "kernels/integer_functions.h"
#include "kernels/kernels.h"
#include "kernels/reduce.h"
#include "kernels/select.h"
#include "kernels/transpose_narrow.h"

namespace tileflow {
namespace {

// In the order of UNARY_FUNCS and BINARY_FUNCS.
template <class V>
constexpr UnaryFns unary_functions() {
  return {unary<V, Identity>,
          unary<V, Relu>,
          unary<V, Exp>,
          unary<V, Log>,
          unary<V, Sqrt>,
          unary<V, Rsqrt>,
          unary<V, Reciprocal>,
          unary<V, Tanh>,
          unary<V, Sigmoid>,
          unary<V, Abs>,
          unary<V, Neg>,
          unary<V, Sin>,
          unary<V, Cos>,
          unary<V, Erf>,
          unary<V, Gelu>,
          unary<V, Silu>,
          unary<V, Floor>,
          unary<V, Ceil>,
          unary<V, Round>,
          unary<V, Trunc>,
          unary<V, Sign>,
          unary<V, IsNan>,
          unary<V, IsInf>,
          unary<V, IsFinite>,
          unary<V, Doubled<InLog2>>,
          unary<V, Doubled<InLog10>>,
          unary<V, Doubled<InLog1p>>,
          unary<V, Doubled<InExpm1>>,
          unary<V, Tan>,
          unary<V, Doubled<InAsin>>,
          unary<V, Doubled<InAcos>>,
          unary<V, Doubled<InAtan>>,
          unary<V, Doubled<InSinh>>,
          unary<V, Doubled<InCosh>>,
          unary<V, Doubled<InAsinh>>,
          unary<V, Doubled<InAcosh>>,
          unary<V, Doubled<InAtanh>>};
}
template <class V>
constexpr BinaryFns binary_functions() {
  BinaryFns functions = {binary<V, Add>,           binary<V, Sub>,
                         binary<V, Mul>,           binary<V, Div>,
                         binary<V, Max>,           binary<V, Min>,
                         binary<V, Less>,          binary<V, LessEqual>,
                         binary<V, Swapped<Less>>, binary<V, Swapped<LessEqual>>,
                         binary<V, Equal>,         binary<V, NotEqual>,
                         binary<V, Modulo>,        binary<V, Remainder>,
                         binary<V, FloorQuotient>};
  functions[20] = binary<V, Power>;
  return functions;
}
template <class V>
constexpr UnaryFns integer_unary_functions() {
  UnaryFns functions{};
  functions[0] = unary<V, Identity>;
  functions[9] = unary<V, IntAbs>;
  functions[10] = unary<V, IntNeg>;
  return functions;
}
template <class V>
constexpr BinaryFns integer_binary_functions() {
  return {binary<V, IntAdd>,
          binary<V, IntSub>,
          binary<V, IntMul>,
          binary<V, IntDiv>,
          binary<V, IntMax>,
          binary<V, IntMin>,
          binary<V, IntLess>,
          binary<V, IntLessEqual>,
          binary<V, Swapped<IntLess>>,
          binary<V, Swapped<IntLessEqual>>,
          binary<V, IntEqual>,
          binary<V, IntNotEqual>,
          binary<V, IntModulo>,
          binary<V, IntRemainder>,
          binary<V, IntFloorDiv>,
          binary<V, IntAnd>,
          binary<V, IntOr>,
          binary<V, IntXor>,
          binary<V, IntShl>,
          binary<V, IntShr>};
}

template <class V>
constexpr Kernels make_kernels(const char* level) {
  return {
      .level = level,
      .gemm = {Gemm<V, float>::run, GemmBf16<V>::run, GemmI8<V>::run},
      .gemm_chosen = {GemmChosen<V, Plus, Least>::run, GemmChosen<V, Plus, Greatest>::run,
                      GemmChosen<V, Times, Greatest>::run, GemmChosen<V, Times, Least>::run},
      .unary = {unary_functions<V>(), integer_unary_functions<V>()},
      .binary = {binary_functions<V>(), integer_binary_functions<V>()},
      .select = {select<V, FloatTruth>, select<V, IntTruth>},
      .reduce = {reduce<V, Add>, reduce<V, Max>, reduce<V, Min>, reduce<V, Mul>},
      .fill = {fill<float>, fill<Bf16>, fill<std::int8_t>, fill<std::int32_t>},
      .transpose = {transpose<V, float>, transpose<V, Bf16>, transpose<V, std::int8_t>,
                    transpose<V, std::int32_t>},
      .cast = {cast<V, float, Bf16>, cast<V, float, std::int8_t>, cast<V, float, std::int32_t>,
               cast<V, Bf16, float>, cast<V, std::int8_t, float>,
               cast<V, std::int8_t, std::int32_t>, cast<V, std::int32_t, float>,
               cast<V, std::int32_t, std::int8_t>},
      .affine_select = {affine_select<V, float>, affine_select<V, std::int32_t>},
      .iota = {iota<V, float>, iota<V, std::int32_t>},
      .load = {load<V, float>, load<V, Bf16>, load<V, std::int8_t>, load<V, std::int32_t>},
      .store = {store<V, float>, store<V, Bf16>, store<V, std::int8_t>, store<V, std::int32_t>},
  };
}

}  // namespace
}  // namespace tileflow
