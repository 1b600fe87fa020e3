#include "src/server/api_error.h"

#include <algorithm>
#include <utility>

#include "google/rpc/error_details.pb.h"
#include "stet/base/check.h"
#include "stet/text/detokenizer.h"

namespace stet::server {
namespace {

constexpr size_t kMaxMessageBytes = 512;
constexpr size_t kMaxDescriptionBytes = 200;
constexpr uint64_t kMinRetryUs = 1'000'000;
// ErrorInfo, RequestInfo and what else is added later have to fit beside the violations.
constexpr size_t kReservedBytes = 512;
constexpr uint64_t kMaxRetryUs = 60'000'000;

void add_detail(const google::protobuf::Message& detail, google::rpc::Status* status) {
  status->add_details()->PackFrom(detail);
}

}  // namespace

std::string clipped(std::string_view text, size_t max_bytes) {
  std::string out;
  if (text.size() <= max_bytes) {
    text::append_utf8_lossy(text, &out);
    return out;
  }
  size_t end = max_bytes - 3;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) {
    --end;  // never inside a code point
  }
  text::append_utf8_lossy(text.substr(0, end), &out);
  return out + "...";
}

google::rpc::Status with_request_id(google::rpc::Status status, const std::string& id) {
  for (const auto& detail : status.details()) {
    if (detail.Is<google::rpc::RequestInfo>()) {
      return status;
    }
  }
  google::rpc::RequestInfo info;
  info.set_request_id(id);
  add_detail(info, &status);
  return status;
}

ApiError::ApiError(StatusCode code, std::string_view reason, std::string_view message)
    : code_(code), reason_(reason), message_(clipped(message, kMaxMessageBytes)) {}

ApiError::ApiError(std::vector<Violation> violations)
    : code_(StatusCode::kInvalidArgument), violations_(std::move(violations)) {
  STET_CHECK(!violations_.empty(), "a refusal names a field");
  reason_ = violations_[0].reason;
  message_ = clipped(violations_[0].field + ": " + violations_[0].description, kMaxMessageBytes);
  if (violations_.size() > 1) {
    message_ += " (and " + std::to_string(violations_.size() - 1) + " more)";
  }
}

ApiError& ApiError::metadata(std::string key, std::string value) {
  metadata_[std::move(key)] = std::move(value);
  return *this;
}

ApiError& ApiError::violation(std::string field, std::string description) {
  violations_.push_back({reason_, std::move(field), std::move(description)});
  return *this;
}

ApiError& ApiError::retry_after_us(uint64_t us) {
  retry_after_us_ = std::clamp(us, kMinRetryUs, kMaxRetryUs);
  return *this;
}

ApiError& ApiError::request_id(std::string id) {
  request_id_ = std::move(id);
  return *this;
}

google::rpc::Status ApiError::build() const {
  google::rpc::Status status;
  status.set_code(static_cast<int>(code_));
  status.set_message(message_);

  google::rpc::ErrorInfo info;
  info.set_reason(reason_);
  info.set_domain("stet");
  info.mutable_metadata()->insert(metadata_.begin(), metadata_.end());
  add_detail(info, &status);
  if (retry_after_us_ != 0) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(static_cast<int64_t>(retry_after_us_ / 1'000'000));
    retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(retry_after_us_ % 1'000'000) *
                                           1000);
    add_detail(retry, &status);
  }
  if (!request_id_.empty()) {
    google::rpc::RequestInfo request;
    request.set_request_id(request_id_);
    add_detail(request, &status);
  }
  if (!violations_.empty()) {
    google::rpc::BadRequest bad;
    for (const Violation& v : violations_) {
      if (static_cast<size_t>(bad.field_violations_size()) == kMaxViolations) {
        break;
      }
      auto* entry = bad.add_field_violations();
      entry->set_field(clipped(v.field, kMaxDescriptionBytes));
      entry->set_description(clipped(v.description, kMaxDescriptionBytes));
      if (status.ByteSizeLong() + bad.ByteSizeLong() + kReservedBytes > kMaxDetailBytes) {
        bad.mutable_field_violations()->RemoveLast();
        break;
      }
    }
    add_detail(bad, &status);
  }
  return status;
}

}  // namespace stet::server
