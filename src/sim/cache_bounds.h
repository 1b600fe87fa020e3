// What a prefix cache could save on a trace, whatever serves it: bounds to hold the production
// cache against. Blocks of kPrefixBlockTokens, in the order of arrival, each block there from its
// request's arrival on (the rule of the public analyses of these traces).
#pragma once

#include <cstdint>

#include "src/sim/trace.h"

namespace stet::sim {

struct CacheBounds {
  uint64_t prompt_tokens = 0;
  uint64_t footprint_tokens = 0;  // distinct ones
  uint64_t infinite = 0;          // saved tokens with a cache that forgets nothing
  uint64_t belady = 0;            // with `pool_tokens` and the farthest next use given up first
  uint64_t lru = 0;               // with `pool_tokens` and the least recent use given up first
};
CacheBounds cache_bounds(const Trace& trace, uint64_t pool_tokens);

}  // namespace stet::sim
