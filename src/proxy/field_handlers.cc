#include "src/proxy/field_handlers.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "src/proxy/json_read.h"
#include "src/proxy/json_writer.h"
#include "stet/base/check.h"

namespace stet::proxy {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

ApiError unsupported_value(std::string_view name, std::string_view served) {
  return unsupported_parameter(std::string(name),
                               "'" + std::string(name) + "' is not served by this server" +
                                   (served.empty() ? "" : ", only " + std::string(served)));
}

MaybeError set_uint32s(Message* message, const FieldDescriptor* target, std::string_view path,
                       const JsonValue& value) {
  const JsonValue::Array* items = value.as_array();
  if (items == nullptr) {
    return wrong_type(path, "an array of integers", value);
  }
  const auto* reflection = message->GetReflection();
  reflection->ClearField(message, target);
  for (size_t i = 0; i < items->size(); ++i) {
    uint32_t number = 0;
    if (auto error = read_uint32((*items)[i], item_path(path, i), &number)) {
      return error;
    }
    reflection->AddUInt32(message, target, number);
  }
  return std::nullopt;
}

MaybeError set_field(Message* message, const FieldDescriptor* target, std::string_view path,
                     const JsonValue& value) {
  const auto* reflection = message->GetReflection();
  if (target->is_repeated()) {
    return set_uint32s(message, target, path, value);
  }
  switch (target->cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL: {
      bool flag = false;
      if (auto error = read_bool(value, path, &flag)) {
        return error;
      }
      reflection->SetBool(message, target, flag);
      return std::nullopt;
    }
    case FieldDescriptor::CPPTYPE_UINT32: {
      uint32_t number = 0;
      if (auto error = read_uint32(value, path, &number)) {
        return error;
      }
      reflection->SetUInt32(message, target, number);
      return std::nullopt;
    }
    case FieldDescriptor::CPPTYPE_FLOAT: {
      float number = 0;
      if (auto error = read_float(value, path, &number)) {
        return error;
      }
      reflection->SetFloat(message, target, number);
      return std::nullopt;
    }
    default: {
      STET_CHECK(target->cpp_type() == FieldDescriptor::CPPTYPE_STRING,
                 "a plain field of an unknown type");
      std::string text;
      if (auto error = read_string(value, path, &text)) {
        return error;
      }
      reflection->SetString(message, target, text);
      return std::nullopt;
    }
  }
}

// A scalar of chat_template_kwargs as JSON text; false for arrays and objects.
bool append_scalar(const JsonValue& value, std::string* out) {
  if (value.is_null()) {
    *out += "null";
  } else if (const bool* flag = value.as_bool()) {
    *out += *flag ? "true" : "false";
  } else if (const auto* i = std::get_if<int64_t>(&value.v)) {
    append_json_int(out, *i);
  } else if (const auto* u = std::get_if<uint64_t>(&value.v)) {
    append_json_uint(out, *u);
  } else if (const auto* d = std::get_if<double>(&value.v)) {
    char buffer[32];
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, *d);
    const std::string_view text(buffer, static_cast<size_t>(end.ptr - buffer));
    *out += text;
    *out += text.find_first_of(".e") == std::string_view::npos ? ".0" : "";
  } else if (const std::string* text = value.as_string()) {
    append_json_string(out, *text);
  } else {
    return false;
  }
  return true;
}

}  // namespace

MaybeError apply_plain(MapState& state, const Field& field, const JsonValue& value) {
  Message* message = state.root;
  std::string_view rest = field.proto_path;
  for (size_t dot; (dot = rest.find('.')) != std::string_view::npos; rest.remove_prefix(dot + 1)) {
    const auto* step = message->GetDescriptor()->FindFieldByName(std::string(rest.substr(0, dot)));
    STET_CHECK(step != nullptr, "the table names a proto path that does not exist");
    message = message->GetReflection()->MutableMessage(message, step);
  }
  const auto* target = message->GetDescriptor()->FindFieldByName(std::string(rest));
  STET_CHECK(target != nullptr, "the table names a proto path that does not exist");
  return set_field(message, target, field.name, value);
}

MaybeError apply_ignored(MapState&, const Field&, const JsonValue&) {
  return std::nullopt;
}

MaybeError apply_refused(MapState&, const Field& field, const JsonValue&) {
  return unsupported_value(field.name, "");
}

MaybeError apply_max_tokens(MapState& state, const Field& field, const JsonValue& value) {
  return read_uint32(value, field.name, &state.max_tokens.emplace());
}

MaybeError apply_max_completion_tokens(MapState& state, const Field& field,
                                       const JsonValue& value) {
  return read_uint32(value, field.name, &state.max_completion_tokens.emplace());
}

// -1 = off, as 0 (vLLM's way to write it).
MaybeError apply_top_k(MapState& state, const Field& field, const JsonValue& value) {
  int64_t number = 0;
  if (auto error = read_int(value, field.name, -1, std::numeric_limits<uint32_t>::max(), &number)) {
    return error;
  }
  state.sampling->set_top_k(static_cast<uint32_t>(std::max<int64_t>(number, 0)));
  return std::nullopt;
}

