// RMSNorm, residual add, rope and the KV write on AVX2.
#include "kernels/norm_rope/avx2.h"

#include "kernels/dispatch/avx2_ops.h"

namespace stet::kernels::avx2 {
namespace {

constexpr uint32_t kLanes = 8;

// Pairs (i, i + half).
STET_INLINE void rope_halves(const float* x, const float* cos, const float* sin, uint32_t half,
                             float* out) {
  for (uint32_t i = 0; i < half; i += kLanes) {
    const __m256 x0 = _mm256_loadu_ps(x + i);
    const __m256 x1 = _mm256_loadu_ps(x + half + i);
    const __m256 c = _mm256_loadu_ps(cos + i);
    const __m256 s = _mm256_loadu_ps(sin + i);
    _mm256_storeu_ps(out + i, _mm256_fmsub_ps(x0, c, _mm256_mul_ps(x1, s)));
    _mm256_storeu_ps(out + half + i, _mm256_fmadd_ps(x1, c, _mm256_mul_ps(x0, s)));
  }
}

// Pairs (2i, 2i + 1): cos and sin are doubled, the neighbour comes by a shuffle, the sign of even
// lanes is flipped.
STET_INLINE void rope_adjacent(const float* x, const float* cos, const float* sin, uint32_t half,
                               float* out) {
  const __m256i twice = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
  const __m256 even =
      _mm256_castsi256_ps(_mm256_set1_epi64x(static_cast<int64_t>(uint64_t{0x80000000u})));
  for (uint32_t i = 0; i < half; i += kLanes / 2) {
    const __m256 v = _mm256_loadu_ps(x + 2 * i);
    const __m256 c = _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(cos + i)), twice);
    const __m256 s = _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(sin + i)), twice);
    const __m256 t = _mm256_xor_ps(_mm256_mul_ps(_mm256_permute_ps(v, 0xB1), s), even);
    _mm256_storeu_ps(out + 2 * i, _mm256_fmadd_ps(v, c, t));
  }
}

STET_INLINE void rope_lanes(RopeStyle style, const float* x, const float* cos, const float* sin,
                            uint32_t head_dim, uint32_t rope_dim, float* out) {
  const uint32_t half = rope_dim / 2;
  if (half % kLanes != 0) {
    reference::rope(style, x, cos, sin, head_dim, rope_dim, out);
    return;
  }
  if (style == RopeStyle::kHalves) {
    rope_halves(x, cos, sin, half, out);
  } else {
    rope_adjacent(x, cos, sin, half, out);
  }
  for (uint32_t i = 2 * half; i < head_dim; ++i) {
    out[i] = x[i];
  }
}

// bf16 in integers, on magnitudes: a NaN rounds to something above the fault limit instead of
// wrapping to zero.
STET_INLINE __m256i to_bf16(__m256 x, __m256i* max_seen) {
  const __m256i magnitude = abs_bits8(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(magnitude, 16), _mm256_set1_epi32(1));
  const __m256i rounded =
      _mm256_add_epi32(_mm256_add_epi32(magnitude, _mm256_set1_epi32(0x7FFF)), odd);
  const __m256i normal = _mm256_cmpgt_epi32(magnitude, _mm256_set1_epi32(0x007FFFFF));
  const __m256i value = _mm256_and_si256(_mm256_srli_epi32(rounded, 16), normal);
  *max_seen = _mm256_max_epu32(*max_seen, value);
  const __m256i sign = _mm256_srli_epi32(_mm256_castps_si256(x), 31);
  return _mm256_or_si256(value, _mm256_slli_epi32(sign, 15));
}

constexpr uint32_t kBf16Fault = 0x5B80;

// n floats times scale to bf16, rounded up to whole vectors: x and out have room. Returns whether
// one of the n is a fault.
template <bool kScale>
STET_INLINE bool round_row(const float* x, uint32_t n, float scale, uint16_t* out) {
  __m256i max_seen = _mm256_setzero_si256();
  for (uint32_t i = 0; i < n; i += kLanes) {
    __m256 v = _mm256_maskload_ps(x + i, first_lanes8(n - i));
    if constexpr (kScale) {
      v = _mm256_mul_ps(v, _mm256_set1_ps(scale));
    }
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), narrow16(to_bf16(v, &max_seen)));
  }
  return max8_bits(max_seen) >= kBf16Fault;
}

}  // namespace

bool rms_norm(const float* x, const float* w, uint32_t n, float eps, float* y) {
  const float r = reference::rms_factor(sum_squares(x, n), n, eps);
  if (r != r) {
    __builtin_memset(y, 0, size_t{n} * sizeof(float));
    return true;
  }
  const __m256 rv = _mm256_set1_ps(r);
  for (uint32_t i = 0; i < n; i += kLanes) {
    const __m256i m = first_lanes8(n - i);
    const __m256 v = _mm256_mul_ps(_mm256_maskload_ps(x + i, m), rv);
    _mm256_maskstore_ps(y + i, m, _mm256_mul_ps(v, _mm256_maskload_ps(w + i, m)));
  }
  return false;
}

void add(const float* x, uint32_t n, float* y) {
  reference::add(x, n, y);  // the compiler's lanes are as good
}

bool rope_q(RopeStyle style, const float* x, const float* cos, const float* sin, uint32_t head_dim,
            uint32_t rope_dim, float scale, uint16_t* out) {
  alignas(32) float roped[kMaxHeadDim];
  alignas(32) uint16_t rounded[kMaxHeadDim];
  rope_lanes(style, x, cos, sin, head_dim, rope_dim, roped);
  const bool fault = round_row<true>(roped, head_dim, scale, rounded);
  if (fault) {
    __builtin_memset(out, 0, head_dim * sizeof(uint16_t));
  } else {
    __builtin_memcpy(out, rounded, head_dim * sizeof(uint16_t));
  }
  return fault;
}

bool rope_store_kv(RopeStyle style, const float* k, const float* v, const float* cos,
                   const float* sin, uint32_t head_dim, uint32_t rope_dim, std::byte* tile,
                   uint32_t pos) {
  alignas(32) float roped[kMaxHeadDim];
  alignas(32) uint16_t k16[kMaxHeadDim];
  alignas(32) uint16_t v16[kMaxHeadDim];
  rope_lanes(style, k, cos, sin, head_dim, rope_dim, roped);
  const bool k_fault = round_row<false>(roped, head_dim, 1.0f, k16);
  const bool v_fault = round_row<false>(v, head_dim, 1.0f, v16);
  if (k_fault || v_fault) {
    __builtin_memset(k16, 0, sizeof k16);
    __builtin_memset(v16, 0, sizeof v16);
  }
  reference::store_kv(k16, v16, head_dim, tile, pos);
  return k_fault || v_fault;
}

}  // namespace stet::kernels::avx2
