#include "src/proxy/grpc_call.h"

#include <chrono>
#include <utility>

namespace stet::proxy {

google::rpc::Status to_rpc_status(const grpc::Status& status) {
  google::rpc::Status result;
  const std::string details = status.error_details();
  if (!details.empty() && result.ParseFromString(details) &&
      result.code() == static_cast<int>(status.error_code())) {
    return result;
  }
  result.Clear();
  result.set_code(static_cast<int>(status.error_code()));
  result.set_message(status.error_message());
  return result;
}

std::shared_ptr<GrpcCall> GrpcCall::generate(v1::InferenceService::Stub* stub,
                                             const v1::GenerateRequest& request,
                                             const CallOptions& options,
                                             std::shared_ptr<CallEvents> events) {
  auto call = std::make_shared<GrpcCall>(std::move(events));
  call->prepare(options, request.request_id());
  stub->async()->Generate(&call->context_, &request, call.get());
  call->begin(call);
  return call;
}

std::shared_ptr<GrpcCall> GrpcCall::chat(v1::InferenceService::Stub* stub,
                                         const v1::ChatRequest& request, const CallOptions& options,
                                         std::shared_ptr<CallEvents> events) {
  auto call = std::make_shared<GrpcCall>(std::move(events));
  call->prepare(options, request.request_id());
  stub->async()->Chat(&call->context_, &request, call.get());
  call->begin(call);
  return call;
}

// Before the stub sees the context: what is set later is ignored.
void GrpcCall::prepare(const CallOptions& options, const std::string& request_id) {
  if (options.timeout_us != 0) {
    context_.set_deadline(std::chrono::system_clock::now() +
                          std::chrono::microseconds(options.timeout_us));
  }
  if (!request_id.empty()) {
    context_.AddMetadata("x-request-id", request_id);
  }
  if (!options.traceparent.empty()) {
    context_.AddMetadata("traceparent", options.traceparent);
  }
}

void GrpcCall::begin(const std::shared_ptr<GrpcCall>& self) {
  self_ = self;
  StartRead(&response_);
  StartCall();
}

void GrpcCall::OnReadDone(bool ok) {
  if (!ok) {
    return;  // OnDone says why
  }
  events_->on_event(response_);
  std::lock_guard lock(mutex_);
  if (backlog_ > 0 && !cancelled_) {
    paused_ = true;
    AddHold();  // StartRead will come from outside a reaction
  } else {
    StartRead(&response_);
  }
}

void GrpcCall::OnDone(const grpc::Status& status) {
  events_->on_done(to_rpc_status(status));
  events_.reset();
  const std::shared_ptr<GrpcCall> self = std::move(self_);  // dies here unless a handle holds on
}

void GrpcCall::resume_locked() {
  if (paused_) {
    paused_ = false;
    StartRead(&response_);
    RemoveHold();
  }
}

void GrpcCall::cancel() {
  {
    std::lock_guard lock(mutex_);
    if (std::exchange(cancelled_, true)) {
      return;
    }
    resume_locked();
  }
  context_.TryCancel();
}

void GrpcCall::set_backlog(size_t bytes) {
  std::lock_guard lock(mutex_);
  backlog_ = bytes;
  if (bytes == 0) {
    resume_locked();
  }
}

}  // namespace stet::proxy
