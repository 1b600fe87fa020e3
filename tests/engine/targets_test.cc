// ITL targets cut steps, targets are counted, and the last steps can be read.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "src/engine/step_log.h"
#include "tests/engine/harness.h"

namespace stet::engine {
namespace {

// 1 ms and 0.1 ms per position: 1000 positions take 101 ms.
executor::FakeOptions slow_fake() {
  executor::FakeOptions fake = small_fake(nullptr);
  fake.num_blocks = 64;
  fake.max_model_len = 4000;
  fake.max_step_tokens = 1000;
  fake.position_us = 100;
  return fake;
}

uint64_t longest_step_us(const CoreHarness& h) {
  uint64_t longest = 0;
  for (const StepRecord& step : h.core->recent_steps()) {
    longest = step.num_decodes > 0 ? std::max(longest, step.actual_us) : longest;
  }
  return longest;
}

// A long prompt beside somebody who decodes.
RequestId prefill_beside_decode(CoreHarness* h, uint64_t itl_target_us) {
  Request decoding = make_request(10, 200, 1);
  decoding.itl_target_us = itl_target_us;
  const RequestId id = h->core->submit(decoding).id;
  h->core->step();
  h->core->submit(make_request(3000, 2, 2));
  h->run();
  return id;
}

TEST(Targets, APrefillIsCutToWhatADecodeCanBear) {
  CoreHarness free({}, slow_fake()), bound({}, slow_fake());
  const RequestId a = prefill_beside_decode(&free, 0);
  const RequestId b = prefill_beside_decode(&bound, 20'000);
  EXPECT_GT(longest_step_us(free), 90'000u);
  EXPECT_LE(longest_step_us(bound), 16'000u);
  EXPECT_GT(longest_step_us(bound), 8'000u) << "and not cut to the floor";
  EXPECT_EQ(free.seen(a).choices[0].token_ids, bound.seen(b).choices[0].token_ids);
}

TEST(Targets, TheEnginesOwnTargetIsForRequestsThatNameNone) {
  CoreHarness bound({.itl_target_us = 20'000}, slow_fake());
  prefill_beside_decode(&bound, 0);
  EXPECT_LE(longest_step_us(bound), 16'000u);
  CoreHarness own({.itl_target_us = 20'000}, slow_fake());
  prefill_beside_decode(&own, 1'000'000);
  EXPECT_GT(longest_step_us(own), 16'000u);
}

TEST(Targets, GoodputCountsWhoMetBothAndLeavesOutWhoHadNoneOrLeft) {
  CoreHarness h({}, slow_fake());
  const auto run = [&](uint64_t ttft_target_us, uint64_t itl_target_us) {
    Request request = make_request(100, 4, 3);
    request.ttft_target_us = ttft_target_us;
    request.itl_target_us = itl_target_us;
    h.core->submit(request);
    h.run();
  };
  const auto counts = [&] {
    const EngineStats stats = h.core->stats();
    return std::pair(stats.met_targets, stats.ended_with_targets);
  };
  using Counts = std::pair<uint64_t, uint64_t>;
  run(0, 0);
  EXPECT_EQ(counts(), Counts(0, 0)) << "it had none";
  run(1'000'000, 1'000'000);
  EXPECT_EQ(counts(), Counts(1, 1));
  run(1, 1'000'000);
  EXPECT_EQ(counts(), Counts(1, 2)) << "the first token came too late";
  run(1'000'000, 1);
  EXPECT_EQ(counts(), Counts(1, 3)) << "a gap was too long";
  Request left = make_request(100, 4, 3);
  left.ttft_target_us = 1'000'000;
  const RequestId id = h.core->submit(left).id;
  h.core->step();
  h.core->push(CommandKind::kCancel, id);
  h.run();
  EXPECT_EQ(counts(), Counts(1, 3)) << "it was cancelled";
  EXPECT_NE(h.metrics.serialise().find("stet_target_requests_total{engine=\"0\",met=\"true\","),
            std::string::npos);
}

TEST(Targets, RecordsSayWhatAStepDidAndWhatTheQueueWaitsFor) {
  executor::FakeOptions fake = slow_fake();
  fake.num_blocks = 8;
  CoreHarness h({.policy = "past_future"}, fake);
  h.core->submit(make_request(300, 100, 1));
  h.core->submit(make_request(300, 100, 2));
  h.core->step();
  h.core->step();
  const StepRecord step = h.core->stats().last_step;
  EXPECT_EQ(step.num_decodes, 1u);
  EXPECT_EQ(step.num_tokens, 1u);
  EXPECT_EQ(step.token_budget, 1000u);
  EXPECT_EQ(step.actual_us, 1100u);
  EXPECT_EQ(step.num_running, 1u);
  EXPECT_EQ(step.waiting.memory, 1u);
  EXPECT_EQ(step.num_blocks_used, 5u);
  EXPECT_EQ(step.num_blocks_available, 3u);
  const std::vector<StepRecord> steps = h.core->recent_steps();
  ASSERT_EQ(steps.size(), 2u);
  EXPECT_EQ(steps[0].num_admitted, 1u);
  EXPECT_EQ(steps[0].num_prefill_tokens, 300u);
  h.clock.advance_us(300'000);
  h.core->step();
  // 399 tokens stored in the end; the estimate rounds up to whole blocks on the way.
  EXPECT_GE(h.core->stats().last_step.forecast_peak_blocks, 7u);
  EXPECT_LE(h.core->stats().last_step.forecast_peak_blocks, 8u);
}

TEST(StepLog, KeepsTheLastOnesInOrder) {
  StepLog log;
  EXPECT_TRUE(log.recent(1).empty());
  for (uint64_t i = 1; i <= 1000; ++i) {
    log.add({.step = i});
  }
  EXPECT_TRUE(log.recent(2).empty()) << "the copy is not renewed so soon";
  const std::vector<StepRecord> steps = log.recent(1 + StepLog::kCopyPeriodUs);
  ASSERT_EQ(steps.size(), kNumStepRecords);
  EXPECT_EQ(steps.front().step, 745u);
  EXPECT_EQ(steps.back().step, 1000u);
}

}  // namespace
}  // namespace stet::engine
