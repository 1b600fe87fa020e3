#include "stet/proxy/batch_file.h"

#include <optional>
#include <utility>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "src/proxy/event_order.h"
#include "src/proxy/json_parser.h"
#include "src/proxy/json_read.h"
#include "src/proxy/json_writer.h"
#include "src/proxy/request_mapper.h"
#include "src/proxy/whole_answer.h"
#include "stet/v1/inference.pb.h"
#include "stet/v1/model.pb.h"

namespace stet::proxy {
namespace {

constexpr size_t kMaxCustomIdBytes = 64;  // GenerateBatchRequest.custom_id
using Models = std::shared_ptr<const std::vector<v1::Model>>;

struct Line {
  std::string custom_id;
  ApiRoute route = ApiRoute::kChat;
  const JsonValue* body = nullptr;
};

Status as_status(const ApiError& error) {
  return invalid_argument(error.message);
}

Status read_route(const std::string& url, ApiRoute* route) {
  if (url != "/v1/chat/completions" && url != "/v1/completions") {
    return invalid_argument("'url' must be '/v1/chat/completions' or '/v1/completions'");
  }
  *route = url == "/v1/completions" ? ApiRoute::kCompletions : ApiRoute::kChat;
  return {};
}

Status read_member(const JsonMember& member, Line* line) {
  std::string text;
  if (member.name == "body") {
    line->body = &member.value;
    return {};
  }
  if (member.name != "custom_id" && member.name != "method" && member.name != "url") {
    return as_status(unknown_parameter(member.name));
  }
  if (const auto error = read_string(member.value, member.name, &text)) {
    return as_status(*error);
  }
  if (member.name == "url") {
    return read_route(text, &line->route);
  }
  if (member.name == "method") {
    return text == "POST" ? Status() : invalid_argument("'method' must be 'POST'");
  }
  if (text.empty() || text.size() > kMaxCustomIdBytes) {
    return invalid_argument("'custom_id' has " + std::to_string(text.size()) +
                            " bytes: must be in 1.." + std::to_string(kMaxCustomIdBytes));
  }
  line->custom_id = std::move(text);
  return {};
}

Result<JsonValue> parse_object(std::string_view text) {
  JsonValue root;
  if (const auto error = parse_json(text, {}, &root)) {
    return invalid_argument(error->path.empty() ? error->message
                                                : "'" + error->path + "': " + error->message);
  }
  if (root.as_object() == nullptr) {
    return invalid_argument("a line must be a JSON object, not " + std::string(root.kind_name()));
  }
  return root;
}

Result<Line> read_line(const JsonValue& root) {
  Line line;
  uint32_t num_members = 0;
  for (const JsonMember& member : *root.as_object()) {
    STET_RETURN_IF_ERROR(read_member(member, &line));
    ++num_members;
  }
  constexpr uint32_t kNumMembers = 4;  // each at most once: the parser refuses duplicates
  if (num_members != kNumMembers) {
    return invalid_argument("a line needs 'custom_id', 'method', 'url' and 'body'");
  }
  return line;
}

class Request final : public BatchFileRequest {
 public:
  Request(Line line, const Models& models)
      : custom_id_(std::move(line.custom_id)), models_(models) {
    call_.route = line.route;
    error_ = map_request(line.route, *line.body, {}, &call_);
    if (!error_ && call_.shape.stream) {
      error_ = unsupported_parameter("stream", "'stream' is not served in a batch file");
    }
    if (error_) {
      return;
    }
    order_.emplace(call_.shape.num_choices);
  }

  const std::string& custom_id() const override { return custom_id_; }
  bool refused() const override { return !order_; }

  v1::GenerateBatchRequest take_request() override {
    v1::GenerateBatchRequest request;
    request.set_custom_id(custom_id_);
    if (call_.route == ApiRoute::kChat) {
      *request.mutable_chat() = std::move(call_.chat);
    } else {
      *request.mutable_generate() = std::move(call_.generate);
    }
    return request;
  }

  bool add(v1::GenerateBatchResponse&& response) override {
    if (response.has_error()) {
      fail(response.error());
      return true;
    }
    v1::GenerateResponse& event = *response.mutable_event();
    if (!order_->accept(event)) {
      error_ = internal_api_error("the inference daemon broke the order of events");
      return true;
    }
    if (event.has_started()) {
      request_id_ = event.started().request_id();
      whole_.emplace(call_.route, call_.shape, request_id_,
                     [models = models_](const std::string& model, uint32_t id) {
                       return is_eos(*models, model, id);
                     });
    }
    if (whole_) {
      whole_->add(std::move(event));
    }
    return order_->complete();
  }

  BatchAnswer take_answer() override {
    BatchAnswer out;
    out.http_status = error_ ? error_->http_status : 200;
    out.line = "{\"id\":\"batch_req_";
    append_json_escaped(&out.line, request_id_.empty() ? custom_id_ : request_id_);
    out.line += "\",\"custom_id\":";
    append_json_string(&out.line, custom_id_);
    out.line += ",\"response\":{\"status_code\":";
    append_json_int(&out.line, out.http_status);
    out.line += ",\"request_id\":";
    append_json_string(&out.line, request_id_);
    out.line += ",\"body\":";
    out.line += error_ ? error_json(*error_) : whole_->json();
    out.line += "},\"error\":null}\n";
    whole_.reset();
    return out;
  }

 private:
  void fail(const v1::BatchError& error) {
    google::rpc::Status status;
    if (!status.ParseFromString(error.details())) {
      status.Clear();
      status.set_code(error.code());
      status.set_message(error.message());
    }
    google::rpc::RequestInfo info;
    for (const auto& detail : status.details()) {
      if (detail.UnpackTo(&info)) {
        request_id_ = info.request_id();
      }
    }
    error_ = error_from_rpc(
        status, [this](const std::string& path) { return param_of_proto_path(call_, path); });
  }

  const std::string custom_id_;
  const Models models_;
  ApiCall call_;
  std::optional<EventOrder> order_;  // empty when refused
  std::optional<WholeAnswer> whole_;
  std::optional<ApiError> error_;
  std::string request_id_;
};

}  // namespace

Result<std::unique_ptr<BatchFileRequest>> BatchFileRequest::parse(std::string_view line,
                                                                  Models models) {
  STET_ASSIGN_OR_RETURN(const JsonValue root, parse_object(line));
  STET_ASSIGN_OR_RETURN(Line parts, read_line(root));
  return std::unique_ptr<BatchFileRequest>(std::make_unique<Request>(std::move(parts), models));
}

Result<std::string> answered_custom_id(std::string_view line) {
  STET_ASSIGN_OR_RETURN(const JsonValue root, parse_object(line));
  for (const JsonMember& member : *root.as_object()) {
    if (member.name == "custom_id" && member.value.as_string() != nullptr) {
      return *member.value.as_string();
    }
  }
  return invalid_argument("a line of an output has a 'custom_id'");
}

}  // namespace stet::proxy
