#include "stet/kv/kv_cache.h"

#include <gtest/gtest.h>

#include "tests/kv/prompts.h"

namespace stet::kv {
namespace {

std::vector<KvOpKind> kinds(const StepBatch& batch) {
  std::vector<KvOpKind> list;
  for (const KvOp& op : batch.kv_ops) {
    list.push_back(op.kind);
  }
  return list;
}
using testing::Test;
using K = KvOpKind;

class KvCacheTest : public Test {
 protected:
  void make(uint32_t num_blocks, bool prefix_cache = true, Eviction eviction = Eviction::kLru) {
    kv_ = std::make_unique<KvCache>(KvOptions{.num_blocks = num_blocks,
                                              .block_tokens = kBlockTokens,
                                              .prefix_cache = prefix_cache,
                                              .eviction = eviction});
  }
  ScheduledSeq row(SeqId seq, uint32_t first_pos, uint32_t n, uint32_t new_blocks) {
    return {.seq = seq,
            .first_pos = first_pos,
            .num_scheduled_tokens = n,
            .num_new_blocks = new_blocks};
  }
  // Runs a prompt to its end; its full blocks stay, for so long and for so much.
  PinId end_pinned(SeqId seq, const Tokens& ids, uint64_t ttl_us, double value_us) {
    prefill(seq, ids);
    const PinId pin =
        kv_->pin(seq, {.now_us = now_us_, .until_us = now_us_ + ttl_us, .value_us = value_us});
    kv_->remove_sequence(seq);
    sound();
    return pin;
  }
  void set_now(uint64_t now_us) {
    now_us_ = now_us;
    kv_->expire_pins(now_us);
    sound();
  }
  uint32_t cached_tokens(const Tokens& ids) {
    kv_->add_sequence(SeqId{999}, {});
    const uint32_t hit = kv_->match(SeqId{999}, ids).num_tokens;
    kv_->remove_sequence(SeqId{999});
    return hit;
  }
  bool commit(std::vector<ScheduledSeq> rows, std::vector<SeqId> admitted = {},
              std::vector<ForkedSeq> forks = {}, std::vector<SeqId> preempted = {}) {
    StepPlan plan;
    plan.step = ++step_;
    plan.scheduled = std::move(rows);
    plan.admitted = std::move(admitted);
    plan.forks = std::move(forks);
    plan.preempted = std::move(preempted);
    batch_.clear();
    return kv_->commit(plan, &batch_);
  }
  // Admits a sequence, computes all its tokens in one step and publishes.
  void prefill(SeqId seq, const Tokens& ids, uint8_t space = 0) {
    Sha256Digest root{};
    root[0] = space;
    kv_->add_sequence(seq, root);
    const uint32_t hit = kv_->match(seq, ids).num_tokens;
    const auto n = static_cast<uint32_t>(ids.size());
    ASSERT_TRUE(
        commit({row(seq, hit, n - hit, (n + kBlockTokens - 1) / kBlockTokens - hit / kBlockTokens)},
               {seq}));
    kv_->complete_step(step_);
    kv_->publish(seq, ids);
    sound();
  }
  void sound() {
    const Status status = kv_->check_integrity();
    EXPECT_TRUE(status.ok()) << status.to_string();
  }

