// InferenceClient over a gRPC channel: what stet-proxy and the conformance tests use.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "stet/proxy/inference_client.h"
#include "stet/v1/model.pb.h"

namespace grpc {
class Channel;
class ClientContext;
}  // namespace grpc

namespace stet::proxy {

struct GrpcClientOptions {
  // How often health and models are asked for; more often until the daemon has answered once.
  uint64_t poll_us = 1'000'000;
  uint64_t poll_unreached_us = 200'000;
  uint64_t poll_timeout_us = 2'000'000;
};

// A channel as stet-proxy uses it: no TLS (loopback, Unix socket), quick to reconnect, pings on
// open streams.
std::shared_ptr<grpc::Channel> make_channel(const std::string& target);

// Thread-safe. One thread of its own polls; calls run on gRPC's threads.
class GrpcClient final : public InferenceClient {
 public:
  explicit GrpcClient(const std::shared_ptr<grpc::Channel>& channel,
                      const GrpcClientOptions& options = {});
  ~GrpcClient() override;

  std::unique_ptr<CallHandle> generate(const v1::GenerateRequest& request,
                                       const CallOptions& options,
                                       std::shared_ptr<CallEvents> events) override;
  std::unique_ptr<CallHandle> chat(const v1::ChatRequest& request, const CallOptions& options,
                                   std::shared_ptr<CallEvents> events) override;
  std::vector<v1::Model> models() override;
  ReadyState ready() override;
  bool live() override;
  std::string version() override;

  // Until ready().state is `state`; "ready" means that the models are known too. False when the
  // time is over. For start-up and tests.
  bool wait_state(const std::string& state, uint64_t timeout_us);

 private:
  struct Stubs;
  enum class Health : uint8_t { kUnreached, kNotServing, kServing };

  ReadyState ready_locked() const;
  void poll_loop();
  void poll_once();
  void refresh_models();
  Health check_health(const std::string& service);
  bool begin_poll(grpc::ClientContext* context);
  void end_poll();

  const GrpcClientOptions options_;
  const std::unique_ptr<Stubs> stubs_;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  grpc::ClientContext* polling_ = nullptr;  // to cancel when stopping
  std::vector<v1::Model> models_;
  std::string version_;
  Health health_ = Health::kUnreached;
  bool was_ready_ = false;
  bool live_ = true;

  std::thread poller_;
};

}  // namespace stet::proxy
