// RMSNorm, residual add, rope and the KV write on AVX-512.
#include "kernels/dispatch/avx512_ops.h"
#include "kernels/norm_rope/avx512.h"

namespace stet::kernels::avx512 {
namespace {

// Pairs (i, i + half).
STET_INLINE void rope_halves(const float* x, const float* cos, const float* sin, uint32_t half,
                             float* out) {
  for (uint32_t i = 0; i < half; i += 16) {
    const __mmask16 m = first_lanes(half - i);
    const __m512 x0 = _mm512_maskz_loadu_ps(m, x + i);
    const __m512 x1 = _mm512_maskz_loadu_ps(m, x + half + i);
    const __m512 c = _mm512_maskz_loadu_ps(m, cos + i);
    const __m512 s = _mm512_maskz_loadu_ps(m, sin + i);
    _mm512_mask_storeu_ps(out + i, m, _mm512_fmsub_ps(x0, c, _mm512_mul_ps(x1, s)));
    _mm512_mask_storeu_ps(out + half + i, m, _mm512_fmadd_ps(x1, c, _mm512_mul_ps(x0, s)));
  }
}

// Pairs (2i, 2i + 1): cos and sin are doubled, the neighbour comes by a shuffle, the sign of even
// lanes is flipped.
STET_INLINE void rope_adjacent(const float* x, const float* cos, const float* sin, uint32_t half,
                               float* out) {
  const __m512i twice = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
  for (uint32_t i = 0; i < half; i += 8) {
    const uint32_t pairs = half - i < 8 ? half - i : 8;
    const __mmask16 narrow = first_lanes(pairs);
    const __mmask16 wide = first_lanes(2 * pairs);
    const __m512 v = _mm512_maskz_loadu_ps(wide, x + 2 * i);
    const __m512 c = _mm512_permutexvar_ps(twice, _mm512_maskz_loadu_ps(narrow, cos + i));
    const __m512 s = _mm512_permutexvar_ps(twice, _mm512_maskz_loadu_ps(narrow, sin + i));
    const __m512 t = _mm512_mul_ps(_mm512_permute_ps(v, 0xB1), s);
    const __m512 signed_t = _mm512_mask_xor_ps(t, 0x5555, t, constant(0x80000000u));
    _mm512_mask_storeu_ps(out + 2 * i, wide, _mm512_fmadd_ps(v, c, signed_t));
  }
}

STET_INLINE void rope_lanes(RopeStyle style, const float* x, const float* cos, const float* sin,
                            uint32_t head_dim, uint32_t rope_dim, float* out) {
  const uint32_t half = rope_dim / 2;
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
STET_INLINE __m512i to_bf16(__m512 x, __m512i* max_seen) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i magnitude = abs_bits(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(magnitude, 16), _mm512_set1_epi32(1));
  const __m512i rounded =
      _mm512_add_epi32(_mm512_add_epi32(magnitude, _mm512_set1_epi32(0x7FFF)), odd);
  const __mmask16 normal = _mm512_cmpge_epu32_mask(magnitude, _mm512_set1_epi32(0x00800000));
  const __m512i value = _mm512_maskz_srli_epi32(normal, rounded, 16);
  *max_seen = _mm512_max_epu32(*max_seen, value);
  return _mm512_or_si512(value, _mm512_slli_epi32(_mm512_srli_epi32(bits, 31), 15));
}

constexpr uint32_t kBf16Fault = 0x5B80;

// n floats times scale to bf16; returns whether one of them is a fault.
template <bool kScale>
STET_INLINE bool round_row(const float* x, uint32_t n, float scale, uint16_t* out) {
  __m512i max_seen = _mm512_setzero_si512();
  for (uint32_t i = 0; i < n; i += 16) {
    const __mmask16 m = first_lanes(n - i);
    __m512 v = _mm512_maskz_loadu_ps(m, x + i);
    if constexpr (kScale) {
      v = _mm512_mul_ps(v, _mm512_set1_ps(scale));
    }
    _mm256_mask_storeu_epi16(out + i, m, _mm512_cvtepi32_epi16(to_bf16(v, &max_seen)));
  }
  return max16_bits(max_seen) >= kBf16Fault;
}

// The other slot of a position pair may be written by another thread: masked stores touch this
// slot's lanes only.
STET_INLINE void store_v(const uint16_t* v16, uint32_t head_dim, std::byte* pair, uint32_t odd) {
  const __mmask32 lanes = odd ? 0xAAAAAAAAu : 0x55555555u;
  for (uint32_t d = 0; d < head_dim; d += 16) {
    __m512i v = _mm512_cvtepu16_epi32(_mm256_load_si256(reinterpret_cast<const __m256i*>(v16 + d)));
    v = odd ? _mm512_slli_epi32(v, 16) : v;
    const uint32_t left = head_dim - d;
    const __mmask32 m = left >= 16 ? lanes : lanes & ((1u << 2 * left) - 1);
    _mm512_mask_storeu_epi16(pair + size_t{d} * 4, m, v);
  }
}

}  // namespace

bool rms_norm(const float* x, const float* w, uint32_t n, float eps, float* y) {
  const float r = reference::rms_factor(sum_squares(x, n), n, eps);
  if (r != r) {
    __builtin_memset(y, 0, size_t{n} * sizeof(float));
    return true;
  }
  const __m512 rv = _mm512_set1_ps(r);
  for (uint32_t i = 0; i < n; i += 16) {
    const __mmask16 m = first_lanes(n - i);
    const __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(m, x + i), rv);
    _mm512_mask_storeu_ps(y + i, m, _mm512_mul_ps(v, _mm512_maskz_loadu_ps(m, w + i)));
  }
  return false;
}

