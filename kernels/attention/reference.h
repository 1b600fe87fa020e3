// Attention (C5), the definition: one query row at a time, scalar fma.
//
// Score: pairs of dimensions ascending, odd element first. Tile = 64 positions; per tile
//   m' = max(m, s), alpha = exp2(m - m'), p = bf16(exp2(s - m')), l = fma(l, alpha, C2 sum of p),
//   o = o*alpha, then token pairs ascending, odd token first: o = fma(p, v, o).
// Segments of 512 positions merge ascending: M = max, a = exp2(m - M), b = exp2(m' - M),
//   l = fma(l', b, l*a), o = fma(o', b, o*a).
// Result o * (1/l) + 0. Invisible slots are p = +0, v = +0 and never loaded.
#pragma once

#include "kernels/attention/geometry.h"
#include "kernels/numerics/bits.h"
#include "kernels/numerics/exp2.h"
#include "kernels/numerics/reduce.h"

namespace stet::kernels::reference {

static inline uint16_t tile_k(const std::byte* tile, uint32_t d, uint32_t slot) {
  uint16_t v;
  __builtin_memcpy(&v, tile + (size_t{d / 2} * kTile + slot) * 4 + (d % 2) * 2, sizeof v);
  return v;
}

static inline uint16_t tile_v(const std::byte* tile, uint32_t head_dim, uint32_t slot, uint32_t d) {
  uint16_t v;
  __builtin_memcpy(
      &v,
      tile + size_t{kTile} * head_dim * 2 + (size_t{slot / 2} * head_dim + d) * 4 + (slot % 2) * 2,
      sizeof v);
  return v;
}

static inline float score(const uint16_t* q, const std::byte* tile, uint32_t head_dim,
                          uint32_t slot) {
  float s = 0.0f;
  for (uint32_t d = 0; d < head_dim; d += 2) {
    s = fma32(bf16_to_float(q[d + 1]), bf16_to_float(tile_k(tile, d + 1, slot)), s);
    s = fma32(bf16_to_float(q[d]), bf16_to_float(tile_k(tile, d, slot)), s);
  }
  return s;
}

// state: m, l, o[head_dim].
static inline void reset_state(float* state, uint32_t head_dim) {
  state[0] = -__builtin_inff();
  for (uint32_t i = 1; i < head_dim + 2; ++i) {
    state[i] = 0.0f;
  }
}

static inline void attend_tile(const uint16_t* q, const std::byte* tile, uint32_t head_dim,
                               SlotRange visible, float* state) {
  float p[kTile] = {};
  float m = state[0];
  for (uint32_t t = visible.begin; t < visible.end; ++t) {
    p[t] = score(q, tile, head_dim, t);
    m = p[t] > m ? p[t] : m;
  }
  const float alpha = exp2_c6(state[0] - m);
  for (uint32_t t = visible.begin; t < visible.end; ++t) {
    p[t] = bf16_to_float(float_to_bf16(exp2_c6(p[t] - m)));
  }
  for (uint32_t d = 0; d < head_dim; ++d) {
    float o = state[2 + d] * alpha;
    for (uint32_t t = 0; t < kTile; ++t) {
      const uint32_t slot = t ^ 1;  // 1, 0, 3, 2 ...
      const bool seen = slot >= visible.begin && slot < visible.end;
      o = fma32(p[slot], seen ? bf16_to_float(tile_v(tile, head_dim, slot, d)) : 0.0f, o);
    }
    state[2 + d] = o;
  }
  state[0] = m;
  state[1] = fma32(state[1], alpha, c2_tree(p));  // the 64 slots are the 64 partials; destroys p
}

// The state of one segment for one row.
static inline void attend_segment(const AttentionArgs& args, const uint16_t* q, uint32_t pos,
                                  uint32_t segment, float* state) {
  reset_state(state, args.head_dim);
  for (uint32_t tile = segment * kTilesPerSegment; tile < (segment + 1) * kTilesPerSegment;
       ++tile) {
    const SlotRange visible = visible_slots(tile, first_visible(pos, args.window), pos);
    if (visible.begin < visible.end) {
      attend_tile(q, tile_address(args, tile), args.head_dim, visible, state);
    }
  }
}

static inline void merge_state(float* total, const float* state, uint32_t head_dim) {
  const float m = state[0] > total[0] ? state[0] : total[0];
  const float a = exp2_c6(total[0] - m);
  const float b = exp2_c6(state[0] - m);
  total[0] = m;
  for (uint32_t i = 1; i < head_dim + 2; ++i) {
    total[i] = fma32(state[i], b, total[i] * a);
  }
}

static inline void write_result(const float* state, uint32_t head_dim, float* out) {
  const float inverse = 1.0f / state[1];
  for (uint32_t d = 0; d < head_dim; ++d) {
    out[d] = state[2 + d] * inverse + 0.0f;
  }
}

static inline void attention(const AttentionArgs& args) {
  float total[attention_state_stride(kMaxHeadDim)];
  float state[attention_state_stride(kMaxHeadDim)];
  for (uint32_t i = 0; i < args.num_queries; ++i) {
    const uint32_t pos = args.first_pos + i;
    const uint32_t first_segment = first_visible(pos, args.window) / kSegment;
    for (uint32_t h = 0; h < args.num_heads; ++h) {
      const uint16_t* q = args.q + i * args.ldq + size_t{h} * args.head_dim;
      attend_segment(args, q, pos, first_segment, total);
      for (uint32_t segment = first_segment + 1; segment <= pos / kSegment; ++segment) {
        attend_segment(args, q, pos, segment, state);
        merge_state(total, state, args.head_dim);
      }
      write_result(total, args.head_dim, args.out + i * args.ldo + size_t{h} * args.head_dim);
    }
  }
}

static inline void attention_segment(const AttentionArgs& args, uint32_t segment, float* states) {
  const size_t stride = attention_state_stride(args.head_dim);
  for (uint32_t i = 0; i < args.num_queries; ++i) {
    for (uint32_t h = 0; h < args.num_heads; ++h, states += stride) {
      attend_segment(args, args.q + i * args.ldq + size_t{h} * args.head_dim, args.first_pos + i,
                     segment, states);
    }
  }
}

static inline void attention_merge(const AttentionArgs& args, const float* states,
                                   uint32_t num_segments) {
  const size_t stride = attention_state_stride(args.head_dim);
  const size_t rows = size_t{args.num_queries} * args.num_heads;
  float total[attention_state_stride(kMaxHeadDim)];
  for (size_t row = 0; row < rows; ++row) {
    reset_state(total, args.head_dim);
    bool first = true;
    for (uint32_t segment = 0; segment < num_segments; ++segment) {
      const float* state = states + (segment * rows + row) * stride;
      if (state[0] == -__builtin_inff()) {
        continue;
      }
      if (first) {
        __builtin_memcpy(total, state, (size_t{args.head_dim} + 2) * sizeof(float));
        first = false;
      } else {
        merge_state(total, state, args.head_dim);
      }
    }
    write_result(total, args.head_dim,
                 args.out + row / args.num_heads * args.ldo + row % args.num_heads * args.head_dim);
  }
}

}  // namespace stet::kernels::reference
