// Attention (C5) on 8 lanes: two fma per bf16 pair, odd element first. The rows of a batch
// (passes.h) meet a tile in three phases:
//   scores   1-6 rows x 16-64 slots, 8-12 accumulators of the 16 registers
//   soften   all rows in four short loops; p takes the place of the scores, as f32
//   weigh    1-6 rows x 16-64 dims, 8-12 accumulators
// An accumulator's two fma per pair depend on each other, so that 8 are needed to fill two pipes of
// latency 4, and 12 fill them with room.
//
// Bound: fma in prefill, memory in decode. Splitting K and V into their two floats costs two
// operations per load on other pipes.
#include "kernels/attention/group_passes.h"
#include "kernels/attention/passes.h"
#include "kernels/dispatch/avx2_ops.h"
#include "kernels/numerics/avx2.h"

namespace stet::kernels::avx2 {
namespace {

constexpr uint32_t kBlockRows = 6;
constexpr uint32_t kLanes = 8;
constexpr uint32_t kTileVecs = kTile / kLanes;

// Element kOdd of 8 pairs as f32. The mask comes from memory: rows x vectors need every register.
template <bool kOdd>
STET_INLINE __m256 half_of(const std::byte* pairs) {
  alignas(32) static constexpr uint32_t kMask[kLanes] = {0xFFFF0000u, 0xFFFF0000u, 0xFFFF0000u,
                                                         0xFFFF0000u, 0xFFFF0000u, 0xFFFF0000u,
                                                         0xFFFF0000u, 0xFFFF0000u};
  const __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(pairs));
  if constexpr (kOdd) {
    __m256i odd;
    __asm__("vpand %2, %1, %0"
            : "=x"(odd)
            : "x"(both), "m"(*reinterpret_cast<const __m256i*>(kMask)));
    return _mm256_castsi256_ps(odd);
  } else {
    return _mm256_castsi256_ps(_mm256_slli_epi32(both, 16));
  }
}

// acc[r][j] = fma(*x[r], element kOdd of pair vector j, acc[r][j]).
template <bool kOdd, int kRows, int kVecs>
STET_INLINE void add_products(const std::byte* pairs, const float* const (&x)[kRows], size_t at,
                              __m256 (&acc)[kRows][kVecs]) {
  // Opaque, or g++ keeps what both elements share and spills sums for it.
  __asm__ volatile("" : "+r"(pairs));
  if constexpr (kRows > kVecs) {
    __m256 v[kVecs];
#pragma GCC unroll 8
    for (int j = 0; j < kVecs; ++j) {
      v[j] = half_of<kOdd>(pairs + 32 * j);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const __m256 xr = _mm256_broadcast_ss(x[r] + at);
#pragma GCC unroll 8
      for (int j = 0; j < kVecs; ++j) {
        acc[r][j] = _mm256_fmadd_ps(xr, v[j], acc[r][j]);
      }
    }
  } else {
    __m256 xr[kRows];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      xr[r] = _mm256_broadcast_ss(x[r] + at);
    }
#pragma GCC unroll 8
    for (int j = 0; j < kVecs; ++j) {
      const __m256 v = half_of<kOdd>(pairs + 32 * j);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        acc[r][j] = _mm256_fmadd_ps(xr[r], v, acc[r][j]);
      }
    }
  }
}

STET_INLINE void prefetch_lines(const std::byte* p, uint32_t lines) {
  for (uint32_t i = 0; i < lines; ++i) {
    _mm_prefetch(reinterpret_cast<const char*>(p) + 64 * i, _MM_HINT_T1);
  }
}

// Vectors that kRows rows meet at once: 8 to 12 accumulators.
constexpr uint32_t vecs_of(uint32_t rows) {
  return rows == 1 ? 8 : rows <= 3 ? 4 : 2;
}

// scores[r][slot0 ..] = q_r . K for 8 * kVecs slots, over pairs of dimensions ascending. q: [r]
// rows of stride head_dim.
template <int kRows, int kVecs>
STET_INLINE void score_slots(const TileView& tile, uint32_t slot0, const float* q,
                             const std::byte* next, float* scores) {
  const float* rows[kRows];
  __m256 acc[kRows][kVecs];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    rows[r] = q + r * tile.head_dim;
#pragma GCC unroll 8
    for (int j = 0; j < kVecs; ++j) {
      acc[r][j] = _mm256_setzero_ps();
    }
  }
  const std::byte* k = tile.k + size_t{slot0} * 4;
  for (size_t d = 0; d < tile.head_dim; d += 2, k += kTile * 4) {
    if (next) {
      prefetch_lines(next, 4);
      next += kTile * 4;
    }
    add_products<true>(k, rows, d + 1, acc);
    add_products<false>(k, rows, d, acc);
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < kVecs; ++j) {
      _mm256_store_ps(scores + r * kTile + slot0 + kLanes * j, acc[r][j]);
    }
  }
}

