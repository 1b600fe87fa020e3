#include "stet/sched/token_budget.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "stet/sched/output_lengths.h"
#include "stet/sched/step_time.h"
#include "tests/sched/estimator_cases.h"

namespace stet::sched {
namespace {

constexpr StepCoefficients kTruth = {.a_us = 1000, .c_us = 500, .r_us = 0.5, .q_us = 0.02};

// A model that has seen steps of every size up to `most_tokens`.
StepTimeModel taught(uint32_t most_tokens) {
  StepTimeModel model;
  TestRandom random(1);
  for (uint32_t i = 0; i < 2000; ++i) {
    StepShape shape = {.num_tokens = 1 + random.below(most_tokens),
                       .decode_context = random.below(5000)};
    shape.chunk_context = attended(random.below(3000), shape.num_tokens);
    model.observe(shape, static_cast<uint64_t>(kTruth.predict_us(shape)));
  }
  return model;
}

RunningSeq decoding(uint64_t itl_target_us) {
  return {.num_known_tokens = 100, .num_computed_tokens = 99, .itl_target_us = itl_target_us};
}
RunningSeq prefilling(uint32_t computed, uint64_t itl_target_us = 0) {
  return {.num_known_tokens = computed + 5000,
          .num_computed_tokens = computed,
          .itl_target_us = itl_target_us};
}

SchedView view_of(const std::vector<RunningSeq>& running) {
  return {.max_step_tokens = 2048, .chunk_cap = 2048, .running = running};
}

TEST(TokenBudget, WithoutATargetItIsTheWholeStep) {
  const std::vector<RunningSeq> running = {decoding(0), prefilling(0)};
  const TokenBudget budget = token_budget(view_of(running), taught(2048));
  EXPECT_EQ(budget.num_tokens, 2048u);
  EXPECT_EQ(budget.least_prefill_tokens, 0u);
  EXPECT_EQ(budget.itl_limit_us, 0u);
}

// The largest budget within 0.8 of the smallest target: one position more would not fit.
TEST(TokenBudget, IsTheLargestThatFitsTheSmallestTarget) {
  const StepTimeModel model = taught(2048);
  for (const uint32_t context : {0U, 1000U, 3000U}) {
    const std::vector<RunningSeq> running = {decoding(500'000), decoding(200'000), decoding(0),
                                             prefilling(context)};
    const TokenBudget budget = token_budget(view_of(running), model);
    EXPECT_EQ(budget.itl_limit_us, 160'000u);
    EXPECT_FALSE(budget.at_floor);
    const auto predicted = [&](uint32_t num_tokens) {
      return model.predict_us({.num_tokens = num_tokens,
                               .decode_context = 300,
                               .chunk_context = attended(context, num_tokens - 3)});
    };
    EXPECT_LE(predicted(budget.num_tokens), 160'000.0);
    EXPECT_GT(predicted(budget.num_tokens + 1), 160'000.0);
  }
}

TEST(TokenBudget, ALongerContextLeavesLess) {
  const StepTimeModel model = taught(2048);
  const auto tokens = [&](uint32_t context) {
    const std::vector<RunningSeq> running = {decoding(200'000), prefilling(context)};
    return token_budget(view_of(running), model).num_tokens;
  };
  EXPECT_LT(tokens(8000), tokens(0));
}

TEST(TokenBudget, ATargetOfSomebodyWhoPrefillsCountsOnlyForLaterSteps) {
  const std::vector<RunningSeq> running = {decoding(0), prefilling(0, 100'000)};
  const TokenBudget budget = token_budget(view_of(running), taught(2048));
  EXPECT_EQ(budget.num_tokens, 2048u);
  EXPECT_EQ(budget.least_prefill_tokens, kLeastPrefillTokens);
  const std::vector<WaitingSeq> waiting = {{.fork_source = {}, .itl_target_us = 1}};
  SchedView view = {.max_step_tokens = 2048, .waiting = waiting};
  EXPECT_EQ(token_budget(view, taught(2048)).least_prefill_tokens, kLeastPrefillTokens);
}

TEST(TokenBudget, ATargetThatCannotBeMetLeavesATileBesideTheDecodes) {
  const std::vector<RunningSeq> running(100, decoding(1000));
  const TokenBudget budget = token_budget(view_of(running), taught(2048));
  EXPECT_TRUE(budget.at_floor);
  EXPECT_EQ(budget.num_tokens, 164u);
  SchedView small = view_of(running);
  small.max_step_tokens = 120;
  EXPECT_EQ(token_budget(small, taught(2048)).num_tokens, 120u);
}

// Without data, and beyond twice what was seen, it does not trust the model.
TEST(TokenBudget, GrowsWithWhatWasSeen) {
  const std::vector<RunningSeq> running = {decoding(1'000'000'000)};
  EXPECT_EQ(token_budget(view_of(running), StepTimeModel()).num_tokens, 65u);
  EXPECT_EQ(token_budget(view_of(running), taught(100)).num_tokens, 200u);
  EXPECT_EQ(token_budget(view_of(running), taught(2048)).num_tokens, 2048u);
}

// On a machine that is nothing like the prior the largest budget is found within a few steps, and
// no step on the way is longer than the target.
TEST(TokenBudget, FindsItsSizeFromAColdStart) {
  for (const StepCoefficients& truth :
       {kTruth, StepCoefficients{.a_us = 2000, .w_us = 17'500, .c_us = 140},
        StepCoefficients{.a_us = 100, .w_us = 200, .c_us = 3}}) {
    const uint64_t target_us = 200'000;
    const std::vector<RunningSeq> running = {decoding(target_us), prefilling(0)};
    StepTimeModel model;
    uint32_t best = 1;
    while (best < 2048 &&
           truth.predict_us({.num_tokens = best + 1}) <= 0.8 * static_cast<double>(target_us)) {
      ++best;
    }
    TokenBudget budget;
    for (uint32_t i = 0; i < 20; ++i) {
      budget = token_budget(view_of(running), model);
      const StepShape shape = {.num_tokens = budget.num_tokens, .decode_context = 100};
      const double actual = truth.predict_us(shape);
      EXPECT_LE(actual, static_cast<double>(target_us)) << "step " << i;
      model.observe(shape, static_cast<uint64_t>(actual));
    }
    EXPECT_GT(budget.num_tokens, best * 9 / 10);
    EXPECT_LE(budget.num_tokens, best * 11 / 10);
  }
}

TEST(ShortFirst, GivesWholeTilesAndLeavesOne) {
  EXPECT_EQ(short_first_tokens(127, 25), 0u);
  EXPECT_EQ(short_first_tokens(128, 25), 64u);
  EXPECT_EQ(short_first_tokens(256, 25), 64u);
  EXPECT_EQ(short_first_tokens(2048, 25), 512u);
  EXPECT_EQ(short_first_tokens(2048, 0), 0u);
  EXPECT_EQ(short_first_tokens(2048, 100), 1984u);
}

TEST(ShortFirst, TheOldestKeepAtLeastWhatAdmissionCountsOn) {
  for (uint32_t percent = 0; percent <= 100; ++percent) {
    uint32_t least = UINT32_MAX;  // over all budgets from b on
    for (uint32_t b = 1500; b > 0; --b) {
      least = std::min(least, b - short_first_tokens(b, percent));
      ASSERT_LE(least_oldest_first_tokens(b, percent), least) << b << " " << percent;
      ASSERT_GE(least_oldest_first_tokens(b, percent), std::min(b, 64U));
    }
  }
}

}  // namespace
}  // namespace stet::sched
