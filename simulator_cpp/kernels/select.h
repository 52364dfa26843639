// select: one of two elements, by a third.
#pragma once

#include <cstdint>

#include "kernels/elementwise.h"

namespace tileflow {
namespace {

// Whether a condition holds, by the type of its elements: what is not zero, NaN among them.
struct FloatTruth {
  template <class V>
  static typename V::F zeros(typename V::F cond) {  // sign bits where it does not hold
    const auto magnitude = V::bit_and(V::bits(cond), V::splat_bits(0x7FFFFFFFU));
    return V::from_bits(V::sub(magnitude, V::splat_bits(1)));
  }
};
struct IntTruth {
  template <class V>
  static typename V::F zeros(typename V::F cond) {
    return V::select(V::equal(V::bits(cond), V::splat_bits(0)),
                     V::from_bits(V::splat_bits(0x80000000U)), V::splat(0.0F));
  }
};

template <class V, class Truth, bool kCond, bool kA, bool kB>
void select_runs(const View& dst, const Side& cond, const Side& a, const Side& b, int m, int n,
                 int tile) {
  const auto block = [&](int r, int c, int rows, int count) {
    float* to = dst.at(r, c);
    const float* which = cond.at(r, c);
    const float* yes = a.at(r, c);
    const float* no = b.at(r, c);
    for (int i = 0; i < rows;
         ++i, to += dst.rows.stride, which += cond.stride(), yes += a.stride(), no += b.stride()) {
      map_vectors<V>(to, count, [=, at = *which, one = *yes, other = *no](auto vector, auto load) {
        using W = decltype(vector);
        auto truth = W::splat(at);
        auto taken = W::splat(one);
        auto left = W::splat(other);
        if constexpr (kCond) truth = load(which);
        if constexpr (kA) taken = load(yes);
        if constexpr (kB) left = load(no);
        const auto zeros = W::bits(Truth::template zeros<W>(truth));
        return W::select(W::negative(zeros), left, taken);
      });
    }
  };
  const auto by_rows = [](const Side& side) {
    return side.mode == Mode::kRow || side.mode == Mode::kCol;
  };
  for_each_block(m, n, tile,
                 {&dst, kCond ? &cond.view : &dst, kA ? &a.view : &dst, kB ? &b.view : &dst},
                 by_rows(cond) || by_rows(a) || by_rows(b), block);
}

template <class V, class Truth>
void select(const SelectArgs& given) {
  SelectArgs args = given;
  flip_column(args.dst, {{&args.cond, &args.cmode}, {&args.a, &args.amode}, {&args.b, &args.bmode}},
              args.m, args.n);
  const View dst(args.dst, args.n, args.tile);
  const Side cond(args.cond, args.cmode, args.imm, args.n, args.tile);
  const Side a(args.a, args.amode, args.imm, args.n, args.tile);
  const Side b(args.b, args.bmode, args.imm, args.n, args.tile);
  constexpr auto kRuns = [](bool yes, bool no) {
    if (yes)
      return no ? select_runs<V, Truth, true, true, true>
                : select_runs<V, Truth, true, true, false>;
    return no ? select_runs<V, Truth, true, false, true>
              : select_runs<V, Truth, true, false, false>;
  };
  constexpr auto kRunsOfOne = [](bool yes, bool no) {
    if (yes)
      return no ? select_runs<V, Truth, false, true, true>
                : select_runs<V, Truth, false, true, false>;
    return no ? select_runs<V, Truth, false, false, true>
              : select_runs<V, Truth, false, false, false>;
  };
  const bool yes = a.varies_along_row();
  const bool no = b.varies_along_row();
  const auto run = cond.varies_along_row() ? kRuns(yes, no) : kRunsOfOne(yes, no);
  run(dst, cond, a, b, args.m, args.n, args.tile);
}

}  // namespace
}  // namespace tileflow
