#include "src/kv/eviction_rules.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "stet/base/check.h"

namespace stet::kv {
namespace {

double lru(const BlockUse&, const RecomputeModel&) {
  return 0.0;
}

double priority(const BlockUse& use, const RecomputeModel&) {
  return use.priority_class;
}

// All blocks have the same bytes, so what a byte saves is log2(reuse rate x recompute time). The
// rate is that of LRFU (Lee et al., IEEE Trans. Computers 2001): all blocks forget at one pace, so
// that a rank holds until the block is used again.
double cost(const BlockUse& use, const RecomputeModel& recompute) {
  const double us = recompute.us(use.index, use.index + 1);
  return use.log2_uses + (us > 0.0 ? std::log2(us) : 0.0);
}

double ttl(const BlockUse& use, const RecomputeModel&) {
  return use.pin_expired ? 0.0 : 1.0;
}

// Whoever continues the chain computes again what is gone of its end: free as long as that fits.
double tail(const BlockUse& use, const RecomputeModel& recompute) {
  return recompute.us(use.index, use.chain_end) <= recompute.cost.budget_us ? 0.0 : 1.0;
}

double future(const BlockUse& use, const RecomputeModel&) {
  return use.wanted ? 1.0 : 0.0;
}

// In the order of the enum.
constexpr EvictionRule kRules[] = {
    {Eviction::kLru, "lru", lru},
    {Eviction::kPriority, "priority", priority},
    {.eviction = Eviction::kCost, .name = "cost", .rank = cost, .counts_uses = true},
    {Eviction::kTtl, "ttl", ttl},
    {Eviction::kTail, "tail", tail},
    {.eviction = Eviction::kFuture, .name = "future", .rank = future, .sees_queue = true},
};

constexpr auto kAll = [] {
  std::array<Eviction, std::size(kRules)> all{};
  std::transform(std::begin(kRules), std::end(kRules), all.begin(),
                 [](const EvictionRule& rule) { return rule.eviction; });
  return all;
}();

}  // namespace

const EvictionRule& rule_of(Eviction eviction) {
  const EvictionRule& rule = kRules[static_cast<size_t>(eviction)];
  STET_CHECK(rule.eviction == eviction, "the table of eviction rules follows the enum");
  return rule;
}

std::span<const Eviction> all_evictions() {
  return kAll;
}

const char* eviction_name(Eviction eviction) {
  return rule_of(eviction).name;
}

std::optional<Eviction> find_eviction(std::string_view name) {
  for (const EvictionRule& rule : kRules) {
    if (rule.name == name) {
      return rule.eviction;
    }
  }
  return std::nullopt;
}

}  // namespace stet::kv
