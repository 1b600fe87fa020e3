#include <cstring>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "src/executor/cpu/arena.h"
#include "stet/base/check.h"
#include "stet/executor/kv_memory.h"

namespace stet::executor {
namespace {

// PagedAttention (SOSP 2023): a block table per sequence over one pool.
class PagedKvMemory final : public KvMemory {
 public:
  PagedKvMemory(const PagedKvOptions& options, Arena arena)
      : options_(options), stride_(options.layout.block_bytes()), arena_(std::move(arena)) {
    if (options_.poison) {
      std::memset(arena_.data(), kPoisonByte, arena_.num_bytes());
    }
  }

  void create(SeqId seq, uint32_t max_blocks) override {
    const auto [it, created] = tables_.try_emplace(seq);
    STET_CHECK(created, "a sequence is created once");
    it->second.reserve(max_blocks);
  }

  void append(SeqId seq, std::span<const BlockId> slots) override {
    for (BlockId slot : slots) {
      if (options_.poison) {
        std::memset(address(slot), kPoisonByte, stride_);
      }
    }
    share(seq, slots);
  }

  void share(SeqId seq, std::span<const BlockId> slots) override {
    std::vector<uint32_t>& blocks = table(seq);
    STET_CHECK(blocks.size() + slots.size() <= blocks.capacity(), "no more blocks than max_blocks");
    for (BlockId slot : slots) {
      blocks.push_back(checked(slot));
    }
  }

  void privatise(SeqId seq, uint32_t index, BlockId new_slot) override {
    copy(BlockId{entry(seq, index)}, new_slot);
    entry(seq, index) = new_slot.v;
  }

  void replace(SeqId seq, uint32_t index, BlockId slot) override {
    entry(seq, index) = checked(slot);
  }

  void truncate(SeqId seq, uint32_t num_blocks) override {
    std::vector<uint32_t>& blocks = table(seq);
    STET_CHECK(num_blocks <= blocks.size(), "truncate keeps blocks that exist");
    blocks.resize(num_blocks);
  }

  // Entries stay, so that indices do not move; attention never visits them again.
  void drop_front(SeqId seq, uint32_t num_blocks) override {
    STET_CHECK(num_blocks <= table(seq).size(), "drop_front forgets blocks that exist");
  }

  void destroy(SeqId seq) override {
    STET_CHECK(tables_.erase(seq) == 1, "destroy of an unknown sequence");
  }

  void copy(BlockId from, BlockId to) override {
    STET_CHECK(checked(from) != checked(to), "a block is copied to another one");
    std::memcpy(address(to), address(from), stride_);
    ++copied_blocks_;
  }

  bool contains(SeqId seq) const override { return tables_.count(seq) != 0; }

  kernels::KvView view(SeqId seq) const override {
    const auto it = tables_.find(seq);
    STET_CHECK(it != tables_.end(), "view of an unknown sequence");
    return {.base = arena_.data(),
            .table = it->second.data(),
            .stride = stride_,
            .num_blocks = static_cast<uint32_t>(it->second.size()),
            .block_tokens = options_.layout.block_tokens};
  }

  std::span<std::byte> block(BlockId slot) override {
    checked(slot);
    return {address(slot), stride_};
  }

  KvMemoryStats stats() const override {
    KvMemoryStats stats;
    stats.pool_bytes = stride_ * options_.num_blocks;
    stats.num_sequences = static_cast<uint32_t>(tables_.size());
    for (const auto& [seq, blocks] : tables_) {
      stats.mapped_blocks += blocks.size();
    }
    stats.copied_blocks = copied_blocks_;
    return stats;
  }

 private:
  std::vector<uint32_t>& table(SeqId seq) {
    const auto it = tables_.find(seq);
    STET_CHECK(it != tables_.end(), "operation on an unknown sequence");
    return it->second;
  }
  uint32_t& entry(SeqId seq, uint32_t index) {
    std::vector<uint32_t>& blocks = table(seq);
    STET_CHECK(index < blocks.size(), "block index within the table");
    return blocks[index];
  }
  uint32_t checked(BlockId slot) const {
    STET_CHECK(slot.v < options_.num_blocks, "slot within the pool");
    return slot.v;
  }
  std::byte* address(BlockId slot) const { return arena_.data() + uint64_t{slot.v} * stride_; }

  const PagedKvOptions options_;
  const uint64_t stride_;
  Arena arena_;
  std::unordered_map<SeqId, std::vector<uint32_t>> tables_;
  uint64_t copied_blocks_ = 0;
};

}  // namespace

Result<std::unique_ptr<KvMemory>> open_paged_kv_memory(const PagedKvOptions& options) {
  STET_RETURN_IF_ERROR(check_kv_pool(options.layout, options.num_blocks));
  STET_ASSIGN_OR_RETURN(
      Arena arena, Arena::map(options.layout.block_bytes() * options.num_blocks, "the KV pool"));
  return std::unique_ptr<KvMemory>(std::make_unique<PagedKvMemory>(options, std::move(arena)));
}

}  // namespace stet::executor
