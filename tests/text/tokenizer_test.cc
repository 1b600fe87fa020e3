#include "stet/text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/text/golden_files.h"
#include "tests/text/tokenizing.h"

namespace stet::text {
namespace {

std::string joined_bytes(const Tokenizer& tokenizer, const std::vector<uint32_t>& ids) {
  std::string bytes;
  for (const uint32_t id : ids) {
    bytes += tokenizer.token_bytes(id);
  }
  return bytes;
}

using testing::ElementsAre;
using testing::HasSubstr;

const nlohmann::json& tiny() {
  static const nlohmann::json golden = read_golden("tokenizer_tiny.json");
  return golden;
}

// 256 byte tokens and nothing else but what a test adds.
TokenizerSpec bytes_only() {
  TokenizerSpec spec = tiny_spec(tiny(), "gpt2");
  std::erase_if(spec.tokens, [](const std::string& token) {
    size_t code_points = 0;
    for (const char c : token) {
      code_points += (static_cast<uint8_t>(c) & 0xC0) != 0x80 ? 1 : 0;
    }
    return code_points != 1;
  });
  EXPECT_EQ(spec.tokens.size(), 256u);
  spec.kinds.clear();
  spec.merges.clear();
  spec.bos_id = spec.eos_id = spec.unk_id = -1;
  return spec;
}

class GoldenTest : public testing::TestWithParam<std::string> {};

TEST_P(GoldenTest, DataGetsTheIdsOfTheReferenceAndDecodesToItself) {
  const auto tokenizer = make(tiny_spec(tiny(), GetParam()));
  ASSERT_GE(tiny()["cases"].size(), 300u);
  for (const auto& one : tiny()["cases"]) {
    const auto text = one["text"].get<std::string>();
    const auto ids = encode(*tokenizer, {{text, false}});
    EXPECT_EQ(ids, one[GetParam()].get<std::vector<uint32_t>>()) << one["text"].dump();
    EXPECT_EQ(joined_bytes(*tokenizer, ids), text);
  }
}

TEST_P(GoldenTest, TemplateTextGetsTheSpecialIdsOfTheReference) {
  const auto tokenizer = make(tiny_spec(tiny(), GetParam()));
  for (const auto& one : tiny()["template_cases"]) {
    EXPECT_EQ(encode(*tokenizer, {{one["text"].get<std::string>(), true}}),
              one[GetParam()].get<std::vector<uint32_t>>())
        << one["text"].dump();
  }
}

TEST_P(GoldenTest, CuttingOneOriginAnywhereChangesNothing) {
  const auto tokenizer = make(tiny_spec(tiny(), GetParam()));
  const std::string text = "<|im_start|>user\nHi  5 it's<|im_end|>\n";
  for (const bool is_template : {false, true}) {
    const auto whole = encode(*tokenizer, {{text, is_template}});
    for (size_t cut = 0; cut <= text.size(); ++cut) {
      EXPECT_EQ(
          encode(*tokenizer, {{text.substr(0, cut), is_template}, {text.substr(cut), is_template}}),
          whole);
    }
  }
}

TEST_P(GoldenTest, OrdinaryTextIsOneTextAcrossOrigins) {
  const auto tokenizer = make(tiny_spec(tiny(), GetParam()));
  const std::string text = "\n\nHello  world  5\n";
  const auto whole = encode(*tokenizer, {{text, true}});
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    EXPECT_EQ(encode(*tokenizer, {{text.substr(0, cut), true}, {text.substr(cut), false}}), whole);
  }
}

INSTANTIATE_TEST_SUITE_P(PreTokenizers, GoldenTest,
                         testing::Values("smollm", "gpt2", "llama-bpe", "qwen2"),
                         [](const auto& param) {
                           std::string name = param.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(Tokenizer, TheTwoPreTokenizersDiffer) {  // negative control of the parameter
  const auto smollm = make(tiny_spec(tiny(), "smollm"));
  const auto gpt2 = make(tiny_spec(tiny(), "gpt-2"));
  EXPECT_NE(encode(*smollm, {{"x  55", false}}), encode(*gpt2, {{"x  55", false}}));
}

TEST(Tokenizer, SpecialNamesInDataStayText) {
  const auto tokenizer = make(tiny_spec(tiny(), "smollm"));
  for (uint32_t id = 0; id < 5; ++id) {
    const std::string name(tokenizer->token_bytes(id));
    EXPECT_THAT(encode(*tokenizer, {{name, true}}), ElementsAre(id));
    for (const uint32_t got : encode(*tokenizer, {{name, false}})) {
      EXPECT_GE(got, 5u) << name;
    }
    // Neither may data complete a name that template text began.
    for (size_t cut = 1; cut < name.size(); ++cut) {
      for (const bool first : {false, true}) {
        for (const uint32_t got :
             encode(*tokenizer, {{name.substr(0, cut), first}, {name.substr(cut), !first}})) {
          EXPECT_GE(got, 5u) << name << " cut at " << cut;
        }
      }
    }
  }
}

TEST(Tokenizer, TheLongestSpecialNameWins) {
  TokenizerSpec spec = bytes_only();
  for (const char* name : {"<a>", "<a><b>", "<a><b><c>"}) {
    spec.tokens.emplace_back(name);
  }
  spec.kinds.assign(256, TokenKind::kNormal);
  spec.kinds.insert(spec.kinds.end(),
                    {TokenKind::kControl, TokenKind::kUserDefined, TokenKind::kControl});
  const auto tokenizer = make(spec);
  EXPECT_THAT(encode(*tokenizer, {{"<a><b><c><a><b><a>", true}}), ElementsAre(258, 257, 256));
  EXPECT_TRUE(tokenizer->is_special(256));
  EXPECT_FALSE(tokenizer->is_special(257)) << "user-defined tokens are text in the output";
  EXPECT_EQ(tokenizer->find_special("<a><b>"), 257);
  EXPECT_EQ(tokenizer->find_special("<b>"), -1);
  EXPECT_TRUE(tokenizer->spells_special("x<a>y"));
  EXPECT_FALSE(tokenizer->spells_special("x<ay>"));
}

TEST(Tokenizer, BosIsAddedOnceAndOnlyIfTheModelWantsIt) {
  TokenizerSpec spec = tiny_spec(tiny(), "smollm");
  const auto without = make(spec);
  EXPECT_EQ(encode(*without, {{"Hello", false}}, true),
            encode(*without, {{"Hello", false}}, false));
  spec.add_bos = true;
  const auto with = make(spec);
  const auto plain = encode(*with, {{"Hello", false}}, false);
  auto expected = plain;
  expected.insert(expected.begin(), 1);
  EXPECT_EQ(encode(*with, {{"Hello", false}}, true), expected);
  EXPECT_EQ(encode(*with, {{"<|im_start|>", true}, {"Hello", false}}, true), expected);
  EXPECT_THAT(encode(*with, {}, true), ElementsAre(1));
  spec.add_eos = true;
  expected.push_back(2);
  EXPECT_EQ(encode(*make(spec), {{"Hello", false}}, true), expected);
}

TEST(Tokenizer, TooManyTokensAreRefusedAndLeaveTheOutputAlone) {
  const auto tokenizer = make(tiny_spec(tiny(), "smollm"));
  const std::vector<TextSegment> text = {{"1 2 3 4", false}};
  const size_t count = encode(*tokenizer, text).size();
  std::vector<uint32_t> ids = {7};
  EXPECT_TRUE(tokenizer->encode(text, false, count, &ids).ok());
  EXPECT_EQ(ids.size(), count + 1);
  ids = {7};
  const Status status = tokenizer->encode(text, false, count - 1, &ids);
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(ids, ElementsAre(7));
  // So long that no vocabulary could make it fit: refused by its length.
  const std::vector<TextSegment> huge = {{std::string(64u << 20, 'a'), false}};
  EXPECT_THAT(tokenizer->encode(huge, false, 100, &ids).message(),
              HasSubstr("no token stands for more than"));
}

TEST(Tokenizer, InvalidUtf8IsRefusedWithItsOffset) {
  const auto tokenizer = make(tiny_spec(tiny(), "smollm"));
  std::vector<uint32_t> ids;
  const std::vector<TextSegment> text = {{"ab", true}, {"c\xC3", false}};
  const Status status = tokenizer->encode(text, false, kNoLimit, &ids);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("byte 3"));
}

TEST(Tokenizer, AMegabyteWordIsEncodedInTime) {
  const auto tokenizer = make(tiny_spec(tiny(), "smollm"));
  std::string word;
  for (uint32_t i = 0, x = 1; i < (1u << 20); ++i, x = x * 1664525 + 1013904223) {
    word.push_back(static_cast<char>('a' + (x >> 24) % 26));
  }
  for (const std::string& text :
       {word, std::string(1u << 20, 'a'), std::string(1u << 20, ' ') + "x",
        std::string(1u << 20, '!'), std::string(1u << 20, '\n')}) {
    EXPECT_EQ(joined_bytes(*tokenizer, encode(*tokenizer, {{text, false}})), text);
  }
}

TEST(Tokenizer, CharactersWithoutTokensBecomeTheReplacementCharacter) {
  TokenizerSpec spec = bytes_only();
  std::erase(spec.tokens, "\u0104");  // the spelling of byte 4
  const auto tokenizer = make(spec);
  EXPECT_EQ(joined_bytes(*tokenizer, encode(*tokenizer, {{"a\x04z", false}})), "a\xEF\xBF\xBDz");
}

TEST(Tokenizer, WithoutReplacementCharacterTheUnknownTokenStandsIn) {
  TokenizerSpec spec = bytes_only();
  std::erase(spec.tokens, "ï");  // byte 0xEF: U+FFFD has no tokens now
  EXPECT_THAT(create_error(spec), HasSubstr("byte 239 has no token"));
  spec.tokens.emplace_back("<unk>");
  spec.kinds.assign(255, TokenKind::kNormal);
  spec.kinds.push_back(TokenKind::kUnknown);
  spec.unk_id = 255;
  const auto tokenizer = make(spec);
  EXPECT_EQ(joined_bytes(*tokenizer, encode(*tokenizer, {{"a\uFFFDz\uFFFD", false}})),
            "a<unk>z<unk>");
}

TEST(Tokenizer, InconsistentTablesAreRefusedByField) {
  const TokenizerSpec good = tiny_spec(tiny(), "smollm");
  ASSERT_EQ(create_error(good), "created");
  auto with = [&good](auto change) {
    TokenizerSpec spec = good;
    change(spec);
    return create_error(spec);
  };
  EXPECT_THAT(with([](auto& s) { s.model = "bert"; }),
              HasSubstr("UNIMPLEMENTED: tokenizer.ggml.model 'bert' is not supported (known: "
                        "'gpt2', 'llama')"));
  EXPECT_THAT(with([](auto& s) { s.pre_tokenizer = "tekken"; }),
              HasSubstr("tokenizer.ggml.pre 'tekken' is not supported (known: 'smollm', 'gpt-2', "
                        "'gpt2', 'llama-bpe', "));
  EXPECT_THAT(with([](auto& s) { s.tokens.clear(); }), HasSubstr("tokenizer.ggml.tokens"));
  EXPECT_THAT(with([](auto& s) { s.kinds.pop_back(); }), HasSubstr("tokenizer.ggml.token_type"));
  EXPECT_THAT(with([](auto& s) { s.kinds[9] = TokenKind::kByte; }),
              HasSubstr("tokenizer.ggml.token_type[9]"));
  EXPECT_THAT(with([](auto& s) { s.tokens[300] = s.tokens[301]; }),
              HasSubstr("occurs twice (first at 300)"));
  EXPECT_THAT(with([](auto& s) { s.bos_id = static_cast<int64_t>(s.tokens.size()); }),
              HasSubstr("bos_token_id"));
  EXPECT_THAT(with([](auto& s) { s.eos_id = -2; }), HasSubstr("eos_token_id"));
  EXPECT_THAT(with([](auto& s) { s.merges[3] = "ab"; }), HasSubstr("tokenizer.ggml.merges[3]"));
  EXPECT_THAT(with([](auto& s) { s.merges[3] = "ab "; }), HasSubstr("tokenizer.ggml.merges[3]"));
  EXPECT_THAT(with([](auto& s) { s.merges[3] = "q zq"; }), HasSubstr("no ordinary token"));
}

TEST(Tokenizer, AMergeIntoASpecialTokenIsRefused) {
  TokenizerSpec spec = bytes_only();
  spec.tokens.emplace_back("hi");
  spec.merges.emplace_back("h i");
  ASSERT_EQ(create_error(spec), "created");
  spec.kinds.assign(257, TokenKind::kNormal);
  spec.kinds[256] = TokenKind::kControl;
  EXPECT_THAT(create_error(spec), HasSubstr("no ordinary token"));
}

TEST(Tokenizer, EndOfGenerationIsWhatTheFileSaysAndKnownControlNames) {
  TokenizerSpec spec = bytes_only();
  for (const char* name :
       {"<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|end|>", "<|return|>", "<|call|>", "<x>"}) {
    spec.tokens.emplace_back(name);
  }
  spec.kinds.assign(263, TokenKind::kNormal);
  for (size_t id : {256u, 257u, 259u, 260u, 261u, 262u}) {
    spec.kinds[id] = TokenKind::kControl;  // "<|eot_id|>" is an ordinary token here
  }
  spec.eos_id = 262;
  EXPECT_THAT(make(spec)->end_of_generation_ids(), ElementsAre(256, 257, 260, 261, 262));
  spec.kinds[261] = TokenKind::kNormal;  // no "<|call|>": not Harmony, "<|end|>" ends
  EXPECT_THAT(make(spec)->end_of_generation_ids(), ElementsAre(256, 257, 259, 260, 262));
}

TEST(Tokenizer, TheHashDependsOnEveryField) {
  const TokenizerSpec good = tiny_spec(tiny(), "smollm");
  const std::string hash(make(good)->sha256_hex());
  EXPECT_EQ(hash.size(), 64u);
  EXPECT_EQ(make(good)->sha256_hex(), hash);
  auto differs = [&](auto change) {
    TokenizerSpec spec = good;
    change(spec);
    return make(spec)->sha256_hex() != hash;
  };
  EXPECT_TRUE(differs([](auto& s) { s.pre_tokenizer = "gpt2"; }));
  EXPECT_TRUE(differs([](auto& s) { s.tokens[0] += "x"; }));
  EXPECT_TRUE(differs([](auto& s) { s.kinds[0] = TokenKind::kUserDefined; }));
  EXPECT_TRUE(differs([](auto& s) { s.merges.pop_back(); }));
  EXPECT_TRUE(differs([](auto& s) { s.eot_id = 4; }));
  EXPECT_TRUE(differs([](auto& s) { s.add_bos = true; }));
  EXPECT_TRUE(differs([](auto& s) { s.add_eos = true; }));
}

TEST(Tokenizer, BosAndEosAreThoseOfTheFile) {
  TokenizerSpec spec = tiny_spec(tiny(), "smollm");
  EXPECT_EQ(make(spec)->bos_id(), 1);
  EXPECT_EQ(make(spec)->eos_id(), 2);
  spec.bos_id = spec.eos_id = -1;
  EXPECT_EQ(make(spec)->bos_id(), -1);
  EXPECT_EQ(make(spec)->eos_id(), -1);
}

TEST(Tokenizer, IdsOutsideTheVocabularyHaveNoBytes) {
  const auto tokenizer = make(tiny_spec(tiny(), "smollm"));
  EXPECT_EQ(tokenizer->token_bytes(tokenizer->vocab_size()), "");
  EXPECT_FALSE(tokenizer->is_special(UINT32_MAX));
}

}  // namespace
}  // namespace stet::text
