// What surrounds a render: arguments of the request, continued final messages, the variables a
// template reads, the token that ends a turn.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "tests/text/golden_files.h"
#include "tests/text/template_testing.h"

namespace stet::text {
namespace {

using testing::HasSubstr;

constexpr std::string_view kPlain =
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}";

ChatInput continued(const std::string& content) {
  ChatInput input;
  input.messages = {message("user", "Q"), message("assistant", content)};
  input.add_generation_prompt = false;
  input.continue_final_message = true;
  return input;
}

TEST(ChatInput, KwargsAreScalarsOfAnObjectAndMayNotReplaceWhatTheServerSets) {
  const auto with = [](const std::string& kwargs) {
    ChatInput input;
    input.kwargs_json = kwargs;
    return render_text("{{ a }}{{ a is none }}", input);
  };
  EXPECT_EQ(with(""), "False");
  EXPECT_EQ(with("{}"), "False");
  EXPECT_EQ(with(R"({"a": "x"})"), "xFalse");
  EXPECT_EQ(with(R"({"a": 5})"), "5False");
  EXPECT_EQ(with(R"({"a": 1.5})"), "1.5False");
  EXPECT_EQ(with(R"({"a": true})"), "TrueFalse");
  EXPECT_EQ(with(R"({"a": null})"), "NoneTrue");
  EXPECT_EQ(with(R"({"a": 18446744073709551615})"), "1.8446744073709552e+19False");
  for (const char* kwargs : {"[]", "5", "{", "{\"a\": 1", "nonsense", "{\"a\": \"\xFF\"}"}) {
    EXPECT_EQ(with(kwargs), "INVALID_ARGUMENT: chat_template_kwargs must be a JSON object")
        << kwargs;
  }
  for (const char* value : {"[]", "{}", "[1]"}) {
    EXPECT_EQ(
        with("{\"a\": " + std::string(value) + "}"),
        "INVALID_ARGUMENT: chat_template_kwargs.a must be a string, a number, a boolean or null");
  }
  for (const char* name :
       {"messages", "add_generation_prompt", "bos_token", "eos_token", "tools", "documents",
        "range", "namespace", "dict", "raise_exception", "strftime_now"}) {
    EXPECT_EQ(
        with("{\"" + std::string(name) + "\": 1}"),
        "INVALID_ARGUMENT: chat_template_kwargs." + std::string(name) + " is set by the server");
  }
}

TEST(ChatInput, InvalidUtf8IsRefusedByField) {
  const std::string bad = "\xC3";
  const auto refused = [](const ChatInput& input) { return render_text(kPlain, input); };
  ChatInput input;
  input.messages = {message("user", "fine"), message("user", bad)};
  EXPECT_EQ(refused(input), "INVALID_ARGUMENT: messages[1].content is no valid UTF-8");
  input.messages[1] = message(bad, "");
  EXPECT_EQ(refused(input), "INVALID_ARGUMENT: messages[1].role is no valid UTF-8");
  input.messages[1] = message("user", "");
  input.messages[1].name = bad;
  EXPECT_EQ(refused(input), "INVALID_ARGUMENT: messages[1].name is no valid UTF-8");
  input.messages[1] = message("user", "");
  input.messages[1].tool_call_id = bad;
  EXPECT_EQ(refused(input), "INVALID_ARGUMENT: messages[1].tool_call_id is no valid UTF-8");
  input.messages[1] = message("user", "");
  for (const auto& [call, field] : {std::pair{ToolCall{bad, "", ""}, "id"},
                                    {ToolCall{"", bad, ""}, "name"},
                                    {ToolCall{"", "", bad}, "arguments_json"}}) {
    input.messages[1].tool_calls = {call};
    EXPECT_EQ(refused(input), "INVALID_ARGUMENT: messages[1].tool_calls." + std::string(field) +
                                  " is no valid UTF-8");
  }
  input.messages.clear();
  input.eos_token = bad;
  EXPECT_EQ(refused(input), "INVALID_ARGUMENT: bos_token or eos_token is no valid UTF-8");
  EXPECT_EQ(render_text(bad), "INVALID_ARGUMENT: chat template: no valid UTF-8");
}

TEST(ChatInput, AContinuedMessageIsCutBehindItsText) {
  EXPECT_EQ(render_text(kPlain, continued("The answer")), "<user>Q</><assistant>The answer");
  EXPECT_EQ(render_text(kPlain, continued("Q")), "<user>Q</><assistant>Q")
      << "not at an earlier copy";
  EXPECT_EQ(render_text(kPlain, continued("</>")), "<user>Q</><assistant></>");
  EXPECT_EQ(
      render_text("{% for m in messages %}{{ m.content|trim }}|{% endfor %}", continued(" a ")),
      "Q|a");
}

TEST(ChatInput, AnEmptyFinalMessageIsContinuedWhereItsTextWouldStand) {
  for (const char* empty : {"", " ", "\n\t"}) {
    EXPECT_EQ(render_text(kPlain, continued(empty)), "<user>Q</><assistant>");
  }
}

TEST(ChatInput, ContinuingNeedsAFinalMessageThatIsPrinted) {
  ChatInput input = continued("x");
  input.add_generation_prompt = true;
  EXPECT_EQ(
      render_text(kPlain, input),
      "INVALID_ARGUMENT: add_generation_prompt and continue_final_message exclude each other");
  input = continued("x");
  input.messages.back().has_content = false;
  EXPECT_EQ(render_text(kPlain, input),
            "INVALID_ARGUMENT: continue_final_message needs a final message with content");
  input.messages.clear();
  EXPECT_EQ(render_text(kPlain, input),
            "INVALID_ARGUMENT: continue_final_message needs a final message with content");
  EXPECT_EQ(render_text("{{ messages[0].content }}", continued("x")),
            "INVALID_ARGUMENT: continue_final_message: the chat template does not print the final "
            "message's text");
}

TEST(ChatInput, AContinuedMessageIsDataLikeAnyOther) {
  const auto segments = parse_ok(kPlain)->render(continued("<s>"), {});
  ASSERT_TRUE(segments.ok());
  EXPECT_EQ(segments->back(), (TextSegment{"<s>", false}));
}

TEST(ChatInput, TheVariablesATemplateReadsAreKnown) {
  const auto parsed = parse_ok(
      "{% set a = given %}{{ a }}{% for x in messages %}{{ x }}{{ loop.index }}{% endfor %}"
      "{% if flag is defined %}{% endif %}{% macro m(p) %}{{ p }}{{ inner }}{% endmacro %}{{ "
      "'text' }}");
  for (const char* name : {"given", "messages", "flag", "inner"}) {
    EXPECT_TRUE(parsed->uses_variable(name)) << name;
  }
  for (const char* name : {"x", "m", "p", "text", "nosuch", "loop.index", ""}) {
    EXPECT_FALSE(parsed->uses_variable(name)) << name;
  }
}

TEST(ChatInput, TheTokenBehindAnAnswerEndsTheTurn) {
  const auto tokenizer =
      *Tokenizer::create(tiny_spec(read_golden("tokenizer_tiny.json"), "smollm"));
  const auto end_of = [&](std::string_view source) {
    return end_of_turn_id(*parse_ok(source), *tokenizer, "<|endoftext|>", "<|im_end|>");
  };
  const int64_t im_end = tokenizer->find_special("<|im_end|>");
  ASSERT_GE(im_end, 0);
  EXPECT_EQ(end_of(chat_ml()), im_end);
  EXPECT_EQ(end_of("{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"), im_end);
  EXPECT_EQ(end_of("{% for m in messages %}{{ m.content|trim }} \n<|im_end|>{% endfor %}"), im_end);
  EXPECT_EQ(end_of("{% for m in messages %}{{ m.content }}</turn>{% endfor %}"), -1)
      << "no special token";
  EXPECT_EQ(end_of("{% for m in messages %}{{ m.content }}{% endfor %}"), -1);
  EXPECT_EQ(end_of("{{ messages[0].content }}<|im_end|>"), -1) << "answers are not printed";
  EXPECT_EQ(end_of("{{ raise_exception('no') }}"), -1);
}

TEST(ChatInput, TheDefaultTemplateIsChatMl) {
  ChatInput input;
  input.messages = {message("system", "S"), message("user", "U")};
  EXPECT_EQ(
      render_text(chat_ml(), input),
      "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_THAT(parse_ok(chat_ml())->source(), HasSubstr("<|im_start|>"));
}

TEST(ChatInput, TheDefaultTemplateOfAVocabularyWithGemmasTurnsIsGemmas) {
  const auto chosen = [](std::vector<std::string_view> control) {
    return default_chat_template([&](std::string_view name) {
      return std::find(control.begin(), control.end(), name) != control.end();
    });
  };
  EXPECT_EQ(chosen({}).name, "ChatML");
  EXPECT_EQ(chosen({"<start_of_turn>", "<|im_end|>"}).name, "ChatML");
  const DefaultTemplate gemma = chosen({"<end_of_turn>", "<start_of_turn>"});
  EXPECT_EQ(gemma.name, "Gemma's turn format");
  const auto golden = read_golden("template_chats.json");
  EXPECT_EQ(gemma.source, golden["templates"]["gemma_default"].get<std::string>());
  ChatInput input;
  input.bos_token = "<bos>";
  input.messages = {message("system", "S"),    message("user", " U "), message("assistant", "A"),
                    message("developer", "D"), message("tool", "T"),   message("system", "E")};
  EXPECT_EQ(render_text(gemma.source, input),
            "<bos><start_of_turn>user\nS\n\nU<end_of_turn>\n<start_of_turn>model\nA<end_of_turn>\n"
            "<start_of_turn>user\nD\n\nT<end_of_turn>\n<start_of_turn>user\nE<end_of_turn>\n"
            "<start_of_turn>model\n");
}

// Where Gemma 3's own template takes a conversation of roles it knows, the default one gives the
// same text. (What other roles say, and a system that speaks late, the default hands to the user.)
TEST(ChatInput, TheDefaultTemplateOfGemmaAgreesWithGemma3s) {
  const auto golden = read_golden("template_chats.json");
  const auto has_known_roles = [&golden](const nlohmann::json& one) {
    const auto& messages =
        golden["conversations"][one["conversation"].get<std::string>()]["messages"];
    return std::all_of(messages.begin(), messages.end(), [&](const nlohmann::json& message) {
      return message["role"] == "user" || message["role"] == "assistant" || message == messages[0];
    });
  };
  const auto key = [](nlohmann::json one) {
    one.erase("template");
    one.erase("output");
    return one.dump();
  };
  std::map<std::string, std::string> of_gemma3;
  for (const auto& one : golden["cases"]) {
    if (one["template"] == "gemma3" && one.contains("output") && has_known_roles(one)) {
      of_gemma3[key(one)] = one["output"].get<std::string>();
    }
  }
  EXPECT_GE(of_gemma3.size(), 20u);
  for (const auto& one : golden["cases"]) {
    if (const auto found = of_gemma3.find(key(one));
        one["template"] == "gemma_default" && found != of_gemma3.end()) {
      EXPECT_EQ(one["output"].get<std::string>(), found->second) << one["conversation"];
    }
  }
}

TEST(ChatInput, RenderingTheSameTwiceGivesTheSame) {
  const auto parsed = parse_ok(kPlain);
  const ChatInput input = continued("x");
  EXPECT_EQ(*parsed->render(input, {}), *parsed->render(input, {}));
}

}  // namespace
}  // namespace stet::text
