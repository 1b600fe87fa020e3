// What a sequence holds beyond its tokens: blocks are taken whole.
#pragma once

#include <cstdint>

#include "stet/sched/memory_estimator.h"

namespace stet::sched {

// At any step: ceil((n + t) / B) * B <= n + B - 1 + t.
inline uint64_t held_at_most(const SeqMemory& s, uint32_t block_tokens) {
  return uint64_t{s.num_known_tokens} + block_tokens - 1;
}

// Rounded up now, as published: right on average over the steps to come, when a sequence stands
// anywhere in its last block.
inline uint64_t held_on_average(const SeqMemory& s, uint32_t block_tokens) {
  return (uint64_t{s.num_known_tokens} + block_tokens - 1) / block_tokens * block_tokens;
}

}  // namespace stet::sched
