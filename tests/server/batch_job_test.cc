// A job without its transport: whose event is whose, when the next request is read, what ends what.
#include "src/server/batch_job.h"

#include <gtest/gtest.h>

#include <optional>
#include <utility>

#include "tests/server/fakes.h"

namespace stet::server {
namespace {

using std::chrono::seconds;

// The test answers every read and write itself.
class FakeTransport final : public JobTransport {
 public:
  void read_next() override {
    with_lock([this] { ++num_reads; });
  }
  void write(const v1::GenerateBatchResponse& response) override {
    with_lock([&] { writing = response; });
  }
  void finish(const google::rpc::Status& status) override {
    with_lock([&] { finished.push_back(status); });
  }
  bool wait(const std::function<bool()>& condition) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, seconds(10), condition);
  }

  size_t num_reads = 0;
  std::optional<v1::GenerateBatchResponse> writing;
  std::vector<google::rpc::Status> finished;  // one, or the contract is broken

 private:
  template <class Change>
  void with_lock(const Change& change) {
    std::lock_guard lock(mutex_);
    change();
    changed_.notify_all();
  }
  std::mutex mutex_;
  std::condition_variable changed_;
};

v1::GenerateBatchRequest named(const std::string& custom_id, std::string_view text = "x") {
  v1::GenerateBatchRequest out;
  out.set_custom_id(custom_id);
  *out.mutable_generate() = text_request(text);
  return out;
}

google::rpc::Status status_in(const v1::BatchError& error) {
  google::rpc::Status out;
  EXPECT_TRUE(out.ParseFromString(error.details()));
  EXPECT_EQ(out.code(), error.code());
  EXPECT_EQ(out.message(), error.message());
  return out;
}

struct JobWorld : World {
  explicit JobWorld(CallContext context = {}) {
    job = std::make_shared<BatchJob>(service.get(), context, &transport);
    job->start();
  }
  ~JobWorld() {
    service->stop();
    job->abort(google::rpc::Status());  // unless it has ended
    job->detach();
  }

  bool wait_reads(size_t count) {
    return transport.wait([&] { return transport.num_reads == count; });
  }
  // Answers the outstanding read, which must be the last of `reads_so_far`.
  void push(v1::GenerateBatchRequest request) {
    ASSERT_TRUE(wait_reads(++num_pushed));
    job->on_request(std::move(request));
  }
  // Takes the outstanding write.
  v1::GenerateBatchResponse next() {
    v1::GenerateBatchResponse out;
    EXPECT_TRUE(transport.wait([&] {
      if (!transport.writing) {
        return false;
      }
      out = *std::exchange(transport.writing, std::nullopt);
      return true;
    }));
    job->on_written();
    return out;
  }
  google::rpc::Status next_error(const std::string& custom_id) {
    const v1::GenerateBatchResponse response = next();
    EXPECT_EQ(response.custom_id(), custom_id);
    EXPECT_TRUE(response.has_error());
    return status_in(response.error());
  }
  void expect_event(const std::string& custom_id, v1::GenerateResponse::EventCase kind) {
    const v1::GenerateBatchResponse response = next();
    EXPECT_EQ(response.custom_id(), custom_id);
    EXPECT_EQ(response.event().event_case(), kind) << response.ShortDebugString();
  }
  google::rpc::Status wait_finished() {
    EXPECT_TRUE(transport.wait([&] { return !transport.finished.empty(); }));
    EXPECT_EQ(transport.finished.size(), 1u);
    return transport.finished.at(0);
  }

  FakeTransport transport;
  std::shared_ptr<BatchJob> job;
  size_t num_pushed = 0;
};

using Event = v1::GenerateResponse;

TEST(BatchJob, EventsHaveTheAddressOfTheirRequestAndComeInItsOrder) {
  JobWorld world;
  world.push(named("a"));
  const Request a = world.engine.wait_request(0);
  world.push(named("b"));
  const Request b = world.engine.wait_request(1);
  ASSERT_TRUE(world.wait_reads(3));
  world.job->on_half_close();
  world.expect_event("a", Event::kStarted);
  world.expect_event("b", Event::kStarted);
  world.engine.reply(b, "two");
  world.expect_event("b", Event::kFinished);
  world.expect_event("b", Event::kSummary);
  EXPECT_TRUE(world.transport.finished.empty());
  world.engine.reply(a, "one");
  const v1::GenerateBatchResponse finished = world.next();
  EXPECT_EQ(finished.custom_id(), "a");
  EXPECT_EQ(finished.event().finished().output().text(), "one");
  world.expect_event("a", Event::kSummary);
  EXPECT_EQ(world.wait_finished().code(), 0);
  EXPECT_EQ(world.service->num_calls(), 0u);
}

