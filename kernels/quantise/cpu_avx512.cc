// Quantisation, gates and norms that end in it, on AVX-512. Bound: issue of about 20 operations per
// 16 elements.
#include "kernels/quantise/avx512.h"

#include "kernels/activation/reference.h"
#include "kernels/dispatch/avx512_ops.h"
#include "kernels/norm_rope/avx512.h"

namespace stet::kernels::avx512 {
namespace {

template <GateKind kKind>
STET_INLINE __m512 gate_lanes(__m512 g, __m512 u) {
  const __m512 sign = constant(0x80000000u);
  __m512 e[1];
  if constexpr (kKind == GateKind::kSilu) {
    e[0] = _mm512_mul_ps(g, _mm512_set1_ps(kLog2E));
  } else {
    const __m512 cubic = _mm512_mul_ps(_mm512_set1_ps(kGeluCubic), g);
    const __m512 y =
        _mm512_mul_ps(_mm512_set1_ps(kSqrt2OverPi), _mm512_fmadd_ps(cubic, _mm512_mul_ps(g, g), g));
    e[0] = _mm512_mul_ps(y, _mm512_set1_ps(kTwoLog2E));
  }
  e[0] = _mm512_xor_ps(e[0], sign);
  exp2_lanes<1, false>(e);
  return _mm512_mul_ps(_mm512_div_ps(g, _mm512_add_ps(_mm512_set1_ps(1.0f), e[0])), u);
}

template <GateKind kKind>
bool gate_row(const float* gate, const float* up, const Outliers& outliers, const LinearInput& out,
              uint32_t row) {
  return quantise_row(
      [=](uint32_t i, __mmask16 m) {
        return gate_lanes<kKind>(_mm512_maskz_loadu_ps(m, gate + i),
                                 _mm512_maskz_loadu_ps(m, up + i));
      },
      outliers, out, row);
}

}  // namespace

bool quantise(const float* x, const Outliers& outliers, const LinearInput& out, uint32_t row) {
  return quantise_row([x](uint32_t i, __mmask16 m) { return _mm512_maskz_loadu_ps(m, x + i); },
                      outliers, out, row);
}

bool rms_norm_quantise(const float* x, const float* w, float eps, const Outliers& outliers,
                       const LinearInput& out, uint32_t row) {
  const float r = reference::rms_factor(sum_squares(x, out.k), out.k, eps);
  if (r != r) {
    reference::zero_row(outliers, out, row);
    return true;
  }
  const __m512 rv = _mm512_set1_ps(r);
  return quantise_row(
      [=](uint32_t i, __mmask16 m) {
        return _mm512_mul_ps(_mm512_mul_ps(_mm512_maskz_loadu_ps(m, x + i), rv),
                             _mm512_maskz_loadu_ps(m, w + i));
      },
      outliers, out, row);
}

bool gate_quantise(GateKind kind, const float* gate, const float* up, const Outliers& outliers,
                   const LinearInput& out, uint32_t row) {
  return kind == GateKind::kSilu ? gate_row<GateKind::kSilu>(gate, up, outliers, out, row)
                                 : gate_row<GateKind::kGeluTanh>(gate, up, outliers, out, row);
}

}  // namespace stet::kernels::avx512
