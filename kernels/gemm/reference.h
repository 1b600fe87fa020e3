// Linears (C1), the definition. out[row][col] = sum over groups ascending, one accumulator:
//   acc = fma(float(S), d*s, acc), with S = sum(code*q) - offset*A exact in int32;
//   Q4_1 then acc = fma(t, m, acc);
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

static inline void decode_group(WeightType type, const std::byte* unit, int16_t (*codes)[kPanel],
                                float* d, float* m) {
  for (uint32_t k = 0; k < kGroup; ++k) {
    for (uint32_t c = 0; c < kPanel; ++c) {
      codes[k][c] = packed_code(type, unit, k, c);
    }
  }
  for (uint32_t c = 0; c < kPanel; ++c) {
    d[c] = packed_scale(type, unit, c);
    m[c] = type == WeightType::kQ4_1 ? packed_min(unit, c) : 0.0f;
  }
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
  for (uint32_t g = 0; g < args.w->k / kGroup; ++g, unit += panel_unit_bytes(kType)) {
    decode_group(kType, unit, codes, d, m);
    for (uint32_t r = 0; r < rows; ++r) {
      const size_t row = row0 + r;
      const int8_t* q = in.q + row * in.ldk + size_t{g} * kGroup;
      const size_t at = row * in.ldg + g;
      int32_t sum[kPanel];
      for (uint32_t c = 0; c < kPanel; ++c) {
        sum[c] = -code_offset(kType) * in.a[at];
      }
      for (uint32_t k = 0; k < kGroup; ++k) {
        for (uint32_t c = 0; c < kPanel; ++c) {
          sum[c] += int32_t{codes[k][c]} * q[k];
        }
      }
      for (uint32_t c = 0; c < kPanel; ++c) {
        acc[r][c] = fma32(static_cast<float>(sum[c]), d[c] * in.s[at], acc[r][c]);
        if (kType == WeightType::kQ4_1) {
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
  for (uint32_t g = 0; g < w.k / kGroup; ++g, unit += panel_unit_bytes(w.type)) {
    const float d = packed_scale(w.type, unit, c);
    const float m = w.type == WeightType::kQ4_1 ? packed_min(unit, c) : 0.0f;
    for (uint32_t k = 0; k < kGroup; ++k) {
      const int32_t code = packed_code(w.type, unit, k, c) - code_offset(w.type);
      const float exact = static_cast<float>(code) * d;  // 8 + 11 bits: exact
      out[g * kGroup + k] = (w.type == WeightType::kQ4_1 ? exact + m : exact) * scale;
    }
  }
}

}  // namespace stet::kernels::reference
