// Copies of short rows, of which there are many, evenly spaced on both sides.
//
// A row is copied by N vectors, the last of which ends where the row does, over the one before it
// where need be: no row takes a loop or a branch of its own, whatever its length.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <utility>

#include "kernels/raw_vector.h"

namespace tileflow {
namespace {

// Rows, each of them `pieces` pieces of `bytes` bytes. Distances in bytes.
struct Spacing {
  std::ptrdiff_t row, piece;
};
struct RowPieces {
  int rows, pieces;
  int bytes;
};

// (N - 1) * W < bytes <= N * W, and bytes is W where N is 1.
template <int W, int N>
void copy_by_chunks(std::byte* dst, Spacing to, const std::byte* src, Spacing from,
                    RowPieces what) {
  using Chunk = RawVector<std::min(W, 8), W>;
  const std::ptrdiff_t last = what.bytes - W;
  const auto at = [&](int n) { return n == N - 1 && N > 1 ? last : std::ptrdiff_t{n} * W; };
  for (int i = 0; i < what.rows; ++i, dst += to.row, src += from.row) {
    std::byte* d = dst;
    const std::byte* s = src;
    for (int j = 0; j < what.pieces; ++j, d += to.piece, s += from.piece) {
#pragma GCC unroll 16
      for (int n = 0; n < N; ++n) Chunk::store(d + at(n), Chunk::load(s + at(n)));
    }
  }
}

inline void copy_by_memcpy(std::byte* dst, Spacing to, const std::byte* src, Spacing from,
                           RowPieces what) {
  for (int i = 0; i < what.rows; ++i) {
    for (int j = 0; j < what.pieces; ++j) {
      std::memcpy(dst + i * to.row + j * to.piece, src + i * from.row + j * from.piece,
                  static_cast<std::size_t>(what.bytes));
    }
  }
}

using CopyRows = void (*)(std::byte*, Spacing, const std::byte*, Spacing, RowPieces);

template <int W, int... N>
constexpr auto make_copies(std::integer_sequence<int, N...>) {
  return std::array<CopyRows, sizeof...(N)>{copy_by_chunks<W, N + 1>...};
}

// W: bytes of the widest vector, of which a row has at most kMost.
template <int W, int kMost = 16>
CopyRows copy_for(int bytes) {
  static constexpr auto kCopies = make_copies<W>(std::make_integer_sequence<int, kMost>());
  if constexpr (W > 1) {
    if (bytes < W) return copy_for<W / 2, 2>(bytes);
  }
  const int chunks = (bytes + W - 1) / W;
  return chunks <= kMost ? kCopies[static_cast<std::size_t>(chunks - 1)] : copy_by_memcpy;
}

template <class V>
void copy_rows(void* dst, Spacing to, const void* src, Spacing from, RowPieces what) {
  if (what.bytes == 0) return;
  if (what.pieces == 1 && to.row == what.bytes && from.row == what.bytes) {  // without gaps
    what = {1, 1, what.rows * what.bytes};
  }
  copy_for<kVectorBytes<V>>(what.bytes)(static_cast<std::byte*>(dst), to,
                                        static_cast<const std::byte*>(src), from, what);
}

}  // namespace
}  // namespace tileflow
