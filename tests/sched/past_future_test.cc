// past_future's own promises (scheduler.md sec. 4 and 8); what holds for every policy is in
// scheduler_test.cc and tests/sim.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "stet/sched/output_lengths.h"
#include "stet/sched/policy.h"
#include "tests/sched/estimator_cases.h"

namespace stet::sched {
namespace {

constexpr const char* kNames[] = {"past_future", "past_future_sampled"};

// A random view of pool, running set, shared tables and histories. Owns what it shows.
struct TestView {
  explicit TestView(uint64_t seed) : random(seed), tree(&random, 40) {
    const LengthClass a = learned.lengths.class_of("a", 20);
    for (uint32_t i = random.below(300); i > 0; --i) {
      learned.on_finish(output(a), random.below(4) == 0);
    }
    tables.resize(1 + random.below(8));
    for (std::vector<BlockId>& table : tables) {
      table = random.below(2) == 0 ? std::vector<BlockId>{} : tree.path_to(random.below(40));
      RunningSeq s{
          .seq = SeqId{running.size() + 1}, .order_key = running.size() * 10, .output = output(a)};
      s.num_computed_tokens = static_cast<uint32_t>(table.size()) * 8 + random.below(60);
      s.num_known_tokens =
          s.num_computed_tokens + 1 + (random.below(2) == 0 ? 0 : random.below(60));
      s.max_blocks = blocks_for(s.num_known_tokens + s.output.max_tokens - s.output.num_outputs, 8);
      s.table = table;
      running.push_back(s);
    }
    view = {.step = 1000,
            .block_tokens = 8,
            .num_blocks = 40 + random.below(60),
            .max_step_tokens = 16 + random.below(60),
            .chunk_cap = 16 + random.below(60),
            .max_running = 64,
            .max_new_sequences = 64,
            .running = running,
            .learned = &learned};
    candidate = {
        .seq = SeqId{100}, .order_key = random.below(100), .fork_source = {}, .output = output(a)};
    hit = random.below(2) == 0 ? std::vector<BlockId>{} : tree.path_to(random.below(40));
    candidate.table = hit;
    candidate.first_pos = static_cast<uint32_t>(hit.size()) * 8;
    candidate.num_known_tokens = candidate.first_pos + 1 + random.below(80);
    waiting = {candidate};
    view.waiting = waiting;
    learned.lengths.refresh(view);
  }
  OutputState output(const LengthClass& length_class) {
    OutputState o{.num_outputs = random.below(40), .length_class = length_class};
    o.max_tokens = o.num_outputs + 1 + random.below(100);
    o.expected_outputs = random.below(3) == 0 ? 1 + random.below(100) : 0;
    o.runs_to_max_tokens = random.below(4) == 0;
    return o;
  }
  bool fits(Policy* policy, const WaitingSeq& c) const {
    policy->admission->begin(view);
    return policy->admission->fits(
               c, {.block_tokens = 8,
                   .num_blocks = view.num_blocks,
                   .num_available = 1000,  // the peak decides
                   .num_running = static_cast<uint32_t>(view.running.size())}) == Verdict::kAdmit;
  }
  TestRandom random;
  TestTree tree;
  Learned learned;
  std::vector<std::vector<BlockId>> tables;
  std::vector<BlockId> hit;
  std::vector<RunningSeq> running;
  std::vector<WaitingSeq> waiting;
  WaitingSeq candidate;
  SchedView view;
};

TEST(PastFuture, ALargerCandidateNeverFitsWhereASmallerOneDoesNot) {
  uint32_t changes = 0;
  for (const char* name : kNames) {
    Policy policy = std::move(make_policy(name)).value();
    for (uint64_t seed = 0; seed < 5000; ++seed) {
      TestView v(seed);
      WaitingSeq c = v.candidate;
      // A hint that has been passed is doubled: one just above it says less.
      c.output.expected_outputs += c.output.expected_outputs == 0 ? 0 : c.output.num_outputs;
      bool waited = false;
      for (uint32_t i = 0; i < 10; ++i) {
        const bool fits = v.fits(&policy, c);
        ASSERT_FALSE(waited && fits) << name << " seed " << seed;
        changes += i > 0 && !fits && !waited ? 1 : 0;
        waited = !fits;
        c.num_known_tokens += v.random.below(30);
        const uint32_t longer = v.random.below(20);
        c.output.max_tokens += longer;
        c.output.expected_outputs += c.output.expected_outputs == 0 ? 0 : longer;
      }
    }
  }
  EXPECT_GT(changes, 500u);
}

TEST(PastFuture, AVerdictDependsOnTheViewAlone) {
  for (const char* name : kNames) {
    Policy used = std::move(make_policy(name)).value();
    for (uint64_t seed = 0; seed < 2000; ++seed) {
      const TestView v(seed);
      Policy fresh = std::move(make_policy(name)).value();
      ASSERT_EQ(v.fits(&used, v.candidate), v.fits(&fresh, v.candidate))
          << name << " seed " << seed;
    }
  }
}

// The view may say which blocks of the running are shared, so that nobody has to count all of them.
TEST(PastFuture, KnowingWhichBlocksAreSharedChangesNoVerdict) {
  uint32_t misled = 0;
  for (const char* name : kNames) {
    Policy policy = std::move(make_policy(name)).value();
    for (uint64_t seed = 0; seed < 5000; ++seed) {
      TestView v(seed);
      const bool fits = v.fits(&policy, v.candidate);
      std::map<uint32_t, uint32_t> holders;
      for (const RunningSeq& s : v.running) {
        for (const BlockId block : s.table) {
          ++holders[block.v];
        }
      }
      for (RunningSeq& s : v.running) {
        s.num_shared_blocks = static_cast<uint32_t>(std::count_if(
            s.table.begin(), s.table.end(), [&](BlockId b) { return holders[b.v] > 1; }));
      }
      ASSERT_EQ(v.fits(&policy, v.candidate), fits) << name << " seed " << seed;
      for (RunningSeq& s : v.running) {
        s.num_shared_blocks = 0;  // a lie shows
      }
      misled += v.fits(&policy, v.candidate) != fits ? 1 : 0;
    }
  }
  EXPECT_GT(misled, 20u);
}

// Asked again after others have joined, the answer is that of a view in which they run.
TEST(PastFuture, WhoeverJoinedThePlanIsCounted) {
  uint32_t admitted = 0;
  for (const char* name : kNames) {
    Policy policy = std::move(make_policy(name)).value();
    for (uint64_t seed = 0; seed < 2000; ++seed) {
      TestView v(seed);
      WaitingSeq first = v.candidate, second = v.candidate;
      first.table = second.table = {};
      first.first_pos = second.first_pos = 0;
      second.seq = SeqId{101};
      second.num_known_tokens = 1 + v.random.below(60);
      if (!v.fits(&policy, first)) {
        continue;
      }
      policy.admission->admitted(first);
      const PoolState pool = {
          .num_blocks = v.view.num_blocks, .num_available = 1000, .num_running = 9};
      const bool in_plan = policy.admission->fits(second, pool) == Verdict::kAdmit;
      RunningSeq as_running{.seq = first.seq,
                            .order_key = first.order_key,
                            .num_known_tokens = first.num_known_tokens,
                            .max_blocks = first.max_blocks,
                            .output = first.output};
      const auto later =
          std::upper_bound(v.running.begin(), v.running.end(), first.order_key,
                           [](uint64_t key, const RunningSeq& s) { return key < s.order_key; });
      v.running.insert(later, as_running);
      v.view.running = v.running;
      EXPECT_EQ(in_plan, v.fits(&policy, second)) << name << " seed " << seed;
      ++admitted;
    }
  }
  EXPECT_GT(admitted, 500u);
}

TEST(PastFuture, AloneItMayTakeTheWholePool) {
  const SchedView view = {.num_blocks = 10, .max_step_tokens = 64, .chunk_cap = 64};
  for (const char* name : kNames) {
    Policy policy = std::move(make_policy(name)).value();
    const WaitingSeq c{
        .num_known_tokens = 640, .max_blocks = 10, .fork_source = {}, .output = {.max_tokens = 64}};
    policy.admission->begin(view);
    EXPECT_EQ(policy.admission->fits(c, {.num_blocks = 10}), Verdict::kAdmit);
    EXPECT_EQ(
        policy.admission->fits(c, {.num_blocks = 10, .num_available = 1000, .num_running = 1}),
        Verdict::kWait);
  }
}

TEST(PastFuture, TheReserveStaysEmpty) {
  Policy policy = std::move(make_policy("past_future")).value();
  Learned learned;
  const std::vector<RunningSeq> running = {
      {.seq = SeqId{1}, .num_known_tokens = 1, .output = {.max_tokens = 1}}};
  SchedView view = {.block_tokens = 1,
                    .num_blocks = 1000,
                    .max_step_tokens = 2000,
                    .chunk_cap = 2000,
                    .running = running};
  view.learned = &learned;
  const auto fits = [&](uint32_t tokens) {
    const WaitingSeq c{.seq = SeqId{2},
                       .num_known_tokens = tokens,
                       .fork_source = {},
                       .output = {.max_tokens = 1}};
    policy.admission->begin(view);
    return policy.admission->fits(c, {.num_available = 1000, .num_running = 1}) == Verdict::kAdmit;
  };
  EXPECT_TRUE(fits(969));
  EXPECT_FALSE(fits(970));
  learned.on_preempt();
  EXPECT_TRUE(fits(959));
  EXPECT_FALSE(fits(960));
}

// Three times preempted, it runs to its end: nobody older may be admitted who could need its
// blocks.
TEST(PastFuture, AThricePreemptedSequenceKeepsItsBlocks) {
  Policy policy = std::move(make_policy("past_future")).value();
  RunningSeq often{.seq = SeqId{1},
                   .order_key = 5,
                   .num_known_tokens = 8,
                   .max_blocks = 6,
                   .num_preemptions = 3};
  often.output = {.max_tokens = 1};
  const std::vector<RunningSeq> running = {often};
  const SchedView view = {.block_tokens = 8,
                          .num_blocks = 10,
                          .max_step_tokens = 64,
                          .chunk_cap = 64,
                          .running = running};
  const auto fits = [&](uint64_t order_key, uint32_t max_blocks, uint32_t num_preemptions) {
    const WaitingSeq c{.seq = SeqId{2},
                       .order_key = order_key,
                       .num_known_tokens = 8,
                       .max_blocks = max_blocks,
                       .num_preemptions = num_preemptions,
                       .fork_source = {},
                       .output = {.max_tokens = 1}};
    policy.admission->begin(view);
    return policy.admission->fits(c, {.num_available = 1000, .num_running = 1}) == Verdict::kAdmit;
  };
  EXPECT_TRUE(fits(4, 4, 0));
  EXPECT_FALSE(fits(4, 5, 0)) << "older: it could take blocks from it";
  EXPECT_TRUE(fits(6, 5, 0)) << "younger: it cannot";
  EXPECT_FALSE(fits(6, 5, 3)) << "younger, but with the same promise";
}

TEST(PastFuture, WhoLosesLeastYieldsFirstAndTheOftenPreemptedLast) {
  const Policy policy = std::move(make_policy("past_future")).value();
  const auto key = [&](uint32_t num_blocks, uint32_t num_exclusive_blocks,
                       uint32_t num_preemptions) {
    return policy.victim->key({.num_blocks = num_blocks,
                               .num_exclusive_blocks = num_exclusive_blocks,
                               .num_preemptions = num_preemptions});
  };
  EXPECT_LT(key(9, 2, 0), key(5, 3, 0)) << "shared blocks are not computed again";
  EXPECT_LT(key(9, 9, 1), key(9, 0, 0)) << "who frees nothing helps nobody";
  EXPECT_LT(key(9, 9, 1), key(1, 1, 2));
  EXPECT_LT(key(9, 9, 2), key(1, 1, 3));
}

}  // namespace
}  // namespace stet::sched
