// Which cached block without a holder is given up first (kv.md sec. 5). Always a leaf of the prefix
// tree, and never a pinned block while another one is cached.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace stet::kv {

enum class Eviction : uint8_t {
  kLru,       // the least recently released
  kPriority,  // of the least urgent priority class, then lru
  kCost,      // the least expected time to compute it again: reuse rate x recompute time
  kTtl,       // one whose pin expired without a follow-up, then lru
  kTail,      // the end of a chain that can be computed again within the TTFT budget, then lru
  kFuture,  // one that nobody who waits will use, else the one used last in the order of the queue
};

std::span<const Eviction> all_evictions();
const char* eviction_name(Eviction eviction);  // "lru"
std::optional<Eviction> find_eviction(std::string_view name);

// What prefill costs, for kCost and kTail: of a position by itself, and of each position that it
// attends to (c and q of StepCoefficients).
struct RecomputeCost {
  double token_us = 0.0, context_us = 0.0;
  double budget_us = 0.0;  // for kTail: what may be computed again before a first token is late
  friend bool operator==(const RecomputeCost&, const RecomputeCost&) = default;
};

}  // namespace stet::kv
