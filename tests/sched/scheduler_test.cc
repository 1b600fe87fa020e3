#include "stet/sched/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace stet::sched {
namespace {

Policy policy(std::string_view name) {
  return std::move(make_policy(name)).value();
}

TEST(Policies, AnUnknownNameIsAnsweredWithTheNamesThereAre) {
  const Result<Policy> made = make_policy("lottery");
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(made.status().message(),
            "policy 'lottery' does not exist; expected one of: fcfs_conservative, aggressive, "
            "past_future, past_future_sampled, prefix_group, sla");
}

TEST(Policies, AClassIsWorthThirtySecondsOfWaiting) {
  const Policy p = policy("fcfs_conservative");
  const auto key = [&](uint64_t arrival_us, uint8_t priority_class) {
    return p.order->key({.arrival_us = arrival_us, .priority_class = priority_class});
  };
  EXPECT_LT(key(29'999'999, 5), key(0, 4));
  EXPECT_GT(key(30'000'001, 5), key(0, 4));
  EXPECT_LT(key(0, 4), key(1, 4));
}

TEST(Policies, ConservativeCountsEverybodysLastToken) {
  const Policy p = policy("fcfs_conservative");
  WaitingSeq candidate{.seq = SeqId{1}, .num_known_tokens = 10, .max_blocks = 4, .fork_source = {}};
  const PoolState pool{
      .block_tokens = 64, .num_blocks = 10, .num_available = 10, .num_reserved = 6};
  EXPECT_EQ(p.admission->fits(candidate, pool), Verdict::kAdmit);
  candidate.max_blocks = 5;
  EXPECT_EQ(p.admission->fits(candidate, pool), Verdict::kWait);
  EXPECT_EQ(p.victim, nullptr);
}

TEST(Policies, AggressiveLetsALoneRequestTakeTheWholePool) {
  const Policy p = policy("aggressive");
  const WaitingSeq candidate{
      .seq = SeqId{1}, .num_known_tokens = 640, .max_blocks = 10, .fork_source = {}};
  PoolState pool{.block_tokens = 64, .num_blocks = 10, .num_available = 10};
  EXPECT_EQ(p.admission->fits(candidate, pool), Verdict::kAdmit);
  pool.num_running = 1;
  EXPECT_EQ(p.admission->fits(candidate, pool), Verdict::kWait);
}

TEST(Policies, ALargerCandidateNeverFitsWhereASmallerOneDoesNot) {
  for (const std::string_view name : policy_names()) {
    Policy p = policy(name);
    for (uint32_t available = 0; available < 20; ++available) {
      bool waited = false;
      for (uint32_t blocks = 1; blocks <= 20; ++blocks) {
        const WaitingSeq candidate{
            .num_known_tokens = blocks * 64, .max_blocks = blocks, .fork_source = {}};
        const PoolState pool{.block_tokens = 64,
                             .num_blocks = 20,
                             .num_available = available,
                             .num_reserved = 20 - available,
                             .num_running = 1};
        const std::vector<RunningSeq> running = {{.num_known_tokens = (20 - available) * 64,
                                                  .num_blocks = 20 - available,
                                                  .max_blocks = 20 - available,
                                                  .output = {.max_tokens = 1}}};
        const SchedView view = {
            .num_blocks = 20, .max_step_tokens = 64, .chunk_cap = 64, .running = running};
        p.admission->begin(view);
        const bool fits = p.admission->fits(candidate, pool) == Verdict::kAdmit;
        EXPECT_FALSE(waited && fits) << name;
        waited = waited || !fits;
      }
    }
  }
}

TEST(Policies, TwicePreemptedSequencesYieldLast) {
  const Policy p = policy("aggressive");
  const RunningSeq young{.seq = SeqId{2}, .order_key = 9, .num_preemptions = 2};
  const RunningSeq old{.seq = SeqId{1}, .order_key = 1};
  EXPECT_LT(p.victim->key(old), p.victim->key(young));
}

// ---- properties over random views

struct RandomView {
  explicit RandomView(uint64_t seed) : state(seed) {
    view.step = 7;
    view.block_tokens = 8;
    view.num_blocks = 4 + below(30);
    view.max_step_tokens = 8 + (below(2) == 0 ? below(100) : below(300));
    view.chunk_cap = below(2) == 0 ? view.max_step_tokens : 1 + below(70);
    view.short_first_percent = below(3) == 0 ? 0 : below(51);
    view.max_running = 1 + below(8);
    view.max_new_sequences = below(8);
    uint32_t used = 0;
    for (uint32_t i = 0, n = below(view.max_running + 1); i < n; ++i) {
      RunningSeq s{.seq = SeqId{i + 1}, .order_key = i};
      s.num_computed_tokens = below(60);
      s.num_known_tokens = s.num_computed_tokens + (below(2) == 0 ? 1 : 1 + below(80));
      s.num_blocks = blocks_for(s.num_computed_tokens, 8);
      s.num_exclusive_blocks = s.num_blocks;
      s.output.num_outputs = below(s.num_known_tokens);
      s.output.max_tokens = s.output.num_outputs + 1 + below(30);
      s.output.expected_outputs = below(4) == 0 ? 1 + below(30) : 0;
      s.output.runs_to_max_tokens = below(4) == 0;
      s.max_blocks = blocks_for(s.num_known_tokens - s.output.num_outputs + s.output.max_tokens, 8);
      s.num_preemptions = below(4);
      if (used + s.num_blocks > view.num_blocks || s.max_blocks > view.num_blocks) {
        break;
      }
      used += s.num_blocks;
      running.push_back(s);
    }
    view.num_available_blocks = view.num_blocks - used;
    for (uint32_t i = 0, n = below(8); i < n; ++i) {
      WaitingSeq w{.seq = SeqId{100 + i},
                   .order_key = 100 + i,
                   .num_known_tokens = 1 + below(100),
                   .fork_source = {}};
      w.max_blocks = std::min(view.num_blocks, blocks_for(w.num_known_tokens + 1 + below(40), 8));
      w.num_known_tokens = std::min(w.num_known_tokens, w.max_blocks * 8 - 1);
      w.output.max_tokens = w.max_blocks * 8 - w.num_known_tokens;
      w.num_preemptions = below(20) == 0 ? 3 : 0;
      waiting.push_back(w);
    }
    view.running = running;
    view.waiting = waiting;
  }
  uint32_t below(uint32_t n) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<uint32_t>((state >> 33) % n);
  }
  uint64_t state;
  SchedView view;
  std::vector<RunningSeq> running;
  std::vector<WaitingSeq> waiting;
};

