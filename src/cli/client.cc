#include "src/cli/client.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <thread>
#include <utility>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "stet/v1/admin.grpc.pb.h"
#include "stet/v1/inference.grpc.pb.h"
#include "stet/v1/model.grpc.pb.h"

namespace stet::cli {
namespace {

constexpr unsigned kListTimeoutMs = 10'000;

std::chrono::system_clock::time_point in_ms(unsigned timeout_ms) {
  return std::chrono::system_clock::now() + std::chrono::milliseconds(timeout_ms);
}

std::string reason_of(const grpc::Status& status) {
  google::rpc::Status details;
  google::rpc::ErrorInfo info;
  if (details.ParseFromString(status.error_details())) {
    for (const google::protobuf::Any& detail : details.details()) {
      if (detail.UnpackTo(&info)) {
        return info.reason();
      }
    }
  }
  return "";
}

// grpc.health.v1 messages are one field each; Debian's packages carry no generated code for them.
grpc::ByteBuffer health_request(const std::string& service) {
  std::string bytes;
  if (!service.empty()) {
    bytes.push_back(0x0a);  // field 1, length-delimited
    bytes.push_back(static_cast<char>(service.size()));
    bytes += service;
  }
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

int health_status(const grpc::ByteBuffer& response) {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (response.Dump(&slices).ok()) {
    for (const grpc::Slice& slice : slices) {
      bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
    }
  }
  return bytes.size() == 2 && bytes[0] == 0x08 ? bytes[1] : 0;  // field 1, varint
}

}  // namespace

Client::Client(std::string address) : address_(std::move(address)) {
  channel_ = grpc::CreateChannel(address_, grpc::InsecureChannelCredentials());
}
Client::~Client() = default;

// The call that cancel() ends.
class Client::Running {
 public:
  Running(Client* client, grpc::ClientContext* context) : client_(client) { set(context); }
  ~Running() { set(nullptr); }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

 private:
  void set(grpc::ClientContext* context) {
    std::lock_guard lock(client_->mutex_);
    client_->running_ = context;
  }
  Client* const client_;
};

template <class Request, class Start>
Status Client::stream(const Request& request, const OnEvent& on_event, const Start& start) {
  grpc::ClientContext context;
  const Running running(this, &context);
  const auto stub = v1::InferenceService::NewStub(channel_);
  const auto reader = start(*stub, &context, request);
  v1::GenerateResponse event;
  while (reader->Read(&event)) {
    on_event(event);
  }
  return explain(reader->Finish());
}

Status Client::chat(const v1::ChatRequest& request, const OnEvent& on_event) {
  return stream(request, on_event,
                [](v1::InferenceService::Stub& stub, grpc::ClientContext* context,
                   const v1::ChatRequest& r) { return stub.Chat(context, r); });
}

Status Client::generate(const v1::GenerateRequest& request, const OnEvent& on_event) {
  return stream(request, on_event,
                [](v1::InferenceService::Stub& stub, grpc::ClientContext* context,
                   const v1::GenerateRequest& r) { return stub.Generate(context, r); });
}

Status Client::batch(const std::function<std::optional<v1::GenerateBatchRequest>()>& next,
                     const std::function<void(v1::GenerateBatchResponse&&)>& on_response) {
  grpc::ClientContext context;
  const Running running(this, &context);
  const auto stub = v1::InferenceService::NewStub(channel_);
  const auto job = stub->GenerateBatch(&context);
  std::jthread writer([&] {
    while (const auto request = next()) {
      if (!job->Write(*request)) {
        return;  // the call has ended
      }
    }
    job->WritesDone();
  });
  v1::GenerateBatchResponse response;
  while (job->Read(&response)) {
    on_response(std::move(response));
  }
  writer.join();
  return explain(job->Finish());
}

Status Client::models(std::vector<v1::Model>* out) {
  grpc::ClientContext context;
  context.set_deadline(in_ms(kListTimeoutMs));
  v1::ListModelsResponse response;
  const auto stub = v1::ModelService::NewStub(channel_);
  const Status status = explain(stub->ListModels(&context, {}, &response));
  out->assign(response.models().begin(), response.models().end());
  return status;
}

Status Client::watch_stats(const v1::WatchStatsRequest& request,
                           const std::function<bool(const v1::Stats&)>& on_stats) {
  grpc::ClientContext context;
  const auto stub = v1::AdminService::NewStub(channel_);
  const auto reader = stub->WatchStats(&context, request);
  v1::Stats stats;
  while (reader->Read(&stats)) {
    if (!on_stats(stats)) {
      context.TryCancel();
      reader->Finish();
      return {};
    }
  }
  return explain(reader->Finish());
}

bool Client::cancel() {
  std::lock_guard lock(mutex_);
  if (running_ == nullptr) {
    return false;
  }
  running_->TryCancel();
  return true;
}

Status Client::check_health(const std::string& service, unsigned timeout_ms) {
  grpc::GenericStub stub(channel_);
  grpc::ClientContext context;
  context.set_deadline(in_ms(timeout_ms));
  grpc::CompletionQueue queue;
  const auto call = stub.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check",
                                          health_request(service), &queue);
  call->StartCall();
  grpc::ByteBuffer response;
  grpc::Status status;
  call->Finish(&response, &status, &queue);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  if (!status.ok()) {
    return explain(status);
  }
  constexpr int kServing = 1;
  return health_status(response) == kServing
             ? Status{}
             : unavailable(address_ + ": not serving (loading or draining)");
}

Status Client::explain(const grpc::Status& status) const {
  if (status.ok()) {
    return {};
  }
  const std::string reason = reason_of(status);
  std::string message = status.error_message();
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE && reason.empty()) {
    message = "cannot reach " + address_ + ": is stetd running? start it with: stetd --model FILE";
  } else if (reason == "loading") {
    message += "; wait for it with: stet health --ready";
  } else if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED && reason.empty()) {
    message = address_ + " did not answer in time";
  }
  return Status(static_cast<StatusCode>(status.error_code()), message);
}

}  // namespace stet::cli
