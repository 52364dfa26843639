// The inner part of gemm: blocks of rows against a panel of columns, with the sums in registers.
#pragma once

#include <array>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "kernels/view.h"

namespace tileflow {
namespace {

// f(0), ..., f(N - 1) with the numbers as constants.
template <std::size_t N, class Function>
inline void unroll(Function f) {
  [&]<int... I>(std::integer_sequence<int, I...>) {
    (f(std::integral_constant<int, I>()), ...);
  }(std::make_integer_sequence<int, static_cast<int>(N)>());
}

// A value that the compiler cannot trace back to what it was computed from.
template <class T>
[[gnu::always_inline]] inline T opaque(T value) {
  asm("" : "+r"(value));
  return value;
}

// Up to eight rows, a stride apart. Few registers reach all of them, as addresses are sums of a
// pointer and one, two or three strides. With a register for each row compilers run out of them
// and keep some in vector registers, from where an address comes only after all multiplications
// before it; left to themselves, that is what they turn this into.
template <class T>
class Rows {
 public:
  [[gnu::always_inline]] Rows(T* first, std::ptrdiff_t stride)
      : first_(opaque(first)),
        fifth_(opaque(first + 4 * stride)),
        stride_(stride),
        thrice_(opaque(3 * stride)) {}
  [[gnu::always_inline]] T* at(int row) const {
    T* const quad = row < 4 ? first_ : fifth_;
    return row % 4 == 3 ? quad + thrice_ : quad + row % 4 * stride_;
  }
  [[gnu::always_inline]] void advance(std::ptrdiff_t elements) {
    first_ += elements;
    fifth_ += elements;
  }

 private:
  T *first_, *fifth_;
  std::ptrdiff_t stride_, thrice_;
};

// The same with a stride that is known, so that one pointer reaches all.
template <class T, int kStride>
class FixedRows {
 public:
  [[gnu::always_inline]] FixedRows(T* first, std::ptrdiff_t) : first_(first) {}
  [[gnu::always_inline]] T* at(int row) const { return first_ + row * kStride; }
  [[gnu::always_inline]] void advance(std::ptrdiff_t elements) { first_ += elements; }

 private:
  T* first_;
};

// What the blocks of a panel of columns have in common.
struct Panel {
  const float* lhs;  // row 0, at the first k
  float* dst;        // row 0, at the first column
  const float* rhs;
  Axis lhs_rows, dst_rows;
  std::ptrdiff_t lhs_stride, rhs_stride;        // floats from a k to the next within a tile,
  std::ptrdiff_t lhs_tile_step, rhs_tile_step;  // and from a tile to the next
  int k, tile, cols;
  bool clear;
};

// Vectors of columns of a panel that meets many rows.
template <class V>
constexpr int kPanelVecs = V::kRegisters >= 32 ? 2 : 4;

// kLhsRow, kRhsRow, kDstRow: strides of rows for which there is faster code.
template <class V, int kLhsRow, int kRhsRow, int kDstRow>
struct GemmBlocks {
  using F = typename V::F;
  static constexpr int kWidth = V::kWidth;
  static constexpr int kMostVecs = 4;
  // Rows of a block. With those of rhs or of lhs, whichever is less, and one more the sums fill the
  // registers, and there are enough of them to hide the latency of fma.
  static constexpr int most_rows(int vecs) {
    constexpr std::array<int, kMostVecs> kFew{8, 6, 4, 3};
    constexpr std::array<int, kMostVecs> kMany{8, 8, 4, 4};
    return (V::kRegisters >= 32 ? kMany : kFew)[vecs - 1];
  }

  // `count` blocks of R rows in each of `tiles` tiles, and N vectors of columns, the last of them
  // partial where kPart. kFixed: the strides are the known ones, and lhs_stride is 1.
  template <int R, int N, bool kPart, bool kFixed>
  [[gnu::flatten]] static void multiply(const Panel& panel, int first, int count, int tiles) {
    for (int tile = 0; tile < tiles; ++tile, first += panel.tile) {
      const float* lhs = panel.lhs + panel.lhs_rows.at(first);
      float* dst = panel.dst + panel.dst_rows.at(first);
      for (int i = 0; i < count; ++i) {
        block<R, N, kPart, kFixed>(panel, lhs, dst);
        lhs += R * (kFixed ? kLhsRow : panel.lhs_rows.stride);
        dst += R * (kFixed ? kDstRow : panel.dst_rows.stride);
      }
    }
  }

