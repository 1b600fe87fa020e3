#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <limits>

#include "stet/text/detokenizer.h"
#include "tests/text/golden_files.h"
#include "tests/text/tokenizing.h"

namespace stet::text {
namespace {

std::string decode(const Tokenizer& tokenizer, const std::vector<uint32_t>& ids) {
  Detokenizer detokenizer(&tokenizer, false);
  std::string text;
  for (const uint32_t id : ids) {
    detokenizer.append(id, &text);
  }
  detokenizer.finish(&text);
  return text;
}

using testing::ElementsAre;
using testing::HasSubstr;

const nlohmann::json& tiny_golden() {
  static const nlohmann::json golden = read_golden("sentencepiece_tiny.json");
  return golden;
}

TokenizerSpec tiny_pieces(bool add_space_prefix) {
  TokenizerSpec spec;
  spec.model = "llama";
  spec.pre_tokenizer = "default";
  spec.tokens = tiny_golden()["tokens"].get<std::vector<std::string>>();
  spec.scores = tiny_golden()["scores"].get<std::vector<float>>();
  for (const int kind : tiny_golden()["kinds"]) {
    spec.kinds.push_back(static_cast<TokenKind>(kind));
  }
  spec.eos_id = 1;
  spec.bos_id = 2;
  spec.unk_id = 3;
  spec.add_space_prefix = add_space_prefix;
  return spec;
}

// "<unk>", the 256 bytes, the space, and what a test adds: ids from 258 on.
struct Pieces {
  TokenizerSpec spec;
  Pieces() {
    spec.model = "llama";
    spec.add_space_prefix = false;
    add("<unk>", 0, TokenKind::kUnknown);
    for (int byte = 0; byte < 256; ++byte) {
      char spelling[8];
      std::snprintf(spelling, sizeof spelling, "<0x%02X>", byte);
      add(spelling, 0, TokenKind::kByte);
    }
    add("\u2581", -1000);
  }
  Pieces& add(std::string spelling, float score, TokenKind kind = TokenKind::kNormal) {
    spec.tokens.push_back(std::move(spelling));
    spec.scores.push_back(score);
    spec.kinds.push_back(kind);
    return *this;
  }
};

// The tokens' own texts, for readable expectations.
std::vector<std::string> texts(const Tokenizer& tokenizer, const std::string& data) {
  std::vector<std::string> out;
  for (const uint32_t id : encode(tokenizer, {{data, false}})) {
    out.emplace_back(tokenizer.token_bytes(id));
  }
  return out;
}

// What is left of a text: SentencePiece cannot tell U+2581 from a space.
std::string with_spaces(std::string text) {
  for (size_t at = 0; (at = text.find("\u2581", at)) != std::string::npos;) {
    text.replace(at, 3, " ");
  }
  return text;
}

class SentencePieceGolden : public testing::TestWithParam<bool> {
 protected:
  const char* column() const { return GetParam() ? "prefixed" : "plain"; }
  std::shared_ptr<const Tokenizer> tokenizer_ = make(tiny_pieces(GetParam()));
};

TEST_P(SentencePieceGolden, DataGetsTheIdsOfTheReferenceAndDecodesToItself) {
  ASSERT_GE(tiny_golden()["cases"].size(), 500u);
  for (const auto& one : tiny_golden()["cases"]) {
    const auto text = one["text"].get<std::string>();
    const auto ids = encode(*tokenizer_, {{text, false}});
    EXPECT_EQ(ids, one[column()].get<std::vector<uint32_t>>()) << one["text"].dump();
    EXPECT_EQ(decode(*tokenizer_, ids),
              (GetParam() && !text.empty() ? " " : "") + with_spaces(text));
  }
}

TEST_P(SentencePieceGolden, TemplateTextGetsTheSpecialIdsOfTheReference) {
  for (const auto& one : tiny_golden()["template_cases"]) {
    EXPECT_EQ(encode(*tokenizer_, {{one["text"].get<std::string>(), true}}),
              one[column()].get<std::vector<uint32_t>>())
        << one["text"].dump();
  }
}

TEST_P(SentencePieceGolden, OrdinaryTextIsOneTextAcrossOriginsAndCuts) {
  const std::string text = "\n\nHello  world\t5 <b>fox</b>\n";
  const auto whole = encode(*tokenizer_, {{text, true}});
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    for (const bool first : {false, true}) {
      for (const bool second : {false, true}) {
        EXPECT_EQ(encode(*tokenizer_, {{text.substr(0, cut), first}, {text.substr(cut), second}}),
                  whole);
      }
    }
  }
}

TEST_P(SentencePieceGolden, NamesAndMarksInDataStayText) {
  const TokenizerSpec spec = tiny_pieces(GetParam());
  std::vector<std::string> names = tiny_golden()["marks"].get<std::vector<std::string>>();
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    if (spec.kinds[id] == TokenKind::kControl || spec.kinds[id] == TokenKind::kUnknown) {
      names.push_back(spec.tokens[id]);
    }
  }
  EXPECT_EQ(names.size(), 9u);
  for (const std::string& name : names) {
    const auto id = static_cast<uint32_t>(tokenizer_->find_special(name));
    EXPECT_THAT(encode(*tokenizer_, {{name, true}}), ElementsAre(id));
    EXPECT_TRUE(tokenizer_->spells_special("x" + name)) << name;
    EXPECT_THAT(encode(*tokenizer_, {{name, false}}), testing::Not(testing::Contains(id))) << name;
    for (size_t cut = 1; cut < name.size(); ++cut) {
      for (const bool first : {false, true}) {
        EXPECT_THAT(encode(*tokenizer_, {{name.substr(0, cut), first}, {name.substr(cut), !first}}),
                    testing::Not(testing::Contains(id)))
            << name << " cut at " << cut;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Prefix, SentencePieceGolden, testing::Bool(),
                         [](const auto& param) { return param.param ? "space" : "none"; });

TEST(SentencePiece, TheHighestScoreMergesFirstTheLeftmostOfEquals) {
  Pieces pieces;
  pieces.add("a", -9).add("ab", -2).add("bc", -1).add("aa", -3);
  EXPECT_THAT(texts(*make(pieces.spec), "abc"), ElementsAre("a", "bc"));
  EXPECT_THAT(texts(*make(pieces.spec), "aaa"), ElementsAre("aa", "a"));
  pieces.spec.scores[259] = -1;  // "ab" as good as "bc"
  EXPECT_THAT(texts(*make(pieces.spec), "abc"), ElementsAre("ab", "c"));
}

TEST(SentencePiece, PartsNeedNoTokenOfTheirOwn) {
  Pieces pieces;
  pieces.add("xy", -1).add("é中", -2);
  const auto tokenizer = make(pieces.spec);
  EXPECT_THAT(texts(*tokenizer, "xy"), ElementsAre("xy"));
  EXPECT_THAT(texts(*tokenizer, "é中"), ElementsAre("é中"));
  EXPECT_THAT(texts(*tokenizer, "xé"), ElementsAre("x", "\xC3", "\xA9"));  // their bytes
}

TEST(SentencePiece, UnusedTokensAreMadeAndTakenApartAgain) {
  Pieces pieces;
  pieces.add("a", -9).add("ab", -1, TokenKind::kUnused).add("abc", -2).add("ba", -3);
  pieces.add("abcabc", -4, TokenKind::kUnused);
  const auto tokenizer = make(pieces.spec);
  EXPECT_THAT(texts(*tokenizer, "abc"), ElementsAre("abc"));
  EXPECT_THAT(texts(*tokenizer, "aba"), ElementsAre("a", "b", "a")) << "not 'a', 'ba'";
  EXPECT_THAT(texts(*tokenizer, "abcabc"), ElementsAre("abc", "abc"));
}

TEST(SentencePiece, UserDefinedTokensComeFirstAndMergeWithNothing) {
  Pieces pieces;
  pieces.add("ab", -1).add("cab", -2).add("ca", -3).add("bb", -4, TokenKind::kUserDefined);
  pieces.add("b", -5);
  const auto tokenizer = make(pieces.spec);
  EXPECT_THAT(texts(*tokenizer, "cab"), ElementsAre("cab"));
  EXPECT_THAT(texts(*tokenizer, "cabb"), ElementsAre("ca", "bb"));
  EXPECT_THAT(texts(*tokenizer, "bbb"), ElementsAre("bb", "b"));
  EXPECT_FALSE(tokenizer->is_special(261)) << "it is text in the output";
}

TEST(SentencePiece, MergesCrossSpacesWhereAPieceDoes) {
  Pieces pieces;
  pieces.add(">\u2581<", -1).add("\u2581<", -2).add("é\u2581", -1).add("\u2581a", -3);
  const auto tokenizer = make(pieces.spec);
  EXPECT_THAT(texts(*tokenizer, "x> <"), ElementsAre("x", "> <"));
  EXPECT_THAT(texts(*tokenizer, "x <"), ElementsAre("x", " <"));
  EXPECT_THAT(texts(*tokenizer, "é a a"), ElementsAre("é ", "a", " a"));
}

TEST(SentencePiece, SpacesOfUserDefinedTokensAreSpelledEitherWay) {
  for (const char* spelling : {"  ", "\u2581\u2581", "\u2581 "}) {
    Pieces pieces;
    pieces.add(spelling, 0, TokenKind::kUserDefined);
    const auto tokenizer = make(pieces.spec);
    EXPECT_THAT(encode(*tokenizer, {{"    ", false}}), ElementsAre(258, 258));
    EXPECT_THAT(encode(*tokenizer, {{" \u2581 ", false}}), ElementsAre(258, 257));
  }
  Pieces pieces;  // but a normal token with a space is never made: texts have none
  pieces.add("x y", 0).add("x ", 0).add(" y", 0);
  EXPECT_THAT(texts(*make(pieces.spec), "x y"), ElementsAre("x", " ", "y"));
}

TEST(SentencePiece, ATokenTheFileUsesIsNoTextWhateverItsKind) {
  Pieces pieces;
  pieces.add("</s>", 0, TokenKind::kUserDefined);
  EXPECT_THAT(encode(*make(pieces.spec), {{"</s>", false}}), ElementsAre(258)) << "an HTML tag";
  pieces.spec.eos_id = 258;
  EXPECT_THAT(texts(*make(pieces.spec), "</s>"), ElementsAre("<", "/", "s", ">"));
  EXPECT_THAT(encode(*make(pieces.spec), {{"</s>", true}}), ElementsAre(258));
}

TEST(SentencePiece, EveryTextBetweenSpecialTokensGetsTheSpaceInFront) {
  Pieces pieces;
  pieces.add("<end>", 0, TokenKind::kControl).add("\u2581a", 0);
  pieces.spec.add_space_prefix = true;
  const auto tokenizer = make(pieces.spec);
  EXPECT_THAT(encode(*tokenizer, {{"a<end>a", true}}), ElementsAre(259, 258, 259));
  EXPECT_THAT(encode(*tokenizer, {{"<end><end>", true}}), ElementsAre(258, 258));
  EXPECT_THAT(encode(*tokenizer, {{" ", false}}), ElementsAre(257, 257));
  EXPECT_THAT(encode(*tokenizer, {{"", false}}), ElementsAre());
}

TEST(SentencePiece, BosAndEosAreAddedIfTheModelWantsThem) {
  TokenizerSpec spec = tiny_pieces(false);
  spec.add_bos = true;
  const auto plain = encode(*make(spec), {{"Hello", false}}, false);
  auto expected = plain;
  expected.insert(expected.begin(), 2);
  EXPECT_EQ(encode(*make(spec), {{"Hello", false}}, true), expected);
  EXPECT_EQ(encode(*make(spec), {{"<bos>", true}, {"Hello", false}}, true), expected);
  spec.add_eos = true;
  expected.push_back(1);
  EXPECT_EQ(encode(*make(spec), {{"Hello", false}}, true), expected);
}

TEST(SentencePiece, ATurnEndsAnAnswerIfItIsAControlToken) {
  const auto tokenizer = make(tiny_pieces(false));
  EXPECT_THAT(tokenizer->end_of_generation_ids(),
              ElementsAre(1, static_cast<uint32_t>(tokenizer->find_special("<end_of_turn>"))));
}

TEST(SentencePiece, TooManyTokensAreRefusedAndLeaveTheOutputAlone) {
  const auto tokenizer = make(tiny_pieces(true));
  for (const char* text : {"1 2 3 4", "\n\n\n\n\n\n\n\n", "no spaces", "\u2581\u2581\u2581"}) {
    const std::vector<TextSegment> segments = {{text, false}};
    const size_t count = encode(*tokenizer, segments).size();
    std::vector<uint32_t> ids = {7};
    EXPECT_TRUE(tokenizer->encode(segments, false, count, &ids).ok());
    EXPECT_EQ(ids.size(), count + 1);
    ids = {7};
    EXPECT_EQ(tokenizer->encode(segments, false, count - 1, &ids).code(),
              StatusCode::kResourceExhausted);
    EXPECT_THAT(ids, ElementsAre(7));
  }
}

TEST(SentencePiece, InvalidUtf8IsRefusedWithItsOffset) {
  const auto tokenizer = make(tiny_pieces(true));
  std::vector<uint32_t> ids;
  const std::vector<TextSegment> text = {{"ab", true}, {"\u2581\xE2\x96", false}};
  const Status status = tokenizer->encode(text, false, kNoLimit, &ids);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("byte 5"));
}

TEST(SentencePiece, AMegabyteWordIsEncodedInTime) {
  const auto tokenizer = make(tiny_pieces(false));
  std::string word;
  for (uint32_t i = 0, x = 1; i < (1u << 20); ++i, x = x * 1664525 + 1013904223) {
    word.push_back(static_cast<char>('a' + (x >> 24) % 26));
  }
  for (const std::string& text :
       {word, std::string(1u << 20, 'a'), std::string(1u << 20, ' ') + "x",
        std::string(1u << 20, '<'), std::string(1u << 20, '\n'), std::string(1u << 20, '>')}) {
    EXPECT_EQ(decode(*tokenizer, encode(*tokenizer, {{text, false}})), text);
  }
}

TEST(SentencePiece, InconsistentTablesAreRefusedByField) {
  const TokenizerSpec good = tiny_pieces(false);
  ASSERT_EQ(create_error(good), "created");
  auto with = [&good](auto change) {
    TokenizerSpec spec = good;
    change(spec);
    return create_error(spec);
  };
  auto find = [&good](const std::string& token) {
    return static_cast<size_t>(std::find(good.tokens.begin(), good.tokens.end(), token) -
                               good.tokens.begin());
  };
  EXPECT_THAT(with([](auto& s) { s.scores.pop_back(); }),
              HasSubstr("DATA_LOSS: tokenizer.ggml.scores has 1503 entries, "
                        "tokenizer.ggml.tokens 1504"));
  EXPECT_THAT(with([](auto& s) { s.scores[7] = std::nanf(""); }),
              HasSubstr("tokenizer.ggml.scores[7] is no number"));
  EXPECT_EQ(with([](auto& s) { s.scores[7] = -std::numeric_limits<float>::infinity(); }),
            "created");
  EXPECT_THAT(with([](auto& s) { s.kinds.clear(); }),
              HasSubstr("tokenizer.ggml.token_type is missing"));
  EXPECT_THAT(with([](auto& s) { s.kinds.pop_back(); }), HasSubstr("tokenizer.ggml.token_type"));
  EXPECT_THAT(with([](auto& s) { s.kinds[9] = static_cast<TokenKind>(7); }),
              HasSubstr("tokenizer.ggml.token_type[9] is 7"));
  EXPECT_THAT(with([](auto& s) { s.tokens[1400] = s.tokens[1399]; }),
              HasSubstr("occurs twice (first at 1399)"));
  EXPECT_THAT(with([&](auto& s) { s.tokens[1400] = "<table>"; }), HasSubstr("occurs twice"));
  EXPECT_THAT(with([&](auto& s) { s.tokens[find("<td>")] = "<table>"; }),
              HasSubstr("'<table>' occurs twice"));
  EXPECT_THAT(with([&](auto& s) { s.tokens[find("<pad>")] = "<bos>"; }),
              HasSubstr("'<bos>' occurs twice (first at 0)"));
  EXPECT_THAT(with([&](auto& s) { s.tokens[find("<0x41>")] = "<0x42>"; }),
              HasSubstr("'<0x42>' occurs twice"));
  EXPECT_THAT(with([&](auto& s) { s.kinds[find("<0x41>")] = TokenKind::kUnused; }),
              HasSubstr("tokenizer.ggml.tokens: byte 65 has no token"));
  for (const char* spelling : {"A", "<0x4>", "<0x4G>", "<0x4a>", "<0x041>", "<0x41)"}) {
    EXPECT_THAT(with([&](auto& s) { s.tokens[find("<0x41>")] = spelling; }),
                HasSubstr("' is of kind 6 (byte): expected '<0x00>' to '<0xFF>'"));
  }
  EXPECT_THAT(with([&](auto& s) { s.tokens[find("\u2581")] = ""; }),
              HasSubstr("the space, U+2581, has no token"));
}

TEST(SentencePiece, TheHashDependsOnScoresAndPrefix) {
  const TokenizerSpec good = tiny_pieces(false);
  TokenizerSpec spec = good;
  spec.scores[400] -= 0.5f;
  EXPECT_NE(make(spec)->sha256_hex(), make(good)->sha256_hex());
  EXPECT_NE(make(tiny_pieces(true))->sha256_hex(), make(good)->sha256_hex());
  EXPECT_EQ(make(good)->sha256_hex(), make(good)->sha256_hex());
}

TEST(SentencePiece, TheHashOfAByteLevelVocabularyIsWhatItWasBefore) {
  TokenizerSpec spec = tiny_spec(read_golden("tokenizer_tiny.json"), "smollm");
  EXPECT_EQ(make(spec)->sha256_hex(),
            "f9987cc865b7103c450487fa05e6524c1aa7bed8b4656e955cf9401e9fc6cab3");
  spec.scores.assign(spec.tokens.size(), 1);
  spec.add_space_prefix = false;
  EXPECT_EQ(make(spec)->sha256_hex(),
            "f9987cc865b7103c450487fa05e6524c1aa7bed8b4656e955cf9401e9fc6cab3");
}

}  // namespace
}  // namespace stet::text
