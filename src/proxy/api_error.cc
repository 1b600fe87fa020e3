#include "src/proxy/api_error.h"

#include <algorithm>
#include <utility>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "src/proxy/json_writer.h"
#include "stet/base/status.h"

namespace stet::proxy {
namespace {

constexpr const char* kInvalid = "invalid_request_error";

// One row of api.md sec. 3: an empty reason is the code's default.
struct Row {
  StatusCode code;
  std::string_view reason;
  int http_status;
  std::string_view type;
  std::string_view api_code;
  int retry;         // -1: no header; else x-should-retry
  bool retry_after;  // Retry-After also without RetryInfo
};

constexpr Row kRows[] = {
    {StatusCode::kInvalidArgument, "malformed", 400, kInvalid, "invalid_type", -1, false},
    {StatusCode::kInvalidArgument, "out_of_range", 400, kInvalid, "invalid_value", -1, false},
    {StatusCode::kInvalidArgument, "unknown_field", 400, kInvalid, "unknown_parameter", -1, false},
    {StatusCode::kInvalidArgument, "unsupported", 400, kInvalid, "unsupported_parameter", -1,
     false},
    {StatusCode::kInvalidArgument, "context_length", 400, kInvalid, "context_length_exceeded", -1,
     false},
    {StatusCode::kInvalidArgument, "template", 400, kInvalid, "invalid_messages", -1, false},
    {StatusCode::kInvalidArgument, "constraint", 400, kInvalid, "invalid_schema", -1, false},
    {StatusCode::kInvalidArgument, "", 400, kInvalid, "invalid_value", -1, false},
    {StatusCode::kOutOfRange, "", 400, kInvalid, "invalid_value", -1, false},
    {StatusCode::kFailedPrecondition, "", 400, kInvalid, "fingerprint_mismatch", -1, false},
    {StatusCode::kUnauthenticated, "", 401, "authentication_error", "invalid_api_key", -1, false},
    {StatusCode::kPermissionDenied, "", 403, "permission_error", "permission_denied", -1, false},
    {StatusCode::kNotFound, "", 404, kInvalid, "model_not_found", -1, false},
    {StatusCode::kAlreadyExists, "", 409, kInvalid, "duplicate_request_id", 0, false},
    {StatusCode::kResourceExhausted, "quota", 429, "rate_limit_error", "rate_limit_exceeded", 1,
     true},
    {StatusCode::kResourceExhausted, "deadline_unattainable", 429, "rate_limit_error",
     "deadline_unattainable", 0, false},
    {StatusCode::kResourceExhausted, "too_large", 413, kInvalid, "request_too_large", -1, false},
    {StatusCode::kResourceExhausted, "", 429, "rate_limit_error", "server_overloaded", 1, true},
    {StatusCode::kDeadlineExceeded, "queue_timeout", 504, "timeout_error", "queue_timeout", -1,
     false},
    {StatusCode::kDeadlineExceeded, "slow_reader", 504, "timeout_error", "slow_reader", 0, false},
    {StatusCode::kDeadlineExceeded, "", 504, "timeout_error", "deadline_exceeded", 0, false},
    {StatusCode::kUnavailable, "loading", 503, "server_error", "loading", 1, true},
    {StatusCode::kUnavailable, "draining", 503, "server_error", "draining", 1, true},
    {StatusCode::kUnavailable, "drain_timeout", 503, "server_error", "drain_timeout", 1, false},
    {StatusCode::kUnavailable, "", 503, "server_error", "degraded", 1, true},
    {StatusCode::kCancelled, "", 503, "server_error", "cancelled", 0, false},
    {StatusCode::kAborted, "", 503, "server_error", "cancelled", 0, false},
};
constexpr Row kFault{StatusCode::kInternal, "", 500, "server_error", "internal_error", 0, false};

const Row& find_row(StatusCode code, std::string_view reason) {
  const Row* fallback = &kFault;
  for (const Row& row : kRows) {
    if (row.code != code) {
      continue;
    }
    if (!row.reason.empty() && row.reason == reason) {
      return row;
    }
    if (row.reason.empty()) {
      fallback = &row;
    }
  }
  return *fallback;
}

// What we say where the status comes from a library and not from a daemon: library text stays
// inside.
std::string_view own_words(StatusCode code) {
  switch (code) {
    case StatusCode::kUnavailable: return "the inference daemon cannot be reached";
    case StatusCode::kDeadlineExceeded: return "the deadline passed before the answer was complete";
    case StatusCode::kResourceExhausted: return "the server has no room for the request";
    case StatusCode::kCancelled: return "the request was cancelled";
    default: return "the server failed to answer; this is not the request's fault";
  }
}

std::string_view default_reason(StatusCode code) {
  switch (code) {
    case StatusCode::kInvalidArgument: return "out_of_range";
    case StatusCode::kNotFound: return "model";
    case StatusCode::kResourceExhausted: return "queue_full";
    case StatusCode::kDeadlineExceeded: return "deadline_exceeded";
    case StatusCode::kUnavailable: return "degraded";
    case StatusCode::kCancelled:
    case StatusCode::kAborted: return "cancelled";
    case StatusCode::kAlreadyExists: return "duplicate_request_id";
    case StatusCode::kFailedPrecondition: return "fingerprint";
    case StatusCode::kUnauthenticated: return "unauthenticated";
    case StatusCode::kPermissionDenied: return "permission_denied";
    default: return "internal";
  }
}

ApiError bad_request(std::string code, std::string reason, std::string param, std::string message) {
  return ApiError{
      400, kInvalid, std::move(code), std::move(reason), std::move(message), std::move(param),
      {},  0};
}

// Seconds, at least 1; 0 when the status does not say.
uint32_t retry_seconds(const google::rpc::Status& status) {
  google::rpc::RetryInfo retry;
  for (const auto& any : status.details()) {
    if (any.UnpackTo(&retry)) {
      const int64_t seconds =
          retry.retry_delay().seconds() + (retry.retry_delay().nanos() > 0 ? 1 : 0);
      return static_cast<uint32_t>(std::clamp<int64_t>(seconds, 1, 3600));
    }
  }
  return 0;
}

}  // namespace

ApiError invalid_type(std::string param, std::string message) {
  return bad_request("invalid_type", "malformed", std::move(param), std::move(message));
}
ApiError missing_parameter(std::string param) {
  std::string message = "'" + param + "' is required";
  return bad_request("missing_required_parameter", "malformed", std::move(param),
                     std::move(message));
}
ApiError invalid_value(std::string param, std::string message) {
  return bad_request("invalid_value", "out_of_range", std::move(param), std::move(message));
}
ApiError unknown_parameter(std::string param) {
  std::string message = "unknown parameter '" + param + "'";
  return bad_request("unknown_parameter", "unknown_field", std::move(param), std::move(message));
}
ApiError unsupported_parameter(std::string param, std::string message) {
  return bad_request("unsupported_parameter", "unsupported", std::move(param), std::move(message));
}

ApiError transport_error(int http_status, std::string code, std::string reason,
                         std::string message) {
  return ApiError{http_status, kInvalid, std::move(code), std::move(reason), std::move(message), {},
                  {},          0};
}

ApiError not_serving(std::string_view state) {
  ApiError error{503,
                 "server_error",
                 std::string(state),
                 std::string(state),
                 "the server is " + std::string(state) + " and takes no requests",
                 {},
                 true,
                 1};
  return error;
}

ApiError internal_api_error(std::string message) {
  ApiError error;
  error.message = std::move(message);
  error.should_retry = false;
  return error;
}

ApiError error_from_rpc(const google::rpc::Status& status,
                        const std::function<std::string(const std::string&)>& param_of) {
  const auto code = static_cast<StatusCode>(status.code());
  google::rpc::ErrorInfo info;
  google::rpc::BadRequest bad;
  bool from_daemon = false;
  for (const auto& any : status.details()) {
    google::rpc::ErrorInfo candidate;
    if (any.UnpackTo(&candidate) && candidate.domain() == "stet") {
      info = std::move(candidate);
      from_daemon = true;
    } else {
      any.UnpackTo(&bad);
    }
  }
  // A channel's own refusal of a message over its limit: a code and library text, no details.
  if (!from_daemon && code == StatusCode::kResourceExhausted &&
      status.message().find("larger than max") != std::string::npos) {
    info.set_reason("too_large");
  }
  const Row& row = find_row(code, info.reason());
  ApiError error;
  error.http_status = row.http_status;
  error.type = row.type;
  error.code = row.api_code;
  error.reason = info.reason().empty() ? std::string(default_reason(code)) : info.reason();
  error.message =
      from_daemon && !status.message().empty() ? status.message() : std::string(own_words(code));
  if (!from_daemon && row.http_status == 413) {
    error.message = "the request is larger than the server takes";
  }
  if (row.retry >= 0) {
    error.should_retry = row.retry == 1;
  }
  error.retry_after_s = retry_seconds(status);
  if (row.retry_after && error.retry_after_s == 0) {
    error.retry_after_s = 1;
  }
  if (bad.field_violations_size() > 0) {
    const std::string& field = bad.field_violations(0).field();
    error.param = param_of ? param_of(field) : field;
    if (const size_t at = error.message.find(field); !field.empty() && at != std::string::npos) {
      error.message.replace(at, field.size(), error.param);  // the name the client wrote
    }
  } else if (row.http_status == 404) {
    error.param = "model";
  }
  return error;
}

std::string error_json(const ApiError& error) {
  std::string out = "{\"error\":{\"message\":";
  append_json_string(&out, error.message);
  out += ",\"type\":";
  append_json_string(&out, error.type);
  out += ",\"param\":";
  if (error.param.empty()) {
    out += "null";
  } else {
    append_json_string(&out, error.param);
  }
  out += ",\"code\":";
  append_json_string(&out, error.code);
  out += ",\"reason\":";
  append_json_string(&out, error.reason);
  out += "}}";
  return out;
}

}  // namespace stet::proxy
