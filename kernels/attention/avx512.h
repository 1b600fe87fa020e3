// Attention (C5) on 16 lanes, over a Dot that says how a bf16 pair product is added: vdpbf16ps, or
// two fma. K tile [head_dim/2 pairs][64 slots][2], V tile [32 slot pairs][head_dim][2]: one 512-bit
// load feeds one Dot. The rows of a batch (passes.h) meet a tile in three phases:
//   scores   1-6 rows x 64 slots, 24 accumulators
//   soften   all rows in four short loops: a row's chain is longer than schedulers can overlap
//   weigh    1-6 rows x 64 dims, 24 accumulators
//
// Bound: vdpbf16ps in prefill, memory in decode. The next tile is prefetched inside the product
// loops, into L2: two tiles fill an L1 of 32 KiB (Zen 4, decode x32 at context 256: 60 % of the
// read rate with prefetch into L1, 84-97 % into L2; prefill 70 % of the peak either way).
// Dropped: prefetch in bursts; softmax row by row between the product loops (58 %).
#pragma once

#include "kernels/attention/passes.h"
#include "kernels/numerics/avx512.h"

namespace stet::kernels {
namespace {

constexpr uint32_t kBlockRows = 6;   // 6 x 4 accumulators of 32 registers

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

STET_INLINE void merge_row(float* o, const float* o2, float a, float b, uint32_t head_dim) {
  const __m512 av = _mm512_set1_ps(a);
  const __m512 bv = _mm512_set1_ps(b);
  for (uint32_t d = 0; d < head_dim; d += 16) {
    _mm512_storeu_ps(o + d, _mm512_fmadd_ps(_mm512_loadu_ps(o2 + d), bv,
                                            _mm512_mul_ps(_mm512_loadu_ps(o + d), av)));
  }
}

STET_INLINE void write_row(const float* o, float l, uint32_t head_dim, float* out) {
  const __m512 inverse = _mm512_set1_ps(1.0f / l);
  for (uint32_t d = 0; d < head_dim; d += 16) {
    _mm512_storeu_ps(out + d, _mm512_add_ps(_mm512_mul_ps(_mm512_loadu_ps(o + d), inverse),
                                            _mm512_setzero_ps()));
  }
}

}  // namespace
}  // namespace stet::kernels
