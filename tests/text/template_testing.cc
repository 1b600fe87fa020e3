#include "tests/text/template_testing.h"

#include <gtest/gtest.h>

namespace stet::text {

std::shared_ptr<const ChatTemplate> parse_ok(std::string_view source) {
  auto parsed = ChatTemplate::parse(source);
  EXPECT_TRUE(parsed.ok()) << parsed.status().to_string();
  return parsed.ok() ? *parsed : nullptr;
}

std::string joined(const std::vector<TextSegment>& segments) {
  std::string text;
  for (const TextSegment& segment : segments) {
    text += segment.text;
  }
  return text;
}

std::string render_text(std::string_view source, const ChatInput& input,
                        const TemplateLimits& limits) {
  const auto parsed = ChatTemplate::parse(source);
  if (!parsed.ok()) {
    return parsed.status().to_string();
  }
  const auto segments = (*parsed)->render(input, limits);
  return segments.ok() ? joined(*segments) : segments.status().to_string();
}

std::string_view chat_ml() {
  return default_chat_template([](std::string_view) { return false; }).source;
}

ChatMessage message(std::string role, std::string content) {
  ChatMessage made;
  made.role = std::move(role);
  made.content = std::move(content);
  return made;
}

std::vector<ChatMessage> messages_from(const nlohmann::json& recorded) {
  std::vector<ChatMessage> messages;
  for (const auto& one : recorded) {
    ChatMessage& made = messages.emplace_back();
    made.role = one["role"].get<std::string>();
    made.has_content = !one["content"].is_null();
    made.content = made.has_content ? one["content"].get<std::string>() : "";
    made.name = one.value("name", "");
    made.tool_call_id = one.value("tool_call_id", "");
    for (const auto& call : one.value("tool_calls", nlohmann::json::array())) {
      made.tool_calls.push_back({call["id"].get<std::string>(), call["name"].get<std::string>(),
                                 call["arguments_json"].get<std::string>()});
    }
  }
  return messages;
}

}  // namespace stet::text
