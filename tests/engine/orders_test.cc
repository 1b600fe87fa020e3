// Cancel, deadlines, parking, drain: what ends or holds a request from outside, in every phase.
#include <gtest/gtest.h>

#include "tests/engine/harness.h"

namespace stet::engine {
namespace {

void expect_idle(const CoreHarness& h) {
  EXPECT_TRUE(h.core->check_integrity().ok()) << h.core->check_integrity().to_string();
  EXPECT_EQ(h.core->kv().counts().used(), 0u);
  EXPECT_EQ(h.backend->num_sequences(), 0u);
  EXPECT_EQ(h.core->stats().accepted, h.core->stats().ended);
  EXPECT_TRUE(h.sink.faults().empty());
}

// A request of 200 prompt tokens under a budget of 128 is queued, in its prefill for two steps,
// then decodes.
TEST(Cancel, IsHonouredWithinOneStepInEveryPhase) {
  for (uint32_t steps_before = 0; steps_before < 8; ++steps_before) {
    const Harness h = small();
    const Submission s = h->core->submit(make_request(200, 20));
    for (uint32_t i = 0; i < steps_before; ++i) {
      ASSERT_TRUE(h->core->step());
    }
    h->core->push(CommandKind::kCancel, s.id);
    EXPECT_FALSE(h->core->step());  // nothing is computed for it any more
    const SeenRequest seen = h->seen(s.id);
    EXPECT_EQ(seen.num_ends, 1u);
    EXPECT_EQ(seen.end.status.code(), StatusCode::kCancelled);
    EXPECT_EQ(seen.end.error_reason, "cancelled");
    expect_idle(*h);
  }
}

TEST(Cancel, WhileTheStepIsInFlightGivesNoFurtherToken) {
  const Harness h = small();
  const Submission s = h->core->submit(make_request(10, 20));
  ASSERT_TRUE(h->core->step());
  ASSERT_TRUE(h->core->begin_step());
  h->core->push(CommandKind::kCancel, s.id);
  h->core->finish_step();
  EXPECT_EQ(h->seen(s.id).choices.at(0).token_ids.size(), 1u);
  EXPECT_EQ(h->seen(s.id).num_ends, 1u);
  EXPECT_FALSE(h->core->step());
  expect_idle(*h);
}

TEST(Cancel, OfAnUnknownOrEndedRequestIsIgnored) {
  const Harness h = small();
  const Submission s = h->core->submit(make_request(5, 1));
  h->run();
  h->core->push(CommandKind::kCancel, s.id);
  h->core->push(CommandKind::kCancel, RequestId{999});
  h->core->push(CommandKind::kFinishChoice, s.id, 0);
  h->core->push(CommandKind::kPark, s.id);
  EXPECT_FALSE(h->core->step());
  EXPECT_EQ(h->seen(s.id).num_ends, 1u);
}

TEST(Cancel, IsCountedByStage) {
  const Harness h = small();
  for (uint32_t steps : {0u, 1u, 4u}) {
    const Submission s = h->core->submit(make_request(200, 20, steps));
    for (uint32_t i = 0; i < steps; ++i) {
      h->core->step();
    }
    h->core->push(CommandKind::kCancel, s.id);
    h->core->step();
  }
  const std::string text = h->metrics.serialise();
  for (const char* stage : {"queue", "prefill", "decode"}) {
    EXPECT_NE(text.find("stet_cancelled_total{engine=\"0\",model_name=\"default\",stage=\"" +
                        std::string(stage) + "\"} 1"),
              std::string::npos)
        << text;
  }
  EXPECT_NE(
      text.find("stet_cancel_to_release_seconds_count{engine=\"0\",model_name=\"default\"} 3"),
      std::string::npos);
}

TEST(FinishChoice, EndsTheRequestOkWithoutFurtherEvents) {
  const Harness h = small();
  const Submission s = h->core->submit(make_request(10, 50));
  h->core->step();
  h->core->step();
  h->core->push(CommandKind::kFinishChoice, s.id, 0);
  h->run();
  const SeenRequest seen = h->seen(s.id);
  EXPECT_EQ(seen.choices.at(0).token_ids.size(), 2u);
  EXPECT_FALSE(seen.choices.at(0).finished);  // the text stage ended it, and knows
  EXPECT_TRUE(seen.end.status.ok());
  expect_idle(*h);
}

TEST(FinishChoice, LeavesTheOtherChoicesAlone) {
  const Harness h = small();
  Request request = make_request(10, 12, 3);
  request.num_choices = 3;
  const Submission s = h->core->submit(request);
  for (int i = 0; i < 5; ++i) {
    h->core->step();
  }
  h->core->push(CommandKind::kFinishChoice, s.id, 0);
  h->core->push(CommandKind::kFinishChoice, s.id, 7);  // there is none
  h->run();
  const SeenRequest seen = h->seen(s.id);
  EXPECT_LT(seen.choices.at(0).token_ids.size(), 12u);
  for (uint32_t choice : {1u, 2u}) {
    EXPECT_EQ(seen.choices.at(choice).token_ids,
              h->backend->model().solo(request, choice).output_token_ids);
  }
  EXPECT_TRUE(seen.end.status.ok());
  expect_idle(*h);
}

TEST(Deadline, EndsARunningRequest) {
  const Harness h = small();
  Request request = make_request(10, 100);
  request.deadline_us = 5'500;  // a step takes 1 ms
  const Submission s = h->core->submit(request);
  h->run();
  const SeenRequest seen = h->seen(s.id);
  EXPECT_EQ(seen.end.status.code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(seen.end.error_reason, "deadline_exceeded");
  EXPECT_EQ(seen.choices.at(0).token_ids.size(), 6u);
  expect_idle(*h);
}

TEST(Deadline, EndsAQueuedRequest) {
  const Harness h = small({.max_running = 1});
  h->core->submit(make_request(10, 30));
  Request late = make_request(10, 5);
  late.deadline_us = 3'000;
  const Submission s = h->core->submit(late);
  h->run();
  EXPECT_EQ(h->seen(s.id).end.error_reason, "deadline_exceeded");
  EXPECT_EQ(h->seen(s.id).end.times.first_scheduled_us, 0u);
  expect_idle(*h);
}

TEST(Deadline, TheQueueAgeLimitEndsOnlyWhatNeverStarted) {
  const Harness h = small({.max_running = 1, .queue_timeout_us = 10'000});
  const Submission running = h->core->submit(make_request(10, 30));
  const Submission queued = h->core->submit(make_request(10, 5, 1));
  h->run();
  EXPECT_TRUE(h->seen(running.id).end.status.ok());
  EXPECT_EQ(h->seen(queued.id).end.status.code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(h->seen(queued.id).end.error_reason, "queue_timeout");
  expect_idle(*h);
}

TEST(Park, TakesTheRequestOutOfTheBatchAndBringsItBackExactly) {
  const Harness h = small();
  const Request request = make_request(100, 20);
  const Submission s = h->core->submit(request);
  for (int i = 0; i < 5; ++i) {
    h->core->step();
  }
  h->core->push(CommandKind::kPark, s.id);
  EXPECT_FALSE(h->core->step());
  EXPECT_EQ(h->core->stats().num_parked, 1u);
  EXPECT_EQ(h->core->kv().counts().used(), 0u);
  h->core->push(CommandKind::kUnpark, s.id);
  h->run();
  EXPECT_EQ(h->seen(s.id).choices.at(0).token_ids,
            h->backend->model().solo(request, 0).output_token_ids);
  EXPECT_EQ(h->seen(s.id).end.num_preemptions, 0u);
  expect_idle(*h);
}

TEST(Park, AndBackWithinOneStepBorderWorks) {
  const Harness h = small();
  const Request request = make_request(100, 20);
  const Submission s = h->core->submit(request);
  h->core->step();
  h->core->push(CommandKind::kPark, s.id);
  h->core->push(CommandKind::kUnpark, s.id);
  h->run();
  EXPECT_EQ(h->seen(s.id).choices.at(0).token_ids,
            h->backend->model().solo(request, 0).output_token_ids);
  expect_idle(*h);
}

TEST(Park, AParkedRequestCanBeCancelledAndExpires) {
  const Harness h = small();
  const Submission cancelled = h->core->submit(make_request(10, 50));
  Request request = make_request(10, 50, 1);
  request.deadline_us = 4'000;
  const Submission expired = h->core->submit(request);
  h->core->step();
  h->core->push(CommandKind::kPark, cancelled.id);
  h->core->push(CommandKind::kPark, expired.id);
  h->core->step();
  h->core->push(CommandKind::kCancel, cancelled.id);
  h->clock.advance_us(10'000);
  h->core->step();
  EXPECT_EQ(h->seen(cancelled.id).end.status.code(), StatusCode::kCancelled);
  EXPECT_EQ(h->seen(expired.id).end.status.code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(h->core->stats().num_parked, 0u);
  expect_idle(*h);
}

TEST(Drain, RefusesTheNewAndFinishesTheAccepted) {
  const Harness h = small({.max_running = 1});
  const Submission running = h->core->submit(make_request(10, 5));
  const Submission queued = h->core->submit(make_request(10, 5, 1));
  h->core->step();
  h->core->begin_drain();
  EXPECT_EQ(h->core->submit(make_request(10, 5)).refusal, Refusal::kDraining);
  h->run();
  EXPECT_TRUE(h->seen(running.id).end.status.ok());
  EXPECT_TRUE(h->seen(queued.id).end.status.ok());
  expect_idle(*h);
}

TEST(Drain, NothingIsPreemptedForAnAdmissionWhileDraining) {
  const Harness h = small({.policy = "aggressive"});  // 16 blocks of 64
  std::vector<RequestId> ids;
  for (uint32_t i = 0; i < 6; ++i) {
    ids.push_back(h->core->submit(make_request(60, 250, i)).id);  // 5 blocks each at their ends
  }
  h->core->begin_drain();
  h->run();
  EXPECT_EQ(h->core->stats().preemptions, 0u);
  for (RequestId id : ids) {
    EXPECT_TRUE(h->seen(id).end.status.ok());
  }
  expect_idle(*h);
}

TEST(Drain, AbortEndsEverythingWithDrainTimeout) {
  const Harness h = small({.max_running = 1});
  const Submission running = h->core->submit(make_request(10, 50));
  const Submission queued = h->core->submit(make_request(10, 50, 1));
  const Submission parked = h->core->submit(make_request(10, 50, 2));
  h->core->step();
  h->core->push(CommandKind::kPark, parked.id);
  h->core->step();
  h->core->push(CommandKind::kAbortAll, RequestId{});
  EXPECT_FALSE(h->core->step());
  for (const Submission& s : {running, queued, parked}) {
    EXPECT_EQ(h->seen(s.id).end.status.code(), StatusCode::kUnavailable);
    EXPECT_EQ(h->seen(s.id).end.error_reason, "drain_timeout");
  }
  expect_idle(*h);
}

}  // namespace
}  // namespace stet::engine
