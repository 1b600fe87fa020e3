#include "src/proxy/handler.h"

#include <sys/random.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <utility>

#include "src/proxy/json_writer.h"
#include "src/proxy/request_mapper.h"
#include "stet/base/check.h"
#include "stet/v1/model.pb.h"

namespace stet::proxy {
namespace {

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
           return std::tolower(static_cast<unsigned char>(x)) ==
                  std::tolower(static_cast<unsigned char>(y));
         });
}

std::string_view trimmed(std::string_view text) {
  const size_t from = text.find_first_not_of(" \t");
  return from == std::string_view::npos
             ? ""
             : text.substr(from, text.find_last_not_of(" \t") - from + 1);
}

// application/json, with no charset but UTF-8. Strict on purpose: a page in a browser can send
// other types across origins without asking first.
bool is_json(std::string_view content_type) {
  const size_t end = content_type.find(';');
  if (!equal_ignoring_case(trimmed(content_type.substr(0, end)), "application/json")) {
    return false;
  }
  if (end == std::string_view::npos) {
    return true;
  }
  const std::string_view rest = trimmed(content_type.substr(end + 1));
  return rest.empty() || equal_ignoring_case(rest, "charset=utf-8") ||
         equal_ignoring_case(rest, "charset=\"utf-8\"");
}

void append_model(std::string* out, const v1::Model& model) {
  *out += "{\"id\":";
  append_json_string(out, model.id());
  *out += ",\"object\":\"model\",\"created\":";
  append_json_int(out, model.created_unix_s());
  *out += ",\"owned_by\":\"stet\",\"root\":";
  append_json_string(out, model.id());
  *out += ",\"parent\":";
  if (model.parent().empty()) {
    *out += "null";
  } else {
    append_json_string(out, model.parent());
  }
  *out += ",\"max_model_len\":";
  append_json_uint(out, model.max_model_len());
  *out += '}';
}

}  // namespace

std::string draw_request_id() {
  unsigned char bytes[16];
  STET_CHECK(getrandom(bytes, sizeof bytes, 0) == sizeof bytes, "the kernel gave no random bytes");
  std::string id;
  for (const unsigned char byte : bytes) {
    id += "0123456789abcdef"[byte >> 4];
    id += "0123456789abcdef"[byte & 15];
  }
  return id;
}

Handler::Handler(const HttpOptions& options, const Clock* clock, InferenceClient* client,
                 obs::Metrics* metrics, std::shared_ptr<EventMailbox> mailbox)
    : options_(options),
      clock_(clock),
      client_(client),
      metrics_(metrics),
      mailbox_(std::move(mailbox)) {}

bool Handler::is_served(Endpoint endpoint) const {
  switch (endpoint) {
    case Endpoint::kMetrics: return options_.serve_metrics;
    case Endpoint::kDebugScheduler:
      return options_.serve_metrics && options_.debug_scheduler != nullptr;
    default: return true;
  }
}

std::optional<HttpResponse> Handler::refuse(const HttpRequest& request) const {
  const Route* route = find_route(request.path);
  if (route == nullptr || !is_served(route->endpoint)) {
    return error_response(
        transport_error(404, "unknown_url", "unknown_url",
                        "unknown request URL: " + request.method + " " + request.path));
  }
  if (!allows_method(*route, request.method)) {
    HttpResponse response = error_response(transport_error(
        405, "method_not_allowed", "malformed",
        std::string(route->path) + " allows " + std::string(route->methods) + " only"));
    response.headers.emplace_back("allow", std::string(route->methods));
    return response;
  }
  if (!is_permitted(*route)) {
    ApiError error =
        transport_error(403, "permission_denied", "permission_denied", "not permitted");
    error.type = "permission_error";
    return error_response(error);
  }
  if (request.method == "POST" && !is_json(request.content_type)) {
    return error_response(transport_error(415, "unsupported_media_type", "malformed",
                                          "the body must have Content-Type: application/json"));
  }
  return std::nullopt;
}

std::shared_ptr<Generation> Handler::handle(const HttpRequest& request, std::string body,
                                            ResponseSink* sink) {
  const Route* route = find_route(request.path);
  STET_CHECK(route != nullptr, "refuse() lets only known routes pass");
  switch (route->endpoint) {
    case Endpoint::kChat: return infer(ApiRoute::kChat, request, std::move(body), sink);
    case Endpoint::kCompletions:
      return infer(ApiRoute::kCompletions, request, std::move(body), sink);
    case Endpoint::kModelList: sink->send(model_list()); break;
    case Endpoint::kModelGet: sink->send(model(request.path.substr(route->path.size()))); break;
    case Endpoint::kReady:
    case Endpoint::kLive:
    case Endpoint::kStartup: sink->send(probe(route->endpoint)); break;
    case Endpoint::kVersion: sink->send(version_answer()); break;
    case Endpoint::kMetrics: sink->send(metrics_answer()); break;
    case Endpoint::kDebugScheduler: sink->send(debug_scheduler_answer()); break;
  }
  return nullptr;
}

