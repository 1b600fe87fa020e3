// Programs in a replay: when turns come, what they go on from, and what keeping their contexts
// does.
#include "src/sim/agents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace stet::sim {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// A step takes 30 us, more with more than 20 positions.
MachineModel agent_machine(uint32_t num_blocks) {
  return {.name = "small",
          .source = "this test",
          .pool_tokens = num_blocks * 64,
          .block_tokens = 64,
          .max_step_tokens = 256,
          .step = {.a_us = 10, .w_us = 20, .c_us = 1, .r_us = 0, .q_us = 0}};
}
ReplayResult ran(const Trace& trace, const MachineModel& machine, const ReplayOptions& options) {
  return replay(trace, machine, options).value();
}

// One program of three turns; its second turn comes 1 ms after the first, the third 2 ms later.
Trace three_turns() {
  Trace trace{.name = "by hand", .requests = {}};
  trace.requests = {
      {.arrival_us = 100,
       .prompt_tokens = 130,
       .output_tokens = 10,
       .turn = {.program = 1, .turn = 1, .new_tokens = 130}},
      {.arrival_us = 100,
       .prompt_tokens = 150,
       .output_tokens = 60,
       .turn = {.program = 1, .turn = 2, .gap_us = 1000, .new_tokens = 10}},
      {.arrival_us = 100,
       .prompt_tokens = 260,
       .output_tokens = 3,
       .turn = {.program = 1, .turn = 3, .last = true, .gap_us = 2000, .new_tokens = 50}}};
  return trace;
}

TEST(AgentReplay, ATurnComesItsGapAfterTheOneBeforeAndGoesOnFromIt) {
  for (const bool pins : {false, true}) {
    const ReplayResult r = ran(three_turns(), agent_machine(20),
                               {.max_tokens = 64, .prefix_cache = true, .expect_followups = pins});
    ASSERT_EQ(r.outcomes.size(), 3u);
    EXPECT_EQ(r.outcomes[0].submitted_us, 100u);
    EXPECT_EQ(r.outcomes[1].submitted_us, r.outcomes[0].ended_us + 1000);
    EXPECT_EQ(r.outcomes[2].submitted_us, r.outcomes[1].ended_us + 2000);
    EXPECT_EQ(r.outcomes[0].cached_prompt_tokens, 0u);
    EXPECT_EQ(r.outcomes[1].cached_prompt_tokens, 128u);
    EXPECT_EQ(r.outcomes[2].cached_prompt_tokens, 192u) << "three blocks of 209, the answer's too";
    EXPECT_EQ(r.outcomes[1].num_outputs, 60u);
    EXPECT_EQ(r.pins.placed, pins ? 2u : 0u) << "nothing is expected after the last turn";
    EXPECT_EQ(r.pins.handed_over, pins ? 2u : 0u);
    EXPECT_EQ(r.pins.blocks_taken_over, pins ? 2u + 3u : 0u);
  }
}

// While the program's tool runs, a stranger takes most of the pool.
TEST(AgentReplay, OnlyAPinnedContextOutlivesAStranger) {
  Trace trace = three_turns();
  trace.requests[1].turn.gap_us = 1'000'000;
  for (uint64_t i = 0; i < 4; ++i) {
    trace.requests.push_back(
        {.arrival_us = 200'000 + i * 10'000, .prompt_tokens = 390, .output_tokens = 3});
  }
  ReplayOptions options = {.max_tokens = 64, .prefix_cache = true};
  EXPECT_EQ(ran(trace, agent_machine(10), options).outcomes[1].cached_prompt_tokens, 0u);
  options.expect_followups = true;
  const ReplayResult kept = ran(trace, agent_machine(10), options);
  EXPECT_EQ(kept.outcomes[1].cached_prompt_tokens, 128u);
  options.program_ids = false;
  EXPECT_EQ(ran(trace, agent_machine(10), options).outcomes[1].cached_prompt_tokens, 0u)
      << "whoever names no program expects nothing";
  options.program_ids = true;
  trace.requests[1].turn.gap_us = 3'000'000;  // longer than 2 s, for all the scheduler knows
  EXPECT_EQ(ran(trace, agent_machine(10), options).pins.expired, 1u);
  options.expected_gaps = true;
  EXPECT_EQ(ran(trace, agent_machine(10), options).pins.expired, 0u);
}

TEST(AgentReplay, ATurnThatNeverFitsEndsItsProgram) {
  const ReplayResult r = ran(three_turns(), agent_machine(4), {.max_tokens = 64});
  EXPECT_FALSE(r.outcomes[0].refused || r.outcomes[1].refused);
  EXPECT_TRUE(r.outcomes[2].refused);
  const ReplayResult none = ran(three_turns(), agent_machine(2), {.max_tokens = 64});
  EXPECT_TRUE(std::all_of(none.outcomes.begin(), none.outcomes.end(),
                          [](const RequestOutcome& outcome) { return outcome.refused; }));
  EXPECT_EQ(judge_agents(three_turns(), none, 64).num_refused, 1.0);
}

TEST(AgentReplay, AnAnswerThatIsGoneOnFromIsNotCut) {
  const Result<ReplayResult> r = replay(three_turns(), agent_machine(20), {.max_tokens = 59});
  ASSERT_FALSE(r.ok());
  EXPECT_THAT(r.status().message(), HasSubstr("expected at least 60"));
}

