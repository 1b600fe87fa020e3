#include "src/proxy/json_parser.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

namespace stet::proxy {
namespace {

// SAX events -> DOM, without recursion. nlohmann's lexer checks UTF-8 and the grammar.
class Builder {
 public:
  Builder(const JsonLimits& limits, JsonValue* root) : limits_(limits), root_(root) {}

  std::optional<JsonError> take_error() { return std::move(error_); }

  bool null() { return add(JsonValue{}); }
  bool boolean(bool value) { return add(JsonValue{value}); }
  bool number_integer(int64_t value) { return add(JsonValue{value}); }
  bool number_unsigned(uint64_t value) {
    return add(value <= INT64_MAX ? JsonValue{static_cast<int64_t>(value)} : JsonValue{value});
  }
  bool number_float(double value, const std::string&) { return add(JsonValue{value}); }
  bool string(std::string& value) { return add(JsonValue{std::move(value)}); }
  bool binary(std::vector<uint8_t>&) { return false; }  // no such thing in JSON text

  bool start_object(size_t) { return open(JsonValue{JsonValue::Object{}}); }
  bool start_array(size_t) { return open(JsonValue{JsonValue::Array{}}); }
  bool key(std::string& name) {
    open_.back().key = std::move(name);
    open_.back().awaits_value = true;
    return true;
  }
  bool end_object() { return !has_duplicate() && close(); }
  bool end_array() { return close(); }

  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception& e) {
    if (!error_) {
      const bool range = e.id == 406;  // nlohmann: number overflow
      fail(range ? JsonErrorKind::kLimit : JsonErrorKind::kSyntax, value_path(),
           range ? "a number is too large for a double"
                 : "the body is not valid JSON (at byte " + std::to_string(position) + ")");
    }
    return false;
  }

 private:
  struct Open {
    JsonValue value;
    std::string key;
    bool awaits_value = false;
    bool is_object = false;
  };

  bool fail(JsonErrorKind kind, std::string path, std::string message) {
    error_ = JsonError{kind, std::move(path), std::move(message)};
    return false;
  }

  // Path of the value that comes next, "" at the root.
  std::string value_path() const {
    std::string path;
    for (const Open& open : open_) {
      if (!open.is_object) {
        path += '[' + std::to_string(std::get<JsonValue::Array>(open.value.v).size()) + ']';
      } else if (open.awaits_value) {
        path += (path.empty() ? "" : ".") + open.key;
      }
    }
    return path;
  }

  bool charge() {
    if (++num_values_ > limits_.max_values) {
      return fail(JsonErrorKind::kLimit, value_path(),
                  "more than " + std::to_string(limits_.max_values) + " JSON values");
    }
    if (open_.size() == 2 && !open_[1].is_object) {
      const size_t num_items = std::get<JsonValue::Array>(open_[1].value.v).size();
      for (const JsonItemCap& cap : limits_.item_caps) {
        if (cap.name == open_[0].key && num_items >= cap.max_items) {
          return fail(JsonErrorKind::kLimit, open_[0].key,
                      "more than " + std::to_string(cap.max_items) + " items");
        }
      }
    }
    return true;
  }

  bool add(JsonValue&& value) { return charge() && attach(std::move(value)); }

  bool open(JsonValue&& container) {
    if (!charge()) {
      return false;
    }
    if (open_.size() >= limits_.max_depth) {
      return fail(JsonErrorKind::kLimit, value_path(),
                  "nested deeper than " + std::to_string(limits_.max_depth) + " levels");
    }
    const bool is_object = container.as_object() != nullptr;
    open_.push_back(Open{std::move(container), {}, false, is_object});
    return true;
  }

  bool close() {
    JsonValue done = std::move(open_.back().value);
    open_.pop_back();
    return attach(std::move(done));
  }

  bool attach(JsonValue&& value) {
    if (open_.empty()) {
      *root_ = std::move(value);
      return true;
    }
    Open& top = open_.back();
    if (auto* items = std::get_if<JsonValue::Array>(&top.value.v)) {
      items->push_back(std::move(value));
    } else {
      std::get<JsonValue::Object>(top.value.v).push_back({std::move(top.key), std::move(value)});
      top.awaits_value = false;
    }
    return true;
  }

  // Sorted views: n log n also for an object of 200,000 members.
  bool has_duplicate() {
    const auto& members = std::get<JsonValue::Object>(open_.back().value.v);
    std::vector<std::string_view> names;
    names.reserve(members.size());
    for (const JsonMember& member : members) {
      names.push_back(member.name);
    }
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    if (twice == names.end()) {
      return false;
    }
    std::string name(*twice);
    std::string path = value_path();
    path += (path.empty() ? "" : ".") + name;
    fail(JsonErrorKind::kDuplicate, std::move(path), "the name occurs twice");
    return true;
  }

  const JsonLimits& limits_;
  JsonValue* root_;
  std::vector<Open> open_;
  size_t num_values_ = 0;
  std::optional<JsonError> error_;
};

}  // namespace

std::optional<JsonError> parse_json(std::string_view text, const JsonLimits& limits,
                                    JsonValue* out) {
  // nlohmann's lexer takes a NUL for the end of the input and would not see what follows it.
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) {
    return JsonError{JsonErrorKind::kSyntax, "",
                     "the body is not valid JSON (at byte " + std::to_string(nul + 1) + ")"};
  }
  Builder builder(limits, out);
  const bool ok = nlohmann::json::sax_parse(text, &builder);
  std::optional<JsonError> error = builder.take_error();
  if (!ok && !error) {
    error = JsonError{JsonErrorKind::kSyntax, "", "the body is not valid JSON"};
  }
  return error;
}

}  // namespace stet::proxy
