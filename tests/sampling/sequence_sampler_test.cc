#include "stet/sampling/sequence_sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>

namespace stet::sampling {
namespace {

constexpr uint32_t kVocab = 5000;  // more than one tile of C7
constexpr float kInf = std::numeric_limits<float>::infinity();

const kernels::KernelTable& table() {
  return *kernels::find_table("scalar");
}

std::vector<float> random_logits(uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0.0f, 3.0f);
  std::vector<float> logits(kVocab);
  for (float& x : logits) {
    x = normal(random);
  }
  return logits;
}

NewSequence record(const SamplingParams& params) {
  NewSequence r;
  r.sampling = params;
  return r;
}

class SamplerTest : public ::testing::Test {
 protected:
  void SetUp() override { kernels::set_float_environment(); }
  SamplerScratch scratch_{kVocab};
  Draw draw_;
};

// C7's processors, written as plainly as they can be.
std::vector<float> naive_process(std::vector<float> x, const SamplingParams& p,
                                 const std::vector<uint32_t>& prompt,
                                 const std::vector<uint32_t>& output) {
  for (auto [id, bias] : p.logit_bias) {
    x[id] = x[id] + bias;
  }
  for (uint32_t id = 0; id < x.size(); ++id) {
    const bool allowed = p.allowed_token_ids.empty() ||
                         std::count(p.allowed_token_ids.begin(), p.allowed_token_ids.end(), id) > 0;
    const bool barred = output.size() < p.min_tokens &&
                        std::count(p.stop_token_ids.begin(), p.stop_token_ids.end(), id) > 0;
    const auto count = std::count(output.begin(), output.end(), id);
    if (!allowed || barred) {
      x[id] = -kInf;
      continue;
    }
    if (count > 0 || std::count(prompt.begin(), prompt.end(), id) > 0) {
      x[id] = x[id] > 0.0f ? x[id] / p.repetition_penalty : x[id] * p.repetition_penalty;
    }
    if (count > 0) {
      x[id] = x[id] - static_cast<float>(count) * p.frequency_penalty;
      x[id] = x[id] - p.presence_penalty;
    }
  }
  return x;
}

TEST_F(SamplerTest, ProcessorsEqualTheNaiveOrderInBits) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 20; ++round) {
    SamplingParams p;
    p.repetition_penalty = 1.3f;
    p.frequency_penalty = 0.4f;
    p.presence_penalty = round % 2 ? -0.7f : 0.7f;
    p.logit_bias = {{3, 5.5f}, {100, -100.0f}, {4999, 0.25f}};
    p.min_tokens = 7;
    p.stop_token_ids = {2, 77, 4000};
    p.max_tokens = 64;
    if (round % 3 == 0) {
      p.allowed_token_ids = {0, 2, 3, 99, 4999};
    }
    NewSequence r = record(p);
    for (int i = 0; i < 40; ++i) {
      r.prompt_token_ids.push_back(static_cast<uint32_t>(random() % 50));
    }
    for (int i = 0; i < round; ++i) {
      r.output_token_ids.push_back(static_cast<uint32_t>(random() % 60));
    }
    const SequenceSampler sampler(r, kVocab);
    std::vector<float> logits = random_logits(100 + round);
    const std::vector<float> expected =
        naive_process(logits, p, r.prompt_token_ids, r.output_token_ids);
    ASSERT_TRUE(sampler.process(logits));
    for (uint32_t id = 0; id < kVocab; ++id) {
      ASSERT_EQ(std::bit_cast<uint32_t>(logits[id]), std::bit_cast<uint32_t>(expected[id])) << id;
    }
  }
}

TEST_F(SamplerTest, ResumedStateEqualsTheStateThatSampledItself) {
  SamplingParams p;
  p.temperature = 0.8f;
  p.frequency_penalty = 0.5f;
  p.repetition_penalty = 1.2f;
  p.seed = 42;
  p.max_tokens = 40;
  SequenceSampler whole(record(p), kVocab);
  NewSequence resumed = record(p);
  std::vector<uint32_t> expected;
  for (uint64_t i = 0; i < 30; ++i) {
    if (i == 12) {
      resumed.output_token_ids = expected;
    }
    ASSERT_TRUE(whole.sample(table(), random_logits(i).data(), &scratch_, &draw_));
    expected.push_back(draw_.token_id);
  }
  SequenceSampler later(resumed, kVocab);
  for (uint64_t i = 12; i < 30; ++i) {
    ASSERT_TRUE(later.sample(table(), random_logits(i).data(), &scratch_, &draw_));
    EXPECT_EQ(draw_.token_id, expected[i]) << i;
  }
}

