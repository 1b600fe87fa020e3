#include "src/sim/cache_bounds.h"

#include <algorithm>
#include <limits>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

namespace stet::sim {
namespace {

constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();

// Saved tokens of one request whose first `hits` blocks are there.
uint64_t saved_tokens(const TraceRequest& request, size_t hits) {
  return std::min<uint64_t>(hits * kPrefixBlockTokens, request.prompt_tokens);
}

// next[i][k]: the request after i that uses block k of request i.
std::vector<std::vector<uint64_t>> next_uses(const Trace& trace) {
  std::vector<std::vector<uint64_t>> next(trace.requests.size());
  std::unordered_map<uint64_t, uint64_t> later;
  for (size_t i = trace.requests.size(); i-- > 0;) {
    for (const uint64_t id : trace.requests[i].prefix_ids) {
      const auto [it, first] = later.try_emplace(id, kNever);
      next[i].push_back(it->second);
      it->second = i;
    }
  }
  return next;
}

// A cache that keeps the blocks with the largest value; of equal ones the shallower.
class ValuedCache {
 public:
  explicit ValuedCache(uint64_t num_blocks) : num_blocks_(num_blocks) {}

  bool contains(uint64_t id) const { return values_.count(id) != 0; }
  size_t size() const { return values_.size(); }
  void put(uint64_t id, std::pair<uint64_t, uint64_t> value) {
    if (const auto it = values_.find(id); it != values_.end()) {
      order_.erase({it->second, id});
    }
    values_[id] = value;
    order_.insert({value, id});
    if (values_.size() > num_blocks_) {
      values_.erase(order_.begin()->second);
      order_.erase(order_.begin());
    }
  }

 private:
  const uint64_t num_blocks_;
  std::unordered_map<uint64_t, std::pair<uint64_t, uint64_t>> values_;
  std::set<std::pair<std::pair<uint64_t, uint64_t>, uint64_t>> order_;
};

template <class Value>
uint64_t replay_cache(const Trace& trace, uint64_t num_blocks, Value value_of) {
  ValuedCache cache(num_blocks);
  uint64_t saved = 0;
  for (size_t i = 0; i < trace.requests.size(); ++i) {
    const std::vector<uint64_t>& ids = trace.requests[i].prefix_ids;
    size_t hits = 0;
    while (hits < ids.size() && cache.contains(ids[hits])) {
      ++hits;
    }
    saved += saved_tokens(trace.requests[i], hits);
    for (size_t k = 0; k < ids.size(); ++k) {
      cache.put(ids[k], {value_of(i, k), kNever - k});
    }
  }
  return saved;
}

}  // namespace

CacheBounds cache_bounds(const Trace& trace, uint64_t pool_tokens) {
  CacheBounds bounds;
  std::unordered_map<uint64_t, uint64_t> tokens_of;  // the last block of a prompt may be short
  for (const TraceRequest& request : trace.requests) {
    bounds.prompt_tokens += request.prompt_tokens;
    for (size_t k = 0; k < request.prefix_ids.size(); ++k) {
      const uint64_t tokens = std::min<uint64_t>(
          kPrefixBlockTokens, request.prompt_tokens - k * uint64_t{kPrefixBlockTokens});
      uint64_t& most = tokens_of[request.prefix_ids[k]];
      most = std::max(most, tokens);
    }
  }
  for (const auto& [id, tokens] : tokens_of) {
    bounds.footprint_tokens += tokens;
  }
  const uint64_t num_blocks = std::max<uint64_t>(1, pool_tokens / kPrefixBlockTokens);
  const auto next = next_uses(trace);
  const auto recency = [](size_t i, size_t) { return uint64_t{i}; };
  bounds.infinite = replay_cache(trace, kNever, recency);
  bounds.lru = replay_cache(trace, num_blocks, recency);
  bounds.belady =
      replay_cache(trace, num_blocks, [&](size_t i, size_t k) { return kNever - next[i][k]; });
  return bounds;
}

}  // namespace stet::sim
