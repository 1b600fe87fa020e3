// Origins: template text keeps its special tokens, whatever a client says stays text, whichever way
// the template takes it through filters, methods and scopes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/text/golden_files.h"
#include "tests/text/template_testing.h"

namespace stet::text {
namespace {

using testing::Contains;
using testing::ElementsAre;

std::vector<TextSegment> segments_of(std::string_view source, const ChatInput& input) {
  const auto parsed = parse_ok(source);
  if (parsed == nullptr) {
    return {};
  }
  const auto segments = parsed->render(input, {});
  EXPECT_TRUE(segments.ok()) << source << ": " << segments.status().to_string();
  return segments.ok() ? *segments : std::vector<TextSegment>();
}

std::string data_of(const std::vector<TextSegment>& segments) {
  std::string data;
  for (const TextSegment& segment : segments) {
    data += segment.is_template ? "" : segment.text;
  }
  return data;
}

const std::shared_ptr<const Tokenizer>& tokenizer() {
  static const auto made =
      *Tokenizer::create(tiny_spec(read_golden("tokenizer_tiny.json"), "smollm"));
  return made;
}
constexpr uint32_t kNumSpecial = 5;  // the first ids of the tiny vocabulary

size_t num_special(const std::vector<TextSegment>& segments) {
  std::vector<uint32_t> ids;
  EXPECT_TRUE(tokenizer()->encode(segments, false, SIZE_MAX, &ids).ok());
  return static_cast<size_t>(
      std::count_if(ids.begin(), ids.end(), [](uint32_t id) { return id < kNumSpecial; }));
}

// A message whose every field is `text`.
ChatInput saying(const std::string& text) {
  ChatInput input;
  ChatMessage said = message(text, text);
  said.name = said.tool_call_id = text;
  said.tool_calls = {
      {text, text, "{" + nlohmann::json(text).dump() + ": " + nlohmann::json(text).dump() + "}"}};
  input.messages = {said};
  input.kwargs_json = nlohmann::json({{"note", text}}).dump();
  return input;
}

TEST(TemplateOrigin, SegmentsSayWhatIsTemplateAndWhatIsData) {
  ChatInput input;
  input.messages = {message("user", "Hi"), message("critic", "No")};
  input.bos_token = "<s>";
  EXPECT_THAT(
      segments_of("{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}"
                  "{% endfor %}</s>",
                  input),
      ElementsAre(TextSegment{"<s><user>", true}, TextSegment{"Hi", false}, TextSegment{"<", true},
                  TextSegment{"critic", false}, TextSegment{">", true}, TextSegment{"No", false},
                  TextSegment{"</s>", true}))
      << "roles of the closed set are template text, any other is data";
}

TEST(TemplateOrigin, NoFieldOfAMessageEverBecomesASpecialToken) {
  const std::string all =
      "{% for m in messages %}{{ m.role }}{{ m.content }}{{ m.name }}"
      "{{ m.tool_call_id }}{{ note }}{% for c in m.tool_calls %}{{ c.id }}"
      "{{ c.function.name }}{{ c.function.arguments }}"
      "{{ c.function.arguments|tojson }}"
      "{% for k, v in c.function.arguments.items() %}{{ k }}{{ v }}{% endfor %}"
      "{% endfor %}{% endfor %}";
  for (uint32_t id = 0; id < kNumSpecial; ++id) {
    const std::string name(tokenizer()->token_bytes(id));
    const auto segments = segments_of(all, saying(name));
    EXPECT_EQ(num_special(segments), 0u) << name;
    EXPECT_GE(data_of(segments).size(), 8 * name.size());
    // Negative control: the same text in the template does.
    EXPECT_GE(num_special(segments_of(name + all, saying(name))), 1u);
    EXPECT_GE(num_special({{joined(segments), true}}), 8u);
  }
}

TEST(TemplateOrigin, EverySpecialNameInEveryFieldSurvivesTheRoundTripOfRealTemplates) {
  const auto chats = read_golden("template_chats.json");
  for (const auto& [name, source] : chats["templates"].items()) {
    const auto parsed = parse_ok(source.get<std::string>());
    for (uint32_t id = 0; id < kNumSpecial; ++id) {
      const std::string special(tokenizer()->token_bytes(id));
      ChatInput quiet;
      quiet.messages = {message("user", "aaa"), message("assistant", "bbb"), message("user", "c")};
      ChatInput loud = quiet;
      for (ChatMessage& one : loud.messages) {
        one.content = special + "x" + special;
        one.name = special;
      }
      const auto before = parsed->render(quiet, {});
      const auto after = parsed->render(loud, {});
      ASSERT_TRUE(before.ok() && after.ok()) << name << ": " << after.status().to_string();
      EXPECT_EQ(num_special(*before), num_special(*after)) << name << " with " << special;
      std::vector<uint32_t> ids;
      ASSERT_TRUE(tokenizer()->encode(*after, false, SIZE_MAX, &ids).ok());
      std::string back;
      for (const uint32_t one : ids) {
        back += tokenizer()->token_bytes(one);
      }
      EXPECT_EQ(back, joined(*after));
    }
  }
}

TEST(TemplateOrigin, DataStaysDataThroughEveryWayOfMakingStrings) {
  const std::string im_end = "<|im_end|>";
  ChatInput input = saying(im_end + " " + im_end);
  for (const char* expression : {"c",
                                 "c ~ ''",
                                 "'' ~ c",
                                 "c + ''",
                                 "c * 2",
                                 "2 * c",
                                 "[c, c]|join",
                                 "[c]|join(', ')",
                                 "c.join(['', ''])",
                                 "c|string",
                                 "c|safe",
                                 "c|trim",
                                 "c.strip()",
                                 "c.strip('x')",
                                 "c.lstrip()",
                                 "c.split()[0]",
                                 "c.split('>')[0] ~ '>'",
                                 "c.rsplit(' ', 1)[1]",
                                 "c.partition(' ')[0]",
                                 "c.splitlines()[0]",
                                 "c[:10]",
                                 "c[::1]",
                                 "c[::-1][::-1]",
                                 "c|reverse|reverse",
                                 "c|list|join",
                                 "c|lower",
                                 "c.lower()",
                                 "c|lower|upper|lower",
                                 "c.swapcase().swapcase()",
                                 "c|replace('x', 'y')",
                                 "c.replace('<', '<')",
                                 "'x'|replace('x', c)",
                                 "'x'.replace('x', c)",
                                 "c|indent",
                                 "'a\\nb'|indent(c)",
                                 "'{}'.format(c)",
                                 "'{x}'.format(x=c)",
                                 "c.format()",
                                 "c|default('')",
                                 "x|default(c)",
                                 "c|first ~ c[1:]",
                                 "[c]|string",
                                 "{'k': c}|string",
                                 "{c: 1}|string",
                                 "{c: 1}|first",
                                 "{c: 1}.keys()|list|first",
                                 "{c: 1}.items()|list|first|first",
                                 "[c]|tojson",
                                 "c|tojson",
                                 "c|tojson(ensure_ascii=true)",
                                 "{'k': c}|tojson(indent=2)",
                                 "{c: 1}|tojson",
                                 "[1, 2]|tojson(separators=[c, c])",
                                 "[1]|tojson(indent=c)",
                                 "[c]|map('lower')|first",
                                 "[[c]]|map('first')|first",
                                 "[c, c]|unique|first",
                                 "[c]|sort|first",
                                 "[c]|min",
                                 "[c]|max",
                                 "{c: 1}|dictsort|first|first",
                                 "(c if true else '')",
                                 "c or ''",
                                 "c and c",
                                 "c.removeprefix('x')",
                                 "c.get if false else c",
                                 "namespace(c=c).c",
                                 "dict(a=c).a",
                                 "[[c, 1]]|map(attribute=0)|first",
                                 "strftime_now(c)",
                                 "note",
                                 "messages[0].content",
                                 "messages[0]['content']",
                                 "messages|map(attribute='content')|join",
                                 "messages|selectattr('content')|map(attribute='content')|first"}) {
    const auto segments = segments_of(
        "{% set c = messages[0].content %}{{ " + std::string(expression) + " }}", input);
    EXPECT_EQ(num_special(segments), 0u) << expression;
    EXPECT_NE(joined(segments).find("im_end"), std::string::npos) << expression;
  }
}

TEST(TemplateOrigin, DataStaysDataThroughStatements) {
  const ChatInput input = saying("<|im_end|>");
  for (const char* source :
       {"{% set x = messages[0].content %}{{ x }}",
        "{% set x %}{{ messages[0].content }}{% endset %}{{ x }}",
        "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(messages[0].content) }}",
        "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}{{ messages[0].content }}{% "
        "endcall %}",
        "{% filter trim %}{{ messages[0].content }}{% endfilter %}",
        "{% with x = messages[0].content %}{{ x }}{% endwith %}",
        "{% for c in messages[0].content %}{{ c }}{% endfor %}",
        "{% for k, v in messages[0].items() %}{{ v }}{% endfor %}",
        "{% set ns = namespace() %}{% set ns.x = messages[0].content %}{{ ns.x }}",
        "{% set a, b = messages[0].content, '' %}{{ a }}{{ b }}",
        "{% generation %}{{ messages[0].content }}{% endgeneration %}", "{{ messages }}"}) {
    EXPECT_EQ(num_special(segments_of(source, input)), 0u) << source;
    EXPECT_GE(num_special({{joined(segments_of(source, input)), true}}), 1u) << source;
  }
}

TEST(TemplateOrigin, DataCannotCompleteANameThatTheTemplateBegan) {
  for (const std::string name : {"<|im_end|>", "<|endoftext|>"}) {
    for (size_t cut = 1; cut < name.size(); ++cut) {
      EXPECT_EQ(num_special(segments_of(name.substr(0, cut) + "{{ messages[0].content }}",
                                        saying(name.substr(cut)))),
                0u);
      EXPECT_EQ(num_special(segments_of("{{ messages[0].content }}" + name.substr(cut),
                                        saying(name.substr(0, cut)))),
                0u);
    }
  }
}

TEST(TemplateOrigin, TemplateTextKeepsItsSpecialTokensThroughStringOperations) {
  for (const char* expression :
       {"'<|im_end|>'", "'<|im_' ~ 'end|>'", "' <|im_end|> '|trim", "'<|IM_END|>'|lower",
        "'<|' + 'im_end' + '|>'", "['<|im_', 'end|>']|join", "'<|{}|>'.format('im_end')",
        "'<|x|>'|replace('x', 'im_end')", "'<|im_end|>x'[:-1]", "'a<|im_end|>'.split('a')[1]"}) {
    EXPECT_EQ(num_special(segments_of("{{ " + std::string(expression) + " }}", {})), 1u)
        << expression;
  }
}

TEST(TemplateOrigin, BosAndEosAreTemplateText) {
  ChatInput input;
  input.bos_token = "<|endoftext|>";
  input.eos_token = "<|im_end|>";
  EXPECT_EQ(num_special(segments_of("{{ bos_token }}x{{ eos_token }}", input)), 2u);
}

}  // namespace
}  // namespace stet::text
