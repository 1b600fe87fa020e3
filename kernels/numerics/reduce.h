// C2: 64 partials, partial j takes elements j, j+64, j+128 ... ascending; then the tree j+32, j+16,
// ... j+1.
#pragma once

#include "kernels/numerics/fma.h"

#include <cstdint>

namespace stet::kernels {

static inline constexpr uint32_t kPartials = 64;

static inline float c2_tree(float* partials) {
  for (uint32_t half = kPartials / 2; half != 0; half /= 2) {
    for (uint32_t j = 0; j < half; ++j) {
      partials[j] += partials[j + half];
    }
  }
  return partials[0];
}

static inline float c2_sum_squares(const float* x, uint32_t n) {
  float partials[kPartials] = {};
  for (uint32_t i = 0; i < n; ++i) {
    partials[i % kPartials] = fma32(x[i], x[i], partials[i % kPartials]);
  }
  return c2_tree(partials);
}

}  // namespace stet::kernels
