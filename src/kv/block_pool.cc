#include "stet/kv/block_pool.h"

#include <string>

#include "stet/base/check.h"

namespace stet::kv {

BlockPool::BlockPool(uint32_t num_blocks) : blocks_(num_blocks) {
  STET_CHECK(num_blocks > 0 && num_blocks < UINT32_MAX, "a pool holds at least one block");
  free_.reserve(num_blocks);
  for (uint32_t i = num_blocks; i > 0; --i) {
    free_.push_back(BlockId{i - 1});  // block 0 is handed out first
  }
  counts_.free = num_blocks;
}

uint32_t& BlockPool::count_of(BlockCounts* counts, BlockState state) {
  switch (state) {
    case BlockState::kFree: return counts->free;
    case BlockState::kPrivate: return counts->priv;
    case BlockState::kShared: return counts->shared;
    case BlockState::kCached: return counts->cached;
    case BlockState::kPinned: return counts->pinned;
    case BlockState::kQuarantined: break;
  }
  return counts->quarantined;
}

void BlockPool::set_state(BlockId block, BlockState state) {
  Block& b = blocks_[block.v];
  --count_of(&counts_, b.state);
  ++count_of(&counts_, state);
  b.state = state;
}

std::optional<BlockId> BlockPool::take_free() {
  if (free_.empty()) {
    return std::nullopt;
  }
  const BlockId block = free_.back();
  free_.pop_back();
  STET_CHECK(state(block) == BlockState::kFree, "the free list holds a block in use");
  blocks_[block.v].refs = 1;
  set_state(block, BlockState::kPrivate);
  return block;
}

void BlockPool::add_ref(BlockId block) {
  Block& b = blocks_[block.v];
  STET_CHECK(b.refs > 0 || (b.published && b.state != BlockState::kFree),
             "a free block has no content to share");
  ++b.refs;
  set_state(block, BlockState::kShared);
}

void BlockPool::release(BlockId block, uint64_t fence) {
  Block& b = blocks_[block.v];
  STET_CHECK(b.refs > 0, "released more often than referenced");
  --b.refs;
  if (b.refs == 1 && !b.published) {
    set_state(block, BlockState::kPrivate);  // the last holder may write again
  }
  if (b.refs > 0) {
    return;
  }
  if (fence == 0) {
    settle(block);
    return;
  }
  STET_CHECK(quarantine_.empty() || quarantine_.back().fence <= fence, "fences ascend");
  set_state(block, BlockState::kQuarantined);
  b.fence = fence;
  quarantine_.push_back({block, fence});
}

void BlockPool::settle(BlockId block) {
  const Block& b = blocks_[block.v];
  if (b.published) {
    set_state(block, b.pins > 0 ? BlockState::kPinned : BlockState::kCached);
  } else {
    set_state(block, BlockState::kFree);
    free_.push_back(block);
  }
}

void BlockPool::set_published(BlockId block) {
  STET_CHECK(blocks_[block.v].refs > 0, "only a held block is published");
  blocks_[block.v].published = true;
  set_state(block, BlockState::kShared);
}

void BlockPool::add_pin(BlockId block) {
  Block& b = blocks_[block.v];
  STET_CHECK(b.published, "only a published block is pinned");
  ++b.pins;
  if (b.state == BlockState::kCached) {
    set_state(block, BlockState::kPinned);
  }
}

void BlockPool::remove_pin(BlockId block) {
  Block& b = blocks_[block.v];
  STET_CHECK(b.pins > 0, "unpinned more often than pinned");
  if (--b.pins == 0 && b.state == BlockState::kPinned) {
    set_state(block, BlockState::kCached);
  }
}

void BlockPool::fence_passed(uint64_t step, std::vector<BlockId>* settled) {
  while (!quarantine_.empty() && quarantine_.front().fence <= step) {
    const Quarantined entry = quarantine_.front();
    quarantine_.pop_front();
    const Block& b = blocks_[entry.block.v];
    // A hit may have taken the block out again, and its release may have put it back with a later
    // fence.
    if (b.state == BlockState::kQuarantined && b.fence == entry.fence) {
      settle(entry.block);
      settled->push_back(entry.block);
    }
  }
}

void BlockPool::reclaim(BlockId block) {
  STET_CHECK(state(block) == BlockState::kCached, "only a cached block is evicted");
  blocks_[block.v].published = false;
  set_state(block, BlockState::kFree);
  free_.push_back(block);
}

Status BlockPool::check_lists(std::vector<uint8_t>* seen) const {
  for (BlockId block : free_) {
    if (state(block) != BlockState::kFree || (*seen)[block.v]++ != 0) {
      return internal_error("block " + std::to_string(block.v) +
                            " stands wrongly on the free list");
    }
  }
  for (const Quarantined& q : quarantine_) {
    if (state(q.block) == BlockState::kQuarantined && blocks_[q.block.v].fence == q.fence) {
      (*seen)[q.block.v] = 1;
    }
  }
  return {};
}

Status BlockPool::check_integrity(const std::vector<uint32_t>& refs_held) const {
  std::vector<uint8_t> seen(blocks_.size(), 0);
  STET_RETURN_IF_ERROR(check_lists(&seen));
  BlockCounts counted;
  for (uint32_t i = 0; i < blocks_.size(); ++i) {
    const Block& b = blocks_[i];
    const std::string name = "block " + std::to_string(i);
    if (b.refs != refs_held[i]) {
      return internal_error(name + " has " + std::to_string(b.refs) + " references, tables hold " +
                            std::to_string(refs_held[i]));
    }
    BlockState expected = BlockState::kFree;
    if (b.refs > 0) {
      expected = b.refs > 1 || b.published ? BlockState::kShared : BlockState::kPrivate;
    } else if (b.state == BlockState::kQuarantined) {
      expected = BlockState::kQuarantined;
    } else if (b.published) {
      expected = b.pins > 0 ? BlockState::kPinned : BlockState::kCached;
    }
    const bool listed = b.state == BlockState::kFree || b.state == BlockState::kQuarantined;
    if (b.state != expected || listed != (seen[i] == 1) || (b.pins > 0 && !b.published)) {
      return internal_error(name + " is in state " + std::to_string(static_cast<int>(b.state)) +
                            ", not " + std::to_string(static_cast<int>(expected)) +
                            ", or lost to its list");
    }
    ++count_of(&counted, b.state);
  }
  if (!(counted == counts_) || counted.total() != num_blocks()) {
    return internal_error("block counts do not sum to the pool");
  }
  return {};
}

}  // namespace stet::kv
