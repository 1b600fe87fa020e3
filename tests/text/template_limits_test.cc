// What a template may not do: steps, bytes, depth, and whatever would take time or memory behind
// the budgets' back. Each refusal has its exact message.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/text/template_testing.h"

namespace stet::text {
namespace {

using testing::AnyOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

std::string repeated(std::string_view text, size_t times) {
  std::string out;
  for (size_t i = 0; i < times; ++i) {
    out += text;
  }
  return out;
}

std::string error(const std::string& message) {
  return "INVALID_ARGUMENT: chat template, " + message;
}

TEST(TemplateLimits, StepsAreCountedAndTheLastOneAllowedIsAllowed) {
  const std::string loop = "{% for i in range(10) %}{{ i }}{% endfor %}";
  uint64_t enough = 0;
  while (render_text(loop, {}, {.max_steps = enough}) != "0123456789") {
    EXPECT_EQ(render_text(loop, {}, {.max_steps = enough}).find(error("line 1:")), 0u);
    EXPECT_THAT(render_text(loop, {}, {.max_steps = enough}),
                EndsWith(": the template takes more than " + std::to_string(enough) + " steps"));
    ASSERT_LT(++enough, 1000u);
  }
  EXPECT_GE(enough, 20u) << "ten passes that print";
}

TEST(TemplateLimits, ALoopOfLoopsEnds) {
  EXPECT_EQ(render_text("{% for a in range(100000) %}\n{% for b in range(100000) %}{% endfor %}"
                        "{% endfor %}"),
            error("line 2:8: the template takes more than 200000 steps"));
}

TEST(TemplateLimits, OutputBytesAreCappedExactly) {
  EXPECT_EQ(render_text("12345{{ '67' }}", {}, {.max_output_bytes = 7}), "1234567");
  EXPECT_EQ(render_text("12345{{ '67' }}", {}, {.max_output_bytes = 6}),
            error("line 1:9: the template prints more than 6 bytes"));
  EXPECT_EQ(render_text("{% set x %}123{% endset %}", {}, {.max_output_bytes = 2}),
            error("line 1:12: the template prints more than 2 bytes"));
}

TEST(TemplateLimits, StringsAreCappedWhereTheyAreMade) {
  const TemplateLimits limits{.max_output_bytes = 10};
  for (const char* source :
       {"{% set x = 'abcdef' + 'abcdef' %}", "{% set x = 'abcdef' ~ 'abcdef' %}",
        "{% set x = 'abcdef' * 2 %}", "{% set x = ['abcdef', 'abcdef']|join %}",
        "{% set x = 'aaaaaa'|replace('a', 'bb') %}", "{% set x = 'aaaaaa'.replace('a', 'bb') %}",
        "{% set x = '{0}{0}'.format('abcdef') %}", "{% set x = 'a\\nb\\nc'|indent(8) %}",
        "{% set x = ['abcdef', 'abcdef']|string %}", "{% set x = ['abcdef', 'abcdef']|tojson %}",
        "{% set x = 'abcdef'.join('abc') %}"}) {
    EXPECT_EQ(render_text(source, {}, limits), error("line 1:8: a string has more than 10 bytes"))
        << source;
  }
}

TEST(TemplateLimits, ListsAndValuesAreCapped) {
  EXPECT_EQ(render_text("{% set x = [1] * 2000000 %}"),
            error("line 1:8: a list has more than 1048576 items"));
  EXPECT_EQ(render_text("{% set x = range(1, 100002) %}"),
            error("line 1:8: range is longer than 100000"));
  EXPECT_EQ(render_text("{% set x = range(-9223372036854775807, 9223372036854775807) %}"),
            error("line 1:8: range is longer than 100000"));
  // A list of lists of lists ... of one shared list is counted as often as it is reached.
  EXPECT_EQ(render_text("{% set ns = namespace(x=[1, 1]) %}{% for i in range(40) %}"
                        "{% set ns.x = [ns.x, ns.x] %}{% endfor %}"),
            error("line 1:66: a value has more than 1048576 parts"));
  EXPECT_EQ(render_text("{% set ns = namespace(x=[]) %}{% for i in range(100) %}"
                        "{% set ns.x = [ns.x] %}{% endfor %}"),
            error("line 1:63: a value is nested more than 64 deep"));
  EXPECT_EQ(render_text("{% set ns = namespace(x={}) %}{% for i in range(100) %}"
                        "{% set ns.x = {'a': ns.x} %}{% endfor %}"),
            error("line 1:63: a value is nested more than 64 deep"));
}

TEST(TemplateLimits, MacrosNestToTheirDepth) {
  const std::string macro =
      "{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{% endif %}.{% endmacro %}";
  EXPECT_EQ(render_text(macro + "{{ f(4) }}", {}, {.max_depth = 5}), ".....");
  EXPECT_EQ(render_text(macro + "{{ f(5) }}", {}, {.max_depth = 5}),
            error("line 1:34: macros call each other more than 5 deep"));
  EXPECT_EQ(render_text("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"),
            error("line 1:19: macros call each other more than 64 deep"));
}

TEST(TemplateLimits, NestingOfTheSourceIsCapped) {
  EXPECT_EQ(render_text("{{ " + repeated("(", 150) + "1" + repeated(")", 150) + " }}"),
            error("line 1:103: nested more than 200 deep"));
  EXPECT_EQ(render_text(repeated("{% if true %}", 250)),
            error("line 1:2581: nested more than 200 deep"));
  EXPECT_EQ(render_text("{{ 1" + repeated(" + 1", 250) + " }}"),
            error("line 1:802: expression is nested more than 200 deep"));
  for (const auto& [open, close] : {std::pair{"[", "]"},
                                    {"{1:", "}"},
                                    {"not ", ""},
                                    {"-", ""},
                                    {"x[", "]"},
                                    {"f(", ")"},
                                    {"x if x else ", ""},
                                    {"x is eq ", ""},
                                    {"x|d(", ")"},
                                    {"(", ",)"}}) {
    EXPECT_THAT(render_text("{{ " + repeated(open, 5000) + "1" + repeated(close, 5000) + " }}"),
                AnyOf(HasSubstr("deep"), HasSubstr("unexpected"), HasSubstr("expected")))
        << open;
  }
  for (const char* chain :
       {".a", "[0]", "|d", "()", " is odd", " ** 1", " if 1", " or 1", " in 1"}) {
    const std::string made = render_text("{{ x" + repeated(chain, 50'000) + " }}");
    EXPECT_THAT(made, StartsWith(error("line 1:"))) << chain;
  }
}

TEST(TemplateLimits, MacrosOfDeepExpressionsStopBeforeTheStackEnds) {
  const std::string deep = repeated("(1 + ", 90) + "f()" + repeated(")", 90);
  EXPECT_EQ(render_text("{% macro f() %}{{ " + deep + " }}{% endmacro %}{{ f() }}"),
            error("line 1:287: the template nests too deeply"));
}

TEST(TemplateLimits, ASourceOfMoreThanAMebibyteIsRefused) {
  EXPECT_EQ(render_text(std::string((1u << 20) + 1, 'x')),
            "INVALID_ARGUMENT: chat template: 1048577 bytes, at most 1048576");
  EXPECT_EQ(render_text(std::string(1u << 20, 'x')).size(), 1u << 20);
}

// Work that no step pays for by itself: each of these ends within its budget, in seconds even with
// sanitizers. (ctest has a timeout; the bound on memory shows as a crash.)
TEST(TemplateLimits, NoSingleStepIsLarge) {
  const std::string big = "{% set a = 'a' * 1000 * 4000 %}{% set b = 'a' * 1000 * 2000 ~ 'b' %}";
  for (const char* work : {"{{ b in a }}",
                           "{{ a.find(b) }}",
                           "{{ a.rfind('b' ~ b) }}",
                           "{{ a.count(b) }}",
                           "{{ a.split(b)|length }}",
                           "{{ a.rsplit('b' ~ b)|length }}",
                           "{{ a.replace(b, '')|length }}",
                           "{{ a.partition(b)|length }}",
                           "{{ a.strip('b' * 1000 * 2000 ~ 'a') }}",
                           "{% for i in range(9999) %}{% if a is lower %}{% endif %}{% endfor %}",
                           "{% for i in range(9999) %}{% if a.upper() %}{% endif %}{% endfor %}",
                           "{% for i in range(9999) %}{% if a|int %}{% endif %}{% endfor %}",
                           "{% for i in range(9999) %}{% if a|float %}{% endif %}{% endfor %}",
                           "{% for i in range(9999) %}{% if a == b %}{% endif %}{% endfor %}",
                           "{% for i in range(9999) %}{% if a|trim %}{% endif %}{% endfor %}",
                           "{% set l = [a] * 10 %}{{ l|sort|length }}",
                           "{% set l = [a] * 10 %}{{ l|max|length }}",
                           "{% set l = [a] * 10 %}{{ l|unique|list|length }}",
                           "{% set l = [a] * 10 %}{{ l|map('upper')|list|length }}",
                           "{% set l = [[1]] * 1000 %}{{ l|map(attribute=a)|list|length }}",
                           "{% set l = [a] * 10 %}{{ l|tojson|length }}",
                           "{{ [[[1]]]|tojson(indent=a)|length }}",
                           "{% for i in range(99999) %}{% set c = a[::-1] %}{% endfor %}",
                           "{% for i in range(99999) %}{% set c = a|first %}{% endfor %}"}) {
    const std::string made = render_text(big + work);
    EXPECT_LT(made.size(), 200u) << work;
  }
}

TEST(TemplateLimits, PartsOfOneExpressionArePaidFor) {
  const std::string big = "{% set a = 'a' * 1000 * 4000 %}";
  EXPECT_THAT(render_text(big + "{{ a" + repeated("~a", 300'000) + " }}"),
              EndsWith("a string has more than 16777216 bytes"));
  EXPECT_THAT(render_text(big + "{{ '" + repeated("{0}", 200'000) + "'.format(a) }}"),
              EndsWith("a string has more than 16777216 bytes"));
  std::string keys = "1:1";
  for (int i = 2; i < 90'000; ++i) {
    keys += "," + std::to_string(i) + ":1";
  }
  EXPECT_THAT(render_text("{% set d = {" + keys + "} %}"),
              EndsWith("the template takes more than 200000 steps"));
  EXPECT_THAT(render_text("{% for i in range(90000) %}{% if 1" + repeated("==1", 100'000) +
                          " %}{% endif %}{% endfor %}"),
              EndsWith("the template takes more than 200000 steps"));
}

TEST(TemplateLimits, LongConversationsStayFarBelowTheLimits) {
  ChatInput input;
  for (int i = 0; i < 2000; ++i) {
    input.messages.push_back(message(i % 2 == 0 ? "user" : "assistant", std::string(2000, 'x')));
  }
  EXPECT_GT(render_text(chat_ml(), input).size(), 4'000'000u);
}

TEST(TemplateLimits, TheClockIsTheOneOfTheRequest) {
  ChatInput input;
  input.now_unix_s = 1785575107;  // 2026-08-01 09:05:07 UTC, a Saturday
  const std::string format = "%Y-%m-%d %H:%M:%S %d %B %b %A %a %j %y %p %I %%";
  EXPECT_EQ(render_text("{{ strftime_now('" + format + "') }}", input),
            "2026-08-01 09:05:07 01 August Aug Saturday Sat 213 26 AM 09 %");
  EXPECT_EQ(render_text("{{ strftime_now('') }}", input), "");
  EXPECT_EQ(render_text("{{ strftime_now('%Y' * 40) }}", input), std::string(repeated("2026", 40)));
  EXPECT_EQ(render_text("{{ strftime_now('x' * 129) }}", input),
            error("line 1:4: strftime_now: the format is longer than 128 bytes or the time is out "
                  "of range"));
  EXPECT_EQ(render_text("{{ strftime_now('%c' * 64) }}", input),
            error("line 1:4: strftime_now: the format gives nothing or too much"));
  input.now_unix_s = INT64_MAX;
  EXPECT_THAT(render_text("{{ strftime_now('%Y') }}", input), HasSubstr("out of range"));
}

}  // namespace
}  // namespace stet::text
