#include "stet/sched/token_price.h"

#include <gtest/gtest.h>

namespace stet::sched {
namespace {

TEST(TokenPrice, BeforeAnythingIsLearnedEveryTokenCostsTheSame) {
  const StepTimeModel model;
  for (const uint32_t step_tokens : {1U, 7U, 256U}) {
    const TokenPrice price = token_price(model.coefficients(), step_tokens, 256);
    EXPECT_DOUBLE_EQ(price.output, 1.0);
    EXPECT_NEAR(price.of_output(1000), 1.0, 1e-9);
  }
}

// 2 ms + max(16 ms, 0.2 ms n): a full step of 1000 takes 202 ms, so the unit is 0.202 ms.
TEST(TokenPrice, APositionPaysItsShareOfTheStepThatComputedIt) {
  const StepCoefficients c = {.a_us = 2000, .w_us = 16'000, .c_us = 200, .r_us = 0.101, .q_us = 9};
  EXPECT_DOUBLE_EQ(token_price(c, 1000, 1000).output, 1.0);
  EXPECT_DOUBLE_EQ(token_price(c, 1, 1000).output, 18'000 / 202.0);
  EXPECT_DOUBLE_EQ(token_price(c, 10, 1000).output, 1800 / 202.0);
  EXPECT_DOUBLE_EQ(token_price(c, 10, 1000).of_output(400), 1800 / 202.0 + 400 * 0.101 / 202.0);
}

// What all rows of a step of decodes pay is its predicted time.
TEST(TokenPrice, DecodesTogetherPayTheWholeStep) {
  const StepCoefficients c = {.a_us = 500, .w_us = 4000, .c_us = 450, .r_us = 0.8};
  const double unit_us = c.predict_us({.num_tokens = 256}) / 256;
  for (const uint32_t n : {1U, 5U, 40U, 200U}) {
    double paid = 0.0;
    uint64_t context = 0;
    for (uint32_t i = 0; i < n; ++i) {
      paid += token_price(c, n, 256).of_output(100 + i);
      context += 100 + i;
    }
    EXPECT_NEAR(paid * unit_us, c.predict_us({.num_tokens = n, .decode_context = context}), 1e-6);
  }
}

TEST(TokenPrice, APromptInFullStepsTakesItsTokensAndWhatTheyAttendTo) {
  const StepCoefficients c = {.a_us = 500, .w_us = 4000, .c_us = 450, .r_us = 0.8, .q_us = 0.5};
  double steps_us = 0.0;
  for (uint32_t first = 0; first < 1024; first += 256) {
    steps_us += c.predict_us({.num_tokens = 256, .chunk_context = attended(first, 256)});
  }
  EXPECT_NEAR(prefill_us(c, 1024, 256), steps_us, 1e-6);
}

TEST(TokenPrice, NoOutputCostsMoreThanAFullStep) {
  const StepCoefficients launch_only = {.a_us = 1000};
  EXPECT_DOUBLE_EQ(token_price(launch_only, 1, 256).output, 256.0);
  EXPECT_DOUBLE_EQ(token_price({}, 1, 256).output, 1.0) << "no time at all";
  EXPECT_DOUBLE_EQ(token_price(launch_only, 300, 256).output, 1.0) << "larger than full";
}

}  // namespace
}  // namespace stet::sched
