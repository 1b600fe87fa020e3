// n choices, resumed runs, preemption, faults: a sequence's answer is its own whatever happens to
// it.
#include <gtest/gtest.h>

#include "tests/engine/harness.h"

namespace stet::engine {
namespace {

TEST(Choices, ForkFromTheFirstAndComputeThePromptOnce) {
  for (const bool prefix_cache : {true, false}) {
    const Harness h = small({.prefix_cache = prefix_cache});
    Request request = make_request(100, 10, 5);
    request.num_choices = 4;
    const Submission s = h->core->submit(request);
    h->run();
    const SeenRequest seen = h->seen(s.id);
    for (uint32_t choice = 0; choice < 4; ++choice) {
      EXPECT_EQ(seen.choices.at(choice).token_ids,
                h->backend->model().solo(request, choice).output_token_ids);
    }
    EXPECT_NE(seen.choices.at(0).token_ids, seen.choices.at(1).token_ids);
    // The prompt once, one row again per fork, and nine outputs of each choice.
    EXPECT_EQ(h->backend->num_positions_computed(), 100u + 3 + 4 * 9);
    EXPECT_EQ(h->core->kv().counts().used(), 0u);
  }
}

TEST(Choices, WorkWhenTheFirstIsGoneBeforeTheOthersCanFork) {
  const Harness h = small();
  Request request = make_request(100, 1, 5);  // choice 0 ends with its first token
  request.num_choices = 3;
  const Submission s = h->core->submit(request);
  h->run();
  for (uint32_t choice = 0; choice < 3; ++choice) {
    EXPECT_EQ(h->seen(s.id).choices.at(choice).token_ids,
              h->backend->model().solo(request, choice).output_token_ids);
  }
  EXPECT_EQ(h->seen(s.id).num_ends, 1u);
}

TEST(Choices, WorkForAPromptOfOneTokenAndAtBlockBorders) {
  for (uint32_t prompt_len : {1u, 2u, 64u, 65u, 128u, 129u}) {
    const Harness h = small();
    Request request = make_request(prompt_len, 70, 9);
    request.num_choices = 3;
    const Submission s = h->core->submit(request);
    h->run();
    for (uint32_t choice = 0; choice < 3; ++choice) {
      EXPECT_EQ(h->seen(s.id).choices.at(choice).token_ids,
                h->backend->model().solo(request, choice).output_token_ids);
    }
  }
}

TEST(Resume, ContinuesWhereTheOutputsEnd) {
  const Harness h = small();
  Request request = make_request(30, 20);
  const std::vector<uint32_t> whole = h->backend->model().solo(request, 0).output_token_ids;
  for (const size_t cut : {1u, 7u, 19u}) {
    Request resumed = request;
    resumed.output_token_ids.assign(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(cut));
    const Submission s = h->core->submit(resumed);
    h->run();
    EXPECT_EQ(h->seen(s.id).choices.at(0).token_ids,
              std::vector<uint32_t>(whole.begin() + static_cast<ptrdiff_t>(cut), whole.end()));
  }
}

TEST(Resume, OfACompleteRunEndsWithoutComputing) {
  const Harness h = small();
  Request request = make_request(30, 3);
  request.output_token_ids = {5, 6, 7};
  const Submission s = h->core->submit(request);
  EXPECT_EQ(h->run(), 0u);
  EXPECT_EQ(h->seen(s.id).choices.at(0).reason, FinishReason::kLength);
  EXPECT_TRUE(h->seen(s.id).choices.at(0).finished);
  EXPECT_TRUE(h->seen(s.id).end.status.ok());
}

TEST(Preemption, HappensUnderAggressiveAdmissionAndShowsInNoToken) {
  for (const bool prefix_cache : {true, false}) {
    const Harness h = small({.policy = "aggressive", .prefix_cache = prefix_cache});
    std::vector<std::pair<RequestId, Request>> requests;
    for (uint32_t i = 0; i < 8; ++i) {
      const Request request = make_request(60, 250, i);
      requests.emplace_back(h->core->submit(request).id, request);
    }
    h->run();
    uint32_t preemptions = 0;
    for (const auto& [id, request] : requests) {
      const SeenRequest seen = h->seen(id);
      EXPECT_EQ(seen.choices.at(0).token_ids,
                h->backend->model().solo(request, 0).output_token_ids);
      preemptions += seen.end.num_preemptions;
    }
    EXPECT_GT(preemptions, 0u);
    EXPECT_EQ(preemptions, h->core->stats().preemptions);
    EXPECT_EQ(h->core->kv().counts().used(), 0u);
  }
}

TEST(PrefixCache, ASecondEqualPromptComputesOnlyItsTail) {
  const Harness h = small();
  const Request request = make_request(200, 5);
  h->core->submit(request);
  h->run();
  const uint64_t before = h->backend->num_positions_computed();
  const Submission s = h->core->submit(request);
  h->run();
  EXPECT_EQ(h->seen(s.id).end.cached_prompt_tokens, 192u);
  EXPECT_EQ(h->backend->num_positions_computed() - before, 8u + 4);
  EXPECT_EQ(h->core->stats().cached_prompt_tokens, 192u);
}

TEST(PrefixCache, SwitchedOffKeepsNothing) {
  const Harness h = small({.prefix_cache = false});
  const Request request = make_request(200, 5);
  h->core->submit(request);
  h->run();
  const Submission s = h->core->submit(request);
  h->run();
  EXPECT_EQ(h->seen(s.id).end.cached_prompt_tokens, 0u);
  EXPECT_EQ(h->core->kv().counts().cached, 0u);
}

TEST(Fault, EndsItsOwnRequestAndTouchesNoOther) {
  executor::FakeOptions fake = small_fake(nullptr);
  fake.fault_period = 200;
  CoreHarness h({}, fake);
  std::vector<std::pair<RequestId, Request>> requests;
  for (uint32_t i = 0; i < 12; ++i) {
    const Request request = make_request(30, 40, i);
    requests.emplace_back(h.core->submit(request).id, request);
  }
  h.run();
  uint32_t faulted = 0;
  for (const auto& [id, request] : requests) {
    const executor::FakeModel::Solo solo = h.backend->model().solo(request, 0);
    const SeenRequest seen = h.seen(id);
    EXPECT_EQ(seen.num_ends, 1u);
    EXPECT_EQ(seen.end.status.code(), solo.faulted ? StatusCode::kInternal : StatusCode::kOk);
    EXPECT_EQ(seen.end.error_reason, solo.faulted ? "non_finite" : "");
    if (!solo.output_token_ids.empty()) {
      EXPECT_EQ(seen.choices.at(0).token_ids, solo.output_token_ids);
    }
    faulted += solo.faulted ? 1 : 0;
  }
  EXPECT_GT(faulted, 0u);
  EXPECT_LT(faulted, 12u);
  EXPECT_TRUE(h.core->check_integrity().ok());
  EXPECT_EQ(h.core->kv().counts().used(), 0u);
}

TEST(Logprobs, ArePassedThrough) {
  const Harness h = small();
  Request request = make_request(10, 2);
  request.sampling.num_logprobs = 3;
  const Submission s = h->core->submit(request);
  h->run();
  const std::vector<EngineToken> tokens = h->seen(s.id).choices.at(0).tokens;
  ASSERT_EQ(tokens.size(), 2u);
  EXPECT_EQ(tokens[0].rank, 1 + tokens[0].token_id % 8);
  ASSERT_EQ(tokens[0].top.size(), 3u);
  EXPECT_EQ(tokens[0].top[0].token_id, tokens[0].token_id);
  EXPECT_EQ(tokens[1].top[2].logprob, -0.75f);
}

TEST(Step, DeliversAllItsEventsInOneCall) {
  const Harness h = small();
  for (uint32_t i = 0; i < 5; ++i) {
    h->core->submit(make_request(5, 4, i));
  }
  const uint32_t steps = h->run();
  EXPECT_EQ(h->sink.num_calls(), steps);
}

}  // namespace
}  // namespace stet::engine
