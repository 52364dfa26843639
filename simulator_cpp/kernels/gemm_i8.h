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
  static constexpr int kPanels = 256 / kCols;  // packed before lhs goes past them
  static constexpr int kBlockRows = 24;        // of lhs, widened at once
  static constexpr int kChunk = 16;            // elements of a loop that becomes one vector

  static void run(const GemmArgs& args) {
    if (args.m <= 0 || args.n <= 0) return;
    const ViewOf<std::int32_t> dst(args.dst, args.n, args.tile);
    const Sides8 lhs = args.lhs_transposed ? Sides8(args.lhs, args.m, args.tile).transposed()
                                           : Sides8(args.lhs, args.k, args.tile);
    const Sides8 rhs = args.rhs_transposed ? Sides8(args.rhs, args.k, args.tile).transposed()
                                           : Sides8(args.rhs, args.n, args.tile);
    alignas(64) std::int16_t packed[kPanels * kDepth * kCols];
    alignas(64) std::int16_t block[kBlockRows * kDepth];
    for (int k0 = 0; k0 < args.k || k0 == 0; k0 += kDepth) {
      const int k = min_of(kDepth, args.k - k0);
      const bool clear = args.clear && k0 == 0;
      for (int c = 0; c < args.n; c += kPanels * kCols) {
        const int end = min_of(c + kPanels * kCols, args.n);
        for (int j = c; j < end; j += kCols) {
          pack(rhs, k0, k, j, min_of(kCols, end - j), packed + (j - c) * kDepth);
        }
        for (int r = 0; r < args.m; r += kBlockRows) {
          const int rows = min_of(kBlockRows, args.m - r);
          widen(lhs, r, rows, k0, k, block);
          for (int j = c; j < end; j += kCols) {
            multiply_rows(block, packed + (j - c) * kDepth, (k + 1) / 2, dst, r, rows, j,
                          min_of(kCols, end - j), clear);
          }
        }
      }
    }
  }

 private:
  static std::uint32_t pair_at(const std::int16_t* p) {
    std::uint32_t both;
    std::memcpy(&both, p, sizeof(both));
    return both;
  }

  static void multiply_rows(const std::int16_t* lhs, const std::int16_t* rhs, int pairs,
                            const ViewOf<std::int32_t>& dst, int r, int rows, int c, int cols,
                            bool clear) {
    for (int i = 0; i < rows; i += kRows) {
      multiply(lhs + i * kDepth, rhs, pairs, dst, r + i, min_of(kRows, rows - i), c, cols, clear);
    }
  }

  // Rows that are not there are computed from what is in the block, and not stored.
  static void multiply(const std::int16_t* lhs, const std::int16_t* rhs, int pairs,
                       const ViewOf<std::int32_t>& dst, int r, int rows, int c, int cols,
                       bool clear) {
    I acc[kRows][kVecs];
    unroll<kRows>([&](auto i) { unroll<kVecs>([&](auto v) { acc[i][v] = V::splat_bits(0); }); });
    for (int p = 0; p < pairs; ++p, lhs += 2, rhs += 2 * kCols) {
      I row[kVecs];
      unroll<kVecs>([&](auto v) { row[v] = V::load_pairs(rhs + 2 * v * kWidth); });
      unroll<kRows>([&](auto i) {
        const I each = V::splat_bits(pair_at(lhs + i * kDepth));
        unroll<kVecs>([&](auto v) { acc[i][v] = V::dot(acc[i][v], each, row[v]); });
      });
    }
    alignas(64) std::int32_t sums[kRows][kCols];
    unroll<kRows>(
        [&](auto i) { unroll<kVecs>([&](auto v) { V::store(&sums[i][v * kWidth], acc[i][v]); }); });
    for (int j = 0, run = 0; j < cols; j += run) {
      run = dst.cols.run(c + j, c + cols);
      for (int i = 0; i < rows; ++i) add_run(dst.at(r + i, c + j), &sums[i][j], run, clear);
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

  // packed[p][j] = rhs[k0 + 2p][c + j], rhs[k0 + 2p + 1][c + j], kCols pairs a row; 0 beyond.
  static void pack(const Sides8& rhs, int k0, int k, int c, int cols, std::int16_t* packed) {
    for (int p = 0; 2 * p < k; ++p, packed += 2 * kCols) {
      for (int j = 0, run = 0; j < cols; j += run) {
        run = rhs.cols.run(c + j, c + cols);
        const std::int8_t* low = rhs.at(k0 + 2 * p, c + j);
        // Neighbours in k are in one tile, whose edge is even.
        const std::int8_t* high = 2 * p + 1 < k ? low + rhs.rows.stride : nullptr;
        interleave(low, high, rhs.cols.stride, run, packed + 2 * j);
      }
      for (int j = 2 * cols; j < 2 * kCols; ++j) packed[j] = 0;
    }
  }

  static void interleave(const std::int8_t* low, const std::int8_t* high, std::ptrdiff_t stride,
                         int count, std::int16_t* to) {
    int j = 0;
    if (stride == 1 && high != nullptr) {
      for (; j + kChunk <= count; j += kChunk) {
        std::int32_t lanes[kChunk];
        for (int i = 0; i < kChunk; ++i) {
          lanes[i] = (low[j + i] & 0xFFFF) | static_cast<std::int32_t>(high[j + i]) * (1 << 16);
        }
        std::memcpy(to + 2 * j, lanes, sizeof(lanes));
      }
    }
    for (; j < count; ++j) {
      to[2 * j] = low[j * stride];
      to[2 * j + 1] = high != nullptr ? high[j * stride] : std::int8_t{0};
    }
  }

  // block[i][j] = lhs[r + i][k0 + j], kDepth elements a row; 0 beyond, up to an even number.
  static void widen(const Sides8& lhs, int r, int rows, int k0, int k, std::int16_t* block) {
    for (int i = 0; i < rows; ++i, block += kDepth) {
      for (int j = 0, run = 0; j < k; j += run) {
        run = lhs.cols.run(k0 + j, k0 + k);
        extend(lhs.at(r + i, k0 + j), lhs.cols.stride, run, block + j);
      }
      if (k % 2 != 0) block[k] = 0;
    }
  }

  static void extend(const std::int8_t* from, std::ptrdiff_t stride, int count, std::int16_t* to) {
    int j = 0;
    if (stride == 1) {
      for (; j + kChunk <= count; j += kChunk) {
        for (int i = j; i < j + kChunk; ++i) to[i] = from[i];
      }
    }
    for (; j < count; ++j) to[j] = from[j * stride];
  }
};

}  // namespace
}  // namespace tileflow
