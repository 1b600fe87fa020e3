// Which blocks waiting sequences will use, and which of these is used last: what an LRU order lacks
// (BatchLLM, arXiv 2412.03594, loses 35.8 against 58.1 % of prompt tokens to it; kv.md sec. 5,
// `future`). Unwanted blocks are evicted first, least recently released ones before others; then
// the wanted block whose next use is farthest in the order of the queue, as Belady would.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "src/kv/eviction_order.h"
#include "stet/kv/prefix_index.h"
#include "stet/kv/use_order.h"

namespace stet::kv {

// Owned by the step thread.
class WaitingUses {
 public:
  WaitingUses(EvictionOrder* eviction_order, PrefixIndex* index, uint32_t num_blocks)
      : eviction_order_(eviction_order),
        index_(index),
        num_wanting_(num_blocks, 0),
        num_visits_(num_blocks, 0) {}

  // A sequence with this chain begins, or ceases, to wait. O(blocks).
  void add(std::span<const Sha256Digest> chain) { change(chain, +1); }
  void remove(std::span<const Sha256Digest> chain) { change(chain, -1); }
  void on_published(BlockId block, const Sha256Digest& hash);

  // Wanted blocks that may be evicted, farthest next use first, each a leaf once those before it
  // were evicted; kNoBlock when there are no more. Between two begins neither the queue nor the
  // index may change but by evicting what was returned. `chain_of` gives the chain of a waiting
  // sequence.
  void begin(const UseOrder* order);
  template <class ChainOf>
  BlockId next(ChainOf chain_of) {
    while (true) {
      while (at_ != kNoBlock) {
        const BlockId block = std::exchange(at_, index_->parent(at_));
        if (visit(block)) {
          return block;
        }
      }
      seq_ = seq_ == SeqId{} ? order_->last() : order_->before(seq_);
      if (seq_ == SeqId{}) {
        return kNoBlock;
      }
      at_ = deepest_published(chain_of(seq_));
    }
  }

  // `num_blocks`: of all chains that wait.
  Status check_integrity(uint64_t num_blocks) const;

 private:
  static uint64_t key_of(const Sha256Digest& hash);
  void change(std::span<const Sha256Digest> chain, int32_t by);
  BlockId deepest_published(std::span<const Sha256Digest> chain) const;
  bool visit(BlockId block);  // true: nobody nearer in the queue wants it, and it can be evicted

  EvictionOrder* const eviction_order_;
  PrefixIndex* const index_;
  std::unordered_map<uint64_t, uint32_t> by_hash_;  // waiting sequences per chain hash
  std::vector<uint32_t> num_wanting_;               // the same of published blocks

  const UseOrder* order_ = nullptr;
  SeqId seq_;
  BlockId at_ = kNoBlock;
  std::vector<uint32_t> num_visits_;  // since begin
  std::vector<BlockId> visited_;
};

}  // namespace stet::kv
