#include "src/kv/waiting_uses.h"

#include <cstring>
#include <string>

#include "stet/base/check.h"

namespace stet::kv {

uint64_t WaitingUses::key_of(const Sha256Digest& hash) {
  uint64_t key = 0;
  std::memcpy(&key, hash.data(), sizeof key);
  return key;
}

void WaitingUses::change(std::span<const Sha256Digest> chain, int32_t by) {
  for (const Sha256Digest& hash : chain) {
    const auto it = by_hash_.try_emplace(key_of(hash), 0).first;
    STET_CHECK(by > 0 || it->second > 0, "more sequences leave the queue than have entered it");
    it->second += static_cast<uint32_t>(by);
    const uint32_t count = it->second;
    if (count == 0) {
      by_hash_.erase(it);
    }
    const BlockId block = index_->find_unverified(hash);
    if (block != kNoBlock) {
      num_wanting_[block.v] = count;
      eviction_order_->set_wanted(block, count > 0);
    }
  }
}

void WaitingUses::on_published(BlockId block, const Sha256Digest& hash) {
  const auto it = by_hash_.find(key_of(hash));
  num_wanting_[block.v] = it == by_hash_.end() ? 0 : it->second;
  eviction_order_->set_wanted(block, num_wanting_[block.v] > 0);
}

Status WaitingUses::check_integrity(uint64_t num_blocks) const {
  uint64_t counted = 0;
  for (const auto& [key, count] : by_hash_) {
    counted += count;
  }
  if (counted != num_blocks) {
    return internal_error("the uses of waiting sequences are miscounted");
  }
  for (uint32_t i = 0; i < num_wanting_.size(); ++i) {
    if (index_->contains(BlockId{i}) &&
        eviction_order_->use(BlockId{i}).wanted != (num_wanting_[i] > 0)) {
      return internal_error("block " + std::to_string(i) + " does not know who wants it");
    }
  }
  return {};
}

void WaitingUses::begin(const UseOrder* order) {
  order_ = order;
  seq_ = SeqId{};
  at_ = kNoBlock;
  for (const BlockId block : visited_) {
    num_visits_[block.v] = 0;
  }
  visited_.clear();
}

// Ancestors of a published block are published.
BlockId WaitingUses::deepest_published(std::span<const Sha256Digest> chain) const {
  size_t low = 0, high = chain.size();
  while (low < high) {
    const size_t middle = (low + high + 1) / 2;
    if (index_->find_unverified(chain[middle - 1]) != kNoBlock) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low == 0 ? kNoBlock : index_->find_unverified(chain[low - 1]);
}

bool WaitingUses::visit(BlockId block) {
  uint32_t& visits = num_visits_[block.v];
  if (visits++ == 0) {
    visited_.push_back(block);
  }
  return visits == num_wanting_[block.v] && eviction_order_->contains(block);
}

}  // namespace stet::kv
