// GrpcClient against a gRPC server that plays scripts; and the conformance suite over three ways to
// one model.
#include "src/proxy/grpc_client.h"

#include "src/proxy/api_error.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/proxy/conformance.h"
#include "tests/proxy/fake_daemon.h"

namespace stet::proxy::testing {
namespace {

constexpr uint64_t kPatienceUs = 20'000'000;
constexpr GrpcClientOptions kQuick{
    .poll_us = 5'000, .poll_unreached_us = 5'000, .poll_timeout_us = 2'000'000};

// Collects one call's events. Thread-safe.
class Collector final : public CallEvents {
 public:
  void on_event(const v1::GenerateResponse& event) override {
    std::lock_guard lock(mutex_);
    events_.push_back(event);
    changed_.notify_all();
  }
  void on_done(const google::rpc::Status& status) override {
    std::lock_guard lock(mutex_);
    EXPECT_FALSE(done_) << "on_done twice";
    done_ = true;
    status_ = status;
    changed_.notify_all();
  }
  google::rpc::Status wait_done() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(20), [this] { return done_; }));
    return status_;
  }
  size_t wait_events(size_t at_least) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(20),
                                  [&] { return events_.size() >= at_least; }));
    return events_.size();
  }
  size_t num_events() {
    std::lock_guard lock(mutex_);
    return events_.size();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<v1::GenerateResponse> events_;
  bool done_ = false;
  google::rpc::Status status_;
};

v1::ChatRequest chat_request() {
  v1::ChatRequest request;
  request.set_request_id("r1");
  auto* message = request.add_messages();
  message->set_role("user");
  message->add_content()->set_text("hi");
  request.mutable_sampling()->set_max_tokens(4);
  return request;
}

std::string reason_of(const google::rpc::Status& status) {
  google::rpc::ErrorInfo info;
  for (const auto& any : status.details()) {
    if (any.UnpackTo(&info)) {
      return info.reason();
    }
  }
  return "";
}

TEST(GrpcClientTest, LearnsModelsVersionAndHealth) {
  FakeDaemon daemon;
  GrpcClient client(daemon.in_process_channel(), kQuick);
  ASSERT_TRUE(client.wait_state("loading", kPatienceUs));  // it answers, and does not serve yet
  EXPECT_TRUE(client.live());
  daemon.set_serving(true);
  ASSERT_TRUE(client.wait_state("ready", kPatienceUs));
  EXPECT_TRUE(client.ready().ready);
  EXPECT_EQ(client.models().at(0).id(), "fake/model");
  EXPECT_EQ(client.version(), "1.2.3");
  daemon.set_live(false);
  daemon.set_serving(false);
  ASSERT_TRUE(client.wait_state("draining", kPatienceUs));
  EXPECT_FALSE(client.live());
}

