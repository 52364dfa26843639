// gemm with a choice, the least or the greatest, in place of sums.
//
// Few operands make a NaN of a product, and to look for them takes a pass over each, m * k + k * n
// elements; to look at every product would take twice as long as the rest.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>

#include "kernels/elementwise.h"
#include "kernels/gemm.h"
#include "kernels/semiring.h"

namespace tileflow {
namespace {

// What an operand has in it; of magnitudes or of values.
struct Span {
  float least = std::numeric_limits<float>::infinity();
  float greatest = -std::numeric_limits<float>::infinity();
  bool nan = false;
};

template <class V, bool kOfMagnitudes>
Span span_of(const Operand& operand, int m, int n, int tile) {
  using F = typename V::F;
  const View view(operand, n, tile);
  F least = V::splat(Span{}.least);
  F greatest = V::splat(Span{}.greatest);
  auto nan = V::unordered(least, least);
  const auto see = [&](F x) {
    nan = V::either(nan, V::unordered(x, x));
    if constexpr (kOfMagnitudes) {
      x = V::from_bits(V::bit_and(V::bits(x), V::splat_bits(0x7FFF'FFFFU)));
    }
    least = V::min_or_second(x, least);
    greatest = V::max_or_second(x, greatest);
  };
  for_each_block(m, n, tile, {&view}, false, [&](int r, int c, int rows, int count) {
    const float* row = view.at(r, c);
    for (int i = 0; i < rows; ++i, row += view.rows.stride) {
      int j = 0;
      for (; j + V::kWidth <= count; j += V::kWidth) see(V::load(row + j));
      if (j < count) see(V::load(row + j, V::tail(count - j), V::splat(*row)));
    }
  });
  Span span;
  span.nan = V::any(nan);
  float lanes[2][V::kWidth];
  V::store(lanes[0], least);
  V::store(lanes[1], greatest);
  for (int lane = 0; lane < V::kWidth; ++lane) {
    span.least = std::min(span.least, lanes[0][lane]);
    span.greatest = std::max(span.greatest, lanes[1][lane]);
  }
  return span;
}

// Panels of columns of rhs, packed, against blocks of rows of lhs in place. Choices stay in
// registers along a panel, and pass through dst from one panel to the next.
template <class V, class Products, class Choice>
struct GemmChosen {
  using F = typename V::F;
  static constexpr int kVecs = kPanelVecs<V>;
  static constexpr int kCols = kVecs * V::kWidth;

  static void run(const GemmArgs& args) {
    if (args.m <= 0 || args.n <= 0) return;
    if (args.k <= 0) {
      constexpr auto kEmpty = std::bit_cast<std::uint32_t>(Choice::kEmpty);
      if (args.clear) fill<float>({args.dst, args.m, args.n, args.tile, kEmpty});
    } else if (may_be_nan(args)) {
      choose<true>(args);
    } else {
      choose<false>(args);
    }
  }

 private:
  // What a block of rows meets: `k` rows of a packed panel, of which `cols` columns count.
  struct Step {
    const float* lhs;  // at the first k
    float* dst;
    const float* rhs;
    Axis lhs_cols;
    std::ptrdiff_t lhs_stride, dst_stride;  // from row to row
    int k, cols;
    bool clear;
  };

  // Rows of a block: with those of rhs, one of lhs and a product they leave few registers empty.
  static constexpr int most_rows(bool nan) { return !nan && V::kRegisters >= 32 ? 8 : 2; }

  template <int R, bool kNan>
  [[gnu::flatten]] static void block(const Step& step) {
    F acc[R][kVecs];
    const auto each = [&](auto body) {
      unroll<R>([&](auto r) {
        unroll<kVecs>([&](auto v) {
          body(r, v, step.dst + r * step.dst_stride + v * V::kWidth,
               V::tail(step.cols - v * V::kWidth));
        });
      });
    };
    each([&](auto r, auto v, const float* at, auto tail) {
      acc[r][v] = step.clear ? V::splat(Choice::kEmpty) : V::load(at, tail);
    });
    const float* rhs = step.rhs;
    for (int k = 0; k < step.k; k += step.lhs_cols.tile) {
      Rows<const float> lhs(step.lhs + step.lhs_cols.at(k), step.lhs_stride);
      for (int left = min_of(step.lhs_cols.tile, step.k - k); left > 0; --left, rhs += kCols) {
        F some[kVecs];
        unroll<kVecs>([&](auto v) { some[v] = V::load(rhs + v * V::kWidth); });
        unroll<R>([&](auto r) {
          const F one = V::splat(*lhs.at(r));
          unroll<kVecs>([&](auto v) {
            acc[r][v] = chosen<kNan>(Products::template of<V>(one, some[v]), acc[r][v]);
          });
        });
        lhs.advance(step.lhs_cols.stride);
      }
    }
    each([&](auto r, auto v, float* at, auto tail) { V::store(at, acc[r][v], tail); });
  }

  // kNan: the value may be.
  template <bool kNan>
  static F chosen(F value, F acc) {
    const F choice = Choice::template of<V>(value, acc);
    if constexpr (kNan) return V::select(V::unordered(value, value), value, choice);
    return choice;
  }

  using Kernel = void (*)(const Step&);
  template <bool kNan, int... I>
  static constexpr auto make_table(std::integer_sequence<int, I...>) {
    return std::array<Kernel, sizeof...(I)>{block<I + 1, kNan>...};
  }
  template <bool kNan>
  static constexpr auto kKernels =
      make_table<kNan>(std::make_integer_sequence<int, most_rows(kNan)>());

  template <bool kNan>
  static void choose(const GemmArgs& args) {
    const View dst(args.dst, args.n, args.tile);
    const View lhs = args.lhs_transposed ? View(args.lhs, args.m, args.tile).transposed()
                                         : View(args.lhs, args.k, args.tile);
    const View rhs = args.rhs_transposed ? View(args.rhs, args.k, args.tile).transposed()
                                         : View(args.rhs, args.n, args.tile);
    alignas(64) float packed[kPanelDepth * kCols];
    for (int k = 0; k < args.k; k += kPanelDepth) {
      const int depth = min_of(kPanelDepth, args.k - k);
      for (int c = 0, cols = 0; c < args.n; c += cols) {
        cols = min_of(kCols, min_of(dst.cols.run(c, args.n), rhs.cols.run(c, args.n)));
        if (cols < kCols) std::fill_n(packed, depth * kCols, 0.0F);  // lanes that do not count
        Gemm<V, float>::pack(rhs, k, depth, c, cols, packed);
        Step step{};
        step.rhs = packed;
        step.lhs_cols = lhs.cols;
        step.lhs_stride = lhs.rows.stride;
        step.dst_stride = dst.rows.stride;
        step.k = depth;
        step.cols = cols;
        step.clear = args.clear && k == 0;
        for (int r = 0, rows = 0; r < args.m; r += rows) {
          rows = min_of(lhs.rows.run(r, args.m), dst.rows.run(r, args.m));
          rows = min_of(rows, most_rows(kNan));
          step.lhs = lhs.at(r, k);
          step.dst = dst.at(r, c);
          kKernels<kNan>[rows - 1](step);
        }
      }
    }
  }

  static bool may_be_nan(const GemmArgs& args) {
    if (args.k <= 0) return false;
    const auto span = [&](const Operand& operand, int rows, int cols, bool transposed) {
      if (transposed) std::swap(rows, cols);
      return span_of<V, Products::kOfMagnitudes>(operand, rows, cols, args.tile);
    };
    const Span lhs = span(args.lhs, args.m, args.k, args.lhs_transposed);
    const Span rhs = span(args.rhs, args.k, args.n, args.rhs_transposed);
    return lhs.nan || rhs.nan || meet(lhs, rhs) || meet(rhs, lhs);
  }
  // Whether an infinity of `a` may meet what makes a NaN of it.
  static bool meet(const Span& a, const Span& b) {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    return a.greatest == kInfinity && b.least == (Products::kOfMagnitudes ? 0.0F : -kInfinity);
  }
};

}  // namespace
}  // namespace tileflow
