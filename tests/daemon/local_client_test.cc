// LocalClient against a gRPC channel: the same requests over both must give the same bytes.
#include "stet/daemon/local_client.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "src/proxy/api_error.h"
#include "src/proxy/grpc_client.h"
#include "stet/v1/inference.pb.h"
#include "stet/v1/model.pb.h"
#include "tests/daemon/testing.h"
#include "tests/proxy/conformance.h"
#include "tests/proxy/http_client.h"

namespace stet::daemon {
namespace {

// Waits for the end of one call.
class LastWord final : public proxy::CallEvents {
 public:
  void on_event(const v1::GenerateResponse& event) override {
    std::lock_guard lock(mutex_);
    num_events_ += 1;
    if (event.has_delta()) {
      num_tokens_ += event.delta().token_ids_size();
    }
    changed_.notify_all();
  }
  void on_done(const google::rpc::Status& status) override {
    std::lock_guard lock(mutex_);
    status_ = status;
    num_done_ += 1;
    changed_.notify_all();
  }
  google::rpc::Status wait() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(20), [&] { return num_done_ > 0; }));
    EXPECT_EQ(num_done_, 1);
    return status_;
  }
  void wait_tokens(int count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(
        changed_.wait_for(lock, std::chrono::seconds(20), [&] { return num_tokens_ >= count; }));
  }
  int num_events() {
    std::lock_guard lock(mutex_);
    return num_events_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  google::rpc::Status status_;
  int num_events_ = 0, num_tokens_ = 0, num_done_ = 0;
};

std::string reason_of(const google::rpc::Status& status) {
  google::rpc::ErrorInfo info;
  for (const auto& detail : status.details()) {
    if (detail.UnpackTo(&info)) {
      return info.reason();
    }
  }
  return "";
}

v1::GenerateRequest long_request() {
  v1::GenerateRequest request;
  request.set_text("once upon a time");
  request.mutable_sampling()->set_ignore_eos(true);
  request.mutable_sampling()->set_max_tokens(1500);
  return request;
}

// The service of one running daemon over both clients: the embedded listener's LocalClient is
// reached by HTTP, so a client of each kind is made here over the same daemon.
class BothClients : public ::testing::Test {
 protected:
  BothClients()
      : grpc_(grpc::CreateChannel(daemon_.grpc(), grpc::InsecureChannelCredentials()),
              proxy::GrpcClientOptions{}) {
    EXPECT_TRUE(grpc_.wait_state("ready", 10'000'000));
  }
  proxy::InferenceClient* local() { return daemon_->local_client(); }
  proxy::InferenceClient* grpc() { return &grpc_; }

  testing::RunningDaemon daemon_{{"--set", "limits.max_request_bytes=65536"}};
  proxy::GrpcClient grpc_;
};

TEST_F(BothClients, GiveTheSameTranscriptsByteForByte) {
  const auto local_transcripts = proxy::testing::run_conformance(local());
  const auto grpc_transcripts = proxy::testing::run_conformance(grpc());
  proxy::testing::expect_well_formed(local_transcripts);
  proxy::testing::expect_well_formed(grpc_transcripts);
  proxy::testing::expect_same("local", local_transcripts, "grpc", grpc_transcripts);
}

TEST_F(BothClients, RefuseAMessageOverTheLimitAlike) {
  std::vector<google::rpc::Status> endings;
  for (proxy::InferenceClient* client : {local(), grpc()}) {
    v1::GenerateRequest request;
    request.set_text(std::string(70'000, 'x'));
    const auto events = std::make_shared<LastWord>();
    const auto call = client->generate(request, {}, events);
    endings.push_back(events->wait());
    EXPECT_EQ(events->num_events(), 0);
  }
  // The channel refuses without details: what a client of the proxy sees is the same.
  EXPECT_EQ(reason_of(endings[0]), "too_large");
  const proxy::ApiError local_error = proxy::error_from_rpc(endings[0], nullptr);
  const proxy::ApiError grpc_error = proxy::error_from_rpc(endings[1], nullptr);
  EXPECT_EQ(local_error.http_status, 413);
  EXPECT_EQ(local_error.http_status, grpc_error.http_status);
  EXPECT_EQ(local_error.code, grpc_error.code);
  EXPECT_EQ(local_error.type, grpc_error.type);
  EXPECT_EQ(local_error.reason, grpc_error.reason);
  EXPECT_EQ(local_error.message, grpc_error.message);
}

TEST_F(BothClients, EndAtTheDeadline) {
  for (proxy::InferenceClient* client : {local(), grpc()}) {
    const auto events = std::make_shared<LastWord>();
    const auto call = client->generate(long_request(), {.timeout_us = 30'000}, events);
    EXPECT_EQ(events->wait().code(), static_cast<int>(StatusCode::kDeadlineExceeded));
  }
}

TEST_F(BothClients, CancelOnRequestAndOnDrop) {
  for (proxy::InferenceClient* client : {local(), grpc()}) {
    const auto cancelled = std::make_shared<LastWord>();
    auto call = client->generate(long_request(), {}, cancelled);
    cancelled->wait_tokens(2);
    call->cancel();
    call->cancel();  // idempotent
    EXPECT_EQ(cancelled->wait().code(), static_cast<int>(StatusCode::kCancelled));

    const auto dropped = std::make_shared<LastWord>();
    call = client->generate(long_request(), {}, dropped);
    dropped->wait_tokens(2);
    call.reset();
    EXPECT_EQ(dropped->wait().code(), static_cast<int>(StatusCode::kCancelled));
  }
}

TEST_F(BothClients, SayTheSameOfModelsAndReadiness) {
  ASSERT_EQ(local()->models().size(), 1u);
  ASSERT_EQ(grpc()->models().size(), 1u);
  EXPECT_EQ(local()->models()[0].SerializeAsString(), grpc()->models()[0].SerializeAsString());
  for (proxy::InferenceClient* client : {local(), grpc()}) {
    EXPECT_TRUE(client->ready().ready);
    EXPECT_EQ(client->ready().state, "ready");
    EXPECT_TRUE(client->live());
    EXPECT_EQ(client->version(), "0.1.0");
  }
}

}  // namespace
}  // namespace stet::daemon