  template <int R, int N, bool kPart, bool kFixed>
  static void block(const Panel& panel, const float* lhs, float* dst) {
    using Lhs = std::conditional_t<kFixed, FixedRows<const float, kLhsRow>, Rows<const float>>;
    using Sums = std::conditional_t<kFixed, FixedRows<float, kDstRow>, Rows<float>>;
    const auto tail = V::tail(panel.cols - (N - 1) * kWidth);
    const auto load = [&](const float* p, auto v) {
      return kPart && v == N - 1 ? V::load(p + v * kWidth, tail) : V::load(p + v * kWidth);
    };
    F acc[R][N];
    if (panel.clear) {
      unroll<R>([&](auto r) { unroll<N>([&](auto v) { acc[r][v] = V::splat(0.0F); }); });
    } else {
      const Sums sums(dst, panel.dst_rows.stride);
      unroll<R>([&](auto r) { unroll<N>([&](auto v) { acc[r][v] = load(sums.at(r), v); }); });
    }

    const float* rhs = panel.rhs;
    for (int left = panel.k; left > 0; left -= panel.tile) {
      Lhs a(lhs, panel.lhs_rows.stride);
      const float* b = rhs;
#pragma GCC unroll 2
      for (int steps = min_of(left, panel.tile); steps > 0; --steps) {
        if constexpr (R < N) {
          F each[R];
          unroll<R>([&](auto r) { each[r] = V::splat(*a.at(r)); });
          unroll<N>([&](auto v) {
            const F some = load(b, v);
            unroll<R>([&](auto r) { acc[r][v] = V::fma(each[r], some, acc[r][v]); });
          });
        } else {
          F some[N];
          unroll<N>([&](auto v) { some[v] = load(b, v); });
          unroll<R>([&](auto r) {
            const F each = V::splat(*a.at(r));
            unroll<N>([&](auto v) { acc[r][v] = V::fma(each, some[v], acc[r][v]); });
          });
        }
        a.advance(kFixed ? 1 : panel.lhs_stride);
        b += kFixed ? kRhsRow : panel.rhs_stride;
      }
      lhs += panel.lhs_tile_step;
      rhs += panel.rhs_tile_step;
    }

    const Sums sums(dst, panel.dst_rows.stride);
    unroll<R>([&](auto r) {
      unroll<N>([&](auto v) {
        if constexpr (kPart && v == N - 1) {
          V::store(sums.at(r) + v * kWidth, acc[r][v], tail);
        } else {
          V::store(sums.at(r) + v * kWidth, acc[r][v]);
        }
      });
    });
  }

  using Kernel = void (*)(const Panel&, int first, int count, int tiles);

  template <int R, int N, bool kPart, bool kFixed>
  static constexpr Kernel kernel() {
    if constexpr (R > most_rows(N)) {
      return nullptr;
    } else {
      return multiply < R, N, kPart, kFixed && N <= kPanelVecs < V >> ;
    }
  }
  static constexpr int index(int rows, int vecs, bool part, bool fixed) {
    return ((rows - 1) * kMostVecs + vecs - 1) * 4 + (part ? 2 : 0) + (fixed ? 1 : 0);
  }
  template <int... I>
  static constexpr auto make_table(std::integer_sequence<int, I...>) {
    return std::array<Kernel, sizeof...(I)>{
        kernel<I / 4 / kMostVecs + 1, I / 4 % kMostVecs + 1, (I & 2) != 0, (I & 1) != 0>()...};
  }
  static constexpr auto kKernels =
      make_table(std::make_integer_sequence<int, most_rows(1) * kMostVecs * 4>());

  // The panel's columns of `rows` rows.
  static void multiply_rows(const Panel& panel, int rows) {
    for (int first = 0, m = 0, tiles = 0; first < rows; first += m * tiles) {
      m = min_of(panel.lhs_rows.run(first, rows), panel.dst_rows.run(first, rows));
      tiles = m == panel.tile ? (rows - first) / m : 1;
      multiply_tiles(panel, first, m, tiles);
    }
  }

  // `m` rows of each of `tiles` tiles. They are spread evenly over blocks, so that none has much
  // fewer rows than there can be.
  static void multiply_tiles(const Panel& panel, int first, int m, int tiles) {
    const int vecs = (panel.cols + kWidth - 1) / kWidth;
    const bool part = panel.cols % kWidth != 0;
    const bool fixed = panel.lhs_rows.stride == kLhsRow && panel.lhs_stride == 1 &&
                       panel.rhs_stride == kRhsRow && panel.dst_rows.stride == kDstRow;
    const int most = most_rows(vecs);
    const int blocks = (m + most - 1) / most;
    const int height = m / blocks;
    const int longer = m % blocks;  // blocks that have one row more
    if (longer > 0) kKernels[index(height + 1, vecs, part, fixed)](panel, first, longer, tiles);
    kKernels[index(height, vecs, part, fixed)](panel, first + longer * (height + 1),
                                               blocks - longer, tiles);
  }
};

}  // namespace
}  // namespace tileflow
