// reduce along columns or rows, in an order that does not depend on the vector's width.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "kernels/elementwise.h"
#include "kernels/vec_scalar.h"
#include "kernels/view.h"

namespace tileflow {
namespace {

constexpr int kLanes = 16;

// A reduction by steps of Op, whose order matters: sums and products.
template <class V, class Op>
struct Ordered {
  using Fold = Op;
  typename V::F value = V::splat(Op::kIdentity);

  void take(typename V::F x) { value = Op::template of<V>(value, x); }
  void take(typename V::F x, typename V::F y) {
    take(x);
    take(y);
  }
  typename V::F result() const { return value; }
  typename V::F key() const { return value; }
  static typename V::F of_key(typename V::F key) { return key; }
};

// Of integers in the bits of floats.
template <bool kMax>
struct ExtremeKey {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return V::from_bits(kMax ? V::max(V::bits(a), V::bits(b)) : V::min(V::bits(a), V::bits(b)));
  }
};

// max or min, which come out the same in any order. What the processor's own max does not settle
// is gathered beside it: whether there was a NaN, and the sign, which is that of all terms or of
// any: of two zeros it gives the second.
template <class V, class Op>
struct Extreme {
  static constexpr bool kMax = std::is_same_v<Op, Max>;
  using Fold = ExtremeKey<kMax>;
  typename V::F value = V::splat(Op::kIdentity);
  typename V::I signs = V::bits(value);
  typename V::M nan = V::unordered(value, value);

