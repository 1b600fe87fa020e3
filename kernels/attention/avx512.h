// Attention (C5) on 16 lanes, over a Dot that says how a bf16 pair product is added: vdpbf16ps, or
// two fma. K tile [head_dim/2 pairs][64 slots][2], V tile [32 slot pairs][head_dim][2]: one 512-bit
// load feeds one Dot. A row is one query x one head; up to 24 rows meet a tile in three phases:
//   scores   1-6 rows x 64 slots, 24 accumulators
//   soften   all rows in four short loops: a row's chain is longer than schedulers can overlap
//   weigh    1-6 rows x 64 dims, 24 accumulators
// Tiles outside, rows inside: a tile is read once per pass of up to 12,288 output floats.
//
// Bound: vdpbf16ps in prefill, memory in decode. The next tile is prefetched inside the product
// loops, into L2: two tiles fill an L1 of 32 KiB (Zen 4, decode x32 at context 256: 60 % of the
// read rate with prefetch into L1, 84-97 % into L2; prefill 70 % of the peak either way).
// Dropped: prefetch in bursts; rows outside and tiles inside (prefill 45 %); softmax row by row
// between the product loops (58 %).
#pragma once

#include "kernels/attention/geometry.h"
#include "kernels/attention/reference.h"
#include "kernels/numerics/avx512.h"

namespace stet::kernels {
namespace {

constexpr uint32_t kBatchRows = 24;  // rows that meet a tile together
constexpr uint32_t kBlockRows = 6;   // 6 x 4 accumulators of 32 registers
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
  alignas(64) uint16_t p[kBatchRows * kTile];
  alignas(64) float alpha[kBatchRows + 8];
};

STET_INLINE uint32_t load_pair(const uint16_t* p) {
  uint32_t v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

STET_INLINE void prefetch_lines(const std::byte* p, int lines) {
#pragma GCC unroll 4
  for (int i = 0; i < lines; ++i) {
    _mm_prefetch(reinterpret_cast<const char*>(p) + 64 * i, _MM_HINT_T1);
  }
}

// scores[r][64] = q_r . K over pairs of dimensions ascending.
template <class Dot, int kRows>
void score_rows(const TileView& tile, const uint16_t* const* rows, const std::byte* next,
                float* scores) {
  const uint16_t* q[kRows];
  __m512 acc[kRows][4];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    q[r] = rows[r];
    acc[r][0] = acc[r][1] = acc[r][2] = acc[r][3] = _mm512_setzero_ps();
  }
  const std::byte* k = tile.k;
  for (uint32_t d = 0; d < tile.head_dim; d += 2, k += kTile * 4) {
    if (next) {
      prefetch_lines(next, 4);
      next += kTile * 4;
    }
    const auto k0 = Dot::load(k);
    const auto k1 = Dot::load(k + 64);
    const auto k2 = Dot::load(k + 128);
    const auto k3 = Dot::load(k + 192);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const auto x = Dot::broadcast(load_pair(q[r] + d));
      acc[r][0] = Dot::add(acc[r][0], k0, x);
      acc[r][1] = Dot::add(acc[r][1], k1, x);
      acc[r][2] = Dot::add(acc[r][2], k2, x);
      acc[r][3] = Dot::add(acc[r][3], k3, x);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      _mm512_store_ps(scores + r * kTile + 16 * j, acc[r][j]);
    }
  }
}

STET_INLINE __mmask16 lanes_of(uint64_t visible, int j) {
  return static_cast<__mmask16>(visible >> (16 * j));
}

// New maxima; returns them in `now`, the old ones in `old`.
STET_INLINE void find_maxima(const Batch& b, const float* scores, float* old, float* now) {
  const __m512 lowest = _mm512_set1_ps(kNegInf);
  for (uint32_t r = 0; r < b.num_rows; ++r) {
    const float* s = scores + r * kTile;
    __m512 x[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      x[j] = _mm512_mask_load_ps(lowest, lanes_of(b.visible[r], j), s + 16 * j);
    }
    const float m = max16(_mm512_max_ps(_mm512_max_ps(x[0], x[1]), _mm512_max_ps(x[2], x[3])));
    old[r] = b.m[r];
    now[r] = m > old[r] ? m : old[r];
    b.m[r] = now[r];
  }
}

