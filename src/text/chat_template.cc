#include "stet/text/chat_template.h"

#include "stet/text/detokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "src/text/jinja_interpreter.h"
#include "src/text/jinja_parser.h"
#include "src/text/jinja_strings.h"
#include "src/text/utf8.h"

namespace stet::text {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxSourceBytes = 1u << 20;  // real templates: up to 30 KiB
constexpr size_t kMaxErrorBytes = 400;        // raise_exception may quote a message

// Stands in for an empty final message, so that there is something to cut at. No text processing
// changes a noncharacter.
constexpr std::string_view kNothing = "\U0010FFFF";

OriginText literal(std::string_view text) {
  return {text, Origin::kTemplate};
}

Status error_status(const std::string& prefix, const std::string& what) {
  std::string message = prefix + what.substr(0, kMaxErrorBytes);
  std::replace(message.begin(), message.end(), '\n', ' ');
  std::string valid;
  append_utf8_lossy(message, &valid);
  return invalid_argument(valid);
}

class DictBuilder {
 public:
  void set(std::string_view name, Value value) { dict_->set(literal(name), std::move(value)); }
  Value take() { return std::shared_ptr<const Dict>(std::move(dict_)); }

 private:
  std::shared_ptr<Dict> dict_ = std::make_shared<Dict>();
};

Value from_json(const Json& json, int depth) {
  if (depth > kMaxNesting) {
    throw JinjaError("a value is nested more than " + std::to_string(kMaxNesting) + " deep");
  }
  switch (json.type()) {
    case Json::value_t::boolean: return json.get<bool>();
    case Json::value_t::number_integer: return json.get<int64_t>();
    case Json::value_t::number_unsigned:
      return json.get<uint64_t>() <= INT64_MAX ? Value(json.get<int64_t>())
                                               : Value(json.get<double>());
    case Json::value_t::number_float: return json.get<double>();
    case Json::value_t::string: return Value::data(json.get_ref<const std::string&>());
    case Json::value_t::array: {
      std::vector<Value> items;
      for (const Json& one : json) {
        items.push_back(from_json(one, depth + 1));
      }
      return Value::list(std::move(items));
    }
    case Json::value_t::object: {
      auto dict = std::make_shared<Dict>();
      for (const auto& [key, value] : json.items()) {
        dict->set(OriginText(key, Origin::kData), from_json(value, depth + 1));
      }
      return std::shared_ptr<const Dict>(std::move(dict));
    }
    default: return None{};
  }
}

// Templates want the arguments of a call as an object, as vLLM hands them over; text that is none
// stays text.
Value arguments_value(const std::string& arguments_json) {
  const Json parsed = Json::parse(arguments_json, nullptr, false);
  return parsed.is_object() ? from_json(parsed, 0) : Value::data(arguments_json);
}

Value tool_calls_value(const std::vector<ToolCall>& calls) {
  std::vector<Value> values;
  for (const ToolCall& call : calls) {
    DictBuilder function;
    function.set("name", Value::data(call.name));
    function.set("arguments", arguments_value(call.arguments_json));
    DictBuilder value;
    if (!call.id.empty()) {
      value.set("id", Value::data(call.id));
    }
    value.set("type", literal("function"));
    value.set("function", function.take());
    values.push_back(value.take());
  }
  return Value::list(std::move(values));
}

// Roles of the closed set may be part of a special token ("<|" + role + "|>"); any other text may
// not.
OriginText role_text(const std::string& role) {
  static constexpr std::string_view kRoles[] = {"system", "developer", "user", "assistant", "tool"};
  const bool known = std::find(std::begin(kRoles), std::end(kRoles), role) != std::end(kRoles);
  return {role, known ? Origin::kTemplate : Origin::kData};
}

Value message_value(const ChatMessage& message, const Value& content) {
  DictBuilder value;
  value.set("role", role_text(message.role));
  value.set("content", content);
  if (!message.name.empty()) {
    value.set("name", Value::data(message.name));
  }
  if (!message.tool_call_id.empty()) {
    value.set("tool_call_id", Value::data(message.tool_call_id));
  }
  if (!message.tool_calls.empty()) {
    value.set("tool_calls", tool_calls_value(message.tool_calls));
  }
  return value.take();
}

Status check_utf8(const ChatInput& input) {
  auto check = [](const std::string& text, size_t message, const char* field) {
    return is_valid_utf8(text) ? Status()
                               : invalid_argument("messages[" + std::to_string(message) + "]." +
                                                  field + " is no valid UTF-8");
  };
  for (size_t i = 0; i < input.messages.size(); ++i) {
    const ChatMessage& message = input.messages[i];
    STET_RETURN_IF_ERROR(check(message.role, i, "role"));
    STET_RETURN_IF_ERROR(check(message.content, i, "content"));
    STET_RETURN_IF_ERROR(check(message.name, i, "name"));
    STET_RETURN_IF_ERROR(check(message.tool_call_id, i, "tool_call_id"));
    for (const ToolCall& call : message.tool_calls) {
      STET_RETURN_IF_ERROR(check(call.id, i, "tool_calls.id"));
      STET_RETURN_IF_ERROR(check(call.name, i, "tool_calls.name"));
      STET_RETURN_IF_ERROR(check(call.arguments_json, i, "tool_calls.arguments_json"));
    }
  }
  if (!is_valid_utf8(input.bos_token) || !is_valid_utf8(input.eos_token)) {
    return invalid_argument("bos_token or eos_token is no valid UTF-8");
  }
  return {};
}

Status set_kwargs(const std::string& kwargs_json, Interpreter* run) {
  if (kwargs_json.empty()) {
    return {};
  }
  const Json parsed = Json::parse(kwargs_json, nullptr, false);
  if (!parsed.is_object()) {
    return invalid_argument("chat_template_kwargs must be a JSON object");
  }
  static constexpr std::string_view kReserved[] = {
      "messages", "add_generation_prompt", "bos_token", "eos_token", "tools", "documents"};
  for (const auto& [name, value] : parsed.items()) {
    if (value.is_structured()) {
      return invalid_argument("chat_template_kwargs." + name +
                              " must be a string, a number, a boolean or null");
    }
    if (find_function(name) != nullptr ||
        std::find(std::begin(kReserved), std::end(kReserved), name) != std::end(kReserved)) {
      return invalid_argument("chat_template_kwargs." + name + " is set by the server");
    }
    run->set_global(name, from_json(value, 0));
  }
  return {};
}

// Byte after (or, for a stand-in, before) what is left of the final message; npos if the template
// does not print it.
size_t end_of_final_message(const OriginText& text, bool stand_in) {
  size_t begin = 0;
  size_t end = std::string::npos;
  for (const OriginText::Run& run : text.runs()) {
    if (run.origin == Origin::kFinal) {
      end = stand_in ? begin : run.end;
    }
    begin = run.end;
  }
  return end;
}

std::vector<TextSegment> to_segments(const OriginText& text, size_t end) {
  std::vector<TextSegment> segments;
  size_t begin = 0;
  for (const OriginText::Run& run : text.runs()) {
    const std::string_view piece =
        std::string_view(text.str()).substr(begin, std::min(run.end, end) - begin);
    const bool is_template = run.origin == Origin::kTemplate;
    if (!segments.empty() && segments.back().is_template == is_template) {
      segments.back().text += piece;
    } else {
      segments.push_back({std::string(piece), is_template});
    }
    begin = run.end;
    if (begin >= end) {
      break;
    }
  }
  return segments;
}

class JinjaTemplate final : public ChatTemplate {
 public:
  JinjaTemplate(std::string source, ParsedTemplate parsed)
      : source_(std::move(source)), parsed_(std::move(parsed)) {}

