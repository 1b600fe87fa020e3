// KvCache: what is evicted, and what is pinned for how long.
#include <algorithm>
#include <functional>
#include <utility>

#include "src/kv/eviction_order.h"
#include "src/kv/kv_entry.h"
#include "src/kv/waiting_uses.h"
#include "stet/base/check.h"
#include "stet/kv/kv_cache.h"

namespace stet::kv {

// A parent has at least the references and the pins of its child, so a cached block has only cached
// ones below it: while any is cached, one is a leaf.
bool KvCache::evictable(BlockId block) const {
  return pool_.state(block) == BlockState::kCached && index_.num_children(block) == 0;
}

void KvCache::track(BlockId block) {
  const bool belongs = evictable(block);
  if (belongs == eviction_order_->contains(block)) {
    return;
  }
  if (belongs) {
    eviction_order_->insert(block);
  } else {
    eviction_order_->erase(block);
  }
}

void KvCache::hit(BlockId block, uint8_t priority_class) {
  pool_.add_ref(block);
  track(block);
  eviction_order_->on_hit(block, priority_class);
}

// Of blocks that waiting sequences will use, only the queue knows the order.
BlockId KvCache::first_to_evict() {
  while (eviction_order_->first() == kNoBlock && release_least_pin()) {
  }
  const BlockId first = eviction_order_->first();
  if (first == kNoBlock || use_order_ == nullptr || !eviction_order_->use(first).wanted) {
    return first;
  }
  if (!std::exchange(uses_evicted_, true)) {
    uses_->begin(use_order_);
  }
  const BlockId farthest =
      uses_->next([&](SeqId seq) { return std::span<const Sha256Digest>(entry(seq).chain); });
  return farthest != kNoBlock ? farthest : first;
}

void KvCache::evict_one() {
  const BlockId victim = first_to_evict();
  STET_CHECK(victim != kNoBlock, "commit counted the available blocks");
  const BlockId parent = index_.parent(victim);
  index_.erase(victim);  // checks that it is a leaf
  pool_.reclaim(victim);
  track(victim);
  if (parent != kNoBlock) {
    track(parent);
  }
}

void KvCache::set_recompute_cost(const RecomputeCost& cost) {
  eviction_order_->set_recompute_cost(cost);
}

// ---- pins

PinId KvCache::pin(SeqId seq, const PinTerms& terms) {
  const Entry& e = entry(seq);
  now_us_ = std::max(now_us_, terms.now_us);
  if (e.num_published == 0 || terms.until_us <= now_us_ || !(terms.value_us > 0.0)) {
    return {};
  }
  for (uint32_t i = 0; i < e.num_published; ++i) {
    pool_.add_pin(e.table[i]);
  }
  const PinId id{++last_pin_};
  pins_.emplace(id, Pin{e.table[e.num_published - 1], e.num_published, terms});
  pins_by_expiry_.emplace(terms.until_us, id);
  ++pin_totals_.placed;
  pin_totals_.blocks_placed += e.num_published;
  return id;
}

void KvCache::unpin(PinId pin) {
  const auto it = pins_.find(pin);
  if (it != pins_.end()) {
    drop_pin(it, &PinTotals::unpinned);
  }
}

// A block has one parent: from the deepest one that both hold on, they hold the same.
void KvCache::hand_over(PinId pin, SeqId follow_up) {
  const auto it = pins_.find(pin);
  if (it == pins_.end()) {
    return;
  }
  const std::vector<BlockId>& table = entry(follow_up).table;
  BlockId block = it->second.deepest;
  uint32_t num_taken_over = it->second.num_blocks;
  for (; num_taken_over > 0; --num_taken_over, block = index_.parent(block)) {
    if (num_taken_over <= table.size() && table[num_taken_over - 1] == block) {
      break;
    }
  }
  pin_totals_.blocks_taken_over += num_taken_over;
  drop_pin(it, &PinTotals::handed_over);
}

void KvCache::expire_pins(uint64_t now_us) {
  now_us_ = std::max(now_us_, now_us);
  while (!pins_by_expiry_.empty() && pins_by_expiry_.begin()->first <= now_us_) {
    drop_pin(pins_.find(pins_by_expiry_.begin()->second), &PinTotals::expired);
  }
}

uint64_t KvCache::next_pin_expiry_us() const {
  return pins_by_expiry_.empty() ? UINT64_MAX : pins_by_expiry_.begin()->first;
}

void KvCache::drop_pin(PinMap::iterator pin, uint64_t PinTotals::*why) {
  const bool expired = why == &PinTotals::expired;
  BlockId block = pin->second.deepest;
  for (uint32_t i = 0; i < pin->second.num_blocks; ++i, block = index_.parent(block)) {
    pool_.remove_pin(block);
    if (expired && pool_.state(block) == BlockState::kCached) {
      eviction_order_->on_pin_expired(block);
    }
    track(block);
  }
  pins_by_expiry_.erase({pin->second.terms.until_us, pin->first});
  pins_.erase(pin);
  ++(pin_totals_.*why);
  restart_eviction();  // there is more to choose from
}

double KvCache::remaining_value(const Pin& pin) const {
  const PinTerms& terms = pin.terms;
  const double left = static_cast<double>(terms.until_us - std::min(now_us_, terms.until_us)) /
                      static_cast<double>(terms.until_us - terms.now_us);
  return terms.value_us * left / pin.num_blocks;
}

// Those that hold back a block nobody uses. Below an unreferenced block none is referenced, so it
// is the deepest one that tells.
void KvCache::rank_pins() {
  ranked_pins_.clear();
  for (const auto& [id, pin] : pins_) {
    if (pool_.state(pin.deepest) == BlockState::kPinned) {
      ranked_pins_.emplace_back(remaining_value(pin), id);
    }
  }
  std::make_heap(ranked_pins_.begin(), ranked_pins_.end(), std::greater<>());
  pins_are_ranked_ = true;
}

bool KvCache::release_least_pin() {
  if (!pins_are_ranked_) {
    rank_pins();
  }
  if (ranked_pins_.empty()) {
    return false;
  }
  std::pop_heap(ranked_pins_.begin(), ranked_pins_.end(), std::greater<>());
  drop_pin(pins_.find(ranked_pins_.back().second), &PinTotals::released_for_memory);
  ranked_pins_.pop_back();
  return true;
}

}  // namespace stet::kv
