#include "src/text/utf8.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/text/byte_level.h"
#include "src/text/jinja_case.h"
#include "stet/text/detokenizer.h"

namespace stet::text {
namespace {

std::string utf8_lossy(std::string_view bytes) {
  std::string text;
  append_utf8_lossy(bytes, &text);
  return text;
}

TEST(Utf8, EveryCodePointIsWrittenAndReadBack) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    std::string bytes;
    append_code_point(c, &bytes);
    const Utf8Unit unit = decode_utf8(bytes);
    if (c >= 0xD800 && c <= 0xDFFF) {
      ASSERT_EQ(unit.kind, Utf8Unit::Kind::kInvalid) << "a surrogate is no character";
      continue;
    }
    ASSERT_EQ(unit.kind, Utf8Unit::Kind::kComplete) << static_cast<uint32_t>(c);
    ASSERT_EQ(unit.code_point, c);
    ASSERT_EQ(unit.num_bytes, bytes.size());
    ASSERT_TRUE(is_valid_utf8(bytes));
    ASSERT_EQ(count_code_points(bytes), 1u);
    for (size_t cut = 1; cut < bytes.size(); ++cut) {
      const Utf8Unit part = decode_utf8(std::string_view(bytes).substr(0, cut));
      ASSERT_EQ(part.kind, Utf8Unit::Kind::kUnfinished);
      ASSERT_EQ(part.num_bytes, cut);
    }
  }
}

TEST(Utf8, OverlongAndOutOfRangeFormsAreInvalid) {
  for (const char* bytes :
       {"\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xE0\x9F\xBF", "\xF0\x80\x80\x80",
        "\xF0\x8F\xBF\xBF", "\xED\xA0\x80", "\xED\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80",
        "\xF8\x88\x80\x80\x80", "\xFE", "\xFF", "\x80", "\xBF"}) {
    EXPECT_FALSE(is_valid_utf8(bytes)) << testing::PrintToString(bytes);
    EXPECT_EQ(first_invalid_utf8(std::string("ab") + bytes), 2u);
  }
}

// The Unicode Standard, 3.9, tables 3-8 to 3-11: one U+FFFD for each maximal subpart.
TEST(Utf8, MaximalSubpartsBecomeOneReplacementCharacterEach) {
  const std::string r(kReplacementCharacter);
  EXPECT_EQ(utf8_lossy("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"),
            r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(utf8_lossy("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"),
            r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(utf8_lossy("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"),
            r + r + r + r + r + "A" + r + r + "B");
  EXPECT_EQ(utf8_lossy("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), r + r + r + r + "A");
  EXPECT_EQ(utf8_lossy(""), "");
  EXPECT_EQ(utf8_lossy(std::string_view("a\0b", 3)), std::string_view("a\0b", 3));
}

TEST(Utf8, TheFirstInvalidByteIsFoundWhereverItIs) {
  const std::string text = "a\u00e9\u4e2d\U0001F600";
  EXPECT_EQ(first_invalid_utf8(text), std::string_view::npos);
  for (size_t cut : {2u, 4u, 5u, 7u, 8u, 9u}) {  // inside a character
    const size_t begin = cut < 3 ? 1 : cut < 6 ? 3 : 6;
    EXPECT_EQ(first_invalid_utf8(text.substr(0, cut)), begin) << cut;
    EXPECT_EQ(first_invalid_utf8(text.substr(0, cut) + "x"), begin) << cut;
  }
}

TEST(Utf8,
     WhiteSpaceIsPythons) {  // python3 -c "[hex(c) for c in range(0x110000) if chr(c).isspace()]"
  size_t count = 0;
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    count += is_python_space(c) ? 1 : 0;
  }
  EXPECT_EQ(count, 29u);
  for (const char32_t c : {U'\t', U' ', U'\x1c', U'\x85', U'\u00a0', U'\u1680', U'\u2000',
                           U'\u200a', U'\u2028', U'\u202f', U'\u205f', U'\u3000'}) {
    EXPECT_TRUE(is_python_space(c)) << static_cast<uint32_t>(c);
  }
  for (const char32_t c : {U'\u180e', U'\u200b', U'\u2060', U'\ufeff', U'\0', U'x'}) {
    EXPECT_FALSE(is_python_space(c)) << static_cast<uint32_t>(c);
  }
}

TEST(Utf8, DigitsArePythons) {  // sum(chr(c).isdigit() for c in range(0x110000)), Unicode 14
  size_t count = 0;
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    count += is_python_digit(c) ? 1 : 0;
  }
  EXPECT_GE(count, 788u);  // later versions of Unicode have more
  EXPECT_LE(count, 850u);
  for (const char32_t c : {U'0', U'\u00b2', U'\u0663', U'\u2460', U'\U0001D7D8'}) {
    EXPECT_TRUE(is_python_digit(c));
  }
  for (const char32_t c : {U'a', U'\u00bd', U'\u2167', U'\u4e00', U'\u246a'}) {
    EXPECT_FALSE(is_python_digit(c));
  }
}

TEST(ByteLevel, EveryByteHasItsOwnPrintableCharacterAndComesBack) {
  std::set<char32_t> seen;
  for (int byte = 0; byte < 256; ++byte) {
    const char32_t c = byte_level_code_point(static_cast<uint8_t>(byte));
    EXPECT_TRUE(seen.insert(c).second);
    EXPECT_FALSE(is_python_space(c));
    EXPECT_LT(c, 0x144u);
    std::string spelling;
    append_code_point(c, &spelling);
    EXPECT_EQ(decode_byte_level(spelling), std::string(1, static_cast<char>(byte)));
  }
}

TEST(ByteLevel, KnownSpellings) {  // of GPT-2's vocabulary
  EXPECT_EQ(decode_byte_level("\u0120the"), " the");
  EXPECT_EQ(decode_byte_level("\u010a"), "\n");
  EXPECT_EQ(decode_byte_level("\u00c3\u00a9"), "\u00e9");
  EXPECT_EQ(decode_byte_level(""), "");
}

TEST(ByteLevel, WhatTheMapLacksIsNoByteLevelToken) {
  for (const char* spelling :
       {" ", "a b", "\n", "\u4e2d", "\u0144", "\u00ad", "\xFF", "a\xC3", "\x7f"}) {
    EXPECT_EQ(decode_byte_level(spelling), std::nullopt) << testing::PrintToString(spelling);
  }
}

}  // namespace
}  // namespace stet::text
