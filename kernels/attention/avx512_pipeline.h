// Whole tiles for many rows, with the softmax of one block of rows inside the score loop of the
// next. The products keep both fma pipes busy (256 vdpbf16ps per row and tile of 64 dims, one per
// cycle on Zen 4) and leave most issue slots free; the softmax needs few fma and many other
// operations. One after the other they ran at 65-69 % of the vdpbf16ps peak, woven together at
// 71-74 % (16 rows and more: benchmarks/results/kernels/group_attention.txt).
//
// Blocks of 4 rows: 16 accumulators are chains enough (latency 6, two per cycle at most) and leave
// registers for the softmax. Per block, in the order of the program:
//   scores of block i, 16 accumulators | exponentials of block i-1, 16 lanes per two steps
//   sums and weights of block i-1
// Every row meets the same operations in the same order as in meet_tile: equal bits.
#pragma once

#include "kernels/attention/avx512.h"

namespace stet::kernels {
namespace {

constexpr uint32_t kPipeRows = 4;

// A block between its scores and its weights.
struct SoftBlock {
  alignas(64) float scores[kPipeRows * kTile];
  alignas(64) uint16_t p[kPipeRows * kTile];
  float old[16];  // maxima before and after this tile; lanes beyond num_rows do not matter
  float now[16];
  alignas(64) float alpha[16];
  uint32_t first_row = 0;
  uint32_t num_rows = 0;
  uint32_t num_steps = 0;  // of 16 exponentials each
  const TileView* tile = nullptr;
};

// The next tile, spread over the score loops of all blocks of this one.
struct TilePrefetch {
  const std::byte* next = nullptr;
  const std::byte* end = nullptr;
  uint32_t lines = 0;  // per two pairs of dimensions
};

STET_INLINE void prefetch_some(TilePrefetch* p) {
  for (uint32_t i = 0; i < p->lines && p->next != p->end; ++i, p->next += 64) {
    _mm_prefetch(reinterpret_cast<const char*>(p->next), _MM_HINT_T1);
  }
}

template <class Dot>
STET_INLINE void exponential_step(SoftBlock* b, uint32_t step) {
  __m512 x[1] = {_mm512_sub_ps(_mm512_load_ps(b->scores + 16 * step),
                               _mm512_set1_ps(b->now[step / (kTile / 16)]))};
  exp2_lanes<1, true>(x);
  _mm256_store_si256(reinterpret_cast<__m256i*>(b->p + 16 * step), Dot::round(0xFFFF, x[0]));
}

STET_INLINE void alpha_step(SoftBlock* b) {
  __m512 x[1] = {_mm512_sub_ps(_mm512_loadu_ps(b->old), _mm512_loadu_ps(b->now))};
  exp2_lanes<1, true>(x);
  _mm512_store_ps(b->alpha, x[0]);
}

template <class Dot>
STET_INLINE void rest_of_soften(SoftBlock* b, uint32_t step) {
  for (; step < b->num_steps; ++step) {
    exponential_step<Dot>(b, step);
  }
}

// One pair of dimensions of 64 keys against kRows rows.
template <class Dot, int kRows>
STET_INLINE void score_pair(const std::byte* k, const uint16_t* const (&q)[kRows], uint32_t d,
                            __m512 (&acc)[kRows][4]) {
  const auto k0 = Dot::load(k);
  const auto k1 = Dot::load(k + 64);
  const auto k2 = Dot::load(k + 128);
  const auto k3 = Dot::load(k + 192);
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    const auto x = Dot::broadcast(load_pair(q[r] + d));
    acc[r][0] = Dot::add(acc[r][0], k0, x);
    acc[r][1] = Dot::add(acc[r][1], k1, x);
    acc[r][2] = Dot::add(acc[r][2], k2, x);
    acc[r][3] = Dot::add(acc[r][3], k3, x);
  }
}

// Scores of `block` and its new maxima, while `before` goes through its exponentials.
template <class Dot, int kRows>
void score_and_soften(const TileView& tile, const uint16_t* const* rows, TilePrefetch* prefetch,
                      float* m, SoftBlock* block, SoftBlock* before) {
  const uint16_t* q[kRows];
  __m512 acc[kRows][4];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    q[r] = rows[r];
    acc[r][0] = acc[r][1] = acc[r][2] = acc[r][3] = _mm512_setzero_ps();
  }
  alpha_step(before);
  const std::byte* k = tile.k;
  uint32_t step = 0;
  for (uint32_t d = 0; d < tile.head_dim; d += 4, k += kTile * 8) {
    prefetch_some(prefetch);
    score_pair<Dot, kRows>(k, q, d, acc);
    if (step < before->num_steps) {
      exponential_step<Dot>(before, step++);
    }
    score_pair<Dot, kRows>(k + kTile * 4, q, d + 2, acc);
  }
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    const __m512 high =
        _mm512_max_ps(_mm512_max_ps(acc[r][0], acc[r][1]), _mm512_max_ps(acc[r][2], acc[r][3]));
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      _mm512_store_ps(block->scores + r * kTile + 16 * j, acc[r][j]);
    }
    const float highest = max16(high);
    block->old[r] = m[r];
    block->now[r] = highest > m[r] ? highest : m[r];
    m[r] = block->now[r];
  }
  block->num_rows = kRows;
  block->num_steps = kRows * (kTile / 16);
  rest_of_soften<Dot>(before, step);
}

