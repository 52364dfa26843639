// One lane: the reference that every wider level must equal bit for bit.
//
// The members below are the whole vocabulary that the kernels are written in. F holds floats, I
// 32-bit integers, M a condition per lane, Tail the first n of the lanes. The types live in an
// unnamed namespace so that what is instantiated with them stays in its own object file: code
// built for a wider processor is then never picked by the linker for a narrower one.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace tileflow {
namespace {

struct FlushingScalar;

struct Scalar {
  static constexpr int kWidth = 1;
  static constexpr int kRegisters = 16;
  using F = float;
  using I = std::int32_t;
  using M = bool;
  using Tail = bool;

  // A level whose fma, while a DenormalsAsZeros lives, takes denormal operands as zeros of their
  // sign and gives such zeros where the result, rounded to 24 bits, is below the normal numbers.
  using Flushing = FlushingScalar;
  struct DenormalsAsZeros {};

  static Tail tail(int n) { return n > 0; }
  static F load(const float* p) { return *p; }
  static F load(const float* p, Tail t) { return t ? *p : 0.0F; }  // 0 in the other lanes
  static F load(const float* p, Tail t, F rest) { return t ? *p : rest; }
  static void store(float* p, F v) { *p = v; }
  static void store(float* p, F v, Tail t) {
    if (t) *p = v;
  }

  static F splat(float x) { return x; }
  static F fma(F a, F b, F c) { return std::fma(a, b, c); }
  static F sqrt(F a) { return std::sqrt(a); }
  static F floor(F a) { return std::floor(a); }
  static F ceil(F a) { return std::ceil(a); }
  static F trunc(F a) { return std::trunc(a); }
  static F nearest(F a) { return std::nearbyint(a); }  // to the nearest even
  // Both give b where a or b is NaN and where both are zeros.
  static F max_or_second(F a, F b) { return a > b ? a : b; }
  static F min_or_second(F a, F b) { return a < b ? a : b; }
  // False where a or b is NaN.
  static M less(F a, F b) { return a < b; }
  static M less_equal(F a, F b) { return a <= b; }
  static M equal(F a, F b) { return a == b; }
  static M unordered(F a, F b) { return std::isunordered(a, b); }
  static M negative(I a) { return a < 0; }
  static M either(M a, M b) { return a || b; }
  static F select(M m, F yes, F no) { return m ? yes : no; }
  static bool any(M m) { return m; }

  static I bits(F a) { return std::bit_cast<I>(a); }
  static F from_bits(I a) { return std::bit_cast<F>(a); }
  static I splat_bits(std::uint32_t x) { return static_cast<I>(x); }
  static I add(I a, I b) { return wrap(unsigned_of(a) + unsigned_of(b)); }
  static I sub(I a, I b) { return wrap(unsigned_of(a) - unsigned_of(b)); }
  static I bit_and(I a, I b) { return a & b; }
  static I bit_or(I a, I b) { return a | b; }
  static I bit_xor(I a, I b) { return a ^ b; }
  static I max(I a, I b) { return a > b ? a : b; }
  static I min(I a, I b) { return a < b ? a : b; }
  static M less(I a, I b) { return a < b; }
  static M equal(I a, I b) { return a == b; }
  static I mul(I a, I b) { return wrap(unsigned_of(a) * unsigned_of(b)); }
  // By an unsigned number of bits; of more than 31, nothing but copies of the sign is left.
  static I shl(I a, I bits) { return unsigned_of(bits) < 32 ? wrap(unsigned_of(a) << bits) : 0; }
  static I shr(I a, I bits) { return a >> (unsigned_of(bits) < 32 ? bits : 31); }
  template <int N>
  static I shl(I a) {
    return wrap(unsigned_of(a) << N);
  }
  template <int N>  // arithmetic
  static I shr(I a) {
    return a >> N;
  }
  static F to_float(I a) { return static_cast<F>(a); }
  // To the nearest even; -2^31 where that is none of I.
  static I round(F a) {
    return a >= -0x1p31F && a < 0x1p31F ? static_cast<I>(std::lrint(a)) : splat_bits(0x8000'0000U);
  }
  // table[index mod N].
  template <std::size_t N>
  static F lookup(const float (&table)[N], I index) {
    return table[unsigned_of(index) % N];
  }

  // Elements of a narrow type, of which all lanes are there: zero- or sign-extended.
  static I load(const std::uint16_t* p) { return *p; }
  static I load(const std::int8_t* p) { return *p; }
  static I load(const std::int32_t* p) { return *p; }
  static void store(std::int32_t* p, I v) { *p = v; }
  // Twice as many elements: the upper half of each lane of a, then of b; each saturated.
  static void store_upper(std::uint16_t* p, I a, I b) {
    p[0] = static_cast<std::uint16_t>(unsigned_of(a) >> 16);
    p[1] = static_cast<std::uint16_t>(unsigned_of(b) >> 16);
  }
  static void store_saturated(std::int8_t* p, I a, I b) {
    p[0] = static_cast<std::int8_t>(min(max(a, -128), 127));
    p[1] = static_cast<std::int8_t>(min(max(b, -128), 127));
  }

  // acc + the products of the low and of the high halves, which are signed; modulo 2^32.
  static I dot(I acc, I a, I b) {
    const auto low = [](I x) { return static_cast<I>(static_cast<std::int16_t>(x)); };
    return add(acc, low(a) * low(b) + (a >> 16) * (b >> 16));
  }

 private:
  static std::uint32_t unsigned_of(I a) { return static_cast<std::uint32_t>(a); }
  static I wrap(std::uint32_t a) { return static_cast<I>(a); }
};

struct FlushingScalar : Scalar {
  static F fma(F a, F b, F c) {
    constexpr F kLeast = 0x1p-126F;
    constexpr F kUp = 0x1p64F;
    a = flushed(a), b = flushed(b), c = flushed(c);
    const F result = std::fma(a, b, c);
    if (!(std::fabs(result) <= kLeast)) return result;
    // Denormals have fewer than 24 bits, and may have been rounded up to kLeast: again, where there
    // are none. Nothing overflows, as results have no bits below those of the operands.
    const F above = std::fma(a * kUp, b, c * kUp);
    return std::fabs(above) < kLeast * kUp ? std::copysign(0.0F, result) : result;
  }

 private:
  static F flushed(F a) { return std::fabs(a) < 0x1p-126F ? std::copysign(0.0F, a) : a; }
};

}  // namespace
}  // namespace tileflow
