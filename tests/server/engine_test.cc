// The service over the real engine on the fake backend: what arrives is what the fake model
// defines, cut by stop strings, in any company, with cancels and slow receivers beside it; and
// nothing stays behind.
#include <gtest/gtest.h>

#include <random>

#include "tests/server/engine_world.h"

namespace stet::server {
namespace {

struct RunningCall {
  std::shared_ptr<Recorder> events;
  std::unique_ptr<Call> call;
  std::string stop;  // a byte, or none
  uint32_t n = 1;
};

// Up to the first token whose text is the stop string, that token included.
std::vector<uint32_t> cut(std::vector<uint32_t> ids, const std::string& stop) {
  for (size_t i = 0; !stop.empty() && i < ids.size(); ++i) {
    if (ids[i] == static_cast<unsigned char>(stop[0])) {
      ids.resize(i + 1);
      break;
    }
  }
  return ids;
}

TEST(ServiceOverEngine, AnswersAreTheDefinedOnesInAnyCompany) {
  EngineWorld world({.prefix_cache = false});
  std::mt19937 random(3);
  std::vector<RunningCall> calls(120);
  for (RunningCall& c : calls) {
    v1::GenerateRequest request =
        text_request(std::string(1 + random() % 100, static_cast<char>('a' + random() % 26)));
    c.n = 1 + random() % 3;
    request.mutable_sampling()->set_n(c.n);
    request.mutable_sampling()->set_seed(random());  // drawn ones would stop now and then, or never
    request.mutable_sampling()->set_max_tokens(1 + random() % 60);
    request.mutable_output()->set_prompt_token_ids(true);
    request.mutable_output()->set_stream_interval(1 + random() % 4);
    if (random() % 2 == 0) {
      c.stop = std::string(1, static_cast<char>(random() % 128));
      request.mutable_stop()->add_strings(c.stop);
    }
    c.events = std::make_shared<Recorder>();
    c.call = world.service->generate(request, {}, c.events);
    switch (random() % 5) {
      case 0: c.call->cancel(); break;
      case 1: c.call->set_busy(true); break;
      default: break;
    }
  }
  for (RunningCall& c : calls) {
    c.call->set_busy(false);
  }
  size_t answered = 0, stopped = 0;
  for (RunningCall& c : calls) {
    const google::rpc::Status status = c.events->wait_done();
    ASSERT_TRUE(status.code() == 0 || status.code() == 1) << status.message();
    if (status.code() != 0) {
      continue;
    }
    ++answered;
    const v1::Started started = c.events->started();
    uint32_t total = 0;
    for (uint32_t i = 0; i < c.n; ++i) {
      const std::vector<uint32_t> expected = cut(world.defined(started, i), c.stop);
      EXPECT_EQ(c.events->token_ids(i), expected);
      total += static_cast<uint32_t>(expected.size());
    }
    for (const v1::Finished& finished : c.events->finished()) {
      stopped += finished.stop_string().empty() ? 0 : 1;
    }
    EXPECT_EQ(c.events->summary().usage().completion_tokens(), total);
  }
  EXPECT_GE(answered, 60u);
  EXPECT_GE(stopped, 1u);
  calls.clear();
  world.engine->stop();
  const engine::EngineStats stats = world.engine->stats();
  EXPECT_EQ(stats.num_blocks_used, 0u);
  EXPECT_EQ(stats.accepted, stats.ended);
  EXPECT_EQ(world.service->num_calls(), 0u);
}

TEST(ServiceOverEngine, AbortEndsCallsAsResumable) {
  EngineWorld world({.prefix_cache = false});
  v1::GenerateRequest request = text_request("x");
  request.mutable_sampling()->set_ignore_eos(true);
  auto events = std::make_shared<Recorder>();
  auto call = world.service->generate(request, {}, events);
  call->set_busy(true);  // so that it cannot be over before the abort
  ASSERT_TRUE(events->wait_events(1));
  world.engine->begin_drain();
  auto late_events = std::make_shared<Recorder>();
  auto late = world.service->generate(request, {}, late_events);
  EXPECT_EQ(reason_in(late_events->wait_done()), "draining");
  world.engine->abort_all();
  call->set_busy(false);
  const google::rpc::Status status = events->wait_done();
  EXPECT_TRUE(status.code() == 0 || reason_in(status) == "drain_timeout") << status.message();
}

}  // namespace
}  // namespace stet::server
