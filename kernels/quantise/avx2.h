// Rows of a LinearInput (C3) from elements made 8 at a time. Short loops per 8 groups - make and
// find maxima, divide, round and sum, scale - because a group's own chain (maximum, two divisions,
// sum) is 60 cycles of latency.
#pragma once

#include "kernels/numerics/avx2.h"
#include "kernels/quantise/reference.h"

namespace stet::kernels::avx2 {

static inline constexpr uint32_t kGroupsPerRun = 8;
static inline constexpr uint32_t kGroupVecs = kGroup / 8;

struct QuantiseRun {
  alignas(32) float x[kGroupsPerRun * kGroup];
  alignas(32) uint32_t max_bits[kGroupsPerRun];
  alignas(32) float inverse[kGroupsPerRun];
  alignas(32) int32_t sums[kGroupsPerRun];
};

// Codes of one group; returns the sums of both halves. Channels that keep leaves out get 0.
STET_INLINE int32_t round_group(const float* x, float inverse, uint32_t keep, int8_t* q) {
  const __m256 r = _mm256_set1_ps(inverse);
  __m256i code[kGroupVecs];
#pragma GCC unroll 4
  for (uint32_t j = 0; j < kGroupVecs; ++j) {
    code[j] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_load_ps(x + 8 * j), r));
    if (keep != ~0u) {
      code[j] = _mm256_and_si256(code[j], lanes_of(keep >> (8 * j)));
    }
  }
  // Packing works within halves of 128 bits: the permutation puts fours of codes in order again.
  const __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(code[0], code[1]),
                                            _mm256_packs_epi32(code[2], code[3]));
  const __m256i codes =
      _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
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
  const __m256i lanes = first_lanes8(count);
  const size_t at = size_t{row} * out.ldg + first;
  const __m256i bits = _mm256_load_si256(reinterpret_cast<const __m256i*>(run->max_bits));
  const __m256i live = _mm256_cmpgt_epi32(bits, _mm256_set1_epi32(0x17800000 - 1));  // >= 2^-80
  const __m256 live_mask = _mm256_castsi256_ps(live);
  const __m256 amax = _mm256_castsi256_ps(bits);
  const __m256 c127 = _mm256_set1_ps(127.0f);
  const __m256 scale = _mm256_and_ps(live_mask, _mm256_div_ps(amax, c127));
  _mm256_store_ps(run->inverse, _mm256_and_ps(live_mask, _mm256_div_ps(c127, amax)));
  const int live_bits = _mm256_movemask_ps(live_mask);
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t kept = outliers.num ? outliers.keep[first + i] : ~0u;
    run->sums[i] =
        round_group(run->x + i * kGroup, run->inverse[i], (live_bits >> i & 1) != 0 ? kept : 0u,
                    out.q + size_t{row} * out.ldk + size_t{first + i} * kGroup);
  }
  const __m256i sums = _mm256_load_si256(reinterpret_cast<const __m256i*>(run->sums));
  const __m256i sum = _mm256_madd_epi16(sums, _mm256_set1_epi16(1));
  _mm256_maskstore_ps(out.s + at, lanes, scale);
  _mm256_maskstore_epi32(out.a + at, lanes, sums);
  _mm256_maskstore_ps(out.t + at, lanes, _mm256_mul_ps(_mm256_cvtepi32_ps(sum), scale));
}

// make(first, lanes) gives elements first .. first+7 of the row, zero outside the lanes.
template <class Make>
STET_INLINE bool quantise_row(Make make, const Outliers& outliers, const LinearInput& out,
                              uint32_t row) {
  QuantiseRun run;
  __m256i all = _mm256_setzero_si256();
  uint32_t next_outlier = 0;
  const uint32_t groups = (out.k + kGroup - 1) / kGroup;
  for (uint32_t first = 0; first < groups; first += kGroupsPerRun) {
    const uint32_t count = groups - first < kGroupsPerRun ? groups - first : kGroupsPerRun;
    const uint32_t begin = first * kGroup;
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t keep = outliers.num ? outliers.keep[first + i] : ~0u;
      __m256i kept = _mm256_setzero_si256();
#pragma GCC unroll 4
      for (uint32_t j = 0; j < kGroupVecs; ++j) {
        const uint32_t c = begin + i * kGroup + 8 * j;
        const __m256 v = make(c, first_lanes8(c < out.k ? out.k - c : 0));
        _mm256_store_ps(run.x + i * kGroup + 8 * j, v);
        const __m256i bits = abs_bits8(v);
        all = _mm256_max_epu32(all, bits);
        kept = _mm256_max_epu32(
            kept, keep == ~0u ? bits : _mm256_and_si256(bits, lanes_of(keep >> (8 * j))));
      }
      run.max_bits[i] = max8_bits(kept);
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
  if (max8_bits(all) >= kNonFinite) {
    reference::zero_row(outliers, out, row);
    return true;
  }
  return false;
}

}  // namespace stet::kernels::avx2
