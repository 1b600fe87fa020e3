// The functions of kernels/numerics on 16 lanes: same operations per lane, so the same bits. Only
// for cpu_avx512*.cc.
#pragma once

#include <immintrin.h>

#include "kernels/numerics/exp2.h"
#include "kernels/numerics/inline.h"

namespace stet::kernels {

STET_INLINE __m512 constant(uint32_t bits) {
  return _mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(bits)));
}

STET_INLINE __m512i abs_bits(__m512 x) {
  return _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7FFFFFFF));
}

// Lanes [0, n) of 16.
STET_INLINE __mmask16 first_lanes(uint32_t n) {
  return static_cast<__mmask16>(n >= 16 ? 0xFFFFu : (1u << n) - 1);
}

// exp2_c6 on kCount vectors in lockstep: one chain is longer than the schedulers can overlap with
// its neighbours. rint by adding 1.5 * 2^23, whose low mantissa bits then are n: no multiply-type
// operation but the polynomial's. kBelowOne: the caller knows x <= 0, so the upper clamp is left
// out.
template <int kCount, bool kBelowOne>
STET_INLINE void exp2_lanes(__m512 (&x)[kCount]) {
  const __m512 magic = _mm512_set1_ps(0x1.8p23f);
  __m512 p[kCount];
  __m512 t[kCount];
#pragma GCC unroll 8
  for (int j = 0; j < kCount; ++j) {
    x[j] = _mm512_max_ps(x[j], _mm512_set1_ps(-kExp2Limit));  // NaN: the second operand
    if constexpr (!kBelowOne) {
      x[j] = _mm512_min_ps(x[j], _mm512_set1_ps(kExp2Limit));
    }
    t[j] = _mm512_add_ps(x[j], magic);
    x[j] = _mm512_sub_ps(x[j], _mm512_sub_ps(t[j], magic));
    p[j] = constant(kExp2Coefficients[0]);
  }
#pragma GCC unroll 8
  for (int i = 1; i < 7; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < kCount; ++j) {
      p[j] = _mm512_fmadd_ps(p[j], x[j], constant(kExp2Coefficients[i]));
    }
  }
#pragma GCC unroll 8
  for (int j = 0; j < kCount; ++j) {
    const __m512i n = _mm512_slli_epi32(_mm512_castps_si512(t[j]), 23);
    x[j] = _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p[j]), n));
  }
}

// C2's tree. The first two levels (j+32, j+16) on the 64 partials in four vectors, then j+8 ...
// j+1.
STET_INLINE __m512 c2_fold(__m512 p0, __m512 p1, __m512 p2, __m512 p3) {
  return _mm512_add_ps(_mm512_add_ps(p0, p2), _mm512_add_ps(p1, p3));
}

STET_INLINE float c2_tree16(__m512 v) {
  const __m256 h = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

STET_INLINE float max16(__m512 v) {
  const __m256 h = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

STET_INLINE uint32_t max16_bits(__m512i v) {
  const __m256i h = _mm256_max_epu32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
  __m128i s = _mm_max_epu32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
  s = _mm_max_epu32(s, _mm_shuffle_epi32(s, 0x4E));
  s = _mm_max_epu32(s, _mm_shuffle_epi32(s, 0xB1));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(s));
}

}  // namespace stet::kernels