// p = bf16(exp2(s - m')) for visible slots, else +0; sums[r] = 16 partial sums of p after C2's
// first two levels.
template <class Dot>
STET_INLINE void exponentials(const Batch& b, const float* scores, const float* now, uint16_t* p,
                              float* sums) {
  for (uint32_t r = 0; r < b.num_rows; ++r) {
    const __m512 m = _mm512_set1_ps(now[r]);
    __m512 x[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      x[j] = _mm512_sub_ps(_mm512_load_ps(scores + r * kTile + 16 * j), m);
    }
    exp2_lanes<4, true>(x);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const __m256i h = Dot::round(lanes_of(b.visible[r], j), x[j]);
      _mm256_store_si256(reinterpret_cast<__m256i*>(p + r * kTile + 16 * j), h);
      x[j] = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
    }
    _mm512_store_ps(sums + r * 16, c2_fold(x[0], x[1], x[2], x[3]));
  }
}

// Softmax step of all rows of the batch: m, l, p, alpha.
template <class Dot>
STET_INLINE void soften(const Batch& b, Work* w) {
  alignas(64) float old[kBatchRows + 8];
  alignas(64) float now[kBatchRows + 8];
  alignas(64) float sums[kBatchRows * 16];
  find_maxima(b, w->scores, old, now);
  exponentials<Dot>(b, w->scores, now, w->p, sums);
  for (uint32_t r = 0; r < b.num_rows; r += 16) {
    const __mmask16 lanes = first_lanes(b.num_rows - r);
    __m512 x[1] = {_mm512_sub_ps(_mm512_maskz_loadu_ps(lanes, old + r),
                                 _mm512_maskz_loadu_ps(lanes, now + r))};
    exp2_lanes<1, true>(x);
    _mm512_mask_storeu_ps(w->alpha + r, lanes, x[0]);
  }
  for (uint32_t r = 0; r < b.num_rows; ++r) {
    b.l[r] = fma32(b.l[r], w->alpha[r], c2_tree16(_mm512_load_ps(sums + r * 16)));
  }
}

// One slot pair of V against kRows rows.
template <class Dot, int kRows, int kVecs, class Load>
STET_INLINE void weigh_pair(const uint16_t* p, uint32_t pair, Load load,
                            __m512 (&o)[kRows][kVecs]) {
  decltype(load(0)) v[kVecs];
#pragma GCC unroll 4
  for (int j = 0; j < kVecs; ++j) {
    v[j] = load(j);
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    const auto x = Dot::broadcast(load_pair(p + r * kTile + 2 * pair));
#pragma GCC unroll 4
    for (int j = 0; j < kVecs; ++j) {
      o[r][j] = Dot::add(o[r][j], v[j], x);
    }
  }
}

