// A small gRPC client: one channel, blocking calls, errors that say what to do next.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "stet/base/status.h"

namespace grpc {
class ChannelInterface;
class ClientContext;
class Status;
}  // namespace grpc
namespace stet::v1 {
class ChatRequest;
class GenerateBatchRequest;
class GenerateBatchResponse;
class GenerateRequest;
class GenerateResponse;
class Model;
class Stats;
class WatchStatsRequest;
}  // namespace stet::v1

namespace stet::cli {

// Thread-safe.
class Client {
 public:
  explicit Client(std::string address);  // host:port or unix:path
  ~Client();

  using OnEvent = std::function<void(const v1::GenerateResponse&)>;
  // Blocks until the stream has ended. CANCELLED after cancel().
  Status chat(const v1::ChatRequest& request, const OnEvent& on_event);
  Status generate(const v1::GenerateRequest& request, const OnEvent& on_event);
  // One job: `next` gives its requests until it has none, on a thread of its own; responses come in
  // any order. OK when the daemon has answered all of them.
  Status batch(const std::function<std::optional<v1::GenerateBatchRequest>()>& next,
               const std::function<void(v1::GenerateBatchResponse&&)>& on_response);
  Status models(std::vector<v1::Model>* out);
  // Until `on_stats` gives false (OK), or the stream ends.
  Status watch_stats(const v1::WatchStatsRequest& request,
                     const std::function<bool(const v1::Stats&)>& on_stats);
  // grpc.health.v1: OK when SERVING, else UNAVAILABLE with the reason.
  Status check_health(const std::string& service, unsigned timeout_ms);

  // Ends the call that is running; false when there is none. Any thread.
  bool cancel();

 private:
  class Running;
  template <class Request, class Start>
  Status stream(const Request& request, const OnEvent& on_event, const Start& start);
  Status explain(const grpc::Status& status) const;

  const std::string address_;
  std::shared_ptr<grpc::ChannelInterface> channel_;
  std::mutex mutex_;
  grpc::ClientContext* running_ = nullptr;
};

}  // namespace stet::cli
