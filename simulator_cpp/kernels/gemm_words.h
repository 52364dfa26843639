// gemm of narrow elements: neighbours in k share a 32-bit word, and one step multiplies the words
// of both sides and adds their products. Both sides are packed: the words of a step lie side by
// side.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "kernels/gemm.h"
#include "kernels/view.h"

namespace tileflow {
namespace {

// The sides differ in what a word holds. kDot's first operand is of lhs, its second of rhs.
enum class Factor : bool { kLhs, kRhs };

// Four words.
typedef std::int32_t Words __attribute__((vector_size(16)));
template <class Vector>
void store_words(std::int32_t* to, Vector words) {
  static_assert(sizeof(words) == sizeof(Words));
  std::memcpy(to, &words, sizeof(words));
}
// Word i of row r becomes word r of row i, `stride` words a row.
inline void store_transposed(Words a, Words b, Words c, Words d, std::int32_t* to, int stride) {
  const Words ab = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  const Words cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
  store_words(to, __builtin_shufflevector(ab, cd, 0, 1, 4, 5));
  store_words(to + stride, __builtin_shufflevector(ab, cd, 2, 3, 6, 7));
  const Words ab_right = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Words cd_right = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  store_words(to + 2 * stride, __builtin_shufflevector(ab_right, cd_right, 0, 1, 4, 5));
  store_words(to + 3 * stride, __builtin_shufflevector(ab_right, cd_right, 2, 3, 6, 7));
}

// Steps:
//   Vector, In, Out, Acc     lanes; an element of the operands, and of dst; lanes of Out
//   kGroup                   elements of a word
//   load, store              lanes of Out
//   dot(acc, lhs, rhs)       lanes of words: the step
//   along<factor>(src)         Words of neighbours in k
//   kAcross, across<factor>    words of so many columns, neighbours in k a stride apart
//   word<factor>               one, of which only the first `count` elements are there
//   measure, first           what the words of rhs tell of their columns, and what sums start from
template <class Steps>
struct GemmWords {
  using V = typename Steps::Vector;
  using In = typename Steps::In;
  using Out = typename Steps::Out;
  using Acc = typename Steps::Acc;
  using Matrix = ViewOf<In>;
  static constexpr int kWidth = V::kWidth;
  static constexpr int kGroup = Steps::kGroup;
  static constexpr int kVecs = kWidth == 1 ? 4 : 2;
  static constexpr int kRows = V::kRegisters >= 32 ? 8 : 12 / kVecs;
  static constexpr int kCols = kVecs * kWidth;
  static constexpr int kWords = 128;            // of k in a packed panel
  static constexpr int kPanels = 256 / kCols;   // packed before lhs goes past them
  static constexpr int kBlockRows = 4 * kRows;  // of lhs, packed at once

  // Columns of rhs, packed.
  struct Panel {
    alignas(64) std::int32_t words[kWords * kCols];
    alignas(64) std::int32_t offset[kCols];
  };

  static void run(const GemmArgs& args) {
    if (args.m <= 0 || args.n <= 0) return;
    const ViewOf<Out> dst(args.dst, args.n, args.tile);
    // Rows of a side are those of lhs, or columns of rhs; its columns are k.
    const Matrix lhs = args.lhs_transposed ? Matrix(args.lhs, args.m, args.tile).transposed()
                                           : Matrix(args.lhs, args.k, args.tile);
    const Matrix rhs = args.rhs_transposed ? Matrix(args.rhs, args.k, args.tile)
                                           : Matrix(args.rhs, args.n, args.tile).transposed();
    Panel panels[kPanels];
    alignas(64) std::int32_t block[kWords * kBlockRows];
    for (int k0 = 0; k0 < args.k || k0 == 0; k0 += kWords * kGroup) {
      const int k = min_of(kWords * kGroup, args.k - k0);
      const int words = (k + kGroup - 1) / kGroup;
      const bool clear = args.clear && k0 == 0;
      for (int c = 0; c < args.n; c += kPanels * kCols) {
        const int end = min_of(c + kPanels * kCols, args.n);
        for (int j = c; j < end; j += kCols) {
          pack_panel(rhs, j, min_of(kCols, end - j), k0, k, panels[(j - c) / kCols]);
        }
        for (int r = 0; r < args.m; r += kBlockRows) {
          const int rows = min_of(kBlockRows, args.m - r);
          pack<Factor::kLhs, kBlockRows>(lhs, r, rows, k0, k, block);
          for (int j = c; j < end; j += kCols) {
            multiply_rows(block, panels[(j - c) / kCols], words, dst, r, rows, j,
                          min_of(kCols, end - j), clear);
          }
        }
      }
    }
  }

