#include "src/kv/eviction_order.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "stet/base/check.h"

namespace stet::kv {
namespace {

// Ranks are computed anew when a cost has changed by more than a quarter.
bool about_equal(double a, double b) {
  return std::abs(a - b) <= 0.25 * std::min(a, b);
}

}  // namespace

EvictionOrder::EvictionOrder(Eviction eviction, uint32_t num_blocks, uint32_t block_tokens)
    : rule_(rule_of(eviction)), uses_(num_blocks), place_(num_blocks, kNowhere) {
  recompute_.block_tokens = block_tokens;
  heap_.reserve(num_blocks);
}

// ---- history

void EvictionOrder::count_use(BlockUse* use, uint8_t priority_class) {
  use->priority_class = std::max(use->priority_class, priority_class);
  use->pin_expired = false;
  if (rule_.counts_uses) {
    const double now = static_cast<double>(num_taken_) / static_cast<double>(uses_.size());
    const double larger = std::max(use->log2_uses, now);
    const double smaller = std::min(use->log2_uses, now);
    use->log2_uses = larger + std::log2(1.0 + std::exp2(smaller - larger));
  }
}

void EvictionOrder::on_published(BlockId block, uint32_t index, uint8_t priority_class) {
  BlockUse& use = uses_[block.v];
  use = {.log2_uses = -HUGE_VAL, .index = index, .chain_end = index + 1};
  count_use(&use, priority_class);
}

void EvictionOrder::on_hit(BlockId block, uint8_t priority_class) {
  count_use(&uses_[block.v], priority_class);
}

void EvictionOrder::on_released(BlockId block, uint32_t chain_end) {
  BlockUse& use = uses_[block.v];
  use.released = ++num_released_;
  use.chain_end = std::max(use.chain_end, chain_end);
}

void EvictionOrder::set_wanted(BlockId block, bool wanted) {
  BlockUse& use = uses_[block.v];
  if (use.wanted == wanted) {
    return;
  }
  const bool listed = contains(block);
  if (listed) {
    erase(block);
  }
  use.wanted = wanted;
  if (listed) {
    insert(block);
  }
}

void EvictionOrder::set_recompute_cost(const RecomputeCost& cost) {
  const RecomputeCost& old = recompute_.cost;
  if (about_equal(cost.token_us, old.token_us) && about_equal(cost.context_us, old.context_us) &&
      about_equal(cost.budget_us, old.budget_us)) {
    return;
  }
  recompute_.cost = cost;
  for (Leaf& l : heap_) {
    l = leaf_of(l.block);
  }
  for (uint32_t place = size() / 2; place > 0; --place) {
    sift_down(place - 1, Leaf(heap_[place - 1]));
  }
}

// ---- the order

EvictionOrder::Leaf EvictionOrder::leaf_of(BlockId block) const {
  const BlockUse& use = uses_[block.v];
  return {.rank = rule_.rank(use, recompute_), .released = use.released, .block = block};
}

void EvictionOrder::put(uint32_t place, const Leaf& leaf) {
  heap_[place] = leaf;
  place_[leaf.block.v] = place;
}

void EvictionOrder::sift_up(uint32_t place, const Leaf& leaf) {
  while (place > 0 && leaf.before(heap_[(place - 1) / 2])) {
    put(place, heap_[(place - 1) / 2]);
    place = (place - 1) / 2;
  }
  put(place, leaf);
}

void EvictionOrder::sift_down(uint32_t place, const Leaf& leaf) {
  while (2 * place + 1 < size()) {
    uint32_t child = 2 * place + 1;
    child += child + 1 < size() && heap_[child + 1].before(heap_[child]) ? 1 : 0;
    if (!heap_[child].before(leaf)) {
      break;
    }
    put(place, heap_[child]);
    place = child;
  }
  put(place, leaf);
}

void EvictionOrder::insert(BlockId block) {
  STET_CHECK(!contains(block), "a block stands in the eviction order once");
  heap_.emplace_back();
  sift_up(size() - 1, leaf_of(block));
}

void EvictionOrder::erase(BlockId block) {
  const uint32_t place = place_[block.v];
  STET_CHECK(place != kNowhere, "the block stands in the eviction order");
  place_[block.v] = kNowhere;
  const Leaf last = heap_.back();
  heap_.pop_back();
  if (place == size()) {
    return;
  }
  if (place > 0 && last.before(heap_[(place - 1) / 2])) {
    sift_up(place, last);
  } else {
    sift_down(place, last);
  }
}

Status EvictionOrder::check_integrity() const {
  for (uint32_t place = 0; place < size(); ++place) {
    const Leaf& l = heap_[place];
    const Leaf now = leaf_of(l.block);
    const bool right = place_[l.block.v] == place && l.rank == now.rank &&
                       l.released == now.released &&
                       (place == 0 || !l.before(heap_[(place - 1) / 2]));
    if (!right) {
      return internal_error("block " + std::to_string(l.block.v) +
                            " stands wrongly in the eviction order");
    }
  }
  const auto listed =
      std::count_if(place_.begin(), place_.end(), [](uint32_t place) { return place != kNowhere; });
  return static_cast<size_t>(listed) == heap_.size()
             ? Status()
             : internal_error("blocks are lost in the eviction order");
}

}  // namespace stet::kv
