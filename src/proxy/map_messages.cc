// `messages` of a chat request (api.md sec. 5.1) -> repeated ChatMessage.
#include <algorithm>

#include "src/proxy/field_handlers.h"
#include "src/proxy/json_read.h"

namespace stet::proxy {
namespace {

MaybeError map_part(const JsonValue& value, const std::string& path, v1::ChatMessage* message) {
  const JsonValue::Object* members = value.as_object();
  if (members == nullptr) {
    return wrong_type(path, "an object", value);
  }
  std::string type;
  const JsonValue* text = nullptr;
  std::string_view unknown;
  for (const JsonMember& member : *members) {
    if (member.name == "type") {
      if (auto error = read_string(member.value, path + ".type", &type)) {
        return error;
      }
    } else if (member.name == "text") {
      text = &member.value;
    } else {
      unknown = member.name;
    }
  }
  if (type.empty()) {
    return missing_parameter(path + ".type");
  }
  if (type != "text") {
    return unsupported_parameter(
        path + ".type",
        "'" + path + ".type' must be 'text', the only type of content parts served");
  }
  if (!unknown.empty()) {
    return unknown_parameter(member_path(path, unknown));
  }
  if (text == nullptr) {
    return missing_parameter(path + ".text");
  }
  return read_string(*text, path + ".text", message->add_content()->mutable_text());
}

MaybeError map_content(const JsonValue& value, const std::string& path, v1::ChatMessage* message) {
  if (const std::string* text = value.as_string()) {
    message->add_content()->set_text(*text);
    return std::nullopt;
  }
  const JsonValue::Array* parts = value.as_array();
  if (parts == nullptr) {
    return wrong_type(path, "a string or an array of parts", value);
  }
  for (size_t i = 0; i < parts->size(); ++i) {
    if (auto error = map_part((*parts)[i], item_path(path, i), message)) {
      return error;
    }
  }
  return std::nullopt;
}

MaybeError map_function(const JsonValue& value, const std::string& path, v1::ToolCall* call) {
  const JsonValue::Object* members = value.as_object();
  if (members == nullptr) {
    return wrong_type(path, "an object", value);
  }
  for (const JsonMember& member : *members) {
    const std::string at = member_path(path, member.name);
    std::string* target = member.name == "name"        ? call->mutable_name()
                          : member.name == "arguments" ? call->mutable_arguments_json()
                                                       : nullptr;
    if (target == nullptr) {
      return unknown_parameter(at);
    }
    if (auto error = read_string(member.value, at, target)) {
      return error;
    }
  }
  return call->name().empty() ? MaybeError(missing_parameter(path + ".name")) : std::nullopt;
}

MaybeError map_tool_call(const JsonValue& value, const std::string& path, v1::ToolCall* call) {
  const JsonValue::Object* members = value.as_object();
  if (members == nullptr) {
    return wrong_type(path, "an object", value);
  }
  bool has_function = false;
  for (const JsonMember& member : *members) {
    const std::string at = member_path(path, member.name);
    MaybeError error;
    if (member.name == "id") {
      error = read_string(member.value, at, call->mutable_id());
    } else if (member.name == "type") {
      std::string type;
      error = read_string(member.value, at, &type);
      if (!error && type != "function") {
        error = unsupported_parameter(
            at, "'" + at + "' must be 'function', the only type of tool calls served");
      }
    } else if (member.name == "function") {
      has_function = true;
      error = map_function(member.value, at, call);
    } else {
      error = unknown_parameter(at);
    }
    if (error) {
      return error;
    }
  }
  return has_function ? std::nullopt : MaybeError(missing_parameter(path + ".function"));
}

MaybeError map_tool_calls(const JsonValue& value, const std::string& path,
                          v1::ChatMessage* message) {
  const JsonValue::Array* calls = value.as_array();
  if (calls == nullptr) {
    return wrong_type(path, "an array", value);
  }
  for (size_t i = 0; i < calls->size(); ++i) {
    if (auto error = map_tool_call((*calls)[i], item_path(path, i), message->add_tool_calls())) {
      return error;
    }
  }
  return std::nullopt;
}

MaybeError map_member(const JsonMember& member, const std::string& path, v1::ChatMessage* message) {
  const std::string at = member_path(path, member.name);
  if (member.name == "role") {
    return read_string(member.value, at, message->mutable_role());
  }
  if (member.name == "content") {
    return map_content(member.value, at, message);
  }
  if (member.name == "name") {
    return read_string(member.value, at, message->mutable_name());
  }
  if (member.name == "tool_call_id") {
    return read_string(member.value, at, message->mutable_tool_call_id());
  }
  if (member.name == "tool_calls") {
    return map_tool_calls(member.value, at, message);
  }
  // The SDKs send a former answer back as it came; its empty members are null.
  if (member.name == "refusal" || member.name == "audio" || member.name == "function_call") {
    return unsupported_parameter(at, "'" + at + "' is not served by this server, only null");
  }
  return unknown_parameter(at);
}

MaybeError map_message(const JsonValue& value, const std::string& path, v1::ChatMessage* message) {
  const JsonValue::Object* members = value.as_object();
  if (members == nullptr) {
    return wrong_type(path, "an object", value);
  }
  bool has_content = false;
  for (const JsonMember& member : *members) {
    if (member.value.is_null()) {
      continue;
    }
    has_content = has_content || member.name == "content";
    if (auto error = map_member(member, path, message)) {
      return error;
    }
  }
  if (message->role().empty()) {
    return missing_parameter(path + ".role");
  }
  // null is right only where tool calls stand in its place.
  if (!has_content && !(message->role() == "assistant" && message->tool_calls_size() > 0)) {
    return missing_parameter(path + ".content");
  }
  return std::nullopt;
}

}  // namespace

MaybeError apply_messages(MapState& state, const Field& field, const JsonValue& value) {
  const JsonValue::Array* items = value.as_array();
  if (items == nullptr) {
    return wrong_type(field.name, "an array of messages", value);
  }
  if (items->empty()) {
    return invalid_value("messages", "'messages' is empty, expected at least one");
  }
  for (size_t i = 0; i < items->size(); ++i) {
    if (auto error =
            map_message((*items)[i], item_path(field.name, i), state.call->chat.add_messages())) {
      return error;
    }
  }
  return std::nullopt;
}

}  // namespace stet::proxy
