// Messages and template arguments of a ChatRequest.
#include <array>
#include <string>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include "src/server/validate_parts.h"

namespace stet::server {
namespace {

using nlohmann::json;

constexpr std::array<std::string_view, 5> kRoles = {"system", "developer", "user", "assistant",
                                                    "tool"};
// What the server sets itself: a client may not replace it.
constexpr std::array<std::string_view, 8> kReservedNames = {
    "messages",  "tools",     "documents",      "add_generation_prompt", "continue_final_message",
    "bos_token", "eos_token", "raise_exception"};
constexpr size_t kMaxKwargsBytes = 64u << 10;

template <size_t kSize>
bool contains(const std::array<std::string_view, kSize>& list, std::string_view value) {
  for (const std::string_view item : list) {
    if (item == value) {
      return true;
    }
  }
  return false;
}

void tool_calls(ValidationContext& context, const v1::ChatMessage& in, const std::string& path,
                text::ChatMessage* out) {
  if (in.tool_calls_size() > 0 && in.role() != "assistant") {
    context.violations->add(reason::kMalformed, path + ".tool_calls",
                            "only a message of role assistant has tool calls");
  }
  for (int i = 0; i < in.tool_calls_size() && !context.violations->full(); ++i) {
    const v1::ToolCall& call = in.tool_calls(i);
    const std::string where = path + ".tool_calls[" + std::to_string(i) + "]";
    if (call.name().empty()) {
      context.violations->add(reason::kMalformed, where + ".name", "must be set");
    }
    if (!call.arguments_json().empty() && !json::accept(call.arguments_json())) {
      context.violations->add(reason::kMalformed, where + ".arguments_json", "must be valid JSON");
    }
    out->tool_calls.push_back({call.id(), call.name(), call.arguments_json()});
  }
}

// Text parts are joined by line breaks.
void content(ValidationContext& context, const v1::ChatMessage& in, const std::string& path,
             text::ChatMessage* out) {
  out->has_content = in.content_size() > 0;
  if (!out->has_content && in.tool_calls_size() == 0) {
    context.violations->add(reason::kMalformed, path + ".content",
                            "must have at least one part (a part of empty text for empty content)");
  }
  for (int i = 0; i < in.content_size() && !context.violations->full(); ++i) {
    if (in.content(i).part_case() != v1::ContentPart::kText) {
      context.violations->add(reason::kMalformed, path + ".content[" + std::to_string(i) + "]",
                              "must be a text part");
      continue;
    }
    if (i > 0) {
      out->content += '\n';
    }
    out->content += in.content(i).text();
  }
}

text::ChatMessage message(ValidationContext& context, const v1::ChatMessage& in, int index) {
  const std::string path = "messages[" + std::to_string(index) + "]";
  text::ChatMessage out;
  if (!contains(kRoles, in.role())) {
    context.violations->add(reason::kOutOfRange, path + ".role",
                            "'" + clipped(in.role(), 40) +
                                "': must be one of system, developer, user, assistant, tool");
  }
  out.role = in.role();
  content(context, in, path, &out);
  out.name = in.name();
  out.tool_call_id = in.tool_call_id();
  if (!in.tool_call_id().empty() && in.role() != "tool") {
    context.violations->add(reason::kMalformed, path + ".tool_call_id",
                            "only a message of role tool answers a call");
  }
  tool_calls(context, in, path, &out);
  return out;
}

// The object, or null and a violation. Duplicate keys are refused: which one would count?
json parse_object(ValidationContext& context, const std::string& text, const char* field) {
  std::vector<std::string> keys;
  std::string duplicate;
  const auto on_event = [&](int depth, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::key && depth == 1) {
      const auto& key = parsed.get_ref<const std::string&>();
      for (const std::string& seen : keys) {
        if (seen == key) {
          duplicate = key;
        }
      }
      keys.push_back(key);
    }
    return true;
  };
  json value = json::parse(text, on_event, /*allow_exceptions=*/false);
  if (!value.is_object()) {
    context.violations->add(reason::kMalformed, field, "must be a JSON object");
    return json(nullptr);
  }
  if (!duplicate.empty()) {
    context.violations->add(reason::kMalformed, field,
                            "key '" + clipped(duplicate, 40) + "' is given twice");
  }
  return value;
}

void template_kwargs(ValidationContext& context, const std::string& text, text::ChatInput* out) {
  constexpr const char* kField = "template_kwargs_json";
  if (text.empty()) {
    return;
  }
  if (text.size() > kMaxKwargsBytes) {
    context.violations->add(
        reason::kOutOfRange, kField,
        std::to_string(text.size()) + " bytes: must be in 0.." + std::to_string(kMaxKwargsBytes));
    return;
  }
  const json object = parse_object(context, text, kField);
  for (const auto& [key, value] : object.items()) {
    const std::string path = std::string(kField) + "." + clipped(key, 40);
    if (contains(kReservedNames, key)) {
      context.violations->add(reason::kUnsupported, path, "is set by the server");
    } else if (!context.model.chat_template->uses_variable(key)) {
      context.violations->add(reason::kUnsupported, path,
                              "the model's chat template does not use it");
    } else if (!value.is_primitive()) {
      context.violations->add(reason::kOutOfRange, path,
                              "must be a string, number, true, false or null");
    }
  }
  out->kwargs_json = text;
}

}  // namespace

void validate_messages(ValidationContext& context, const v1::ChatRequest& in, CallSpec* out) {
  text::ChatInput chat;
  const int count = in.messages_size();
  if (count == 0 || static_cast<uint32_t>(count) > context.limits.max_messages) {
    context.violations->add(reason::kOutOfRange, "messages",
                            std::to_string(count) + " messages: must be in 1.." +
                                std::to_string(context.limits.max_messages));
  } else {
    for (int i = 0; i < count && !context.violations->full(); ++i) {
      chat.messages.push_back(message(context, in.messages(i), i));
    }
  }
  chat.continue_final_message = in.continue_final_message();
  chat.add_generation_prompt =
      in.has_add_generation_prompt() ? in.add_generation_prompt() : !chat.continue_final_message;
  if (chat.continue_final_message && chat.add_generation_prompt) {
    context.violations->add(reason::kMalformed, "continue_final_message",
                            "excludes add_generation_prompt: the last message is left open");
  }
  template_kwargs(context, in.template_kwargs_json(), &chat);

  const auto refuse = [&](bool present, const char* field) {
    if (present) {
      context.violations->add(reason::kUnsupported, field, "this server does not serve it");
    }
  };
  refuse(!in.tools_json().empty(), "tools_json");
  refuse(!in.tool_choice_json().empty(), "tool_choice_json");
  refuse(in.has_parallel_tool_calls(), "parallel_tool_calls");
  out->prompt = std::move(chat);
}

}  // namespace stet::server
