// What requests are charged in prefill token equivalents.
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "tests/engine/harness.h"

namespace stet::engine {
namespace {

// Every position takes equally long: an output costs what a prompt token costs.
executor::FakeOptions even_fake(uint32_t num_blocks) {
  executor::FakeOptions fake = small_fake(nullptr);
  fake.num_blocks = num_blocks;
  fake.step_us = 0;
  fake.position_us = 100;
  return fake;
}

double charged(const CoreHarness& h, RequestId id) {
  return h.seen(id).end.prefill_token_equivalents;
}

TEST(Charges, PromptTokensThatWereNotCachedAndOutputs) {
  CoreHarness h({}, even_fake(64));
  const RequestId first = h.core->submit(make_request(200, 10)).id;
  h.run();
  const RequestId again = h.core->submit(make_request(200, 10)).id;
  h.run();
  EXPECT_EQ(h.seen(again).end.cached_prompt_tokens, 192u);
  EXPECT_NEAR(charged(h, first), 200 + 10, 0.1);
  EXPECT_NEAR(charged(h, again), 8 + 10, 0.1);
  EXPECT_DOUBLE_EQ(h.core->stats().prefill_token_equivalents,
                   charged(h, first) + charged(h, again));
}

TEST(Charges, ChoicesShareOnePrompt) {
  CoreHarness h({}, even_fake(64));
  Request request = make_request(200, 10);
  request.num_choices = 3;
  const RequestId id = h.core->submit(request).id;
  h.run();
  EXPECT_NEAR(charged(h, id), 200 + 3 * 10, 0.1);
}

TEST(Charges, WhatAPreemptionComputesAgainIsNotTheClients) {
  CoreHarness h({.policy = "aggressive", .prefix_cache = false}, even_fake(8));
  std::vector<RequestId> ids;
  for (uint32_t i = 0; i < 4; ++i) {
    ids.push_back(h.core->submit(make_request(100, 100, i)).id);
  }
  h.run();
  ASSERT_GT(h.core->stats().preemptions, 0u);
  for (const RequestId id : ids) {
    EXPECT_NEAR(charged(h, id), 100 + 100, 0.5);
  }
}

// 1 ms per step: whoever decodes alone pays whole steps, in company a part of them.
TEST(Charges, AnOutputPaysItsShareOfTheStep) {
  executor::FakeOptions fake = small_fake(nullptr);
  fake.num_blocks = 64;
  fake.position_us = 10;
  const auto run = [&](uint32_t num_requests) {
    CoreHarness h({}, fake);
    h.core->submit(make_request(400, 1, 99));  // the model learns what a large step takes
    h.run();
    RequestId last;
    for (uint32_t i = 0; i < num_requests; ++i) {
      last = h.core->submit(make_request(10, 100, i)).id;
    }
    h.run();
    return charged(h, last);
  };
  const double alone = run(1), with_nine = run(10);
  // Of one, ten and 128 positions: 1010, 1100 and 2280 us, so 56.7 and 6.2 units per output.
  EXPECT_NEAR(alone, 10 + 100 * 56.7, 0.1 * alone);
  EXPECT_NEAR(with_nine, 10 + 100 * 6.2, 0.2 * with_nine);
}

}  // namespace
}  // namespace stet::engine