TEST(BatchJob, AnEmptyJobIsComplete) {
  JobWorld world;
  ASSERT_TRUE(world.wait_reads(1));
  world.job->on_half_close();
  EXPECT_EQ(world.wait_finished().code(), 0);
}

TEST(BatchJob, DefaultsAreBatchAndFinalAndAClientsOwnStand) {
  JobWorld world;
  world.push(named("a"));
  EXPECT_EQ(world.engine.wait_request(0).service_class, ServiceClass::kBatch);
  v1::GenerateBatchRequest own = named("b");
  own.mutable_generate()->mutable_output()->set_mode(v1::OUTPUT_MODE_DELTA);
  own.mutable_generate()->mutable_scheduling()->set_service_class(v1::SERVICE_CLASS_INTERACTIVE);
  world.push(own);
  const Request b = world.engine.wait_request(1);
  EXPECT_EQ(b.service_class, ServiceClass::kInteractive);
  v1::GenerateBatchRequest chat;
  chat.set_custom_id("c");
  *chat.mutable_chat() = chat_request("hi");
  world.push(chat);
  EXPECT_EQ(world.engine.wait_request(2).service_class, ServiceClass::kBatch);
  for (const char* custom_id : {"a", "b", "c"}) {
    world.expect_event(custom_id, Event::kStarted);
  }
  world.engine.reply(b, "y");
  world.expect_event("b", Event::kDelta);
}

TEST(BatchJob, AFullQueueHoldsReadingUpInsteadOfRefusing) {
  JobWorld world;
  world.engine.has_room = false;
  world.push(named("a"));
  ASSERT_TRUE(world.engine.wait_turned_away(1));
  EXPECT_EQ(world.transport.num_reads, 1u);
  world.engine.give_room();
  world.push(named("b"));  // there was a second read
  world.expect_event("a", Event::kStarted);
  world.expect_event("b", Event::kStarted);
}

TEST(BatchJob, JobsThatWaitGetTheirPlacesInTheOrderInWhichTheyCame) {
  JobWorld world;
  FakeTransport other_transport;
  auto other = std::make_shared<BatchJob>(world.service.get(), CallContext(), &other_transport);
  other->start();
  world.engine.has_room = false;
  world.push(named("first"));
  ASSERT_TRUE(world.engine.wait_turned_away(1));
  other->on_request(named("second", "y"));
  const auto [events, call] = world.generate(text_request("z"));  // no job: it does not wait
  EXPECT_EQ(world.engine.wait_request(0).prompt_token_ids.back(), 'z');
  EXPECT_EQ(world.engine.num_turned_away, 1u) << "the second stands in line";
  world.engine.give_room();
  EXPECT_EQ(world.engine.wait_request(1).prompt_token_ids.back(), 'x');
  EXPECT_EQ(world.engine.wait_request(2).prompt_token_ids.back(), 'y');
  other->abort(google::rpc::Status());
  other->detach();
}

TEST(BatchJob, WhoWaitsForAPlaceIsRefusedByADrainAndTheJobGoesOn) {
  JobWorld world;
  world.push(named("runs"));
  const Request runs = world.engine.wait_request(0);
  world.engine.has_room = false;
  world.push(named("waits"));
  ASSERT_TRUE(world.engine.wait_turned_away(1));
  world.engine.begin_drain();
  world.engine.give_room();
  world.push(named("late"));
  world.expect_event("runs", Event::kStarted);
  for (const char* custom_id : {"waits", "late"}) {
    const google::rpc::Status error = world.next_error(custom_id);
    EXPECT_EQ(error.code(), static_cast<int>(StatusCode::kUnavailable));
    EXPECT_EQ(reason_in(error), "draining");
  }
  world.engine.reply(runs, "to the end");
  world.expect_event("runs", Event::kFinished);
  world.expect_event("runs", Event::kSummary);
  ASSERT_TRUE(world.wait_reads(4));
  world.job->on_half_close();
  EXPECT_EQ(world.wait_finished().code(), 0);
}

