// gemm: panels of columns of rhs, packed where that pays, against panels of rows of lhs in place.
// Elements that are not floats are widened: those of rhs as they are packed, those of lhs into a
// block of their own.
//
// The accumulators of a block stay in registers along k. Where k is cut, so that a packed panel
// fits in the first-level cache, they pass through dst, which changes no bit.
#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <type_traits>
#include <utility>

#include "kernels/cast.h"
#include "kernels/transpose_narrow.h"
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

constexpr int kPanelDepth = 256;  // k of a packed panel; a multiple of every tile
constexpr int kWidenedRows = 32;  // of lhs; a multiple or a part of every tile
constexpr int kLhsAtOnce = 2048;  // floats of lhs that stay in the first-level cache with panels

// T: the type of the elements of lhs and rhs.
template <class V, class T>
struct Gemm {
  static constexpr bool kWidens = !std::is_same_v<T, float>;
  using F = typename V::F;
  static constexpr int kWidth = V::kWidth;
  // Two vectors of columns and so many rows fill the registers and hide the latency of fma; with
  // few rows, four vectors do.
  static constexpr int kRows = V::kRegisters >= 32 ? 8 : 6;
  static constexpr int kCols = 2 * kWidth;
  static constexpr int kMostVecs = 4;
  static constexpr int kMostPanels = 8;
  static constexpr int most_vecs(int rows) { return rows <= kRows / 2 ? kMostVecs : 2; }

  // What the blocks of a panel of columns have in common.
  struct Panel {
    const float* lhs;  // row 0, at the first k
    float* dst;        // row 0, at the first column
    const float* rhs;
    Axis lhs_rows, dst_rows;
    std::ptrdiff_t lhs_stride, rhs_stride;        // floats from a k to the next within a tile,
    std::ptrdiff_t lhs_tile_step, rhs_tile_step;  // and from a tile to the next
    int k, tile, cols;
    bool clear, packed;
  };

  // `count` blocks of R rows, all of them evenly spaced in lhs and in dst, and N vectors of
  // columns, the last of them partial where kPart. kUnit: lhs_stride is 1 and rhs_stride kCols,
  // so that addresses in the inner loop are constants away from few pointers.
  template <int R, int N, bool kPart, bool kUnit>
  [[gnu::flatten]] static void multiply(const Panel& panel, int first, int count) {
    const float* lhs = panel.lhs + panel.lhs_rows.at(first);
    float* dst = panel.dst + panel.dst_rows.at(first);
    for (; count > 0; --count) {
      block<R, N, kPart, kUnit>(panel, lhs, dst);
      lhs += R * panel.lhs_rows.stride;
      dst += R * panel.dst_rows.stride;
    }
  }

  template <int R, int N, bool kPart, bool kUnit>
  static void block(const Panel& panel, const float* lhs, float* dst) {
    const std::ptrdiff_t lhs_row = panel.lhs_rows.stride;
    const std::ptrdiff_t dst_row = panel.dst_rows.stride;
    const auto tail = V::tail(panel.cols - (N - 1) * kWidth);
    const auto load = [&](const float* p, auto v) {
      return kPart && v == N - 1 ? V::load(p + v * kWidth, tail) : V::load(p + v * kWidth);
    };
    F acc[R][N];
    if (panel.clear) {
      unroll<R>([&](auto r) { unroll<N>([&](auto v) { acc[r][v] = V::splat(0.0F); }); });
    } else {
      unroll<R>(
          [&](auto r) { unroll<N>([&](auto v) { acc[r][v] = load(dst + r * dst_row, v); }); });
    }
    // The block below: dst is larger than the first-level cache.
    unroll<R>([&](auto r) { __builtin_prefetch(dst + (R + r) * dst_row, 1, 3); });

    const std::ptrdiff_t lhs_stride = kUnit ? 1 : panel.lhs_stride;
    const std::ptrdiff_t rhs_stride = kUnit ? kCols : panel.rhs_stride;
    const float* rhs_tile = panel.rhs;
    for (int left = panel.k; left > 0; left -= panel.tile) {
      const float* a = lhs;
      const float* b = rhs_tile;
#pragma GCC unroll 4
      for (int steps = min_of(left, panel.tile); steps > 0; --steps) {
        F row[N];
        unroll<N>([&](auto v) { row[v] = load(b, v); });
        unroll<R>([&](auto r) {
          const F each = V::splat(a[r * lhs_row]);
          unroll<N>([&](auto v) { acc[r][v] = V::fma(each, row[v], acc[r][v]); });
        });
        a += lhs_stride;
        b += rhs_stride;
      }
      lhs += panel.lhs_tile_step;
      rhs_tile += panel.rhs_tile_step;
    }

    unroll<R>([&](auto r) {
      unroll<N>([&](auto v) {
        if constexpr (kPart && v == N - 1) {
          V::store(dst + r * dst_row + v * kWidth, acc[r][v], tail);
        } else {
          V::store(dst + r * dst_row + v * kWidth, acc[r][v]);
        }
      });
    });
  }

