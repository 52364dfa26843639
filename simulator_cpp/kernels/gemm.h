// gemm: panels of columns of rhs, packed where that pays, against panels of rows of lhs in place.
//
// The accumulators of a block stay in registers along k. Where k is cut, so that a packed panel
// fits in the first-level cache, they pass through dst, which changes no bit.
#pragma once

#include <array>
#include <utility>

#include "kernels/transpose.h"
#include "kernels/view.h"

namespace tileflow {
namespace {

constexpr int kPanelDepth = 256;  // k of a packed panel; a multiple of every tile

template <class V>
struct Gemm {
  using F = typename V::F;
  static constexpr int kWidth = V::kWidth;
  // Two vectors of columns and so many rows fill the registers and hide the latency of fma; with
  // few rows, four vectors do.
  static constexpr int kRows = V::kRegisters >= 32 ? 8 : 6;
  static constexpr int kCols = 2 * kWidth;
  static constexpr int kMostVecs = 4;
  static constexpr int most_vecs(int rows) { return rows <= kRows / 2 ? kMostVecs : 2; }

  // A block of dst, and what it is made from; lhs and dst have a pointer for each row.
  struct Block {
    std::array<const float*, kRows> lhs;
    std::array<float*, kRows> dst;
    const float* rhs;
    std::ptrdiff_t lhs_stride, rhs_stride;        // floats from a k to the next within a tile,
    std::ptrdiff_t lhs_tile_step, rhs_tile_step;  // and from a tile to the next
    int k, tile, cols;
    bool clear;
  };

  // R rows and N vectors of columns, the last of them partial where kPart.
  template <int R, int N, bool kPart>
  static void multiply(const Block& block) {
    const auto tail = V::tail(block.cols - (N - 1) * kWidth);
    const auto load = [&](const float* p, int v) {
      return kPart && v == N - 1 ? V::load(p + v * kWidth, tail) : V::load(p + v * kWidth);
    };
    F acc[R][N];
    const float* lhs[R];
    for (int r = 0; r < R; ++r) {
      lhs[r] = block.lhs[r];
      for (int v = 0; v < N; ++v) acc[r][v] = block.clear ? V::splat(0.0F) : load(block.dst[r], v);
    }
    const float* rhs_tile = block.rhs;
    const std::ptrdiff_t lhs_stride = block.lhs_stride;
    const std::ptrdiff_t rhs_stride = block.rhs_stride;
    for (int left = block.k; left > 0; left -= block.tile) {
      const float* rhs = rhs_tile;
      std::ptrdiff_t at = 0;
#pragma GCC unroll 4
      for (int i = min_of(left, block.tile); i > 0; --i) {
        F b[N];
        for (int v = 0; v < N; ++v) b[v] = load(rhs, v);
        for (int r = 0; r < R; ++r) {
          const F a = V::splat(lhs[r][at]);
          for (int v = 0; v < N; ++v) acc[r][v] = V::fma(a, b[v], acc[r][v]);
        }
        at += lhs_stride;
        rhs += rhs_stride;
      }
      for (int r = 0; r < R; ++r) lhs[r] += block.lhs_tile_step;
      rhs_tile += block.rhs_tile_step;
    }
    for (int r = 0; r < R; ++r) {
      for (int v = 0; v < N; ++v) {
        float* dst = block.dst[r] + v * kWidth;
        if (kPart && v == N - 1) {
          V::store(dst, acc[r][v], tail);
        } else {
          V::store(dst, acc[r][v]);
        }
      }
    }
  }

  using Kernel = void (*)(const Block&);

  template <int R, int N>
  static constexpr Kernel kernel(bool part) {
    if constexpr (N > most_vecs(R)) {
      return nullptr;
    } else {
      return part ? multiply<R, N, true> : multiply<R, N, false>;
    }
  }
  static constexpr int index(int rows, int vecs, bool part) {
    return ((rows - 1) * kMostVecs + vecs - 1) * 2 + (part ? 1 : 0);
  }
  template <int... I>
  static constexpr auto make_table(std::integer_sequence<int, I...>) {
    return std::array<Kernel, sizeof...(I)>{
        kernel<I / 2 / kMostVecs + 1, I / 2 % kMostVecs + 1>(I % 2 == 1)...};
  }
  static constexpr auto kKernels =
      make_table(std::make_integer_sequence<int, kRows * kMostVecs * 2>());

