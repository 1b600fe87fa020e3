// Chat templates: a bounded interpreter of the Jinja subset that model files use. It keeps the
// origin of every string, so that rendered output is a list of segments, template text or data.
// Immutable; thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "stet/base/status.h"
#include "stet/text/tokenizer.h"

namespace stet::text {

struct ToolCall {
  std::string id, name, arguments_json;
};
struct ChatMessage {
  std::string role;
  std::string content;
  bool has_content = true;  // false: null (assistant with tool calls)
  std::string name, tool_call_id;
  std::vector<ToolCall> tool_calls;
};
struct ChatInput {
  std::vector<ChatMessage> messages;
  bool add_generation_prompt = true;
  bool continue_final_message = false;  // the last message's text is left open
  std::string kwargs_json;              // object of scalars, or empty
  std::string bos_token, eos_token;     // template text
  int64_t now_unix_s = 0;               // for strftime_now (UTC)
};

struct TemplateLimits {
  uint64_t max_steps = 200'000;
  uint64_t max_output_bytes = 16u << 20;
  uint32_t max_depth = 64;
};

class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;
  // Parse errors give line and column and name what is not supported.
  static Result<std::shared_ptr<const ChatTemplate>> parse(std::string_view source);
  // INVALID_ARGUMENT: raise_exception of the template, or a limit; the message is fit for a client.
  virtual Result<std::vector<TextSegment>> render(const ChatInput& input,
                                                  const TemplateLimits& limits) const = 0;
  virtual const std::string& source() const = 0;
  // True if the template reads variable `name` (allow-list of kwargs).
  virtual bool uses_variable(std::string_view name) const = 0;
};

// The rule used when a file has no template: Gemma's turns
// ("<start_of_turn>role\n...<end_of_turn>\n", system text in front of the user's) if the vocabulary
// has these two as control tokens, else ChatML
// ("<|im_start|>role\n...<|im_end|>\n").
struct DefaultTemplate {
  std::string_view name;    // for people
  std::string_view source;  // of static storage
};
DefaultTemplate default_chat_template(const std::function<bool(std::string_view name)>& is_control);

// The control token that the template puts behind an assistant's answer (part of the
// end-of-generation set), or -1.
int64_t end_of_turn_id(const ChatTemplate& chat_template, const Tokenizer& tokenizer,
                       std::string_view bos_token, std::string_view eos_token);

}  // namespace stet::text