TEST(AgentFigures, AreThoseWorkedOutByHand) {
  const ReplayResult r =
      ran(three_turns(), agent_machine(20), {.max_tokens = 64, .prefix_cache = true});
  const AgentFigures f = judge_agents(three_turns(), r, 64);
  EXPECT_EQ(f.num_programs, 1.0);
  EXPECT_DOUBLE_EQ(f.jct_mean_s, static_cast<double>(r.outcomes[2].ended_us - 100) * 1e-6);
  EXPECT_EQ(f.saved_tokens, 128.0 + 192.0);
  EXPECT_EQ(f.savable_tokens, 128.0 + 192.0);
  EXPECT_EQ(f.queue_mean_s, 0.0) << "an idle machine starts a turn at once";
  AgentFigures twice = f;
  twice.jct_mean_s *= 3.0;
  EXPECT_DOUBLE_EQ(average({f, twice}).jct_mean_s, 2.0 * f.jct_mean_s);
}

// ---- the generator

TEST(AgentTrace, TurnsGoOnFromEachOther) {
  const Trace trace = agent_trace(200, 0.5, 3);
  EXPECT_EQ(trace.requests, agent_trace(200, 0.5, 3).requests);
  EXPECT_NE(trace.requests, agent_trace(200, 0.5, 4).requests);
  std::map<uint8_t, std::vector<double>> gaps_s;
  uint32_t num_programs = 0;
  for (size_t i = 0; i < trace.requests.size(); ++i) {
    const TraceRequest& r = trace.requests[i];
    if (r.turn.turn == 1) {
      ASSERT_TRUE(i == 0 || trace.requests[i - 1].turn.last);
      EXPECT_EQ(r.turn.program, ++num_programs);
      EXPECT_EQ(r.prompt_tokens, kSystemPromptTokens + r.turn.new_tokens);
      EXPECT_EQ(r.prefix_ids.size(), (r.prompt_tokens + 511) / 512);
      EXPECT_TRUE(std::equal(r.prefix_ids.begin(), r.prefix_ids.begin() + 4,
                             trace.requests[0].prefix_ids.begin()));
      EXPECT_TRUE(i == 0 || r.prefix_ids[4] != trace.requests[0].prefix_ids[4]);
      continue;
    }
    const TraceRequest& before = trace.requests[i - 1];
    ASSERT_EQ(r.turn.program, before.turn.program);
    ASSERT_EQ(r.turn.turn, before.turn.turn + 1);
    EXPECT_EQ(r.prompt_tokens, before.prompt_tokens + before.output_tokens + r.turn.new_tokens);
    gaps_s[before.turn.tool].push_back(static_cast<double>(r.turn.gap_us) * 1e-6);
  }
  EXPECT_EQ(num_programs, 200u);
  EXPECT_TRUE(trace.requests.back().turn.last);
  // A median of n lognormals is off by sigma * 1.25 / sqrt(n) in the logarithm; n > 200 here, and 4
  // of them are 0.36.
  const std::map<uint8_t, double> medians = {{0, 0.3}, {1, 2.0}, {2, 15.0}};
  for (const auto& [tool, median] : medians) {
    std::vector<double>& gaps = gaps_s[tool];
    ASSERT_GT(gaps.size(), 200u);
    std::nth_element(gaps.begin(), gaps.begin() + static_cast<ptrdiff_t>(gaps.size() / 2),
                     gaps.end());
    EXPECT_NEAR(std::log(gaps[gaps.size() / 2] / median), 0.0, 0.36);
  }
}

// The bound is what a cache that forgets nothing saves, to the token; a small pool saves less.
TEST(AgentTrace, WhatCanBeSavedIsWhatAnEndlessCacheSaves) {
  const Trace trace = agent_trace(25, 0.02, 2);
  MachineModel machine =
      load_machine(std::string(STET_SOURCE_DIR) + "/configs/sim/70b-h200-assumed.json").value();
  machine.pool_tokens = 4'000'000;
  const ReplayOptions options = {.prefix_cache = true};
  const AgentFigures endless = judge_agents(trace, ran(trace, machine, options), 64);
  EXPECT_EQ(endless.saved_tokens, endless.savable_tokens);
  EXPECT_EQ(endless.num_refused, 0.0);
  machine.pool_tokens = 50'000;
  const AgentFigures small = judge_agents(trace, ran(trace, machine, options), 64);
  EXPECT_LT(small.saved_tokens, small.savable_tokens);
  EXPECT_GT(small.jct_mean_s, endless.jct_mean_s);
}

TEST(AgentTrace, AsTextEveryTurnHasALine) {
  const Trace trace = agent_trace(3, 0.5, 1);
  const std::string csv = agents_csv(trace);
  EXPECT_THAT(csv, StartsWith("program,turn,after_s,prompt_tokens,output_tokens,tool\n1,1,"));
  EXPECT_EQ(static_cast<size_t>(std::count(csv.begin(), csv.end(), '\n')),
            trace.requests.size() + 1);
}

}  // namespace
}  // namespace stet::sim