// o_r = o_r * alpha_r + P_r . V for 16 * kVecs dims from dim0. `next` = V half of the next tile,
// same dims, or null.
template <class Dot, int kRows, int kVecs>
void weigh_rows(const TileView& tile, uint32_t dim0, const uint16_t* p, const float* alpha,
                const std::byte* next, float* out) {
  __m512 o[kRows][kVecs];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < kVecs; ++j) {
      o[r][j] = _mm512_mul_ps(_mm512_loadu_ps(out + r * tile.head_dim + dim0 + 16 * j),
                              _mm512_set1_ps(alpha[r]));
    }
  }
  const size_t stride = size_t{tile.head_dim} * 4;
  uint32_t pair = tile.written.begin / 2;
  const uint32_t full_end = tile.written.end / 2;
  const std::byte* v = tile.v + pair * stride + size_t{dim0} * 4;
  // A half-seen pair at either border: the other half is not there, never load it as a number.
  if (tile.written.begin % 2 != 0) {
    weigh_pair<Dot, kRows, kVecs>(
        p, pair, [&](int j) { return Dot::load_masked(0xAAAAAAAAu, v + 64 * j); }, o);
    ++pair;
    v += stride;
  }
  for (; pair < full_end; ++pair, v += stride) {
    if (next) {
      prefetch_lines(next + pair * stride, kVecs);
    }
    weigh_pair<Dot, kRows, kVecs>(
        p, pair, [&](int j) { return Dot::load(v + 64 * j); }, o);
  }
  if (tile.written.end % 2 != 0 && pair == full_end) {
    weigh_pair<Dot, kRows, kVecs>(
        p, pair, [&](int j) { return Dot::load_masked(0x55555555u, v + 64 * j); }, o);
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < kVecs; ++j) {
      _mm512_storeu_ps(out + r * tile.head_dim + dim0 + 16 * j, o[r][j]);
    }
  }
}

using ScoreFn = void (*)(const TileView&, const uint16_t* const*, const std::byte*, float*);
using WeighFn = void (*)(const TileView&, uint32_t, const uint16_t*, const float*, const std::byte*,
                         float*);

template <class Dot>
constexpr ScoreFn kScoreFns[kBlockRows] = {score_rows<Dot, 1>, score_rows<Dot, 2>,
                                           score_rows<Dot, 3>, score_rows<Dot, 4>,
                                           score_rows<Dot, 5>, score_rows<Dot, 6>};

template <class Dot, int kVecs>
constexpr WeighFn kWeighFns[kBlockRows] = {weigh_rows<Dot, 1, kVecs>, weigh_rows<Dot, 2, kVecs>,
                                           weigh_rows<Dot, 3, kVecs>, weigh_rows<Dot, 4, kVecs>,
                                           weigh_rows<Dot, 5, kVecs>, weigh_rows<Dot, 6, kVecs>};

template <class Dot>
STET_INLINE WeighFn weigh_fn(uint32_t vecs, uint32_t rows) {
  switch (vecs) {
    case 1: return kWeighFns<Dot, 1>[rows - 1];
    case 2: return kWeighFns<Dot, 2>[rows - 1];
    case 3: return kWeighFns<Dot, 3>[rows - 1];
    default: return kWeighFns<Dot, 4>[rows - 1];
  }
}

// A batch against one tile. Only the first block of rows prefetches.
template <class Dot>
void meet_tile(const TileView& tile, const Batch& b, Work* w) {
  const uint32_t blocks = (b.num_rows + kBlockRows - 1) / kBlockRows;
  const auto border = [&](uint32_t i) { return b.num_rows * i / blocks; };
  for (uint32_t i = 0; i < blocks; ++i) {
    const uint32_t r = border(i);
    kScoreFns<Dot>[border(i + 1) - r - 1](tile, b.q + r, i == 0 ? tile.next : nullptr,
                                          w->scores + r * kTile);
  }
  soften<Dot>(b, w);
  for (uint32_t dim0 = 0; dim0 < tile.head_dim; dim0 += 64) {
    const uint32_t vecs = tile.head_dim - dim0 < 64 ? (tile.head_dim - dim0) / 16 : 4;
    const std::byte* next =
        tile.next ? tile.next + size_t{kTile} * tile.head_dim * 2 + size_t{dim0} * 4 : nullptr;
    for (uint32_t i = 0; i < blocks; ++i) {
      const uint32_t r = border(i);
      weigh_fn<Dot>(vecs, border(i + 1) - r)(tile, dim0, w->p + r * kTile, w->alpha + r,
                                             i == 0 ? next : nullptr,
                                             b.o + size_t{r} * tile.head_dim);
    }
  }
}

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
template <class Dot>
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
    meet_tile<Dot>(view, b, w);
    view.next = nullptr;
  }
}

