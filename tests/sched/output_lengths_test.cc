// Histories of output lengths against the same estimates made the long way.
#include "stet/sched/output_lengths.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/sched/estimator_cases.h"

namespace stet::sched {
namespace {

using Running = std::array<uint16_t, kNumLengthBuckets>;

TEST(LengthBuckets, CoverEveryLengthInOrder) {
  uint32_t previous = 0;
  for (uint32_t n = 0; n < 200'000; ++n) {
    const uint32_t b = length_bucket(n);
    ASSERT_TRUE(b == previous || b == previous + 1) << n;
    ASSERT_LE(length_bucket_first(b), n);
    ASSERT_GT(length_bucket_first(b + 1), n);
    ASSERT_TRUE(n >= 64 || length_bucket_first(b) == n);
    ASSERT_LE((length_bucket_first(b + 1) - length_bucket_first(b)) * 32,
              std::max(32U, length_bucket_first(b)));
    previous = b;
  }
  EXPECT_EQ(length_bucket(UINT32_MAX), kNumLengthBuckets - 1);
}

struct Observation {
  uint32_t num_outputs = 0;
  bool cut = false;
};

// The product-limit estimate from its definition, four prior observations that never end.
double product_limit(const std::vector<Observation>& observations, uint32_t n) {
  double alive = 1.0;
  for (uint32_t length = 0; length <= n; ++length) {
    uint32_t at_risk = 4, ended = 0;
    for (const Observation& o : observations) {
      at_risk += o.num_outputs >= length ? 1 : 0;
      ended += o.num_outputs == length && !o.cut ? 1 : 0;
    }
    alive *= 1.0 - static_cast<double>(ended) / at_risk;
  }
  return alive;
}

TEST(LengthWindow, IsTheProductLimitEstimateWithRunningOutputsAsCuts) {
  double naive_differs = 0.0;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    TestRandom random(seed);
    LengthWindow window;
    Running running{};
    std::vector<Observation> observations(random.below(60));
    for (Observation& o : observations) {
      o = {.num_outputs = 1 + random.below(60), .cut = random.below(3) == 0};
      if (random.below(3) == 0) {
        o.cut = true;
        ++running[o.num_outputs];
      } else {
        window.add(o.num_outputs, o.cut);
      }
    }
    SurvivalCurve curve;
    window.fill(running, &curve);
    EXPECT_EQ(curve.at(0), 1.0f);
    std::vector<Observation> naive = observations;  // wrong: a cut says "this long"
    for (Observation& o : naive) {
      o.cut = false;
    }
    for (uint32_t n = 0; n < 64; ++n) {
      ASSERT_NEAR(curve.at(n), product_limit(observations, n), 1e-6)
          << "seed " << seed << " length " << n;
      naive_differs = std::max(naive_differs, std::abs(product_limit(naive, n) - curve.at(n)));
    }
  }
  EXPECT_GT(naive_differs, 0.2);
}

TEST(LengthWindow, WideBucketsAnswerForTheirFirstLengthAndNeverRise) {
  TestRandom random(5);
  LengthWindow window;
  std::vector<Observation> observations;
  for (uint32_t i = 0; i < 300; ++i) {
    observations.push_back({.num_outputs = 1 + random.below(3000)});
    window.add(observations.back().num_outputs, false);
  }
  SurvivalCurve curve;
  window.fill({}, &curve);
  for (uint32_t b = 64; b < length_bucket(3000); ++b) {
    // Within a bucket all ends count alike, so the factors differ a little from those of one length
    // at a time.
    EXPECT_NEAR(curve.alive[b], product_limit(observations, length_bucket_first(b) - 1), 2e-3);
    EXPECT_LE(curve.alive[b], curve.alive[b - 1]);
  }
}

// scheduler.md sec. 4: of two kinds of outputs that started together, the short ones have ended.
TEST(LengthWindow, AfterABurstTheLongOnesStillCount) {
  LengthWindow window;
  Running running{};
  for (uint32_t i = 0; i < 50; ++i) {
    window.add(10, false);
    ++running[length_bucket(200)];
  }
  SurvivalCurve with, without;
  window.fill(running, &with);
  window.fill({}, &without);
  EXPECT_GT(with.at(100), 0.5f);
  EXPECT_LT(without.at(100), 0.1f);
}

TEST(LengthWindow, ColdStartExpectsMaxTokensAndFewEndsCorrectIt) {
  LengthWindow window;
  SurvivalCurve curve;
  window.fill({}, &curve);
  EXPECT_EQ(curve.at(8000), 1.0f);
  for (uint32_t i = 0; i < 16; ++i) {
    window.add(20, false);
  }
  window.fill({}, &curve);
  EXPECT_FLOAT_EQ(curve.at(20), 4.0f / 20.0f);
  EXPECT_FLOAT_EQ(curve.at(19), 1.0f);
}

TEST(LengthWindow, ForgetsAllButTheLastThousand) {
  LengthWindow window;
  for (uint32_t i = 0; i < 5000; ++i) {
    window.add(7, false);
    window.add(9, true);
  }
  EXPECT_EQ(window.size(), 1000u);
  SurvivalCurve curve;
  window.fill({}, &curve);
  EXPECT_FLOAT_EQ(curve.at(7), 1.0f - 500.0f / 1004.0f);
}

TEST(LengthWindow, AChangeDropsTheOlderPartAndChanceDoesNot) {
  uint32_t dropped_by_chance = 0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    TestRandom random(seed);
    LengthWindow window;
    uint32_t largest = 0;
    for (uint32_t i = 0; i < 3000; ++i) {
      window.add(1 + random.below(500), false);
      dropped_by_chance += window.size() < largest ? 1 : 0;
      largest = window.size();
    }
    for (uint32_t i = 0; i < 128; ++i) {
      window.add(1 + random.below(50), false);  // another kind of work
    }
    EXPECT_LE(window.size(), 256u) << "seed " << seed;
    for (uint32_t i = 0; i < 400; ++i) {
      window.add(1 + random.below(50),
                 false);  // what was kept at the first sign of it goes as well
    }
    SurvivalCurve curve;
    window.fill({}, &curve);
    EXPECT_LE(curve.at(50), 0.05f) << "seed " << seed;
  }
  EXPECT_LE(dropped_by_chance, 4u);  // 40 runs of 90 checks each
}

