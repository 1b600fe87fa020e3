// What the cache knows of sequences that wait: who would compute what somebody is computing, and
// which blocks will be used.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "stet/kv/kv_cache.h"
#include "tests/kv/prompts.h"

namespace stet::kv {
namespace {

Tokens after(Tokens ids, uint32_t n, uint32_t salt) {
  const Tokens more = tokens(n, salt);
  ids.insert(ids.end(), more.begin(), more.end());
  return ids;
}

// A queue in the order of insertion.
class InsertionLine final : public UseOrder {
 public:
  SeqId last() const override { return seqs.empty() ? SeqId{} : seqs.back(); }
  SeqId before(SeqId seq) const override {
    const auto at = std::find(seqs.begin(), seqs.end(), seq);
    return at == seqs.begin() ? SeqId{} : *std::prev(at);
  }
  std::vector<SeqId> seqs;
};

class WaitingTest : public testing::Test {
 protected:
  void make(uint32_t num_blocks, Eviction eviction = Eviction::kFuture) {
    kv_ = std::make_unique<KvCache>(
        KvOptions{.num_blocks = num_blocks, .block_tokens = kBlockTokens, .eviction = eviction});
    kv_->set_use_order(&line_);
  }
  void wait(SeqId seq, const Tokens& ids) {
    kv_->add_sequence(seq, {});
    kv_->hash_blocks(seq, ids);
    kv_->set_waiting(seq, true);
    line_.seqs.push_back(seq);
  }
  void leave_queue(SeqId seq) {
    kv_->set_waiting(seq, false);
    std::erase(line_.seqs, seq);
  }
  // Admits and computes `end` positions; the sequence stays.
  void run(SeqId seq, const Tokens& ids, uint32_t end) {
    const uint32_t hit = kv_->match(seq, ids).num_tokens;
    const uint32_t blocks = (end + kBlockTokens - 1) / kBlockTokens - hit / kBlockTokens;
    StepPlan plan;
    plan.step = ++step_;
    plan.scheduled = {{.seq = seq,
                       .first_pos = hit,
                       .num_scheduled_tokens = end - hit,
                       .num_new_blocks = blocks}};
    plan.admitted = {seq};
    batch_.clear();
    ASSERT_TRUE(kv_->commit(plan, &batch_));
    leave_queue(seq);
    kv_->complete_step(step_);
    kv_->publish(seq, ids);
    sound();
  }
  // Runs a prompt from beginning to end: its full blocks stay cached.
  void visit(SeqId seq, const Tokens& ids) {
    wait(seq, ids);
    run(seq, ids, static_cast<uint32_t>(ids.size()));
    kv_->remove_sequence(seq);
    sound();
  }
  uint32_t cached_tokens(const Tokens& ids) {
    kv_->add_sequence(SeqId{999}, {});
    const uint32_t hit = kv_->match(SeqId{999}, ids).num_tokens;
    kv_->remove_sequence(SeqId{999});
    return hit;
  }
  uint64_t key(SeqId seq, const Tokens& ids) {
    kv_->match(seq, ids);
    return kv_->next_tokens_key(seq, 16);
  }
  void sound() {
    const Status status = kv_->check_integrity();
    EXPECT_TRUE(status.ok()) << status.to_string();
  }

