#include "src/engine/engine_core.h"

#include <gtest/gtest.h>

#include "tests/engine/harness.h"

namespace stet::engine {
namespace {

using Harness = std::unique_ptr<CoreHarness>;
Harness small(EngineOptions options = {}) { return Harness(CoreHarness::small(std::move(options))); }

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
  for (const char* policy : {"fcfs_conservative", "aggressive"}) {
    const Harness h = small({.policy = policy});
    std::vector<std::pair<RequestId, Request>> requests;
    for (uint32_t i = 0; i < 12; ++i) {
      const Request request = make_request(1 + i * 17, 1 + (i * 13) % 40, i);
      const Submission s = h->core->submit(request);
      ASSERT_EQ(s.refusal, Refusal::kNone);
      requests.emplace_back(s.id, request);
    }
    h->run();
    for (const auto& [id, request] : requests) {
      EXPECT_EQ(h->seen(id).choices.at(0).token_ids, h->backend->model().solo(request, 0).output_token_ids);
    }
    EXPECT_TRUE(h->sink.faults().empty());
    EXPECT_EQ(h->core->stats().accepted, h->core->stats().ended);
  }
}

}  // namespace
}  // namespace stet::engine
