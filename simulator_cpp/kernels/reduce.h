// reduce along columns or rows, in an order that does not depend on the vector's width.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/elementwise.h"
#include "kernels/vec_scalar.h"
#include "kernels/view.h"

namespace tileflow {
namespace {

// The sixteen lanes in which a row of a tile is reduced.
template <class V, class Op>
struct Lanes {
  static constexpr int kLanes = 16;
  static constexpr int kVecs = kLanes / V::kWidth;
  typename V::F lanes[kVecs];

  // Lane l takes src[l], src[l + 16], ... below count.
  Lanes(const float* src, int count) {
    for (auto& lane : lanes) lane = V::splat(Op::kIdentity);
    int i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      for (int v = 0; v < kVecs; ++v) combine(lanes[v], V::load(src + i + v * V::kWidth));
    }
    for (int v = 0; v < kVecs && i + v * V::kWidth < count; ++v) {
      const int at = i + v * V::kWidth;
      combine(lanes[v], V::load(src + at, V::tail(count - at), V::splat(Op::kIdentity)));
    }
  }

  static void combine(typename V::F& lane, typename V::F x) { lane = Op::template of<V>(lane, x); }

  // Lane l with lane l + D, for D = 8, 4, 2, 1.
  template <int D = kLanes / 2>
  float fold() {
    if constexpr (D == 0) {
      float first[V::kWidth];
      V::store(first, lanes[0]);
      return first[0];
    } else {
      if constexpr (D >= V::kWidth) {
        constexpr int kHalf = D / V::kWidth;
        for (int v = 0; v < kHalf; ++v) combine(lanes[v], lanes[v + kHalf]);
      } else {
        combine(lanes[0], V::template swap<D>(lanes[0]));
      }
      return fold<D / 2>();
    }
  }
};

// The result that is there, or that of nothing: so that a first term x gives x itself, the sum of
// nothing is -0 on the way.
template <class Op>
float start(const ReduceArgs& args, const float* dst) {
  return args.clear ? Op::kIdentity : *dst;
}

template <class V, class Op>
void reduce_along_cols(const ReduceArgs& args) {
  const View src(args.src, args.n, args.tile);
  const View dst(args.dst, 1, args.tile);
  for (int r = 0; r < args.m; ++r) {
    float* out = dst.at(r, 0);
    float result = start<Op>(args, out);
    for (int c = 0; c < args.n; c += args.tile) {
      Lanes<V, Op> lanes(src.at(r, c), min_of(args.tile, args.n - c));
      result = Op::template of<Scalar>(result, lanes.fold());
    }
    *out = result;
  }
}

// N vectors of columns at once, as each is one long chain.
template <class V, class Op, int N>
void reduce_rows_of(const ReduceArgs& args, const View& src, float* out, int c, int count) {
  const auto tail = V::tail(count - (N - 1) * V::kWidth);
  typename V::F acc[N];
  for (int v = 0; v < N; ++v) {
    acc[v] = args.clear   ? V::splat(Op::kIdentity)
             : v == N - 1 ? V::load(out + v * V::kWidth, tail)
                          : V::load(out + v * V::kWidth);
  }
  for (int r = 0; r < args.m; r += args.tile) {
    const float* row = src.at(r, c);
    const int last = min_of(args.tile, args.m - r);
    for (int i = 0; i < last; ++i, row += src.rows.stride) {
      for (int v = 0; v < N; ++v) {
        const float* p = row + v * V::kWidth;
        acc[v] = Op::template of<V>(acc[v], v == N - 1 ? V::load(p, tail) : V::load(p));
      }
    }
  }
  for (int v = 0; v < N - 1; ++v) V::store(out + v * V::kWidth, acc[v]);
  V::store(out + (N - 1) * V::kWidth, acc[N - 1], tail);
}

template <class V, class Op>
void reduce_along_rows(const ReduceArgs& args) {
  constexpr int kMost = 4;
  const View src(args.src, args.n, args.tile);
  const View dst(args.dst, args.n, args.tile);
  int count = 0;
  for (int c = 0; c < args.n; c += count) {
    count = min_of(kMost * V::kWidth, min_of(src.cols.run(c, args.n), dst.cols.run(c, args.n)));
    float* out = dst.at(0, c);
    switch ((count + V::kWidth - 1) / V::kWidth) {
      case 1: reduce_rows_of<V, Op, 1>(args, src, out, c, count); break;
      case 2: reduce_rows_of<V, Op, 2>(args, src, out, c, count); break;
      case 3: reduce_rows_of<V, Op, 3>(args, src, out, c, count); break;
      default: reduce_rows_of<V, Op, 4>(args, src, out, c, count); break;
    }
  }
}

template <class V, class Op>
void reduce(const ReduceArgs& args) {
  const int results = args.along_cols ? args.m : args.n;
  const int length = args.along_cols ? args.n : args.m;
  if (results <= 0) return;
  if (length <= 0) {  // nothing to reduce: + 0 turns the -0 of an empty sum into +0
    if (!args.clear) return;
    const int m = args.along_cols ? results : 1;
    const auto identity = std::bit_cast<std::uint32_t>(Op::kIdentity + 0.0F);
    fill<float>({args.dst, m, args.along_cols ? 1 : results, args.tile, identity});
    return;
  }
  if (args.along_cols) {
    reduce_along_cols<V, Op>(args);
  } else {
    reduce_along_rows<V, Op>(args);
  }
}

}  // namespace
}  // namespace tileflow
