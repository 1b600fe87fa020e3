// One call of GrpcClient. Backpressure: no read is started while the receiver has a backlog, so
// that HTTP/2 flow control reaches the daemon.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <memory>
#include <mutex>

#include "google/rpc/status.pb.h"
#include "stet/proxy/inference_client.h"
#include "stet/v1/inference.grpc.pb.h"

namespace stet::proxy {

// grpc::Status -> the google.rpc.Status of its details, or one made of code and message.
google::rpc::Status to_rpc_status(const grpc::Status& status);

// Lives until OnDone. Thread-safe.
class GrpcCall final : public grpc::ClientReadReactor<v1::GenerateResponse> {
 public:
  explicit GrpcCall(std::shared_ptr<CallEvents> events) : events_(std::move(events)) {}

  // One of the two, once. The request is serialised before they return.
  static std::shared_ptr<GrpcCall> generate(v1::InferenceService::Stub* stub,
                                            const v1::GenerateRequest& request,
                                            const CallOptions& options,
                                            std::shared_ptr<CallEvents> events);
  static std::shared_ptr<GrpcCall> chat(v1::InferenceService::Stub* stub,
                                        const v1::ChatRequest& request, const CallOptions& options,
                                        std::shared_ptr<CallEvents> events);

  void cancel();
  void set_backlog(size_t bytes);

  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  void prepare(const CallOptions& options, const std::string& request_id);
  void begin(const std::shared_ptr<GrpcCall>& self);
  void resume_locked();

  grpc::ClientContext context_;
  std::shared_ptr<CallEvents> events_;
  v1::GenerateResponse response_;
  std::shared_ptr<GrpcCall> self_;  // while gRPC holds a raw pointer

  std::mutex mutex_;
  size_t backlog_ = 0;
  bool paused_ = false;  // a hold is on the reactor
  bool cancelled_ = false;
};

}  // namespace stet::proxy
