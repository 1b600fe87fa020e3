// Linears (C1), the definition. out[row][col] = sum over groups ascending, one accumulator:
//   acc = fma(float(S), d*s, acc), with S = sum(code*q) - offset*A exact in int32;
//   types with a minimum then acc = fma(t, m, acc); Q4_K, Q5_K: d = d*sc, m = -(dmin*mn);
//   Q6_K: S = sc0*(S0 - 32*A0) + sc1*(S1 - 32*A1) over the two halves of 16 k; Q3_K: 4 for 32;
//   Q2_K: S = sc0*S0 + sc1*S1, then acc = fma(float(mn0*A0 + mn1*A1), -(dmin*s), acc);
//   IQ4_NL: S over the values of its table;
//   outlier channels ascending: acc = fma(xo, wo, acc); bias by a plain add; residual: out + that.
// Float weights: acc = fma(x_k, w_k, acc), k ascending.
// Columns are independent, so their order in the loops is free.
#pragma once

#include "kernels/gemm/layout.h"
#include "kernels/numerics/fma.h"

namespace stet::kernels::reference {

static inline constexpr uint32_t kRowBlock = 8;  // rows that share one decoded group

// Outliers, bias, residual, store of one row and panel.
static inline void finish_panel(const LinearArgs& args, uint32_t row, uint32_t panel, float* acc) {
  const PackedMatrix& w = *args.w;
  const uint32_t stride = round_up(w.n, kPanel);
  const uint32_t outliers = is_quantised(w.type) ? w.num_outliers : 0;
  for (uint32_t o = 0; o < outliers; ++o) {
    const float x = args.in.xo[size_t{row} * kMaxOutliers + o];
    const float* wo = w.outlier_w + size_t{o} * stride + panel * kPanel;
    for (uint32_t c = 0; c < kPanel; ++c) {
      acc[c] = fma32(x, wo[c], acc[c]);
    }
  }
  float* out = args.out + row * args.ldo + size_t{panel} * kPanel;
  for (uint32_t c = 0; c < kPanel; ++c) {
    float v = acc[c];
    if (w.bias) {
      v = v + w.bias[size_t{panel} * kPanel + c];
    }
    out[c] = args.add ? out[c] + v : v;
  }
}

// The 32 codes of a group, offset taken off and times the integer factor, and its scale and
// minimum.
static inline void decode_group(WeightType type, const std::byte* unit, uint32_t g,
                                int16_t (*codes)[kPanel], float* d, float* m) {
  const std::byte* group = unit + g * group_bytes(type);
  for (uint32_t k = 0; k < kGroup; ++k) {
    for (uint32_t c = 0; c < kPanel; ++c) {
      const int32_t code = code_value(type, packed_code(type, group, k, c));
      codes[k][c] = static_cast<int16_t>(code * packed_factor(type, group, k, c));
    }
  }
  for (uint32_t c = 0; c < kPanel; ++c) {
    d[c] = packed_scale(type, unit, g, c);
    m[c] = has_minimum(type) ? packed_min(type, unit, g, c) : 0.0f;
  }
}

// A' of Q2_K: both half sums of a row times the factors of their minima.
static inline int32_t min_sum(const std::byte* group, int32_t half_sums, uint32_t c) {
  constexpr WeightType kType = WeightType::kQ2_K;
  return packed_min_factor(kType, group, 0, c) * static_cast<int16_t>(half_sums & 0xFFFF) +
         packed_min_factor(kType, group, 16, c) * (half_sums >> 16);
}

template <WeightType kType>
static inline void quantised_block(const LinearArgs& args, uint32_t panel, uint32_t row0,
                                   uint32_t rows) {
  const LinearInput& in = args.in;
  const std::byte* unit = args.w->panels + panel * panel_bytes(kType, args.w->k);
  float acc[kRowBlock][kPanel] = {};
  int16_t codes[kGroup][kPanel];
  float d[kPanel];
  float m[kPanel];
  for (uint32_t g = 0; g < args.w->k / kGroup; ++g) {
    const uint32_t group = g % groups_per_unit(kType);
    unit += g != 0 && group == 0 ? panel_unit_bytes(kType) : 0;
    decode_group(kType, unit, group, codes, d, m);
    for (uint32_t r = 0; r < rows; ++r) {
      const size_t row = row0 + r;
      const int8_t* q = in.q + row * in.ldk + size_t{g} * kGroup;
      const size_t at = row * in.ldg + g;
      int32_t sum[kPanel];
      for (uint32_t c = 0; c < kPanel; ++c) {
        sum[c] = 0;
      }
      for (uint32_t k = 0; k < kGroup; ++k) {
        for (uint32_t c = 0; c < kPanel; ++c) {
          sum[c] += int32_t{codes[k][c]} * q[k];
        }
      }
      for (uint32_t c = 0; c < kPanel; ++c) {
        acc[r][c] = fma32(static_cast<float>(sum[c]), d[c] * in.s[at], acc[r][c]);
        if (kType == WeightType::kQ2_K) {
          const int32_t a = min_sum(unit + group * group_bytes(kType), in.a[at], c);
          acc[r][c] = fma32(static_cast<float>(a), -(m[c] * in.s[at]), acc[r][c]);
        } else if (has_minimum(kType)) {
          acc[r][c] = fma32(in.t[at], m[c], acc[r][c]);
        }
      }
    }
  }
  for (uint32_t r = 0; r < rows; ++r) {
    finish_panel(args, row0 + r, panel, acc[r]);
  }
}

template <WeightType kType>
static inline void float_block(const LinearArgs& args, uint32_t panel, uint32_t row0,
                               uint32_t rows) {
  const std::byte* unit = args.w->panels + panel * panel_bytes(kType, args.w->k);
  float acc[kRowBlock][kPanel] = {};
  float w[kPanel];
  for (uint32_t k = 0; k < args.w->k; ++k, unit += panel_unit_bytes(kType)) {
    for (uint32_t c = 0; c < kPanel; ++c) {
      w[c] = packed_float(kType, unit, c);
    }
    for (uint32_t r = 0; r < rows; ++r) {
      const float x = args.in.x[size_t{row0 + r} * args.in.ldk + k];
      for (uint32_t c = 0; c < kPanel; ++c) {
        acc[r][c] = fma32(x, w[c], acc[r][c]);
      }
    }
  }
  for (uint32_t r = 0; r < rows; ++r) {
    finish_panel(args, row0 + r, panel, acc[r]);
  }
}

template <WeightType kType>
static inline void linear(const LinearArgs& args) {
  for (uint32_t panel = args.panel_begin; panel < args.panel_end; ++panel) {
    for (uint32_t row = 0; row < args.num_rows; row += kRowBlock) {
      const uint32_t rows = args.num_rows - row < kRowBlock ? args.num_rows - row : kRowBlock;
      if constexpr (is_quantised(kType)) {
        quantised_block<kType>(args, panel, row, rows);
      } else {
        float_block<kType>(args, panel, row, rows);
      }
    }
  }
}

// One embedding row: the exact weight rounded once, then times scale.
static inline void embed(const PackedMatrix& w, uint32_t token_id, float scale, float* out) {
  const uint32_t c = token_id % kPanel;
  const std::byte* unit = w.panels + token_id / kPanel * panel_bytes(w.type, w.k);
  if (!is_quantised(w.type)) {
    for (uint32_t k = 0; k < w.k; ++k, unit += panel_unit_bytes(w.type)) {
      out[k] = packed_float(w.type, unit, c) * scale;
    }
    return;
  }
  for (uint32_t g = 0; g < w.k / kGroup; ++g) {
    const uint32_t in_unit = g % groups_per_unit(w.type);
    unit += g != 0 && in_unit == 0 ? panel_unit_bytes(w.type) : 0;
    const std::byte* group = unit + in_unit * group_bytes(w.type);
    const float d = packed_scale(w.type, unit, in_unit, c);
    for (uint32_t k = 0; k < kGroup; ++k) {
      const int32_t code = code_value(w.type, packed_code(w.type, group, k, c));
      // Exact but for Q6_K (14 + 11 bits), where this is the one rounding.
      float value = static_cast<float>(code * packed_factor(w.type, group, k, c)) * d;
      if (w.type == WeightType::kQ2_K) {
        const float m = packed_min(w.type, unit, in_unit, c);
        value = value - m * static_cast<float>(packed_min_factor(w.type, group, k, c));
      } else if (has_minimum(w.type)) {
        value = value + packed_min(w.type, unit, in_unit, c);
      }
      out[g * kGroup + k] = value * scale;
    }
  }
}

}  // namespace stet::kernels::reference
