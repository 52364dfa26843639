// unary, binary and fill: one pass over dst in blocks of adjacent elements.
#pragma once

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <utility>

#include "kernels/binary_functions.h"
#include "kernels/functions.h"
#include "kernels/vec_pair.h"
#include "kernels/vec_scalar.h"
#include "kernels/view.h"

namespace tileflow {
namespace {

// Calls body(r, c, rows, count) for blocks that make up an m x n matrix: `rows` rows, `count`
// adjacent elements of each, a constant distance apart in every view. Where whole tiles adjoin in
// all views and `by_rows` is not asked for, they are one row.
template <class Body>
void for_each_block(int m, int n, int tile, std::initializer_list<const Sides*> views, bool by_rows,
                    Body body) {
  bool tiled = false;
  bool whole = !by_rows;
  for (const Sides* view : views) {
    tiled = tiled || !view->cols.uniform();
    whole = whole && view->rows.stride == tile && view->cols.tile_step == tile * view->rows.stride;
  }
  const int width = tiled ? tile : n;
  for (int r = 0; r < m; r += tile) {
    const int rows = min_of(tile, m - r);
    int c = 0;
    if (whole && rows == tile && n >= tile) {
      c = n & ~(tile - 1);
      body(r, 0, 1, c * tile);
    }
    for (; c < n; c += width) {
      const int count = min_of(width, n - c);
      if (whole && count == tile) {
        body(r, c, 1, rows * tile);
      } else {
        body(r, c, rows, count);
      }
    }
  }
}

// dst[i] = f(vector of i), full vectors first.
template <class V, class Function>
void for_each_vector(float* dst, int count, Function f) {
  int i = 0;
  for (; i + V::kWidth <= count; i += V::kWidth) {
    V::store(dst + i, f([&](const float* p) { return V::load(p + i); }));
  }
  if (i == count) return;
  const auto tail = V::tail(count - i);
  V::store(dst + i, f([&](const float* p) { return V::load(p + i, tail); }), tail);
}

// Vectors that a function is evaluated on at once: a processor that looks for independent work
// among the next 60 instructions or so finds too little in one chain of dependent ones.
template <class V>
struct InFlight {
  using Type = Pair<V>;
};
template <>
struct InFlight<Scalar> {
  using Type = Scalar;
};

// The same, several vectors at a time where there are as many: f takes an example of the vector
// type beside the way to load.
template <class V, class Function>
[[gnu::always_inline]] inline void map_vectors(float* dst, int count, Function f) {
  using Wide = typename InFlight<V>::Type;
  int i = 0;
  for (; i + Wide::kWidth <= count; i += Wide::kWidth) {
    Wide::store(dst + i, f(Wide{}, [i](const float* p) { return Wide::load(p + i); }));
  }
  for (; i + V::kWidth <= count; i += V::kWidth) {
    V::store(dst + i, f(V{}, [i](const float* p) { return V::load(p + i); }));
  }
  if (i == count) return;
  const auto tail = V::tail(count - i);
  V::store(dst + i, f(V{}, [i, tail](const float* p) { return V::load(p + i, tail); }), tail);
}

// kPlain: fma(src, 1, -0), which is src.
template <class V, class Op, bool kPlain>
void unary_run(float* dst, const float* src, int count, float scale, float bias) {
  map_vectors<V>(dst, count, [=](auto vector, auto load) {
    using W = decltype(vector);
    const auto x = load(src);
    if constexpr (kPlain) return Op::template of<W>(x);
    return Op::template of<W>(W::fma(x, W::splat(scale), W::splat(bias)));
  });
}

template <class V, class Op>
void unary(const UnaryArgs& args) {
  // A column that is contiguous in both is a row.
  const bool flip = args.n == 1 && args.dst.pitch == 0 && args.src.pitch == 0;
  const int m = flip ? 1 : args.m;
  const int n = flip ? args.m : args.n;
  const View dst(args.dst, n, args.tile);
  const View src(args.src, n, args.tile);
  const bool plain = args.scale == 1.0F && args.bias == 0.0F && std::signbit(args.bias);
  const auto run = plain ? unary_run<V, Op, true> : unary_run<V, Op, false>;
  for_each_block(m, n, args.tile, {&dst, &src}, false, [&](int r, int c, int rows, int count) {
    float* to = dst.at(r, c);
    const float* from = src.at(r, c);
    for (int i = 0; i < rows; ++i, to += dst.rows.stride, from += src.rows.stride) {
      run(to, from, count, args.scale, args.bias);
    }
  });
}

// One operand of a binary function.
struct Side {
  View view;
  Mode mode;
  const float* imm;