bool is_preempted(const StepPlan& plan, SeqId seq) {
  return std::find(plan.preempted.begin(), plan.preempted.end(), seq) != plan.preempted.end();
}

void check_blocks(const RandomView& r, const StepPlan& plan) {
  int64_t available = r.view.num_available_blocks;
  for (const RunningSeq& s : r.running) {
    available += is_preempted(plan, s.seq) ? s.num_exclusive_blocks : 0;
  }
  for (const ScheduledSeq& s : plan.scheduled) {
    available -= s.num_new_blocks;
    EXPECT_FALSE(is_preempted(plan, s.seq));
    EXPECT_GE(s.num_scheduled_tokens, 1u);
  }
  EXPECT_GE(available, 0);
}

void check_progress(const RandomView& r, const StepPlan& plan) {
  if (r.running.empty()) {
    EXPECT_EQ(plan.empty(), r.waiting.empty() || r.view.max_new_sequences == 0) << plan.to_string();
    return;
  }
  EXPECT_FALSE(is_preempted(plan, r.running[0].seq));
}

TEST(Scheduler, KeepsBudgetAndPoolAndTheOldestInEveryRandomView) {
  uint64_t preempting = 0;
  for (const std::string_view name : policy_names()) {
    Policy p = policy(name);
    Scheduler scheduler, fresh;
    for (uint64_t seed = 0; seed < 20'000; ++seed) {
      const RandomView r(seed);
      StepPlan plan, again;
      scheduler.plan(r.view, p, &plan);
      fresh = Scheduler();
      fresh.plan(r.view, p, &again);
      ASSERT_EQ(plan, again) << "a plan depends on the view alone, seed " << seed;
      EXPECT_LE(plan.num_tokens(), r.view.max_step_tokens);
      EXPECT_LE(r.running.size() - plan.preempted.size() + plan.admitted.size(),
                r.view.max_running);
      EXPECT_LE(plan.admitted.size(), r.view.max_new_sequences);
      EXPECT_TRUE(plan.preempted.empty() || plan.admitted.empty());
      check_blocks(r, plan);
      check_progress(r, plan);
      // With victims to take from, the oldest always advances.
      if (p.victim != nullptr && !r.running.empty()) {
        const bool advances =
            std::any_of(plan.scheduled.begin(), plan.scheduled.end(),
                        [&](const ScheduledSeq& s) { return s.seq == r.running[0].seq; });
        EXPECT_TRUE(advances) << "seed " << seed << "\n" << plan.to_string();
      }
      preempting += plan.preempted.empty() ? 0 : 1;
    }
  }
  EXPECT_GT(preempting, 100u);
}

TEST(Scheduler, AFollowerThatForksNeedsOnlyItsOwnBlocks) {
  Policy p = policy("fcfs_conservative");
  const std::vector<RunningSeq> running = {{.seq = SeqId{1},
                                            .num_known_tokens = 101,
                                            .num_computed_tokens = 100,
                                            .num_blocks = 13,
                                            .max_blocks = 14}};
  const std::vector<WaitingSeq> waiting = {{.seq = SeqId{2},
                                            .num_known_tokens = 100,
                                            .first_pos = 99,
                                            .max_blocks = 14,
                                            .fork_source = SeqId{1}}};
  const SchedView view = {.step = 1,
                          .block_tokens = 8,
                          .num_blocks = 40,
                          .num_available_blocks = 27,
                          .max_step_tokens = 64,
                          .chunk_cap = 64,
                          .max_running = 8,
                          .max_new_sequences = 8,
                          .running = running,
                          .waiting = waiting};
  Scheduler scheduler;
  StepPlan plan;
  scheduler.plan(view, p, &plan);
  EXPECT_EQ(
      plan.to_string(),
      "step 1\n  run 1 [100, 101) sample\n  run 2 [99, 100) +1 sample\n  admit 2\n  fork 2 of 1\n");
}

}  // namespace
}  // namespace stet::sched
