// Passes over the vocabulary on AVX2; the rest of the sampler is shared. Bound: exp2 of every
// logit, 7 multiply-type and 8 other operations per 8 logits.
#include "kernels/dispatch/avx2_ops.h"
#include "kernels/numerics/avx2.h"
#include "kernels/sample/sampler.h"

namespace stet::kernels::avx2 {
namespace {

constexpr uint32_t kLanes = 8;
constexpr uint32_t kBlock = 64;  // C2's partials: eight vectors

STET_INLINE __m256 load_or(const float* x, uint32_t left, float missing) {
  const __m256i lanes = first_lanes8(left);
  return _mm256_blendv_ps(_mm256_set1_ps(missing), _mm256_maskload_ps(x, lanes),
                          _mm256_castsi256_ps(lanes));
}

// exp2((x - max) * c) of 32 logits, of which `left` are there.
template <bool kWhole>
STET_INLINE void exp_lanes(const float* x, uint32_t left, __m256 max, __m256 c, __m256 (&e)[4]) {
#pragma GCC unroll 4
  for (uint32_t j = 0; j < 4; ++j) {
    const __m256 v = kWhole
                         ? _mm256_loadu_ps(x + kLanes * j)
                         : load_or(x + kLanes * j, kLanes * j < left ? left - kLanes * j : 0, 0.0f);
    e[j] = _mm256_mul_ps(_mm256_sub_ps(v, max), c);
  }
  exp2_lanes8<4, true>(e);
}

// The integer masses uint64(e * 2^40) of 4 lanes, e positive and normal or 0: the mantissa, shifted
// as the exponent says.
STET_INLINE __m256i masses(__m128i bits) {
  const __m128i mantissa =
      _mm_or_si128(_mm_and_si128(bits, _mm_set1_epi32(0x7FFFFF)), _mm_set1_epi32(0x800000));
  const __m256i m = _mm256_cvtepu32_epi64(mantissa);
  // e = mantissa * 2^(exponent - 150); shifts of 64 and more, negative ones too, give 0.
  const __m256i right =
      _mm256_cvtepi32_epi64(_mm_sub_epi32(_mm_set1_epi32(150 - 40), _mm_srli_epi32(bits, 23)));
  const __m256i left = _mm256_sub_epi64(_mm256_setzero_si256(), right);
  return _mm256_or_si256(_mm256_srlv_epi64(m, right), _mm256_sllv_epi64(m, left));
}

STET_INLINE __m256i add_mass(__m256i sum, __m256 e) {
  const __m256i bits = _mm256_castps_si256(e);
  sum = _mm256_add_epi64(sum, masses(_mm256_castsi256_si128(bits)));
  return _mm256_add_epi64(sum, masses(_mm256_extracti128_si256(bits, 1)));
}

STET_INLINE uint64_t sum_of(__m256i v) {
  const __m128i two = _mm_add_epi64(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  return static_cast<uint64_t>(_mm_cvtsi128_si64(_mm_add_epi64(two, _mm_unpackhi_epi64(two, two))));
}

struct Passes {
  static float max(const float* x, uint32_t n) {
    const float lowest = -__builtin_inff();
    __m256 m[4] = {_mm256_set1_ps(lowest), _mm256_set1_ps(lowest), _mm256_set1_ps(lowest),
                   _mm256_set1_ps(lowest)};
    uint32_t i = 0;
    for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
#pragma GCC unroll 4
      for (uint32_t j = 0; j < 4; ++j) {
        m[j] = _mm256_max_ps(_mm256_loadu_ps(x + i + kLanes * j), m[j]);
      }
    }
    for (; i < n; i += kLanes) {
      m[0] = _mm256_max_ps(load_or(x + i, n - i, lowest), m[0]);
    }
    return max8(_mm256_max_ps(_mm256_max_ps(m[0], m[1]), _mm256_max_ps(m[2], m[3]))) + 0.0f;
  }

  static uint32_t find(const float* x, uint32_t n, float value) {
    const __m256 v = _mm256_set1_ps(value);
    uint32_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      const int hits = _mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(x + i), v, _CMP_EQ_OQ));
      if (hits != 0) {
        return i + static_cast<uint32_t>(__builtin_ctz(static_cast<unsigned>(hits)));
      }
    }
    return i + reference::Passes::find(x + i, n - i, value);
  }

  static bool all_finite(const float* x, uint32_t n) {
    __m256i seen[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    uint32_t i = 0;
    for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
      seen[0] = _mm256_max_epu32(seen[0], abs_bits8(_mm256_loadu_ps(x + i)));
      seen[1] = _mm256_max_epu32(seen[1], abs_bits8(_mm256_loadu_ps(x + i + kLanes)));
    }
    for (; i < n; i += kLanes) {
      seen[0] = _mm256_max_epu32(seen[0], abs_bits8(load_or(x + i, n - i, 0.0f)));
    }
    return max8_bits(_mm256_max_epu32(seen[0], seen[1])) < kNonFinite;
  }

  // Eight vectors are the 64 partials of C2; lanes beyond n count as +0.
  static float exp_sum(const float* x, uint32_t n, float max, float c) {
    const __m256 mv = _mm256_set1_ps(max);
    const __m256 cv = _mm256_set1_ps(c);
    __m256 p[8];
    for (__m256& v : p) {
      v = _mm256_setzero_ps();
    }
    __m256 e[4];
    uint32_t i = 0;
    for (; i + kBlock <= n; i += kBlock) {
#pragma GCC unroll 2
      for (uint32_t half = 0; half < 2; ++half) {
        exp_lanes<true>(x + i + 32 * half, 32, mv, cv, e);
#pragma GCC unroll 4
        for (uint32_t j = 0; j < 4; ++j) {
          p[4 * half + j] = _mm256_add_ps(p[4 * half + j], e[j]);
        }
      }
    }
    for (uint32_t half = 0; half < 2 && i + 32 * half < n; ++half) {
      const uint32_t left = n - i - 32 * half;
      exp_lanes<false>(x + i + 32 * half, left, mv, cv, e);
      for (uint32_t j = 0; j < 4; ++j) {
        const __m256i lanes = first_lanes8(kLanes * j < left ? left - kLanes * j : 0);
        p[4 * half + j] =
            _mm256_add_ps(p[4 * half + j], _mm256_and_ps(e[j], _mm256_castsi256_ps(lanes)));
      }
    }
    return c2_tree8(c2_fold8(p));
  }

  static void exponentials(const float* x, uint32_t n, float max, float c, float* out) {
    const __m256 mv = _mm256_set1_ps(max);
    const __m256 cv = _mm256_set1_ps(c);
    __m256 e[4];
    uint32_t i = 0;
    for (; i + 32 <= n; i += 32) {
      exp_lanes<true>(x + i, 32, mv, cv, e);
#pragma GCC unroll 4
      for (uint32_t j = 0; j < 4; ++j) {
        _mm256_storeu_ps(out + i + kLanes * j, e[j]);
      }
    }
    reference::Passes::exponentials(x + i, n - i, max, c, out + i);
  }

  static uint64_t mass(const float* e, uint32_t n, float min_p) {
    const __m256 floor = _mm256_set1_ps(min_p);
    __m256i sum = _mm256_setzero_si256();
    uint32_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      const __m256 v = _mm256_loadu_ps(e + i);
      sum = add_mass(sum, _mm256_and_ps(_mm256_cmp_ps(v, floor, _CMP_GE_OQ), v));
    }
    return sum_of(sum) + reference::Passes::mass(e + i, n - i, min_p);
  }

  // Few ids lie above a floor worth trying, so most groups of 8 cost one comparison.
  static Share above(const float* x, const float* e, uint32_t n, float floor) {
    const __m256 f = _mm256_set1_ps(floor);
    __m256i sum = _mm256_setzero_si256();
    uint32_t count = 0;
    uint32_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      const __m256 lanes = _mm256_cmp_ps(_mm256_loadu_ps(x + i), f, _CMP_GE_OQ);
      const int hits = _mm256_movemask_ps(lanes);
      if (hits != 0) {
        sum = add_mass(sum, _mm256_and_ps(lanes, _mm256_loadu_ps(e + i)));
        count += static_cast<uint32_t>(__builtin_popcount(static_cast<unsigned>(hits)));
      }
    }
    const Share rest = reference::Passes::above(x + i, e + i, n - i, floor);
    return {count + rest.count, sum_of(sum) + rest.mass};
  }

  static uint32_t collect(const float* x, uint32_t n, float floor, uint32_t* ids) {
    const __m256 f = _mm256_set1_ps(floor);
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i += kLanes) {
      const __m256 v =
          n - i >= kLanes ? _mm256_loadu_ps(x + i) : load_or(x + i, n - i, -__builtin_inff());
      unsigned hits = static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(v, f, _CMP_GE_OQ)));
      hits &= n - i >= kLanes ? 0xFFu : (1u << (n - i)) - 1;
      for (; hits != 0; hits &= hits - 1) {
        ids[count++] = i + static_cast<uint32_t>(__builtin_ctz(hits));
      }
    }
    return count;
  }
};

}  // namespace

LogSumExp log_sum_exp(const float* logits, uint32_t n) {
  return log_sum_exp_with<Passes>(logits, n);
}
uint32_t sample(const SampleArgs& args) {
  return sample_with<Passes>(args);
}

}  // namespace stet::kernels::avx2
