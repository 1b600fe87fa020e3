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

TEST(BlockPool, APublishedBlockWaitsInTheOrderOfItsRelease) {
  BlockPool pool(3);
  const BlockId a = cached_block(&pool);
  const BlockId b = cached_block(&pool);
  EXPECT_EQ(pool.oldest_cached(), a);
  pool.add_ref(a);  // a hit takes it out of the order ...
  EXPECT_EQ(pool.oldest_cached(), b);
  pool.release(a, 0);  // ... and its release puts it at the end
  EXPECT_EQ(pool.oldest_cached(), b);
  EXPECT_EQ(pool.num_available(), 3u);
  pool.reclaim(b);
  EXPECT_EQ(pool.oldest_cached(), a);
  EXPECT_EQ(pool.state(b), BlockState::kFree);
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
  pool.fence_passed(7);
  EXPECT_EQ(pool.state(partial), BlockState::kFree);
  EXPECT_EQ(pool.state(full), BlockState::kQuarantined);
  pool.fence_passed(8);
  EXPECT_EQ(pool.state(full), BlockState::kCached);
  expect_sound(pool);
}

TEST(BlockPool, AQuarantinedBlockThatIsHitAgainOutlivesItsOldFence) {
  BlockPool pool(1);
  const BlockId block = *pool.take_free();
  pool.set_published(block);
  pool.release(block, 3);
  pool.add_ref(block);
  pool.fence_passed(3);
  EXPECT_EQ(pool.state(block), BlockState::kShared);
  pool.release(block, 5);
  pool.fence_passed(4);
  EXPECT_EQ(pool.state(block), BlockState::kQuarantined);
  pool.fence_passed(5);
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
TEST(BlockPoolDeath, ABlockCannotBeReleasedTwice) {
  BlockPool pool(1);
  const BlockId block = *pool.take_free();
  pool.release(block, 0);
  EXPECT_DEATH(pool.release(block, 0), "released more often than referenced");
}

}  // namespace
}  // namespace stet::kv