  // dst[0 .. m, c .. c + block.cols] from what the block says of rhs and k0 .. k0 + block.k of
  // lhs. The rows are spread evenly over the panels, so that none is much shorter than kRows.
  static void multiply_rows(Block& block, const View& dst, const View& lhs, int m, int c, int k0) {
    const int panels = (m + kRows - 1) / kRows;
    const int vecs = (block.cols + kWidth - 1) / kWidth;
    const std::ptrdiff_t dst_c = dst.cols.at(c);
    const std::ptrdiff_t lhs_k = lhs.cols.at(k0);
    for (int panel = 0, r = 0; panel < panels; ++panel) {
      const int rows = m / panels + (panel < m % panels ? 1 : 0);
      for (int i = 0; i < rows; ++i, ++r) {
        block.lhs[i] = lhs.data + lhs.rows.at(r) + lhs_k;
        block.dst[i] = dst.data + dst.rows.at(r) + dst_c;
      }
      kKernels[index(rows, vecs, block.cols % kWidth != 0)](block);
    }
  }

  static void multiply_in_place(Block& block, const View& dst, const View& lhs, const View& rhs,
                                int m, int n) {
    block.rhs_stride = rhs.rows.stride;
    block.rhs_tile_step = rhs.rows.tile_step;
    const int most = m <= kRows ? most_vecs(m) * kWidth : kCols;
    for (int c = 0; c < n; c += block.cols) {
      block.cols = min_of(most, min_of(dst.cols.run(c, n), rhs.cols.run(c, n)));
      block.rhs = rhs.at(0, c);
      multiply_rows(block, dst, lhs, m, c, 0);
    }
  }

  static void multiply_packed(Block& block, const View& dst, const View& lhs, const View& rhs,
                              int m, int n, int k) {
    alignas(64) float panel[kPanelDepth * kCols];
    const bool clear = block.clear;
    block.rhs = panel;
    block.rhs_stride = kCols;
    block.rhs_tile_step = std::ptrdiff_t{kCols} * block.tile;
    for (int c = 0; c < n; c += block.cols) {
      block.cols = min_of(kCols, min_of(dst.cols.run(c, n), rhs.cols.run(c, n)));
      for (int k0 = 0; k0 < k; k0 += kPanelDepth) {
        block.k = min_of(kPanelDepth, k - k0);
        block.clear = clear && k0 == 0;
        pack(rhs, k0, block.k, c, block.cols, panel);
        multiply_rows(block, dst, lhs, m, c, k0);
      }
    }
  }

  // panel[i][j] = rhs[k0 + i][c + j], kCols floats a row.
  static void pack(const View& rhs, int k0, int k, int c, int cols, float* panel) {
    const int tile = rhs.rows.tile;
    const auto tail = V::tail(cols % kWidth);
    for (int i = 0; i < k; i += tile, panel += std::ptrdiff_t{kCols} * tile) {
      const int depth = min_of(tile, k - i);
      const float* src = rhs.at(k0 + i, c);
      if (rhs.cols.stride != 1) {
        transpose_rectangle<V>(src, rhs.cols.stride, panel, kCols, cols, depth);
        continue;
      }
      for (int row = 0; row < depth; ++row, src += rhs.rows.stride) {
        float* to = panel + row * kCols;
        int j = 0;
        for (; j + kWidth <= cols; j += kWidth) V::store(to + j, V::load(src + j));
        if (j < cols) V::store(to + j, V::load(src + j, tail), tail);
      }
    }
  }

  static void run(const GemmArgs& args) {
    if (args.m <= 0 || args.n <= 0) return;
    const View dst(args.dst, args.n, args.tile);
    const View lhs = args.lhs_transposed ? View(args.lhs, args.m, args.tile).transposed()
                                         : View(args.lhs, args.k, args.tile);
    const View rhs = args.rhs_transposed ? View(args.rhs, args.k, args.tile).transposed()
                                         : View(args.rhs, args.n, args.tile);
    Block block{};
    block.lhs_stride = lhs.cols.stride;
    block.lhs_tile_step = lhs.cols.tile_step;
    block.k = args.k;
    block.tile = args.tile;
    block.clear = args.clear;
    // A panel is worth packing where several blocks read it. One without k only clears.
    const bool pays = args.m > 2 * kRows || args.rhs_transposed;
    if (pays && args.k > 0) {
      multiply_packed(block, dst, lhs, rhs, args.m, args.n, args.k);
    } else {
      multiply_in_place(block, dst, lhs, rhs, args.m, args.n);
    }
  }
};

}  // namespace
}  // namespace tileflow
