// One sequence as the KV cache knows it.
#pragma once

#include <vector>

#include "stet/kv/kv_cache.h"

namespace stet::kv {

struct KvCache::Entry {
  SeqId seq;
  Sha256Digest root{};
  std::vector<BlockId> table;
  std::vector<Sha256Digest>
      chain;  // H_0, H_1 ... as far as anybody asked; known tokens only grow, so it stays valid
  uint32_t num_published = 0;  // leading blocks of the table that stand in the index
  uint32_t num_computed = 0;   // positions whose step has completed
  uint32_t num_scheduled =
      0;  // positions that will be computed once all steps in flight have completed
  uint32_t announced_begin = 0, announced_end = 0;  // blocks of the chain in computing_
  uint32_t incarnation = 0;                         // counts releases
  uint8_t priority_class = 0;
  bool live = false;             // the backend has a table for it
  bool waiting = false;          // counted in uses_
  bool destroy_pending = false;  // the operation waits for a batch
  bool collided =
      false;  // its chain met a truncated-hash collision: deeper blocks cannot be reached

  // The hit while it waits: a chain in the index, remembered by its deepest block.
  uint32_t hit_blocks = 0;
  BlockId hit_leaf = kNoBlock;
  uint32_t hit_generation = 0;
  uint64_t hit_epoch = 0;
  size_t hit_known_tokens = 0;

  // Within one commit.
  bool admitting = false;
  SeqId fork_source;
};

// Counts of a plan tried out on scratch: which blocks would be available if these references came
// and went.
class KvCache::Trial {
 public:
  explicit Trial(KvCache* kv) : kv_(kv), num_available_(kv->pool_.num_available()) {}
  ~Trial() {
    for (BlockId block : kv_->touched_) {
      kv_->ref_change_[block.v] = 0;
    }
    kv_->touched_.clear();
  }
  Trial(const Trial&) = delete;
  Trial& operator=(const Trial&) = delete;

  void release(BlockId block) {
    if (change(block, -1) == 0 && kv_->fence() == 0) {
      ++num_available_;
    }
  }
  void acquire(BlockId block) {
    const bool was_referenced = kv_->pool_.refs(block) > 0;
    if (change(block, +1) == 1) {
      const bool counted = was_referenced ? kv_->fence() == 0 : kv_->pool_.available(block);
      num_available_ -= counted ? 1 : 0;
    }
  }
  int64_t num_available() const { return num_available_; }

 private:
  int64_t change(BlockId block, int32_t by) {  // references after it
    int32_t& delta = kv_->ref_change_[block.v];
    if (delta == 0) {
      kv_->touched_.push_back(block);
    }
    delta += by;
    return static_cast<int64_t>(kv_->pool_.refs(block)) + delta;
  }
  KvCache* kv_;
  int64_t num_available_;
};

}  // namespace stet::kv
