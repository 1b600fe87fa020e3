// The slots of one KV group: how many hold and pin each of them, and which are free. It knows no
// tokens, no sequences and no order of eviction; KvCache does.
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
  kPinned,       // the same, but a follow-up is expected: evicted after all that is cached
  kQuarantined,  // no reference, but a step in flight may still read it
};

struct BlockCounts {
  uint32_t free = 0, priv = 0, shared = 0, cached = 0, pinned = 0, quarantined = 0;
  uint32_t used() const { return priv + shared + quarantined; }
  uint32_t available() const { return free + cached + pinned; }
  uint32_t total() const { return used() + available(); }
  friend bool operator==(const BlockCounts&, const BlockCounts&) = default;
};

// Owned by the step thread.
class BlockPool {
 public:
  explicit BlockPool(uint32_t num_blocks);

  // Takes a free block (private, one reference); nullopt when there is none. Evicting is the
  // caller's business.
  std::optional<BlockId> take_free();
  // One more holder. The block is referenced, cached, pinned, or quarantined and published.
  void add_ref(BlockId block);
  // One holder less. After the last one a published block is cached, or pinned, and any other goes
  // to the head of the free list - at once, or when step `fence` has completed (0 = no step in
  // flight).
  void release(BlockId block, uint64_t fence);
  void set_published(BlockId block);
  // Pins are counted apart from references; a published block may have many.
  void add_pin(BlockId block);
  void remove_pin(BlockId block);
  // Steps up to `step` have completed: quarantined blocks whose fence has passed become free,
  // cached or pinned, and are appended to `settled`.
  void fence_passed(uint64_t step, std::vector<BlockId>* settled);
  // The caller has removed the block from the prefix index: cached -> free.
  void reclaim(BlockId block);

  BlockState state(BlockId block) const { return blocks_[block.v].state; }
  uint32_t refs(BlockId block) const { return blocks_[block.v].refs; }
  bool published(BlockId block) const { return blocks_[block.v].published; }
  uint32_t pins(BlockId block) const { return blocks_[block.v].pins; }
  // An allocation may take it.
  bool available(BlockId block) const {
    const BlockState s = state(block);
    return s == BlockState::kFree || s == BlockState::kCached || s == BlockState::kPinned;
  }
  bool writable(BlockId block) const { return state(block) == BlockState::kPrivate; }
  const BlockCounts& counts() const { return counts_; }
  uint32_t num_blocks() const { return static_cast<uint32_t>(blocks_.size()); }
  uint32_t num_available() const { return counts_.available(); }

  // States, counts and free list agree. `refs_held` = references the caller knows of, per block.
  Status check_integrity(const std::vector<uint32_t>& refs_held) const;

 private:
  struct Block {
    uint32_t refs = 0, pins = 0;
    BlockState state = BlockState::kFree;
    bool published = false;
    uint64_t fence = 0;  // while quarantined
  };
  struct Quarantined {
    BlockId block;
    uint64_t fence;
  };

  static uint32_t& count_of(BlockCounts* counts, BlockState state);
  void set_state(BlockId block, BlockState state);
  void settle(BlockId block);  // an unreferenced block becomes cached, pinned or free
  Status check_lists(std::vector<uint8_t>* seen) const;

  std::vector<Block> blocks_;
  std::vector<BlockId> free_;  // a stack: partial blocks are reused first, cached prefixes last
  std::deque<Quarantined> quarantine_;  // fences ascend
  BlockCounts counts_;
};

}  // namespace stet::kv
