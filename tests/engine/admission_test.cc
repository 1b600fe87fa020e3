// The door: which bound refuses what, and with which numbers.
#include <gtest/gtest.h>

#include "tests/engine/harness.h"

namespace stet::engine {
namespace {

TEST(Admission, ARequestThatCanNeverFitIsRefusedWithBothNumbers) {
  const Harness h = small();
  EXPECT_EQ(h->core->max_model_len(), 512u);
  EXPECT_EQ(h->core->submit(make_request(500, 12)).refusal, Refusal::kNone);
  const Submission s = h->core->submit(make_request(500, 13));
  EXPECT_EQ(s.refusal, Refusal::kNeverFits);
  EXPECT_EQ(s.limit, 512u);
  EXPECT_EQ(s.requested, 513u);
}

TEST(Admission, TheModelLengthIsBoundedByThePool) {
  executor::FakeOptions fake = small_fake(nullptr);
  fake.num_blocks = 3;
  CoreHarness h({}, fake);
  EXPECT_EQ(h.core->max_model_len(), 192u);
  EXPECT_EQ(h.core->submit(make_request(190, 3)).refusal, Refusal::kNeverFits);
  EXPECT_EQ(h.core->submit(make_request(190, 2)).refusal, Refusal::kNone);
}

TEST(Admission, AFullQueueRefusesByRequestsWithAForecast) {
  const Harness h = small({.max_running = 1, .max_queued_requests = 2});
  EXPECT_EQ(h->core->submit(make_request(5, 5)).refusal, Refusal::kNone);
  EXPECT_EQ(h->core->submit(make_request(5, 5)).refusal, Refusal::kNone);
  const Submission full = h->core->submit(make_request(5, 5));
  EXPECT_EQ(full.refusal, Refusal::kQueueFull);
  EXPECT_EQ(full.limit, 2u);
  EXPECT_EQ(full.requested, 3u);
  EXPECT_GE(full.retry_after_us, 1'000'000u);
  EXPECT_LE(full.retry_after_us, 60'000'000u);
  h->core->step();  // the first one starts: its slot is free
  EXPECT_EQ(h->core->submit(make_request(5, 5)).refusal, Refusal::kNone);
  EXPECT_NE(h->metrics.serialise().find("vllm:admission_rejections_total{model_name=\"default\","
                                        "reason=\"max_num_queued_reqs\"} 1"),
            std::string::npos);
}

TEST(Admission, AFullQueueRefusesByPromptTokens) {
  const Harness h = small({.max_running = 1, .max_queued_prompt_tokens = 100});
  EXPECT_EQ(h->core->submit(make_request(60, 5)).refusal, Refusal::kNone);
  const Submission full = h->core->submit(make_request(50, 5));
  EXPECT_EQ(full.refusal, Refusal::kQueueFull);
  EXPECT_EQ(full.limit, 100u);
  EXPECT_EQ(full.requested, 110u);
  EXPECT_EQ(h->core->submit(make_request(40, 5)).refusal, Refusal::kNone);
  EXPECT_NE(h->metrics.serialise().find("reason=\"max_num_queued_tokens\"} 1"), std::string::npos);
}

TEST(Admission, AnEmptyQueueTakesARequestAboveItsBounds) {
  const Harness h = small({.max_queued_requests = 2, .max_queued_prompt_tokens = 10});
  Request request = make_request(50, 5);
  request.num_choices = 4;
  EXPECT_EQ(h->core->submit(request).refusal, Refusal::kNone);
  EXPECT_EQ(h->core->submit(make_request(1, 1)).refusal, Refusal::kQueueFull);
}

TEST(Admission, TheForecastFollowsThePaceOfTheQueue) {
  const Harness h = small({.max_running = 1, .max_queued_requests = 10});
  for (uint32_t i = 0; i < 10; ++i) {
    h->core->submit(make_request(5, 3000 / 10, i));  // 0.3 s each
  }
  for (int i = 0; i < 1000; ++i) {
    h->core->step();
  }
  uint32_t accepted = 0;
  Submission last;
  while ((last = h->core->submit(make_request(5, 5))).refusal == Refusal::kNone) {
    ++accepted;
  }
  EXPECT_GE(accepted, 1u);
  // Two above 80 % of ten, one slot every 0.3 s, and never below a second.
  EXPECT_EQ(last.retry_after_us, 1'000'000u);
}

TEST(Admission, WhoWaitsLeavesTheLastFifthOfTheQueue) {
  const Harness h = small({.max_running = 1, .max_queued_requests = 5});
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(h->core->submit_or_wait(make_request(5, 5)).refusal, Refusal::kNone);
  }
  const Submission full = h->core->submit_or_wait(make_request(5, 5));
  EXPECT_EQ(full.refusal, Refusal::kQueueFull);
  EXPECT_EQ(full.limit, 4u);
  EXPECT_EQ(h->core->submit(make_request(5, 5)).refusal, Refusal::kNone);
  EXPECT_EQ(h->core->submit(make_request(5, 5)).refusal, Refusal::kQueueFull);
  EXPECT_NE(h->metrics.serialise().find("vllm:admission_rejections_total{model_name=\"default\","
                                        "reason=\"max_num_queued_reqs\"} 1"),
            std::string::npos)
      << "waiting is no rejection";
}

TEST(Admission, WhoWaitsLeavesTheLastFifthOfThePromptTokens) {
  const Harness h = small({.max_running = 1, .max_queued_prompt_tokens = 100});
  EXPECT_EQ(h->core->submit_or_wait(make_request(41, 5)).refusal, Refusal::kNone);
  EXPECT_EQ(h->core->submit_or_wait(make_request(40, 5)).refusal, Refusal::kQueueFull);
  EXPECT_EQ(h->core->submit_or_wait(make_request(39, 5)).refusal, Refusal::kNone);
}

TEST(Admission, WhoWaitsIsToldOnceWhenThereIsRoom) {
  const Harness h = small({.max_running = 1, .max_queued_requests = 5});
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(h->core->submit(make_request(5, 5)).refusal, Refusal::kNone);
  }
  h->core->step();  // four wait: nobody asked for room
  EXPECT_EQ(h->sink.num_rooms(), 0u);
  EXPECT_EQ(h->core->submit(make_request(5, 5)).refusal, Refusal::kNone);
  EXPECT_EQ(h->core->submit_or_wait(make_request(5, 5)).refusal, Refusal::kQueueFull);
  EXPECT_EQ(h->core->submit_or_wait(make_request(5, 5)).refusal, Refusal::kQueueFull);
  while (h->core->stats().num_waiting == 5) {
    EXPECT_EQ(h->sink.num_rooms(), 0u);
    h->core->step();
  }
  EXPECT_EQ(h->sink.num_rooms(), 0u) << "four of five still wait: that is the share";
  h->run();
  EXPECT_EQ(h->sink.num_rooms(), 1u);
  EXPECT_TRUE(h->sink.faults().empty());
}

