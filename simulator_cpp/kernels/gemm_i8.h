// gemm of i8 into i32: pairs of neighbours in k are widened to the 16-bit halves of a lane, and
// V::dot multiplies and adds both. Sums are modulo 2^32, so that their order does not matter.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/gemm.h"
#include "kernels/transpose_narrow.h"
#include "kernels/view.h"

namespace tileflow {
namespace {

template <class V>
struct GemmI8 {
  using I = typename V::I;
  using Sides8 = ViewOf<std::int8_t>;
  static constexpr int kWidth = V::kWidth;
  static constexpr int kRows = V::kRegisters >= 32 ? 8 : 6;
  static constexpr int kVecs = 2;
  static constexpr int kCols = kVecs * kWidth;
  static constexpr int kDepth = 256;           // k of a packed panel
  static constexpr int kPairs = kDepth / 2;    // lanes of it
  static constexpr int kPanels = 256 / kCols;  // packed before lhs goes past them
  static constexpr int kBlockRows = 24;        // of lhs, widened at once

  static void run(const GemmArgs& args) {
    if (args.m <= 0 || args.n <= 0) return;
    const ViewOf<std::int32_t> dst(args.dst, args.n, args.tile);
    const Sides8 lhs = args.lhs_transposed ? Sides8(args.lhs, args.m, args.tile).transposed()
                                           : Sides8(args.lhs, args.k, args.tile);
    const Sides8 rhs = args.rhs_transposed ? Sides8(args.rhs, args.k, args.tile).transposed()
                                           : Sides8(args.rhs, args.n, args.tile);
    alignas(64) std::int32_t packed[kPanels * kPairs * kCols];
    alignas(64) std::int32_t block[kBlockRows * kPairs];
    for (int k0 = 0; k0 < args.k || k0 == 0; k0 += kDepth) {
      const int k = min_of(kDepth, args.k - k0);
      const bool clear = args.clear && k0 == 0;
      for (int c = 0; c < args.n; c += kPanels * kCols) {
        const int end = min_of(c + kPanels * kCols, args.n);
        for (int j = c; j < end; j += kCols) {
          pack(rhs, k0, k, j, min_of(kCols, end - j), packed + (j - c) * kPairs);
        }
        for (int r = 0; r < args.m; r += kBlockRows) {
          const int rows = min_of(kBlockRows, args.m - r);
          widen(lhs, r, rows, k0, k, block);
          for (int j = c; j < end; j += kCols) {
            multiply_rows(block, packed + (j - c) * kPairs, (k + 1) / 2, dst, r, rows, j,
                          min_of(kCols, end - j), clear);
          }
        }
      }
    }
  }

 private:
  static void multiply_rows(const std::int32_t* lhs, const std::int32_t* rhs, int pairs,
                            const ViewOf<std::int32_t>& dst, int r, int rows, int c, int cols,
                            bool clear) {
    for (int i = 0; i < rows; i += kRows) {
      multiply(lhs + i * kPairs, rhs, pairs, dst, r + i, min_of(kRows, rows - i), c, cols, clear);
    }
  }

  // Rows that are not there are computed from what is in the block, and not stored.
  static void multiply(const std::int32_t* lhs, const std::int32_t* rhs, int pairs,
                       const ViewOf<std::int32_t>& dst, int r, int rows, int c, int cols,
                       bool clear) {
    I acc[kRows][kVecs];
    unroll<kRows>([&](auto i) { unroll<kVecs>([&](auto v) { acc[i][v] = V::splat_bits(0); }); });
    for (int p = 0; p < pairs; ++p, ++lhs, rhs += kCols) {
      I row[kVecs];
      unroll<kVecs>([&](auto v) { row[v] = V::load(rhs + v * kWidth); });
      unroll<kRows>([&](auto i) {
        const I each = V::splat_bits(static_cast<std::uint32_t>(lhs[i * kPairs]));
        unroll<kVecs>([&](auto v) { acc[i][v] = V::dot(acc[i][v], each, row[v]); });
      });
    }
    alignas(64) std::int32_t sums[kRows][kCols];
    unroll<kRows>(
        [&](auto i) { unroll<kVecs>([&](auto v) { V::store(&sums[i][v * kWidth], acc[i][v]); }); });
    for (int i = 0; i < rows; ++i) {
      for (int j = 0, run = 0; j < cols; j += run) {
        run = dst.cols.run(c + j, c + cols);
        add_run(dst.at(r + i, c + j), &sums[i][j], run, clear);
      }
    }
  }

  static void add_run(std::int32_t* dst, const std::int32_t* sums, int count, bool clear) {
    int j = 0;
    for (; j + kWidth <= count; j += kWidth) {
      const I sum = V::load(sums + j);
      V::store(dst + j, clear ? sum : V::add(V::load(dst + j), sum));
    }
    for (; j < count; ++j) {
      const std::uint32_t before = clear ? 0 : static_cast<std::uint32_t>(dst[j]);
      dst[j] = static_cast<std::int32_t>(before + static_cast<std::uint32_t>(sums[j]));
    }
  }

  static std::int32_t pair(std::int8_t low, std::int8_t high) {
    const auto half = [](std::int8_t x) { return static_cast<std::uint16_t>(std::int16_t{x}); };
    return static_cast<std::int32_t>(half(low) | std::uint32_t{half(high)} << 16);
  }

  // packed[p][j] = rhs[k0 + 2p][c + j] and rhs[k0 + 2p + 1][c + j], kCols lanes a row; 0 beyond.
  static void pack(const Sides8& rhs, int k0, int k, int c, int cols, std::int32_t* packed) {
    std::int8_t low[kCols];
    std::int8_t high[kCols];
    for (int p = 0; 2 * p < k; ++p, packed += kCols) {
      take(rhs.transposed(), c, cols, k0 + 2 * p, low, kCols);
      if (2 * p + 1 < k) {
        take(rhs.transposed(), c, cols, k0 + 2 * p + 1, high, kCols);
      } else {
        std::memset(high, 0, sizeof(high));
      }
      for (int j = 0; j < kCols; ++j) packed[j] = pair(low[j], high[j]);
    }
  }

  // to[i] = side[first + i][at], 0 from `count` on.
  static void take(const Sides8& side, int first, int count, int at, std::int8_t* to, int size) {
    for (int i = 0, run = 0; i < count; i += run) {
      run = side.rows.run(first + i, first + count);
      const std::int8_t* from = side.at(first + i, at);
      if (side.rows.stride == 1) {
        std::memcpy(to + i, from, static_cast<std::size_t>(run));
      } else {
        for (int j = 0; j < run; ++j) to[i + j] = from[j * side.rows.stride];
      }
    }
    if (count < size) std::memset(to + count, 0, static_cast<std::size_t>(size - count));
  }

  // block[i][p] = lhs[r + i][k0 + 2p] and lhs[r + i][k0 + 2p + 1], kPairs lanes a row; 0 beyond.
  static void widen(const Sides8& lhs, int r, int rows, int k0, int k, std::int32_t* block) {
    std::int8_t row[kDepth];
    const int even = (k + 1) / 2 * 2;
    for (int i = 0; i < rows; ++i, block += kPairs) {
      take(lhs.transposed(), k0, k, r + i, row, even);
      for (int p = 0; p < even / 2; ++p) block[p] = pair(row[2 * p], row[2 * p + 1]);
    }
  }
};

}  // namespace
}  // namespace tileflow
