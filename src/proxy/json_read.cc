#include "src/proxy/json_read.h"

#include <cfloat>
#include <cmath>
#include <limits>

#include "src/proxy/json_writer.h"

namespace stet::proxy {
namespace {

std::string number_text(double value) {
  std::string out;
  if (value == std::floor(value) && std::fabs(value) < 1e15) {
    append_json_int(&out, static_cast<int64_t>(value));
  } else {
    char buffer[32];
    const int length = std::snprintf(buffer, sizeof buffer, "%.9g", value);
    out.assign(buffer, static_cast<size_t>(length));
  }
  return out;
}

ApiError outside(std::string_view path, const std::string& found, int64_t min, int64_t max) {
  return invalid_value(std::string(path), "'" + std::string(path) + "' is " + found +
                                              ", expected an integer from " + std::to_string(min) +
                                              " to " + std::to_string(max));
}

}  // namespace

ApiError wrong_type(std::string_view path, std::string_view expected, const JsonValue& found) {
  return invalid_type(std::string(path), "'" + std::string(path) + "' must be " +
                                             std::string(expected) + ", not " +
                                             std::string(found.kind_name()));
}

std::optional<ApiError> read_bool(const JsonValue& value, std::string_view path, bool* out) {
  if (const bool* b = value.as_bool()) {
    *out = *b;
    return std::nullopt;
  }
  return wrong_type(path, "a boolean", value);
}

std::optional<ApiError> read_string(const JsonValue& value, std::string_view path,
                                    std::string* out) {
  if (const std::string* text = value.as_string()) {
    *out = *text;
    return std::nullopt;
  }
  return wrong_type(path, "a string", value);
}

std::optional<ApiError> read_int(const JsonValue& value, std::string_view path, int64_t min,
                                 int64_t max, int64_t* out) {
  int64_t number = 0;
  if (const auto* i = std::get_if<int64_t>(&value.v)) {
    number = *i;
  } else if (const auto* u = std::get_if<uint64_t>(&value.v)) {
    return outside(path, std::to_string(*u), min, max);  // above INT64_MAX by construction
  } else if (const auto* d = std::get_if<double>(&value.v)) {
    if (*d != std::floor(*d)) {
      return wrong_type(path, "an integer", value);
    }
    // Beyond 2^53 a double no longer says which integer was written.
    if (std::fabs(*d) > 9007199254740992.0) {
      return outside(path, number_text(*d), min, max);
    }
    number = static_cast<int64_t>(*d);
  } else {
    return wrong_type(path, "an integer", value);
  }
  if (number < min || number > max) {
    return outside(path, std::to_string(number), min, max);
  }
  *out = number;
  return std::nullopt;
}

std::optional<ApiError> read_uint32(const JsonValue& value, std::string_view path, uint32_t* out) {
  int64_t number = 0;
  if (auto error = read_int(value, path, 0, std::numeric_limits<uint32_t>::max(), &number)) {
    return error;
  }
  *out = static_cast<uint32_t>(number);
  return std::nullopt;
}

std::optional<ApiError> read_float(const JsonValue& value, std::string_view path, float* out) {
  double number = 0;
  if (const auto* i = std::get_if<int64_t>(&value.v)) {
    number = static_cast<double>(*i);
  } else if (const auto* u = std::get_if<uint64_t>(&value.v)) {
    number = static_cast<double>(*u);
  } else if (const auto* d = std::get_if<double>(&value.v)) {
    number = *d;
  } else {
    return wrong_type(path, "a number", value);
  }
  if (std::fabs(number) > static_cast<double>(FLT_MAX)) {
    return invalid_value(
        std::string(path),
        "'" + std::string(path) + "' is " + number_text(number) + ", too large for a 32-bit float");
  }
  *out = static_cast<float>(number);
  return std::nullopt;
}

std::string item_path(std::string_view path, size_t index) {
  return std::string(path) + '[' + std::to_string(index) + ']';
}

std::string member_path(std::string_view path, std::string_view name) {
  return path.empty() ? std::string(name) : std::string(path) + '.' + std::string(name);
}

}  // namespace stet::proxy
