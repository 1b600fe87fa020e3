// The word rules by themselves: known cuts, every byte in exactly one word, and hostile text.
#include "src/text/pre_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace stet::text {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const PreTokenizer& rules(std::string_view name) {
  static const auto smollm = PreTokenizer::create("smollm").value();
  static const auto gpt2 = PreTokenizer::create("gpt2").value();
  static const auto llama3 = PreTokenizer::create("llama-bpe").value();
  static const auto qwen2 = PreTokenizer::create("qwen2").value();
  return name == "smollm" ? *smollm : name == "gpt2" ? *gpt2 : name == "qwen2" ? *qwen2 : *llama3;
}

std::vector<std::string> words(std::string_view name, std::string_view text) {
  PreTokenizer::Scan scan(rules(name), text);
  std::vector<std::string> found;
  std::string_view word;
  while (scan.next(&word)) {
    found.emplace_back(word);
  }
  EXPECT_TRUE(scan.status().ok()) << scan.status().to_string();
  return found;
}

std::string together(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) {
    EXPECT_NE(part, "");
    text += part;
  }
  return text;
}

TEST(PreTokenizer, Gpt2CutsWordsNumbersContractionsAndSpaces) {
  EXPECT_THAT(words("gpt2", "I'm 42, you've  x!"),
              ElementsAre("I", "'m", " 42", ",", " you", "'ve", " ", " x", "!"));
  EXPECT_THAT(words("gpt2", "a\n\n b"), ElementsAre("a", "\n\n", " b"));
  EXPECT_THAT(words("gpt2", "a  "), ElementsAre("a", "  "));
  EXPECT_THAT(words("gpt2", "IT'S"), ElementsAre("IT", "'", "S")) << "contractions are lower case";
  EXPECT_THAT(words("gpt2", ""), ElementsAre());
}

TEST(PreTokenizer, SmolLmCutsEveryDigitAndEndsSpacesThere) {
  EXPECT_THAT(words("smollm", "x 12"), ElementsAre("x", " ", "1", "2"));
  EXPECT_THAT(words("smollm", "x  5y"), ElementsAre("x", "  ", "5", "y"));
  EXPECT_THAT(words("smollm", "\u0661\u00bd"), ElementsAre("\u0661", "\u00bd"));
}

TEST(PreTokenizer, Llama3TakesThreeDigitsOneMarkBeforeALetterAndLinesWithTheirSpaces) {
  EXPECT_THAT(words("llama-bpe", "IT'S 12345!\n\n  x"),
              ElementsAre("IT", "'S", " ", "123", "45", "!\n\n", " ", " x"));
  EXPECT_THAT(words("llama-bpe", "(a \n \n b"), ElementsAre("(a", " \n \n", " b"));
  EXPECT_THAT(words("llama-bpe", "a\tb"), ElementsAre("a", "\tb"));
  // Upper and lower case fold as in Onigmo: the long s is an s.
  EXPECT_THAT(words("llama-bpe", "it'\u017fx"), ElementsAre("it", "'\u017f", "x"));
  EXPECT_THAT(words("qwen2", "x 123"), ElementsAre("x", " ", "1", "2", "3"));
}

TEST(PreTokenizer, UnicodeSpacesAreSpacesButTheMongolianSeparatorIsNone) {
  EXPECT_THAT(words("gpt2", "a\u3000\u00a0b"), ElementsAre("a", "\u3000", "\u00a0", "b"));
  EXPECT_THAT(words("gpt2", "a\u180eb"), ElementsAre("a", "\u180e", "b"));
  EXPECT_THAT(words("gpt2", "a \u180e"), ElementsAre("a", " \u180e"));
}

TEST(PreTokenizer, EveryByteOfRandomTextBelongsToOneWord) {
  std::mt19937 random(20260801);
  const std::vector<std::string> pieces = {
      "a",      "B",          "'s",     "'", " ",      "  ",     "\n",
      "\t",     "\u00a0",     "\u3000", "5", "\u00b2", "\u0661", "\u00e9",
      "\u4e2d", "\U0001F600", "\u0301", "!", "_",      "\u200d", std::string(1, '\0'),
      "\x7f",   "\u180e"};
  for (int round = 0; round < 5000; ++round) {
    std::string text;
    for (uint32_t i = random() % 30; i > 0; --i) {
      text += pieces[random() % pieces.size()];
    }
    for (const char* name : {"smollm", "gpt2", "llama-bpe", "qwen2"}) {
      ASSERT_EQ(together(words(name, text)), text);
    }
  }
}

// The patterns have possessive runs, so that a match is linear and needs no stack. 8 MiB of each
// kind of run, alone and with what would make a naive rule go back: done, or one clear error.
TEST(PreTokenizer, HostileRunsAreCutInLinearTime) {
  constexpr size_t kRun = 8u << 20;
  for (const std::string& text :
       {std::string(kRun, ' ') + "x", std::string(kRun, '\n') + "x", std::string(kRun, 'a') + "1",
        std::string(kRun, '!') + "a", std::string(kRun, '\''), std::string(kRun, ' ') + "5"}) {
    for (const char* name : {"smollm", "gpt2", "llama-bpe", "qwen2"}) {
      PreTokenizer::Scan scan(rules(name), text);
      std::string_view word;
      size_t num_bytes = 0;
      while (scan.next(&word)) {
        num_bytes += word.size();
      }
      EXPECT_TRUE(scan.status().ok() ||
                  scan.status().message().find("PCRE2 answered") != std::string::npos)
          << scan.status().to_string();
      EXPECT_EQ(num_bytes, text.size()) << scan.status().to_string();
    }
  }
}

TEST(PreTokenizer, MarksOnMarksAndAlternationsStayLinear) {
  std::string marks = "e";
  std::string mixed;
  for (int i = 0; i < 500'000; ++i) {
    marks += "\u0301";
    mixed += i % 2 == 0 ? "'" : " ";
  }
  for (const std::string& text : {marks, mixed, mixed + "s", "'" + std::string(1u << 20, 's')}) {
    EXPECT_EQ(together(words("gpt2", text)), text);
    EXPECT_EQ(together(words("smollm", text)), text);
    EXPECT_EQ(together(words("llama-bpe", text)), text);
    EXPECT_EQ(together(words("qwen2", text)), text);
  }
}

TEST(PreTokenizer, UnknownNamesAreRefusedWithTheKnownOnes) {
  for (const char* name : {"", "llama-spm", "SMOLLM", "gpt2 "}) {
    const auto made = PreTokenizer::create(name);
    ASSERT_FALSE(made.ok());
    EXPECT_EQ(made.status().code(), StatusCode::kUnimplemented);
    EXPECT_THAT(made.status().message(),
                HasSubstr("(known: 'smollm', 'gpt-2', 'gpt2', 'llama-bpe', "));
  }
}

}  // namespace
}  // namespace stet::text