  Side(const Operand& operand, Mode mode, const float& imm, int n, int tile)
      : view(operand, mode == Mode::kCol ? 1 : n, tile), mode(mode), imm(&imm) {}

  bool varies_along_row() const { return mode == Mode::kFull || mode == Mode::kRow; }
  // The element, and how far it is to that of the next row.
  const float* at(int r, int c) const {
    if (mode == Mode::kImm) return imm;
    if (mode == Mode::kScalar) return view.data;
    return view.at(mode == Mode::kRow ? 0 : r, mode == Mode::kCol ? 0 : c);
  }
  std::ptrdiff_t stride() const {
    return mode == Mode::kFull || mode == Mode::kCol ? view.rows.stride : 0;
  }
};

template <class V, class Op, bool kLeft, bool kRight>
void binary_runs(const View& dst, const Side& lhs, const Side& rhs, int m, int n, int tile) {
  const auto block = [&](int r, int c, int rows, int count) {
    float* to = dst.at(r, c);
    const float* left = lhs.at(r, c);
    const float* right = rhs.at(r, c);
    const auto to_step = dst.rows.stride;
    const auto left_step = lhs.stride();
    const auto right_step = rhs.stride();
    for (int i = 0; i < rows; ++i, to += to_step, left += left_step, right += right_step) {
      const float left_value = *left;
      const float right_value = *right;
      map_vectors<V>(to, count, [=](auto vector, auto load) {
        using W = decltype(vector);
        auto a = W::splat(left_value);
        auto b = W::splat(right_value);
        if constexpr (kLeft) a = load(left);
        if constexpr (kRight) b = load(right);
        return Op::template of<W>(a, b);
      });
    }
  };
  const auto by_rows = [](const Side& side) {
    return side.mode == Mode::kRow || side.mode == Mode::kCol;
  };
  for_each_block(m, n, tile, {&dst, kLeft ? &lhs.view : &dst, kRight ? &rhs.view : &dst},
                 by_rows(lhs) || by_rows(rhs), block);
}

// A column of contiguous operands as a row: its modes change roles.
inline void flip_column(const Operand& dst,
                        std::initializer_list<std::pair<const Operand*, Mode*>> sides, int& m,
                        int& n) {
  if (n != 1 || dst.pitch != 0) return;
  for (const auto& [operand, mode] : sides) {
    const bool along = *mode == Mode::kFull || *mode == Mode::kCol;
    if (along && operand->pitch != 0) return;
  }
  for (const auto& side : sides) {
    Mode& mode = *side.second;
    if (mode == Mode::kRow) {
      mode = Mode::kScalar;
    } else if (mode == Mode::kCol) {
      mode = Mode::kRow;
    }
  }
  n = m;
  m = 1;
}

template <class V, class Op>
void binary(const BinaryArgs& given) {
  BinaryArgs args = given;
  flip_column(args.dst, {{&args.lhs, &args.lmode}, {&args.rhs, &args.rmode}}, args.m, args.n);
  const View dst(args.dst, args.n, args.tile);
  const Side lhs(args.lhs, args.lmode, args.imm, args.n, args.tile);
  const Side rhs(args.rhs, args.rmode, args.imm, args.n, args.tile);
  constexpr auto kRuns = [](bool left, bool right) {
    if (left) return right ? binary_runs<V, Op, true, true> : binary_runs<V, Op, true, false>;
    return right ? binary_runs<V, Op, false, true> : binary_runs<V, Op, false, false>;
  };
  kRuns(lhs.varies_along_row(), rhs.varies_along_row())(dst, lhs, rhs, args.m, args.n, args.tile);
}

template <class T>
void fill(const FillArgs& args) {
  const bool flip = args.n == 1 && args.dst.pitch == 0;
  const int m = flip ? 1 : args.m;
  const int n = flip ? args.m : args.n;
  const ViewOf<T> dst(args.dst, n, args.tile);
  const T value = element_from<T>(args.value);
  for_each_block(m, n, args.tile, {&dst}, false, [&](int r, int c, int rows, int count) {
    T* to = dst.at(r, c);
    for (int i = 0; i < rows; ++i, to += dst.rows.stride) std::fill_n(to, count, value);
  });
}

}  // namespace
}  // namespace tileflow
