// The leaves of the prefix index that an allocation may evict, first to be evicted first: an
// indexed heap over the ranks of the rule in force, and the history of each block that the ranks
// look at. Only leaves stand in it: a parent joins when its last child is gone, so that no rule has
// to keep children before parents.
//
// Time, where a rule forgets, is turnovers of the pool: blocks taken / blocks of the pool. Uses
// decay by half per turnover; log2_uses is the sum referred to time 0, log2(sum of 2^t), which
// orders blocks as their decayed sums at any one moment would.
#pragma once

#include <cstdint>
#include <vector>

#include "src/kv/eviction_rules.h"
#include "stet/base/ids.h"
#include "stet/base/status.h"
#include "stet/kv/block_pool.h"

namespace stet::kv {

// O(log n) per change; allocates nothing after its construction. Owned by the step thread.
class EvictionOrder {
 public:
  EvictionOrder(Eviction eviction, uint32_t num_blocks, uint32_t block_tokens);

  // ---- history; a block whose rank this changes must not stand in the order, but for set_wanted
  void on_taken() { ++num_taken_; }
  void on_published(BlockId block, uint32_t index, uint8_t priority_class);
  void on_hit(BlockId block, uint8_t priority_class);
  void on_released(BlockId block, uint32_t chain_end);
  void on_pin_expired(BlockId block) { uses_[block.v].pin_expired = true; }
  void set_wanted(BlockId block, bool wanted);
  void set_recompute_cost(const RecomputeCost& cost);

  // ---- the order
  void insert(BlockId block);
  void erase(BlockId block);
  bool contains(BlockId block) const { return place_[block.v] != kNowhere; }
  BlockId first() const { return heap_.empty() ? kNoBlock : heap_.front().block; }
  uint32_t size() const { return static_cast<uint32_t>(heap_.size()); }

  const EvictionRule& rule() const { return rule_; }
  const BlockUse& use(BlockId block) const { return uses_[block.v]; }
  Status check_integrity() const;

 private:
  static constexpr uint32_t kNowhere = UINT32_MAX;
  struct Leaf {
    double rank;
    uint64_t released;
    BlockId block;
    bool before(const Leaf& other) const {
      return rank != other.rank ? rank < other.rank : released < other.released;
    }
  };

  Leaf leaf_of(BlockId block) const;
  void put(uint32_t place, const Leaf& leaf);
  void sift_up(uint32_t place, const Leaf& leaf);
  void sift_down(uint32_t place, const Leaf& leaf);
  void count_use(BlockUse* use, uint8_t priority_class);

  const EvictionRule& rule_;
  RecomputeModel recompute_;
  std::vector<BlockUse> uses_;  // by block
  std::vector<Leaf> heap_;
  std::vector<uint32_t> place_;  // by block: in heap_
  uint64_t num_released_ = 0, num_taken_ = 0;
};

}  // namespace stet::kv
