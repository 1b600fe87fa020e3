// Gemma's vocabulary against sentencepiece. Needs a file that `make models` does not fetch:
// STET_TEST_GEMMA, for example gemma-3-270m-q4_k_m.gguf; without it these tests are skipped.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "stet/formats/tensor_index.h"
#include "stet/text/detokenizer.h"
#include "tests/text/golden_files.h"
#include "tests/text/model_spec.h"

namespace stet::text {
namespace {

class GemmaText : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    const char* path = std::getenv("STET_TEST_GEMMA");
    if (path == nullptr) {
      return;
    }
    auto index = formats::open_gguf(path);
    ASSERT_TRUE(index.ok()) << index.status().message();
    spec_ = model_spec(*index);
    auto made = Tokenizer::create(spec_);
    ASSERT_TRUE(made.ok()) << made.status().to_string();
    tokenizer_ = *made;
  }
  void SetUp() override {
    if (tokenizer_ == nullptr) {
      GTEST_SKIP() << "STET_TEST_GEMMA names no file";
    }
  }

  static std::vector<uint32_t> encode(const std::string& text, bool is_template) {
    std::vector<uint32_t> ids;
    const std::vector<TextSegment> segments = {{text, is_template}};
    const Status status = tokenizer_->encode(segments, false, SIZE_MAX, &ids);
    EXPECT_TRUE(status.ok()) << status.to_string();
    return ids;
  }

  static inline TokenizerSpec spec_;
  static inline std::shared_ptr<const Tokenizer> tokenizer_;
};

TEST_F(GemmaText, EveryTextGetsTheIdsOfTheReference) {
  const auto golden = read_golden("sentencepiece_gemma.json");
  ASSERT_GE(golden["cases"].size(), 500u);
  for (const auto& one : golden["cases"]) {
    EXPECT_EQ(encode(one["text"].get<std::string>(), false),
              one["ids"].get<std::vector<uint32_t>>())
        << one["text"].dump();
  }
  for (const auto& one : golden["template_cases"]) {
    EXPECT_EQ(encode(one["text"].get<std::string>(), true), one["ids"].get<std::vector<uint32_t>>())
        << one["text"].dump();
  }
}

TEST_F(GemmaText, DataSpellsNoNameAndEveryTextualToken) {
  size_t num_names = 0, num_texts = 0;
  for (uint32_t id = 0; id < tokenizer_->vocab_size(); ++id) {
    const std::string name(tokenizer_->token_bytes(id));
    if (tokenizer_->find_special(name) != static_cast<int64_t>(id)) {
      continue;
    }
    EXPECT_THAT(encode(name, true), testing::ElementsAre(id)) << name;
    if (tokenizer_->spells_special(name)) {
      ++num_names;
      EXPECT_THAT(encode(name, false), testing::Not(testing::Contains(id))) << name;
    } else {
      ++num_texts;
      EXPECT_EQ(spec_.kinds[id], TokenKind::kUserDefined);
      EXPECT_THAT(encode(name, false), testing::ElementsAre(id)) << name;
    }
  }
  EXPECT_EQ(num_names, 6249u + 3u);  // control tokens, and three marks
  EXPECT_EQ(num_texts, 162u);        // runs of spaces, tabs and line breaks; HTML tags
}

TEST_F(GemmaText, EveryTokenDecodesToWhatItStandsFor) {
  for (uint32_t id = 0; id < tokenizer_->vocab_size(); ++id) {
    const std::string text(tokenizer_->token_bytes(id));
    if (!tokenizer_->spells_special(text) && is_valid_utf8(text)) {
      std::string again;
      for (const uint32_t part : encode(text, false)) {
        again += tokenizer_->token_bytes(part);
      }
      EXPECT_EQ(again, text) << id;
    }
  }
  EXPECT_EQ(tokenizer_->token_bytes(138), "  ");
  EXPECT_EQ(tokenizer_->token_bytes(238 + 0x41), "A");
}

TEST_F(GemmaText, AnAnswerEndsWithItsTurnOrTheText) {
  EXPECT_THAT(tokenizer_->end_of_generation_ids(),
              testing::ElementsAre(1, tokenizer_->find_special("<end_of_turn>")));
}

}  // namespace
}  // namespace stet::text
