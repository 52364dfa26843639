// affine_select and iota: what follows from the places of elements, by an affine form of them.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <type_traits>

#include "kernels/elementwise.h"
#include "kernels/view.h"

namespace tileflow {
namespace {

// Elements [first, last) of a row.
struct Kept {
  int first, last;
};

// Where start + j * step >= 0, for j in [0, count): at one end of the row, if not everywhere.
inline Kept where_not_negative(std::int64_t start, std::int64_t step, int count) {
  const bool at_first = start >= 0;
  const bool at_last = start + step * (count - 1) >= 0;
  if (at_first && at_last) return {0, count};
  if (at_first) return {0, static_cast<int>(start / -step) + 1};
  if (at_last) return {static_cast<int>((step - 1 - start) / step), count};
  return {0, 0};
}

template <class V>
void fill_run(float* to, float value, int count) {
  for_each_vector<V>(to, count, [=](auto) { return V::splat(value); });
}

template <class V>
void copy_run(float* to, const float* from, int count) {
  if (to == from) return;
  for_each_vector<V>(to, count, [=](auto load) { return load(from); });
}

// Elements of either type are moved as floats.
template <class V, class T>
void affine_select(const AffineSelectArgs& args) {
  static_assert(sizeof(T) == sizeof(float));
  // A column that is contiguous in both is a row.
  const bool flip = args.n == 1 && args.dst.pitch == 0 && args.src.pitch == 0;
  const int m = flip ? 1 : args.m;
  const int n = flip ? args.m : args.n;
  const std::int64_t rstep = flip ? 0 : args.rstep;
  const std::int64_t cstep = flip ? args.rstep : args.cstep;
  const View dst(args.dst, n, args.tile);
  const View src(args.src, n, args.tile);
  const auto value = element_from<float>(args.value);
  for_each_block(m, n, args.tile, {&dst, &src}, true, [&](int r, int c, int rows, int count) {
    float* to = dst.at(r, c);
    const float* from = src.at(r, c);
    std::int64_t form = args.base + r * rstep + c * cstep;
    for (int i = 0; i < rows; ++i) {
      const Kept kept = where_not_negative(form, cstep, count);
      fill_run<V>(to, value, kept.first);
      copy_run<V>(to + kept.first, from + kept.first, kept.last - kept.first);
      fill_run<V>(to + kept.last, value, count - kept.last);
      to += dst.rows.stride;
      from += src.rows.stride;
      form += rstep;
    }
  });
}

// Lane l holds l * step, modulo 2^32.
template <class V>
typename V::I lanes_of(std::int64_t step) {
  std::array<std::int32_t, V::kWidth> lanes;
  for (int l = 0; l < V::kWidth; ++l) lanes[l] = static_cast<std::int32_t>(l * step);
  return V::load(lanes.data());
}

template <class V, class T>
void iota_run(T* to, std::int64_t start, std::int64_t step, typename V::I lanes, int count) {
  constexpr bool kFloats = std::is_same_v<T, float>;
  const auto bits = [](std::int64_t value) {
    return V::splat_bits(static_cast<std::uint32_t>(value));
  };
  if constexpr (kFloats) {
    const std::int64_t end = start + step * (count - 1);
    const auto fits = [](std::int64_t value) {
      return value == static_cast<std::int64_t>(static_cast<std::int32_t>(value));
    };
    if (!fits(start) || !fits(end)) {  // all others are between the two
      for (int j = 0; j < count; ++j) to[j] = static_cast<float>(start + j * step);
      return;
    }
  }
  auto values = V::add(lanes, bits(start));
  const auto next = bits(V::kWidth * step);
  for_each_vector<V>(reinterpret_cast<float*>(to), count, [&](auto) {
    const auto now = values;
    values = V::add(values, next);
    if constexpr (kFloats)
      return V::to_float(now);
    else
      return V::from_bits(now);
  });
}

template <class V, class T>
void iota(const IotaArgs& args) {
  const bool flip = args.n == 1 && args.dst.pitch == 0;
  const int m = flip ? 1 : args.m;
  const int n = flip ? args.m : args.n;
  const std::int64_t rstep = flip ? 0 : args.rstep;
  const std::int64_t cstep = flip ? args.rstep : args.cstep;
  const ViewOf<T> dst(args.dst, n, args.tile);
  const auto lanes = lanes_of<V>(cstep);
  for_each_block(m, n, args.tile, {&dst}, true, [&](int r, int c, int rows, int count) {
    T* to = dst.at(r, c);
    std::int64_t start = args.base + r * rstep + c * cstep;
    for (int i = 0; i < rows; ++i, to += dst.rows.stride, start += rstep) {
      iota_run<V>(to, start, cstep, lanes, count);
    }
  });
}

}  // namespace
}  // namespace tileflow
