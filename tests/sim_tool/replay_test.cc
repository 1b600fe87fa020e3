// Replays small enough to be worked out by hand, and what must hold for all of them.
#include "src/sim/replay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "src/sim/metrics.h"

namespace stet::sim {
namespace {

using ::testing::HasSubstr;

MachineModel small_machine(uint32_t num_blocks) {
  return {.name = "small",
          .source = "this test",
          .pool_tokens = num_blocks * 64,
          .block_tokens = 64,
          .max_step_tokens = 64,
          .step = {.a_us = 10, .w_us = 20, .c_us = 1, .r_us = 0.5, .q_us = 0.25}};
}
MachineModel h200() {
  return load_machine(std::string(STET_SOURCE_DIR) + "/configs/sim/70b-h200-assumed.json").value();
}
Trace trace_of(std::vector<TraceRequest> requests) {
  return {.name = "by hand", .requests = std::move(requests)};
}
ReplayResult replayed(const Trace& trace, const MachineModel& machine,
                      const ReplayOptions& options) {
  return replay(trace, machine, options).value();
}

//   step  from  runs                                                   lasts
//   1        0  A [0, 64)                                              10 + 64
//   2       74  A [64, 100), B [0, 10), who came at 50                 10 + 46 + 0.25 * 36 * 64
//   3      706  A [100, 101), B [10, 11) and ends                      10 + 20 + 0.5 * 110
//   4      791  A [101, 102) and ends at 872                           10 + 20 + 0.5 * 101, rounded
//   5     2000  C [0, 5) and ends at 2030                              10 + 20
TEST(Replay, TimesAreThoseWorkedOutByHand) {
  const Trace trace = trace_of({{0, 100, 3}, {50, 10, 2}, {2000, 5, 1}});
  const ReplayResult r =
      replayed(trace, small_machine(10), {.policy = "aggressive", .max_tokens = 50});
  ASSERT_EQ(r.outcomes.size(), 3u);
  const auto &a = r.outcomes[0], &b = r.outcomes[1], &c = r.outcomes[2];
  EXPECT_EQ(a.first_scheduled_us, 0u);
  EXPECT_EQ(a.first_token_us, 706u);
  EXPECT_EQ(a.ended_us, 872u);
  EXPECT_EQ(a.longest_gap_us, 85u);
  EXPECT_EQ(a.num_outputs, 3u);
  EXPECT_EQ(b.first_scheduled_us, 74u);
  EXPECT_EQ(b.first_token_us, 706u);
  EXPECT_EQ(b.ended_us, 791u);
  EXPECT_EQ(c.first_scheduled_us, 2000u);
  EXPECT_EQ(c.first_token_us, 2030u);
  EXPECT_EQ(c.longest_gap_us, 0u);
  EXPECT_EQ(r.end_us, 2030u);
  EXPECT_EQ(r.work.num_steps, 5u);
  EXPECT_EQ(r.work.prefill_new, 115u);
  EXPECT_EQ(r.work.decoded, 3u);
  EXPECT_EQ(r.work.recomputed, 0u);
  EXPECT_EQ(r.gaps_us.count(), 3u);
  EXPECT_EQ(r.gaps_us.quantile(1.0), 85.0);
  // Blocks in use: 1, 3, 3, 2, none, 1 of 10.
  EXPECT_DOUBLE_EQ(r.pool_use_peak, 0.3);
  EXPECT_DOUBLE_EQ(r.pool_use_mean, (1 * 74 + 3 * 632 + 3 * 85 + 2 * 81 + 1 * 30) / (10.0 * 2030));
}

TEST(Replay, TheSlaJudgesFirstTokenAndLongestGap) {
  const Trace trace = trace_of({{0, 100, 3}, {50, 10, 2}, {2000, 5, 1}});
  ReplayOptions options = {.policy = "aggressive", .max_tokens = 50};
  const ReplayResult r = replayed(trace, small_machine(10), options);
  options.sla = {.ttft_s = 656e-6, .gap_s = 85e-6};  // B's TTFT and gap exactly; A is 50 us late
  EXPECT_DOUBLE_EQ(summarise(trace, r, options).in_sla, 2.0 / 3);
  EXPECT_DOUBLE_EQ(summarise(trace, r, options).goodput, 2.0 / 2030e-6);
  options.sla = {.ttft_s = 706e-6, .gap_s = 85e-6};
  EXPECT_DOUBLE_EQ(summarise(trace, r, options).in_sla, 1.0);
  options.sla = {.ttft_s = 706e-6, .gap_s = 84e-6};
  EXPECT_DOUBLE_EQ(summarise(trace, r, options).in_sla, 1.0 / 3) << "C has no gap";
  const RunMetrics m = summarise(trace, r, options);
  EXPECT_DOUBLE_EQ(m.queue_mean_s, 24e-6 / 3);
  EXPECT_DOUBLE_EQ(m.ttft_p50_s, 656e-6);
  EXPECT_DOUBLE_EQ(m.throughput, 3.0 / 2030e-6);
}

TEST(Replay, WhatThePoolCanNeverHoldIsRefusedAndCounted) {
  const Trace trace = trace_of({{0, 100, 3}, {0, 600, 3}, {5, 10, 2}});
  const ReplayOptions options = {.policy = "aggressive", .max_tokens = 50};
  const ReplayResult r = replayed(trace, small_machine(10), options);
  EXPECT_TRUE(r.outcomes[1].refused);
  EXPECT_FALSE(r.outcomes[0].refused || r.outcomes[2].refused);
  EXPECT_EQ(summarise(trace, r, options).num_refused, 1u);
  EXPECT_DOUBLE_EQ(summarise(trace, r, options).in_sla, 2.0 / 3);
}

TEST(Replay, OutputsEndAtTheTracesLengthOrAtMaxTokens) {
  const Trace trace = trace_of({{0, 10, 20}, {0, 10, 200}});
  const ReplayResult r =
      replayed(trace, small_machine(10), {.policy = "aggressive", .max_tokens = 50});
  EXPECT_EQ(r.outcomes[0].num_outputs, 20u);
  EXPECT_EQ(r.outcomes[1].num_outputs, 50u);
}

TEST(Replay, AnUnknownPolicyIsAnError) {
  const Result<ReplayResult> r =
      replay(trace_of({{0, 1, 1}}), small_machine(10), {.policy = "none"});
  ASSERT_FALSE(r.ok());
  EXPECT_THAT(r.status().message(), HasSubstr("past_future"));
}

TEST(Replay, DefaultMaxTokensCutsNothing) {
  EXPECT_EQ(default_max_tokens(trace_of({{0, 1, 100}})), 4096u);
  EXPECT_EQ(default_max_tokens(trace_of({{0, 1, 8192}})), 8192u);
  EXPECT_EQ(default_max_tokens(trace_of({{0, 1, 8193}})), 16384u);
}

// ---- prefix cache

uint32_t cached_of_second(std::vector<uint64_t> first, std::vector<uint64_t> second, bool cache) {
  const Trace trace =
      trace_of({{0, 600, 1, std::move(first)}, {9'000'000, 600, 1, std::move(second)}});
  const ReplayResult r = replayed(trace, h200(), {.prefix_cache = cache});
  EXPECT_EQ(r.work.from_cache, r.outcomes[1].cached_prompt_tokens);
  EXPECT_EQ(r.work.prefill_new, 1200 - r.work.from_cache);
  return r.outcomes[1].cached_prompt_tokens;
}

TEST(Replay, EqualPrefixIdsHitTheCacheInWholeBlocks) {
  EXPECT_EQ(cached_of_second({1, 2}, {1, 2}, true), 576u) << "9 blocks of 64, one position short";
  EXPECT_EQ(cached_of_second({1, 2}, {1, 3}, true), 512u);
  EXPECT_EQ(cached_of_second({1, 2}, {3, 2}, true), 0u) << "equal ids after another prefix";
  EXPECT_EQ(cached_of_second({}, {}, true), 0u) << "prompts of their own";
  EXPECT_EQ(cached_of_second({1, 2}, {1, 2}, false), 0u);
}

// ---- plans

struct Logged {
  ReplayResult result;
  std::string plans;
};
Logged logged(const Trace& trace, ReplayOptions options, const MachineModel& machine = h200()) {
  std::ostringstream log;
  options.plan_log = &log;
  ReplayResult result = replayed(trace, machine, options);
  return {std::move(result), log.str()};
}

TEST(Replay, TheSameTraceAndSeedGiveTheSamePlans) {
  const Trace trace = long_output_trace(80, 3.0, 1);
  for (const char* policy : {"past_future", "aggressive"}) {
    const Logged first = logged(trace, {.policy = policy});
    const Logged again = logged(trace, {.policy = policy});
    EXPECT_EQ(first.plans, again.plans);
    EXPECT_EQ(first.result.plan_digest, again.result.plan_digest);
    const Logged other = logged(long_output_trace(80, 3.0, 2), {.policy = policy});
    EXPECT_NE(first.plans, other.plans);
    EXPECT_NE(first.result.plan_digest, other.result.plan_digest);
  }
}

// Ten blocks hold A with 50 outputs beside B, and not A with 400. Untold, the scheduler lets B wait
// in both cases until A has ended, in step 50; told, it admits B in step 2 or does not.
TEST(Replay, TheSchedulerDoesNotLearnALengthBeforeItsEnd) {
  const Trace shorter = trace_of({{0, 64, 50}, {1, 64, 300}});
  const Trace longer = trace_of({{0, 64, 400}, {1, 64, 300}});
  const auto last_common_step = [&](bool true_lengths) {
    const ReplayOptions options = {.max_tokens = 450, .true_lengths = true_lengths};
    std::istringstream a(logged(shorter, options, small_machine(10)).plans);
    std::istringstream b(logged(longer, options, small_machine(10)).plans);
    std::string x, y, step;
    while (std::getline(a, x) && std::getline(b, y) && x == y) {
      step = x.find("end_us") == 0 ? x : step;
    }
    return step.substr(step.find("step"));
  };
  EXPECT_EQ(last_common_step(false), "step 50");
  EXPECT_EQ(last_common_step(true), "step 1");
}

// scheduler.md sec. 4 and 8, 8; that memory was short at all is shown by aggressive admission.
TEST(Replay, TheOracleNeverPreemptsOnLongOutput) {
  const Trace trace = long_output_trace(400, 2.0, 1);
  const ReplayResult oracle = replayed(trace, h200(), {.true_lengths = true});
  EXPECT_EQ(oracle.num_preemptions, 0u);
  EXPECT_EQ(oracle.work.recomputed, 0u);
  const ReplayResult aggressive = replayed(trace, h200(), {.policy = "aggressive"});
  EXPECT_GT(aggressive.num_preemptions, 0u);
  EXPECT_GT(aggressive.work.recomputed, 0u);
  uint64_t by_requests = 0;
  for (const RequestOutcome& outcome : aggressive.outcomes) {
    by_requests += outcome.num_preemptions;
  }
  EXPECT_EQ(aggressive.num_preemptions, by_requests);
}

TEST(Metrics, AveragesAreMeansAndATableHasARowPerRun) {
  RunMetrics a{.label = "p", .num_requests = 10, .goodput = 1.0, .num_preemptions = 3};
  RunMetrics b{.label = "p", .num_requests = 10, .goodput = 2.0, .num_preemptions = 6};
  const RunMetrics m = average({a, b});
  EXPECT_DOUBLE_EQ(m.goodput, 1.5);
  EXPECT_EQ(m.num_preemptions, 5u) << "4.5, rounded";
  EXPECT_THAT(markdown_table({m, m}), HasSubstr("| p | 1.500 |"));
  const std::string table = markdown_table({m, m});
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 4);
}

}  // namespace
}  // namespace stet::sim