MaybeError apply_seed(MapState& state, const Field& field, const JsonValue& value) {
  int64_t number = 0;
  if (auto error = read_int(value, field.name, std::numeric_limits<int64_t>::min(),
                            std::numeric_limits<int64_t>::max(), &number)) {
    return error;
  }
  state.sampling->set_seed(static_cast<uint64_t>(number));  // two's complement
  return std::nullopt;
}

MaybeError apply_logit_bias(MapState& state, const Field& field, const JsonValue& value) {
  const JsonValue::Object* members = value.as_object();
  if (members == nullptr) {
    return wrong_type(field.name, "an object of token id to bias", value);
  }
  for (const JsonMember& member : *members) {
    const std::string path = member_path(field.name, member.name);
    uint32_t id = 0;
    const char* end = member.name.data() + member.name.size();
    const auto parsed = std::from_chars(member.name.data(), end, id);
    if (parsed.ec != std::errc() || parsed.ptr != end ||
        (member.name.size() > 1 && member.name[0] == '0')) {
      return invalid_type(path, "'" + path + "': the names must be token ids, as \"1234\"");
    }
    float bias = 0;
    if (auto error = read_float(member.value, path, &bias)) {
      return error;
    }
    (*state.sampling->mutable_logit_bias())[id] = bias;
  }
  return std::nullopt;
}

MaybeError apply_stop(MapState& state, const Field& field, const JsonValue& value) {
  auto* strings = state.call->route == ApiRoute::kChat
                      ? state.call->chat.mutable_stop()->mutable_strings()
                      : state.call->generate.mutable_stop()->mutable_strings();
  if (const std::string* one = value.as_string()) {
    *strings->Add() = *one;
    return std::nullopt;
  }
  const JsonValue::Array* items = value.as_array();
  if (items == nullptr) {
    return wrong_type(field.name, "a string or an array of strings", value);
  }
  for (size_t i = 0; i < items->size(); ++i) {
    if (auto error = read_string((*items)[i], item_path(field.name, i), strings->Add())) {
      return error;
    }
  }
  return std::nullopt;
}

MaybeError apply_stream(MapState& state, const Field& field, const JsonValue& value) {
  return read_bool(value, field.name, &state.call->shape.stream);
}

MaybeError apply_stream_options(MapState& state, const Field& field, const JsonValue& value) {
  const JsonValue::Object* members = value.as_object();
  if (members == nullptr) {
    return wrong_type(field.name, "an object", value);
  }
  state.has_stream_options = true;
  AnswerShape& shape = state.call->shape;
  for (const JsonMember& member : *members) {
    const std::string path = member_path(field.name, member.name);
    bool* flag = member.name == "include_usage"            ? &shape.include_usage
                 : member.name == "continuous_usage_stats" ? &shape.continuous_usage
                                                           : nullptr;
    if (flag == nullptr && member.name != "include_obfuscation") {
      return unknown_parameter(path);
    }
    if (flag != nullptr && !member.value.is_null()) {
      if (auto error = read_bool(member.value, path, flag)) {
        return error;
      }
    }
  }
  return std::nullopt;
}

MaybeError apply_chat_logprobs(MapState& state, const Field& field, const JsonValue& value) {
  return read_bool(value, field.name, &state.call->shape.logprobs);
}

MaybeError apply_top_logprobs(MapState& state, const Field& field, const JsonValue& value) {
  return read_uint32(value, field.name, &state.num_top_logprobs.emplace());
}

MaybeError apply_completion_logprobs(MapState& state, const Field& field, const JsonValue& value) {
  state.call->shape.logprobs = true;
  return read_uint32(value, field.name, &state.num_top_logprobs.emplace());
}

MaybeError apply_return_token_ids(MapState& state, const Field& field, const JsonValue& value) {
  auto error = read_bool(value, field.name, &state.call->shape.token_ids);
  if (!error) {
    state.output->set_prompt_token_ids(state.call->shape.token_ids);
  }
  return error;
}

MaybeError apply_tokens_as_ids(MapState& state, const Field& field, const JsonValue& value) {
  return read_bool(value, field.name, &state.call->shape.tokens_as_ids);
}

// HTTP: lower first, default 0 (as in vLLM). gRPC: class 0..7, 7 first, default 4.
MaybeError apply_priority(MapState& state, const Field& field, const JsonValue& value) {
  int64_t number = 0;
  if (auto error = read_int(value, field.name, std::numeric_limits<int32_t>::min(),
                            std::numeric_limits<int32_t>::max(), &number)) {
    return error;
  }
  auto* scheduling = state.call->route == ApiRoute::kChat
                         ? state.call->chat.mutable_scheduling()
                         : state.call->generate.mutable_scheduling();
  scheduling->set_priority_class(static_cast<uint32_t>(std::clamp<int64_t>(4 - number, 0, 7)));
  return std::nullopt;
}

bool is_request_id(std::string_view text) {
  return !text.empty() && text.size() <= 128 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == ':' || c == '-';
  });
}

