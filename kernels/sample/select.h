// Selection without a full sort: quickselect over (order, mass) pairs. Integers only, so every
// table shares it; the result does not depend on the pivots.
#pragma once

#include "kernels/numerics/bits.h"

namespace stet::kernels {

struct Candidate {
  uint64_t order;  // larger comes first: sortable logit bits, then the lower id
  uint64_t mass;
};

// C7 Order: logit descending, ties by lower id.
static inline uint64_t order_key(float logit, uint32_t id) {
  const uint32_t u = float_bits(logit + 0.0f);
  const uint32_t sortable = (u & 0x80000000u) ? ~u : u | 0x80000000u;
  return uint64_t{sortable} << 32 | (0xFFFFFFFFu - id);
}

static inline uint32_t id_of(uint64_t order) {
  return 0xFFFFFFFFu - static_cast<uint32_t>(order);
}

// Moves the pivot of [lo, hi) to its place, larger keys before it; returns that place.
static inline uint32_t partition(Candidate* c, uint32_t lo, uint32_t hi) {
  const uint32_t pick =
      lo + static_cast<uint32_t>((uint64_t{hi - lo} * ((hi * 2654435761u) ^ lo)) >> 32);
  const Candidate pivot = c[pick];
  c[pick] = c[hi - 1];
  uint32_t place = lo;
  for (uint32_t i = lo; i + 1 < hi; ++i) {
    const Candidate x = c[i];
    const bool before = x.order > pivot.order;
    c[i] = c[place];
    c[place] = x;
    place += before ? 1 : 0;
  }
  c[hi - 1] = c[place];
  c[place] = pivot;
  return place;
}

// The k largest keys come first (in any order); 1 <= k <= n.
static inline void select_top(Candidate* c, uint32_t n, uint32_t k) {
  uint32_t lo = 0;
  uint32_t hi = n;
  while (hi - lo > 1) {
    const uint32_t place = partition(c, lo, hi);
    if (place + 1 == k) {
      return;
    }
    if (place >= k) {
      hi = place;
    } else {
      lo = place + 1;
    }
    if (lo >= k) {
      return;
    }
  }
}

static inline uint64_t sum_mass(const Candidate* c, uint32_t begin, uint32_t end) {
  uint64_t sum = 0;
  for (uint32_t i = begin; i < end; ++i) {
    sum += c[i].mass;
  }
  return sum;
}

struct Prefix {
  uint32_t count;  // candidates [0, count) are the prefix, in any order
  uint64_t last;   // its smallest key
};

// Shortest prefix in descending key order whose mass is at least target; target <= the mass of all
// n, n >= 1.
static inline Prefix select_prefix(Candidate* c, uint32_t n, uint64_t target) {
  uint32_t lo = 0;
  uint32_t hi = n;
  uint64_t before = 0;  // mass of [0, lo)
  uint64_t last = 0;
  while (lo < hi) {
    const uint32_t place = partition(c, lo, hi);
    const uint64_t left = sum_mass(c, lo, place);
    last = c[place].order;
    if (place > lo && before + left >= target) {
      hi = place;
      continue;
    }
    if (before + left + c[place].mass >= target) {
      return {place + 1, last};
    }
    before += left + c[place].mass;
    lo = place + 1;
  }
  return {lo, last};
}

}  // namespace stet::kernels
