// The hand-written JSON writer against nlohmann's parser, and the strict parser against its limits.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>

#include "src/proxy/json_parser.h"
#include "src/proxy/json_writer.h"

namespace stet::proxy {
namespace {

std::string encode_utf8(uint32_t c) {
  std::string out;
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | c >> 6);
    out += static_cast<char>(0x80 | (c & 63));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | c >> 12);
    out += static_cast<char>(0x80 | (c >> 6 & 63));
    out += static_cast<char>(0x80 | (c & 63));
  } else {
    out += static_cast<char>(0xF0 | c >> 18);
    out += static_cast<char>(0x80 | (c >> 12 & 63));
    out += static_cast<char>(0x80 | (c >> 6 & 63));
    out += static_cast<char>(0x80 | (c & 63));
  }
  return out;
}

std::string escaped(std::string_view text) {
  std::string out;
  append_json_string(&out, text);
  return out;
}

TEST(JsonWriter, EveryCodePointComesBackFromAnotherParser) {
  std::string all;
  for (uint32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c < 0xD800 || c > 0xDFFF) {
      all += encode_utf8(c);
    }
  }
  const std::string json = escaped(all);
  EXPECT_EQ(nlohmann::json::parse(json).get<std::string>(), all);
  EXPECT_EQ(json.find('\n'), std::string::npos);  // one line, whatever the text
  EXPECT_EQ(json.find('\r'), std::string::npos);
}

TEST(JsonWriter, EveryByteAloneGivesValidJson) {
  for (int b = 0; b < 256; ++b) {
    const std::string one(1, static_cast<char>(b));
    const std::string expected = b < 0x80 ? one : "\xEF\xBF\xBD";
    EXPECT_EQ(nlohmann::json::parse(escaped(one)).get<std::string>(), expected) << b;
  }
}

TEST(JsonWriter, BrokenUtf8BecomesOneReplacementPerMaximalSubpart) {
  const std::string r = "\xEF\xBF\xBD";
  const std::pair<std::string, std::string> cases[] = {
      {"a\xE2\x82", "a" + r},               // cut in the middle
      {"\xE2\x82x", r + "x"},               // cut by a letter
      {"\xC0\xAF", r + r},                  // overlong
      {"\xE0\x80\x80", r + r + r},          // overlong
      {"\xED\xA0\x80", r + r + r},          // a surrogate
      {"\xF4\x90\x80\x80", r + r + r + r},  // beyond U+10FFFF
      {"\xF0\x9F\x98", r},                  // cut emoji
      {"\x80\xF0\x9F\x98\x80", r + "\xF0\x9F\x98\x80"},
  };
  for (const auto& [in, out] : cases) {
    EXPECT_EQ(nlohmann::json::parse(escaped(in)).get<std::string>(), out);
  }
}

TEST(JsonWriter, FloatsAreTheShortestDecimalThatComesBack) {
  // 100,003 bit patterns spread over all of float32.
  for (uint64_t bits = 0; bits <= UINT32_MAX; bits += 42949) {
    const auto word = static_cast<uint32_t>(bits);
    float value;
    std::memcpy(&value, &word, sizeof value);
    std::string text;
    append_json_float(&text, value);
    const float back = std::strtof(text.c_str(), nullptr);
    if (std::isfinite(value)) {
      EXPECT_EQ(std::memcmp(&back, &value, sizeof back), 0) << text;
      EXPECT_TRUE(nlohmann::json::parse(text).is_number_float()) << text;
    } else {
      EXPECT_EQ(text, "-9999.0");
    }
  }
  std::string tenth;
  append_json_float(&tenth, 0.1F);
  EXPECT_EQ(tenth, "0.1");
  std::string zero;
  append_json_float(&zero, 0.0F);
  EXPECT_EQ(zero, "0.0");
}

std::optional<JsonError> parse(std::string_view text, JsonValue* value, JsonLimits limits = {}) {
  return parse_json(text, limits, value);
}