TEST(Admission, RoomIsToldWhenTheQueuedAreCancelledAndARequestLargerThanTheShareGetsIn) {
  const Harness h = small({.max_running = 1, .max_queued_requests = 5});
  Request large = make_request(5, 5);
  large.num_choices = 5;
  const RequestId id = h->core->submit(make_request(5, 5)).id;
  EXPECT_EQ(h->core->submit_or_wait(large).refusal, Refusal::kQueueFull);
  h->core->push(CommandKind::kCancel, id);
  EXPECT_FALSE(h->core->step());
  EXPECT_EQ(h->sink.num_rooms(), 1u);
  EXPECT_EQ(h->core->submit_or_wait(large).refusal, Refusal::kNone);
  h->run();
}

TEST(Admission, WhoWaitsIsRefusedForGoodByADrain) {
  const Harness h = small();
  h->core->begin_drain();
  EXPECT_EQ(h->core->submit_or_wait(make_request(5, 5)).refusal, Refusal::kDraining);
}

TEST(Admission, ImpossibleOptionsAreNamed) {
  ManualClock clock;
  executor::FakeBackend backend(small_fake(&clock));
  SeenSink sink;
  obs::Metrics metrics;
  const auto create = [&](EngineOptions options) {
    return Engine::create(&backend, &sink, &clock, &metrics, std::move(options)).status();
  };
  EXPECT_EQ(create({.max_running = 17}).message(),
            "max_running is 17; at most 16 (max_step_tokens 128, sequences of the backend 16)");
  EXPECT_EQ(create({.max_queued_requests = 0}).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(create({.eviction = kv::Eviction::kTail}).message(),
            "eviction is tail and ttft_target_us is 0; it needs a target, at least 1");
  EXPECT_EQ(create({.policy = "nonsense"}).code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace stet::engine