  const std::string& source() const override { return source_; }
  bool uses_variable(std::string_view name) const override {
    return parsed_.read_names.contains(name) && !parsed_.local_names.contains(name);
  }

  Result<std::vector<TextSegment>> render(const ChatInput& input,
                                          const TemplateLimits& limits) const override {
    STET_RETURN_IF_ERROR(check_utf8(input));
    const bool continues = input.continue_final_message;
    if (continues && input.add_generation_prompt) {
      return invalid_argument(
          "add_generation_prompt and continue_final_message exclude each other");
    }
    if (continues && (input.messages.empty() || !input.messages.back().has_content)) {
      return invalid_argument("continue_final_message needs a final message with content");
    }
    try {
      return render_checked(input, limits);
    } catch (const TemplateRefusal& error) {
      return error_status("the chat template refuses the messages: ", error.what());
    } catch (const JinjaError& error) {
      return error_status("chat template, ", error.what());
    }
  }

 private:
  Result<std::vector<TextSegment>> render_checked(const ChatInput& input,
                                                  const TemplateLimits& limits) const {
    Interpreter run(parsed_, limits, input.now_unix_s);
    STET_RETURN_IF_ERROR(set_kwargs(input.kwargs_json, &run));
    bool stand_in = false;
    std::vector<Value> messages;
    for (const ChatMessage& message : input.messages) {
      Value content = message.has_content ? Value::data(message.content) : Value(None{});
      if (input.continue_final_message && &message == &input.messages.back()) {
        stand_in = strip(*content.text(), nullptr, true, true).empty();
        content = OriginText(stand_in ? kNothing : message.content, Origin::kFinal);
      }
      messages.push_back(message_value(message, content));
    }
    run.set_global("messages", Value::list(std::move(messages)));
    run.set_global("add_generation_prompt", input.add_generation_prompt);
    run.set_global("bos_token", literal(input.bos_token));
    run.set_global("eos_token", literal(input.eos_token));
    run.set_global("tools", None{});  // defined and none, as transformers passes them
    run.set_global("documents", None{});
    const OriginText text = run.run();
    size_t end = text.size();
    if (input.continue_final_message) {
      end = end_of_final_message(text, stand_in);
      if (end == std::string::npos) {
        return invalid_argument(
            "continue_final_message: the chat template does not print the final message's text");
      }
    }
    return to_segments(text, end);
  }

