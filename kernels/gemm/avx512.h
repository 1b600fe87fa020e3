// What the AVX-512 linears share: a row's 32 columns in two registers, and how they end.
#pragma once

#include <immintrin.h>

#include "kernels/gemm/layout.h"
#include "kernels/numerics/inline.h"

namespace stet::kernels::avx512 {
namespace {

struct Pair {
  __m512 v[2];  // columns 0..15 and 16..31
};

STET_INLINE __m512i load512(const std::byte* p) {
  return _mm512_loadu_si512(p);
}

STET_INLINE __m512 half_scales(const std::byte* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

STET_INLINE __m512 byte_floats(const std::byte* p) {
  return _mm512_cvtepi32_ps(
      _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}

// d_g and m_g of the columns of half `h`. Products with a factor of 6 bits are exact.
template <WeightType kType>
STET_INLINE __m512 group_scale(const std::byte* unit, const std::byte* group, int h) {
  const __m512 d = half_scales(unit + unit_scales_at(kType) + 32 * h);
  if constexpr (groups_per_unit(kType) == 1) {
    return d;
  }
  return _mm512_mul_ps(d, byte_floats(group + group_scales_at(kType) + 16 * h));
}

template <WeightType kType>
STET_INLINE __m512 group_minimum(const std::byte* unit, const std::byte* group, int h) {
  const __m512 m = half_scales(unit + unit_scales_at(kType) + kScalesBytes + 32 * h);
  if constexpr (groups_per_unit(kType) == 1) {
    return m;
  }
  const __m512 factors = byte_floats(group + group_scales_at(kType) + kPanel + 16 * h);
  return _mm512_xor_ps(_mm512_mul_ps(m, factors), _mm512_set1_ps(-0.0f));
}

// Outliers ascending, bias, residual, store.
template <int kRows>
STET_INLINE void finish(const LinearArgs& args, uint32_t row, uint32_t panel, uint32_t outliers,
                        Pair (&f)[kRows]) {
  const PackedMatrix& w = *args.w;
  const size_t stride = round_up(w.n, kPanel);
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    const size_t col = size_t{panel} * kPanel + 16 * h;
    for (uint32_t o = 0; o < outliers; ++o) {
      const __m512 wo = _mm512_loadu_ps(w.outlier_w + o * stride + col);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const __m512 x = _mm512_set1_ps(args.in.xo[(size_t{row} + r) * kMaxOutliers + o]);
        f[r].v[h] = _mm512_fmadd_ps(x, wo, f[r].v[h]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      float* out = args.out + (size_t{row} + r) * args.ldo + col;
      if (w.bias) {
        f[r].v[h] = _mm512_add_ps(f[r].v[h], _mm512_loadu_ps(w.bias + col));
      }
      if (args.add) {
        f[r].v[h] = _mm512_add_ps(_mm512_loadu_ps(out), f[r].v[h]);
      }
      _mm512_storeu_ps(out, f[r].v[h]);
    }
  }
}

}  // namespace
}  // namespace stet::kernels::avx512