  void take(typename V::F x) { take(x, x); }
  void take(typename V::F x, typename V::F y) {
    nan = V::either(nan, V::unordered(x, y));
    if constexpr (kMax) {
      value = V::max_or_second(value, V::max_or_second(x, y));
      signs = V::bit_and(V::bit_and(signs, V::bits(x)), V::bits(y));
    } else {
      value = V::min_or_second(value, V::min_or_second(x, y));
      signs = V::bit_or(V::bit_or(signs, V::bits(x)), V::bits(y));
    }
  }
  typename V::F result() const {
    const auto number = with_sign_of<V>(V::from_bits(signs), absolute<V>(value));
    const auto none = V::splat_bits(kMax ? 0x7FC0'0000U : 0xFFC0'0000U);
    return V::select(nan, V::from_bits(none), number);
  }
  // The result as an integer that is ordered as results are, NaN above all or below all.
  typename V::F key() const { return of_key(result()); }
  static typename V::F of_key(typename V::F key) {
    const auto bits = V::bits(key);
    const auto flip = V::bit_and(V::template shr<31>(bits), V::splat_bits(0x7FFF'FFFFU));
    return V::from_bits(V::bit_xor(bits, flip));
  }
};

template <class Op>
constexpr bool kAnyOrder = std::is_same_v<Op, Max> || std::is_same_v<Op, Min>;

template <class V, class Op>
using Reduction = std::conditional_t<kAnyOrder<Op>, Extreme<V, Op>, Ordered<V, Op>>;

// Lane l with lane l + D, for D = 8 and less, as long as these are in different vectors.
template <class V, class Op, std::size_t N>
[[gnu::always_inline]] inline typename V::F fold_vectors(typename V::F (&lanes)[N]) {
  for (std::size_t d = N / 2; d > 0; d /= 2) {
    for (std::size_t v = 0; v < d; ++v) lanes[v] = Op::template of<V>(lanes[v], lanes[v + d]);
  }
  return lanes[0];
}

// The columns of one row of a tile in sixteen lanes: lane l takes src[l], src[l + 16], ...; lanes
// that take nothing stay with the identity.
template <class V, class Op>
struct Lanes {
  static constexpr int kVecs = kLanes / V::kWidth;
  Reduction<V, Op> lanes[kVecs];

  [[gnu::always_inline]] void take_twice(const float* src) {
    for (int v = 0; v < kVecs; ++v, src += V::kWidth) {
      lanes[v].take(V::load(src), V::load(src + kLanes));
    }
  }
  [[gnu::always_inline]] void take(const float* src, int count) {
    int i = 0;
    for (; i + 2 * kLanes <= count; i += 2 * kLanes) take_twice(src + i);
    for (; i < count; i += kLanes) {
      for (int v = 0; v < kVecs && i + v * V::kWidth < count; ++v) {
        const int at = i + v * V::kWidth;
        const auto tail = V::tail(count - at);
        lanes[v].take(V::load(src + at, tail, V::splat(Op::kIdentity)));
      }
    }
  }
  [[gnu::always_inline]] typename V::F fold() const {
    typename V::F folded[kVecs];
    for (int v = 0; v < kVecs; ++v) folded[v] = lanes[v].key();
    return fold_vectors<V, typename Reduction<V, Op>::Fold>(folded);
  }
};

// Lane l of the result is row l folded: its lanes with those D away, for D = kWidth / 2, ..., 1.
// ReducedRows are folded two at a time, each in half of the lanes. lanes_of(row) is a row's vector.
template <class V, class Op, int D, class LanesOf>
[[gnu::always_inline]] inline typename V::F fold_rows(int row, const LanesOf& lanes_of) {
  if constexpr (D == V::kWidth) {
    return lanes_of(row);
  } else {
    const auto low = fold_rows<V, Op, 2 * D>(row, lanes_of);
    const auto high = fold_rows<V, Op, 2 * D>(row + D, lanes_of);
    const auto kept = V::template mix<D>(low, high);
    const auto moved = V::template swap<D>(V::template mix<D>(high, low));
    return Op::template of<V>(kept, moved);
  }
}

// ReducedRows of one row of tiles, from column 0 on.
struct ReducedRows {
  const float* first;
  std::ptrdiff_t stride, tile_step;
  int count;

  const float* at(int i) const { return first + (i < count ? i : count - 1) * stride; }
};

// Lane i is row i of a tile, of which `count` columns are there.
template <class V, class Op>
typename V::F reduce_tile(const ReducedRows& rows, int count) {
  if (count == 2 * kLanes && rows.count == V::kWidth) {  // as below, unrolled
    return fold_rows<V, Op, 1>(0, [&](int i) {
      const float* row = rows.first + i * rows.stride;
      constexpr int kVecs = kLanes / V::kWidth;
      typename V::F lanes[kVecs];
      for (int v = 0; v < kVecs; ++v) {
        const float* at = row + v * V::kWidth;
        lanes[v] = Op::template of<V>(V::load(at), V::load(at + kLanes));
      }
      return fold_vectors<V, Op>(lanes);
    });
  }
  typename V::F folded[V::kWidth];
  for (int i = 0; i < V::kWidth; ++i) {
    Lanes<V, Op> lanes;
    lanes.take(rows.at(i), count);
    folded[i] = lanes.fold();
  }
  return fold_rows<V, Op, 1>(0, [&](int i) { return folded[i]; });
}

// Lane i is row i, of n columns; kWhole: they are tiles of 32. A few rows at once, for as many
// chains as registers allow.
template <class V, class Op, bool kWhole>
typename V::F reduce_in_any_order(const ReducedRows& rows, int n, int tile) {
  using Each = Reduction<V, Op>;
  constexpr int kAtOnce = kWhole && V::kWidth > 1 ? V::kRegisters / 8 : 1;
  typename V::F folded[V::kWidth];
  for (int i = 0; i < V::kWidth; i += kAtOnce) {
    Lanes<V, Op> lanes[kAtOnce];
    const float* row[kAtOnce];
    for (int u = 0; u < kAtOnce; ++u) row[u] = rows.at(i + u);
    std::ptrdiff_t at = 0;
    for (int c = 0; c < n; c += tile, at += rows.tile_step) {
      for (int u = 0; u < kAtOnce; ++u) {
        if constexpr (kWhole) {
          lanes[u].take_twice(row[u] + at);
        } else {
          lanes[u].take(row[u] + at, min_of(tile, n - c));
        }
      }
    }
    for (int u = 0; u < kAtOnce; ++u) folded[i + u] = lanes[u].fold();
  }
  const auto pick = [&](int i) { return folded[i]; };
  return Each::of_key(fold_rows<V, typename Each::Fold, 1>(0, pick));
}

template <class V, class Op>
void reduce_along_cols(const ReduceArgs& args) {
  const View src(args.src, args.n, args.tile);
  const View dst(args.dst, 1, args.tile);
  const int most = min_of(V::kWidth, args.tile);
  for (int r = 0; r < args.m; r += most) {
    ReducedRows rows{src.at(r, 0), src.rows.stride, src.cols.tile_step, min_of(most, args.m - r)};
    float result[V::kWidth];
    for (int i = 0; i < V::kWidth; ++i) {
      result[i] = args.clear || i >= rows.count ? Op::kIdentity : *dst.at(r + i, 0);
    }
    auto total = V::load(result);
    if constexpr (kAnyOrder<Op>) {
      const bool whole = args.tile == 2 * kLanes && args.n % args.tile == 0;
      const auto all = whole ? reduce_in_any_order<V, Op, true> : reduce_in_any_order<V, Op, false>;
      total = Op::template of<V>(total, all(rows, args.n, args.tile));
    } else {
      for (int c = 0; c < args.n; c += args.tile, rows.first += rows.tile_step) {
        const auto tile = reduce_tile<V, Op>(rows, min_of(args.tile, args.n - c));
        total = Op::template of<V>(total, tile);
      }
    }
    V::store(result, total);
    for (int i = 0; i < rows.count; ++i) *dst.at(r + i, 0) = result[i];
  }
}

// N vectors of columns at once, as each is one long chain.
template <class V, class Op, int N>
void reduce_rows_of(const ReduceArgs& args, const View& src, float* out, int c, int count) {
  const auto tail = V::tail(count - (N - 1) * V::kWidth);
  const auto load = [tail](const float* p, int v) {
    return v == N - 1 ? V::load(p + v * V::kWidth, tail) : V::load(p + v * V::kWidth);
  };
  Reduction<V, Op> acc[N];
  if (!args.clear) {
    for (int v = 0; v < N; ++v) acc[v].take(load(out, v));
  }
  for (int r = 0; r < args.m; r += args.tile) {
    const float* row = src.at(r, c);
    const auto step = src.rows.stride;
    int left = min_of(args.tile, args.m - r);
    for (; left >= 2; left -= 2, row += 2 * step) {
      for (int v = 0; v < N; ++v) acc[v].take(load(row, v), load(row + step, v));
    }
    if (left == 1) {
      for (int v = 0; v < N; ++v) acc[v].take(load(row, v));
    }
  }
  for (int v = 0; v < N - 1; ++v) V::store(out + v * V::kWidth, acc[v].result());
  V::store(out + (N - 1) * V::kWidth, acc[N - 1].result(), tail);
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
