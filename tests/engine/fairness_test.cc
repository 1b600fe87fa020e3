// Tenants share the engine evenly, whoever sends more, and whatever its requests are like.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "tests/engine/harness.h"

namespace stet::engine {
namespace {

// Every position takes equally long, so every token costs one.
executor::FakeOptions even_fake() {
  executor::FakeOptions fake = small_fake(nullptr);
  fake.step_us = 0;
  fake.position_us = 100;
  return fake;
}

Request of_tenant(const std::string& tenant, uint32_t prompt_len, uint32_t max_tokens,
                  uint32_t salt) {
  Request request = make_request(prompt_len, max_tokens, salt);
  request.tenant = tenant;
  return request;
}

// Place of the calm tenant's only request among 21, in the order of their starts.
size_t place_of_the_calm_one(const std::string& calm_tenant) {
  CoreHarness h({.max_running = 1}, even_fake());
  std::vector<RequestId> ids;
  for (uint32_t i = 0; i < 20; ++i) {
    ids.push_back(h.core->submit(of_tenant("flood", 100, 10, i)).id);
  }
  h.core->step();
  const RequestId calm = h.core->submit(of_tenant(calm_tenant, 100, 10, 99)).id;
  h.run();
  return static_cast<size_t>(std::count_if(ids.begin(), ids.end(), [&](RequestId id) {
    return h.seen(id).end.times.first_scheduled_us < h.seen(calm).end.times.first_scheduled_us;
  }));
}

TEST(Tenants, WhoSendsOneRequestDoesNotWaitForWhoSentTwenty) {
  EXPECT_LE(place_of_the_calm_one("calm"), 2u);
  EXPECT_EQ(place_of_the_calm_one("flood"), 20u) << "the same tenant: first come, first served";
}

// Both always have something waiting: one sends long prompts, the other wants long answers. The
// largest difference of what they were charged while that holds.
double largest_difference(const std::string& policy, bool fair) {
  CoreHarness h({.policy = policy, .max_queued_prompt_tokens = 1U << 20}, even_fake());
  const std::string other = fair ? "answers" : "prompts";
  for (uint32_t i = 0; i < 100; ++i) {
    h.core->submit(of_tenant("prompts", 300, 3, 2 * i));
  }
  std::vector<RequestId> answers;
  for (uint32_t i = 0; i < 100; ++i) {
    answers.push_back(h.core->submit(of_tenant(other, 20, 100, 2 * i + 1)).id);
  }
  double largest = 0.0;
  while (h.core->step()) {
    double charged[2] = {};
    size_t not_started[2] = {};
    for (uint64_t id = 1; id <= 200; ++id) {
      const RequestState* state = h.core->find(RequestId{id});
      const bool answer = id > 100;
      charged[answer] += state != nullptr ? state->prefill_token_equivalents
                                          : h.seen(RequestId{id}).end.prefill_token_equivalents;
      not_started[answer] += state != nullptr && state->holds_queue_slot ? 1 : 0;
    }
    if (not_started[0] == 0 || not_started[1] == 0) {
      return largest;
    }
    largest = std::max(largest, std::abs(charged[0] - charged[1]));
  }
  return largest;
}

TEST(Tenants, TwoBackloggedOnesDifferByTwicePromptOrPoolAtMost) {
  const executor::FakeOptions fake = even_fake();
  const double bound = 2.0 * std::max<double>(300, fake.num_blocks * fake.block_tokens);
  for (const std::string_view policy : sched::policy_names()) {
    EXPECT_LE(largest_difference(std::string(policy), true), bound) << policy;
    EXPECT_GT(largest_difference(std::string(policy), false), bound) << policy;
  }
}

TEST(Tenants, FairnessChangesNoToken) {
  const auto tokens = [](bool fair) {
    CoreHarness h({}, even_fake());
    std::vector<RequestId> ids;
    for (uint32_t i = 0; i < 12; ++i) {
      const std::string tenant = fair ? std::string(1, static_cast<char>('a' + i % 3)) : "";
      ids.push_back(h.core->submit(of_tenant(tenant, 20 + 40 * (i % 4), 30, i)).id);
    }
    h.run();
    std::vector<std::vector<uint32_t>> all;
    for (const RequestId id : ids) {
      all.push_back(h.seen(id).choices[0].token_ids);
    }
    return all;
  };
  EXPECT_EQ(tokens(true), tokens(false));
}

}  // namespace
}  // namespace stet::engine