TEST(BatchJob, ADeadlineHoldsForWhoWaitsForAPlace) {
  JobWorld world({.deadline_us = 5'000'000});
  world.engine.has_room = false;
  world.push(named("a"));
  ASSERT_TRUE(world.engine.wait_turned_away(1));
  world.clock.advance_us(5'000'000);
  world.engine.give_room();
  EXPECT_EQ(reason_in(world.next_error("a")), "deadline_exceeded");
  EXPECT_EQ(world.engine.num_requests(), 0u);
}

TEST(BatchJob, StoppingTheServiceEndsWhoWaitsForAPlace) {
  JobWorld world;
  world.engine.has_room = false;
  world.push(named("a"));
  ASSERT_TRUE(world.engine.wait_turned_away(1));
  world.service->stop();
  EXPECT_EQ(reason_in(world.next_error("a")), "draining");
  world.push(named("b"));  // reported before on_request returns
  EXPECT_EQ(reason_in(world.next_error("b")), "draining");
}

TEST(BatchJob, AbortCancelsEverythingAlsoWhoWaits) {
  JobWorld world;
  world.push(named("a"));
  const RequestId a = world.engine.wait_request(0).id;
  world.engine.has_room = false;
  world.push(named("b"));
  ASSERT_TRUE(world.engine.wait_turned_away(1));
  google::rpc::Status gone;
  gone.set_code(1);
  world.job->abort(gone);
  EXPECT_EQ(world.wait_finished().code(), 1);
  EXPECT_TRUE(world.engine.wait_cancelled(a));
  world.service->stop();  // every call has ended now
  EXPECT_EQ(world.service->num_calls(), 0u);
  EXPECT_EQ(world.engine.num_requests(), 1u);
}

TEST(BatchJob, AWrongRequestIsRefusedAsItsSingleCounterpartAndTheJobGoesOn) {
  JobWorld world;
  v1::GenerateBatchRequest wrong = named("wrong");
  wrong.mutable_generate()->mutable_sampling()->set_top_p(1.5f);
  wrong.mutable_generate()->mutable_sampling()->set_n(0);
  wrong.mutable_generate()->set_request_id("r");
  const auto [events, call] = world.generate(wrong.generate());
  const std::string single = events->wait_done().SerializeAsString();
  v1::GenerateBatchRequest too_long;
  too_long.set_custom_id("long");
  *too_long.mutable_chat() = chat_request(std::string(kModelLen, 'a'));

  world.push(wrong);
  world.push(named("right"));
  world.push(too_long);
  EXPECT_EQ(world.next_error("wrong").SerializeAsString(), single);
  world.expect_event("right", Event::kStarted);
  EXPECT_EQ(reason_in(world.next_error("long")), "context_length");
  world.engine.reply(world.engine.wait_request(0), "y");
  world.expect_event("right", Event::kFinished);
  world.expect_event("right", Event::kSummary);
}

TEST(BatchJob, TheEnvelopeIsCheckedToo) {
  JobWorld world;
  v1::GenerateBatchRequest request;
  request.set_custom_id("empty");
  world.push(request);
  google::rpc::Status error = world.next_error("empty");
  EXPECT_EQ(reason_in(error), "malformed");
  EXPECT_TRUE(names_field(error, "request"));

  request = named("group");
  request.set_end_of_group(true);
  world.push(request);
  error = world.next_error("group");
  EXPECT_EQ(reason_in(error), "unsupported");
  EXPECT_TRUE(names_field(error, "end_of_group"));

  request = named("unknown");
  request.GetReflection()->MutableUnknownFields(&request)->AddVarint(9, 1);
  world.push(request);
  error = world.next_error("unknown");
  EXPECT_EQ(reason_in(error), "unknown_field");
  EXPECT_TRUE(names_field(error, "9"));
  EXPECT_EQ(world.engine.num_requests(), 0u);
}

