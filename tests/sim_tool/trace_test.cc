#include "src/sim/trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "src/sim/hash_random.h"

namespace stet::sim {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr const char* kHeader = "arrival_s,prompt_tokens,output_tokens\n";
constexpr const char* kHeaderWithIds = "arrival_s,prompt_tokens,output_tokens,prefix_hash_ids\n";

Trace parsed(const std::string& csv) {
  return parse_trace(csv, "t.csv").value();
}

TEST(TraceFile, RowsBecomeRequests) {
  const Trace trace = parsed(std::string(kHeader) + "0.000,374,44\n4.315,396,109\r\n4.315,1,1");
  EXPECT_THAT(trace.requests,
              ElementsAre(TraceRequest{.prompt_tokens = 374, .output_tokens = 44},
                          TraceRequest{4'315'000, 396, 109}, TraceRequest{4'315'000, 1, 1}));
  EXPECT_FALSE(trace.has_prefix_ids());
}

TEST(TraceFile, PrefixIdsAreRunsAndSingles) {
  const Trace trace = parsed(std::string(kHeaderWithIds) + "0,1537,5,7 10-11 0\n0,512,5,3\n");
  EXPECT_THAT(trace.requests[0].prefix_ids, ElementsAre(7, 10, 11, 0));
  EXPECT_THAT(trace.requests[1].prefix_ids, ElementsAre(3));
}

TEST(TraceFile, WritingAndReadingGivesTheSame) {
  for (const std::string& csv : {std::string(kHeader) + "0.000000,374,44\n4.315001,396,109\n",
                                 std::string(kHeaderWithIds) + "0.000000,1537,5,7 10-12\n"}) {
    EXPECT_EQ(to_csv(parsed(csv)), csv);
  }
}

TEST(TraceFile, EveryBadLineIsNamedWithWhatWasExpected) {
  const std::string plain = std::string(kHeader) + "0,10,10\n";
  const std::string ids = kHeaderWithIds;
  const struct {
    std::string csv;
    const char* error;
  } cases[] = {
      {"", "t.csv:1: the header is ''; expected 'arrival_s,prompt_tokens,output_tokens'"},
      {"0,1,1\n", "t.csv:1: the header is '0,1,1'; expected 'arrival_s,"},
      {kHeader, "t.csv:1: the file ends after the header; expected at least one request"},
      {plain + "1,2\n", "t.csv:3: the row has 2 fields; expected 3: arrival_s,"},
      {plain + "\n1,2,3\n", "t.csv:3: the row has 1 fields; expected 3"},
      {plain + "1,2,3,4\n", "t.csv:3: the row has 4 fields; expected 3"},
      {ids + "0,1,1\n", "t.csv:2: the row has 3 fields; expected 4: arrival_s,prompt_tokens,"},
      {plain + "soon,2,3\n", "t.csv:3: arrival_s is 'soon'; expected seconds"},
      {plain + ",2,3\n", "t.csv:3: arrival_s is ''; expected seconds"},
      {plain + "-1,2,3\n", "t.csv:3: arrival_s is '-1'; expected seconds"},
      {plain + "nan,2,3\n", "t.csv:3: arrival_s is 'nan'; expected seconds"},
      {plain + "inf,2,3\n", "t.csv:3: arrival_s is 'inf'; expected seconds"},
      {plain + "1e300,2,3\n", "t.csv:3: arrival_s is '1e300'; expected seconds"},
      {plain + "5,2,3\n4.9,2,3\n", "t.csv:4: arrival_s is '4.9'; expected no less than the row"},
      {plain + "1,0,3\n", "t.csv:3: prompt_tokens is '0'; expected a whole number in 1..16777216"},
      {plain + "1,2.5,3\n", "t.csv:3: prompt_tokens is '2.5'; expected a whole number"},
      {plain + "1,16777217,3\n", "t.csv:3: prompt_tokens is '16777217'; expected a whole number"},
      {plain + "1,99999999999,3\n", "t.csv:3: prompt_tokens is '99999999999'; expected"},
      {plain + "1,2,0\n", "t.csv:3: output_tokens is '0'; expected a whole number"},
      {plain + "1,2,-3\n", "t.csv:3: output_tokens is '-3'; expected a whole number"},
      {plain + "1,2,3 \n", "t.csv:3: output_tokens is '3 '; expected a whole number"},
      {ids + "0,1,1,\n", "t.csv:2: prefix_hash_ids has 0 ids; expected 1 ids, one per started 512"},
      {ids + "0,513,1,4\n", "t.csv:2: prefix_hash_ids has 1 ids; expected 2 ids"},
      {ids + "0,512,1,4 5\n", "t.csv:2: prefix_hash_ids has too many ids at '5'; expected 1 ids"},
      {ids + "0,512,1,0-18446744073709551615\n",
       "t.csv:2: prefix_hash_ids has too many ids at '0-"},
      {ids + "0,1000,1,5-4\n", "t.csv:2: prefix_hash_ids is '5-4'; expected an id, or first-last"},
      {ids + "0,1000,1,5-\n", "t.csv:2: prefix_hash_ids is '5-'; expected an id"},
      {ids + "0,1000,1,-5\n", "t.csv:2: prefix_hash_ids is '-5'; expected an id"},
      {ids + "0,1000,1,1-2-3\n", "t.csv:2: prefix_hash_ids is '1-2-3'; expected an id"},
      {ids + "0,1000,1,1  2\n", "t.csv:2: prefix_hash_ids is ''; expected an id"},
      {ids + "0,1000,1,a b\n", "t.csv:2: prefix_hash_ids is 'a'; expected an id"},
  };
  for (const auto& c : cases) {
    const Result<Trace> trace = parse_trace(c.csv, "t.csv");
    ASSERT_FALSE(trace.ok()) << c.csv;
    EXPECT_EQ(trace.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(trace.status().message(), StartsWith(c.error)) << c.csv;
  }
}

TEST(TraceFile, AMissingFileIsNamed) {
  EXPECT_THAT(load_trace("no/such.csv").status().message(), HasSubstr("no/such.csv"));
}

// ---- shaping

Trace three() {
  return parsed(std::string(kHeaderWithIds) + "0,10,1,0\n2,20,2,1\n6,30,3,0\n");
}

TEST(TraceShape, TheRateIsTheMeanRate) {
  const Trace shaped = shape_trace(three(), {.rate = 1.0});  // recorded: 3 in 6 s
  EXPECT_EQ(shaped.requests[1].arrival_us, 1'000'000u);
  EXPECT_EQ(shaped.requests[2].arrival_us, 3'000'000u);
  EXPECT_DOUBLE_EQ(shaped.requests_per_s(), 1.0);
}

TEST(TraceShape, ABatchComesAtOnce) {
  for (const TraceRequest& r : shape_trace(three(), {.rate = 1.0, .batch = true}).requests) {
    EXPECT_EQ(r.arrival_us, 0u);
  }
}

TEST(TraceShape, FewerRequestsAreTheFirstOnes) {
  const Trace shaped = shape_trace(three(), {.num_requests = 2});
  ASSERT_EQ(shaped.requests.size(), 2u);
  EXPECT_EQ(shaped.requests[0], three().requests[0]);
  EXPECT_EQ(shaped.requests[1], three().requests[1]);
}

TEST(TraceShape, LaterPassesRepeatTheTimesWithDrawnRowsAndIdsOfTheirOwn) {
  const Trace shaped = shape_trace(three(), {.num_requests = 300, .seed = 5});
  ASSERT_EQ(shaped.requests.size(), 300u);
  uint64_t sum = 0;
  for (size_t i = 3; i < 300; ++i) {
    const uint64_t pass = i / 3;
    const TraceRequest& r = shaped.requests[i];
    EXPECT_EQ(r.arrival_us, pass * 8'000'000 + three().requests[i % 3].arrival_us);
    EXPECT_EQ(r.prefix_ids[0] / 2, pass) << "no pass shares a prefix with another";
    EXPECT_EQ(r.prefix_ids[0] % 2, r.prompt_tokens == 20 ? 1u : 0u) << "rows are drawn whole";
    EXPECT_EQ(r.output_tokens * 10, r.prompt_tokens);
    sum += r.output_tokens;
  }
  // Each row a third of 297 times: mean 2, standard deviation 0.82 / sqrt(297) = 0.047; 4 of them.
  EXPECT_NEAR(static_cast<double>(sum) / 297, 2.0, 0.19);
  EXPECT_EQ(shape_trace(three(), {.num_requests = 300, .seed = 5}).requests, shaped.requests);
  EXPECT_NE(shape_trace(three(), {.num_requests = 300, .seed = 6}).requests, shaped.requests);
}

// ---- the generator

// The figures come from the same formulas in Python (SplitMix64, math.log, math.cos, math.exp).
TEST(LongOutput, EqualSeedsGiveTheseVeryRequests) {
  EXPECT_EQ(to_csv(long_output_trace(4, 1.3, 7)),
            "arrival_s,prompt_tokens,output_tokens\n0.251086,801,1609\n0.386621,97,346\n"
            "0.868218,57,2778\n1.123425,380,1124\n");
  EXPECT_NE(to_csv(long_output_trace(4, 1.3, 8)), to_csv(long_output_trace(4, 1.3, 7)));
}

// Logarithms of unclipped lengths are normal, so that their medians are exp(5.6) and exp(7.2), and
// clipping leaves medians alone. Borders: 4 standard errors, of a median 1.2533 sigma / sqrt(n).
TEST(LongOutput, MomentsAreThoseOfTheDesign) {
  constexpr uint32_t kNum = 40'000;
  const Trace trace = long_output_trace(kNum, 2.0, 1);
  std::vector<double> prompts, outputs;
  uint32_t longest = 0, over_one_sigma = 0;
  for (const TraceRequest& r : trace.requests) {
    ASSERT_TRUE(r.prompt_tokens >= 20 && r.prompt_tokens <= 4000);
    ASSERT_TRUE(r.output_tokens >= 20 && r.output_tokens <= 8192);
    prompts.push_back(std::log(r.prompt_tokens + 0.5));  // they were cut down to whole numbers
    outputs.push_back(std::log(r.output_tokens + 0.5));
    longest += r.output_tokens == 8192 ? 1 : 0;
    over_one_sigma += outputs.back() > 7.2 + 0.8 ? 1 : 0;
  }
  const double border = 4 * 1.2533 * 0.8 / std::sqrt(kNum);
  std::nth_element(prompts.begin(), prompts.begin() + kNum / 2, prompts.end());
  std::nth_element(outputs.begin(), outputs.begin() + kNum / 2, outputs.end());
  EXPECT_NEAR(prompts[kNum / 2], 5.6, border);
  EXPECT_NEAR(outputs[kNum / 2], 7.2, border);
  // P(Z > 1) = 0.1587; P(output > 8192) = P(Z > 2.264) = 0.0118. Binomial, 4 standard errors.
  EXPECT_NEAR(static_cast<double>(over_one_sigma) / kNum, 0.1587, 4 * 0.3654 / std::sqrt(kNum));
  EXPECT_NEAR(static_cast<double>(longest) / kNum, 0.0118, 4 * 0.108 / std::sqrt(kNum));
  // 40 000 gaps of mean 0.5 s with as large a deviation.
  EXPECT_NEAR(trace.requests_per_s(), 2.0, 4 * 2.0 / std::sqrt(kNum));
}

TEST(HashRandom, UniformsNeverTouchTheBorders) {
  HashRandom random(3);
  double smallest = 1.0, largest = 0.0;
  for (int i = 0; i < 100'000; ++i) {
    const double u = random.uniform();
    smallest = std::min(smallest, u);
    largest = std::max(largest, u);
  }
  EXPECT_GT(smallest, 0.0);
  EXPECT_LT(largest, 1.0);
  EXPECT_LT(smallest, 1e-3);
  EXPECT_GT(largest, 1.0 - 1e-3);
}

}  // namespace
}  // namespace stet::sim