  std::string source_;
  ParsedTemplate parsed_;
};

}  // namespace

Result<std::shared_ptr<const ChatTemplate>> ChatTemplate::parse(std::string_view source) {
  if (source.size() > kMaxSourceBytes) {
    return invalid_argument("chat template: " + std::to_string(source.size()) + " bytes, at most " +
                            std::to_string(kMaxSourceBytes));
  }
  if (!is_valid_utf8(source)) {
    return invalid_argument("chat template: no valid UTF-8");
  }
  try {
    return std::shared_ptr<const ChatTemplate>(
        std::make_shared<JinjaTemplate>(std::string(source), parse_template(source)));
  } catch (const JinjaError& error) {
    return error_status("chat template, ", error.what());
  }
}

int64_t end_of_turn_id(const ChatTemplate& chat_template, const Tokenizer& tokenizer,
                       std::string_view bos_token, std::string_view eos_token) {
  ChatInput input;
  input.messages.resize(2);
  input.messages[0].role = "user";
  input.messages[0].content = "Q";
  input.messages[1].role = "assistant";
  input.messages[1].content = "A";
  input.add_generation_prompt = false;
  input.bos_token = bos_token;
  input.eos_token = eos_token;
  const auto segments = chat_template.render(input, TemplateLimits());
  if (!segments.ok()) {
    return -1;
  }
  const auto answer = std::find(segments->rbegin(), segments->rend(), TextSegment{"A", false});
  if (answer == segments->rend() || answer == segments->rbegin()) {
    return -1;
  }
  TextSegment after = *std::prev(answer);
  after.text.erase(0, std::min(after.text.find_first_not_of(" \n\t"), after.text.size()));
  std::vector<uint32_t> ids;
  const bool encoded = tokenizer.encode(std::span(&after, 1), false, SIZE_MAX, &ids).ok();
  return encoded && !ids.empty() && tokenizer.is_special(ids[0]) ? static_cast<int64_t>(ids[0])
                                                                 : -1;
}

}  // namespace stet::text