TEST(JsonParser, KeepsAllBitsOfIntegers) {
  JsonValue value;
  ASSERT_FALSE(parse(
      R"([9223372036854775807,-9223372036854775808,18446744073709551615,3.0,true,null,"x",{}])",
      &value));
  const auto& items = *value.as_array();
  EXPECT_EQ(std::get<int64_t>(items[0].v), INT64_MAX);
  EXPECT_EQ(std::get<int64_t>(items[1].v), INT64_MIN);
  EXPECT_EQ(std::get<uint64_t>(items[2].v), UINT64_MAX);
  EXPECT_EQ(std::get<double>(items[3].v), 3.0);
  EXPECT_TRUE(items[5].is_null());
}

TEST(JsonParser, RefusesWhatIsNoJson) {
  const char* cases[] = {
      "",       " ",           "{",        "{]",           "{\"a\":}",    "{\"a\":1,}",
      "[1 2]",  "NaN",         "[NaN]",    "[Infinity]",   "[-Infinity]", "{'a':1}",
      "{a:1}",  "// x\n1",     "01",       "+1",           "1.",          "\"\\x\"",
      "\"\t\"", "\"\\ud800\"", "\"\xFF\"", "\"\xC0\xAF\"", "{} {}",       "tru",
      "1e999",  "[1e999]"};
  for (const char* text : cases) {
    JsonValue value;
    EXPECT_TRUE(parse(text, &value)) << text;
  }
  // nlohmann's lexer would stop at the NUL and call the rest no part of the text.
  JsonValue value;
  EXPECT_TRUE(parse(std::string_view("1\0 2", 4), &value));
}

TEST(JsonParser, NamesThePathOfTheMistake) {
  JsonValue value;
  EXPECT_EQ(parse(R"({"a":{"b":[0,{"c":NaN}]}})", &value)->path, "a.b[1].c");
  EXPECT_EQ(parse(R"({"temperature":1e999})", &value)->path, "temperature");
  EXPECT_EQ(parse(R"({"temperature":1e999})", &value)->kind, JsonErrorKind::kLimit);
  EXPECT_EQ(parse(R"({"a":1,"b":2,"a":3})", &value)->path, "a");
  EXPECT_EQ(parse(R"({"x":[{"k":1,"k":1}]})", &value)->path, "x[0].k");
  EXPECT_EQ(parse(R"({"x":[{"k":1,"k":1}]})", &value)->kind, JsonErrorKind::kDuplicate);
  EXPECT_EQ(parse(R"({"\u0061":1,"a":1})", &value)->kind,
            JsonErrorKind::kDuplicate);  // equal once unescaped
}

TEST(JsonParser, LimitsHoldWhileParsing) {
  JsonLimits limits;
  limits.max_depth = 3;
  limits.max_values = 10;
  const JsonItemCap caps[] = {{"messages", 2}};
  limits.item_caps = caps;
  JsonValue value;
  EXPECT_FALSE(parse("[[[1]]]", &value, limits));
  EXPECT_TRUE(parse("[[[[1]]]]", &value, limits));
  EXPECT_FALSE(parse("[1,2,3,4,5,6,7,8,9]", &value, limits));
  EXPECT_TRUE(parse("[1,2,3,4,5,6,7,8,9,10]", &value, limits));
  EXPECT_FALSE(parse(R"({"messages":[{},{}]})", &value, limits));
  EXPECT_EQ(parse(R"({"messages":[{},{},{}]})", &value, limits)->path, "messages");
  EXPECT_FALSE(parse(R"({"other":[{},{},{}]})", &value, limits));
  // Deep and unclosed: refused by depth, not by running out of stack.
  EXPECT_EQ(parse(std::string(1'000'000, '['), &value, limits)->kind, JsonErrorKind::kLimit);
}

}  // namespace
}  // namespace stet::proxy
