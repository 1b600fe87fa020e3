#include "src/engine/engine_core.h"

#include <gtest/gtest.h>

#include "tests/engine/harness.h"

namespace stet::engine {
namespace {

TEST(EngineCore, OneRequestGivesItsTokensAndOneEnd) {
  const Harness h = small();
  const Request request = make_request(10, 5);
  const Submission s = h->core->submit(request);
  ASSERT_EQ(s.refusal, Refusal::kNone);
  h->run();
  const SeenRequest seen = h->seen(s.id);
  EXPECT_EQ(seen.num_ends, 1u);
  EXPECT_TRUE(seen.end.status.ok());
  EXPECT_EQ(seen.choices.at(0).token_ids, h->backend->model().solo(request, 0).output_token_ids);
  EXPECT_EQ(seen.choices.at(0).reason, FinishReason::kLength);
  EXPECT_TRUE(h->core->check_integrity().ok());
  EXPECT_EQ(h->core->kv().counts().used(), 0u);
  EXPECT_EQ(h->backend->num_sequences(), 0u);
}

TEST(EngineCore, AStopTokenCountsAsACompletionTokenAndNamesItself) {
  const Harness h = small();
  Request request = make_request(10, 50);
  const std::vector<uint32_t> free_run = h->backend->model().solo(request, 0).output_token_ids;
  request.sampling.stop_token_ids = {free_run[7]};
  const Submission s = h->core->submit(request);
  h->run();
  const SeenChoice choice = h->seen(s.id).choices.at(0);
  EXPECT_EQ(choice.token_ids, std::vector<uint32_t>(free_run.begin(), free_run.begin() + 8));
  EXPECT_EQ(choice.reason, FinishReason::kStop);
  EXPECT_EQ(choice.stop_token_id, free_run[7]);
}

TEST(EngineCore, EveryRequestOfABatchGivesTheTokensOfItsSoloRun) {
  for (const std::string_view policy : sched::policy_names()) {
    const Harness h = small({.policy = std::string(policy)});
    std::vector<std::pair<RequestId, Request>> requests;
    for (uint32_t i = 0; i < 12; ++i) {
      const Request request = make_request(1 + i * 17, 1 + (i * 13) % 40, i);
      const Submission s = h->core->submit(request);
      ASSERT_EQ(s.refusal, Refusal::kNone);
      requests.emplace_back(s.id, request);
    }
    h->run();
    for (const auto& [id, request] : requests) {
      EXPECT_EQ(h->seen(id).choices.at(0).token_ids,
                h->backend->model().solo(request, 0).output_token_ids);
    }
    EXPECT_TRUE(h->sink.faults().empty());
    EXPECT_EQ(h->core->stats().accepted, h->core->stats().ended);
  }
}

// Sixteen blocks hold two requests of 500 tokens. Hundreds that ended after a few say that many
// fit.
TEST(EngineCore, WhatEndedTeachesPastFutureToAdmitMore) {
  const auto running_together = [](const Harness& h) {
    Request request = make_request(10, 490, 1);
    for (uint32_t id = 0; id < 1000; id += 5) {
      request.sampling.stop_token_ids.push_back(id);  // one token in five
    }
    for (uint32_t i = 0; i < 12; ++i) {
      request.sampling.seed = h->core->stats().accepted;
      EXPECT_EQ(h->core->submit(request).refusal, Refusal::kNone);
    }
    h->core->step();
    const uint32_t num_running = h->core->stats().num_running;
    h->run();
    return num_running;
  };
  for (const char* policy : {"past_future", "past_future_sampled"}) {
    const Harness h = small({.policy = policy});
    EXPECT_LE(running_together(h), 2u) << policy;
    for (uint32_t round = 0; round < 10; ++round) {
      running_together(h);
    }
    EXPECT_GE(running_together(h), 8u) << policy;
  }
  const Harness conservative = small({.policy = "fcfs_conservative"});
  for (uint32_t round = 0; round < 10; ++round) {
    EXPECT_LE(running_together(conservative), 2u);
  }
}

}  // namespace
}  // namespace stet::engine