// The states of one segment for all rows of the pass. `after` = what to prefetch during the last
// tile.
template <class Dot>
void pass_segment(const Pass& pass, uint32_t segment, const std::byte* after, States* s, Work* w) {
  const AttentionArgs& args = pass.args;
  reset(s, pass.first_state, pass.num_rows(), args.head_dim);
  const uint32_t first = first_visible(pass.first_pos(), args.window) / kTile;
  const uint32_t last = pass.last_pos() / kTile;
  const uint32_t begin = segment * kTilesPerSegment > first ? segment * kTilesPerSegment : first;
  const uint32_t end =
      (segment + 1) * kTilesPerSegment < last + 1 ? (segment + 1) * kTilesPerSegment : last + 1;
  for (uint32_t tile = begin; tile < end; ++tile) {
    pass_tile<Dot>(pass, tile, tile + 1 < end ? tile_address(args, tile + 1) : after, s, w);
  }
}

STET_INLINE void merge_row(float* o, const float* o2, float a, float b, uint32_t head_dim) {
  const __m512 av = _mm512_set1_ps(a);
  const __m512 bv = _mm512_set1_ps(b);
  for (uint32_t d = 0; d < head_dim; d += 16) {
    _mm512_storeu_ps(o + d, _mm512_fmadd_ps(_mm512_loadu_ps(o2 + d), bv,
                                            _mm512_mul_ps(_mm512_loadu_ps(o + d), av)));
  }
}

// Rows that saw nothing of the segment are left out; the first segment a row saw is taken as it is.
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
    merge_row(o, o2, a, b, head_dim);
  }
}

STET_INLINE void write_row(const float* o, float l, uint32_t head_dim, float* out) {
  const __m512 inverse = _mm512_set1_ps(1.0f / l);
  for (uint32_t d = 0; d < head_dim; d += 16) {
    _mm512_storeu_ps(out + d, _mm512_add_ps(_mm512_mul_ps(_mm512_loadu_ps(o + d), inverse),
                                            _mm512_setzero_ps()));
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
template <class Args>
STET_INLINE bool covered(const Args& args) {
  return args.head_dim % 16 == 0 && args.head_dim != 0 && args.head_dim <= kMaxHeadDim &&
         args.num_heads >= 1 && args.num_heads <= kMaxHeads;
}

template <class Args>
STET_INLINE uint32_t queries_per_pass(const Args& args) {
  const uint32_t rows = kPassFloats / args.head_dim;
  return rows / args.num_heads < 64 ? rows / args.num_heads : 64;
}

template <class Dot>
STET_INLINE void attention_lanes(const AttentionArgs& args) {
  if (!covered(args)) {
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
      pass_segment<Dot>(pass, segment, after, s, &work);
      if (segment != first_segment) {
        merge_states(&total, other, 0, pass.num_rows(), args.head_dim);
      }
    }
    for (uint32_t r = 0; r < pass.num_rows(); ++r) {
      write_row(total.o + size_t{r} * args.head_dim, total.l[r], args.head_dim, out_row(pass, r));
    }
  }
}

template <class Dot>
STET_INLINE void attention_segment_lanes(const AttentionArgs& args, uint32_t segment,
                                         float* states) {
  if (!covered(args)) {
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
    pass_segment<Dot>(pass, segment, last ? args.next_tile : nullptr, &s, &work);
    for (uint32_t r = 0; r < pass.num_rows(); ++r, states += stride) {
      store_state(s, r, args.head_dim, states);
    }
  }
}

STET_INLINE void attention_merge_lanes(const AttentionArgs& args, const float* states,
                                       uint32_t num_segments) {
  if (!covered(args)) {
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
      merge_row(o, s + 2, a, b, args.head_dim);
    }
    write_row(o, l, args.head_dim, out_row(pass, r));
  }
}

}  // namespace
}  // namespace stet::kernels