TEST_F(SamplerTest, SeedChoiceAndPositionEachChangeTheDraw) {
  SamplingParams p;
  p.temperature = 2.0f;
  const std::vector<float> flat(kVocab, 0.0f);
  auto draw = [&](uint64_t seed, uint32_t choice, size_t outputs) {
    p.seed = seed;
    NewSequence r = record(p);
    r.choice = choice;
    r.output_token_ids.assign(outputs, 1);
    SequenceSampler sampler(r, kVocab);
    EXPECT_TRUE(sampler.sample(table(), flat.data(), &scratch_, &draw_));
    return draw_.token_id;
  };
  EXPECT_EQ(draw(1, 0, 0), draw(1, 0, 0));
  EXPECT_NE(draw(1, 0, 0), draw(2, 0, 0));
  EXPECT_NE(draw(1, 0, 0), draw(1, 1, 0));
  EXPECT_NE(draw(1, 0, 0), draw(1, 0, 1));
}

TEST_F(SamplerTest, GreedyTakesTheLowestIdAmongEqualLogits) {
  std::vector<float> logits(kVocab, -1.0f);
  logits[4500] = logits[700] = logits[701] = 2.0f;
  SamplingParams p;
  p.temperature = 0.0f;
  SequenceSampler plain(record(p), kVocab);
  ASSERT_TRUE(plain.sample(table(), logits.data(), &scratch_, &draw_));
  EXPECT_EQ(draw_.token_id, 700u);
  p.logit_bias = {{4500, 0.0f}};  // the path over the processed copy
  SequenceSampler processed(record(p), kVocab);
  ASSERT_TRUE(processed.sample(table(), logits.data(), &scratch_, &draw_));
  EXPECT_EQ(draw_.token_id, 700u);
}

TEST_F(SamplerTest, LogProbabilitiesAreOfRawLogitsAndRanksOfTheirOrder) {
  std::vector<float> logits = random_logits(9);
  logits[10] = logits[20] = 30.0f;  // a tie at the top
  SamplingParams p;
  p.temperature = 0.0f;
  p.num_logprobs = 5;
  p.logit_bias = {{123, 100.0f}};
  SequenceSampler sampler(record(p), kVocab);
  ASSERT_TRUE(sampler.sample(table(), logits.data(), &scratch_, &draw_));
  EXPECT_EQ(draw_.token_id, 123u);

  std::vector<uint32_t> order(kVocab);
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return logits[a] > logits[b]; });
  EXPECT_EQ(draw_.rank, 1 + std::find(order.begin(), order.end(), 123u) - order.begin());
  double sum = 0.0;
  for (float x : logits) {
    sum += std::exp(double{x} - 30.0);
  }
  // lp is (x - M) - log2(S)*ln2 in float: x - M and the product are rounded (2^-24 relative each,
  // of values below 64), S has a relative error below 100 * 2^-24: together below 64 * 2^-22
  // = 1.6e-5.
  EXPECT_NEAR(draw_.logprob, double{logits[123]} - 30.0 - std::log(sum), 1.6e-5);
  ASSERT_EQ(draw_.num_top, 5u);
  for (uint32_t i = 0; i < 5; ++i) {
    EXPECT_EQ(draw_.top[i].token_id, order[i]);
    EXPECT_NEAR(draw_.top[i].logprob, double{logits[order[i]]} - 30.0 - std::log(sum), 1.6e-5);
  }
}

TEST_F(SamplerTest, NoAlternativesStillGiveTheSampledTokensLogProbability) {
  SamplingParams p;
  p.temperature = 0.0f;
  p.num_logprobs = 0;
  SequenceSampler sampler(record(p), kVocab);
  ASSERT_TRUE(sampler.sample(table(), random_logits(1).data(), &scratch_, &draw_));
  EXPECT_EQ(draw_.rank, 1u);
  EXPECT_LT(draw_.logprob, 0.0f);
  EXPECT_EQ(draw_.num_top, 0u);
}

