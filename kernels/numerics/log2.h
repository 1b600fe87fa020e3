// log2 of C6, part of the contract version. For positive normal x: x = 2^e * m with m in
// [sqrt(1/2), sqrt(2)), r = m - 1 (exact), log2(x) = fma(r, P(r), e). P of degree 10 interpolates
// log2(1+r)/r at the Chebyshev nodes of that interval (fitted in 200 bits, rounded once).
// Maximum error over all floats: below 1.8 ulp (1.741 with a stride of one over [0.5, 2), where the
// result is smallest); log2(2^k) = k exactly.
#pragma once

#include "kernels/numerics/bits.h"
#include "kernels/numerics/fma.h"

namespace stet::kernels {

static inline constexpr double kLog2MaxUlp = 1.8;
// Degree 10 first.
static inline constexpr uint32_t kLog2Coefficients[11] = {
    0x3DC23046u, 0xBE2BAC94u, 0x3E307A94u, 0xBE377EC8u, 0x3E51F603u, 0xBE7637E3u,
    0x3E93C02Eu, 0xBEB8AA59u, 0x3EF63840u, 0xBF38AA3Bu, 0x3FB8AA3Bu};

static inline float log2_c6(float x) {
  constexpr uint32_t kSqrtHalf = 0x3F3504F3u;
  const uint32_t u = float_bits(x);
  const int32_t e = static_cast<int32_t>(u - kSqrtHalf) >> 23;
  const float r = bits_float(u - (static_cast<uint32_t>(e) << 23)) - 1.0f;
  float p = bits_float(kLog2Coefficients[0]);
  for (int i = 1; i < 11; ++i) {
    p = fma32(p, r, bits_float(kLog2Coefficients[i]));
  }
  return fma32(r, p, static_cast<float>(e));
}

}  // namespace stet::kernels
