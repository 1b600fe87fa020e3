// The error object of the HTTP API and the table that turns gRPC statuses into it (api.md sec. 3).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace google::rpc {
class Status;
}

namespace stet::proxy {

// Thread-compatible value.
struct ApiError {
  int http_status = 500;
  std::string type = "server_error";
  std::string code = "internal_error";
  std::string reason = "internal";
  std::string message;
  std::string param;                 // JSON path; "" = null
  std::optional<bool> should_retry;  // x-should-retry
  uint32_t retry_after_s = 0;        // Retry-After; 0 = not sent
};

// 400, in the order of the table.
ApiError invalid_type(std::string param, std::string message);
ApiError missing_parameter(std::string param);
ApiError invalid_value(std::string param, std::string message);
ApiError unknown_parameter(std::string param);
ApiError unsupported_parameter(std::string param, std::string message);
// 404 to 431 of the transport.
ApiError transport_error(int http_status, std::string code, std::string reason,
                         std::string message);
// 503 with state "loading", "draining" or "degraded".
ApiError not_serving(std::string_view state);
ApiError internal_api_error(std::string message);

// `param_of` turns a field path of the proto into the JSON path the client wrote.
ApiError error_from_rpc(const google::rpc::Status& status,
                        const std::function<std::string(const std::string&)>& param_of);

std::string error_json(const ApiError& error);  // {"error":{...}}, one line

}  // namespace stet::proxy