TEST_F(SamplerTest, StopIdsAreBarredUntilMinTokens) {
  std::vector<float> logits(kVocab, 0.0f);
  logits[7] = 10.0f;
  SamplingParams p;
  p.temperature = 0.0f;
  p.min_tokens = 2;
  p.stop_token_ids = {7};
  SequenceSampler sampler(record(p), kVocab);
  std::vector<uint32_t> ids;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(sampler.sample(table(), logits.data(), &scratch_, &draw_));
    ids.push_back(draw_.token_id);
  }
  EXPECT_EQ(ids, (std::vector<uint32_t>{0, 0, 7}));
}

TEST_F(SamplerTest, EveryIdBarredIsAFaultThatCountsNothing) {
  SamplingParams p;
  p.allowed_token_ids = {7};
  p.stop_token_ids = {7};
  p.min_tokens = 1;
  SequenceSampler sampler(record(p), kVocab);
  EXPECT_FALSE(sampler.sample(table(), random_logits(1).data(), &scratch_, &draw_));
  EXPECT_EQ(sampler.num_output_tokens(), 0u);
}

TEST_F(SamplerTest, ALogitThatIsNotFiniteIsAFault) {
  for (float bad : {std::nanf(""), kInf, -kInf}) {
    std::vector<float> logits = random_logits(1);
    logits[4321] = bad;
    SequenceSampler sampler(record({}), kVocab);
    EXPECT_FALSE(sampler.sample(table(), logits.data(), &scratch_, &draw_)) << bad;
  }
}

TEST_F(SamplerTest, TheSmallestPenaltyLiftsALogitToTheLargestFloat) {
  SamplingParams p;
  p.repetition_penalty = std::numeric_limits<float>::denorm_min();
  p.frequency_penalty = -2.0f;
  p.presence_penalty = -2.0f;
  for (const float temperature : {0.0f, 0x1p-99f, 1.0f}) {
    p.temperature = temperature;
    NewSequence r = record(p);
    r.prompt_token_ids = {5};
    r.output_token_ids = {6};
    std::vector<float> logits(kVocab, -3.0f);
    logits[5] = 1.0f;
    SequenceSampler sampler(r, kVocab);
    ASSERT_TRUE(sampler.sample(table(), logits.data(), &scratch_, &draw_)) << temperature;
    EXPECT_EQ(draw_.token_id, 5u) << temperature;
  }
}

TEST_F(SamplerTest, APenaltyThatOverflowsIsAFault) {
  SamplingParams p;
  p.repetition_penalty = 10.0f;
  NewSequence r = record(p);
  r.prompt_token_ids = {5};
  std::vector<float> logits(kVocab, 0.0f);
  logits[5] = -3e38f;
  SequenceSampler sampler(r, kVocab);
  EXPECT_FALSE(sampler.sample(table(), logits.data(), &scratch_, &draw_));
}

TEST(PenaltyState, CountsEqualANaiveMap) {
  std::mt19937_64 random(3);
  PenaltyState state(300);
  std::map<uint32_t, uint32_t> counts;
  for (int i = 0; i < 2000; ++i) {
    const auto id = static_cast<uint32_t>(random() % 300) * 1024;  // collides in the low bits
    if (random() % 4 == 0) {
      state.add_prompt_token(id);
      counts[id] += 0;
    } else {
      state.add_output_token(id);
      counts[id] += 1;
    }
  }
  std::map<uint32_t, uint32_t> found;
  for (const PenaltyState::Entry& entry : state.entries()) {
    EXPECT_TRUE(found.emplace(entry.token_id, entry.output_count).second);
  }
  EXPECT_EQ(found, counts);
}

TEST(TopIds, EqualASortInEveryLength) {
  const std::vector<float> few = {1, 3, 3, -2, 5, 5, 0};
  const std::vector<uint32_t> order = {4, 5, 1, 2, 0, 6, 3};
  for (uint32_t num = 0; num <= few.size(); ++num) {
    TopLogprob top[8];
    top_ids(few, num, top);
    for (uint32_t i = 0; i < num; ++i) {
      EXPECT_EQ(top[i].token_id, order[i]);
      EXPECT_EQ(rank_of(few, order[i]), i + 1);
    }
  }
}

}  // namespace
}  // namespace stet::sampling
