// One draw (C7): temperature, top_k, top_p, min_p, Philox. Passes over the vocabulary are the
// instruction set's (P); what is left after them are a few hundred candidates.
//
// Candidates are an up-set of Order, { x >= floor }: floor is lowered until it holds k ids or the
// mass of top_p, so no choice of floors can show. Sums are integers, hence exact in any order.
#pragma once

#include "kernels/numerics/philox.h"
#include "kernels/numerics/wide.h"
#include "kernels/sample/reference.h"
#include "kernels/sample/select.h"

namespace stet::kernels {

static inline constexpr float kGreedyBelow = 0x1p-100f;
// Depths of the candidate floor below the maximum, in octaves of probability, tried in turn. The
// nucleus of most language-model rows lies within the first two; the last holds everything.
static inline constexpr float kFloorOctaves[] = {3.0f,  5.0f,  7.0f,  9.0f,
                                                 12.0f, 16.0f, 24.0f, __builtin_inff()};

struct SampleScratch {
  Candidate* candidates;  // [vocab]
  uint64_t* tile_mass;    // [vocab / 4096 + 1]
  float* e;               // [round_up(vocab, 64)]
  uint32_t* ids;          // [vocab + 64]
};

static inline size_t scratch_layout(uint32_t vocab, std::byte* base, SampleScratch* scratch) {
  const size_t padded = (size_t{vocab} + 127) / 64 * 64;
  const size_t candidates = 0;
  const size_t tile_mass = candidates + padded * sizeof(Candidate);
  const size_t e = tile_mass + (size_t{vocab} / kLogitTile + 8) / 8 * 64;
  const size_t ids = e + padded * sizeof(float);
  if (scratch) {
    scratch->candidates = reinterpret_cast<Candidate*>(base + candidates);
    scratch->tile_mass = reinterpret_cast<uint64_t*>(base + tile_mass);
    scratch->e = reinterpret_cast<float*>(base + e);
    scratch->ids = reinterpret_cast<uint32_t*>(base + ids);
  }
  return ids + padded * sizeof(uint32_t);
}

static inline uint64_t draw_threshold(const SampleArgs& args, uint64_t kept_mass) {
  return mul_shift(draw_bits(args.seed, args.output_pos, args.choice), kept_mass, 64);
}

// No top_k, no top_p: the first id whose cumulative mass exceeds the threshold, by tiles.
static inline uint32_t draw_from_all(const SampleArgs& args, const SampleScratch& s,
                                     uint64_t total) {
  uint64_t left = draw_threshold(args, total);
  uint32_t first = 0;
  while (first + kLogitTile < args.vocab && s.tile_mass[first / kLogitTile] <= left) {
    left -= s.tile_mass[first / kLogitTile];
    first += kLogitTile;
  }
  uint32_t last_kept = first;
  for (uint32_t i = first; i < args.vocab; ++i) {
    const uint64_t mass = reference::Passes::mass(s.e + i, 1, args.min_p);
    if (mass > left) {
      return i;
    }
    left -= mass;
    last_kept = mass != 0 ? i : last_kept;
  }
  return last_kept;
}

static inline uint32_t load_candidates(const SampleArgs& args, const SampleScratch& s,
                                       uint32_t count) {
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t id = s.ids[i];
    s.candidates[i] = {order_key(args.logits[id], id), reference::Passes::mass(s.e + id, 1, 0.0f)};
  }
  return count;
}

// The kept set after top_k and top_p: candidates [0, result).
template <class P>
static inline uint32_t keep_top(const SampleArgs& args, const SampleScratch& s, uint64_t total,
                                float xmax, float c) {
  const bool by_count = args.top_k != 0 && args.top_k < args.vocab;
  const uint64_t nucleus =
      args.top_p < 1.0f ? static_cast<uint64_t>(double{args.top_p} * 0x1p32) : uint64_t{1} << 32;
  uint64_t target = mul_shift(nucleus, total, 32);  // of all ids; of the top k it is set below
  float floor = xmax;
  for (const float octaves : kFloorOctaves) {
    floor = xmax - octaves / c;
    const Share share = P::above(args.logits, s.e, args.vocab, floor);
    if (by_count ? share.count >= args.top_k : share.mass >= target) {
      break;
    }
  }
  uint32_t count = load_candidates(args, s, P::collect(args.logits, args.vocab, floor, s.ids));
  if (by_count) {
    const uint32_t held = count;
    count = args.top_k < count ? args.top_k : count;
    select_top(s.candidates, held, count);
    target = mul_shift(nucleus, sum_mass(s.candidates, 0, count), 32);
  }
  if (args.top_p >= 1.0f) {
    return count;
  }
  return select_prefix(s.candidates, count, target != 0 ? target : 1).count;
}

// Kept candidates that min_p admits, keyed by id, ascending ids first.
static inline uint32_t keep_min_p(const SampleArgs& args, const SampleScratch& s, uint32_t count) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t id = id_of(s.candidates[i].order);
    s.candidates[kept] = {0xFFFFFFFFu - id, s.candidates[i].mass};
    kept += s.e[id] >= args.min_p ? 1 : 0;
  }
  return kept;
}

template <class P>
static inline uint32_t sample_with(const SampleArgs& args) {
  const float xmax = P::max(args.logits, args.vocab);
  if (!(args.temperature >= kGreedyBelow) || !(xmax > -__builtin_inff())) {
    const uint32_t id = P::find(args.logits, args.vocab, xmax);
    return id < args.vocab ? id : 0;
  }
  SampleScratch s;
  scratch_layout(args.vocab, static_cast<std::byte*>(args.scratch), &s);
  const float c = kLog2E / args.temperature;
  const bool filtered = (args.top_k != 0 && args.top_k < args.vocab) || args.top_p < 1.0f;
  uint64_t total = 0;
  for (uint32_t first = 0; first < args.vocab; first += kLogitTile) {
    const uint32_t count = args.vocab - first < kLogitTile ? args.vocab - first : kLogitTile;
    P::exponentials(args.logits + first, count, xmax, c, s.e + first);
    const uint64_t mass = P::mass(s.e + first, count, filtered ? 0.0f : args.min_p);
    s.tile_mass[first / kLogitTile] = mass;
    total += mass;
  }
  if (!filtered) {
    return draw_from_all(args, s, total);
  }
  const uint32_t kept = keep_min_p(args, s, keep_top<P>(args, s, total, xmax, c));
  if (kept == 0) {
    return P::find(args.logits, args.vocab, xmax);  // only with a min_p above 1
  }
  const uint64_t threshold = draw_threshold(args, sum_mass(s.candidates, 0, kept));
  return id_of(select_prefix(s.candidates, kept, threshold + 1).last);
}

}  // namespace stet::kernels
