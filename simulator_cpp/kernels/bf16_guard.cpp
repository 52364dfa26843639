#include "kernels/bf16_guard.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <limits>
#include <span>
#include <vector>

#include "kernels/vec_scalar.h"

namespace tileflow {
namespace {

struct Case {
  float acc;
  std::array<float, 2> lhs, rhs;  // of bf16; the first comes first
};

constexpr float kLeast = 0x1p-126F;
constexpr float kDenormal = 0x1p-130F;
constexpr float kMost = 0x1p127F;
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// What each tells apart.
constexpr Case kCases[] = {
    {0x1p24F, {1, 1}, {1, 1}},                        // two roundings to even, not one of 2^24 + 2
    {1, {0x1p12F, 0x1p-12F}, {0x1p12F, 0x1p-12F}},    // the order: 1 is lost first
    {-0x1p24F, {0x1p12F, 1}, {0x1p12F, 1}},           // the sum of both products is not rounded
    {1, {0x1p-12F, 0x1p-20F}, {0x1p-12F, 0x1p-20F}},  // halves go to the even,
    {1 + 0x1p-23F, {0x1p-12F, 0}, {0x1p-12F, 0}},     // up as well,
    {-1, {0x1p-12F, 0x1p-12F}, {-0x1.8p-12F, 0x1p-13F}},  // and away from zero where that is nearer
    {kDenormal, {1, 0}, {0, 0}},                          // acc
    {0, {kDenormal, 0}, {0x1p100F, 0}},                   // lhs
    {0, {0, 0x1p100F}, {0, -kDenormal}},                  // rhs
    {kLeast, {-0x1.8p-100F, 0x1p-63F}, {0x1p-27F, 0x1p-63F}},  // the sum in between
    {-0.0F, {-kDenormal, 0}, {1, 0}},                          // signs of zeros
    {-kLeast, {0x1p-64F, -0.0F}, {0x1p-64F, 1}},
    {kLeast, {-0x1p-75F, 0}, {0x1.8p-76F, 0}},  // rounded to 24 bits it is below kLeast,
    {kLeast, {-0x1p-76F, 0}, {0x1p-76F, 0}},    // and here it is not
    {0, {kMost, -kMost}, {2, 2}},               // overflow in between
    {kMost, {kMost, -kMost}, {1, 1}},
    {-kInf, {kMost, 1}, {kMost, 1}},
    {1, {kInf, 0}, {0, 0}},
    {kInf, {-kInf, 0}, {1, 0}},
    {kNan, {1, 1}, {1, 1}},
    {1, {1, kNan}, {1, 0}},
};

constexpr int kRandomCases = 2048;

// Case `number` of operands that are about as large as each other, now of any exponent, now near
// the smallest.
class Random {
 public:
  Case next() {
    const int near = range(3);
    const auto product = [&](int exponent) {
      const int lhs = exponent / 2 + range(9) - 4;
      return std::array{value(lhs, 8), value(exponent - lhs, 8)};
    };
    const int scale = near == 0 ? 0 : near == 1 ? range(200) - 100 : range(12) - 128;
    const auto first = product(scale + range(9) - 4);
    const auto second = product(scale + range(9) - 4);
    return {value(scale + range(9) - 4, 24), {first[0], second[0]}, {first[1], second[1]}};
  }

 private:
  int range(int end) {
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    return static_cast<int>((state_ >> 33) % static_cast<unsigned>(end));
  }
  // Of so many significant bits.
  float value(int exponent, int bits) {
    const int mantissa = (1 << (bits - 1)) + range(1 << (bits - 1));
    return std::ldexp(static_cast<float>(range(2) == 0 ? mantissa : -mantissa),
                      exponent - bits + 1);
  }
  std::uint64_t state_ = 1;
};

std::int32_t word(std::array<float, 2> pair) {
  const auto high = std::bit_cast<std::uint32_t>(pair[0]) & 0xFFFF'0000U;
  return static_cast<std::int32_t>(high | std::bit_cast<std::uint32_t>(pair[1]) >> 16);
}

float expected(const Case& each) {
  using V = FlushingScalar;
  return V::fma(each.lhs[1], each.rhs[1], V::fma(each.lhs[0], each.rhs[0], each.acc));
}

bool agrees(std::span<const Case, kBf16Lanes> cases, const Bf16Dot& dot) {
  std::array<float, kBf16Lanes> acc;
  std::array<std::int32_t, kBf16Lanes> lhs, rhs;
  for (std::size_t i = 0; i < kBf16Lanes; ++i) {
    acc[i] = cases[i].acc;
    lhs[i] = word(cases[i].lhs);
    rhs[i] = word(cases[i].rhs);
  }
  dot(acc, lhs, rhs);
  for (std::size_t i = 0; i < kBf16Lanes; ++i) {
    const float right = expected(cases[i]);
    if (std::isnan(right)
            ? !std::isnan(acc[i])
            : std::bit_cast<std::uint32_t>(right) != std::bit_cast<std::uint32_t>(acc[i])) {
      return false;
    }
  }
  return true;
}

}  // namespace

bool gives_contract_bits(const Bf16Dot& dot) {
  std::vector<Case> cases(std::begin(kCases), std::end(kCases));
  for (Random random; cases.size() < kRandomCases;) cases.push_back(random.next());
  for (std::size_t i = 0; i < cases.size(); i += kBf16Lanes) {
    if (!agrees(std::span<const Case, kBf16Lanes>(&cases[i], kBf16Lanes), dot)) return false;
  }
  return true;
}

}  // namespace tileflow