 private:
  // Where sums go: row 0 of each vector of columns.
  struct Target {
    Out* at[kVecs];
    std::ptrdiff_t stride;
  };

  // R rows and N vectors of columns.
  template <int R, int N>
  [[gnu::flatten]] static void multiply(const std::int32_t* lhs, const Panel& panel, int words,
                                        const Target& target, bool clear) {
    Out* dst[N];
    unroll<N>([&](auto v) { dst[v] = target.at[v]; });
    const std::ptrdiff_t stride = target.stride;
    Acc acc[R][N];
    unroll<N>([&](auto v) {
      const std::int32_t* const offset = panel.offset + v * kWidth;
      unroll<R>([&](auto r) {
        acc[r][v] =
            clear ? Steps::first(offset) : Steps::first(Steps::load(dst[v] + r * stride), offset);
      });
    });
    // The block below: dst is larger than the first-level cache.
    unroll<N>([&](auto v) {
      unroll<R>([&](auto r) { __builtin_prefetch(dst[v] + (R + r) * stride, 1, 3); });
    });
    const std::int32_t* rhs = panel.words;
#pragma GCC unroll 2
    for (; words > 0; --words, lhs += kBlockRows, rhs += kCols) {
      typename V::I row[N];
      unroll<N>([&](auto v) { row[v] = V::load(rhs + v * kWidth); });
      unroll<R>([&](auto r) {
        const auto each = V::splat_bits(static_cast<std::uint32_t>(lhs[r]));
        unroll<N>([&](auto v) { acc[r][v] = Steps::dot(acc[r][v], each, row[v]); });
      });
    }
    unroll<R>(
        [&](auto r) { unroll<N>([&](auto v) { Steps::store(dst[v] + r * stride, acc[r][v]); }); });
  }

  using Kernel = void (*)(const std::int32_t*, const Panel&, int, const Target&, bool);
  template <int... I>
  static constexpr std::array<Kernel, sizeof...(I)> kernels(std::integer_sequence<int, I...>) {
    return {multiply<I / kVecs + 1, I % kVecs + 1>...};
  }
  static constexpr auto kKernels = kernels(std::make_integer_sequence<int, kRows * kVecs>());
  static Kernel kernel(int rows, int vecs) { return kKernels[(rows - 1) * kVecs + vecs - 1]; }

  // Rows between two edges of tiles are spread evenly over blocks.
  static void multiply_rows(const std::int32_t* lhs, const Panel& panel, int words,
                            const ViewOf<Out>& dst, int r, int rows, int c, int cols, bool clear) {
    const int vecs = (cols + kWidth - 1) / kWidth;
    bool whole = cols % kWidth == 0;
    for (int v = 0; v < vecs && whole; ++v) {
      whole = dst.cols.run(c + v * kWidth, c + cols) >= kWidth;
    }
    for (const int end = r + rows; r < end;) {
      const int m = dst.rows.run(r, end);
      const int blocks = (m + kRows - 1) / kRows;
      for (int i = 0; i < blocks; ++i) {
        const int height = m / blocks + (i < m % blocks ? 1 : 0);
        if (whole) {
          Target target;
          for (int v = 0; v < vecs; ++v) target.at[v] = dst.at(r, c + v * kWidth);
          target.stride = dst.rows.stride;
          kernel(height, vecs)(lhs, panel, words, target, clear);
        } else {
          multiply_apart(lhs, panel, words, dst, r, height, c, cols, clear);
        }
        lhs += height;
        r += height;
      }
    }
  }

