// Seeded runs of the real engine against everything the checkers know (scheduler.md sec. 8, kv.md
// sec. 13).
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "stet/sched/policy.h"
#include "tests/sim/world.h"

namespace stet::sim {
namespace {

constexpr uint64_t kNumSeeds = 2000;

TEST(Simulator, TwoThousandSeedsKeepEveryPromise) {
  Coverage all;
  for (uint64_t seed = 0; seed < kNumSeeds; ++seed) {
    const RunReport report = run_world(make_world(seed));
    ASSERT_EQ(report.failure, "") << "seed " << seed << "; replay: stet_sim_check --first " << seed
                                  << " --seeds 1";
    all.add(report.coverage);
  }
  // What a run never met, it has not shown.
  for (const uint64_t count :
       {all.preemptions,    all.cached_tokens, all.shares,        all.copies,
        all.replaces,       all.faults,        all.cancelled,     all.expired,
        all.queue_timeouts, all.aborted,       all.parks,         all.finished_by_client,
        all.resumes,        all.refused_full,  all.refused_never, all.refused_draining,
        all.completed,      all.followed,      all.late,          all.cut_to_target,
        all.at_floor,       all.pins}) {
    EXPECT_GT(count, 20u);
  }
}

TEST(Simulator, EqualSeedsGiveEqualPlans) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const WorldConfig world = make_world(seed);
    EXPECT_EQ(run_world(world).plan_digest, run_world(world).plan_digest) << "seed " << seed;
  }
}

uint64_t preemptions_of(WorldConfig world, const char* policy) {
  world.options.policy = policy;
  const RunReport report = run_world(world);
  EXPECT_EQ(report.failure, "") << "seed " << world.seed << " " << policy;
  return report.coverage.preemptions;
}

// scheduler.md sec. 4 and 8, 8. That blocks were short at all is shown by the same worlds under
// aggressive admission, and that it was the lengths by the same worlds with half of them. In four
// parts, because it is the longest test of all.
class TrueLengths : public testing::TestWithParam<uint64_t> {};

TEST_P(TrueLengths, PastFutureNeverPreempts) {
  constexpr uint64_t kPart = kNumSeeds / 4;
  uint64_t aggressive = 0, misled = 0;
  for (uint64_t seed = GetParam() * kPart; seed < (GetParam() + 1) * kPart; ++seed) {
    WorldConfig world = seed % 16 == 0 ? make_crowded_world(seed) : make_world(seed);
    give_true_lengths(&world);
    ASSERT_EQ(preemptions_of(world, "past_future"), 0u) << "seed " << seed;
    ASSERT_EQ(preemptions_of(world, "past_future_sampled"), 0u) << "seed " << seed;
    aggressive += preemptions_of(world, "aggressive");
    world.true_lengths = false;
    for (ClientPlan& client : world.clients) {
      client.request.expected_output_tokens = 1 + client.request.expected_output_tokens / 2;
    }
    misled += preemptions_of(world, "past_future");
  }
  EXPECT_GT(aggressive, 250u);
  EXPECT_GT(misled, 25u);
}

INSTANTIATE_TEST_SUITE_P(AllSeeds, TrueLengths, testing::Range(uint64_t{0}, uint64_t{4}));

// Checked per request by the clients (scheduler.md sec. 8, 4).
TEST(Simulator, WhenPredictionFailsNobodyIsPreemptedMoreThanThreeTimes) {
  uint64_t preemptions = 0;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    const WorldConfig world = make_misled_world(seed);
    preemptions += preemptions_of(world, seed % 2 == 0 ? "past_future" : "past_future_sampled");
  }
  EXPECT_GT(preemptions, 1000u);
}

// Steps cut to ITL targets, and shares for the shortest, make a prefill hold its blocks for longer;
// admission counts on the least. The control is Planted::kSmallBudgetsForgotten in these worlds.
TEST(Simulator, WithTrueLengthsPastFutureNeverPreemptsUnderTargetsEither) {
  uint64_t at_floor = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    WorldConfig world = make_long_prompt_world(seed);
    give_true_lengths(&world);
    world.options.policy = seed % 2 == 0 ? "past_future" : "past_future_sampled";
    const RunReport report = run_world(world);
    ASSERT_EQ(report.failure, "") << "seed " << seed;
    ASSERT_EQ(report.coverage.preemptions, 0u) << "seed " << seed;
    at_floor += report.coverage.at_floor;
  }
  EXPECT_GT(at_floor, 1000u);
}

// A planted fault must be found within a few hundred seeds: by a checker, or by an invariant that
// aborts.
class PlantedFault : public testing::TestWithParam<Planted> {};

void hunt(Planted planted) {
  for (uint64_t seed = 0; seed < 600; ++seed) {
    WorldConfig world = make_world(seed);
    if (seed % 5 == 0) {
      world = make_misled_world(seed);
    } else if (seed % 3 == 0) {
      world = make_crowded_world(seed);
      give_true_lengths(&world);
    }
    if (planted == Planted::kSmallBudgetsForgotten) {
      world = make_long_prompt_world(seed);
      give_true_lengths(&world);
    }
    const RunReport report = run_world(world, planted);
    if (!report.failure.empty()) {
      std::fprintf(stderr, "seed %llu: %s\n", static_cast<unsigned long long>(seed),
                   report.failure.c_str());
      std::_Exit(1);
    }
  }
  std::_Exit(0);
}

TEST_P(PlantedFault, IsFound) {
  EXPECT_EXIT(
      hunt(GetParam()), [](int status) { return !(WIFEXITED(status) && WEXITSTATUS(status) == 0); },
      "");
}

INSTANTIATE_TEST_SUITE_P(Controls, PlantedFault, testing::ValuesIn(kAllPlanted),
                         [](const auto& control) { return planted_name(control.param); });

// Small worlds, all of them: three requests, four blocks, every mix of lengths, cancel time and
// policy.
TEST(SmallWorlds, ThreeRequestsOnFourBlocksAreAllRight) {
  constexpr uint32_t kPrompts[] = {1, 8, 15};
  constexpr uint32_t kOutputs[] = {1, 9, 16};
  uint64_t worlds = 0;
  const std::vector<std::string_view> policies = sched::policy_names();
  const auto num_policies = static_cast<uint32_t>(policies.size());
  for (uint32_t code = 0; code < 9 * 9 * 9 * 4 * num_policies; ++code) {
    uint32_t rest = code;
    const auto digit = [&rest](uint32_t base) {
      const uint32_t d = rest % base;
      rest /= base;
      return d;
    };
    WorldConfig world;
    world.fake = {.num_blocks = 4,
                  .block_tokens = 8,
                  .vocab_size = 50,
                  .max_model_len = 32,
                  .max_step_tokens = 10,
                  .max_sequences = 3,
                  .step_us = 10,
                  .on_violation = {}};
    for (uint32_t i = 0; i < 3; ++i) {
      ClientPlan client;
      client.arrival_us = 1 + i * 10;
      client.request.prompt_token_ids.assign(kPrompts[digit(3)], 7);
      client.request.sampling.max_tokens = kOutputs[digit(3)];
      world.clients.push_back(client);
    }
    world.clients[0].cancel_after_tokens = digit(4) * 3;
    world.options.policy = policies[digit(num_policies)];
    const RunReport report = run_world(world);
    ASSERT_EQ(report.failure, "") << "world " << code;
    ++worlds;
  }
  EXPECT_EQ(worlds, 2916u * num_policies);
}

}  // namespace
}  // namespace stet::sim
