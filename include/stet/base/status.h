// Status and Result<T>: how errors travel between folders.
//
// A Status is OK or {code, message}. Codes carry gRPC's numbers, so that a transport converts by a
// cast. The message answers: what was expected, what was found, where, and (if not obvious) what to
// do. Scarcity (no free block, a full queue) is a domain value, never a Status: it happens on hot
// paths and must not allocate.
//
//   Result<File> open(const std::string& path);
//   STET_ASSIGN_OR_RETURN(File file, open(path));
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "stet/base/check.h"

namespace stet {

// Numbers are those of google.rpc.Code.
enum class StatusCode : int {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,
};

std::string_view status_code_name(StatusCode code);  // "INVALID_ARGUMENT"

// Thread-compatible value.
class [[nodiscard]] Status {
 public:
  Status() = default;  // OK
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }
  std::string to_string() const;  // "INVALID_ARGUMENT: ..." or "OK"

  // The same error with `context` in front: "model.gguf: tensor 'x': ...".
  Status with_context(std::string_view context) const;

  friend bool operator==(const Status&, const Status&) = default;

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

Status invalid_argument(std::string message);
Status not_found(std::string message);
Status data_loss(std::string message);  // a file that contradicts itself
Status resource_exhausted(std::string message);
Status failed_precondition(std::string message);
Status unavailable(std::string message);
Status unimplemented(std::string message);
Status internal_error(std::string message);

// A T, or the Status that says why there is none (never OK).
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value)  // NOLINT(google-explicit-constructor): `return value;`
      : value_(std::move(value)) {}
  Result(Status status)  // NOLINT(google-explicit-constructor): `return error;`
      : status_(std::move(status)) {
    STET_CHECK(!status_.ok(), "a Result without a value needs an error");
  }

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }

  T& value() & { return *checked(); }
  const T& value() const& { return *const_cast<Result*>(this)->checked(); }
  T value() && {
    return std::move(*checked());
  }  // by value: `for (x : f().value())` keeps it alive
  T& operator*() & { return *checked(); }
  const T& operator*() const& { return *const_cast<Result*>(this)->checked(); }
  T operator*() && { return std::move(*checked()); }
  T* operator->() { return checked(); }
  const T* operator->() const { return const_cast<Result*>(this)->checked(); }

 private:
  T* checked() {
    STET_CHECK(value_.has_value(), status_.message().c_str());
    return &*value_;
  }
  std::optional<T> value_;
  Status status_;
};

}  // namespace stet

#define STET_CONCAT_INNER(a, b) a##b
#define STET_CONCAT(a, b) STET_CONCAT_INNER(a, b)

#define STET_RETURN_IF_ERROR(expr)                                  \
  do {                                                              \
    if (::stet::Status stet_status_ = (expr); !stet_status_.ok()) { \
      return stet_status_;                                          \
    }                                                               \
  } while (0)

#define STET_ASSIGN_OR_RETURN(lhs, expr) \
  STET_ASSIGN_OR_RETURN_IMPL(STET_CONCAT(stet_result_, __LINE__), lhs, expr)
#define STET_ASSIGN_OR_RETURN_IMPL(result, lhs, expr) \
  auto result = (expr);                               \
  if (!result.ok()) {                                 \
    return result.status();                           \
  }                                                   \
  lhs = std::move(result).value()
