// Bit casts and the narrow formats, in integer arithmetic: no F16C, no dependence on MXCSR.
// Everything under kernels/numerics and every reference.h is `static inline`: each translation unit
// keeps its own copy, so an object built for one instruction set can never lend its code to another
// through a weak symbol.
#pragma once

#include <cstddef>
#include <cstdint>

namespace stet::kernels {

static inline uint32_t float_bits(float x) {
  uint32_t u;
  __builtin_memcpy(&u, &x, sizeof u);
  return u;
}

static inline float bits_float(uint32_t u) {
  float x;
  __builtin_memcpy(&x, &u, sizeof x);
  return x;
}

static inline float bf16_to_float(uint16_t h) {
  return bits_float(uint32_t{h} << 16);
}

// Nearest even. A denormal counts as zero and a NaN is made quiet, as vcvtneps2bf16 does whatever
// MXCSR says.
static inline uint16_t float_to_bf16(float x) {
  const uint32_t u = float_bits(x);
  if ((u & 0x7F800000u) == 0) {
    return static_cast<uint16_t>((u >> 16) & 0x8000u);
  }
  if ((u & 0x7FFFFFFFu) > 0x7F800000u) {
    return static_cast<uint16_t>((u >> 16) | 0x40u);
  }
  return static_cast<uint16_t>((u + 0x7FFFu + ((u >> 16) & 1u)) >> 16);
}

// Exact. Half denormals are normal floats (the product below is exact), so DAZ cannot touch them.
static inline float f16_to_float(uint16_t h) {
  const uint32_t sign = uint32_t{h & 0x8000u} << 16;
  const uint32_t exponent = (h >> 10) & 31u;
  const uint32_t mantissa = h & 0x3FFu;
  if (exponent == 31) {
    return bits_float(sign | 0x7F800000u | (mantissa << 13) | (mantissa ? 0x400000u : 0u));
  }
  if (exponent == 0) {
    return bits_float(sign | float_bits(static_cast<float>(mantissa) * 0x1p-24f));
  }
  return bits_float(sign | ((exponent + 112u) << 23) | (mantissa << 13));
}

// Nearest even, overflow to infinity.
static inline uint16_t float_to_f16(float x) {
  const uint32_t u = float_bits(x);
  const uint32_t sign = (u >> 16) & 0x8000u;
  const uint32_t a = u & 0x7FFFFFFFu;
  if (a > 0x7F800000u) {
    return static_cast<uint16_t>(sign | 0x7E00u | ((a >> 13) & 0x1FFu));
  }
  if (a >= 0x477FF000u) {  // 65520 and more round to infinity
    return static_cast<uint16_t>(sign | 0x7C00u);
  }
  if (a < 0x38800000u) {  // below 2^-14: a half denormal, or zero
    if (a < 0x33000000u) {
      return static_cast<uint16_t>(sign);
    }
    const uint32_t shift = 126u - (a >> 23);  // 14..24
    const uint32_t m = (a & 0x7FFFFFu) | 0x800000u;
    const uint32_t half = 1u << (shift - 1);
    const uint32_t kept = m >> shift;
    const uint32_t rest = m & ((1u << shift) - 1);
    return static_cast<uint16_t>(sign | (kept + (rest > half || (rest == half && (kept & 1u)))));
  }
  return static_cast<uint16_t>(sign | ((a - 0x38000000u + 0xFFFu + ((a >> 13) & 1u)) >> 13));
}

// C3: the maximum over these integers is max|x| and the check for NaN and infinity (>= kNonFinite)
// at once.
static inline constexpr uint32_t kNonFinite = 0x7F800000u;
static inline uint32_t abs_bits(float x) {
  return float_bits(x) & 0x7FFFFFFFu;
}

// C3: q', K and V of 2^56 or more end the request; below, scores and outputs stay finite for
// head_dim <= 256.
static inline bool bf16_fault(uint16_t h) {
  return (h & 0x7FFFu) >= 0x5B80u;
}

}  // namespace stet::kernels
