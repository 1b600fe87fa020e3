// The small DOM a request body is parsed into. Integers keep all 64 bits; member order is the order
// of the text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace stet::proxy {

struct JsonMember;

// Thread-compatible value. 40 bytes, so that `max_values` of a parse bounds its memory.
struct JsonValue {
  using Array = std::vector<JsonValue>;
  using Object = std::vector<JsonMember>;
  // int64: written without fraction and exponent and fits; uint64: the same, above INT64_MAX;
  // double: all other numbers.
  std::variant<std::monostate, bool, int64_t, uint64_t, double, std::string, Array, Object> v;

  bool is_null() const { return std::holds_alternative<std::monostate>(v); }
  const bool* as_bool() const { return std::get_if<bool>(&v); }
  const std::string* as_string() const { return std::get_if<std::string>(&v); }
  const Array* as_array() const { return std::get_if<Array>(&v); }
  const Object* as_object() const { return std::get_if<Object>(&v); }
  bool is_number() const { return v.index() >= 2 && v.index() <= 4; }
  // "a string", "an integer", "null": for messages.
  std::string_view kind_name() const {
    constexpr std::string_view kNames[] = {"null",     "a boolean", "an integer", "an integer",
                                           "a number", "a string",  "an array",   "an object"};
    return kNames[v.index()];
  }
};

struct JsonMember {
  std::string name;
  JsonValue value;
};

}  // namespace stet::proxy