TEST(GrpcClientTest, AnUnreachableDaemonIsDegradedNotDead) {
  GrpcClient client(make_channel("unix:/nonexistent/stetd.sock"), kQuick);
  EXPECT_FALSE(client.wait_state("ready", 20'000));
  EXPECT_EQ(client.ready().state, "degraded");
  EXPECT_TRUE(client.live());
  auto events = std::make_shared<Collector>();
  const auto handle = client.chat(chat_request(), {}, events);
  EXPECT_EQ(events->wait_done().code(), 14);
}

TEST(GrpcClientTest, EventsComeInOrderThenOk) {
  FakeDaemon daemon;
  GrpcClient client(daemon.in_process_channel(), kQuick);
  auto events = std::make_shared<Collector>();
  const auto handle = client.chat(chat_request(), {}, events);
  EXPECT_EQ(events->wait_done().code(), 0);
  EXPECT_EQ(events->num_events(), 1U + 4 + 1 + 1);
  EXPECT_EQ(daemon.last_request_id(), "r1");
}

TEST(GrpcClientTest, DetailsOfErrorsSurvive) {
  FakeDaemon daemon;
  GrpcClient client(daemon.in_process_channel(), kQuick);
  v1::ChatRequest request = chat_request();
  request.mutable_sampling()->set_temperature(3);
  auto events = std::make_shared<Collector>();
  auto handle = client.chat(request, {}, events);
  EXPECT_EQ(reason_of(events->wait_done()), "out_of_range");
  // gRPC's own refusal has no details; the table of errors knows it.
  request = chat_request();
  request.mutable_messages(0)->mutable_content(0)->set_text(std::string(200'000, 'x'));
  events = std::make_shared<Collector>();
  handle = client.chat(request, {}, events);
  const auto status = events->wait_done();
  EXPECT_EQ(status.code(), 8);
  EXPECT_EQ(reason_of(status), "");
  const ApiError error = error_from_rpc(status, nullptr);
  EXPECT_EQ(error.http_status, 413);
  EXPECT_EQ(error.message, "the request is larger than the server takes");
}

TEST(GrpcClientTest, CancelDropAndDeadlineReachTheDaemon) {
  for (const int how : {0, 1, 2}) {
    FakeDaemon daemon;
    daemon.hold_calls(2);
    GrpcClient client(daemon.in_process_channel(), kQuick);
    auto events = std::make_shared<Collector>();
    CallOptions options;
    options.timeout_us = how == 2 ? 50'000 : 0;
    auto handle = client.chat(chat_request(), options, events);
    if (how != 2) {
      events->wait_events(3);
    }
    if (how == 0) {
      handle->cancel();
      handle->cancel();  // idempotent
    } else if (how == 1) {
      handle.reset();
    }
    EXPECT_EQ(events->wait_done().code(), how == 2 ? 4 : 1);
    EXPECT_TRUE(daemon.wait_cancelled()) << how;
  }
}

TEST(GrpcClientTest, ABacklogStopsReadingUntilItIsDrained) {
  FakeDaemon daemon;
  daemon.hold_calls(50);
  GrpcClient client(daemon.in_process_channel(), kQuick);
  auto events = std::make_shared<Collector>();
  // Reported before anything was read: at most the first event comes, the one whose read was
  // started already.
  auto handle = client.chat(chat_request(), {}, events);
  handle->set_backlog(1);
  const size_t seen = events->wait_events(1);
  // In process no write completes before it is read: the daemon stands still, whatever time passes.
  EXPECT_LT(seen, 51U);
  handle->set_backlog(0);
  events->wait_events(51);
  handle->set_backlog(1);
  handle->cancel();  // also while paused
  EXPECT_EQ(events->wait_done().code(), 1);
}

TEST(Conformance, ScriptedInProcessAndSocketGiveTheSameBytes) {
  FakeDaemon daemon;
  daemon.set_serving(true);
  const std::string path = "/tmp/stet-proxy-test-" + std::to_string(::getpid()) + ".sock";
  FakeDaemon on_socket("unix:" + path);
  on_socket.set_serving(true);
  std::vector<ClientUnderTest> clients;
  clients.push_back({"scripted", make_scripted_client()});
  for (const auto& [name, channel] : {std::pair{"grpc in process", daemon.in_process_channel()},
                                      {"grpc on a socket", make_channel("unix:" + path)}}) {
    auto client = std::make_unique<GrpcClient>(channel, kQuick);
    ASSERT_TRUE(client->wait_state("ready", kPatienceUs));
    clients.push_back({name, std::move(client)});
  }
  expect_conformance(clients);
  ::unlink(path.c_str());
}

TEST(Conformance, ADifferentModelIsSeen) {
  // Negative control: the comparison finds one changed byte.
  std::vector<Transcript> a = {{"x", "200\n\nabc"}};
  std::vector<Transcript> b = {{"x", "200\n\nabd"}};
  EXPECT_NE(a[0].answer, b[0].answer);
  auto client = make_scripted_client();
  const auto once = run_conformance(client.get());
  const auto again = run_conformance(client.get());
  expect_same("once", once, "again", again);
  EXPECT_GT(once.size(), 36U);
}

}  // namespace
}  // namespace stet::proxy::testing
