// What a receiver sees of a call that does not go well: refusals, cancels, deadlines, slow readers,
// drain, stop. One on_done in every case.
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "tests/server/fakes.h"

namespace stet::server {
namespace {

TEST(Lifecycle, RefusedWhileLoadingWithARetryHint) {
  World world;
  for (const auto& [state, reason] : {std::pair{ServingState::kLoading, "loading"},
                                      {ServingState::kWarming, "loading"},
                                      {ServingState::kDegraded, "degraded"}}) {
    world.service->set_state(state);
    auto [events, call] = world.generate(text_request("x"));
    const google::rpc::Status status = events->wait_done();
    EXPECT_EQ(status.code(), 14);
    EXPECT_EQ(reason_in(status), reason);
    EXPECT_GE(detail_of<google::rpc::RetryInfo>(status).retry_delay().seconds(), 1);
    EXPECT_FALSE(detail_of<google::rpc::RequestInfo>(status).request_id().empty());
  }
  EXPECT_EQ(world.engine.num_requests(), 0u);
}

TEST(Lifecycle, DrainIsTheEnginesDecision) {
  World world;
  world.service->set_state(ServingState::kDraining);  // announced: calls are still taken
  auto [taken, taken_call] = world.generate(text_request("x"));
  world.engine.reply(world.engine.wait_request(), "a");
  EXPECT_EQ(taken->wait_done().code(), 0);
  world.engine.begin_drain();
  auto [refused, refused_call] = world.generate(text_request("x"));
  EXPECT_EQ(refused->wait_done().code(), 14);
  EXPECT_EQ(reason_in(refused->wait_done()), "draining");
  EXPECT_TRUE(refused->events.empty());
}

TEST(Lifecycle, UnknownModelNamesTheKnownOnes) {
  World world;
  v1::GenerateRequest request = text_request("x");
  request.set_model("gpt-9");
  auto [events, call] = world.generate(request);
  EXPECT_EQ(events->wait_done().code(), 5);
  EXPECT_NE(events->wait_done().message().find("tiny"), std::string::npos);
  request.set_model("tiny");
  auto [known, known_call] = world.generate(request);
  world.engine.reply(world.engine.wait_request(), "a");
  EXPECT_EQ(known->wait_done().code(), 0);
}

TEST(Lifecycle, TemplateRejectionIsTheClientsMistake) {
  World world;
  auto [events, call] = world.chat(chat_request("reject me"));
  EXPECT_EQ(events->wait_done().code(), 3);
  EXPECT_EQ(reason_in(events->wait_done()), "template");
  EXPECT_NE(events->wait_done().message().find("roles must alternate"), std::string::npos);
}

TEST(Lifecycle, TooLongNamesBothCounts) {
  World world;
  v1::GenerateRequest request = text_request(std::string(100, 'x'));
  request.mutable_sampling()->set_max_tokens(kModelLen -
                                             100);  // 101 prompt tokens with the begin token
  auto [events, call] = world.generate(request);
  const google::rpc::Status status = events->wait_done();
  EXPECT_EQ(status.code(), 3);
  EXPECT_EQ(reason_in(status), "context_length");
  const auto info = detail_of<google::rpc::ErrorInfo>(status);
  EXPECT_EQ(info.metadata().at("prompt_tokens"), "101");
  EXPECT_EQ(info.metadata().at("max_tokens"), "412");
  EXPECT_EQ(info.metadata().at("max_model_len"), "512");
  EXPECT_TRUE(names_field(status, "sampling.max_tokens"));
  request.mutable_sampling()->set_max_tokens(kModelLen - 101);
  auto [fits, fits_call] = world.generate(request);
  EXPECT_EQ(world.engine.wait_request().prompt_token_ids.size(), 101u);
}

TEST(Lifecycle, APromptThatFillsTheModelLengthIsRefused) {
  World world;
  for (const size_t bytes : {size_t{kModelLen}, size_t{100'000}}) {
    auto [events, call] = world.generate(text_request(std::string(bytes, 'x')));
    EXPECT_EQ(reason_in(events->wait_done()), "context_length") << bytes;
    EXPECT_TRUE(names_field(events->wait_done(), "text")) << bytes;
  }
}

TEST(Lifecycle, NothingLeftToSampleIsRefused) {
  World world;
  v1::GenerateRequest request = text_request("x");
  request.mutable_sampling()->add_allowed_token_ids(kImEnd);
  auto [fine, fine_call] = world.generate(request);
  ASSERT_TRUE(fine->wait_events(1));
  request.mutable_sampling()->set_min_tokens(1);
  auto [events, call] = world.generate(request);
  EXPECT_TRUE(names_field(events->wait_done(), "sampling.allowed_token_ids"));
}

TEST(Lifecycle, QueueFullGivesNumbersAndARetryHint) {
  World world;
  world.engine.refusal = engine::Refusal::kQueueFull;
  auto [events, call] = world.generate(text_request("x"));
  const google::rpc::Status status = events->wait_done();
  EXPECT_EQ(status.code(), 8);
  EXPECT_EQ(reason_in(status), "queue_full");
  EXPECT_EQ(detail_of<google::rpc::ErrorInfo>(status).metadata().at("limit"), "7");
  const auto delay = detail_of<google::rpc::RetryInfo>(status).retry_delay();
  EXPECT_GE(delay.seconds(), 4);  // 5 s +- 20 %
  EXPECT_LE(delay.seconds(), 6);
  EXPECT_TRUE(events->events.empty()) << "a refusal has no side effect";
}

TEST(Lifecycle, CallsBeforeTokenisationAreBounded) {
  Limits limits;
  limits.max_preparing_calls = 4;
  World world(limits);
  std::mutex gate;
  world.tokenizer->on_encode = [&] { std::lock_guard wait(gate); };
  std::vector<std::pair<std::shared_ptr<Recorder>, std::unique_ptr<Call>>> calls;
  {
    std::lock_guard closed(gate);
    for (int i = 0; i < 6; ++i) {
      calls.push_back(world.generate(text_request("x")));
    }
    for (size_t i = 4; i < 6; ++i) {
      EXPECT_EQ(calls[i].first->wait_done().code(), 8);
      EXPECT_EQ(reason_in(calls[i].first->wait_done()), "queue_full");
    }
  }
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_TRUE(calls[i].first->wait_events(1)) << "those in the queue go on";
  }
  auto [after, after_call] = world.generate(text_request("x"));  // the slots are free again
  EXPECT_TRUE(after->wait_events(1));
}

// A call cancelled while its prompt waits ends at once, not when its turn comes.
TEST(Lifecycle, CancelInTheTextStageEndsAtOnce) {
  World world;
  std::mutex gate;
  world.tokenizer->on_encode = [&] { std::lock_guard wait(gate); };
  std::shared_ptr<Recorder> events;
  {
    std::lock_guard closed(gate);
    auto [blocked, blocked_call] = world.generate(text_request("x"));
    auto [waiting, call] = world.generate(text_request("y"));
    events = waiting;
    call->cancel();
    EXPECT_EQ(waiting->wait_done().code(), 1);
    blocked_call->cancel();
    EXPECT_EQ(blocked->wait_done().code(), 1);
  }
  auto [after, after_call] = world.generate(text_request("z"));
  world.engine.reply(world.engine.wait_request(), "a");
  EXPECT_EQ(after->wait_done().code(), 0);
  EXPECT_EQ(world.engine.num_requests(), 1u) << "the cancelled ones never reached the engine";
  EXPECT_EQ(events->done.size(), 1u);
}

TEST(Lifecycle, BytesBeforeTokenisationAreBounded) {
  Limits limits;
  limits.max_preparing_bytes = 100;
  World world(limits);
  auto [events, call] = world.generate(text_request(std::string(200, 'x')));
  EXPECT_EQ(reason_in(events->wait_done()), "queue_full");
  auto [small, small_call] = world.generate(text_request("x"));
  EXPECT_EQ(world.engine.wait_request().prompt_token_ids.size(), 2u);
}

TEST(Lifecycle, TooLargeIsRefused) {
  Limits limits;
  limits.max_request_bytes = 1000;
  World world(limits);
  auto [events, call] = world.generate(text_request(std::string(1001, 'x')));
  EXPECT_EQ(events->wait_done().code(), 8);
  EXPECT_EQ(reason_in(events->wait_done()), "too_large");
}

TEST(Lifecycle, ARequestIdIsFreeAgainWhenItsCallHasEnded) {
  World world;
  v1::GenerateRequest request = text_request("x");
  request.set_request_id("one");
  auto [first, first_call] = world.generate(request);
  auto [second, second_call] = world.generate(request);
  EXPECT_EQ(second->wait_done().code(), 6);
  EXPECT_EQ(reason_in(second->wait_done()), "duplicate_request_id");
  world.engine.reply(world.engine.wait_request(), "a");
  ASSERT_EQ(first->wait_done().code(), 0);
  auto [third, third_call] = world.generate(request);
  world.engine.reply(world.engine.wait_request(1), "a");
  EXPECT_EQ(third->wait_done().code(), 0);
}

TEST(Lifecycle, CancelReachesTheEngineAndEndsOnce) {
  World world;
  auto [events, call] = world.generate(text_request("x"));
  const RequestId id = world.engine.wait_request().id;
  world.engine.tokens(id, 0, {'a'});
  world.engine.flush();
  ASSERT_TRUE(events->wait_events(2));
  call->cancel();
  call->cancel();
  EXPECT_EQ(events->wait_done().code(), 1);
  EXPECT_TRUE(world.engine.wait_cancelled(id));
  world.engine.ended(
      id, Status(StatusCode::kCancelled, "cancelled"));  // the engine's own ending comes later
  world.engine.flush();
  auto [other, other_call] = world.generate(text_request("y"));
  world.engine.reply(world.engine.wait_request(1), "z");
  EXPECT_EQ(other->wait_done().code(), 0);
  EXPECT_EQ(events->done.size(), 1u);
}

TEST(Lifecycle, DroppingTheHandleCancels) {
  World world;
  auto [events, call] = world.generate(text_request("x"));
  const RequestId id = world.engine.wait_request().id;
  call.reset();
  EXPECT_TRUE(world.engine.wait_cancelled(id));
  EXPECT_EQ(events->wait_done().code(), 1);
}

TEST(Lifecycle, DroppingTheHandleOfAFinishedCallDoesNothing) {
  World world;
  auto [events, call] = world.generate(text_request("x"));
  const Request request = world.engine.wait_request();
  world.engine.reply(request, "a");
  ASSERT_EQ(events->wait_done().code(), 0);
  call.reset();
  world.service->stop();
  EXPECT_FALSE(world.engine.cancelled.contains(request.id));
  EXPECT_EQ(events->done.size(), 1u);
}

TEST(Lifecycle, DeadlinesArePassedOnAndCapped) {
  Limits limits;
  limits.max_request_us = 2'000'000;
  World world(limits);
  const uint64_t now = world.clock.now_us();
  auto [a, call_a] = world.generate(text_request("x"), {.deadline_us = now + 500, .peer = ""});
  auto [b, call_b] = world.generate(text_request("x"));
  auto [c, call_c] =
      world.generate(text_request("x"), {.deadline_us = now + 9'000'000, .peer = ""});
  EXPECT_EQ(world.engine.wait_request(0).deadline_us, now + 500);
  EXPECT_EQ(world.engine.wait_request(1).deadline_us, now + 2'000'000);
  EXPECT_EQ(world.engine.wait_request(2).deadline_us, now + 2'000'000);
}

TEST(Lifecycle, ADeadlineThatHasPassedIsNotQueued) {
  World world;
  auto [events, call] = world.generate(text_request("x"), {.deadline_us = 1, .peer = ""});
  EXPECT_EQ(events->wait_done().code(), 4);
  EXPECT_EQ(reason_in(events->wait_done()), "deadline_exceeded");
  EXPECT_EQ(world.engine.num_requests(), 0u);
}

TEST(Lifecycle, EngineEndingsBecomeStatuses) {
  struct Case {
    Status status;
    const char* reason;
    const char* expected;
    const char* resumable;
  };
  for (const Case& c :
       {Case{{StatusCode::kDeadlineExceeded, "late"}, "", "deadline_exceeded", "false"},
        Case{{StatusCode::kDeadlineExceeded, "old"}, "queue_timeout", "queue_timeout", "false"},
        Case{internal_error("row"), "non_finite", "non_finite", "false"},
        Case{internal_error("?"), "", "internal", "false"},
        Case{unavailable("drain"), "drain_timeout", "drain_timeout", "true"}}) {
    World world;
    v1::GenerateRequest request = text_request("x");
    request.mutable_output()->set_stream_interval(10);
    auto [events, call] = world.generate(request);
    const RequestId id = world.engine.wait_request().id;
    world.engine.tokens(id, 0, {'a'});
    world.engine.ended(id, c.status, c.reason);
    world.engine.flush();
    const google::rpc::Status status = events->wait_done();
    EXPECT_EQ(status.code(), static_cast<int>(c.status.code()));
    EXPECT_EQ(reason_in(status), c.expected);
    EXPECT_EQ(detail_of<google::rpc::ErrorInfo>(status).metadata().at("resumable"), c.resumable);
    EXPECT_EQ(events->text(), "a") << "what was sampled is delivered before the error";
    EXPECT_EQ(events->finished().size(), 0u);
  }
}

TEST(Lifecycle, AFullBufferParksAndADrainedOneUnparks) {
  World world;
  auto [events, call] = world.generate(text_request("x"));
  const RequestId id = world.engine.wait_request().id;
  ASSERT_TRUE(events->wait_events(1));
  call->set_busy(true);
  world.engine.tokens(id, 0, std::vector<uint32_t>(1000, 'a'));
  world.engine.flush();
  for (int i = 0; i < 20; ++i) {
    world.engine.tokens(id, 0, std::vector<uint32_t>(1000, 'a'));
    world.engine.flush();
  }
  EXPECT_TRUE(world.engine.wait_parked(id, true));
  call->set_busy(false);
  EXPECT_TRUE(world.engine.wait_parked(id, false));
  ASSERT_TRUE(events->wait_events(2));
  world.engine.last(id, 0, {'b'}, FinishReason::kLength);
  world.engine.ended(id);
  world.engine.flush();
  EXPECT_EQ(events->wait_done().code(), 0);
  EXPECT_EQ(events->text(), std::string(21'000, 'a') + "b") << "parking loses nothing";
}

TEST(Lifecycle, ASlowReaderIsEndedAfterAMinuteWithoutProgress) {
  World world;
  auto [events, call] = world.generate(text_request("x"));
  const RequestId id = world.engine.wait_request().id;
  ASSERT_TRUE(events->wait_events(1));
  call->set_busy(true);
  world.engine.tokens(id, 0, {'a'});
  world.engine.flush();
  world.clock.advance_us(59'000'000);
  call->set_busy(true);  // progress: the next write
  world.clock.advance_us(59'000'000);
  auto [other, other_call] = world.generate(text_request("y"));
  world.engine.reply(world.engine.wait_request(1), "z");
  ASSERT_EQ(other->wait_done().code(), 0);
  EXPECT_TRUE(events->done.empty()) << "59 s are not 60";
  world.clock.advance_us(2'000'000);
  EXPECT_EQ(events->wait_done().code(), 4);
  EXPECT_EQ(reason_in(events->wait_done()), "slow_reader");
  EXPECT_TRUE(world.engine.wait_cancelled(id));
}

TEST(Lifecycle, ABusyReceiverWithNothingWaitingIsNotSlow) {
  World world;
  auto [events, call] = world.generate(text_request("x"));
  const Request request = world.engine.wait_request();
  ASSERT_TRUE(events->wait_events(1));
  call->set_busy(true);
  world.clock.advance_us(600'000'000);
  auto [other, other_call] = world.generate(text_request("y"));
  world.engine.reply(world.engine.wait_request(1), "z");
  ASSERT_EQ(other->wait_done().code(), 0);
  EXPECT_TRUE(events->done.empty());
  call->set_busy(false);
  world.engine.reply(request, "a");
  EXPECT_EQ(events->wait_done().code(), 0);
}

TEST(Lifecycle, StopEndsEveryCallOnce) {
  auto world = std::make_unique<World>();
  std::vector<std::pair<std::shared_ptr<Recorder>, std::unique_ptr<Call>>> calls;
  for (int i = 0; i < 5; ++i) {
    calls.push_back(world->generate(text_request("x")));
  }
  world->engine.wait_request(4);
  EXPECT_EQ(world->service->num_calls(), 5u);
  world->service->stop();
  EXPECT_EQ(world->service->num_calls(), 0u);
  for (auto& [events, call] : calls) {
    ASSERT_EQ(events->done.size(), 1u);
    EXPECT_EQ(events->done[0].code(), 14);
    EXPECT_EQ(reason_in(events->done[0]), "draining");
  }
  auto [late, late_call] = world->generate(text_request("x"));
  EXPECT_EQ(late->done.size(), 1u) << "after stop the answer comes at once";
  world.reset();  // handles may outlive the service
  calls.clear();
}

TEST(Lifecycle, ModelsDescribeWhatIsServed) {
  World world;
  const auto models = world.service->models();
  ASSERT_EQ(models.size(), 1u);
  EXPECT_EQ(models[0].id(), "tiny");
  EXPECT_EQ(models[0].state(), v1::MODEL_STATE_READY);
  EXPECT_EQ(models[0].max_model_len(), kModelLen);
  EXPECT_EQ(models[0].eos_token_ids(0), kImEnd);
  EXPECT_EQ(models[0].limits().max_n(), 8u);
  EXPECT_EQ(models[0].default_sampling().temperature(), 1.0f);
  EXPECT_FALSE(models[0].default_sampling().has_seed());
}

// Random cancels, drops, busy changes and endings from several threads: one on_done each, nothing
// left, no race (TSan).
TEST(Lifecycle, ManyCallsInDisorderEndOnceEach) {
  World world;
  world.engine.on_submit = [&](const Request& request) {
    // On the text thread: the engine's answer goes through the queue like any step.
    std::vector<engine::EngineEvent> step(3);
    for (auto& event : step) {
      event.request = request.id;
    }
    step[0].tokens = {{'a', 0, 0, {}}};
    step[1].tokens = {{'b', 0, 0, {}}};
    step[1].first_output_pos = 1;
    step[1].kind = engine::EngineEventKind::kChoiceFinished;
    step[2].kind = engine::EngineEventKind::kRequestEnded;
    world.engine.sink->on_events(std::move(step));
  };
  std::vector<std::shared_ptr<Recorder>> recorders(4 * 200);
  std::vector<std::jthread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      for (unsigned i = 0; i < 200; ++i) {
        auto [events, call] = world.generate(text_request("x"));
        recorders[t * 200 + i] = events;
        call->set_busy(random() % 2 == 0);
        switch (random() % 4) {
          case 0: call->cancel(); break;
          case 1: call.reset(); break;
          default: call->set_busy(false); events->wait_done();
        }
      }
    });
  }
  threads.clear();
  for (const auto& events : recorders) {
    EXPECT_NE(events->wait_done().code(), -1);
    std::lock_guard lock(events->mutex);
    EXPECT_EQ(events->done.size(), 1u);
  }
  world.service->stop();
  EXPECT_EQ(world.service->num_calls(), 0u);
}

}  // namespace
}  // namespace stet::server