template <int kRows>
void score_rows(const TileView& tile, const float* q, const std::byte* next, float* scores) {
  constexpr int kVecs = vecs_of(kRows);
  for (uint32_t slot0 = 0; slot0 < kTile; slot0 += kLanes * kVecs) {
    score_slots<kRows, kVecs>(tile, slot0, q, slot0 == 0 ? next : nullptr, scores);
  }
}

// The lanes of vector j.
STET_INLINE __m256i seen_lanes(uint64_t visible, uint32_t j) {
  return lanes_of(static_cast<uint32_t>(visible >> (8 * j)));
}

constexpr uint64_t kAllVisible = ~uint64_t{0};

// New maxima; returns them in `now`, the old ones in `old`.
STET_INLINE void find_maxima(const Batch& b, const float* scores, float* old, float* now) {
  const __m256 lowest = _mm256_set1_ps(kNegInf);
  for (uint32_t r = 0; r < b.num_rows; ++r) {
    const float* s = scores + r * kTile;
    __m256 high = lowest;
    for (uint32_t j = 0; j < kTileVecs; ++j) {
      const __m256 x = _mm256_load_ps(s + kLanes * j);
      const __m256i lanes = seen_lanes(b.visible[r], j);
      high = _mm256_max_ps(high, b.visible[r] == kAllVisible
                                     ? x
                                     : _mm256_blendv_ps(lowest, x, _mm256_castsi256_ps(lanes)));
    }
    const float m = max8(high);
    old[r] = b.m[r];
    now[r] = m > old[r] ? m : old[r];
    b.m[r] = now[r];
  }
}

// bf16, nearest even, as f32; x is positive and normal.
STET_INLINE __m256i round_bf16(__m256 x) {
  const __m256i u = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7FFF)), odd);
  return _mm256_and_si256(rounded, _mm256_set1_epi32(static_cast<int>(0xFFFF0000u)));
}

// scores = bf16(exp2(s - m')) for visible slots, else +0; sums[r] = C2's tree over them.
STET_INLINE void exponentials(const Batch& b, float* scores, const float* now, float* sums) {
  for (uint32_t r = 0; r < b.num_rows; ++r) {
    float* s = scores + r * kTile;
    const __m256 m = _mm256_set1_ps(now[r]);
    __m256 p[kTileVecs];
#pragma GCC unroll 2
    for (uint32_t half = 0; half < 2; ++half) {
      __m256 x[kTileVecs / 2];
#pragma GCC unroll 4
      for (uint32_t j = 0; j < kTileVecs / 2; ++j) {
        x[j] = _mm256_sub_ps(_mm256_load_ps(s + kLanes * (4 * half + j)), m);
      }
      exp2_lanes8<kTileVecs / 2, true>(x);
#pragma GCC unroll 4
      for (uint32_t j = 0; j < kTileVecs / 2; ++j) {
        __m256i u = round_bf16(x[j]);
        if (b.visible[r] != kAllVisible) {
          u = _mm256_and_si256(u, seen_lanes(b.visible[r], 4 * half + j));
        }
        p[4 * half + j] = _mm256_castsi256_ps(u);
        _mm256_store_ps(s + kLanes * (4 * half + j), p[4 * half + j]);
      }
    }
    sums[r] = c2_tree8(c2_fold8(p));
  }
}

// Softmax step of all rows of the batch: m, l, p, alpha.
STET_INLINE void soften(const Batch& b, Work* w) {
  alignas(32) float old[kBatchRows] = {};
  alignas(32) float now[kBatchRows] = {};
  float sums[kBatchRows];
  find_maxima(b, w->scores, old, now);
  exponentials(b, w->scores, now, sums);
  for (uint32_t r = 0; r < b.num_rows; r += kLanes) {
    __m256 x[1] = {_mm256_sub_ps(_mm256_load_ps(old + r), _mm256_load_ps(now + r))};
    exp2_lanes8<1, true>(x);
    _mm256_store_ps(w->alpha + r, x[0]);
  }
  for (uint32_t r = 0; r < b.num_rows; ++r) {
    b.l[r] = fma32(b.l[r], w->alpha[r], sums[r]);
  }
}

// o_r = o_r * alpha_r + P_r . V for 8 * kVecs dims from dim0. `next` = V half of the next tile, or
// null. Slots that no row sees are never loaded as numbers.
template <int kRows, int kVecs>
void weigh_dims(const TileView& tile, uint32_t dim0, const float* p, const float* alpha,
                const std::byte* next, float* out) {
  const float* rows[kRows];
  __m256 o[kRows][kVecs];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    rows[r] = p + r * kTile;
#pragma GCC unroll 8
    for (int j = 0; j < kVecs; ++j) {
      o[r][j] = _mm256_mul_ps(_mm256_loadu_ps(out + r * tile.head_dim + dim0 + kLanes * j),
                              _mm256_set1_ps(alpha[r]));
    }
  }
  const size_t stride = size_t{tile.head_dim} * 4;
  size_t pair = tile.written.begin / 2;
  const size_t full_end = tile.written.end / 2;
  const std::byte* v = tile.v + pair * stride + size_t{dim0} * 4;
  if (tile.written.begin % 2 != 0) {
    add_products<true>(v, rows, 2 * pair + 1, o);
    ++pair;
    v += stride;
  }
  for (; pair < full_end; ++pair, v += stride) {
    if (next) {
      prefetch_lines(next + pair * stride, tile.head_dim / 16);
    }
    add_products<true>(v, rows, 2 * pair + 1, o);
    add_products<false>(v, rows, 2 * pair, o);
  }
  if (tile.written.end % 2 != 0 && pair == full_end) {
    add_products<false>(v, rows, 2 * pair, o);
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < kVecs; ++j) {
      _mm256_storeu_ps(out + r * tile.head_dim + dim0 + kLanes * j, o[r][j]);
    }
  }
}

