// Leaders and followers, and requests that have missed their TTFT target.
#include <gtest/gtest.h>

#include "tests/engine/harness.h"

namespace stet::engine {
namespace {

// Prompts with a common start of `shared` tokens.
Request family(uint32_t shared, uint32_t own, uint32_t salt) {
  Request request = make_request(shared, 4, 1);
  for (uint32_t i = 0; i < own; ++i) {
    request.prompt_token_ids.push_back((salt * 31 + i * 17) % 997);
  }
  request.sampling.seed = salt;
  return request;
}

uint64_t positions_computed(const EngineOptions& options, uint32_t num_requests) {
  executor::FakeOptions fake = small_fake(nullptr);
  fake.num_blocks = 64;
  CoreHarness h(options, fake);
  for (uint32_t i = 0; i < num_requests; ++i) {
    EXPECT_EQ(h.core->submit(family(320, 20, i)).refusal, Refusal::kNone);
  }
  h.run();
  return h.backend->num_positions_computed();
}

// Five blocks are common. All arrive in one step; budget and pool could start several at once.
TEST(Followers, ASharedBlockIsComputedOnce) {
  for (const std::string_view policy : sched::policy_names()) {
    const EngineOptions options = {.policy = std::string(policy)};
    const uint64_t own = 20 + 3;  // the tail of the prompt, and what decoding adds
    EXPECT_EQ(positions_computed(options, 8), 320 + 8 * own) << policy;
    EXPECT_EQ(positions_computed({.policy = options.policy, .prefix_cache = false}, 8),
              8 * (320 + own))
        << policy;
  }
}

TEST(Followers, AnotherPromptPassesWhoFollows) {
  executor::FakeOptions fake = small_fake(nullptr);
  fake.num_blocks = 64;
  CoreHarness h({}, fake);
  const Submission leader = h.core->submit(family(320, 20, 1));
  const Submission follower = h.core->submit(family(320, 20, 2));
  const Submission other = h.core->submit(make_request(30, 4, 9));
  h.core->step();
  h.core->step();
  EXPECT_EQ(h.core->stats().num_following, 1u);
  h.run();
  EXPECT_LT(h.seen(other.id).end.times.first_scheduled_us,
            h.seen(follower.id).end.times.first_scheduled_us);
  EXPECT_EQ(h.seen(follower.id).end.cached_prompt_tokens, 320u);
  EXPECT_EQ(h.seen(leader.id).end.cached_prompt_tokens, 0u);
}

TEST(Followers, WhenTheLeaderIsCancelledTheOldestFollowerLeads) {
  executor::FakeOptions fake = small_fake(nullptr);
  fake.num_blocks = 64;
  CoreHarness h({}, fake);
  const Submission leader = h.core->submit(family(320, 20, 1));
  const Submission second = h.core->submit(family(320, 20, 2));
  const Submission third = h.core->submit(family(320, 20, 3));
  h.core->step();
  h.core->push(CommandKind::kCancel, leader.id);
  h.run();
  EXPECT_TRUE(h.seen(second.id).end.status.ok());
  EXPECT_EQ(h.seen(second.id).end.cached_prompt_tokens, 128u);  // what the leader had published
  EXPECT_EQ(h.seen(third.id).end.cached_prompt_tokens, 320u);
}

// ---- late = last

// Room for one request at a time: 3 steps of prompt, 9 of outputs.
std::vector<RequestId> run_line(CoreHarness* h, const std::vector<uint64_t>& targets_us) {
  std::vector<RequestId> ids;
  for (uint32_t i = 0; i < targets_us.size(); ++i) {
    Request request = make_request(300, 10, i);
    request.ttft_target_us = targets_us[i];
    ids.push_back(h->core->submit(request).id);
  }
  h->run();
  std::sort(ids.begin(), ids.end(), [&](RequestId a, RequestId b) {
    return h->seen(a).end.times.first_scheduled_us < h->seen(b).end.times.first_scheduled_us;
  });
  return ids;
}
using Ids = std::vector<RequestId>;

TEST(LateLast, WhoHasMissedItsTargetGoesBehindThoseThatCanStillMeetIt) {
  const Harness h = small({.max_running = 1});
  EXPECT_EQ(run_line(h.get(), {0, 10'000, 0, 0}),
            (Ids{RequestId{1}, RequestId{3}, RequestId{4}, RequestId{2}}));
}

TEST(LateLast, TheEnginesTargetIsThatOfRequestsThatNameNone) {
  const Harness h = small({.max_running = 1, .ttft_target_us = 10'000});
  EXPECT_EQ(run_line(h.get(), {0, 0, 1'000'000, 1'000'000}),
            (Ids{RequestId{1}, RequestId{3}, RequestId{4}, RequestId{2}}));
}

TEST(LateLast, WithoutTargetsTheOrderIsThatOfArrival) {
  const Harness h = small({.max_running = 1});
  EXPECT_EQ(run_line(h.get(), {0, 0, 0}), (Ids{RequestId{1}, RequestId{2}, RequestId{3}}));
}

TEST(LateLast, ABatchRequestHasNoTargetAndDoesNotTimeOutInTheQueue) {
  const Harness h = small({.max_running = 1, .queue_timeout_us = 5'000});
  Request first = make_request(300, 10, 1), job = make_request(300, 10, 2);
  job.service_class = ServiceClass::kBatch;
  job.ttft_target_us = 1;
  h->core->submit(first);
  const Submission waiting_job = h->core->submit(job);
  const Submission waiting = h->core->submit(make_request(300, 10, 3));
  h->run();
  EXPECT_EQ(h->seen(waiting.id).end.error_reason, "queue_timeout");
  EXPECT_TRUE(h->seen(waiting_job.id).end.status.ok());
}

}  // namespace
}  // namespace stet::engine
