#include "stet/executor/kv_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>

namespace stet::executor {
namespace {

constexpr SeqId kA{1}, kB{2};

std::unique_ptr<KvMemory> open(uint32_t num_blocks, bool poison = false) {
  auto kv = open_paged_kv_memory(
      {.layout = {.num_layers = 2, .num_kv_heads = 1, .head_dim = 16, .block_tokens = 64},
       .num_blocks = num_blocks,
       .poison = poison});
  EXPECT_TRUE(kv.ok());
  return std::move(kv).value();
}

std::vector<BlockId> slots(std::initializer_list<uint32_t> ids) {
  std::vector<BlockId> result;
  for (uint32_t id : ids) {
    result.push_back(BlockId{id});
  }
  return result;
}

std::byte first_byte(const KvMemory& kv, SeqId seq, uint32_t index) {
  return *kv.view(seq).block(index);
}

void fill(KvMemory& kv, uint32_t slot, uint8_t value) {
  std::span<std::byte> bytes = kv.block(BlockId{slot});
  std::fill(bytes.begin(), bytes.end(), std::byte{value});
}

TEST(PagedKvMemory, RefusesAPoolWithoutBlocksAndBlocksThatAreNoTiles) {
  PagedKvOptions options{
      .layout = {.num_layers = 1, .num_kv_heads = 1, .head_dim = 16, .block_tokens = 64}};
  EXPECT_EQ(open_paged_kv_memory(options).status().code(), StatusCode::kInvalidArgument);
  options.num_blocks = 1;
  options.layout.block_tokens = 96;
  EXPECT_EQ(open_paged_kv_memory(options).status().code(), StatusCode::kInvalidArgument);
  options.layout.block_tokens = 128;
  EXPECT_TRUE(open_paged_kv_memory(options).ok());
}

TEST(PagedKvMemory, TilesLieOnCacheLines) {
  auto kv = open(3);
  for (uint32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(kv->block(BlockId{i}).data()) % 64, 0u);
  }
}

TEST(PagedKvMemory, ASharedBlockIsOneUntilItIsPrivatised) {
  auto kv = open(4);
  kv->create(kA, 4);
  kv->create(kB, 4);
  kv->append(kA, slots({2, 0}));
  fill(*kv, 2, 7);
  fill(*kv, 0, 8);
  kv->share(kB, slots({2, 0}));
  EXPECT_EQ(kv->view(kB).block(1), kv->view(kA).block(1));
  kv->privatise(kB, 1, BlockId{3});
  EXPECT_NE(kv->view(kB).block(1), kv->view(kA).block(1));
  EXPECT_EQ(first_byte(*kv, kB, 1), std::byte{8});
  fill(*kv, 3, 9);
  EXPECT_EQ(first_byte(*kv, kA, 1), std::byte{8});
  EXPECT_EQ(kv->stats().copied_blocks, 1u);
  EXPECT_EQ(kv->stats().mapped_blocks, 4u);
  kv->replace(kB, 1, BlockId{0});
  EXPECT_EQ(kv->view(kB).block(1), kv->view(kA).block(1));
}

TEST(PagedKvMemory, TruncateAndDestroyForgetBlocks) {
  auto kv = open(4);
  kv->create(kA, 4);
  kv->append(kA, slots({0, 1, 2}));
  kv->truncate(kA, 1);
  EXPECT_EQ(kv->view(kA).num_blocks, 1u);
  kv->append(kA, slots({3}));
  EXPECT_EQ(kv->view(kA).block(1), kv->block(BlockId{3}).data());
  EXPECT_TRUE(kv->contains(kA));
  kv->destroy(kA);
  EXPECT_FALSE(kv->contains(kA));
  EXPECT_EQ(kv->stats().num_sequences, 0u);
}

TEST(PagedKvMemory, DropFrontKeepsTheIndicesOfTheRest) {
  auto kv = open(4);
  kv->create(kA, 4);
  kv->append(kA, slots({0, 1, 2}));
  std::byte* const last = kv->view(kA).block(2);
  kv->drop_front(kA, 2);
  EXPECT_EQ(kv->view(kA).block(2), last);
  EXPECT_EQ(kv->view(kA).num_blocks, 3u);
}

TEST(PagedKvMemory, PoisonFillsNewBlocksAndRecycledOnes) {
  auto kv = open(2, true);
  for (std::byte b : kv->block(BlockId{1})) {
    ASSERT_EQ(b, std::byte{0xFF});
  }
  fill(*kv, 0, 1);
  kv->create(kA, 2);
  kv->append(kA, slots({0}));
  EXPECT_EQ(first_byte(*kv, kA, 0), std::byte{0xFF});
  fill(*kv, 0, 1);
  kv->create(kB, 2);
  kv->share(kB, slots({0}));  // shared bytes are somebody's: they stay
  EXPECT_EQ(first_byte(*kv, kB, 0), std::byte{1});
}

// kv.md sec. 13.4: random operations against a naive model that knows the bytes of every position.
TEST(PagedKvMemory, RandomOperationsEqualANaiveModel) {
  constexpr uint32_t kSlots = 40;
  auto kv = open(kSlots);
  std::mt19937 random(17);
  std::map<SeqId, std::vector<uint32_t>> tables;  // slots
  std::vector<uint8_t> content(kSlots, 0);
  uint64_t next_seq = 1;
  auto any_slot = [&] { return BlockId{static_cast<uint32_t>(random() % kSlots)}; };
  for (int step = 0; step < 5000; ++step) {
    if (tables.empty() || random() % 20 == 0) {
      const SeqId seq{next_seq++};
      kv->create(seq, 12);
      tables[seq];
      continue;
    }
    auto it = std::next(tables.begin(), static_cast<ptrdiff_t>(random() % tables.size()));
    const SeqId seq = it->first;
    std::vector<uint32_t>& table = it->second;
    switch (random() % 8) {
      case 0:
      case 1:
        if (table.size() < 12) {
          const BlockId slot = any_slot();
          kv->append(seq, {{slot}});
          table.push_back(slot.v);
          content[slot.v] = static_cast<uint8_t>(random());
          fill(*kv, slot.v, content[slot.v]);
        }
        break;
      case 2:
        if (table.size() < 11) {
          const std::vector<BlockId> two = {any_slot(), any_slot()};
          kv->share(seq, two);
          table.push_back(two[0].v);
          table.push_back(two[1].v);
        }
        break;
      case 3:
        if (!table.empty()) {
          const auto index = static_cast<uint32_t>(random() % table.size());
          const BlockId slot = any_slot();
          if (slot.v != table[index]) {
            kv->privatise(seq, index, slot);
            content[slot.v] = content[table[index]];
            table[index] = slot.v;
          }
        }
        break;
      case 4:
        kv->truncate(seq, static_cast<uint32_t>(table.size() / 2));
        table.resize(table.size() / 2);
        break;
      case 5:
        if (!table.empty()) {
          const BlockId slot = any_slot();
          kv->replace(seq, 0, slot);
          table[0] = slot.v;
        }
        break;
      case 6: {
        const BlockId from = any_slot(), to = any_slot();
        if (from != to) {
          kv->copy(from, to);
          content[to.v] = content[from.v];
        }
        break;
      }
      case 7:
        if (random() % 8 == 0) {
          kv->destroy(seq);
          tables.erase(it);
        }
        break;
    }
    for (const auto& [id, blocks] : tables) {
      const kernels::KvView view = kv->view(id);
      ASSERT_EQ(view.num_blocks, blocks.size());
      for (uint32_t i = 0; i < blocks.size(); ++i) {
        ASSERT_EQ(view.block(i), kv->block(BlockId{blocks[i]}).data());
        ASSERT_EQ(view.block(i)[kv->block(BlockId{0}).size() - 1], std::byte{content[blocks[i]]});
      }
    }
  }
}

TEST(PagedKvMemoryDeathTest, BrokenOrderOfCallsIsABrokenInvariant) {
  auto kv = open(2);
  kv->create(kA, 1);
  EXPECT_DEATH(kv->create(kA, 1), "created once");
  EXPECT_DEATH(kv->append(kA, slots({2})), "within the pool");
  EXPECT_DEATH(kv->append(kA, slots({0, 1})), "max_blocks");
  EXPECT_DEATH((void)kv->view(kB), "unknown sequence");
}

}  // namespace
}  // namespace stet::executor