template <int kRows>
void weigh_rows(const TileView& tile, const float* p, const float* alpha, const std::byte* next,
                float* out) {
  constexpr uint32_t kVecs = vecs_of(kRows);
  uint32_t dim0 = 0;
  for (; dim0 + kLanes * kVecs <= tile.head_dim; dim0 += kLanes * kVecs) {
    weigh_dims<kRows, kVecs>(tile, dim0, p, alpha, dim0 == 0 ? next : nullptr, out);
  }
  for (; dim0 < tile.head_dim; dim0 += 2 * kLanes) {
    weigh_dims<kRows, 2>(tile, dim0, p, alpha, nullptr, out);
  }
}

using ScoreFn = void (*)(const TileView&, const float*, const std::byte*, float*);
using WeighFn = void (*)(const TileView&, const float*, const float*, const std::byte*, float*);
constexpr ScoreFn kScoreFns[kBlockRows] = {score_rows<1>, score_rows<2>, score_rows<3>,
                                           score_rows<4>, score_rows<5>, score_rows<6>};
constexpr WeighFn kWeighFns[kBlockRows] = {weigh_rows<1>, weigh_rows<2>, weigh_rows<3>,
                                           weigh_rows<4>, weigh_rows<5>, weigh_rows<6>};

struct Isa {
  static constexpr uint32_t kDimMultiple = 2 * kLanes;
  static constexpr bool kHasPipeline = false;
  struct Pipeline {};

  // Only the first block of rows prefetches.
  static void meet_tile(const TileView& tile, const Batch& b, Work* w) {
    alignas(32) float q[kBatchRows * kMaxHeadDim];
    for (uint32_t r = 0; r < b.num_rows; ++r) {
      for (uint32_t d = 0; d < tile.head_dim; d += kLanes) {
        _mm256_store_ps(q + r * tile.head_dim + d, load_bf16(b.q[r] + d));
      }
    }
    const uint32_t blocks = (b.num_rows + kBlockRows - 1) / kBlockRows;
    const auto border = [&](uint32_t i) { return b.num_rows * i / blocks; };
    for (uint32_t i = 0; i < blocks; ++i) {
      const uint32_t r = border(i);
      kScoreFns[border(i + 1) - r - 1](tile, q + r * tile.head_dim, i == 0 ? tile.next : nullptr,
                                       w->scores + r * kTile);
    }
    soften(b, w);
    const std::byte* next_v = tile.next ? tile.next + size_t{kTile} * tile.head_dim * 2 : nullptr;
    for (uint32_t i = 0; i < blocks; ++i) {
      const uint32_t r = border(i);
      kWeighFns[border(i + 1) - r - 1](tile, w->scores + r * kTile, w->alpha + r,
                                       i == 0 ? next_v : nullptr, b.o + size_t{r} * tile.head_dim);
    }
  }

  static void merge_row(float* o, const float* o2, float a, float b, uint32_t head_dim) {
    const __m256 av = _mm256_set1_ps(a);
    const __m256 bv = _mm256_set1_ps(b);
    for (uint32_t d = 0; d < head_dim; d += kLanes) {
      _mm256_storeu_ps(o + d, _mm256_fmadd_ps(_mm256_loadu_ps(o2 + d), bv,
                                              _mm256_mul_ps(_mm256_loadu_ps(o + d), av)));
    }
  }

  static void write_row(const float* o, float l, uint32_t head_dim, float* out) {
    const __m256 inverse = _mm256_set1_ps(1.0f / l);
    for (uint32_t d = 0; d < head_dim; d += kLanes) {
      _mm256_storeu_ps(out + d, _mm256_add_ps(_mm256_mul_ps(_mm256_loadu_ps(o + d), inverse),
                                              _mm256_setzero_ps()));
    }
  }
};

}  // namespace

void attention(const AttentionArgs& args) {
  attention_lanes<Isa>(args);
}
void attention_segment(const AttentionArgs& args, uint32_t segment, float* states) {
  attention_segment_lanes<Isa>(args, segment, states);
}
void attention_merge(const AttentionArgs& args, const float* states, uint32_t num_segments) {
  attention_merge_lanes<Isa>(args, states, num_segments);
}
void attention_group(const GroupAttentionArgs& args) {
  attention_group_lanes<Isa>(args);
}
void attention_group_segment(const GroupAttentionArgs& args, uint32_t segment) {
  attention_group_segment_lanes<Isa>(args, segment);
}

}  // namespace stet::kernels::avx2
