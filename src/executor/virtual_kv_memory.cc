#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "src/executor/kv_address_range.h"
#include "src/executor/kv_mapper.h"
#include "src/executor/kv_pool_file.h"
#include "stet/base/check.h"
#include "stet/executor/kv_memory.h"

namespace stet::executor {
namespace {

// vAttention (ASPLOS 2025): a kernel sees one strided tensor per sequence. The books are those of
// paged mode and always kept, so that a sequence can go back to them at any moment.
class VirtualKvMemory final : public KvMemory {
 public:
  VirtualKvMemory(const VirtualKvOptions& options, KvPoolFile pool, uint64_t stride)
      : options_(options),
        block_bytes_(options.layout.block_bytes()),
        range_blocks_(options.max_sequence_blocks != 0
                          ? std::min(options.max_sequence_blocks, options.num_blocks)
                          : options.num_blocks),
        pool_(std::move(pool)),
        mapper_(pool_.fd(), stride,
                {.maps = options.max_maps != 0 ? options.max_maps : read_max_map_count(),
                 .blocks = kMaxMappedPools * options.num_blocks},
                options.fail_map) {
    if (options_.poison) {
      std::memset(pool_.data(), kPoisonByte, stride * options_.num_blocks);
    }
  }

  void create(SeqId seq, uint32_t max_blocks) override {
    const auto [it, created] = sequences_.try_emplace(seq);
    STET_CHECK(created, "a sequence is created once");
    it->second.slots.reserve(max_blocks);
    it->second.read_only.reserve(max_blocks);
    // Its range is chosen when its first slots are known: the one that holds most of them already.
  }

  void append(SeqId seq, std::span<const BlockId> slots) override {
    for (const BlockId slot : slots) {
      checked(slot);
      if (options_.poison) {
        std::memset(address(slot), kPoisonByte, block_bytes_);
      }
    }
    add(sequence(seq), slots, true);
  }

  void share(SeqId seq, std::span<const BlockId> slots) override {
    add(sequence(seq), slots, false);
  }

  void privatise(SeqId seq, uint32_t index, BlockId new_slot) override {
    Sequence& s = sequence(seq);
    STET_CHECK(index < s.slots.size(), "block index within the table");
    copy(BlockId{s.slots[index]}, new_slot);
    put(s, index, new_slot, true);
  }

  void replace(SeqId seq, uint32_t index, BlockId slot) override {
    Sequence& s = sequence(seq);
    STET_CHECK(index < s.slots.size(), "block index within the table");
    put(s, index, checked(slot), false);
  }

  void truncate(SeqId seq, uint32_t num_blocks) override {
    Sequence& s = sequence(seq);
    STET_CHECK(num_blocks <= s.slots.size(), "truncate keeps blocks that exist");
    const auto dropped = static_cast<uint32_t>(s.slots.size()) - num_blocks;
    count_out(s, num_blocks);
    s.slots.resize(num_blocks);
    s.read_only.resize(num_blocks);
    if (options_.guard) {
      forget(s, num_blocks, dropped);
    }
  }

  // Entries stay, so that indices do not move; attention never visits them again.
  void drop_front(SeqId seq, uint32_t num_blocks) override {
    Sequence& s = sequence(seq);
    STET_CHECK(num_blocks <= s.slots.size(), "drop_front forgets blocks that exist");
    if (options_.guard) {
      forget(s, 0, num_blocks);
    }
  }

  void destroy(SeqId seq) override {
    Sequence& s = sequence(seq);
    count_out(s, 0);
    if (options_.guard) {
      forget(s, 0, static_cast<uint32_t>(s.slots.size()));
    }
    // Unmapping is left to the next sequence, which overwrites what differs (kv.md sec. 8.2).
    if (s.range != nullptr) {
      warm_.push_back(std::move(s.range));
    }
    sequences_.erase(seq);
  }

  void copy(BlockId from, BlockId to) override {
    STET_CHECK(checked(from) != checked(to), "a block is copied to another one");
    std::memcpy(address(to), address(from), block_bytes_);
    ++stats_.copied_blocks;
  }

  bool contains(SeqId seq) const override { return sequences_.count(seq) != 0; }

  kernels::KvView view(SeqId seq) const override {
    const auto it = sequences_.find(seq);
    STET_CHECK(it != sequences_.end(), "view of an unknown sequence");
    const Sequence& s = it->second;
    const bool strided = s.range != nullptr;
    return {.base = strided ? s.range->base() : pool_.data(),
            .table = strided ? nullptr : s.slots.data(),
            .stride = mapper_.stride(),
            .num_blocks = static_cast<uint32_t>(s.slots.size()),
            .block_tokens = options_.layout.block_tokens};
  }

  std::span<std::byte> block(BlockId slot) override {
    checked(slot);
    return {address(slot), block_bytes_};
  }

  KvMemoryStats stats() const override {
    KvMemoryStats stats = stats_;
    stats.pool_bytes = mapper_.stride() * options_.num_blocks;
    stats.num_sequences = static_cast<uint32_t>(sequences_.size());
    stats.reserved_bytes = mapper_.reserved_bytes();
    stats.num_warm_ranges = static_cast<uint32_t>(warm_.size());
    stats.num_maps = mapper_.num_maps();
    stats.map_calls = mapper_.num_calls();
    stats.map_us = mapper_.call_ns() / 1000;
    return stats;
  }

