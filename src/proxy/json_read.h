// Typed reads of JSON values: each returns the error that names path, expected and found.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "src/proxy/api_error.h"
#include "src/proxy/json_value.h"

namespace stet::proxy {

ApiError wrong_type(std::string_view path, std::string_view expected, const JsonValue& found);

std::optional<ApiError> read_bool(const JsonValue& value, std::string_view path, bool* out);
std::optional<ApiError> read_string(const JsonValue& value, std::string_view path,
                                    std::string* out);
// 3, 3.0 and 3e0 are integers, 3.5 and "3" are not.
std::optional<ApiError> read_int(const JsonValue& value, std::string_view path, int64_t min,
                                 int64_t max, int64_t* out);
std::optional<ApiError> read_uint32(const JsonValue& value, std::string_view path, uint32_t* out);
std::optional<ApiError> read_float(const JsonValue& value, std::string_view path, float* out);

std::string item_path(std::string_view path, size_t index);             // "stop[2]"
std::string member_path(std::string_view path, std::string_view name);  // "stream_options.x"

}  // namespace stet::proxy
