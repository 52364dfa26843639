// Sixteen lanes of AVX-512 F and BW; the vocabulary is that of vec_scalar.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/denormals_x86.h"

namespace tileflow {
namespace {

struct Avx512 {
  static constexpr int kWidth = 16;
  static constexpr int kRegisters = 32;
  using F = __m512;
  using I = __m512i;
  using M = __mmask16;
  using Tail = __mmask16;
  using Flushing = Avx512;
  using DenormalsAsZeros = DenormalsAsZerosX86;

  static Tail tail(int n) {
    n = n < 0 ? 0 : n > kWidth ? kWidth : n;
    return static_cast<Tail>((1U << n) - 1);
  }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static F load(const float* p, Tail t) { return _mm512_maskz_loadu_ps(t, p); }
  static F load(const float* p, Tail t, F rest) { return _mm512_mask_loadu_ps(rest, t, p); }
  static void store(float* p, F v) { _mm512_storeu_ps(p, v); }
  static void store(float* p, F v, Tail t) { _mm512_mask_storeu_ps(p, t, v); }

  static F splat(float x) { return _mm512_set1_ps(x); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F sqrt(F a) { return _mm512_sqrt_ps(a); }
  static F floor(F a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
  static F ceil(F a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC); }
  static F trunc(F a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC); }
  static F nearest(F a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static F max_or_second(F a, F b) { return _mm512_max_ps(a, b); }
  static F min_or_second(F a, F b) { return _mm512_min_ps(a, b); }
  static M less(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
  static M less_equal(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
  static M equal(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
  static M unordered(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q); }
  static M negative(I a) { return _mm512_cmplt_epi32_mask(a, _mm512_setzero_si512()); }
  static M either(M a, M b) { return _mm512_kor(a, b); }
  static F select(M m, F yes, F no) { return _mm512_mask_blend_ps(m, no, yes); }
  static bool any(M m) { return m != 0; }

  static I bits(F a) { return _mm512_castps_si512(a); }
  static F from_bits(I a) { return _mm512_castsi512_ps(a); }
  static I splat_bits(std::uint32_t x) { return _mm512_set1_epi32(static_cast<int>(x)); }
  static I add(I a, I b) { return _mm512_add_epi32(a, b); }
  static I sub(I a, I b) { return _mm512_sub_epi32(a, b); }
  static I bit_and(I a, I b) { return _mm512_and_si512(a, b); }
  static I bit_or(I a, I b) { return _mm512_or_si512(a, b); }
  static I bit_xor(I a, I b) { return _mm512_xor_si512(a, b); }
  static I max(I a, I b) { return _mm512_max_epi32(a, b); }
  static I min(I a, I b) { return _mm512_min_epi32(a, b); }
  static M less(I a, I b) { return _mm512_cmplt_epi32_mask(a, b); }
  static M equal(I a, I b) { return _mm512_cmpeq_epi32_mask(a, b); }
  static I mul(I a, I b) { return _mm512_mullo_epi32(a, b); }
  static I shl(I a, I bits) { return _mm512_sllv_epi32(a, bits); }
  static I shr(I a, I bits) { return _mm512_srav_epi32(a, bits); }
  template <int N>
  static I shl(I a) {
    return _mm512_slli_epi32(a, N);
  }
  template <int N>
  static I shr(I a) {
    return _mm512_srai_epi32(a, N);
  }
  static F to_float(I a) { return _mm512_cvtepi32_ps(a); }
  static I round(F a) { return _mm512_cvtps_epi32(a); }
  static F lookup(const float (&table)[8], I index) {
    const __m256d eight = _mm256_castps_pd(_mm256_loadu_ps(table));
    return _mm512_permutexvar_ps(index, _mm512_castpd_ps(_mm512_broadcast_f64x4(eight)));
  }
  static F lookup(const float (&table)[16], I index) {
    return _mm512_permutexvar_ps(index, _mm512_loadu_ps(table));
  }
  // a * 2^floor(k), rounded once.
  static F scale(F a, F k) { return _mm512_scalef_ps(a, k); }

  static I load(const std::uint16_t* p) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static I load(const std::int8_t* p) {
    return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static I load(const std::int32_t* p) { return _mm512_loadu_si512(p); }
  static void store_upper(std::uint16_t* p, I a, I b) {
    alignas(64) static constexpr std::uint16_t kOdd[32] = {
        1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31,
        33, 35, 37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61, 63};
    _mm512_storeu_si512(p, _mm512_permutex2var_epi16(a, _mm512_load_si512(kOdd), b));
  }
  static void store_saturated(std::int8_t* p, I a, I b) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(a));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + kWidth), _mm512_cvtsepi32_epi8(b));
  }
  static void store(std::int32_t* p, I v) { _mm512_storeu_si512(p, v); }

  static I dot(I acc, I a, I b) { return _mm512_add_epi32(acc, _mm512_madd_epi16(a, b)); }

  template <int D>
  static F swap(F a) {
    if constexpr (D >= 4) {
      return _mm512_shuffle_f32x4(a, a, D == 8 ? 0x4E : 0xB1);
    } else {
      return _mm512_permute_ps(a, D == 2 ? 0x4E : 0xB1);
    }
  }

  // Elements of v whose bit in `which` is set, each to its place behind p; no other is touched.
  static void store_some(std::int8_t* p, I v, std::uint64_t which) {
    _mm512_mask_storeu_epi8(p, which, v);
  }
  static void store_some(std::uint16_t* p, I v, std::uint64_t which) {
    _mm512_mask_storeu_epi16(p, static_cast<__mmask32>(which), v);
  }
  template <class T>
  static void store_some(T* p, I v, std::uint64_t which) {
    static_assert(sizeof(T) == 4);
    _mm512_mask_storeu_epi32(p, static_cast<__mmask16>(which), v);
  }
  template <int D>
  static F mix(F a, F b) {
    constexpr Tail kTakeB = D == 8 ? 0xFF00 : D == 4 ? 0xF0F0 : D == 2 ? 0xCCCC : 0xAAAA;
    return _mm512_mask_blend_ps(kTakeB, a, b);
  }
};

}  // namespace
}  // namespace tileflow