  // By way of a copy of dst, whose columns are all there and in one run.
  static void multiply_apart(const std::int32_t* lhs, const Panel& panel, int words,
                             const ViewOf<Out>& dst, int r, int rows, int c, int cols, bool clear) {
    alignas(64) Out sums[kRows * kCols]{};
    const auto each_run = [&](auto copy) {
      for (int j = 0, run = 0; j < cols; j += run) {
        run = dst.cols.run(c + j, c + cols);
        for (int i = 0; i < rows; ++i) {
          copy(dst.at(r + i, c + j), sums + i * kCols + j,
               sizeof(Out) * static_cast<std::size_t>(run));
        }
      }
    };
    if (!clear) each_run([](Out* out, Out* sum, std::size_t size) { std::memcpy(sum, out, size); });
    Target target;
    for (int v = 0; v < kVecs; ++v) target.at[v] = sums + v * kWidth;
    target.stride = kCols;
    kernel(rows, (cols + kWidth - 1) / kWidth)(lhs, panel, words, target, clear);
    each_run([](Out* out, Out* sum, std::size_t size) { std::memcpy(out, sum, size); });
  }

  static void pack_panel(const Matrix& rhs, int c, int cols, int k0, int k, Panel& panel) {
    const int words = (k + kGroup - 1) / kGroup;
    pack<Factor::kRhs, kCols>(rhs, c, cols, k0, k, panel.words);
    if (cols < kCols) {
      for (int w = 0; w < words; ++w) {
        for (int j = cols; j < kCols; ++j) panel.words[w * kCols + j] = 0;
      }
    }
    Steps::template measure<kCols>(panel.words, words, panel.offset);
  }

  // packed[w][i] = word w from k0 on of row `first` + i, kStride words a row.
  template <Factor factor, int kStride>
  static void pack(const Matrix& from, int first, int count, int k0, int k, std::int32_t* packed) {
    for (int i = 0, run = 0; i < count; i += run) {
      run = from.rows.run(first + i, first + count);
      for (int j = 0, depth = 0; j < k; j += depth) {
        depth = from.cols.run(k0 + j, k0 + k);
        // Words lie within a tile, whose edge is a multiple of them.
        std::int32_t* const to = packed + j / kGroup * kStride + i;
        if (from.cols.stride == 1) {
          pack_along<factor, kStride>(from.at(first + i, k0 + j), from.rows.stride, run, depth, to);
        } else {
          pack_across<factor, kStride>(from.at(first + i, k0 + j), from.cols.stride, run, depth,
                                       to);
        }
      }
    }
  }

  // `count` rows a stride apart, of neighbours in k.
  template <Factor factor, int kStride>
  static void pack_along(const In* src, std::ptrdiff_t stride, int count, int k, std::int32_t* to) {
    constexpr int kSide = 4;  // of a square of words
    constexpr int kLength = kSide * kGroup;
    int i = 0;
    for (; i + kSide <= count; i += kSide, src += kSide * stride) {
      int j = 0;
      std::int32_t* square = to + i;
      for (; j + kLength <= k; j += kLength, square += kSide * kStride) {
        const auto row = [&](int r) { return Steps::template along<factor>(src + r * stride + j); };
        store_transposed(row(0), row(1), row(2), row(3), square, kStride);
      }
      for (int r = 0; j < k && r < kSide; ++r) {
        pack_rest<factor, kStride>(src + r * stride, 1, j, k, to + i + r);
      }
    }
    for (; i < count; ++i, src += stride) pack_rest<factor, kStride>(src, 1, 0, k, to + i);
  }

  // `count` neighbours, and the rows of them a stride apart in k.
  template <Factor factor, int kStride>
  static void pack_across(const In* src, std::ptrdiff_t stride, int count, int k,
                          std::int32_t* to) {
    constexpr int kAcross = Steps::kAcross;
    const int whole = count / kAcross * kAcross;
    int j = 0;
    for (; j + kGroup <= k; j += kGroup) {
      for (int i = 0; i < whole; i += kAcross) {
        Steps::template across<factor>(src + j * stride + i, stride, to + j / kGroup * kStride + i);
      }
    }
    for (int i = 0; j < k && i < whole; ++i)
      pack_rest<factor, kStride>(src + i, stride, j, k, to + i);
    for (int i = whole; i < count; ++i) pack_rest<factor, kStride>(src + i, stride, 0, k, to + i);
  }

  // The words of one row from j on.
  template <Factor factor, int kStride>
  static void pack_rest(const In* src, std::ptrdiff_t stride, int j, int k, std::int32_t* to) {
    for (; j < k; j += kGroup) {
      to[j / kGroup * kStride] =
          Steps::template word<factor>(src + j * stride, stride, min_of(kGroup, k - j));
    }
  }
};

}  // namespace
}  // namespace tileflow
