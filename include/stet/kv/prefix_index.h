// Which published block holds which tokens after which prefix (C8): a tree over hash chains, one
// node per block.
//   H_i = SHA-256(H_{i-1} || tokens of block i as u32 LE),  H_{-1} = the request's cache namespace.
// A lookup compares namespace, parent and tokens as well, so that not even a hash collision can
// serve a foreign prefix.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "stet/base/ids.h"
#include "stet/base/sha256.h"
#include "stet/base/status.h"
#include "stet/kv/block_pool.h"

namespace stet::kv {

using ChainHash = Sha256Digest (*)(const Sha256Digest& parent,
                                   std::span<const uint32_t> block_token_ids);
Sha256Digest sha256_chain(const Sha256Digest& parent, std::span<const uint32_t> block_token_ids);

// One block of a chain: what identifies it.
struct ChainBlock {
  BlockId parent = kNoBlock;            // published, or kNoBlock for the first block of a chain
  const Sha256Digest* root = nullptr;   // the namespace
  const Sha256Digest* hash = nullptr;   // H_i
  std::span<const uint32_t> token_ids;  // [block_tokens]
};

// Owned by the step thread.
class PrefixIndex {
 public:
  PrefixIndex(uint32_t num_blocks, uint32_t block_tokens);

  BlockId find(const ChainBlock& chain_block) const;  // kNoBlock on a miss
  // By hash alone: for hints, never to serve from.
  BlockId find_unverified(const Sha256Digest& hash) const;
  // False when the hash is taken by other content (a collision of the truncated hash): the block
  // stays unpublished.
  bool insert(BlockId block, const ChainBlock& chain_block);
  void erase(BlockId block);  // a leaf: an orphan could never be hit

  bool contains(BlockId block) const { return nodes_[block.v].present; }
  uint32_t num_children(BlockId block) const { return nodes_[block.v].num_children; }
  BlockId parent(BlockId block) const { return nodes_[block.v].parent; }
  // Differs whenever the block has left the index in between; ancestors of a present node are
  // present.
  uint32_t generation(BlockId block) const { return nodes_[block.v].generation; }
  uint64_t epoch() const { return epoch_; }  // counts insertions and removals
  uint32_t size() const { return static_cast<uint32_t>(by_hash_.size()); }
  Status check_integrity() const;

 private:
  struct Key {
    uint64_t lo = 0, hi = 0;  // the first 128 bits of the hash
    friend bool operator==(const Key&, const Key&) = default;
  };
  struct KeyHash {
    size_t operator()(const Key& key) const noexcept { return key.lo; }
  };
  struct Node {
    Key key;
    BlockId parent = kNoBlock;
    uint32_t num_children = 0;
    uint32_t generation = 0;
    bool present = false;
    Sha256Digest root{};
  };

  static Key key_of(const Sha256Digest& hash);
  bool same(BlockId block, const ChainBlock& chain_block) const;

  const uint32_t block_tokens_;
  std::vector<Node> nodes_;          // by block
  std::vector<uint32_t> token_ids_;  // [num_blocks][block_tokens]
  std::unordered_map<Key, BlockId, KeyHash> by_hash_;
  uint64_t epoch_ = 1;
};

}  // namespace stet::kv