 private:
  struct Sequence {
    std::vector<uint32_t> slots;  // the table, should it become paged
    std::vector<bool> read_only;  // beside slots: shared or replaced
    std::unique_ptr<KvAddressRange> range;
    bool paged = false;  // had to do without a range; until its end
  };

  Sequence& sequence(SeqId seq) {
    const auto it = sequences_.find(seq);
    STET_CHECK(it != sequences_.end(), "operation on an unknown sequence");
    return it->second;
  }
  BlockId checked(BlockId slot) const {
    STET_CHECK(slot.v < options_.num_blocks, "slot within the pool");
    return slot;
  }
  std::byte* address(BlockId slot) const { return pool_.data() + slot.v * mapper_.stride(); }

  void add(Sequence& s, std::span<const BlockId> slots, bool writable) {
    const auto first = static_cast<uint32_t>(s.slots.size());
    STET_CHECK(first + slots.size() <= s.slots.capacity(), "no more blocks than max_blocks");
    for (const BlockId slot : slots) {
      s.slots.push_back(checked(slot).v);
      s.read_only.push_back(!writable);
    }
    stats_.mapped_blocks += slots.size();
    stats_.aliased_blocks += writable ? 0 : slots.size();
    place(s, first, slots, writable);
  }

  void put(Sequence& s, uint32_t index, BlockId slot, bool writable) {
    stats_.aliased_blocks += writable ? 0 : 1;
    stats_.aliased_blocks -= s.read_only[index] ? 1 : 0;
    s.slots[index] = slot.v;
    s.read_only[index] = !writable;
    place(s, index, {&slot, 1}, writable);
  }

  void count_out(const Sequence& s, uint32_t first) {
    stats_.mapped_blocks -= s.slots.size() - first;
    stats_.aliased_blocks -=
        static_cast<uint64_t>(std::count(s.read_only.begin() + first, s.read_only.end(), true));
  }

  void place(Sequence& s, uint32_t first, std::span<const BlockId> slots, bool writable) {
    if (s.paged || slots.empty()) {
      return;
    }
    if (s.range == nullptr) {
      s.range = take_range(slots);
    }
    if (s.range == nullptr || first + slots.size() > s.range->capacity() ||
        !s.range->place(first, slots, writable)) {
      fall_back(s);
    }
  }

  void forget(Sequence& s, uint32_t first, uint32_t num_blocks) {
    if (s.range != nullptr && !s.range->forget(first, num_blocks)) {
      fall_back(s);
    }
  }

  // The best fit: a warm range that holds most of these slots at these indices already, the latest
  // of equals. There are never more ranges than sequences lived at once.
  std::unique_ptr<KvAddressRange> take_range(std::span<const BlockId> slots) {
    if (mapper_.over_soft_limit()) {
      cool_warm_ranges();
      if (mapper_.over_soft_limit()) {
        return nullptr;
      }
    }
    if (warm_.empty()) {
      return KvAddressRange::reserve(&mapper_, range_blocks_);
    }
    size_t best = warm_.size() - 1;
    uint32_t best_equal = warm_[best]->num_equal(slots);
    for (size_t i = best; i-- > 0 && best_equal < slots.size();) {
      const uint32_t equal = warm_[i]->num_equal(slots);
      if (equal > best_equal) {
        best = i;
        best_equal = equal;
      }
    }
    std::unique_ptr<KvAddressRange> range = std::move(warm_[best]);
    warm_.erase(warm_.begin() + static_cast<ptrdiff_t>(best));
    return range;
  }

  // Gives maps back, oldest range first, until there is room.
  void cool_warm_ranges() {
    for (auto& range : warm_) {
      if (!mapper_.over_soft_limit()) {
        break;
      }
      if (!range->forget(0, range->capacity())) {
        range.reset();
      }
    }
    std::erase(warm_, nullptr);
  }

  // The same slots by their table. Whoever was refused a map gives its own back.
  void fall_back(Sequence& s) {
    s.paged = true;
    ++stats_.paged_fallbacks;
    std::unique_ptr<KvAddressRange> range = std::move(s.range);
    if (range != nullptr && range->intact() && range->forget(0, range->capacity())) {
      warm_.push_back(std::move(range));
    }
  }

  const VirtualKvOptions options_;
  const uint64_t block_bytes_;
  const uint32_t range_blocks_;
  KvPoolFile pool_;
  KvMapper mapper_;  // outlives the ranges
  std::unordered_map<SeqId, Sequence> sequences_;
  std::vector<std::unique_ptr<KvAddressRange>> warm_;  // latest last
  KvMemoryStats stats_;
};

}  // namespace

Result<std::unique_ptr<KvMemory>> open_virtual_kv_memory(const VirtualKvOptions& options) {
  STET_RETURN_IF_ERROR(check_kv_pool(options.layout, options.num_blocks));
  const uint64_t stride = kv_slot_stride(KvMode::kVirtual, options.layout.block_bytes());
  STET_ASSIGN_OR_RETURN(KvPoolFile pool, KvPoolFile::create(stride * options.num_blocks));
  if (options.prefault_threads != 0) {
    STET_RETURN_IF_ERROR(pool.prefault(options.prefault_threads));
  }
  return std::unique_ptr<KvMemory>(
      std::make_unique<VirtualKvMemory>(options, std::move(pool), stride));
}

}  // namespace stet::executor
