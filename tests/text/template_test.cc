// The interpreter against PyPI `jinja2`: recorded outputs, byte for byte, and recorded failures.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/text/jinja_filters.h"
#include "tests/text/golden_files.h"
#include "tests/text/template_testing.h"

namespace stet::text {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

const nlohmann::json& language() {
  static const nlohmann::json golden = read_golden("template_language.json");
  return golden;
}

const nlohmann::json& chats() {
  static const nlohmann::json golden = read_golden("template_chats.json");
  return golden;
}

ChatInput language_input() {
  ChatInput input;
  input.messages = messages_from(language()["messages"]);
  input.kwargs_json = language()["kwargs"].dump();
  input.bos_token = language()["bos"].get<std::string>();
  input.eos_token = language()["eos"].get<std::string>();
  input.now_unix_s = language()["now_unix_s"].get<int64_t>();
  return input;
}

// Compares with what was recorded; a failure of ours must be a Status that a client may see.
void expect_recorded(const nlohmann::json& recorded, const Result<std::vector<TextSegment>>& made,
                     const std::string& what) {
  if (recorded.contains("output")) {
    const auto expected = recorded["output"].get<std::string>();
    EXPECT_TRUE(made.ok() && joined(*made) == expected)
        << what << "\n  jinja: " << recorded["output"].dump() << "\n  stet:  "
        << (made.ok() ? nlohmann::json(joined(*made)).dump() : made.status().to_string());
    return;
  }
  if (made.ok()) {
    ADD_FAILURE() << what << "\n  expected: " << recorded.dump()
                  << "\n  stet:  " << nlohmann::json(joined(*made)).dump();
    return;
  }
  EXPECT_EQ(made.status().code(), StatusCode::kInvalidArgument) << what;
  if (recorded.contains("raised")) {
    std::string message = recorded["raised"].get<std::string>();
    std::replace(message.begin(), message.end(), '\n', ' ');
    EXPECT_EQ(made.status().message(), "the chat template refuses the messages: " + message)
        << what;
    return;
  }
  EXPECT_THAT(made.status().message(), StartsWith("chat template, line ")) << what;
  if (recorded.contains("refused")) {
    EXPECT_THAT(made.status().message(), HasSubstr(recorded["refused"].get<std::string>())) << what;
  }
}

Result<std::vector<TextSegment>> run(const std::string& source, const ChatInput& input) {
  STET_ASSIGN_OR_RETURN(const auto parsed, ChatTemplate::parse(source));
  return parsed->render(input, {});
}

class LanguageTest : public testing::TestWithParam<std::string> {};

TEST_P(LanguageTest, RendersFailsAndRefusesAsRecorded) {
  const ChatInput input = language_input();
  size_t count = 0;
  for (const auto& one : language()["cases"]) {
    if (one["group"] == GetParam()) {
      expect_recorded(one, run(one["template"].get<std::string>(), input), one["template"].dump());
      ++count;
    }
  }
  EXPECT_GE(count, 10u);
}

std::vector<std::string> groups() {
  std::set<std::string> names;
  for (const auto& one : language()["cases"]) {
    names.insert(one["group"].get<std::string>());
  }
  return {names.begin(), names.end()};
}

std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), ' ', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Groups, LanguageTest, testing::ValuesIn(groups()), test_name);

class ChatsTest : public testing::TestWithParam<std::string> {};

TEST_P(ChatsTest, EveryConversationIsRenderedOrRefusedAsRecorded) {
  const std::string source = chats()["templates"][GetParam()].get<std::string>();
  const auto parsed = parse_ok(source);
  ASSERT_NE(parsed, nullptr);
  size_t count = 0;
  for (const auto& one : chats()["cases"]) {
    if (one["template"] != GetParam()) {
      continue;
    }
    const auto& conversation = chats()["conversations"][one["conversation"].get<std::string>()];
    ChatInput input;
    input.messages = messages_from(conversation["messages"]);
    input.kwargs_json = conversation.value("kwargs_json", "");
    input.bos_token = chats()["bos"].get<std::string>();
    input.eos_token = chats()["eos"].get<std::string>();
    input.continue_final_message = one.value("continue_final_message", false);
    input.add_generation_prompt = one.value("add_generation_prompt", false);
    expect_recorded(one, parsed->render(input, {}), one["conversation"].dump() + one.dump());
    ++count;
  }
  EXPECT_GE(count, 40u);
}

INSTANTIATE_TEST_SUITE_P(Templates, ChatsTest,
                         testing::Values("smollm2", "chatml", "llama3", "gemma", "gemma3",
                                         "gemma_default", "qwen", "mistral", "macros"),
                         test_name);

TEST(Template, EveryFilterAndTestOfJinjaIsKnownOrRefusedByName) {
  size_t known = 0;
  for (const auto& one : language()["filters"]) {
    const auto name = one.get<std::string>();
    known += find_filter(name) != nullptr ? 1 : 0;
    if (find_filter(name) == nullptr) {
      EXPECT_EQ(
          render_text("a\n {{ x|" + name + " }}"),
          "INVALID_ARGUMENT: chat template, line 2:7: filter '" + name + "' is not supported");
    }
  }
  EXPECT_EQ(known, text_filters().size() + sequence_filters().size() + number_filters().size())
      << "a filter that Jinja does not have";
  for (const auto& one : language()["tests"]) {
    const auto name = one.get<std::string>();
    if (find_test(name) == nullptr) {
      EXPECT_EQ(render_text("{{ x is " + name + " }}"),
                "INVALID_ARGUMENT: chat template, line 1:9: test '" + name + "' is not supported");
    }
  }
}

TEST(Template, ErrorsOfALongMessageAreCutAndStayOneLineOfUtf8) {
  ChatInput input;
  input.messages = {message("user", std::string(399, 'a') + "\u00e9\nb")};
  EXPECT_EQ(render_text("{{ raise_exception('x' ~ messages[0].content) }}", input),
            "INVALID_ARGUMENT: the chat template refuses the messages: x" + std::string(399, 'a'));
  input.messages[0].content = "two\nlines";
  EXPECT_EQ(render_text("{{ raise_exception(messages[0].content) }}", input),
            "INVALID_ARGUMENT: the chat template refuses the messages: two lines");
}

}  // namespace
}  // namespace stet::text
