#include "src/sched/prefix_groups.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace stet::sched {
namespace {

// Running sequences by their tables, all decoding; sequence ids are 1, 2, ...
class PrefixGroupsTest : public ::testing::Test {
 protected:
  void add(std::vector<uint32_t> blocks) { add(std::move(blocks), UINT32_MAX); }
  void add(std::vector<uint32_t> blocks, uint32_t num_computed) {
    tables_.emplace_back();
    for (uint32_t id : blocks) {
      tables_.back().push_back(BlockId{id});
    }
    // One position into a block of its own, unless the case says otherwise.
    computed_.push_back(num_computed != UINT32_MAX
                            ? num_computed
                            : static_cast<uint32_t>(blocks.size()) * block_tokens_ - 1);
  }

  std::vector<PrefixGroup> form() {
    std::vector<RunningSeq> running;
    StepPlan plan;
    for (uint32_t i = 0; i < tables_.size(); ++i) {
      running.push_back({.seq = SeqId{i + 1},
                         .num_known_tokens = computed_[i] + 1,
                         .num_computed_tokens = computed_[i],
                         .num_blocks = static_cast<uint32_t>(tables_[i].size()),
                         .table = tables_[i]});
      plan.scheduled.push_back(
          {.seq = SeqId{i + 1},
           .first_pos = computed_[i],
           .num_scheduled_tokens = num_scheduled_.empty() ? 1 : num_scheduled_[i],
           .sample = true});
    }
    const SchedView view{.block_tokens = block_tokens_, .running = running};
    groups_.form(view, &plan);
    return plan.groups;
  }

  static PrefixGroup group(std::vector<uint64_t> members, uint32_t shared_tokens) {
    PrefixGroup g{.leader = SeqId{members.front()}, .members = {}, .shared_tokens = shared_tokens};
    for (uint64_t id : members) {
      g.members.push_back(SeqId{id});
    }
    return g;
  }

  uint32_t block_tokens_ = 64;
  std::vector<uint32_t> num_scheduled_;
  std::vector<std::vector<BlockId>> tables_;
  std::vector<uint32_t> computed_;
  PrefixGroups groups_;
};

using Groups = std::vector<PrefixGroup>;

TEST_F(PrefixGroupsTest, FourSharedTilesMakeAGroupAndThreeDoNot) {
  add({1, 2, 3, 4, 10});
  add({1, 2, 3, 4, 11});
  add({5, 6, 7, 12, 13});
  add({5, 6, 7, 14, 15});
  EXPECT_EQ(form(), Groups{group({1, 2}, 256)});
}

TEST_F(PrefixGroupsTest, ABlockThatSomebodyStillWritesIsNotShared) {
  add({1, 2, 3, 4, 5}, 5 * 64);
  add({1, 2, 3, 4, 5}, 5 * 64 - 1);
  EXPECT_EQ(form(), Groups{group({1, 2}, 256)});
  computed_[1] = 4 * 64 - 1;
  EXPECT_EQ(form(), Groups{});
}

TEST_F(PrefixGroupsTest, ChunksAndTheUnscheduledStayOut) {
  for (uint32_t own : {10u, 11u, 12u, 13u}) {
    add({1, 2, 3, 4, 5, own});
  }
  num_scheduled_ = {1, 7, 1, 1};
  EXPECT_EQ(form(), Groups{group({1, 3, 4}, 320)});
}

TEST_F(PrefixGroupsTest, BlocksOfOtherSizesKeepTheLeastInTokens) {
  block_tokens_ = 128;
  add({1, 2, 10});
  add({1, 2, 11});
  EXPECT_EQ(form(), Groups{group({1, 2}, 256)});
  block_tokens_ = 192;
  computed_ = {3 * 192 - 1, 3 * 192 - 1};
  EXPECT_EQ(form(), Groups{group({1, 2}, 384)});
  block_tokens_ = 512;
  computed_ = {3 * 512 - 1, 3 * 512 - 1};
  EXPECT_EQ(form(), Groups{group({1, 2}, 1024)});
}

// Ids that agree at one index only are no prefix: the kernel must never read foreign blocks.
TEST_F(PrefixGroupsTest, EqualIdsBehindDifferentOnesAreNotShared) {
  add({1, 2, 3, 4, 5, 6, 10});
  add({1, 9, 3, 4, 5, 6, 11});
  EXPECT_EQ(form(), Groups{});
}

// A common system prompt of 4 tiles; two conversations of 9 tiles are forked further down.
TEST_F(PrefixGroupsTest, WhatSavesMostReadingIsChosen) {
  add({1, 2, 3, 4, 20});
  add({1, 2, 3, 4, 5, 6, 7, 8, 9, 21});
  add({1, 2, 3, 4, 22});
  add({1, 2, 3, 4, 5, 6, 7, 8, 9, 23});
  EXPECT_EQ(form(), (Groups{group({1, 3}, 256), group({2, 4}, 576)}));
  // More short ones change nothing for the pair: 9 tiles read once less, against 2 * 4 with them.
  for (uint32_t own = 30; own < 40; ++own) {
    add({1, 2, 3, 4, own});
  }
  const Groups many = form();
  ASSERT_EQ(many.size(), 2u);
  EXPECT_EQ(many[0].members.size(), 12u);
  EXPECT_EQ(many[1], group({2, 4}, 576));
}

// Two branches of 5 tiles above 4 common ones: together they save 3 * 4, apart 2 * 5.
TEST_F(PrefixGroupsTest, BranchesJoinWhereTheCommonPartIsWorthMore) {
  add({1, 2, 3, 4, 5, 20});
  add({1, 2, 3, 4, 6, 21});
  add({1, 2, 3, 4, 5, 22});
  add({1, 2, 3, 4, 6, 23});
  EXPECT_EQ(form(), Groups{group({1, 2, 3, 4}, 256)});
}

TEST_F(PrefixGroupsTest, NothingIsSharedByDistinctTables) {
  for (uint32_t i = 0; i < 20; ++i) {
    add({100 * i, 100 * i + 1, 100 * i + 2, 100 * i + 3, 100 * i + 4});
  }
  EXPECT_EQ(form(), Groups{});
}

// ---- against all partitions

uint32_t common(const std::vector<BlockId>& a, const std::vector<BlockId>& b) {
  // The last block of each is being written.
  return static_cast<uint32_t>(std::mismatch(a.begin(), a.end() - 1, b.begin(), b.end() - 1).first -
                               a.begin());
}

struct Partitions {
  const std::vector<std::vector<BlockId>>& tables;
  std::vector<std::vector<size_t>> parts;
  uint64_t best = 0;