  using Kernel = void (*)(const Panel&, int first, int count);

  template <int R, int N, bool kPart, bool kUnit>
  static constexpr Kernel kernel() {
    if constexpr (N > most_vecs(R) || (kUnit && N > 2)) {
      return nullptr;
    } else {
      return multiply<R, N, kPart, kUnit>;
    }
  }
  static constexpr int index(int rows, int vecs, bool part, bool unit) {
    return ((rows - 1) * kMostVecs + vecs - 1) * 4 + (part ? 2 : 0) + (unit ? 1 : 0);
  }
  template <int... I>
  static constexpr auto make_table(std::integer_sequence<int, I...>) {
    return std::array<Kernel, sizeof...(I)>{
        kernel<I / 4 / kMostVecs + 1, I / 4 % kMostVecs + 1, (I & 2) != 0, (I & 1) != 0>()...};
  }
  static constexpr auto kKernels =
      make_table(std::make_integer_sequence<int, kRows * kMostVecs * 4>());

  // The panel's columns of the rows from `first` to `end`. Those between two edges of tiles are
  // spread evenly over blocks, so that none has much fewer than kRows.
  static void multiply_rows(const Panel& panel, int first, int end) {
    const int vecs = (panel.cols + kWidth - 1) / kWidth;
    const bool part = panel.cols % kWidth != 0;
    const bool unit = panel.packed && panel.lhs_stride == 1;
    for (int m = 0; first < end; first += m) {
      m = min_of(panel.lhs_rows.run(first, end), panel.dst_rows.run(first, end));
      const int blocks = (m + kRows - 1) / kRows;
      const int rows = m / blocks;
      const int longer = m % blocks;  // blocks that have one row more
      if (longer > 0) kKernels[index(rows + 1, vecs, part, unit)](panel, first, longer);
      kKernels[index(rows, vecs, part, unit)](panel, first + longer * (rows + 1), blocks - longer);
    }
  }

  static void multiply_in_place(Panel& panel, const View& dst, const View& rhs, int m, int n) {
    panel.packed = false;
    panel.rhs_stride = rhs.rows.stride;
    panel.rhs_tile_step = rhs.rows.tile_step;
    const int most = m <= kRows ? most_vecs(m) * kWidth : kCols;
    for (int c = 0; c < n; c += panel.cols) {
      panel.cols = min_of(most, min_of(dst.cols.run(c, n), rhs.cols.run(c, n)));
      panel.rhs = rhs.at(0, c);
      panel.dst = dst.at(0, c);
      multiply_rows(panel, 0, m);
    }
  }

  // Panels of rhs are packed, as many as fit, and meet lhs block by block, so that neither leaves
  // the first-level cache before it is done with.
  static void multiply_packed(Panel& panel, const View& dst, const ViewOf<T>& lhs,
                              const ViewOf<T>& rhs, int m, int n, int k) {
    alignas(64) float packed[kPanelDepth * kCols];
    alignas(64) float block[kWidens ? kPanelDepth * kWidenedRows : 1];
    if constexpr (kWidens) {
      panel.lhs = block;
      panel.lhs_rows =
          Axis{kPanelDepth, std::ptrdiff_t{kPanelDepth} * panel.tile, panel.tile, lhs.rows.shift};
      panel.lhs_stride = 1;
      panel.lhs_tile_step = panel.tile;
    }
    const bool clear = panel.clear;
    panel.packed = true;
    panel.rhs_stride = kCols;
    panel.rhs_tile_step = std::ptrdiff_t{kCols} * panel.tile;
    for (int k0 = 0; k0 < k; k0 += kPanelDepth) {
      panel.k = min_of(kPanelDepth, k - k0);
      panel.clear = clear && k0 == 0;
      const int depth = (panel.k + panel.tile - 1) / panel.tile * panel.tile;
      const int size = depth * kCols;
      const int panels = kPanelDepth / depth;
      const int rows_at_once =
          kWidens ? kWidenedRows : (kLhsAtOnce / depth + panel.tile) / panel.tile * panel.tile;
      for (int c = 0, end = 0; c < n; c = end) {
        std::array<int, kMostPanels + 1> first;
        int count = 0;
        for (end = c; end < n && count < min_of(panels, kMostPanels); ++count) {
          first[count] = end;
          end += min_of(kCols, min_of(dst.cols.run(end, n), rhs.cols.run(end, n)));
          pack(rhs, k0, panel.k, first[count], end - first[count], packed + count * size);
        }
        first[count] = end;
        for (int r = 0; r < m; r += rows_at_once) {
          const int rows = min_of(rows_at_once, m - r);
          if constexpr (kWidens) {
            widen(lhs, r, rows, k0, panel.k, block);
          } else {
            panel.lhs = lhs.at(r, k0);
          }
          for (int i = 0; i < count; ++i) {
            panel.rhs = packed + i * size;
            panel.dst = dst.at(r, first[i]);
            panel.cols = first[i + 1] - first[i];
            multiply_rows(panel, 0, rows);
          }
        }
      }
    }
  }

