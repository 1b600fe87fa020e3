#include "stet/kv/block_pool.h"

#include <gtest/gtest.h>

namespace stet::kv {
namespace {

std::vector<uint32_t> refs_of(const BlockPool& pool) {
  std::vector<uint32_t> refs(pool.num_blocks());
  for (uint32_t i = 0; i < pool.num_blocks(); ++i) {
    refs[i] = pool.refs(BlockId{i});
  }
  return refs;
}
void expect_sound(const BlockPool& pool) {
  const Status status = pool.check_integrity(refs_of(pool));
  EXPECT_TRUE(status.ok()) << status.to_string();
}
// A block that was published and given up.
BlockId cached_block(BlockPool* pool) {
  const BlockId block = *pool->take_free();
  pool->set_published(block);
  pool->release(block, 0);
  return block;
}

TEST(BlockPool, StartsFreeAndEndsWithNullopt) {
  BlockPool pool(3);
  for (uint32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(pool.take_free(), BlockId{i});
    expect_sound(pool);
  }
  EXPECT_EQ(pool.take_free(), std::nullopt);
  EXPECT_EQ(pool.counts(), (BlockCounts{.priv = 3}));
}

TEST(BlockPool, APartialBlockGoesToTheHeadOfTheFreeList) {
  BlockPool pool(4);
  const BlockId first = *pool.take_free();
  const BlockId second = *pool.take_free();
  pool.release(first, 0);
  EXPECT_EQ(pool.state(first), BlockState::kFree);
  EXPECT_EQ(pool.take_free(), first);
  EXPECT_NE(first, second);
  expect_sound(pool);
}

TEST(BlockPool, APublishedBlockIsCachedUntilItIsHitOrReclaimed) {
  BlockPool pool(3);
  const BlockId a = cached_block(&pool);
  const BlockId b = cached_block(&pool);
  EXPECT_EQ(pool.counts(), (BlockCounts{.free = 1, .cached = 2}));
  pool.add_ref(a);
  EXPECT_EQ(pool.state(a), BlockState::kShared);
  pool.release(a, 0);
  EXPECT_EQ(pool.num_available(), 3u);
  pool.reclaim(b);
  EXPECT_EQ(pool.state(b), BlockState::kFree);
  expect_sound(pool);
}

TEST(BlockPool, APinnedBlockIsAvailableAndPinnedAgainAfterEachUse) {
  BlockPool pool(2);
  const BlockId block = cached_block(&pool);
  pool.add_pin(block);
  pool.add_pin(block);
  EXPECT_EQ(pool.counts(), (BlockCounts{.free = 1, .pinned = 1}));
  EXPECT_EQ(pool.num_available(), 2u);
  pool.add_ref(block);
  EXPECT_EQ(pool.state(block), BlockState::kShared);
  pool.remove_pin(block);
  pool.release(block, 4);
  EXPECT_EQ(pool.state(block), BlockState::kQuarantined);
  expect_sound(pool);
  std::vector<BlockId> settled;
  pool.fence_passed(4, &settled);
  EXPECT_EQ(settled, std::vector{block});
  EXPECT_EQ(pool.state(block), BlockState::kPinned);
  pool.remove_pin(block);
  EXPECT_EQ(pool.state(block), BlockState::kCached);
  expect_sound(pool);
}

TEST(BlockPool, OnlyAnUnpublishedBlockWithOneHolderIsWritable) {
  BlockPool pool(1);
  const BlockId block = *pool.take_free();
  EXPECT_TRUE(pool.writable(block));
  pool.add_ref(block);
  EXPECT_FALSE(pool.writable(block));
  pool.release(block, 0);
  EXPECT_TRUE(pool.writable(block));
  pool.set_published(block);
  EXPECT_FALSE(pool.writable(block));
  expect_sound(pool);
}

TEST(BlockPool, AReleasedBlockReturnsOnlyAfterItsFence) {
  BlockPool pool(2);
  const BlockId partial = *pool.take_free();
  const BlockId full = *pool.take_free();
  pool.set_published(full);
  pool.release(partial, 7);
  pool.release(full, 8);
  EXPECT_EQ(pool.num_available(), 0u);
  EXPECT_EQ(pool.counts().quarantined, 2u);
  std::vector<BlockId> settled;
  pool.fence_passed(7, &settled);
  EXPECT_EQ(pool.state(partial), BlockState::kFree);
  EXPECT_EQ(pool.state(full), BlockState::kQuarantined);
  pool.fence_passed(8, &settled);
  EXPECT_EQ(settled, (std::vector{partial, full}));
  EXPECT_EQ(pool.state(full), BlockState::kCached);
  expect_sound(pool);
}

TEST(BlockPool, AQuarantinedBlockThatIsHitAgainOutlivesItsOldFence) {
  BlockPool pool(1);
  const BlockId block = *pool.take_free();
  pool.set_published(block);
  pool.release(block, 3);
  pool.add_ref(block);
  std::vector<BlockId> settled;
  pool.fence_passed(3, &settled);
  EXPECT_EQ(pool.state(block), BlockState::kShared);
  pool.release(block, 5);
  pool.fence_passed(4, &settled);
  EXPECT_EQ(pool.state(block), BlockState::kQuarantined);
  pool.fence_passed(5, &settled);
  EXPECT_EQ(pool.state(block), BlockState::kCached);
  expect_sound(pool);
}

TEST(BlockPool, IntegrityNamesAReferenceThatNobodyHolds) {
  BlockPool pool(2);
  const BlockId block = *pool.take_free();
  std::vector<uint32_t> refs = refs_of(pool);
  refs[block.v] = 0;
  const Status status = pool.check_integrity(refs);
  EXPECT_EQ(status.message(), "block 0 has 1 references, tables hold 0");
}

TEST(BlockPoolDeath, AFreeBlockCannotBeShared) {
  BlockPool pool(1);
  EXPECT_DEATH(pool.add_ref(BlockId{0}), "a free block has no content to share");
}
TEST(BlockPoolDeath, AnUnpublishedBlockCannotBePinned) {
  BlockPool pool(1);
  const BlockId block = *pool.take_free();
  EXPECT_DEATH(pool.add_pin(block), "only a published block is pinned");
}
TEST(BlockPoolDeath, APinnedBlockIsNotEvicted) {
  BlockPool pool(1);
  const BlockId block = cached_block(&pool);
  pool.add_pin(block);
  EXPECT_DEATH(pool.reclaim(block), "only a cached block is evicted");
}
TEST(BlockPoolDeath, ABlockCannotBeReleasedTwice) {
  BlockPool pool(1);
  const BlockId block = *pool.take_free();
  pool.release(block, 0);
  EXPECT_DEATH(pool.release(block, 0), "released more often than referenced");
}

}  // namespace
}  // namespace stet::kv
