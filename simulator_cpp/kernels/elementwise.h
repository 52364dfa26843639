// unary, binary and fill: one pass over dst in runs of adjacent elements.
#pragma once

#include <initializer_list>

#include "kernels/functions.h"
#include "kernels/view.h"

namespace tileflow {
namespace {

// Calls body(r, c, count) for runs of an m x n matrix that are adjacent in every view of `full`
// and along the columns in those of `rows`: whole tiles where all are grids, else parts of rows.
template <class Body>
void for_each_run(int m, int n, int tile, std::initializer_list<const Sides*> full,
                  std::initializer_list<const Sides*> rows, Body body) {
  bool tiled = false;
  bool whole = rows.size() == 0;
  for (const Sides* view : full) {
    tiled = tiled || !view->cols.uniform();
    whole = whole && view->rows.stride == tile;
  }
  for (const Sides* view : rows) tiled = tiled || !view->cols.uniform();
  const int height = tile;
  const int width = tiled ? tile : n;
  for (int r = 0; r < m; r += height) {
    const int last = r + min_of(height, m - r);
    for (int c = 0; c < n; c += width) {
      const int count = min_of(width, n - c);
      if (whole && count == tile) {
        body(r, c, (last - r) * tile);
        continue;
      }
      for (int i = r; i < last; ++i) body(i, c, count);
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

template <class V, class Op>
void unary(const UnaryArgs& args) {
  // A column that is contiguous in both is a row.
  const bool flip = args.n == 1 && args.dst.pitch == 0 && args.src.pitch == 0;
  const int m = flip ? 1 : args.m;
  const int n = flip ? args.m : args.n;
  const View dst(args.dst, n, args.tile);
  const View src(args.src, n, args.tile);
  const auto scale = V::splat(args.scale);
  const auto bias = V::splat(args.bias);
  for_each_run(m, n, args.tile, {&dst, &src}, {}, [&](int r, int c, int count) {
    const float* from = src.at(r, c);
    for_each_vector<V>(dst.at(r, c), count, [&](auto load) {
      return Op::template of<V>(V::fma(load(from), scale, bias));
    });
  });
}

// In the order of BINARY_FUNCS.
struct Add {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return a + b;
  }
  static constexpr float kIdentity = -0.0F;
};
struct Sub {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return a - b;
  }
};
struct Mul {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return a * b;
  }
  static constexpr float kIdentity = 1.0F;
};
struct Div {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return a / b;
  }
};
struct Max {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return maximum<V>(a, b);
  }
  static constexpr float kIdentity = -std::numeric_limits<float>::infinity();
};
struct Min {
  template <class V>
  static typename V::F of(typename V::F a, typename V::F b) {
    return minimum<V>(a, b);
  }
  static constexpr float kIdentity = std::numeric_limits<float>::infinity();
};

// One operand of a binary function.
struct Side {
  View view;
  Mode mode;
  float imm;

  Side(const Operand& operand, Mode mode, float imm, int n, int tile)
      : view(operand, mode == Mode::kCol ? 1 : n, tile), mode(mode), imm(imm) {}

  bool varies_along_row() const { return mode == Mode::kFull || mode == Mode::kRow; }
  const float* at(int r, int c) const { return view.at(mode == Mode::kRow ? 0 : r, c); }
  float value(int r) const {
    if (mode == Mode::kImm) return imm;
    return mode == Mode::kScalar ? *view.data : *view.at(r, 0);
  }
};

template <class V, class Op, bool kLeft, bool kRight>
void binary_runs(const View& dst, const Side& lhs, const Side& rhs, int m, int n, int tile) {
  const auto run = [&](int r, int c, int count) {
    const float* left = kLeft ? lhs.at(r, c) : nullptr;
    const float* right = kRight ? rhs.at(r, c) : nullptr;
    const auto left_value = V::splat(kLeft ? 0.0F : lhs.value(r));
    const auto right_value = V::splat(kRight ? 0.0F : rhs.value(r));
    for_each_vector<V>(dst.at(r, c), count, [&](auto load) {
      auto a = left_value;
      auto b = right_value;
      if constexpr (kLeft) a = load(left);
      if constexpr (kRight) b = load(right);
      return Op::template of<V>(a, b);
    });
  };
  const bool by_rows = lhs.mode == Mode::kRow || lhs.mode == Mode::kCol || rhs.mode == Mode::kRow ||
                       rhs.mode == Mode::kCol;
  const View* left = kLeft ? &lhs.view : &dst;
  const View* right = kRight ? &rhs.view : &dst;
  if (by_rows) {
    for_each_run(m, n, tile, {}, {&dst, left, right}, run);
  } else {
    for_each_run(m, n, tile, {&dst, left, right}, {}, run);
  }
}

// A column of contiguous operands as a row: its modes change roles.
inline bool flip_column(BinaryArgs& args) {
  const auto contiguous = [](const Operand& operand, Mode mode) {
    return (mode != Mode::kFull && mode != Mode::kCol) || operand.pitch == 0;
  };
  if (args.n != 1 || args.dst.pitch != 0 || !contiguous(args.lhs, args.lmode) ||
      !contiguous(args.rhs, args.rmode)) {
    return false;
  }
  for (Mode* mode : {&args.lmode, &args.rmode}) {
    if (*mode == Mode::kRow) {
      *mode = Mode::kScalar;
    } else if (*mode == Mode::kCol) {
      *mode = Mode::kRow;
    }
  }
  args.n = args.m;
  args.m = 1;
  return true;
}

template <class V, class Op>
void binary(const BinaryArgs& given) {
  BinaryArgs args = given;
  flip_column(args);
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
  for_each_run(m, n, args.tile, {&dst}, {}, [&](int r, int c, int count) {
    T* to = dst.at(r, c);
    for (int i = 0; i < count; ++i) to[i] = value;
  });
}

}  // namespace
}  // namespace tileflow
