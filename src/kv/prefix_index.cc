#include "stet/kv/prefix_index.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>

#include "stet/base/check.h"

namespace stet::kv {

static_assert(std::endian::native == std::endian::little,
              "the chain hashes token ids as u32 little-endian");

Sha256Digest sha256_chain(const Sha256Digest& parent, std::span<const uint32_t> block_token_ids) {
  thread_local std::vector<std::byte> buffer;  // one hash call over one run of bytes
  buffer.resize(parent.size() + block_token_ids.size_bytes());
  std::memcpy(buffer.data(), parent.data(), parent.size());
  std::memcpy(buffer.data() + parent.size(), block_token_ids.data(), block_token_ids.size_bytes());
  return sha256(buffer);
}

PrefixIndex::PrefixIndex(uint32_t num_blocks, uint32_t block_tokens)
    : block_tokens_(block_tokens),
      nodes_(num_blocks),
      token_ids_(static_cast<size_t>(num_blocks) * block_tokens) {
  by_hash_.reserve(num_blocks);
}

PrefixIndex::Key PrefixIndex::key_of(const Sha256Digest& hash) {
  Key key;
  std::memcpy(&key.lo, hash.data(), sizeof(key.lo));
  std::memcpy(&key.hi, hash.data() + sizeof(key.lo), sizeof(key.hi));
  return key;
}

bool PrefixIndex::same(BlockId block, const ChainBlock& chain_block) const {
  const Node& node = nodes_[block.v];
  const uint32_t* stored = token_ids_.data() + static_cast<size_t>(block.v) * block_tokens_;
  return node.parent == chain_block.parent && node.root == *chain_block.root &&
         std::equal(chain_block.token_ids.begin(), chain_block.token_ids.end(), stored,
                    stored + block_tokens_);
}

BlockId PrefixIndex::find(const ChainBlock& chain_block) const {
  const auto it = by_hash_.find(key_of(*chain_block.hash));
  return it != by_hash_.end() && same(it->second, chain_block) ? it->second : kNoBlock;
}

BlockId PrefixIndex::find_unverified(const Sha256Digest& hash) const {
  const auto it = by_hash_.find(key_of(hash));
  return it != by_hash_.end() ? it->second : kNoBlock;
}

bool PrefixIndex::insert(BlockId block, const ChainBlock& chain_block) {
  STET_CHECK(chain_block.token_ids.size() == block_tokens_, "only full blocks are published");
  STET_CHECK(chain_block.parent == kNoBlock || contains(chain_block.parent),
             "a published block's parent is published");
  const Key key = key_of(*chain_block.hash);
  if (!by_hash_.try_emplace(key, block).second) {
    return false;
  }
  Node& node = nodes_[block.v];
  STET_CHECK(!node.present, "a block is published once");
  node.key = key;
  node.parent = chain_block.parent;
  node.root = *chain_block.root;
  node.num_children = 0;
  node.present = true;
  ++node.generation;
  std::copy(chain_block.token_ids.begin(), chain_block.token_ids.end(),
            token_ids_.begin() + static_cast<ptrdiff_t>(block.v) * block_tokens_);
  if (node.parent != kNoBlock) {
    ++nodes_[node.parent.v].num_children;
  }
  ++epoch_;
  return true;
}

void PrefixIndex::erase(BlockId block) {
  Node& node = nodes_[block.v];
  STET_CHECK(node.present && node.num_children == 0, "only a leaf leaves the index");
  by_hash_.erase(node.key);
  if (node.parent != kNoBlock) {
    --nodes_[node.parent.v].num_children;
  }
  node.present = false;
  node.parent = kNoBlock;
  ++node.generation;
  ++epoch_;
}

Status PrefixIndex::check_integrity() const {
  std::vector<uint32_t> children(nodes_.size(), 0);
  uint32_t present = 0;
  for (const Node& node : nodes_) {
    present += node.present ? 1 : 0;
    if (node.present && node.parent != kNoBlock) {
      if (!contains(node.parent) || nodes_[node.parent.v].root != node.root) {
        return internal_error(
            "a node of the prefix index has lost its parent or reaches two namespaces");
      }
      ++children[node.parent.v];
    }
  }
  for (uint32_t i = 0; i < nodes_.size(); ++i) {
    if (nodes_[i].present && nodes_[i].num_children != children[i]) {
      return internal_error("block " + std::to_string(i) +
                            " miscounts its children in the prefix index");
    }
  }
  return present == by_hash_.size() ? Status()
                                    : internal_error("the prefix index and its hash table differ");
}

}  // namespace stet::kv