  // packed[i][j] = rhs[k0 + i][c + j], kCols floats a row.
  static void pack(const ViewOf<T>& rhs, int k0, int k, int c, int cols, float* packed) {
    const int tile = rhs.rows.tile;
    for (int i = 0; i < k; i += tile, packed += std::ptrdiff_t{kCols} * tile) {
      const int depth = min_of(tile, k - i);
      const T* src = rhs.at(k0 + i, c);
      if (rhs.cols.stride != 1) {
        transpose_widened(src, rhs.cols.stride, packed, kCols, cols, depth);
        continue;
      }
      for (int row = 0; row < depth; ++row, src += rhs.rows.stride) {
        copy_widened(src, packed + row * kCols, cols);
      }
    }
  }

  // block[i][j] = lhs[r + i][k0 + j], kPanelDepth floats a row.
  static void widen(const ViewOf<T>& lhs, int r, int rows, int k0, int k, float* block) {
    for (int i = 0, height = 0; i < rows; i += height) {
      height = lhs.rows.run(r + i, r + rows);
      for (int j = 0, width = 0; j < k; j += width) {
        width = lhs.cols.run(k0 + j, k0 + k);
        const T* src = lhs.at(r + i, k0 + j);
        float* to = block + i * kPanelDepth + j;
        if (lhs.cols.stride != 1) {
          transpose_widened(src, lhs.cols.stride, to, kPanelDepth, width, height);
          continue;
        }
        for (int row = 0; row < height; ++row, src += lhs.rows.stride) {
          copy_widened(src, to + row * kPanelDepth, width);
        }
      }
    }
  }

  static void copy_widened(const T* src, float* dst, int count) {
    int j = 0;
    for (; j + kWidth <= count; j += kWidth) V::store(dst + j, widened<V>(src + j));
    if (j == count) return;
    T rest[kWidth]{};
    std::memcpy(rest, src + j, sizeof(T) * static_cast<std::size_t>(count - j));
    V::store(dst + j, widened<V>(rest), V::tail(count - j));
  }

  // dst[c * dst_stride + r] = src[r * src_stride + c] for rows x cols.
  static void transpose_widened(const T* src, std::ptrdiff_t src_stride, float* dst,
                                std::ptrdiff_t dst_stride, int rows, int cols) {
    if constexpr (kWidens) {
      constexpr int kSide = 32;
      T turned[kSide * kSide];
      for (int r = 0; r < rows; r += kSide) {
        const int height = min_of(kSide, rows - r);
        for (int c = 0; c < cols; c += kSide) {
          const int width = min_of(kSide, cols - c);
          transpose_elements<V>(src + r * src_stride + c, src_stride, turned, kSide, height, width);
          for (int j = 0; j < width; ++j) {
            copy_widened(turned + j * kSide, dst + (c + j) * dst_stride + r, height);
          }
        }
      }
    } else {
      transpose_rectangle<V>(src, src_stride, dst, dst_stride, rows, cols);
    }
  }

  static void run(const GemmArgs& args) {
    if (args.m <= 0 || args.n <= 0) return;
    const View dst(args.dst, args.n, args.tile);
    using Side = ViewOf<T>;
    const Side lhs = args.lhs_transposed ? Side(args.lhs, args.m, args.tile).transposed()
                                         : Side(args.lhs, args.k, args.tile);
    const Side rhs = args.rhs_transposed ? Side(args.rhs, args.k, args.tile).transposed()
                                         : Side(args.rhs, args.n, args.tile);
    Panel panel{};
    panel.lhs_rows = lhs.rows;
    panel.dst_rows = dst.rows;
    panel.lhs_stride = lhs.cols.stride;
    panel.lhs_tile_step = lhs.cols.tile_step;
    panel.k = args.k;
    panel.tile = args.tile;
    panel.clear = args.clear;
    // Packing pays where several blocks read the panel. Without k there is only dst to clear.
    const bool pays = kWidens || args.m > 2 * kRows || args.rhs_transposed;
    if (args.k == 0) {
      panel.lhs = dst.data;
      panel.lhs_rows = dst.rows;
      multiply_in_place(panel, dst, dst, args.m, args.n);
    } else if (pays) {
      multiply_packed(panel, dst, lhs, rhs, args.m, args.n, args.k);
    } else if constexpr (!kWidens) {
      panel.lhs = lhs.data;
      multiply_in_place(panel, dst, rhs, args.m, args.n);
    }
  }
};

}  // namespace
}  // namespace tileflow
