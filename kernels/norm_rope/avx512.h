// C2's sum of squares on 16 lanes.
#pragma once

#include "kernels/norm_rope/reference.h"
#include "kernels/numerics/avx512.h"

namespace stet::kernels::avx512 {

// Missing elements are +0, as C2 says.
STET_INLINE float sum_squares(const float* x, uint32_t n) {
  __m512 p[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                 _mm512_setzero_ps()};
  uint32_t i = 0;
  for (; i + kPartials <= n; i += kPartials) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const __m512 v = _mm512_loadu_ps(x + i + 16 * j);
      p[j] = _mm512_fmadd_ps(v, v, p[j]);
    }
  }
#pragma GCC unroll 4
  for (uint32_t j = 0; j < 4; ++j) {
    const uint32_t first = i + 16 * j;
    const __m512 v = _mm512_maskz_loadu_ps(first_lanes(first < n ? n - first : 0), x + first);
    p[j] = _mm512_fmadd_ps(v, v, p[j]);
  }
  return c2_tree16(c2_fold(p[0], p[1], p[2], p[3]));
}

}  // namespace stet::kernels::avx512