  std::unique_ptr<KvCache> kv_;
  StepBatch batch_;
  uint64_t step_ = 0, now_us_ = 1;
};

TEST_F(KvCacheTest, ARepeatedPromptSharesItsFullBlocks) {
  make(8);
  prefill(SeqId{1}, tokens(20));
  kv_->remove_sequence(SeqId{1});
  EXPECT_EQ(kv_->counts().cached, 2u);  // the partial third one went back to the free list
  kv_->add_sequence(SeqId{2}, {});
  const PrefixHit hit = kv_->match(SeqId{2}, tokens(20));
  EXPECT_EQ(hit.num_tokens, 16u);
  EXPECT_EQ(hit.num_unreferenced_blocks, 2u);
  ASSERT_TRUE(commit({row(SeqId{2}, 16, 4, 1)}, {SeqId{2}}));
  EXPECT_EQ(kinds(batch_), (std::vector{K::kDestroy, K::kShare, K::kAppend}));
  EXPECT_EQ(kv_->counts().shared, 2u);
  sound();
}

TEST_F(KvCacheTest, SharedBlocksAreTheFirstOnesOfATable) {
  make(16);
  prefill(SeqId{1}, tokens(3 * kBlockTokens));
  EXPECT_EQ(kv_->num_shared_blocks_of(SeqId{1}), 0u);
  prefill(SeqId{2}, tokens(4 * kBlockTokens));  // hits all three
  EXPECT_EQ(kv_->num_shared_blocks_of(SeqId{1}), 3u);
  EXPECT_EQ(kv_->num_shared_blocks_of(SeqId{2}), 3u);
  kv_->release(SeqId{1});
  EXPECT_EQ(kv_->num_shared_blocks_of(SeqId{2}), 0u);
}

TEST_F(KvCacheTest, AHitLeavesAtLeastOnePositionToCompute) {
  make(8);
  prefill(SeqId{1}, tokens(16));
  kv_->add_sequence(SeqId{2}, {});
  EXPECT_EQ(kv_->match(SeqId{2}, tokens(16)).num_tokens, 8u);
  EXPECT_EQ(kv_->match(SeqId{2}, tokens(17)).num_tokens, 16u);
}

TEST_F(KvCacheTest, AnotherNamespaceNeverHits) {
  make(8);
  prefill(SeqId{1}, tokens(20), 1);
  Sha256Digest other{};
  other[0] = 2;
  kv_->add_sequence(SeqId{2}, other);
  EXPECT_EQ(kv_->match(SeqId{2}, tokens(20)).num_tokens, 0u);
}

TEST_F(KvCacheTest, WithoutAPrefixCacheNothingIsKept) {
  make(8, false);
  prefill(SeqId{1}, tokens(20));
  kv_->remove_sequence(SeqId{1});
  EXPECT_EQ(kv_->counts().free, 8u);
}

TEST_F(KvCacheTest, ABlockIsPublishedOnlyAfterItsStepHasCompleted) {
  make(8);
  kv_->add_sequence(SeqId{1}, {});
  ASSERT_TRUE(commit({row(SeqId{1}, 0, 16, 2)}, {SeqId{1}}));
  kv_->publish(SeqId{1}, tokens(17));
  kv_->add_sequence(SeqId{2}, {});
  EXPECT_EQ(kv_->match(SeqId{2}, tokens(17)).num_tokens, 0u);
  kv_->complete_step(step_);
  kv_->publish(SeqId{1}, tokens(17));
  EXPECT_EQ(kv_->match(SeqId{2}, tokens(17)).num_tokens, 16u);
  sound();
}

TEST_F(KvCacheTest, ADuplicateBlockIsSwappedForThePublishedOne) {
  make(8);
  kv_->add_sequence(SeqId{1}, {});
  kv_->add_sequence(SeqId{2}, {});
  ASSERT_TRUE(commit({row(SeqId{1}, 0, 10, 2), row(SeqId{2}, 0, 10, 2)}, {SeqId{1}, SeqId{2}}));
  const BlockId own = kv_->table(SeqId{2})[0];
  kv_->complete_step(step_);
  kv_->publish(SeqId{1}, tokens(10));
  kv_->publish(SeqId{2}, tokens(10));
  EXPECT_EQ(kv_->table(SeqId{2})[0], kv_->table(SeqId{1})[0]);
  EXPECT_EQ(kv_->counts().free, 5u);
  ASSERT_TRUE(commit({row(SeqId{1}, 10, 1, 0)}));
  ASSERT_EQ(kinds(batch_), (std::vector{K::kReplace}));
  EXPECT_EQ(batch_.kv_ops[0].seq, SeqId{2});
  EXPECT_EQ(batch_.kv_slots[batch_.kv_ops[0].slot_offset], kv_->table(SeqId{1})[0]);
  EXPECT_NE(own, kv_->table(SeqId{2})[0]);
  sound();
}

TEST_F(KvCacheTest, AForkSharesFullBlocksAndCopiesThePartialOne) {
  make(8, false);
  prefill(SeqId{1}, tokens(20));
  kv_->add_sequence(SeqId{2}, {});
  ASSERT_TRUE(commit({row(SeqId{2}, 19, 1, 1)}, {SeqId{2}}, {{SeqId{2}, SeqId{1}}}));
  ASSERT_EQ(kinds(batch_), (std::vector{K::kShare, K::kAppend, K::kCopy}));
  const KvOp& copy = batch_.kv_ops[2];
  EXPECT_EQ(batch_.kv_slots[copy.slot_offset], kv_->table(SeqId{1})[2]);
  EXPECT_EQ(batch_.kv_slots[copy.slot_offset + 1], kv_->table(SeqId{2})[2]);
  EXPECT_EQ(kv_->table(SeqId{2})[0], kv_->table(SeqId{1})[0]);
  kv_->complete_step(step_);
  sound();
  kv_->remove_sequence(SeqId{1});
  kv_->remove_sequence(SeqId{2});
  EXPECT_EQ(kv_->counts().free, 8u);
}

TEST_F(KvCacheTest, AForkAtABlockBorderCopiesNothing) {
  make(8, false);
  prefill(SeqId{1}, tokens(17));
  kv_->add_sequence(SeqId{2}, {});
  ASSERT_TRUE(commit({row(SeqId{2}, 16, 1, 1)}, {SeqId{2}}, {{SeqId{2}, SeqId{1}}}));
  EXPECT_EQ(kinds(batch_), (std::vector{K::kShare, K::kAppend}));
}

TEST_F(KvCacheTest, APlanThatDoesNotFitChangesNothing) {
  make(4);
  prefill(SeqId{1}, tokens(20));
  const BlockCounts before = kv_->counts();
  kv_->add_sequence(SeqId{2}, {});
  kv_->add_sequence(SeqId{3}, {});
  // One block is free; the second admission is one too many.
  EXPECT_FALSE(commit({row(SeqId{2}, 0, 8, 1), row(SeqId{3}, 0, 8, 1)}, {SeqId{2}, SeqId{3}}));
  EXPECT_EQ(kv_->counts(), before);
  EXPECT_EQ(kv_->num_blocks_of(SeqId{2}), 0u);
  EXPECT_TRUE(batch_.kv_ops.empty());
  sound();
  EXPECT_TRUE(commit({row(SeqId{2}, 0, 8, 1)}, {SeqId{2}}));
}

TEST_F(KvCacheTest, APlanThatMiscountsItsBlocksOrPositionsIsRefused) {
  make(8);
  prefill(SeqId{1}, tokens(20));
  EXPECT_FALSE(commit({row(SeqId{1}, 20, 1, 1)}));              // no block is needed
  EXPECT_FALSE(commit({row(SeqId{1}, 24, 1, 1)}));              // a gap
  EXPECT_FALSE(commit({row(SeqId{9}, 0, 1, 1)}));               // unknown
  EXPECT_FALSE(commit({row(SeqId{1}, 20, 1, 0)}, {SeqId{1}}));  // admitted twice
  EXPECT_TRUE(commit({row(SeqId{1}, 20, 1, 0)}));
}

TEST_F(KvCacheTest, APlanThatUsesAStaleHitIsRefused) {
  make(3);
  prefill(SeqId{1}, tokens(16));
  kv_->remove_sequence(SeqId{1});
  kv_->add_sequence(SeqId{2}, {});
  ASSERT_EQ(kv_->match(SeqId{2}, tokens(17)).num_tokens, 16u);
  prefill(SeqId{3}, tokens(24, 5));  // evicts both blocks
  kv_->remove_sequence(SeqId{3});
  EXPECT_FALSE(commit({row(SeqId{2}, 16, 1, 1)}, {SeqId{2}}));
  EXPECT_EQ(kv_->match(SeqId{2}, tokens(17)).num_tokens, 0u);
  EXPECT_TRUE(commit({row(SeqId{2}, 0, 17, 3)}, {SeqId{2}}));
}

TEST_F(KvCacheTest, PreemptedBlocksServeTheSamePlan) {
  make(3);
  prefill(SeqId{1}, tokens(16));
  prefill(SeqId{2}, tokens(7, 1));
  ASSERT_TRUE(commit({row(SeqId{1}, 16, 1, 1)}, {}, {}, {SeqId{2}}));
  EXPECT_EQ(kinds(batch_), (std::vector{K::kDestroy, K::kAppend}));
  EXPECT_EQ(kv_->num_blocks_of(SeqId{2}), 0u);
  sound();
}

TEST_F(KvCacheTest, TheDeepestBlocksOfTheOldestPrefixAreEvictedFirst) {
  make(4);
  prefill(SeqId{1}, tokens(16));
  prefill(SeqId{2}, tokens(16, 1));
  kv_->remove_sequence(SeqId{1});
  kv_->remove_sequence(SeqId{2});
  prefill(SeqId{3}, tokens(8, 2));  // evicts one block
  kv_->add_sequence(SeqId{4}, {});
  EXPECT_EQ(kv_->match(SeqId{4}, tokens(17)).num_tokens, 8u);  // the parent stays
  kv_->add_sequence(SeqId{5}, {});
  EXPECT_EQ(kv_->match(SeqId{5}, tokens(17, 1)).num_tokens, 16u);
}

TEST_F(KvCacheTest, BlocksOfAStepInFlightAreNotAvailable) {
  make(2);
  kv_->add_sequence(SeqId{1}, {});
  kv_->add_sequence(SeqId{2}, {});
  ASSERT_TRUE(commit({row(SeqId{1}, 0, 12, 2)}, {SeqId{1}}));
  const uint64_t in_flight = step_;
  kv_->release(SeqId{1});
  EXPECT_EQ(kv_->counts().quarantined, 2u);
  EXPECT_FALSE(commit({row(SeqId{2}, 0, 1, 1)}, {SeqId{2}}));
  kv_->complete_step(in_flight);
  EXPECT_TRUE(commit({row(SeqId{2}, 0, 1, 1)}, {SeqId{2}}));
  sound();
}

// What an old step computed is not the new incarnation's.
TEST_F(KvCacheTest, AStepOfAReleasedIncarnationCountsForNothing) {
  make(8);
  kv_->add_sequence(SeqId{1}, {});
  ASSERT_TRUE(commit({row(SeqId{1}, 0, 16, 2)}, {SeqId{1}}));
  const uint64_t old_step = step_;
  kv_->release(SeqId{1});
  EXPECT_TRUE(kv_->destroy_pending(SeqId{1}));
  EXPECT_FALSE(
      commit({row(SeqId{1}, 0, 17, 3)}, {SeqId{1}}));  // its old self must be destroyed first
  kv_->flush_pending_ops(&batch_);
  ASSERT_TRUE(commit({row(SeqId{1}, 0, 17, 3)}, {SeqId{1}}));
  kv_->complete_step(old_step);
  kv_->publish(SeqId{1}, tokens(17));
  kv_->add_sequence(SeqId{2}, {});
  EXPECT_EQ(kv_->match(SeqId{2}, tokens(17)).num_tokens, 0u);
  sound();
}

// ---- pins; every order of eviction with pins is held against a model in eviction_test.cc

TEST_F(KvCacheTest, APinnedPrefixOutlivesWhatIsUsedAfterIt) {
  for (const Eviction eviction : all_evictions()) {
    make(6, true, eviction);
    EXPECT_NE(end_pinned(SeqId{1}, tokens(17, 1), 100, 5.0), PinId{});
    EXPECT_EQ(kv_->counts(), (BlockCounts{.free = 4, .pinned = 2}));
    prefill(SeqId{2}, tokens(17, 2));
    kv_->remove_sequence(SeqId{2});
    prefill(SeqId{3}, tokens(17, 3));  // three: two are free
    EXPECT_EQ(cached_tokens(tokens(17, 1)), 16u) << eviction_name(eviction);
    EXPECT_EQ(cached_tokens(tokens(17, 2)), 8u) << eviction_name(eviction);
  }
}

TEST_F(KvCacheTest, PinnedBlocksAreAvailableAndTheLeastValuePerBlockGoesFirst) {
  make(6);
  end_pinned(SeqId{1}, tokens(32, 1), 100, 6.0);  // 1.5 of each block
  end_pinned(SeqId{2}, tokens(16, 2), 100, 5.0);  // 2.5
  EXPECT_EQ(kv_->num_available(), 6u);
  prefill(SeqId{3}, tokens(8, 3));
  EXPECT_EQ(kv_->num_pins(), 1u);
  EXPECT_EQ(cached_tokens(tokens(33, 1)), 24u) << "unpinned as a whole, evicted block by block";
  EXPECT_EQ(cached_tokens(tokens(17, 2)), 16u);
  prefill(SeqId{4}, tokens(40, 4));
  EXPECT_EQ(kv_->num_pins(), 0u);
  EXPECT_EQ(cached_tokens(tokens(17, 2)), 0u);
}

TEST_F(KvCacheTest, APinLosesItsValueOverItsTime) {
  make(4);
  end_pinned(SeqId{1}, tokens(16, 1), 100, 5.0);
  set_now(81);  // 1.0 is left of it
  end_pinned(SeqId{2}, tokens(16, 2), 100, 2.0);
  prefill(SeqId{3}, tokens(8, 3));
  EXPECT_EQ(cached_tokens(tokens(17, 1)), 8u);
  EXPECT_EQ(cached_tokens(tokens(17, 2)), 16u);
}

TEST_F(KvCacheTest, APinEndsWithItsTimeOrBefore) {
  make(8);
  const PinId early = end_pinned(SeqId{1}, tokens(16, 1), 50, 1.0);
  end_pinned(SeqId{2}, tokens(16, 2), 100, 1.0);
  EXPECT_EQ(kv_->next_pin_expiry_us(), 51u);
  kv_->unpin(early);
  kv_->unpin(early);  // is gone
  kv_->unpin(PinId{});
  EXPECT_EQ(kv_->counts(), (BlockCounts{.free = 4, .cached = 2, .pinned = 2}));
  set_now(100);
  EXPECT_EQ(kv_->num_pins(), 1u);
  set_now(101);
  EXPECT_EQ(kv_->counts(), (BlockCounts{.free = 4, .cached = 4}));
  EXPECT_EQ(kv_->next_pin_expiry_us(), UINT64_MAX);
}

TEST_F(KvCacheTest, UnderTtlWhatNobodyCameForGoesBeforeWhatIsOlder) {
  for (const Eviction eviction : {Eviction::kTtl, Eviction::kLru}) {
    make(4, true, eviction);
    prefill(SeqId{1}, tokens(16, 1));
    kv_->remove_sequence(SeqId{1});
    now_us_ = 1;
    end_pinned(SeqId{2}, tokens(16, 2), 10, 1.0);
    set_now(11);
    prefill(SeqId{3}, tokens(8, 3));
    EXPECT_EQ(cached_tokens(tokens(17, 1)), eviction == Eviction::kTtl ? 16u : 8u);
    EXPECT_EQ(cached_tokens(tokens(17, 2)), eviction == Eviction::kTtl ? 8u : 16u);
  }
}

TEST_F(KvCacheTest, AFollowUpTakesThePinnedBlocksAndTheyStayPinned) {
  make(6);
  const PinId pin = end_pinned(SeqId{1}, tokens(17, 1), 100, 1.0);
  prefill(SeqId{2}, tokens(20, 1));
  EXPECT_EQ(kv_->counts(), (BlockCounts{.free = 3, .priv = 1, .shared = 2}));
  kv_->unpin(pin);
  kv_->remove_sequence(SeqId{2});
  EXPECT_EQ(kv_->counts(), (BlockCounts{.free = 4, .cached = 2}));
}

TEST_F(KvCacheTest, WhatAFollowUpTakesOverIsWhatItReuses) {
  make(12);
  Tokens other = tokens(33, 1);
  other[20] ^= 1;  // goes on elsewhere in the third block
  const PinId whole = end_pinned(SeqId{1}, tokens(32, 1), 100, 1.0);
  prefill(SeqId{2}, tokens(33, 1));
  kv_->hand_over(whole, SeqId{2});
  kv_->hand_over(whole, SeqId{2});  // is gone
  EXPECT_EQ(kv_->pin_totals(),
            (PinTotals{.placed = 1, .handed_over = 1, .blocks_placed = 4, .blocks_taken_over = 4}));
  const PinId partly = end_pinned(SeqId{3}, tokens(32, 1), 100, 1.0);
  prefill(SeqId{4}, other);
  kv_->hand_over(partly, SeqId{4});
  EXPECT_EQ(kv_->pin_totals().blocks_taken_over, 6u);
  const PinId nothing = end_pinned(SeqId{5}, tokens(32, 1), 100, 1.0);
  prefill(SeqId{6}, tokens(5, 9));
  kv_->hand_over(nothing, SeqId{6});
  EXPECT_EQ(kv_->pin_totals().blocks_taken_over, 6u);
  EXPECT_EQ(kv_->pin_totals().handed_over, 3u);
  EXPECT_EQ(kv_->pin_totals().blocks_placed, 12u);
  EXPECT_EQ(kv_->num_pins(), 0u);
}

TEST_F(KvCacheTest, WithNothingToKeepThereIsNoPin) {
  make(4);
  EXPECT_EQ(end_pinned(SeqId{1}, tokens(7), 100, 1.0), PinId{}) << "no full block";
  EXPECT_EQ(end_pinned(SeqId{2}, tokens(8), 0, 1.0), PinId{}) << "no time";
  EXPECT_EQ(end_pinned(SeqId{3}, tokens(8), 100, 0.0), PinId{}) << "no value";
  kv_->add_sequence(SeqId{4}, {});
  EXPECT_EQ(kv_->pin(SeqId{4}, {.now_us = 1, .until_us = 2, .value_us = 1.0}), PinId{});
  make(4, false);
  EXPECT_EQ(end_pinned(SeqId{5}, tokens(8), 100, 1.0), PinId{}) << "no prefix cache";
}

}  // namespace
}  // namespace stet::kv
