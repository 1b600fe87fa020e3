// C2's sum of squares on 8 lanes.
#pragma once

#include "kernels/norm_rope/reference.h"
#include "kernels/numerics/avx2.h"

namespace stet::kernels::avx2 {

// Missing elements are +0, as C2 says.
STET_INLINE float sum_squares(const float* x, uint32_t n) {
  __m256 p[8];
#pragma GCC unroll 8
  for (int j = 0; j < 8; ++j) {
    p[j] = _mm256_setzero_ps();
  }
  uint32_t i = 0;
  for (; i + kPartials <= n; i += kPartials) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      const __m256 v = _mm256_loadu_ps(x + i + 8 * j);
      p[j] = _mm256_fmadd_ps(v, v, p[j]);
    }
  }
#pragma GCC unroll 8
  for (uint32_t j = 0; j < 8; ++j) {
    const uint32_t first = i + 8 * j;
    const __m256 v = _mm256_maskload_ps(x + first, first_lanes8(first < n ? n - first : 0));
    p[j] = _mm256_fmadd_ps(v, v, p[j]);
  }
  return c2_tree8(c2_fold8(p));
}

}  // namespace stet::kernels::avx2