// ---- classes

SchedView view_of(const std::vector<WaitingSeq>& waiting) {
  return {.step = 100, .waiting = waiting};
}

float asked(OutputLengths* lengths, const LengthClass& length_class, uint32_t n) {
  const std::vector<WaitingSeq> waiting = {
      {.fork_source = {}, .output = {.length_class = length_class}}};
  lengths->refresh(view_of(waiting));
  return lengths->curve(length_class).at(n);
}

TEST(OutputLengths, TheMostSpecificClassWithSixtyFourEntriesSpeaks) {
  OutputLengths lengths;
  const LengthClass chat = lengths.class_of("chat", 100);
  const LengthClass other = lengths.class_of("other", 200);  // the same prompt bucket
  const LengthClass huge = lengths.class_of("chat", 5000);
  for (uint32_t i = 0; i < 63; ++i) {
    lengths.on_finish(chat, 10, false);
  }
  EXPECT_EQ(lengths.num_entries(chat), 63u);  // of all
  EXPECT_NEAR(asked(&lengths, huge, 10), 4.0 / 67, 1e-6);
  lengths.on_finish(chat, 10, false);
  for (uint32_t i = 0; i < 64; ++i) {
    lengths.on_finish(other, 40, false);
  }
  EXPECT_NEAR(asked(&lengths, chat, 10), 4.0 / 68, 1e-6);  // its own
  EXPECT_NEAR(asked(&lengths, other, 39), 1.0, 1e-6);
  const LengthClass third = lengths.class_of("third", 70);
  EXPECT_EQ(lengths.num_entries(third), 128u);  // the bucket's
  EXPECT_NEAR(asked(&lengths, third, 10), 68.0 / 132, 1e-6);
  EXPECT_EQ(lengths.num_entries(huge), 128u);  // all
}

TEST(OutputLengths, ALostClientSlotFallsBackAndTeachesNobodyElse) {
  OutputLengths lengths;
  const LengthClass first = lengths.class_of("first", 10);
  for (uint32_t i = 0; i < 64; ++i) {
    lengths.on_finish(first, 5, false);
  }
  EXPECT_EQ(lengths.num_entries(first), 64u);
  for (uint32_t i = 0; i < 256; ++i) {
    lengths.class_of("client " + std::to_string(i), 10);
  }
  const LengthClass heir = lengths.class_of("client 255", 10);
  lengths.on_finish(first, 5, false);
  EXPECT_EQ(lengths.num_entries(first), 65u) << "the bucket's";
  EXPECT_EQ(lengths.num_entries(heir), 65u) << "the bucket's";
  const LengthClass again = lengths.class_of("first", 10);
  EXPECT_NE(
      again.client_generation == first.client_generation && again.client_slot == first.client_slot,
      true);
}

TEST(OutputLengths, RunningOutputsOfTheClassAreAtRisk) {
  OutputLengths lengths;
  const LengthClass c = lengths.class_of("a", 10);
  lengths.on_finish(c, 10, false);
  const std::vector<WaitingSeq> waiting = {{.fork_source = {}, .output = {.length_class = c}}};
  std::vector<RunningSeq> running(5, {.output = {.num_outputs = 20, .length_class = c}});
  running[0].output.runs_to_max_tokens = true;  // it would not have ended anyway
  SchedView view = view_of(waiting);
  view.running = running;
  lengths.refresh(view);
  EXPECT_FLOAT_EQ(lengths.curve(c).at(10), 8.0f / 9.0f);
}

TEST(AdaptiveReserve, GrowsByOnePercentPerEvictionAndShrinksSlowly) {
  AdaptiveReserve reserve;
  EXPECT_EQ(reserve.num_blocks(1000), 30u);
  reserve.on_preempt();
  EXPECT_EQ(reserve.permille(), 40u);
  for (uint32_t i = 0; i < 2000; ++i) {
    reserve.on_finish();
  }
  EXPECT_EQ(reserve.permille(), 38u);
  for (uint32_t i = 0; i < 100; ++i) {
    reserve.on_preempt();
  }
  EXPECT_EQ(reserve.permille(), 150u);
  for (uint32_t i = 0; i < 200'000; ++i) {
    reserve.on_finish();
  }
  EXPECT_EQ(reserve.permille(), 0u);
}

TEST(Learned, RunsThatCouldNotEndByThemselvesTeachNoLengths) {
  Learned learned;
  const LengthClass c = learned.lengths.class_of("a", 10);
  learned.on_finish(
      {.num_outputs = 16, .max_tokens = 16, .runs_to_max_tokens = true, .length_class = c}, true);
  learned.on_finish({.num_outputs = 0, .max_tokens = 16, .length_class = c}, true);
  EXPECT_EQ(learned.lengths.num_entries(c), 0u);
  learned.on_finish({.num_outputs = 3, .max_tokens = 16, .length_class = c}, false);
  EXPECT_EQ(learned.lengths.num_entries(c), 1u);
}

}  // namespace
}  // namespace stet::sched
