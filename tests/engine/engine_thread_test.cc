// The Engine with its thread, orders from several threads at once. Run under the thread sanitizer
// by `make tsan`.
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <thread>

#include "tests/engine/harness.h"

namespace stet::engine {
namespace {

// Lets a test wait for ends instead of sleeping. Thread-safe.
class WaitingSink final : public EventSink {
 public:
  void on_events(std::vector<EngineEvent> events) override {
    seen_.on_events(std::move(events));
    std::lock_guard lock(mutex_);
    changed_.notify_all();
  }
  bool wait_ended(size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(60),
                             [&] { return seen_.num_ended() >= count; });
  }
  const SeenSink& seen() const { return seen_; }

 private:
  SeenSink seen_;
  std::mutex mutex_;
  std::condition_variable changed_;
};

struct ThreadHarness {
  explicit ThreadHarness(EngineOptions options = {}) : backend(small_fake(nullptr)) {
    Result<std::unique_ptr<Engine>> made =
        Engine::create(&backend, &sink, &clock, &metrics, std::move(options));
    STET_CHECK(made.ok(), made.status().message().c_str());
    engine = std::move(made).value();
  }
  SteadyClock clock;
  obs::Metrics metrics;
  WaitingSink sink;
  executor::FakeBackend backend;
  std::unique_ptr<Engine> engine;
};

TEST(Engine, AnswersFromItsThread) {
  ThreadHarness h;
  h.engine->start();
  const Request request = make_request(100, 20);
  const Submission s = h.engine->submit(request);
  ASSERT_EQ(s.refusal, Refusal::kNone);
  ASSERT_TRUE(h.sink.wait_ended(1));
  EXPECT_EQ(h.sink.seen().request(s.id).choices.at(0).token_ids,
            h.backend.model().solo(request, 0).output_token_ids);
  h.engine->stop();
  EXPECT_EQ(h.engine->submit(request).refusal, Refusal::kStopped);
}

TEST(Engine, AnIdleEngineNoticesAQueuedDeadline) {
  ThreadHarness h;
  h.engine->start();
  const Submission parked = h.engine->submit(make_request(100, 400));
  h.engine->set_parked(parked.id, true);
  Request request = make_request(10, 5, 1);
  request.deadline_us = h.clock.now_us() + 1;  // over before it can start, or just after
  const Submission s = h.engine->submit(request);
  // On a busy machine the other one may have ended before it could be parked.
  ASSERT_TRUE(h.sink.wait_ended(1));
  if (h.sink.seen().request(s.id).num_ends == 0) {
    ASSERT_TRUE(h.sink.wait_ended(2));
  }
  EXPECT_EQ(h.sink.seen().request(s.id).num_ends, 1u);
  h.engine->cancel(parked.id);
  ASSERT_TRUE(h.sink.wait_ended(2));
}

TEST(Engine, StopEndsWhatIsLeftAndTakesNothingMore) {
  ThreadHarness h;
  h.engine->start();
  std::vector<Submission> all;
  for (uint32_t i = 0; i < 20; ++i) {
    all.push_back(h.engine->submit(make_request(50, 400, i)));
  }
  h.engine->stop();
  h.engine->stop();
  for (const Submission& s : all) {
    EXPECT_EQ(h.sink.seen().request(s.id).num_ends, 1u);
  }
  const EngineStats stats = h.engine->stats();
  EXPECT_EQ(stats.accepted, 20u);
  EXPECT_EQ(stats.ended, 20u);
  EXPECT_EQ(stats.num_blocks_used, 0u);
}

TEST(Engine, StopWithoutStartEndsTheQueued) {
  ThreadHarness h;
  const Submission s = h.engine->submit(make_request(50, 400));
  h.engine->stop();
  EXPECT_EQ(h.sink.seen().request(s.id).end.error_reason, "drain_timeout");
}

// Four clients submit, cancel, park and finish at random moments; every accepted request ends once,
// and whoever was left alone has the tokens of a solo run.
TEST(Engine, ManyThreadsOfOrdersKeepTheLedger) {
  ThreadHarness h({.policy = "aggressive", .max_queued_requests = 16});
  h.engine->start();
  constexpr uint32_t kThreads = 4, kPerThread = 150;
  std::mutex mutex;
  std::vector<std::pair<RequestId, Request>> untouched;
  std::atomic<size_t> num_accepted = 0;
  const auto client = [&](uint32_t thread) {
    for (uint32_t i = 0; i < kPerThread; ++i) {
      const uint32_t salt = thread * 1000 + i;
      Request request = make_request(1 + salt * 37 % 150, 1 + salt * 11 % 60, salt % 40);
      request.num_choices = 1 + salt % 3 / 2;
      Submission s = h.engine->submit(request);
      while (s.refusal == Refusal::kQueueFull) {  // until the step thread has had its turn
        std::this_thread::yield();
        s = h.engine->submit(request);
      }
      ASSERT_EQ(s.refusal, Refusal::kNone);
      ++num_accepted;
      switch (salt % 5) {
        case 0: h.engine->cancel(s.id); break;
        case 1: h.engine->finish_choice(s.id, 0); break;
        case 2:
          h.engine->set_parked(s.id, true);
          h.engine->stats();
          h.engine->set_parked(s.id, false);
          break;
        default: std::lock_guard lock(mutex); untouched.emplace_back(s.id, request);
      }
    }
  };
  std::vector<std::jthread> threads;
  for (uint32_t t = 0; t < kThreads; ++t) {
    threads.emplace_back(client, t);
  }
  threads.clear();  // joins
  ASSERT_TRUE(h.sink.wait_ended(num_accepted));
  h.engine->stop();
  EXPECT_EQ(num_accepted, kThreads * kPerThread);
  EXPECT_EQ(h.engine->stats().accepted, num_accepted);
  EXPECT_EQ(h.engine->stats().ended, num_accepted);
  EXPECT_EQ(h.engine->stats().num_blocks_used, 0u);
  EXPECT_TRUE(h.sink.seen().faults().empty());
  for (const auto& [id, request] : untouched) {
    const SeenRequest seen = h.sink.seen().request(id);
    EXPECT_TRUE(seen.end.status.ok());
    for (uint32_t choice = 0; choice < request.num_choices; ++choice) {
      EXPECT_EQ(seen.choices.at(choice).token_ids,
                h.backend.model().solo(request, choice).output_token_ids);
    }
  }
}

}  // namespace
}  // namespace stet::engine
