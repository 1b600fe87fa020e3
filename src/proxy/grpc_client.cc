#include "src/proxy/grpc_client.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>

#include <chrono>
#include <utility>

#include "src/proxy/grpc_call.h"
#include "stet/v1/model.grpc.pb.h"

namespace stet::proxy {
namespace {

constexpr const char* kReadyService = "stet.v1.InferenceService";
constexpr const char* kLiveService = "stet.live";
constexpr int kMaxMessageBytes = 64 << 20;  // a whole answer with alternatives of every token

// grpc.health.v1 by hand: Debian's packages carry no header of it. HealthCheckRequest {string
// service = 1}.
grpc::ByteBuffer health_request(const std::string& service) {
  std::string bytes = "\x0A";
  bytes += static_cast<char>(service.size());
  bytes += service;
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

// HealthCheckResponse {ServingStatus status = 1}, SERVING = 1.
bool is_serving(const grpc::ByteBuffer& response) {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (response.Dump(&slices).ok()) {
    for (const grpc::Slice& slice : slices) {
      bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
    }
  }
  return bytes == std::string("\x08\x01", 2);
}

class Handle final : public CallHandle {
 public:
  explicit Handle(std::shared_ptr<GrpcCall> call) : call_(std::move(call)) {}
  ~Handle() override { call_->cancel(); }
  void cancel() override { call_->cancel(); }
  void set_backlog(size_t bytes) override { call_->set_backlog(bytes); }

 private:
  const std::shared_ptr<GrpcCall> call_;
};

}  // namespace

struct GrpcClient::Stubs {
  explicit Stubs(const std::shared_ptr<grpc::Channel>& channel)
      : inference(channel), models(channel), generic(channel) {}
  v1::InferenceService::Stub inference;
  v1::ModelService::Stub models;
  grpc::GenericStub generic;
};

std::shared_ptr<grpc::Channel> make_channel(const std::string& target) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1'000);
  return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
}

GrpcClient::GrpcClient(const std::shared_ptr<grpc::Channel>& channel,
                       const GrpcClientOptions& options)
    : options_(options), stubs_(std::make_unique<Stubs>(channel)) {
  poller_ = std::thread([this]() noexcept { poll_loop(); });
}

GrpcClient::~GrpcClient() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    if (polling_ != nullptr) {
      polling_->TryCancel();
    }
  }
  changed_.notify_all();
  poller_.join();
}

std::unique_ptr<CallHandle> GrpcClient::generate(const v1::GenerateRequest& request,
                                                 const CallOptions& options,
                                                 std::shared_ptr<CallEvents> events) {
  return std::make_unique<Handle>(
      GrpcCall::generate(&stubs_->inference, request, options, std::move(events)));
}

std::unique_ptr<CallHandle> GrpcClient::chat(const v1::ChatRequest& request,
                                             const CallOptions& options,
                                             std::shared_ptr<CallEvents> events) {
  return std::make_unique<Handle>(
      GrpcCall::chat(&stubs_->inference, request, options, std::move(events)));
}

std::vector<v1::Model> GrpcClient::models() {
  std::lock_guard lock(mutex_);
  return models_;
}

// Health says ready or not, not why: the state is what the history makes most likely. A refused
// call carries the true one.
ReadyState GrpcClient::ready() {
  std::lock_guard lock(mutex_);
  return ready_locked();
}

ReadyState GrpcClient::ready_locked() const {
  switch (health_) {
    case Health::kServing: return {true, "ready"};
    case Health::kNotServing: return {false, was_ready_ ? "draining" : "loading"};
    case Health::kUnreached: break;
  }
  return {false, "degraded"};
}

bool GrpcClient::live() {
  std::lock_guard lock(mutex_);
  return live_;
}

std::string GrpcClient::version() {
  std::lock_guard lock(mutex_);
  return version_;
}

bool GrpcClient::wait_state(const std::string& state, uint64_t timeout_us) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::microseconds(timeout_us), [&] {
    return ready_locked().state == state && (health_ != Health::kServing || !models_.empty());
  });
}

void GrpcClient::poll_loop() {
  for (;;) {
    poll_once();
    std::unique_lock lock(mutex_);
    changed_.notify_all();
    const uint64_t pause_us =
        health_ == Health::kServing ? options_.poll_us : options_.poll_unreached_us;
    if (changed_.wait_for(lock, std::chrono::microseconds(pause_us),
                          [this] { return stopping_; })) {
      return;
    }
  }
}

void GrpcClient::poll_once() {
  const Health ready = check_health(kReadyService);
  bool want_models = false;
  {
    std::lock_guard lock(mutex_);
    // Another daemon may answer after a pause: its models are asked for anew.
    want_models = ready == Health::kServing && (health_ != Health::kServing || models_.empty());
  }
  if (want_models) {
    refresh_models();
  }
  // Not reached is no reason to restart the proxy: only a daemon that says so is not alive.
  const bool live =
      ready == Health::kUnreached || check_health(kLiveService) != Health::kNotServing;
  std::lock_guard lock(mutex_);
  health_ = ready;
  was_ready_ = ready == Health::kServing || (ready == Health::kNotServing && was_ready_);
  live_ = live;
}

bool GrpcClient::begin_poll(grpc::ClientContext* context) {
  context->set_deadline(std::chrono::system_clock::now() +
                        std::chrono::microseconds(options_.poll_timeout_us));
  std::lock_guard lock(mutex_);
  if (stopping_) {
    return false;
  }
  polling_ = context;
  return true;
}

void GrpcClient::end_poll() {
  std::lock_guard lock(mutex_);
  polling_ = nullptr;
}

void GrpcClient::refresh_models() {
  grpc::ClientContext context;
  v1::ListModelsResponse response;
  if (!begin_poll(&context)) {
    return;
  }
  const grpc::Status status =
      stubs_->models.ListModels(&context, v1::ListModelsRequest(), &response);
  end_poll();
  if (!status.ok()) {
    return;
  }
  const auto& metadata = context.GetServerInitialMetadata();
  const auto version = metadata.find("x-stet-version");
  std::lock_guard lock(mutex_);
  models_.assign(response.models().begin(), response.models().end());
  if (version != metadata.end()) {
    version_.assign(version->second.data(), version->second.size());
  }
}

GrpcClient::Health GrpcClient::check_health(const std::string& service) {
  grpc::ClientContext context;
  if (!begin_poll(&context)) {
    return Health::kUnreached;
  }
  const grpc::ByteBuffer request = health_request(service);
  grpc::ByteBuffer response;
  std::mutex mutex;
  std::condition_variable done;
  bool is_done = false;
  grpc::Status status;
  stubs_->generic.UnaryCall(&context, "/grpc.health.v1.Health/Check", grpc::StubOptions(), &request,
                            &response, [&](grpc::Status result) {
                              std::lock_guard lock(mutex);
                              status = std::move(result);
                              is_done = true;
                              done.notify_one();
                            });
  {
    std::unique_lock lock(mutex);
    done.wait(lock, [&] { return is_done; });
  }
  end_poll();
  if (status.ok()) {
    return is_serving(response) ? Health::kServing : Health::kNotServing;
  }
  // NOT_FOUND: the daemon runs, its service is not announced yet. stet.live unknown: an older
  // daemon, alive.
  if (status.error_code() == grpc::StatusCode::NOT_FOUND) {
    return service == kLiveService ? Health::kServing : Health::kNotServing;
  }
  return Health::kUnreached;
}

}  // namespace stet::proxy