using PipeFn = void (*)(const TileView&, const uint16_t* const*, TilePrefetch*, float*, SoftBlock*,
                        SoftBlock*);
template <class Dot>
constexpr PipeFn kPipeFns[kPipeRows] = {score_and_soften<Dot, 1>, score_and_soften<Dot, 2>,
                                        score_and_soften<Dot, 3>, score_and_soften<Dot, 4>};

// l and o of a block whose exponentials are done.
template <class Dot>
STET_INLINE void sum_and_weigh(const SoftBlock& b, States* s) {
  const TileView& tile = *b.tile;
  for (uint32_t r = 0; r < b.num_rows; ++r) {
    __m512 x[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const __m256i h =
          _mm256_load_si256(reinterpret_cast<const __m256i*>(b.p + r * kTile + 16 * j));
      x[j] = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
    }
    float* l = s->l + b.first_row + r;
    *l = fma32(*l, b.alpha[r], c2_tree16(c2_fold(x[0], x[1], x[2], x[3])));
  }
  for (uint32_t dim0 = 0; dim0 < tile.head_dim; dim0 += 64) {
    const uint32_t vecs = tile.head_dim - dim0 < 64 ? (tile.head_dim - dim0) / 16 : 4;
    weigh_fn<Dot>(vecs, b.num_rows)(tile, dim0, b.p, b.alpha, nullptr,
                                    s->o + size_t{b.first_row} * tile.head_dim);
  }
}

// Rows that meet the same tiles, each of which all of them see wholly.
struct Pipeline {
  SoftBlock blocks[2];
  TileView tiles[2];
  const uint16_t* q[kMaxPassRows];
};

// Tiles 0 .. num_tiles - 1 of `address(i)`; address(num_tiles) is prefetched at the end, or null.
// head_dim is a multiple of 16.
template <class Dot, class Address>
void run_pipeline(uint32_t num_tiles, uint32_t rows, uint32_t head_dim, const Address& address,
                  States* s, Pipeline* pipe) {
  const uint32_t num_blocks = (rows + kPipeRows - 1) / kPipeRows;
  for (SoftBlock& block : pipe->blocks) {
    block.num_rows = block.num_steps = 0;
    __builtin_memset(block.old, 0, sizeof block.old);
    __builtin_memset(block.now, 0, sizeof block.now);
  }
  uint32_t turn = 0;
  for (uint32_t t = 0; t < num_tiles; ++t) {
    const size_t half = size_t{kTile} * head_dim * 2;
    const std::byte* k = address(t);
    const std::byte* next = address(t + 1);
    TilePrefetch prefetch{next, next ? next + 2 * half : nullptr,
                          (16 + num_blocks - 1) / num_blocks};
    pipe->tiles[t % 2] = {k, k + half, nullptr, head_dim, {0, kTile}};
    for (uint32_t b = 0; b < num_blocks; ++b, turn ^= 1) {
      SoftBlock& block = pipe->blocks[turn];
      SoftBlock& before = pipe->blocks[turn ^ 1];
      const uint32_t r0 = rows * b / num_blocks;
      const uint32_t num = rows * (b + 1) / num_blocks - r0;
      kPipeFns<Dot>[num - 1](pipe->tiles[t % 2], pipe->q + r0, &prefetch, s->m + r0, &block,
                             &before);
      block.first_row = r0;
      block.tile = &pipe->tiles[t % 2];
      if (before.num_rows != 0) {
        sum_and_weigh<Dot>(before, s);
      }
    }
  }
  if (num_tiles != 0) {
    SoftBlock& last = pipe->blocks[turn ^ 1];
    alpha_step(&last);
    rest_of_soften<Dot>(&last, 0);
    sum_and_weigh<Dot>(last, s);
  }
}

}  // namespace
}  // namespace stet::kernels
