// gemm: panels of columns of rhs, packed where that pays, against panels of rows of lhs in place.
// Elements that are not floats are widened: those of rhs as they are packed, those of lhs into a
// block of their own.
//
// The accumulators of a block stay in registers along k. Where k is cut, so that a panel fits in
// the first-level cache, they pass through dst, which changes no bit.
#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <type_traits>

#include "kernels/cast.h"
#include "kernels/elementwise.h"
#include "kernels/gemm_block.h"
#include "kernels/transpose_narrow.h"
#include "kernels/view.h"

namespace tileflow {
namespace {

constexpr int kPanelDepth = 128;    // k of a panel; a multiple of every tile
constexpr int kGroupDepth = 256;    // k of the panels of a group, put end to end
constexpr int kWidenedRows = 32;    // of lhs; a multiple or a part of every tile
constexpr int kLhsAtOnce = 8192;    // floats of lhs that stay in cache while panels go past
constexpr int kInPlaceSpan = 4096;  // floats from the first to the last row of a panel in place
constexpr int kFewRows = 16;        // for which nothing is packed
constexpr int kTileSide = 32;       // of machines that are common

// T: the type of the elements of lhs and rhs.
template <class V, class T>
struct Gemm {
  static constexpr bool kWidens = !std::is_same_v<T, float>;
  static constexpr int kWidth = V::kWidth;
  static constexpr int kCols = kPanelVecs<V> * kWidth;
  static constexpr int kMostPanels = 8;
  // What was widened has strides of its own.
  using Blocks =
      GemmBlocks<V, kWidens ? kPanelDepth : kTileSide, kWidens ? kCols : kTileSide, kTileSide>;

  // Whether panels of rhs are packed: where there is another need to copy them, or where several
  // blocks of rows read a panel whose rows lie too far apart to stay in the first-level cache.
  static bool packs(const GemmArgs& args, const ViewOf<T>& rhs) {
    if (kWidens || args.rhs_transposed) return true;
    const std::ptrdiff_t span = min_of(args.k, kPanelDepth) * rhs.rows.stride;
    return args.m > kFewRows && rhs.rows.stride != kCols && span > kInPlaceSpan;
  }

  // Panels of rhs, as many as fit, meet lhs block by block, so that neither leaves the first-level
  // cache before it is done with.
  template <bool kPacks>
  static void multiply_panels(Panel& panel, const View& dst, const ViewOf<T>& lhs,
                              const ViewOf<T>& rhs, int m, int n, int k) {
    alignas(64) float packed[kPacks ? kGroupDepth * kCols : 1];
    alignas(64) float block[kWidens ? kPanelDepth * kWidenedRows : 1];
    if constexpr (kWidens) {
      panel.lhs = block;
      panel.lhs_rows =
          Axis{kPanelDepth, std::ptrdiff_t{kPanelDepth} * panel.tile, panel.tile, lhs.rows.shift};
      panel.lhs_stride = 1;
      panel.lhs_tile_step = panel.tile;
    }
    const bool clear = panel.clear;
    const int most_cols = !kPacks && m <= Blocks::most_rows(4) ? 4 * kWidth : kCols;
    panel.rhs_stride = kPacks ? kCols : rhs.rows.stride;
    panel.rhs_tile_step = kPacks ? std::ptrdiff_t{kCols} * panel.tile : rhs.rows.tile_step;
    for (int k0 = 0; k0 < k; k0 += kPanelDepth) {
      panel.k = min_of(kPanelDepth, k - k0);
      panel.clear = clear && k0 == 0;
      const int depth = (panel.k + panel.tile - 1) / panel.tile * panel.tile;
      const int panels = min_of(kGroupDepth / depth, kMostPanels);
      const int rows_at_once =
          kWidens ? kWidenedRows : (kLhsAtOnce / depth + panel.tile) / panel.tile * panel.tile;
      for (int c = 0, end = 0; c < n; c = end) {
        std::array<int, kMostPanels + 1> first;
        int count = 0;
        for (end = c; end < n && count < panels; ++count) {
          first[count] = end;
          end += min_of(most_cols, min_of(dst.cols.run(end, n), rhs.cols.run(end, n)));
          if constexpr (kPacks) {
            pack(rhs, k0, panel.k, first[count], end - first[count],
                 packed + count * depth * kCols);
          }
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
            panel.rhs = kPacks ? packed + i * depth * kCols : in_place(rhs, k0, first[i]);
            panel.dst = dst.at(r, first[i]);
            panel.cols = first[i + 1] - first[i];
            Blocks::multiply_rows(panel, rows);
          }
        }
      }
    }
  }

  static const float* in_place(const ViewOf<T>& rhs, int k, int c) {
    if constexpr (kWidens) {
      return nullptr;
    } else {
      return rhs.at(k, c);
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
    if (args.k <= 0) {
      if (args.clear) fill<float>({args.dst, args.m, args.n, args.tile, 0});
      return;
    }
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
    if (packs(args, rhs)) {
      multiply_panels<true>(panel, dst, lhs, rhs, args.m, args.n, args.k);
    } else {
      multiply_panels<false>(panel, dst, lhs, rhs, args.m, args.n, args.k);
    }
  }
};

}  // namespace
}  // namespace tileflow
