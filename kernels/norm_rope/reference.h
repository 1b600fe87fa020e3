// RMSNorm, rope and the KV write, the definitions.
//   norm: ss by C2 with fma; r = 1/sqrt(ss/float(n) + eps); y = (x*r)*w. A non-finite ss is a
//         fault: zeros.
//   rope: x0' = fma(x0, c, -(x1*s)), x1' = fma(x1, c, x0*s); pairs (2i, 2i+1) or
//         (i, i + rope_dim/2).
//   q' = bf16(x' * scale), K = bf16(x'), V = bf16(v): 2^56 or more is a fault (C3): zeros.
#pragma once

#include "kernels/numerics/reduce.h"
#include "kernels/quantise/reference.h"

namespace stet::kernels::reference {

// r, or a NaN for a fault.
static inline float rms_factor(float sum_squares, uint32_t n, float eps) {
  if (abs_bits(sum_squares) >= kNonFinite) {
    return bits_float(0x7FC00000u);
  }
  return 1.0f / __builtin_sqrtf(sum_squares / static_cast<float>(n) + eps);
}

static inline bool rms_norm(const float* x, const float* w, uint32_t n, float eps, float* y) {
  const float r = rms_factor(c2_sum_squares(x, n), n, eps);
  if (r != r) {
    __builtin_memset(y, 0, size_t{n} * sizeof(float));
    return true;
  }
  for (uint32_t i = 0; i < n; ++i) {
    y[i] = (x[i] * r) * w[i];
  }
  return false;
}

static inline bool rms_norm_quantise(const float* x, const float* w, float eps,
                                     const Outliers& outliers, const LinearInput& out,
                                     uint32_t row) {
  const float r = rms_factor(c2_sum_squares(x, out.k), out.k, eps);
  if (r != r) {
    zero_row(outliers, out, row);
    return true;
  }
  return quantise_row(
      [=](uint32_t first, uint32_t count, float* to) {
        for (uint32_t i = 0; i < count; ++i) {
          to[i] = (x[first + i] * r) * w[first + i];
        }
      },
      outliers, out, row);
}

static inline void add(const float* x, uint32_t n, float* y) {
  for (uint32_t i = 0; i < n; ++i) {
    y[i] = y[i] + x[i];
  }
}

static inline void rope(RopeStyle style, const float* x, const float* cos, const float* sin,
                        uint32_t head_dim, uint32_t rope_dim, float* out) {
  const uint32_t half = rope_dim / 2;
  for (uint32_t i = 0; i < half; ++i) {
    const uint32_t i0 = style == RopeStyle::kAdjacent ? 2 * i : i;
    const uint32_t i1 = style == RopeStyle::kAdjacent ? 2 * i + 1 : i + half;
    const float x0 = x[i0];
    const float x1 = x[i1];
    out[i0] = fma32(x0, cos[i], -(x1 * sin[i]));
    out[i1] = fma32(x1, cos[i], x0 * sin[i]);
  }
  for (uint32_t i = 2 * half; i < head_dim; ++i) {
    out[i] = x[i];
  }
}

static inline bool rope_q(RopeStyle style, const float* x, const float* cos, const float* sin,
                          uint32_t head_dim, uint32_t rope_dim, float scale, uint16_t* out) {
  float roped[kMaxHeadDim];
  rope(style, x, cos, sin, head_dim, rope_dim, roped);
  bool fault = false;
  for (uint32_t i = 0; i < head_dim; ++i) {
    out[i] = float_to_bf16(roped[i] * scale);
    fault = fault || bf16_fault(out[i]);
  }
  if (fault) {
    __builtin_memset(out, 0, head_dim * sizeof(uint16_t));
  }
  return fault;
}

// k16[head_dim], v16[head_dim] to slot pos of the tile: K [pairs][64][2], V [32][head_dim][2].
static inline void store_kv(const uint16_t* k16, const uint16_t* v16, uint32_t head_dim,
                            std::byte* tile, uint32_t pos) {
  std::byte* v_half = tile + size_t{kTile} * head_dim * 2;
  for (uint32_t i = 0; i < head_dim / 2; ++i) {
    __builtin_memcpy(tile + (size_t{i} * kTile + pos) * 4, k16 + 2 * i, 4);
  }
  std::byte* pair = v_half + size_t{pos / 2} * head_dim * 4 + (pos % 2) * 2;
  for (uint32_t d = 0; d < head_dim; ++d) {
    __builtin_memcpy(pair + size_t{d} * 4, v16 + d, 2);
  }
}

static inline bool rope_store_kv(RopeStyle style, const float* k, const float* v, const float* cos,
                                 const float* sin, uint32_t head_dim, uint32_t rope_dim,
                                 std::byte* tile, uint32_t pos) {
  float roped[kMaxHeadDim];
  uint16_t k16[kMaxHeadDim];
  uint16_t v16[kMaxHeadDim];
  rope(style, k, cos, sin, head_dim, rope_dim, roped);
  bool fault = false;
  for (uint32_t i = 0; i < head_dim; ++i) {
    k16[i] = float_to_bf16(roped[i]);
    v16[i] = float_to_bf16(v[i]);
    fault = fault || bf16_fault(k16[i]) || bf16_fault(v16[i]);
  }
  if (fault) {
    __builtin_memset(k16, 0, sizeof k16);
    __builtin_memset(v16, 0, sizeof v16);
  }
  store_kv(k16, v16, head_dim, tile, pos);
  return fault;
}

}  // namespace stet::kernels::reference