void add(const float* x, uint32_t n, float* y) {
  for (uint32_t i = 0; i < n; i += 16) {
    const __mmask16 m = first_lanes(n - i);
    _mm512_mask_storeu_ps(
        y + i, m, _mm512_add_ps(_mm512_maskz_loadu_ps(m, y + i), _mm512_maskz_loadu_ps(m, x + i)));
  }
}

bool rope_q(RopeStyle style, const float* x, const float* cos, const float* sin, uint32_t head_dim,
            uint32_t rope_dim, float scale, uint16_t* out) {
  alignas(64) float roped[kMaxHeadDim];
  rope_lanes(style, x, cos, sin, head_dim, rope_dim, roped);
  const bool fault = round_row<true>(roped, head_dim, scale, out);
  if (fault) {
    __builtin_memset(out, 0, head_dim * sizeof(uint16_t));
  }
  return fault;
}

bool rope_store_kv(RopeStyle style, const float* k, const float* v, const float* cos,
                   const float* sin, uint32_t head_dim, uint32_t rope_dim, std::byte* tile,
                   uint32_t pos) {
  alignas(64) float roped[kMaxHeadDim];
  alignas(64) uint16_t k16[kMaxHeadDim];
  alignas(64) uint16_t v16[kMaxHeadDim];
  rope_lanes(style, k, cos, sin, head_dim, rope_dim, roped);
  const bool k_fault = round_row<false>(roped, head_dim, 1.0f, k16);
  const bool v_fault = round_row<false>(v, head_dim, 1.0f, v16);
  if (k_fault || v_fault) {
    __builtin_memset(k16, 0, sizeof k16);
    __builtin_memset(v16, 0, sizeof v16);
  }
  for (uint32_t i = 0; i < head_dim / 2; ++i) {
    __builtin_memcpy(tile + (size_t{i} * kTile + pos) * 4, k16 + 2 * i, 4);
  }
  store_v(v16, head_dim, tile + size_t{kTile} * head_dim * 2 + size_t{pos / 2} * head_dim * 4,
          pos % 2);
  return k_fault || v_fault;
}

}  // namespace stet::kernels::avx512
