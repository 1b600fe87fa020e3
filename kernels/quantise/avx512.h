// Rows of a LinearInput (C3) from elements made 16 at a time. Four short loops per 16 groups - make
// and find maxima, divide, round and sum, scale - because a group's own chain (maximum, two
// divisions, sum) is 60 cycles of latency.
#pragma once

#include "kernels/numerics/avx512.h"
#include "kernels/quantise/reference.h"

namespace stet::kernels::avx512 {

static inline constexpr uint32_t kGroupsPerRun = 16;

struct QuantiseRun {
  alignas(64) float x[kGroupsPerRun * kGroup];
  alignas(64) uint32_t max_bits[kGroupsPerRun];
  alignas(64) float inverse[kGroupsPerRun];
  alignas(64) int32_t sums[kGroupsPerRun];
};

// 32 elements to run->x; their maximum without outliers to run->max_bits. Returns the maximum of
// all.
STET_INLINE __m512i take_group(__m512 lo, __m512 hi, uint32_t keep, uint32_t i, QuantiseRun* run) {
  _mm512_store_ps(run->x + i * kGroup, lo);
  _mm512_store_ps(run->x + i * kGroup + 16, hi);
  const __m512i lo_bits = abs_bits(lo);
  const __m512i hi_bits = abs_bits(hi);
  const __m512i kept =
      _mm512_max_epu32(_mm512_maskz_mov_epi32(static_cast<__mmask16>(keep), lo_bits),
                       _mm512_maskz_mov_epi32(static_cast<__mmask16>(keep >> 16), hi_bits));
  run->max_bits[i] = max16_bits(kept);
  return _mm512_max_epu32(lo_bits, hi_bits);
}

// Codes of one group; returns the sums of both halves.
STET_INLINE int32_t round_group(const float* x, float inverse, uint32_t keep, int8_t* q) {
  const __m512 r = _mm512_set1_ps(inverse);
  const __m512i lo =
      _mm512_maskz_cvtps_epi32(static_cast<__mmask16>(keep), _mm512_mul_ps(_mm512_load_ps(x), r));
  const __m512i hi = _mm512_maskz_cvtps_epi32(static_cast<__mmask16>(keep >> 16),
                                              _mm512_mul_ps(_mm512_load_ps(x + 16), r));
  const __m256i codes = _mm256_set_m128i(_mm512_cvtepi32_epi8(hi), _mm512_cvtepi32_epi8(lo));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(q), codes);
  // Bytes + 128 summed by vpsadbw: 4 partial sums.
  const __m256i biased = _mm256_xor_si256(codes, _mm256_set1_epi8(-128));
  const __m256i sums = _mm256_sad_epu8(biased, _mm256_setzero_si256());
  const __m256i halves = _mm256_add_epi64(sums, _mm256_shuffle_epi32(sums, 0x4E));
  constexpr int32_t kBias = 128 * static_cast<int32_t>(kGroup) / 2;
  return reference::half_sums(_mm_cvtsi128_si32(_mm256_castsi256_si128(halves)) - kBias,
                              _mm_cvtsi128_si32(_mm256_extracti128_si256(halves, 1)) - kBias);
}

// Groups [first, first + count) of a run, from maxima to s, q, a, t.
STET_INLINE void finish_run(QuantiseRun* run, uint32_t first, uint32_t count,
                            const Outliers& outliers, const LinearInput& out, uint32_t row) {
  const __mmask16 lanes = first_lanes(count);
  const size_t at = size_t{row} * out.ldg + first;
  const __m512i bits = _mm512_load_si512(run->max_bits);
  const __mmask16 live = _mm512_cmpge_epu32_mask(bits, _mm512_set1_epi32(0x17800000));  // 2^-80
  const __m512 amax = _mm512_castsi512_ps(bits);
  const __m512 c127 = _mm512_set1_ps(127.0f);
  const __m512 scale = _mm512_maskz_div_ps(live, amax, c127);
  _mm512_store_ps(run->inverse, _mm512_maskz_div_ps(live, c127, amax));
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t keep =
        (outliers.num ? outliers.keep[first + i] : ~0u) & ((live >> i & 1) ? ~0u : 0u);
    run->sums[i] = round_group(run->x + i * kGroup, run->inverse[i], keep,
                               out.q + size_t{row} * out.ldk + size_t{first + i} * kGroup);
  }
  const __m512i sums = _mm512_load_si512(run->sums);
  const __m512i sum = _mm512_madd_epi16(sums, _mm512_set1_epi16(1));
  _mm512_mask_storeu_ps(out.s + at, lanes, scale);
  _mm512_mask_storeu_epi32(out.a + at, lanes, sums);
  _mm512_mask_storeu_ps(out.t + at, lanes, _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale));
}

// make(first, mask) gives elements first .. first+15 of the row, zero where the mask is.
template <class Make>
STET_INLINE bool quantise_row(Make make, const Outliers& outliers, const LinearInput& out,
                              uint32_t row) {
  QuantiseRun run;
  __m512i all = _mm512_setzero_si512();
  uint32_t next_outlier = 0;
  const uint32_t groups = (out.k + kGroup - 1) / kGroup;
  for (uint32_t first = 0; first < groups; first += kGroupsPerRun) {
    const uint32_t count = groups - first < kGroupsPerRun ? groups - first : kGroupsPerRun;
    const uint32_t begin = first * kGroup;
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t c = begin + i * kGroup;
      const uint32_t left = out.k - c;
      const __m512 lo = make(c, first_lanes(left));
      const __m512 hi = make(c + 16, first_lanes(left < 16 ? 0 : left - 16));
      all = _mm512_max_epu32(
          all, take_group(lo, hi, outliers.num ? outliers.keep[first + i] : ~0u, i, &run));
    }
    const uint32_t end = out.k < begin + count * kGroup ? out.k : begin + count * kGroup;
    if (out.x) {
      __builtin_memcpy(out.x + size_t{row} * out.ldk + begin, run.x,
                       size_t{end - begin} * sizeof(float));
    }
    for (; next_outlier < outliers.num && outliers.channels[next_outlier] < end; ++next_outlier) {
      out.xo[size_t{row} * kMaxOutliers + next_outlier] =
          run.x[outliers.channels[next_outlier] - begin];
    }
    if (out.q) {
      finish_run(&run, first, count, outliers, out, row);
    }
  }
  if (max16_bits(all) >= kNonFinite) {
    reference::zero_row(outliers, out, row);
    return true;
  }
  return false;
}

}  // namespace stet::kernels::avx512