std::shared_ptr<Generation> Handler::infer(ApiRoute route, const HttpRequest& request,
                                           std::string body, ResponseSink* sink) {
  if (request.bad_request_id) {
    sink->send(
        error_response(invalid_value("", "X-Request-Id must be 1 to 128 of A-Z a-z 0-9 . _ : -")));
    return nullptr;
  }
  CallOptions options;
  options.peer = request.peer;
  options.traceparent = request.traceparent;
  if (!request.timeout_ms.empty()) {
    uint32_t timeout_ms = 0;
    const char* end = request.timeout_ms.data() + request.timeout_ms.size();
    const auto parsed = std::from_chars(request.timeout_ms.data(), end, timeout_ms);
    if (parsed.ec != std::errc() || parsed.ptr != end || timeout_ms == 0) {
      sink->send(error_response(
          invalid_value("", "x-request-timeout-ms must be an integer from 1 to 4294967295")));
      return nullptr;
    }
    options.timeout_us = uint64_t{timeout_ms} * 1000;
  }
  ApiCall call;
  const MapOptions map_options{options_.max_json_depth, options_.max_messages,
                               options_.warn_unknown_fields};
  auto error = map_request(route, body, map_options, &call);
  if (!call.request_id().empty() && !error) {
    sink->set_request_id(call.request_id());
  }
  if (error) {
    sink->send(error_response(*error));
    return nullptr;
  }
  body = {};  // the text is in the message now
  if (call.request_id().empty()) {
    (route == ApiRoute::kChat ? call.chat.mutable_request_id() : call.generate.mutable_request_id())
        ->assign(request.request_id);
  }
  const GenerationTimes times{options_.first_byte_wait_us, options_.keep_alive_comment_us};
  auto generation = std::make_shared<Generation>(std::move(call), times, clock_, client_, sink);
  generation->start(generation, options, mailbox_);
  return generation;
}

ReadyState Handler::ready_state() const {
  ReadyState state = client_->ready();
  if (draining()) {
    state = {false, "draining"};
  }
  if (!state.ready && state.state.empty()) {
    state.state = "degraded";
  }
  return state;
}

HttpResponse Handler::probe(Endpoint endpoint) {
  const ReadyState state = ready_state();
  was_ready_ = was_ready_ || state.ready;
  const bool good = endpoint == Endpoint::kReady  ? state.ready
                    : endpoint == Endpoint::kLive ? client_->live()
                                                  : was_ready_;
  if (good) {
    HttpResponse response;
    response.body = "{\"status\":\"ok\"}";
    return response;
  }
  return error_response(not_serving(endpoint == Endpoint::kLive ? "degraded" : state.state));
}

HttpResponse Handler::model_list() const {
  const std::vector<v1::Model> models = client_->models();
  if (models.empty()) {
    const ReadyState state = ready_state();
    return error_response(not_serving(state.ready ? "degraded" : state.state));
  }
  HttpResponse response;
  response.body = "{\"object\":\"list\",\"data\":[";
  for (size_t i = 0; i < models.size(); ++i) {
    response.body += i == 0 ? "" : ",";
    append_model(&response.body, models[i]);
  }
  response.body += "]}";
  return response;
}

HttpResponse Handler::model(std::string_view id) const {
  const std::vector<v1::Model> models = client_->models();
  for (const v1::Model& model : models) {
    if (model.id() == id ||
        std::find(model.aliases().begin(), model.aliases().end(), id) != model.aliases().end()) {
      HttpResponse response;
      append_model(&response.body, model);
      return response;
    }
  }
  if (models.empty()) {
    return model_list();
  }
  ApiError error = transport_error(404, "model_not_found", "model",
                                   "the model '" + std::string(id) + "' does not exist");
  error.param = "model";
  return error_response(error);
}

HttpResponse Handler::version_answer() const {
  const std::vector<v1::Model> models = client_->models();
  HttpResponse response;
  response.body = "{\"version\":";
  append_json_string(&response.body, client_->version());
  response.body += ",\"commit\":";
  append_json_string(&response.body, options_.commit);
  response.body += ",\"fingerprint\":";
  if (models.empty()) {
    response.body += "null";
  } else {
    append_json_string(&response.body, models.front().fingerprint());
  }
  response.body += '}';
  return response;
}

HttpResponse Handler::debug_scheduler_answer() const {
  HttpResponse response;
  response.body = options_.debug_scheduler();
  return response;
}

HttpResponse Handler::metrics_answer() const {
  HttpResponse response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body = metrics_->serialise();
  return response;
}

}  // namespace stet::proxy
