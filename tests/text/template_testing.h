// What the template tests share: parsing that must succeed, rendering to one string or to its
// error.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "stet/text/chat_template.h"

namespace stet::text {

// Null and a failed test if `source` does not parse.
std::shared_ptr<const ChatTemplate> parse_ok(std::string_view source);

// The segments' texts put together, or "<CODE>: <message>" of whatever failed, parse or render.
std::string render_text(std::string_view source, const ChatInput& input = {},
                        const TemplateLimits& limits = {});
std::string joined(const std::vector<TextSegment>& segments);

// The default template of vocabularies without turns of their own.
std::string_view chat_ml();

ChatMessage message(std::string role, std::string content);

// Messages as tests/golden/text/template_conversations.py writes them.
std::vector<ChatMessage> messages_from(const nlohmann::json& recorded);

}  // namespace stet::text
