// The gates, the definition.
//   SiLU: (g / (1 + exp2(-(g*L2E)))) * u
//   GELU, tanh form without tanh: y = k*fma(0.044715*g, g*g, g), k = sqrt(2/pi);
//         (g / (1 + exp2(-(y*2*L2E)))) * u
#pragma once

#include "kernels/numerics/exp2.h"
#include "kernels/quantise/reference.h"

namespace stet::kernels {

static inline constexpr float kGeluCubic = 0.044715f;
static inline constexpr float kSqrt2OverPi = 0.7978845608028654f;
static inline constexpr float kTwoLog2E = 0x1.715476p+1f;  // 0x4038AA3B

namespace reference {

static inline float gate(GateKind kind, float g, float u) {
  float e = g * kLog2E;
  if (kind == GateKind::kGeluTanh) {
    e = (kSqrt2OverPi * fma32(kGeluCubic * g, g * g, g)) * kTwoLog2E;
  }
  return (g / (1.0f + exp2_c6(-e))) * u;
}

static inline bool gate_quantise(GateKind kind, const float* gate_row, const float* up,
                                 const Outliers& outliers, const LinearInput& out, uint32_t row) {
  return quantise_row(
      [=](uint32_t first, uint32_t count, float* to) {
        for (uint32_t i = 0; i < count; ++i) {
          to[i] = gate(kind, gate_row[first + i], up[first + i]);
        }
      },
      outliers, out, row);
}

}  // namespace reference
}  // namespace stet::kernels
