#include "stet/daemon/local_client.h"

#include <utility>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "stet/v1/inference.pb.h"
#include "stet/v1/model.pb.h"

namespace stet::daemon {
namespace {

// The service's events, handed to the proxy's receiver as they are.
class EventsAdapter final : public server::CallEvents {
 public:
  explicit EventsAdapter(std::shared_ptr<proxy::CallEvents> events) : events_(std::move(events)) {}
  void on_event(const v1::GenerateResponse& event) override { events_->on_event(event); }
  void on_done(const google::rpc::Status& status) override { events_->on_done(status); }

 private:
  const std::shared_ptr<proxy::CallEvents> events_;
};

// Dropping it drops the service's call, which cancels.
class LocalCall final : public proxy::CallHandle {
 public:
  explicit LocalCall(std::unique_ptr<server::Call> call) : call_(std::move(call)) {}
  void cancel() override { call_->cancel(); }
  void set_backlog(size_t bytes) override { call_->set_busy(bytes > 0); }

 private:
  const std::unique_ptr<server::Call> call_;
};

// A call that ended before it reached the service.
class EndedCall final : public proxy::CallHandle {
 public:
  void cancel() override {}
  void set_backlog(size_t) override {}
};

class LocalClient final : public proxy::InferenceClient {
 public:
  LocalClient(server::Service* service, const Clock* clock, LocalClientOptions options)
      : service_(service), clock_(clock), options_(std::move(options)) {}

  std::unique_ptr<proxy::CallHandle> generate(const v1::GenerateRequest& request,
                                              const proxy::CallOptions& options,
                                              std::shared_ptr<proxy::CallEvents> events) override {
    if (refuse_too_large(request.ByteSizeLong(), *events)) {
      return std::make_unique<EndedCall>();
    }
    return std::make_unique<LocalCall>(service_->generate(
        request, context(options), std::make_shared<EventsAdapter>(std::move(events))));
  }

  std::unique_ptr<proxy::CallHandle> chat(const v1::ChatRequest& request,
                                          const proxy::CallOptions& options,
                                          std::shared_ptr<proxy::CallEvents> events) override {
    if (refuse_too_large(request.ByteSizeLong(), *events)) {
      return std::make_unique<EndedCall>();
    }
    return std::make_unique<LocalCall>(service_->chat(
        request, context(options), std::make_shared<EventsAdapter>(std::move(events))));
  }

  std::vector<v1::Model> models() override { return service_->models(); }

  proxy::ReadyState ready() override {
    if (options_.ready) {
      return options_.ready();
    }
    const server::ServingState state = service_->state();
    return {state == server::ServingState::kReady, std::string(server::serving_state_name(state))};
  }

  bool live() override { return !options_.live || options_.live(); }
  std::string version() override { return options_.version; }

 private:
  server::CallContext context(const proxy::CallOptions& options) const {
    return {options.timeout_us == 0 ? 0 : clock_->now_us() + options.timeout_us, options.peer};
  }

  // What the proxy makes of a channel's own refusal (api_error.cc), code, words and reason.
  bool refuse_too_large(size_t bytes, proxy::CallEvents& events) const {
    if (bytes <= options_.max_message_bytes) {
      return false;
    }
    google::rpc::ErrorInfo info;
    info.set_domain("stet");
    info.set_reason("too_large");
    google::rpc::Status status;
    status.set_code(static_cast<int>(StatusCode::kResourceExhausted));
    status.set_message("the request is larger than the server takes");
    status.add_details()->PackFrom(info);
    events.on_done(status);
    return true;
  }

  server::Service* const service_;
  const Clock* const clock_;
  const LocalClientOptions options_;
};

}  // namespace

std::unique_ptr<proxy::InferenceClient> make_local_client(server::Service* service,
                                                          const Clock* clock,
                                                          LocalClientOptions options) {
  return std::make_unique<LocalClient>(service, clock, std::move(options));
}

}  // namespace stet::daemon
