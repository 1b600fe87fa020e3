// The one builder of error statuses: code, message, ErrorInfo, BadRequest, RetryInfo, RequestInfo
// (api.md sec. 3).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "google/rpc/status.pb.h"
#include "stet/base/status.h"

namespace stet::server {

// Reasons a client can switch on; docs/errors.md explains each, a test compares the two lists.
namespace reason {
inline constexpr std::string_view kMalformed = "malformed";
inline constexpr std::string_view kOutOfRange = "out_of_range";
inline constexpr std::string_view kUnknownField = "unknown_field";
inline constexpr std::string_view kUnsupported = "unsupported";
inline constexpr std::string_view kContextLength = "context_length";
inline constexpr std::string_view kTemplate = "template";
inline constexpr std::string_view kModel = "model";
inline constexpr std::string_view kDuplicateRequestId = "duplicate_request_id";
inline constexpr std::string_view kTooLarge = "too_large";
inline constexpr std::string_view kQueueFull = "queue_full";
inline constexpr std::string_view kQueueTimeout = "queue_timeout";
inline constexpr std::string_view kDeadlineExceeded = "deadline_exceeded";
inline constexpr std::string_view kSlowReader = "slow_reader";
inline constexpr std::string_view kLoading = "loading";
inline constexpr std::string_view kDraining = "draining";
inline constexpr std::string_view kDegraded = "degraded";
inline constexpr std::string_view kDrainTimeout = "drain_timeout";
inline constexpr std::string_view kCancelled = "cancelled";
inline constexpr std::string_view kNonFinite = "non_finite";
inline constexpr std::string_view kInternal = "internal";

inline constexpr std::array kAll = {
    kMalformed,     kOutOfRange, kUnknownField, kUnsupported,
    kContextLength, kTemplate,   kModel,        kDuplicateRequestId,
    kTooLarge,      kQueueFull,  kQueueTimeout, kDeadlineExceeded,
    kSlowReader,    kLoading,    kDraining,     kDegraded,
    kDrainTimeout,  kCancelled,  kNonFinite,    kInternal,
};
}  // namespace reason

inline constexpr size_t kMaxViolations = 16;
inline constexpr size_t kMaxDetailBytes =
    4096;  // of grpc-status-details-bin: it travels in a header

struct Violation {
  std::string_view reason;
  std::string field;  // proto path: "sampling.top_p"
  std::string description;
};

// External synchronisation.
class ApiError {
 public:
  ApiError(StatusCode code, std::string_view reason, std::string_view message);
  // INVALID_ARGUMENT with the first violation's reason and text as reason and message. `violations`
  // is not empty.
  explicit ApiError(std::vector<Violation> violations);

  ApiError& metadata(std::string key, std::string value);
  ApiError& violation(std::string field, std::string description);
  ApiError& retry_after_us(uint64_t us);  // RetryInfo, clamped to 1..60 s
  ApiError& request_id(std::string id);

  std::string_view reason() const { return reason_; }
  // At most kMaxDetailBytes; what does not fit is left out from the end of the violations.
  google::rpc::Status build() const;

 private:
  StatusCode code_;
  std::string reason_;
  std::string message_;
  std::map<std::string, std::string> metadata_;
  std::vector<Violation> violations_;
  uint64_t retry_after_us_ = 0;
  std::string request_id_;
};

// The same status with a RequestInfo, if it has none.
google::rpc::Status with_request_id(google::rpc::Status status, const std::string& id);

// At most `max_bytes` of valid UTF-8, "..." at the end if something was cut. For values shown in
// messages.
std::string clipped(std::string_view text, size_t max_bytes);

}  // namespace stet::server
