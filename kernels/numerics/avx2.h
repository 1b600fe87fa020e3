// The functions of kernels/numerics on 8 lanes: same operations per lane, so the same bits. Only
// for cpu_avx2*.cc and cpu_avxvnni*.cc.
#pragma once

#include <immintrin.h>

#include "kernels/numerics/exp2.h"
#include "kernels/numerics/inline.h"

namespace stet::kernels {

STET_INLINE __m256 constant8(uint32_t bits) {
  return _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(bits)));
}

STET_INLINE __m256i abs_bits8(__m256 x) {
  return _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x7FFFFFFF));
}

// All bits of lanes [0, n) of 8.
STET_INLINE __m256i first_lanes8(uint32_t n) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n > 8 ? 8 : n)), lane);
}

// All bits of the lanes that the low 8 bits name.
STET_INLINE __m256i lanes_of(uint32_t bits) {
  const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(static_cast<int>(bits)), bit), bit);
}

// 8 f16 or bf16 as f32.
STET_INLINE __m256 load_f16(const void* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}

STET_INLINE __m256 load_bf16(const void* p) {
  const __m128i h = _mm_loadu_si128(static_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

// The low 16 bits of each lane, in order.
STET_INLINE __m128i narrow16(__m256i v) {
  const __m256i packed = _mm256_packus_epi32(v, v);
  return _mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08));
}

// exp2_c6 on kCount vectors in lockstep: one chain is longer than the schedulers can overlap with
// its neighbours. rint by adding 1.5 * 2^23, whose low mantissa bits then are n: no multiply-type
// operation but the polynomial's. kBelowOne: the caller knows x <= 0, so the upper clamp is left
// out.
template <int kCount, bool kBelowOne>
STET_INLINE void exp2_lanes8(__m256 (&x)[kCount]) {
  const __m256 magic = _mm256_set1_ps(0x1.8p23f);
  __m256 p[kCount];
  __m256 t[kCount];
#pragma GCC unroll 8
  for (int j = 0; j < kCount; ++j) {
    x[j] = _mm256_max_ps(x[j], _mm256_set1_ps(-kExp2Limit));  // NaN: the second operand
    if constexpr (!kBelowOne) {
      x[j] = _mm256_min_ps(x[j], _mm256_set1_ps(kExp2Limit));
    }
    t[j] = _mm256_add_ps(x[j], magic);
    x[j] = _mm256_sub_ps(x[j], _mm256_sub_ps(t[j], magic));
    p[j] = constant8(kExp2Coefficients[0]);
  }
#pragma GCC unroll 8
  for (int i = 1; i < 7; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < kCount; ++j) {
      p[j] = _mm256_fmadd_ps(p[j], x[j], constant8(kExp2Coefficients[i]));
    }
  }
#pragma GCC unroll 8
  for (int j = 0; j < kCount; ++j) {
    const __m256i n = _mm256_slli_epi32(_mm256_castps_si256(t[j]), 23);
    x[j] = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p[j]), n));
  }
}

// C2's tree: j+32, j+16, j+8 on the 64 partials in eight vectors, then j+4, j+2, j+1.
STET_INLINE __m256 c2_fold8(const __m256 (&p)[8]) {
  return _mm256_add_ps(_mm256_add_ps(_mm256_add_ps(p[0], p[4]), _mm256_add_ps(p[2], p[6])),
                       _mm256_add_ps(_mm256_add_ps(p[1], p[5]), _mm256_add_ps(p[3], p[7])));
}

STET_INLINE float c2_tree8(__m256 v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

STET_INLINE float max8(__m256 v) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

STET_INLINE uint32_t max8_bits(__m256i v) {
  __m128i s = _mm_max_epu32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  s = _mm_max_epu32(s, _mm_shuffle_epi32(s, 0x4E));
  s = _mm_max_epu32(s, _mm_shuffle_epi32(s, 0xB1));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(s));
}

}  // namespace stet::kernels
