// Quantisation, gates and norms that end in it, on AVX2. Bound: issue of about 25 operations per 8
// elements.
#include "kernels/quantise/avx2.h"

#include "kernels/activation/reference.h"
#include "kernels/dispatch/avx2_ops.h"
#include "kernels/norm_rope/avx2.h"

namespace stet::kernels::avx2 {
namespace {

template <GateKind kKind>
STET_INLINE __m256 gate_lanes(__m256 g, __m256 u) {
  __m256 e[1];
  if constexpr (kKind == GateKind::kSilu) {
    e[0] = _mm256_mul_ps(g, _mm256_set1_ps(kLog2E));
  } else {
    const __m256 cubic = _mm256_mul_ps(_mm256_set1_ps(kGeluCubic), g);
    const __m256 y =
        _mm256_mul_ps(_mm256_set1_ps(kSqrt2OverPi), _mm256_fmadd_ps(cubic, _mm256_mul_ps(g, g), g));
    e[0] = _mm256_mul_ps(y, _mm256_set1_ps(kTwoLog2E));
  }
  e[0] = _mm256_xor_ps(e[0], constant8(0x80000000u));
  exp2_lanes8<1, false>(e);
  return _mm256_mul_ps(_mm256_div_ps(g, _mm256_add_ps(_mm256_set1_ps(1.0f), e[0])), u);
}

template <GateKind kKind>
bool gate_row(const float* gate, const float* up, const Outliers& outliers, const LinearInput& out,
              uint32_t row) {
  return quantise_row(
      [=](uint32_t i, __m256i m) {
        return gate_lanes<kKind>(_mm256_maskload_ps(gate + i, m), _mm256_maskload_ps(up + i, m));
      },
      outliers, out, row);
}

}  // namespace

bool quantise(const float* x, const Outliers& outliers, const LinearInput& out, uint32_t row) {
  return quantise_row([x](uint32_t i, __m256i m) { return _mm256_maskload_ps(x + i, m); }, outliers,
                      out, row);
}

bool rms_norm_quantise(const float* x, const float* w, float eps, const Outliers& outliers,
                       const LinearInput& out, uint32_t row) {
  const float r = reference::rms_factor(sum_squares(x, out.k), out.k, eps);
  if (r != r) {
    reference::zero_row(outliers, out, row);
    return true;
  }
  const __m256 rv = _mm256_set1_ps(r);
  return quantise_row(
      [=](uint32_t i, __m256i m) {
        return _mm256_mul_ps(_mm256_mul_ps(_mm256_maskload_ps(x + i, m), rv),
                             _mm256_maskload_ps(w + i, m));
      },
      outliers, out, row);
}

bool gate_quantise(GateKind kind, const float* gate, const float* up, const Outliers& outliers,
                   const LinearInput& out, uint32_t row) {
  return kind == GateKind::kSilu ? gate_row<GateKind::kSilu>(gate, up, outliers, out, row)
                                 : gate_row<GateKind::kGeluTanh>(gate, up, outliers, out, row);
}

}  // namespace stet::kernels::avx2