// What has no address ends the job, after the requests before it.
TEST(BatchJob, ACustomIdMustBeNewAndOfALengthInRange) {
  for (const std::string& custom_id : {std::string(), std::string(65, 'a'), std::string("seen")}) {
    JobWorld world;
    world.push(named("seen"));
    world.push(named(custom_id));
    world.expect_event("seen", Event::kStarted);
    EXPECT_TRUE(world.transport.finished.empty());
    world.engine.reply(world.engine.wait_request(0), "y");
    world.expect_event("seen", Event::kFinished);
    world.expect_event("seen", Event::kSummary);
    const google::rpc::Status status = world.wait_finished();
    EXPECT_EQ(status.code(), static_cast<int>(StatusCode::kInvalidArgument));
    EXPECT_TRUE(names_field(status, "custom_id")) << status.message();
    EXPECT_EQ(world.transport.num_reads, 2u);
  }
  JobWorld longest;
  longest.push(named(std::string(64, 'a')));
  longest.expect_event(std::string(64, 'a'), Event::kStarted);
}

TEST(BatchJob, BytesThatAreNoMessageEndIt) {
  JobWorld world;
  ASSERT_TRUE(world.wait_reads(1));
  world.job->on_malformed();
  EXPECT_EQ(reason_in(world.wait_finished()), "malformed");
}

TEST(BatchJob, HasABoundOfRequests) {
  JobWorld world;
  world.service->stop();  // refused at once
  for (size_t i = 0; i < kMaxJobRequests; ++i) {
    world.push(named(std::to_string(i)));
    world.next_error(std::to_string(i));
  }
  world.push(named("one more"));
  const google::rpc::Status status = world.wait_finished();
  EXPECT_EQ(status.code(), static_cast<int>(StatusCode::kResourceExhausted));
  EXPECT_EQ(reason_in(status), "too_large");
}

// About 64 bytes of response for each token.
v1::GenerateBatchRequest talkative(const std::string& custom_id) {
  v1::GenerateBatchRequest out = named(custom_id);
  out.mutable_generate()->mutable_output()->set_mode(v1::OUTPUT_MODE_DELTA);
  out.mutable_generate()->mutable_output()->set_logprobs(2);
  return out;
}

// One answer larger than the job may keep for its reader, being written.
Request fill_buffer(JobWorld& world) {
  world.push(talkative("a"));
  Request a = world.engine.wait_request(0);
  world.expect_event("a", Event::kStarted);
  EXPECT_TRUE(world.wait_reads(2));
  world.engine.tokens(a.id, 0, std::vector<uint32_t>(16'384, kHello));
  world.engine.flush();
  EXPECT_TRUE(world.transport.wait([&] { return world.transport.writing.has_value(); }));
  EXPECT_GT(world.transport.writing->ByteSizeLong(), kMaxJobWaitingBytes);
  return a;
}

TEST(BatchJob, ASlowReaderHoldsUpReadingAndMergesWhatIsSaid) {
  JobWorld world;
  const Request a = fill_buffer(world);
  world.push(named("b"));  // the read that was outstanding
  world.engine.wait_request(1);
  for (int i = 0; i < 3; ++i) {
    world.engine.tokens(a.id, 0, std::vector<uint32_t>(2048, kHello));
    world.engine.flush();
  }
  ASSERT_TRUE(world.engine.wait_parked(a.id, true)) << "what it says waits before the job";
  EXPECT_EQ(world.transport.num_reads, 2u) << "b has its place, but the reader is slow";

  EXPECT_EQ(world.next().event().delta().token_ids_size(), 16'384);
  world.expect_event("b", Event::kStarted);
  EXPECT_EQ(world.next().event().delta().token_ids_size(), 3 * 2048);
  EXPECT_TRUE(world.engine.wait_parked(a.id, false));
  EXPECT_TRUE(world.wait_reads(3));
}

TEST(BatchJob, AReaderThatTakesNothingEndsWhatHasSomethingToSay) {
  JobWorld world;
  const Request a = fill_buffer(world);
  world.engine.tokens(a.id, 0, std::vector<uint32_t>(2048, kHello));
  world.engine.flush();
  ASSERT_TRUE(world.engine.wait_parked(a.id, true));
  world.clock.advance_us(60'000'000);
  EXPECT_TRUE(world.engine.wait_cancelled(a.id));
  EXPECT_EQ(world.next().event().delta().token_ids_size(), 16'384);
  EXPECT_EQ(reason_in(world.next_error("a")), "slow_reader");
}

}  // namespace
}  // namespace stet::server