// Checked here already: it goes into headers and ids.
MaybeError apply_request_id(MapState& state, const Field& field, const JsonValue& value) {
  if (auto error = apply_plain(state, field, value)) {
    return error;
  }
  if (!is_request_id(state.call->request_id())) {
    return invalid_value("request_id", "'request_id' must be 1 to 128 of A-Z a-z 0-9 . _ : -");
  }
  return std::nullopt;
}

MaybeError apply_template_kwargs(MapState& state, const Field& field, const JsonValue& value) {
  const JsonValue::Object* members = value.as_object();
  if (members == nullptr) {
    return wrong_type(field.name, "an object of scalars", value);
  }
  std::string json;
  for (const JsonMember& member : *members) {
    json += json.empty() ? "{" : ",";
    append_json_string(&json, member.name);
    json += ':';
    if (!append_scalar(member.value, &json)) {
      return wrong_type(member_path(field.name, member.name), "a scalar", member.value);
    }
  }
  if (!json.empty()) {
    state.call->chat.set_template_kwargs_json(json + "}");
  }
  return std::nullopt;
}

// A string or token ids; a list of one prompt is that prompt, more come with a later release.
MaybeError apply_prompt(MapState& state, const Field& field, const JsonValue& value) {
  v1::GenerateRequest& request = state.call->generate;
  if (const std::string* text = value.as_string()) {
    request.set_text(*text);
    return std::nullopt;
  }
  const JsonValue::Array* items = value.as_array();
  if (items == nullptr) {
    return wrong_type(field.name, "a string or an array of token ids", value);
  }
  if (items->empty()) {
    return invalid_value("prompt", "'prompt' is empty, expected at least one token");
  }
  const bool is_list = (*items)[0].as_string() != nullptr || (*items)[0].as_array() != nullptr;
  if (is_list && items->size() > 1) {
    return unsupported_value("prompt", "one prompt per request");
  }
  if (is_list) {
    if (const JsonValue::Array* inner = (*items)[0].as_array();
        inner != nullptr && !inner->empty() && !(*inner)[0].is_number()) {
      return wrong_type(item_path(item_path(field.name, 0), 0), "an integer", (*inner)[0]);
    }
    return apply_prompt(state, field, (*items)[0]);
  }
  auto* ids = request.mutable_tokens()->mutable_ids();
  ids->Reserve(static_cast<int>(items->size()));
  for (size_t i = 0; i < items->size(); ++i) {
    uint32_t id = 0;
    if (auto error = read_uint32((*items)[i], item_path(field.name, i), &id)) {
      return error;
    }
    ids->Add(id);
  }
  return std::nullopt;
}

MaybeError apply_only_false(MapState&, const Field& field, const JsonValue& value) {
  bool flag = false;
  if (auto error = read_bool(value, field.name, &flag)) {
    return error;
  }
  return flag ? MaybeError(unsupported_value(field.name, "false")) : std::nullopt;
}

MaybeError apply_only_empty(MapState&, const Field& field, const JsonValue& value) {
  const JsonValue::Array* items = value.as_array();
  if (items == nullptr) {
    return wrong_type(field.name, "an array", value);
  }
  return items->empty() ? std::nullopt
                        : MaybeError(unsupported_value(field.name, "an empty array"));
}

MaybeError apply_tool_choice(MapState&, const Field& field, const JsonValue& value) {
  if (value.as_string() == nullptr && value.as_object() == nullptr) {
    return wrong_type(field.name, "a string or an object", value);
  }
  const std::string* text = value.as_string();
  return text != nullptr && *text == "none" ? std::nullopt
                                            : MaybeError(unsupported_value(field.name, "\"none\""));
}

MaybeError apply_response_format(MapState&, const Field& field, const JsonValue& value) {
  const JsonValue::Object* members = value.as_object();
  if (members == nullptr) {
    return wrong_type(field.name, "an object", value);
  }
  const auto type = std::find_if(members->begin(), members->end(),
                                 [](const auto& m) { return m.name == "type"; });
  if (type == members->end()) {
    return missing_parameter("response_format.type");
  }
  std::string text;
  if (auto error = read_string(type->value, "response_format.type", &text)) {
    return error;
  }
  if (text != "text") {
    return unsupported_value(field.name, "{\"type\":\"text\"}");
  }
  return members->size() == 1
             ? std::nullopt
             : MaybeError(unknown_parameter(member_path(
                   field.name, (*members)[members->front().name == "type" ? 1 : 0].name)));
}

MaybeError apply_modalities(MapState&, const Field& field, const JsonValue& value) {
  const JsonValue::Array* items = value.as_array();
  if (items == nullptr) {
    return wrong_type(field.name, "an array of strings", value);
  }
  const bool text_only =
      items->size() == 1 && (*items)[0].as_string() && *(*items)[0].as_string() == "text";
  return text_only ? std::nullopt : MaybeError(unsupported_value(field.name, "[\"text\"]"));
}

MaybeError apply_best_of(MapState& state, const Field& field, const JsonValue& value) {
  return read_int(value, field.name, 0, std::numeric_limits<uint32_t>::max(),
                  &state.best_of.emplace());
}

}  // namespace stet::proxy
