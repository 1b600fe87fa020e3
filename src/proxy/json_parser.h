// Strict JSON text -> JsonValue with every limit applied while parsing (nlohmann's SAX parser stays
// in the .cc). Refused: duplicate names, NaN, Infinity, numbers beyond double, broken UTF-8,
// comments, text after the value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "src/proxy/json_value.h"

namespace stet::proxy {

struct JsonItemCap {
  std::string_view name;  // a member of the root object
  size_t max_items = 0;   // of the array it holds
};

struct JsonLimits {
  uint32_t max_depth = 32;
  // 40 bytes each: 10 MiB. A prompt of token ids is the largest honest use.
  size_t max_values = 262'144;
  std::span<const JsonItemCap> item_caps;
};

enum class JsonErrorKind : uint8_t { kSyntax, kDuplicate, kLimit };

struct JsonError {
  JsonErrorKind kind = JsonErrorKind::kSyntax;
  std::string path;  // "messages[2].content"; "" = no member in particular
  std::string message;
};

// Nothing on success.
std::optional<JsonError> parse_json(std::string_view text, const JsonLimits& limits,
                                    JsonValue* out);

}  // namespace stet::proxy