  InsertionLine line_;
  std::unique_ptr<KvCache> kv_;
  StepBatch batch_;
  uint64_t step_ = 0;
};

TEST_F(WaitingTest, WhoSharesTheNextTokensHasTheSameKeyAndOthersDoNot) {
  make(32);
  const Tokens a = after(tokens(24), 20, 1), b = after(tokens(24), 20, 2);
  wait(SeqId{1}, a);
  wait(SeqId{2}, b);
  EXPECT_NE(key(SeqId{1}, a), 0u);
  EXPECT_EQ(key(SeqId{1}, a), key(SeqId{2}, b));
  run(SeqId{1}, a, 8);  // one block is there: two more are shared
  EXPECT_TRUE(kv_->computing(key(SeqId{2}, b)));
}

TEST_F(WaitingTest, ALeaderThatPublishesOrDiesComputesNothingAnyMore) {
  make(32);
  const Tokens a = after(tokens(40), 20, 1), b = after(tokens(40), 20, 2);
  wait(SeqId{1}, a);
  wait(SeqId{2}, b);
  run(SeqId{1}, a, 16);
  EXPECT_TRUE(kv_->computing(key(SeqId{2}, b)));
  kv_->release(SeqId{1});  // preempted
  EXPECT_FALSE(kv_->computing(key(SeqId{2}, b)));
  sound();
  kv_->flush_pending_ops(&batch_);
  run(SeqId{1}, a, 60);  // computes all that is shared
  EXPECT_EQ(kv_->match(SeqId{2}, b).num_tokens, 40u);
  EXPECT_FALSE(kv_->computing(key(SeqId{2}, b)));
}

TEST_F(WaitingTest, LessThanTheLeastSharedLengthIsNotWaitedFor) {
  make(32);
  const Tokens a = tokens(15), b = tokens(16), c = tokens(17);
  wait(SeqId{1}, a);
  wait(SeqId{2}, b);
  wait(SeqId{3}, c);
  EXPECT_EQ(key(SeqId{1}, a), 0u);
  EXPECT_EQ(key(SeqId{2}, b), 0u);  // its last position is computed in any case
  EXPECT_NE(key(SeqId{3}, c), 0u);
}

// ---- eviction

TEST_F(WaitingTest, WhatNobodyWaitsForGoesFirstHoweverRecentlyItWasUsed) {
  for (const Eviction eviction : {Eviction::kFuture, Eviction::kLru}) {
    line_.seqs.clear();
    make(6, eviction);
    visit(SeqId{1}, tokens(17, 1));  // two blocks, and one that is not full
    visit(SeqId{2}, tokens(17, 2));
    wait(SeqId{3}, tokens(17, 1));   // will use the older ones
    visit(SeqId{4}, tokens(25, 4));  // takes four: two are free
    EXPECT_EQ(cached_tokens(tokens(17, 1)), eviction == Eviction::kFuture ? 16u : 0u);
    EXPECT_EQ(cached_tokens(tokens(17, 2)), eviction == Eviction::kFuture ? 0u : 16u);
  }
}

TEST_F(WaitingTest, OfWantedBlocksTheOneUsedLastGoesFirst) {
  make(7);
  visit(SeqId{1}, tokens(17, 1));
  visit(SeqId{2}, tokens(17, 2));
  visit(SeqId{3}, tokens(17, 3));
  wait(SeqId{11}, tokens(17, 1));
  wait(SeqId{13}, tokens(17, 3));
  wait(SeqId{12}, tokens(17, 2));
  visit(SeqId{4}, tokens(15, 4));  // two: one is free
  EXPECT_EQ(cached_tokens(tokens(17, 1)), 16u);
  EXPECT_EQ(cached_tokens(tokens(17, 3)), 16u);
  EXPECT_EQ(cached_tokens(tokens(17, 2)), 8u);  // the deeper one of the last in line
}

TEST_F(WaitingTest, ABlockThatIsAlsoUsedSoonStays) {
  make(6);
  const Tokens stem = tokens(16);
  visit(SeqId{1}, after(stem, 9, 1));  // three blocks
  visit(SeqId{2}, after(stem, 9, 2));  // one more
  wait(SeqId{11}, after(stem, 9, 1));
  wait(SeqId{12}, after(stem, 9, 2));
  wait(SeqId{13}, after(stem, 1, 3));  // the last in line wants the stem only
  visit(SeqId{4}, tokens(20, 4));      // three: two are free
  EXPECT_EQ(cached_tokens(after(stem, 9, 1)), 24u);
  EXPECT_EQ(cached_tokens(after(stem, 9, 2)), 16u);
}

// Against Belady on the queue: of all that may be evicted, one whose first use is last.
TEST_F(WaitingTest, RandomQueuesAgreeWithBelady) {
  uint64_t state = 5;
  const auto below = [&state](uint64_t n) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (state >> 33) % n;
  };
  for (int round = 0; round < 300; ++round) {
    line_.seqs.clear();
    make(40);
    std::vector<Tokens> prompts;
    for (uint32_t i = 0; i < 9; ++i) {
      Tokens base = prompts.empty() || below(3) == 0 ? Tokens{} : prompts[below(prompts.size())];
      base.resize(below(base.size() + 1) / kBlockTokens * kBlockTokens);
      prompts.push_back(after(base, 9 + static_cast<uint32_t>(below(16)), 100 + i));
      visit(SeqId{i + 1}, prompts.back());
    }
    for (uint32_t i = 0; i < 9; ++i) {
      wait(SeqId{100 + i}, prompts[i]);  // all are wanted
    }
    const auto first_use = [&](const Tokens& prefix) {
      for (size_t i = 0; i < prompts.size(); ++i) {
        if (prompts[i].size() >= prefix.size() &&
            std::equal(prefix.begin(), prefix.end(), prompts[i].begin())) {
          return i;
        }
      }
      return prompts.size();
    };
    std::vector<uint32_t> before;
    for (const Tokens& prompt : prompts) {
      before.push_back(cached_tokens(after(prompt, 1, 9)));
    }
    const uint32_t num_free = kv_->counts().free;
    visit(SeqId{50}, tokens(num_free * kBlockTokens + 7, 77));  // one more than is free
    size_t lost_use = 0, farthest = 0;
    bool lost = false;
    for (size_t i = 0; i < prompts.size(); ++i) {
      const uint32_t now = cached_tokens(after(prompts[i], 1, 9));
      const Tokens deepest(prompts[i].begin(), prompts[i].begin() + before[i]);
      farthest = std::max(farthest, first_use(deepest));
      if (now < before[i]) {
        lost = true;
        lost_use = std::max(lost_use, first_use(deepest));
        EXPECT_EQ(now + kBlockTokens, before[i]);
      }
    }
    EXPECT_TRUE(lost) << "round " << round;
    EXPECT_EQ(lost_use, farthest) << "round " << round;
  }
}

}  // namespace
}  // namespace stet::kv
