// How attention (C5) walks its tiles, for every instruction set. A row is one query x one head; up to
// 24 rows meet a tile together. Tiles outside, rows inside: a tile is read once per pass of up to
// 12,288 output floats; the next one is prefetched meanwhile.
//
// Isa says how rows meet a tile:
//   kDimMultiple                        head_dim must be a multiple of it; others run the reference
//   meet_tile(tile, batch, work)        scores, softmax, o = o * alpha + P.V
//   merge_row(o, o2, a, b, head_dim)    o = fma(o2, b, o * a)
//   write_row(o, l, head_dim, out)      out = o * (1 / l) + 0
//   Pipeline, kHasPipeline              for group_passes.h, and where it has one kMinPipelineRows,
//                                       run_pipeline
// Dropped: rows outside and tiles inside (prefill at 45 % of the peak instead of 70).
#pragma once

#include "kernels/attention/geometry.h"
#include "kernels/attention/reference.h"
#include "kernels/numerics/inline.h"

namespace stet::kernels {
namespace {

constexpr uint32_t kBatchRows = 24;  // rows that meet a tile together
constexpr uint32_t kMaxHeads = 16;
constexpr uint32_t kPassFloats = 192 * 64;  // output state of one pass: 48 KiB, twice
constexpr uint32_t kMaxPassRows = kPassFloats / 16;
constexpr float kNegInf = -__builtin_inff();

// Softmax state of the rows of a pass.
struct States {
  float m[kMaxPassRows];
  float l[kMaxPassRows];
  alignas(64) float o[kPassFloats];  // [row][head_dim]
};

struct TileView {
  const std::byte* k;
  const std::byte* v;
  const std::byte* next;  // the tile to prefetch meanwhile, or null
  uint32_t head_dim;
  SlotRange written;  // slots that at least one row sees: others are never loaded as V
};

struct Batch {
  uint32_t num_rows;
  const uint16_t* q[kBatchRows];
  uint64_t visible[kBatchRows];  // bit t = the row sees slot t
  float* m;
  float* l;
  float* o;
};

struct Work {
  alignas(64) float scores[kBatchRows * kTile];
  alignas(64) uint16_t p[kBatchRows * kTile];  // unused where p takes the place of the scores
  alignas(64) float alpha[kBatchRows + 8];
};

// Queries [begin, end) of args with their heads: the rows of one pass.
struct Pass {
  const AttentionArgs& args;
  uint32_t begin;
  uint32_t end;
  uint32_t first_state = 0;  // the row of States that holds its first row
  uint32_t num_rows() const { return (end - begin) * args.num_heads; }
  uint32_t first_pos() const { return args.first_pos + begin; }
  uint32_t last_pos() const { return args.first_pos + end - 1; }
};

STET_INLINE uint64_t slot_bits(SlotRange r) {
  const uint64_t below_end = r.end >= 64 ? ~uint64_t{0} : (uint64_t{1} << r.end) - 1;
  return r.begin < r.end ? below_end & (~uint64_t{0} << r.begin) : 0;
}

void reset(States* s, uint32_t first, uint32_t rows, uint32_t head_dim) {
  for (uint32_t r = first; r < first + rows; ++r) {
    s->m[r] = kNegInf;
    s->l[r] = 0.0f;
  }
  __builtin_memset(s->o + size_t{first} * head_dim, 0, size_t{rows} * head_dim * sizeof(float));
}

// All rows of the pass that see `tile`, in batches.
template <class Isa>
void pass_tile(const Pass& pass, uint32_t tile, const std::byte* next, States* s, Work* w) {
  const AttentionArgs& args = pass.args;
  const uint32_t heads = args.num_heads;
  TileView view;
  view.k = tile_address(args, tile);
  view.v = view.k + size_t{kTile} * args.head_dim * 2;
  view.next = next;
  view.head_dim = args.head_dim;
  view.written = visible_slots(tile, first_visible(pass.first_pos(), args.window), pass.last_pos());
  // Rows that see something of the tile are consecutive.
  uint32_t begin = pass.begin;
  uint32_t end = pass.end;
  while (begin < end && args.first_pos + begin < tile * kTile) {
    ++begin;
  }
  while (end > begin &&
         first_visible(args.first_pos + end - 1, args.window) > tile * kTile + kTile - 1) {
    --end;
  }
  const uint32_t first = (begin - pass.begin) * heads;
  const uint32_t rows = (end - begin) * heads;
  const uint32_t batches = (rows + kBatchRows - 1) / kBatchRows;
  for (uint32_t i = 0; i < batches; ++i) {
    const uint32_t r0 = first + rows * i / batches;
    const uint32_t r1 = first + rows * (i + 1) / batches;
    Batch b;
    b.num_rows = r1 - r0;
    uint32_t query = pass.begin + r0 / heads;
    uint32_t head = r0 % heads;
    for (uint32_t r = 0; r < b.num_rows; ++r) {
      const uint32_t pos = args.first_pos + query;
      b.q[r] = args.q + query * args.ldq + size_t{head} * args.head_dim;
      b.visible[r] = slot_bits(visible_slots(tile, first_visible(pos, args.window), pos));
      head = head + 1 == heads ? 0 : head + 1;
      query += head == 0 ? 1 : 0;
    }
    const uint32_t state = pass.first_state + r0;
    b.m = s->m + state;
    b.l = s->l + state;
    b.o = s->o + size_t{state} * args.head_dim;
    Isa::meet_tile(view, b, w);
    view.next = nullptr;
  }
}

// The states of one segment for all rows of the pass. `after` = what to prefetch during the last
// tile.
template <class Isa>
void pass_segment(const Pass& pass, uint32_t segment, const std::byte* after, States* s, Work* w) {
  const AttentionArgs& args = pass.args;
  reset(s, pass.first_state, pass.num_rows(), args.head_dim);
  const uint32_t first = first_visible(pass.first_pos(), args.window) / kTile;
  const uint32_t last = pass.last_pos() / kTile;
  const uint32_t begin = segment * kTilesPerSegment > first ? segment * kTilesPerSegment : first;
  const uint32_t end =
      (segment + 1) * kTilesPerSegment < last + 1 ? (segment + 1) * kTilesPerSegment : last + 1;
  for (uint32_t tile = begin; tile < end; ++tile) {
    pass_tile<Isa>(pass, tile, tile + 1 < end ? tile_address(args, tile + 1) : after, s, w);
  }
}

// Rows that saw nothing of the segment are left out; the first segment a row saw is taken as it is.
template <class Isa>
void merge_states(States* total, const States& s, uint32_t first, uint32_t rows,
                  uint32_t head_dim) {
  for (uint32_t r = first; r < first + rows; ++r) {
    if (s.m[r] == kNegInf) {
      continue;
    }
    float* o = total->o + size_t{r} * head_dim;
    const float* o2 = s.o + size_t{r} * head_dim;
    if (total->m[r] == kNegInf) {
      total->m[r] = s.m[r];
      total->l[r] = s.l[r];
      __builtin_memcpy(o, o2, head_dim * sizeof(float));
      continue;
    }
    const float m = s.m[r] > total->m[r] ? s.m[r] : total->m[r];
    const float a = exp2_c6(total->m[r] - m);
    const float b = exp2_c6(s.m[r] - m);
    total->m[r] = m;
    total->l[r] = fma32(s.l[r], b, total->l[r] * a);
    Isa::merge_row(o, o2, a, b, head_dim);
  }
}

STET_INLINE void store_state(const States& s, uint32_t row, uint32_t head_dim, float* state) {
  state[0] = s.m[row];
  state[1] = s.l[row];
  __builtin_memcpy(state + 2, s.o + size_t{row} * head_dim, head_dim * sizeof(float));
}

STET_INLINE float* out_row(const Pass& pass, uint32_t row) {
  const AttentionArgs& args = pass.args;
  return args.out + (pass.begin + row / args.num_heads) * args.ldo +
         size_t{row % args.num_heads} * args.head_dim;
}

// Shapes the lanes cover; others run the reference.
template <class Isa, class Args>
STET_INLINE bool covered(const Args& args) {
  return args.head_dim % Isa::kDimMultiple == 0 && args.head_dim != 0 && args.head_dim <= kMaxHeadDim &&
         args.num_heads >= 1 && args.num_heads <= kMaxHeads;
}

template <class Args>
STET_INLINE uint32_t queries_per_pass(const Args& args) {
  const uint32_t rows = kPassFloats / args.head_dim;
  return rows / args.num_heads < 64 ? rows / args.num_heads : 64;
}

template <class Isa>
STET_INLINE void attention_lanes(const AttentionArgs& args) {
  if (!covered<Isa>(args)) {
    reference::attention(args);
    return;
  }
  States total;
  States other;
  Work work;
  const uint32_t step = queries_per_pass(args);
  for (uint32_t begin = 0; begin < args.num_queries; begin += step) {
    const bool last = args.num_queries - begin <= step;
    const Pass pass{args, begin, last ? args.num_queries : begin + step};
    const uint32_t first_segment = first_visible(pass.first_pos(), args.window) / kSegment;
    const uint32_t last_segment = pass.last_pos() / kSegment;
    for (uint32_t segment = first_segment; segment <= last_segment; ++segment) {
      const std::byte* after = last ? args.next_tile : nullptr;
      if (segment < last_segment) {
        after = tile_address(args, (segment + 1) * kTilesPerSegment);
      }
      States* s = segment == first_segment ? &total : &other;
      pass_segment<Isa>(pass, segment, after, s, &work);
      if (segment != first_segment) {
        merge_states<Isa>(&total, other, 0, pass.num_rows(), args.head_dim);
      }
    }
    for (uint32_t r = 0; r < pass.num_rows(); ++r) {
      Isa::write_row(total.o + size_t{r} * args.head_dim, total.l[r], args.head_dim, out_row(pass, r));
    }
  }
}

template <class Isa>
STET_INLINE void attention_segment_lanes(const AttentionArgs& args, uint32_t segment,
                                         float* states) {
  if (!covered<Isa>(args)) {
    reference::attention_segment(args, segment, states);
    return;
  }
  States s;
  Work work;
  const size_t stride = attention_state_stride(args.head_dim);
  const uint32_t step = queries_per_pass(args);
  for (uint32_t begin = 0; begin < args.num_queries; begin += step) {
    const bool last = args.num_queries - begin <= step;
    const Pass pass{args, begin, last ? args.num_queries : begin + step};
    pass_segment<Isa>(pass, segment, last ? args.next_tile : nullptr, &s, &work);
    for (uint32_t r = 0; r < pass.num_rows(); ++r, states += stride) {
      store_state(s, r, args.head_dim, states);
    }
  }
}

template <class Isa>
STET_INLINE void attention_merge_lanes(const AttentionArgs& args, const float* states,
                                       uint32_t num_segments) {
  if (!covered<Isa>(args)) {
    reference::attention_merge(args, states, num_segments);
    return;
  }
  const size_t stride = attention_state_stride(args.head_dim);
  const Pass pass{args, 0, args.num_queries};
  const size_t rows = pass.num_rows();
  alignas(64) float o[kMaxHeadDim];
  for (uint32_t r = 0; r < rows; ++r) {
    float m = kNegInf;
    float l = 0.0f;
    __builtin_memset(o, 0, args.head_dim * sizeof(float));
    for (uint32_t i = 0; i < num_segments; ++i) {
      const float* s = states + (i * rows + r) * stride;
      if (s[0] == kNegInf) {
        continue;
      }
      if (m == kNegInf) {
        m = s[0];
        l = s[1];
        __builtin_memcpy(o, s + 2, args.head_dim * sizeof(float));
        continue;
      }
      const float both = s[0] > m ? s[0] : m;
      const float a = exp2_c6(m - both);
      const float b = exp2_c6(s[0] - both);
      m = both;
      l = fma32(s[1], b, l * a);
      Isa::merge_row(o, s + 2, a, b, args.head_dim);
    }
    Isa::write_row(o, l, args.head_dim, out_row(pass, r));
  }
}

}  // namespace
}  // namespace stet::kernels
