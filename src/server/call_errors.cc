#include "src/server/call_errors.h"

#include <algorithm>

#include "src/server/validate.h"
#include "stet/base/check.h"

namespace stet::server {
namespace {

constexpr uint64_t kLoadingRetryUs = 2'000'000;
constexpr uint64_t kDrainingRetryUs = 1'000'000;  // another replica, or this one after its restart
constexpr uint64_t kDegradedRetryUs = 5'000'000;

// +-20 %, so that refused clients do not come back together.
uint64_t jittered(uint64_t us) {
  const uint64_t per_mille = 800 + draw_seed() % 401;
  return us / 1000 * per_mille;
}

ApiError unavailable_error(std::string_view reason, std::string_view message, uint64_t retry_us) {
  ApiError error(StatusCode::kUnavailable, reason, message);
  error.retry_after_us(jittered(retry_us));
  return error;
}

}  // namespace

ApiError not_ready(ServingState state) {
  switch (state) {
    case ServingState::kStarting:
    case ServingState::kLoading:
    case ServingState::kWarming:
      return unavailable_error(reason::kLoading, "the model is loading", kLoadingRetryUs);
    case ServingState::kDegraded:
      return unavailable_error(reason::kDegraded, "the server is degraded", kDegradedRetryUs);
    case ServingState::kReady:
    case ServingState::kDraining:
    case ServingState::kStopped: break;
  }
  return unavailable_error(reason::kDraining, "the server is draining and takes no new requests",
                           kDrainingRetryUs);
}

ApiError malformed_request() {
  return {StatusCode::kInvalidArgument, reason::kMalformed,
          "the bytes are no message of this method's request type"};
}

ApiError cancelled_by_client() {
  return {StatusCode::kCancelled, reason::kCancelled, "cancelled by the client"};
}

ApiError deadline_passed(const char* where) {
  return {StatusCode::kDeadlineExceeded, reason::kDeadlineExceeded,
          std::string("the deadline passed ") + where};
}

ApiError slow_reader() {
  return {StatusCode::kDeadlineExceeded, reason::kSlowReader,
          "the receiver took nothing for 60 s while output was waiting"};
}

ApiError queue_full(const char* what, uint64_t limit, uint64_t requested, uint64_t retry_after_us) {
  ApiError error(StatusCode::kResourceExhausted, reason::kQueueFull,
                 std::string("the queue is full: ") + std::to_string(requested) + " " + what +
                     " with this request, at most " + std::to_string(limit));
  error.metadata("limit", std::to_string(limit))
      .metadata("requested", std::to_string(requested))
      .retry_after_us(jittered(std::max<uint64_t>(retry_after_us, 1'000'000)));
  return error;
}

ApiError refused(const engine::Submission& submission) {
  switch (submission.refusal) {
    case engine::Refusal::kQueueFull:
      return queue_full("requests or prompt tokens", submission.limit, submission.requested,
                        submission.retry_after_us);
    case engine::Refusal::kNeverFits: {
      ApiError error(StatusCode::kInvalidArgument, reason::kContextLength,
                     "prompt and max_tokens need " + std::to_string(submission.requested) +
                         " tokens, the KV pool holds " + std::to_string(submission.limit));
      error.metadata("requested", std::to_string(submission.requested))
          .metadata("limit", std::to_string(submission.limit));
      return error;
    }
    case engine::Refusal::kDegraded: return not_ready(ServingState::kDegraded);
    case engine::Refusal::kDraining: return not_ready(ServingState::kDraining);
    case engine::Refusal::kStopped: return not_ready(ServingState::kStopped);
    case engine::Refusal::kNone: break;
  }
  STET_CHECK(false, "an accepted submission is no error");
}

ApiError ended_with_error(const engine::EngineEvent& event) {
  std::string_view why = event.error_reason;
  if (why.empty()) {
    switch (event.status.code()) {
      case StatusCode::kCancelled: why = reason::kCancelled; break;
      case StatusCode::kDeadlineExceeded: why = reason::kDeadlineExceeded; break;
      case StatusCode::kUnavailable: why = reason::kDrainTimeout; break;
      default: why = reason::kInternal;
    }
  }
  ApiError error(event.status.code(), why, event.status.message());
  const bool resumable = event.status.code() == StatusCode::kUnavailable;
  error.metadata("resumable", resumable ? "true" : "false");
  if (resumable) {
    error.retry_after_us(jittered(kDrainingRetryUs));
  }
  return error;
}

}  // namespace stet::server
