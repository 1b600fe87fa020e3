// Log-sum-exp and the passes of the sampler over a row of logits (C7), the definitions.
//   lse: tiles of 4096 ids, each fresh: M_t = max, S_t = C2 sum of exp2((x - M_t)*L2E);
//   M = max M_t; S from +0 ascending: S = fma(S_t, exp2((M_t - M)*L2E), S).
// Logits count with + 0.0f, so that -0 and +0 are one.
#pragma once

#include "kernels/numerics/exp2.h"
#include "kernels/numerics/log2.h"
#include "kernels/numerics/reduce.h"
#include "stet/kernels/types.h"

namespace stet::kernels {

static inline constexpr uint32_t kLogitTile = 4096;
static inline constexpr float kMassOne =
    0x1p40f;  // mass of the most likely id: integer sums are exact and order-free

struct Share {
  uint32_t count;
  uint64_t mass;
};

namespace reference {

// Unnamed namespace: member functions of a class are inline for the linker, see numerics/bits.h.
namespace {
struct Passes {
  static inline float max(const float* x, uint32_t n) {
    float m = -__builtin_inff();
    for (uint32_t i = 0; i < n; ++i) {
      m = x[i] > m ? x[i] : m;
    }
    return m + 0.0f;
  }

  // Lowest id with x == value; n if there is none.
  static inline uint32_t find(const float* x, uint32_t n, float value) {
    uint32_t i = 0;
    while (i < n && x[i] != value) {
      ++i;
    }
    return i;
  }

  static inline bool all_finite(const float* x, uint32_t n) {
    uint32_t max_bits = 0;
    for (uint32_t i = 0; i < n; ++i) {
      max_bits = abs_bits(x[i]) > max_bits ? abs_bits(x[i]) : max_bits;
    }
    return max_bits < kNonFinite;
  }

  // C2 sum of exp2((x - max) * c).
  static inline float exp_sum(const float* x, uint32_t n, float max, float c) {
    float partials[kPartials] = {};
    for (uint32_t i = 0; i < n; ++i) {
      partials[i % kPartials] += exp2_c6((x[i] + 0.0f - max) * c);
    }
    return c2_tree(partials);
  }

  // e[i] = exp2((x[i] - max) * c).
  static inline void exponentials(const float* x, uint32_t n, float max, float c, float* e) {
    for (uint32_t i = 0; i < n; ++i) {
      e[i] = exp2_c6((x[i] + 0.0f - max) * c);
    }
  }

  // Sum of the integer masses of all e >= min_p.
  static inline uint64_t mass(const float* e, uint32_t n, float min_p) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < n; ++i) {
      sum += e[i] >= min_p ? static_cast<uint64_t>(static_cast<int64_t>(e[i] * kMassOne)) : 0;
    }
    return sum;
  }

  // How many ids have x >= floor, and their mass.
  static inline Share above(const float* x, const float* e, uint32_t n, float floor) {
    Share share = {0, 0};
    for (uint32_t i = 0; i < n; ++i) {
      if (x[i] >= floor) {
        ++share.count;
        share.mass += mass(e + i, 1, 0.0f);
      }
    }
    return share;
  }

  // Ids with x >= floor, ascending; ids has room for n + 16.
  static inline uint32_t collect(const float* x, uint32_t n, float floor, uint32_t* ids) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; ++i) {
      ids[count] = i;
      count += x[i] >= floor ? 1 : 0;
    }
    return count;
  }
};
}  // namespace

}  // namespace reference

template <class P>
static inline LogSumExp log_sum_exp_with(const float* x, uint32_t n) {
  LogSumExp result;
  result.finite = P::all_finite(x, n);
  if (!result.finite || n == 0) {
    return result;
  }
  result.max = P::max(x, n);
  result.argmax = P::find(x, n, result.max);
  float sum = 0.0f;
  for (uint32_t first = 0; first < n; first += kLogitTile) {
    const uint32_t count = n - first < kLogitTile ? n - first : kLogitTile;
    const float tile_max = P::max(x + first, count);
    const float tile_sum = P::exp_sum(x + first, count, tile_max, kLog2E);
    sum = fma32(tile_sum, exp2_c6((tile_max - result.max) * kLog2E), sum);
  }
  result.log2_sum = log2_c6(sum);
  return result;
}

}  // namespace stet::kernels
