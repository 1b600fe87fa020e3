// What the OpenAI proxy talks to. Two implementations: GrpcClient (src/proxy; any channel, used by
// stet-proxy) and LocalClient (src/daemon; the service layer in the same process). Same messages,
// same order of calls, same statuses: a conformance test runs the whole proxy suite over both.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace google::rpc {
class Status;
}
namespace stet::v1 {
class ChatRequest;
class GenerateRequest;
class GenerateResponse;
class Model;
}  // namespace stet::v1

namespace stet::proxy {

// Receives one call's events. Calls come one at a time, from a thread of the client (never the step
// thread), and must not block.
class CallEvents {
 public:
  virtual ~CallEvents() = default;
  virtual void on_event(const v1::GenerateResponse& event) = 0;
  // Last call, exactly once. code 0 = OK; details: ErrorInfo, BadRequest, RetryInfo as api.md
  // sec. 3.
  virtual void on_done(const google::rpc::Status& status) = 0;
};

// Dropping the handle cancels the call if it still runs; on_done may still come (CANCELLED) and is
// then ignored by contract.
class CallHandle {
 public:
  virtual ~CallHandle() = default;
  virtual void cancel() = 0;  // idempotent, any thread
  // The receiver has `bytes` waiting to be written (0 = drained): how a slow reader becomes
  // visible.
  virtual void set_backlog(size_t bytes) = 0;
};

struct CallOptions {
  uint64_t timeout_us = 0;  // 0 = none
  std::string peer;
  std::string traceparent;
};

struct ReadyState {
  bool ready = false;
  std::string state;  // "ready", "loading", "draining", "degraded"
};

// Thread-safe.
class InferenceClient {
 public:
  virtual ~InferenceClient() = default;
  // `events` is kept alive until on_done has returned.
  virtual std::unique_ptr<CallHandle> generate(const v1::GenerateRequest& request,
                                               const CallOptions& options,
                                               std::shared_ptr<CallEvents> events) = 0;
  virtual std::unique_ptr<CallHandle> chat(const v1::ChatRequest& request,
                                           const CallOptions& options,
                                           std::shared_ptr<CallEvents> events) = 0;
  // Cached; may be empty while the daemon cannot be reached.
  virtual std::vector<v1::Model> models() = 0;
  virtual ReadyState ready() = 0;
  virtual bool live() = 0;
  virtual std::string version() = 0;
};

}  // namespace stet::proxy
