// Every endpoint of the OpenAI listener: request in, answer through a ResponseSink. No sockets
// here.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "src/proxy/event_mailbox.h"
#include "src/proxy/generation.h"
#include "src/proxy/http_types.h"
#include "src/proxy/routes.h"
#include "stet/base/clock.h"
#include "stet/obs/metrics.h"
#include "stet/proxy/openai_server.h"

namespace stet::proxy {

// Owned by the I/O thread; set_draining is thread-safe.
class Handler {
 public:
  Handler(const HttpOptions& options, const Clock* clock, InferenceClient* client,
          obs::Metrics* metrics, std::shared_ptr<EventMailbox> mailbox);

  // What can be refused before the body is read: path, method, permission, media type.
  std::optional<HttpResponse> refuse(const HttpRequest& request) const;
  // Answers now, or returns the generation that will.
  std::shared_ptr<Generation> handle(const HttpRequest& request, std::string body,
                                     ResponseSink* sink);

  void set_draining() { draining_.store(true, std::memory_order_relaxed); }
  bool draining() const { return draining_.load(std::memory_order_relaxed); }
  std::string version() const { return client_->version(); }

 private:
  std::shared_ptr<Generation> infer(ApiRoute route, const HttpRequest& request, std::string body,
                                    ResponseSink* sink);
  ReadyState ready_state() const;
  HttpResponse probe(Endpoint endpoint);
  HttpResponse model_list() const;
  HttpResponse model(std::string_view id) const;
  HttpResponse version_answer() const;
  HttpResponse metrics_answer() const;
  HttpResponse debug_scheduler_answer() const;
  bool is_served(Endpoint endpoint) const;

  const HttpOptions options_;
  const Clock* const clock_;
  InferenceClient* const client_;
  obs::Metrics* const metrics_;
  const std::shared_ptr<EventMailbox> mailbox_;
  std::atomic<bool> draining_{false};
  bool was_ready_ = false;
};

std::string draw_request_id();  // 32 random hex digits

}  // namespace stet::proxy
