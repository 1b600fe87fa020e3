#include "src/sim/forecast.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/sim/line_chart.h"
#include "src/sim/quantiles.h"

namespace stet::sim {
namespace {

using ::testing::HasSubstr;

// In blocks of 64, with A = 60 tokens for 10 steps and B = 64 tokens for 3:
//   step 0: 1 + 1;  1..2: 1 + 2;  3..4: 1;  5..9: 2
TEST(TruePeak, IsThatOfTheWorstStep) {
  const sched::SeqMemory a{.num_known_tokens = 60, .max_outputs = 50, .known_outputs = 10};
  const sched::SeqMemory b{.num_known_tokens = 64, .max_outputs = 50, .known_outputs = 3};
  const sched::PoolShape pool{.num_blocks = 100, .block_tokens = 64};
  EXPECT_EQ(true_peak(std::vector{a}, pool), 2u * 64);
  EXPECT_EQ(true_peak(std::vector{a, b}, pool), 3u * 64);
  sched::SeqMemory late = b;
  late.first_token_step = 7;  // it holds its prompt from the start, and grows in steps 8 and 9
  EXPECT_EQ(true_peak(std::vector{a, late}, pool), 4u * 64);
}

TEST(TruePeak, SharedBlocksCountOnceWhileAHolderLives) {
  const std::vector<BlockId> table = {BlockId{7}};
  const sched::SeqMemory a{
      .num_known_tokens = 100, .max_outputs = 50, .known_outputs = 2, .table = table};
  const sched::PoolShape pool{.num_blocks = 100, .block_tokens = 64};
  EXPECT_EQ(true_peak(std::vector{a, a, a}, pool), 4u * 64);
  sched::SeqMemory apart = a;
  apart.table = {};
  EXPECT_EQ(true_peak(std::vector{apart, apart, apart}, pool), 6u * 64);
}

// The estimator's own bound with true lengths is never below the truth and at most a block per
// sequence above it: the truth here is counted another way.
TEST(ForecastScore, WithTrueLengthsTheEstimateBoundsTheTruth) {
  const MachineModel machine =
      load_machine(std::string(STET_SOURCE_DIR) + "/configs/sim/70b-h200-assumed.json").value();
  const Trace trace = long_output_trace(300, 1.5, 1);
  ForecastScore all(trace, 1), some(trace, 4);
  ASSERT_TRUE(replay(trace, machine, {.observer = &all}).ok());
  ASSERT_TRUE(replay(trace, machine, {.observer = &some}).ok());
  ASSERT_GT(all.samples().size(), 100u);
  EXPECT_EQ(some.samples().size(), (all.samples().size() + 3) / 4);
  size_t different = 0;
  for (const ForecastSample& s : all.samples()) {
    EXPECT_GE(s.moments_true_lengths, s.true_peak);
    EXPECT_LE(s.moments_true_lengths, s.true_peak + 64 * s.num_seqs);
    EXPECT_GE(s.true_peak, s.used_tokens);
    different += s.moments != s.moments_true_lengths ? 1 : 0;
  }
  EXPECT_GT(different, all.samples().size() / 2) << "the forecast does not know the lengths";
}

TEST(ForecastScore, LookingChangesNothing) {
  const MachineModel machine =
      load_machine(std::string(STET_SOURCE_DIR) + "/configs/sim/70b-h200-assumed.json").value();
  const Trace trace = long_output_trace(100, 3.0, 1);
  ForecastScore score(trace, 1);
  EXPECT_EQ(replay(trace, machine, {}).value().plan_digest,
            replay(trace, machine, {.observer = &score}).value().plan_digest);
}

TEST(ForecastErrors, ArePerCentOfThePool) {
  const std::vector<ForecastSample> samples = {
      {.true_peak = 100, .moments = 150, .sampled = 90, .moments_true_lengths = 100},
      {.true_peak = 100, .moments = 250, .sampled = 110, .moments_true_lengths = 100}};
  const std::vector<ForecastError> errors = forecast_errors(samples, 1000);
  EXPECT_DOUBLE_EQ(errors[0].mean, 10.0);
  EXPECT_DOUBLE_EQ(errors[0].p50, 5.0);
  EXPECT_DOUBLE_EQ(errors[0].too_low, 0.0);
  EXPECT_DOUBLE_EQ(errors[1].mean, 0.0);
  EXPECT_DOUBLE_EQ(errors[1].too_low, 0.5);
  EXPECT_THAT(markdown_table(errors), HasSubstr("| moments | 2 | 10.0 | 5.0 | 5.0 | 15.0 | 0.0 |"));
}

TEST(Quantiles, AreOfTheNearestRank) {
  EXPECT_EQ(quantile({}, 0.5), 0.0);
  EXPECT_EQ(quantile({3, 1, 2, 4}, 0.5), 2.0);
  EXPECT_EQ(quantile({3, 1, 2, 4}, 0.51), 3.0);
  EXPECT_EQ(quantile({3, 1, 2, 4}, 1.0), 4.0);
  EXPECT_EQ(quantile({3, 1, 2, 4}, 0.0), 1.0);
}

TEST(LogHistogram, IsExactBelow256AndWithinOnePart128Above) {
  for (const uint64_t value : {0ULL, 1ULL, 255ULL, 256ULL, 257ULL, 1000ULL, 65'535ULL, 65'536ULL,
                               123'456'789ULL, 1ULL << 40}) {
    LogHistogram histogram;
    histogram.add(value);
    const double found = histogram.quantile(0.5);
    EXPECT_GE(found, static_cast<double>(value));
    EXPECT_LE(found, static_cast<double>(value < 256 ? value : value + value / 128)) << value;
  }
  LogHistogram many;
  for (uint64_t i = 1; i <= 100'000; ++i) {
    many.add(i);
  }
  EXPECT_NEAR(many.quantile(0.5), 50'000, 50'000 / 128.0);
  EXPECT_NEAR(many.quantile(0.99), 99'000, 99'000 / 128.0);
}

TEST(LineChart, HasALineAndALegendPerSeries) {
  const std::string svg = line_chart({.title = "a < b & c",
                                      .x_label = "x",
                                      .y_label = "y",
                                      .series = {{"one", {{0, 0}, {8, 4}}}, {"two", {{1, 1}}}},
                                      .markers = true});
  EXPECT_THAT(svg, HasSubstr("a &lt; b &amp; c"));
  EXPECT_THAT(svg, HasSubstr(">one</text>"));
  EXPECT_THAT(svg, HasSubstr(">two</text>"));
  // x ends at 8, y at 4: the last point stands in the corner of the plot.
  EXPECT_THAT(svg, HasSubstr("points=\"70.0,400.0 690.0,50.0 \""));
  EXPECT_THAT(svg, HasSubstr("<circle"));
  EXPECT_THAT(svg, ::testing::EndsWith("</svg>\n"));
}

}  // namespace
}  // namespace stet::sim
