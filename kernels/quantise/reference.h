// Activation quantisation (C3), the definition. Per group of 32, outlier channels left out:
//   a = max|x| over integers; a < 2^-80: s = 0, q = 0; else s = a/127, r = 127/a, q = rint(x*r);
//   A = sum(q), t = float(A)*s. A is kept as the sums of both halves of the group.
// A row with a NaN or infinity anywhere (outlier channels included) is a fault and counts as zeros.
#pragma once

#include "kernels/numerics/bits.h"
#include "stet/kernels/types.h"

namespace stet::kernels::reference {

static inline int32_t half_sums(int32_t first, int32_t second) {
  return static_cast<int32_t>((static_cast<uint32_t>(first) & 0xFFFFu) |
                              static_cast<uint32_t>(second) << 16);
}

static inline void zero_row(const Outliers& outliers, const LinearInput& out, uint32_t row) {
  if (out.x) {
    __builtin_memset(out.x + size_t{row} * out.ldk, 0, size_t{out.k} * sizeof(float));
  }
  if (out.q) {
    const size_t groups = out.k / kGroup;
    __builtin_memset(out.q + size_t{row} * out.ldk, 0, out.k);
    __builtin_memset(out.s + size_t{row} * out.ldg, 0, groups * sizeof(float));
    __builtin_memset(out.t + size_t{row} * out.ldg, 0, groups * sizeof(float));
    __builtin_memset(out.a + size_t{row} * out.ldg, 0, groups * sizeof(int32_t));
  }
  for (uint32_t o = 0; o < outliers.num; ++o) {
    out.xo[size_t{row} * kMaxOutliers + o] = 0.0f;
  }
}

// One group; bit c of keep = channel c is ordinary.
static inline void quantise_group(const float* x, uint32_t keep, int8_t* q, float* s, float* t,
                                  int32_t* a) {
  uint32_t max_bits = 0;
  for (uint32_t c = 0; c < kGroup; ++c) {
    const uint32_t bits = (keep >> c & 1u) ? abs_bits(x[c]) : 0;
    max_bits = bits > max_bits ? bits : max_bits;
  }
  const float amax = bits_float(max_bits);
  const bool tiny = max_bits < float_bits(0x1p-80f);
  const float scale = tiny ? 0.0f : amax / 127.0f;
  const float inverse = tiny ? 0.0f : 127.0f / amax;
  int32_t sums[2] = {0, 0};
  for (uint32_t c = 0; c < kGroup; ++c) {
    const bool kept = (keep >> c & 1u) != 0 && !tiny;
    const int32_t code = kept ? static_cast<int32_t>(__builtin_rintf(x[c] * inverse)) : 0;
    q[c] = static_cast<int8_t>(code);
    sums[c / 16] += code;
  }
  *s = scale;
  *t = static_cast<float>(sums[0] + sums[1]) * scale;
  *a = half_sums(sums[0], sums[1]);
}

// Row of `out` from elements made 32 at a time by produce(first, count, float* to): one pass, no
// buffer of k floats, so that norm and gate fuse with it and give the bits of the separate calls.
template <class Produce>
static inline bool quantise_row(Produce produce, const Outliers& outliers, const LinearInput& out,
                                uint32_t row) {
  float group[kGroup];
  uint32_t max_bits = 0;
  uint32_t next_outlier = 0;
  for (uint32_t first = 0; first < out.k; first += kGroup) {
    const uint32_t count = out.k - first < kGroup ? out.k - first : kGroup;
    produce(first, count, group);
    for (uint32_t c = 0; c < count; ++c) {
      max_bits = abs_bits(group[c]) > max_bits ? abs_bits(group[c]) : max_bits;
    }
    if (max_bits >= kNonFinite) {
      zero_row(outliers, out, row);
      return true;
    }
    if (out.x) {
      __builtin_memcpy(out.x + size_t{row} * out.ldk + first, group, count * sizeof(float));
    }
    while (next_outlier < outliers.num && outliers.channels[next_outlier] < first + count) {
      out.xo[size_t{row} * kMaxOutliers + next_outlier] =
          group[outliers.channels[next_outlier] - first];
      ++next_outlier;
    }
    if (out.q) {
      const uint32_t g = first / kGroup;
      const size_t at = size_t{row} * out.ldg + g;
      quantise_group(group, outliers.num ? outliers.keep[g] : ~0u,
                     out.q + size_t{row} * out.ldk + first, out.s + at, out.t + at, out.a + at);
    }
  }
  return false;
}

static inline bool quantise(const float* x, const Outliers& outliers, const LinearInput& out,
                            uint32_t row) {
  return quantise_row([x](uint32_t first, uint32_t count,
                          float* to) { __builtin_memcpy(to, x + first, count * sizeof(float)); },
                      outliers, out, row);
}

}  // namespace stet::kernels::reference
