// Eight lanes of AVX2 with FMA; the vocabulary is that of vec_scalar.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/denormals_x86.h"

namespace tileflow {
namespace {

struct Avx2 {
  static constexpr int kWidth = 8;
  static constexpr int kRegisters = 16;
  using F = __m256;
  using I = __m256i;
  using M = __m256;
  struct Tail {
    I mask;
    int n;
  };
  using Flushing = Avx2;
  using DenormalsAsZeros = DenormalsAsZerosX86;

  static Tail tail(int n) {
    n = n < 0 ? 0 : n > kWidth ? kWidth : n;
    const I lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return {_mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane), n};
  }
  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static F load(const float* p, Tail t) { return _mm256_maskload_ps(p, t.mask); }
  static F load(const float* p, Tail t, F rest) {
    return _mm256_blendv_ps(rest, load(p, t), _mm256_castsi256_ps(t.mask));
  }
  static void store(float* p, F v) { _mm256_storeu_ps(p, v); }
  // Masked stores are microcoded on some processors; two to four plain ones are not.
  static void store(float* p, F v, Tail t) {
    if (t.n == kWidth) return _mm256_storeu_ps(p, v);
    __m128 rest = _mm256_castps256_ps128(v);
    if (t.n & 4) {
      _mm_storeu_ps(p, rest);
      rest = _mm256_extractf128_ps(v, 1);
      p += 4;
    }
    if (t.n & 2) {
      _mm_storel_pi(reinterpret_cast<__m64*>(p), rest);
      rest = _mm_movehl_ps(rest, rest);
      p += 2;
    }
    if (t.n & 1) _mm_store_ss(p, rest);
  }

  static F splat(float x) { return _mm256_set1_ps(x); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F sqrt(F a) { return _mm256_sqrt_ps(a); }
  static F floor(F a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
  static F ceil(F a) { return _mm256_round_ps(a, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC); }
  static F trunc(F a) { return _mm256_round_ps(a, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC); }
  static F nearest(F a) {
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static F max_or_second(F a, F b) { return _mm256_max_ps(a, b); }
  static F min_or_second(F a, F b) { return _mm256_min_ps(a, b); }
  static M less(F a, F b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
  static M less_equal(F a, F b) { return _mm256_cmp_ps(a, b, _CMP_LE_OQ); }
  static M equal(F a, F b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
  static M unordered(F a, F b) { return _mm256_cmp_ps(a, b, _CMP_UNORD_Q); }
  static M negative(I a) { return _mm256_castsi256_ps(a); }
  static M either(M a, M b) { return _mm256_or_ps(a, b); }
  // Takes the sign bits of m.
  static F select(M m, F yes, F no) { return _mm256_blendv_ps(no, yes, m); }
  static bool any(M m) { return _mm256_movemask_ps(m) != 0; }

  static I bits(F a) { return _mm256_castps_si256(a); }
  static F from_bits(I a) { return _mm256_castsi256_ps(a); }
  static I splat_bits(std::uint32_t x) { return _mm256_set1_epi32(static_cast<int>(x)); }
  static I add(I a, I b) { return _mm256_add_epi32(a, b); }
  static I sub(I a, I b) { return _mm256_sub_epi32(a, b); }
  static I bit_and(I a, I b) { return _mm256_and_si256(a, b); }
  static I bit_or(I a, I b) { return _mm256_or_si256(a, b); }
  static I bit_xor(I a, I b) { return _mm256_xor_si256(a, b); }
  static I max(I a, I b) { return _mm256_max_epi32(a, b); }
  static I min(I a, I b) { return _mm256_min_epi32(a, b); }
  static M less(I a, I b) { return _mm256_castsi256_ps(_mm256_cmpgt_epi32(b, a)); }
  static M equal(I a, I b) { return _mm256_castsi256_ps(_mm256_cmpeq_epi32(a, b)); }
  static I mul(I a, I b) { return _mm256_mullo_epi32(a, b); }
  static I shl(I a, I bits) { return _mm256_sllv_epi32(a, bits); }
  static I shr(I a, I bits) { return _mm256_srav_epi32(a, bits); }
  template <int N>
  static I shl(I a) {
    return _mm256_slli_epi32(a, N);
  }
  template <int N>
  static I shr(I a) {
    return _mm256_srai_epi32(a, N);
  }
  static F to_float(I a) { return _mm256_cvtepi32_ps(a); }
  static I round(F a) { return _mm256_cvtps_epi32(a); }
  static F lookup(const float (&table)[8], I index) {
    return _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), index);
  }
  static F lookup(const float (&table)[16], I index) {
    const F low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), index);
    const F high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), index);
    return select(negative(shl<28>(index)), high, low);
  }

  static I load(const std::uint16_t* p) {
    return _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static I load(const std::int8_t* p) {
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  }
  static I load(const std::int32_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static void store_upper(std::uint16_t* p, I a, I b) {
    const I packed = _mm256_packus_epi32(_mm256_srli_epi32(a, 16), _mm256_srli_epi32(b, 16));
    _mm256_storeu_si256(reinterpret_cast<I*>(p), _mm256_permute4x64_epi64(packed, 0xD8));
  }
  static void store_saturated(std::int8_t* p, I a, I b) {
    const I words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xD8);
    const __m128i bytes =
        _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
  }
  static void store(std::int32_t* p, I v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }

  static I dot(I acc, I a, I b) { return _mm256_add_epi32(acc, _mm256_madd_epi16(a, b)); }

  // Lane i takes lane i ^ D.
  template <int D>
  static F swap(F a) {
    if constexpr (D == 4) {
      return _mm256_permute2f128_ps(a, a, 1);
    } else {
      return _mm256_permute_ps(a, D == 2 ? 0x4E : 0xB1);
    }
  }
  // Of each group of 2 D lanes the lower half of a and the upper half of b.
  template <int D>
  static F mix(F a, F b) {
    return _mm256_blend_ps(a, b, D == 4 ? 0xF0 : D == 2 ? 0xCC : 0xAA);
  }
};

}  // namespace
}  // namespace tileflow
