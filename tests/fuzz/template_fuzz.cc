// Any bytes as a chat template over any messages: a text, or one line that says why not; no crash,
// no sanitizer finding, bounded time and memory. The input up to the first 0xFF byte is the
// template, the rest the messages' texts (0xFF is in no UTF-8, so it separates).
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "stet/text/chat_template.h"
#include "stet/text/detokenizer.h"

namespace {

using stet::text::ChatInput;
using stet::text::ChatTemplate;

constexpr size_t kMaxStatusBytes = 1024;

void expect(bool condition) {
  if (!condition) {
    std::abort();
  }
}

void expect_client_message(const stet::Status& status) {
  expect(status.code() == stet::StatusCode::kInvalidArgument);
  expect(status.message().find('\n') == std::string::npos);
  expect(status.message().size() <= kMaxStatusBytes);
  expect(stet::text::is_valid_utf8(status.message()));
}

ChatInput make_input(const std::vector<std::string>& parts) {
  static constexpr const char* kRoles[] = {"system", "user", "assistant", "tool", "critic"};
  ChatInput input;
  for (size_t i = 1; i < parts.size() && i < 8; ++i) {
    auto& message = input.messages.emplace_back();
    message.role = kRoles[i % 5];
    stet::text::append_utf8_lossy(parts[i], &message.content);
    message.name = i % 2 == 0 ? message.content : "";
    if (i % 3 == 0) {
      message.tool_calls.push_back({"id", "f", message.content});
    }
  }
  input.bos_token = "<s>";
  input.eos_token = "</s>";
  input.now_unix_s = 1785575107;
  return input;
}

void render(const ChatTemplate& parsed, const ChatInput& input) {
  const stet::text::TemplateLimits limits{20'000, 1u << 16, 16};
  const auto segments = parsed.render(input, limits);
  if (!segments.ok()) {
    return expect_client_message(segments.status());
  }
  size_t num_bytes = 0;
  for (const auto& segment : *segments) {
    expect(stet::text::is_valid_utf8(segment.text));
    num_bytes += segment.text.size();
  }
  expect(num_bytes <= limits.max_output_bytes);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<std::string> parts(1);
  std::for_each(data, data + size, [&parts](uint8_t byte) {
    if (byte == 0xFF) {
      parts.emplace_back();
    } else {
      parts.back().push_back(static_cast<char>(byte));
    }
  });
  const auto parsed = ChatTemplate::parse(parts[0]);
  if (!parsed.ok()) {
    expect_client_message(parsed.status());
    return 0;
  }
  ChatInput input = make_input(parts);
  render(**parsed, input);
  input.add_generation_prompt = false;
  input.continue_final_message = !input.messages.empty();
  render(**parsed, input);
  return 0;
}
