// The slots of one KV group: who holds them, which are free, in what order unreferenced cached ones
// are given up. It knows no tokens and no sequences; KvCache does.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "stet/base/ids.h"
#include "stet/base/status.h"

namespace stet::kv {

inline constexpr BlockId kNoBlock{UINT32_MAX};

// Every block is in exactly one state; the counts sum to the pool (kv.md sec. 13, 1).
enum class BlockState : uint8_t {
  kFree,         // content means nothing
  kPrivate,      // one reference, unpublished: the only writable state
  kShared,       // referenced and published, or referenced more than once
  kCached,       // published, no reference: a later prompt may hit it, an allocation may evict it
  kQuarantined,  // no reference, but a step in flight may still read it
};

struct BlockCounts {
  uint32_t free = 0, priv = 0, shared = 0, cached = 0, quarantined = 0;
  uint32_t used() const { return priv + shared + quarantined; }
  uint32_t total() const { return free + priv + shared + cached + quarantined; }
  friend bool operator==(const BlockCounts&, const BlockCounts&) = default;
};

// Owned by the step thread.
class BlockPool {
 public:
  explicit BlockPool(uint32_t num_blocks);

  // Takes a free block (private, one reference); nullopt when there is none. Evicting is the
  // caller's business.
  std::optional<BlockId> take_free();
  // One more holder. The block is referenced, cached, or quarantined and published.
  void add_ref(BlockId block);
  // One holder less. The last one sends a published block to the tail of the eviction order and any
  // other to the head of the free list - at once, or when step `fence` has completed (0 = no step
  // in flight). Holders of a chain release its deepest block first, so that a child always stands
  // before its parent in the eviction order.
  void release(BlockId block, uint64_t fence);
  void set_published(BlockId block);
  // Steps up to `step` have completed: quarantined blocks whose fence has passed become free or
  // cached.
  void fence_passed(uint64_t step);
  // Whether a waiting sequence will use the block's content. Wanted blocks leave the eviction order
  // and join it again, at its tail, when nobody wants them any more.
  void set_wanted(BlockId block, bool wanted);
  // First of the eviction order, least recently released; kNoBlock when nothing unwanted is cached.
  BlockId oldest_cached() const { return cached_[0].head; }
  BlockId oldest_wanted() const { return cached_[1].head; }
  BlockId next_cached(BlockId block) const { return blocks_[block.v].next; }
  // The caller has removed the block from the prefix index: cached -> free.
  void reclaim(BlockId block);

  BlockState state(BlockId block) const { return blocks_[block.v].state; }
  uint32_t refs(BlockId block) const { return blocks_[block.v].refs; }
  bool published(BlockId block) const { return blocks_[block.v].published; }
  bool wanted(BlockId block) const { return blocks_[block.v].wanted; }
  bool writable(BlockId block) const { return state(block) == BlockState::kPrivate; }
  const BlockCounts& counts() const { return counts_; }
  uint32_t num_blocks() const { return static_cast<uint32_t>(blocks_.size()); }
  uint32_t num_available() const { return counts_.free + counts_.cached; }

  // States, counts, free list and eviction order agree. `refs_held` = references the caller knows
  // of, per block.
  Status check_integrity(const std::vector<uint32_t>& refs_held) const;

 private:
  struct Block {
    uint32_t refs = 0;
    BlockState state = BlockState::kFree;
    bool published = false;
    bool wanted = false;
    BlockId prev = kNoBlock, next = kNoBlock;  // in its list of cached_, while cached
    uint64_t fence = 0;                        // while quarantined
  };
  struct List {  // least recently released first
    BlockId head = kNoBlock, tail = kNoBlock;
  };
  struct Quarantined {
    BlockId block;
    uint64_t fence;
  };

  uint32_t& count_of(BlockState state);
  void set_state(BlockId block, BlockState state);
  void settle(BlockId block);  // an unreferenced block becomes cached or free
  void cached_push_back(BlockId block);
  void cached_remove(BlockId block);
  Status check_lists(std::vector<uint8_t>* seen) const;

  std::vector<Block> blocks_;
  std::vector<BlockId> free_;  // a stack: partial blocks are reused first, cached prefixes last
  std::deque<Quarantined> quarantine_;  // fences ascend
  List cached_[2];                      // unwanted, wanted
  BlockCounts counts_;
};

}  // namespace stet::kv
