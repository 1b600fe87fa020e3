// exp2 of C6: x clamped to [-125, 125] (NaN counts as -125), n = rint(x), a polynomial of degree 6
// in x - n, n added to the exponent as an integer. Always normal.
// Maximum error with a stride of one over all floats of the range: 0.95 ulp (kExp2MaxUlp).
// exp2(+-0) = 1.
#pragma once

#include "kernels/numerics/bits.h"
#include "kernels/numerics/fma.h"

namespace stet::kernels {

static inline constexpr float kLog2E = 0x1.715476p+0f;  // 0x3FB8AA3B
static inline constexpr float kLn2 = 0x1.62e430p-1f;    // 0x3F317218
static inline constexpr double kExp2MaxUlp = 0.95;
static inline constexpr float kExp2Limit = 125.0f;
// Degree 6 first.
static inline constexpr uint32_t kExp2Coefficients[7] = {
    0x3920E99Au, 0x3AAFA2B5u, 0x3C1D96DEu, 0x3D63576Au, 0x3E75FDEDu, 0x3F317218u, 0x3F800000u};

static inline float exp2_c6(float x) {
  x = x > -kExp2Limit ? x : -kExp2Limit;
  x = x < kExp2Limit ? x : kExp2Limit;
  const float n = __builtin_rintf(x);
  const float r = x - n;
  float p = bits_float(kExp2Coefficients[0]);
  for (int i = 1; i < 7; ++i) {
    p = fma32(p, r, bits_float(kExp2Coefficients[i]));
  }
  return bits_float(float_bits(p) + (static_cast<uint32_t>(static_cast<int32_t>(n)) << 23));
}

}  // namespace stet::kernels
