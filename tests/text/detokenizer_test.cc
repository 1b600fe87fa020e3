// Tokens to text: valid UTF-8 whatever the borders of the tokens, and the same text for every way
// of cutting it.
#include "stet/text/detokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace stet::text {
namespace {

const std::string kReplacement = "\uFFFD";

// A vocabulary of arbitrary byte strings, not UTF-8 by themselves; the last tokens may be special.
class ByteTokens final : public Tokenizer {
 public:
  explicit ByteTokens(std::vector<std::string> tokens, size_t num_special = 0)
      : tokens_(std::move(tokens)), first_special_(tokens_.size() - num_special) {}

  Status encode(std::span<const TextSegment>, bool, size_t, std::vector<uint32_t>*) const override {
    return unimplemented("not needed");
  }
  std::string_view token_bytes(uint32_t id) const override {
    return id < tokens_.size() ? std::string_view(tokens_[id]) : std::string_view();
  }
  bool is_special(uint32_t id) const override {
    return id >= first_special_ && id < tokens_.size();
  }
  uint32_t vocab_size() const override { return static_cast<uint32_t>(tokens_.size()); }
  int64_t bos_id() const override { return -1; }
  std::span<const uint32_t> end_of_generation_ids() const override { return {}; }
  int64_t find_special(std::string_view) const override { return -1; }
  bool spells_special(std::string_view) const override { return false; }
  std::string_view sha256_hex() const override { return ""; }

 private:
  std::vector<std::string> tokens_;
  size_t first_special_;
};

// All deltas put together; each must be valid UTF-8 by itself.
std::string detokenize(const Tokenizer& tokenizer, bool skip_special = false) {
  Detokenizer detokenizer(&tokenizer, skip_special);
  std::string whole;
  std::string delta;
  for (uint32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    delta.clear();
    detokenizer.append(id, &delta);
    EXPECT_TRUE(is_valid_utf8(delta)) << testing::PrintToString(delta);
    whole += delta;
  }
  delta.clear();
  detokenizer.finish(&delta);
  EXPECT_TRUE(is_valid_utf8(delta));
  return whole + delta;
}

std::string lossy(std::string_view bytes) {
  std::string text;
  append_utf8_lossy(bytes, &text);
  return text;
}

TEST(Detokenizer, EverySplitOfMultiByteTextGivesTheWholeText) {
  const std::string text = "a\u00e9\u4e2d\U0001F600z";  // 1, 2, 3, 4, 1 bytes
  ASSERT_EQ(text.size(), 11u);
  for (uint32_t borders = 0; borders < (1u << (text.size() - 1)); ++borders) {
    std::vector<std::string> tokens(1);
    for (size_t i = 0; i < text.size(); ++i) {
      tokens.back() += text[i];
      if (i + 1 < text.size() && (borders >> i & 1) != 0) {
        tokens.emplace_back();
      }
    }
    ASSERT_EQ(detokenize(ByteTokens(tokens)), text) << "borders " << borders;
  }
}

TEST(Detokenizer, ACharacterComesOutWithItsLastByteAndNotLater) {
  const ByteTokens bytes({"\xF0", "\x9F", "\x98", "\x80"});
  Detokenizer detokenizer(&bytes, false);
  std::string out;
  for (uint32_t id = 0; id < 3; ++id) {
    detokenizer.append(id, &out);
    EXPECT_EQ(out, "");
  }
  detokenizer.append(3, &out);
  EXPECT_EQ(out, "\U0001F600");
  detokenizer.finish(&out);
  EXPECT_EQ(out, "\U0001F600");
}

TEST(Detokenizer, WhatNeverBecomesCompleteEndsAsOneReplacementCharacter) {
  const std::string whole = "\U0001F600";
  for (size_t cut = 1; cut < whole.size(); ++cut) {
    const ByteTokens tokens({"x", whole.substr(0, cut)});
    Detokenizer detokenizer(&tokens, false);
    std::string out;
    detokenizer.append(0, &out);
    detokenizer.append(1, &out);
    EXPECT_EQ(out, "x") << "still waiting for the rest";
    detokenizer.finish(&out);
    EXPECT_EQ(out, "x" + kReplacement);
    detokenizer.finish(&out);
    EXPECT_EQ(out, "x" + kReplacement) << "finishing twice adds nothing";
  }
}

TEST(Detokenizer, EverySingleByteIsItselfOrOneReplacementCharacter) {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string one(1, static_cast<char>(byte));
    EXPECT_EQ(detokenize(ByteTokens({one})), byte < 0x80 ? one : kReplacement) << byte;
    // What follows is never swallowed.
    EXPECT_EQ(detokenize(ByteTokens({one, "z"})), (byte < 0x80 ? one : kReplacement) + "z") << byte;
  }
}

TEST(Detokenizer, EveryPairOfBytesEqualsTheLossyTextOfBoth) {
  for (int first = 0; first < 256; ++first) {
    for (int second = 0; second < 256; ++second) {
      const std::string a(1, static_cast<char>(first));
      const std::string b(1, static_cast<char>(second));
      ASSERT_EQ(detokenize(ByteTokens({a, b})), lossy(a + b)) << first << ' ' << second;
    }
  }
}

TEST(Detokenizer, RandomBytesGiveTheSameTextForEveryCut) {
  std::mt19937 random(20260801);
  const std::vector<std::string> pieces = {"\xE4",         "\xB8",     "\xAD", "\xF0\x9F",
                                           "\x98\x80",     "a",        "\xC3", "\xA9",
                                           "\xED\xA0\x80", "\xF4\x90", "\xFF", "\xE4\xB8\xAD"};
  for (int round = 0; round < 3000; ++round) {
    std::string bytes;
    for (int i = 0; i < 12; ++i) {
      bytes += pieces[random() % pieces.size()];
    }
    std::vector<std::string> tokens(1);
    for (const char byte : bytes) {
      if (random() % 2 == 0) {
        tokens.emplace_back();
      }
      tokens.back() += byte;
    }
    ASSERT_EQ(detokenize(ByteTokens(tokens)), lossy(bytes)) << testing::PrintToString(tokens);
  }
}

TEST(Detokenizer, SpecialTokensAreSkippedOnRequestOnly) {
  const ByteTokens tokens({"a", "<|end|>"}, 1);
  EXPECT_EQ(detokenize(tokens, true), "a");
  EXPECT_EQ(detokenize(tokens, false), "a<|end|>");
}

TEST(Detokenizer, ASkippedTokenDoesNotBreakTheCharacterAroundIt) {
  const ByteTokens tokens({"\xC3", "\xA9", "<|end|>"}, 1);
  for (const bool skip : {true, false}) {
    Detokenizer detokenizer(&tokens, skip);
    std::string out;
    for (const uint32_t id : {0u, 2u, 1u}) {
      detokenizer.append(id, &out);
    }
    detokenizer.finish(&out);
    EXPECT_EQ(out, skip ? "\u00e9" : kReplacement + "<|end|>" + kReplacement);
  }
}

TEST(Detokenizer, IdsOutsideTheVocabularyPrintNothing) {
  const ByteTokens tokens({"a"});
  Detokenizer detokenizer(&tokens, true);
  std::string out;
  detokenizer.append(7, &out);
  detokenizer.append(UINT32_MAX, &out);
  detokenizer.finish(&out);
  EXPECT_EQ(out, "");
}

}  // namespace
}  // namespace stet::text