  uint64_t saved(const std::vector<size_t>& part) const {
    uint32_t depth = UINT32_MAX;
    for (size_t i : part) {
      depth = std::min(depth, common(tables[part[0]], tables[i]));
    }
    return part.size() < 2 || depth < 4 ? 0 : (part.size() - 1) * uint64_t{depth};
  }
  void place(size_t next) {
    if (next == tables.size()) {
      uint64_t sum = 0;
      for (const auto& part : parts) {
        sum += saved(part);
      }
      best = std::max(best, sum);
      return;
    }
    for (size_t p = 0; p < parts.size(); ++p) {
      parts[p].push_back(next);
      place(next + 1);
      parts[p].pop_back();
    }
    parts.push_back({next});
    place(next + 1);
    parts.pop_back();
  }
};

// The recursion moves subtrees whole, so a partition may save a little more; none by much.
TEST_F(PrefixGroupsTest, GroupsReallyShareAndPartitionsHardlySaveMore) {
  std::mt19937 random(5);
  uint64_t total = 0;
  uint64_t best = 0;
  for (int round = 0; round < 400; ++round) {
    tables_.clear();
    computed_.clear();
    uint32_t fresh = 1000;
    for (int i = 0; i < 7; ++i) {
      // Branches off an earlier one somewhere, or starts anew.
      std::vector<uint32_t> blocks;
      if (!tables_.empty() && random() % 5 != 0) {
        const auto& from = tables_[random() % tables_.size()];
        const size_t keep = random() % from.size();
        for (size_t b = 0; b < keep; ++b) {
          blocks.push_back(from[b].v);
        }
      }
      for (size_t own = 1 + random() % 6; own > 0; --own) {
        blocks.push_back(fresh++);
      }
      add(blocks);
    }
    Partitions all{tables_, {}, 0};
    all.place(0);
    uint64_t found = 0;
    std::vector<bool> used(tables_.size());
    for (const PrefixGroup& g : form()) {
      ASSERT_GE(g.members.size(), 2u);
      ASSERT_EQ(g.leader, g.members.front());
      ASSERT_GE(g.shared_tokens, 256u);
      for (SeqId seq : g.members) {
        ASSERT_FALSE(used[seq.v - 1]) << "disjoint";
        used[seq.v - 1] = true;
        ASSERT_GE(common(tables_[g.leader.v - 1], tables_[seq.v - 1]) * 64, g.shared_tokens);
      }
      found += (g.members.size() - 1) * (g.shared_tokens / 64);
    }
    ASSERT_LE(found, all.best) << "round " << round;
    total += found;
    best += all.best;
  }
  EXPECT_GT(total, 400u) << "cases must really share";
  EXPECT_GE(total * 100, best * 98) << total << " of " << best;
}

}  // namespace
}  // namespace stet::sched
