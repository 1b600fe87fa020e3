// The default model's own vocabulary and template. Needs the file: STET_TEST_MODEL or models/ of
// the source tree.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "stet/formats/tensor_index.h"
#include "stet/text/detokenizer.h"
#include "tests/text/golden_files.h"
#include "tests/text/model_spec.h"
#include "tests/text/template_testing.h"

namespace stet::text {
namespace {

std::string model_path() {
  const char* path = std::getenv("STET_TEST_MODEL");
  return path != nullptr ? path : STET_SOURCE_DIR "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
}

class SmolLm2Text : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto index = formats::open_gguf(model_path());
    ASSERT_TRUE(index.ok()) << index.status().message()
                            << " (make models fetches the default model)";
    auto made = Tokenizer::create(model_spec(*index));
    ASSERT_TRUE(made.ok()) << made.status().to_string();
    tokenizer_ = *made;
    template_source_ = *index->get_string("tokenizer.chat_template");
  }

  static std::vector<uint32_t> encode(const std::vector<TextSegment>& segments) {
    std::vector<uint32_t> ids;
    const Status status = tokenizer_->encode(segments, false, SIZE_MAX, &ids);
    EXPECT_TRUE(status.ok()) << status.to_string();
    return ids;
  }
  static std::string decode(const std::vector<uint32_t>& ids) {
    Detokenizer detokenizer(tokenizer_.get(), false);
    std::string text;
    for (const uint32_t id : ids) {
      detokenizer.append(id, &text);
    }
    detokenizer.finish(&text);
    return text;
  }

  static inline std::shared_ptr<const Tokenizer> tokenizer_;
  static inline std::string template_source_;
};

TEST_F(SmolLm2Text, EveryTextGetsTheIdsOfTheReference) {
  const auto golden = read_golden("tokenizer_smollm2.json");
  ASSERT_GE(golden["cases"].size(), 300u);
  for (const auto& one : golden["cases"]) {
    EXPECT_EQ(encode({{one["text"].get<std::string>(), false}}),
              one["ids"].get<std::vector<uint32_t>>())
        << one["text"].dump();
  }
}

TEST_F(SmolLm2Text, TheTemplateOfTheFileIsTheOneOfTheGoldens) {
  EXPECT_EQ(template_source_,
            read_golden("template_chats.json")["templates"]["smollm2"].get<std::string>());
}

TEST_F(SmolLm2Text, NoSpecialTokenIsSpelledByAnyFieldOfAConversation) {
  const auto parsed = parse_ok(template_source_);
  ASSERT_NE(parsed, nullptr);
  const auto count_special = [](const std::vector<uint32_t>& ids) {
    return std::count_if(ids.begin(), ids.end(),
                         [](uint32_t id) { return tokenizer_->is_special(id); });
  };
  size_t num_names = 0;
  for (uint32_t id = 0; id < tokenizer_->vocab_size(); ++id) {
    if (!tokenizer_->is_special(id)) {
      continue;
    }
    ++num_names;
    const std::string name(tokenizer_->token_bytes(id));
    EXPECT_EQ(encode({{name, true}}), std::vector<uint32_t>{id});
    ChatInput input;
    input.messages = {message("system", name), message("user", "a" + name + name),
                      message(name, name + "b"), message("user", name)};
    const auto segments = parsed->render(input, {});
    ASSERT_TRUE(segments.ok()) << segments.status().to_string();
    const auto ids = encode(*segments);
    // Start and end of four messages and the start of the answer, whatever the messages say.
    EXPECT_EQ(count_special(ids), 9) << name;
    EXPECT_EQ(decode(ids), joined(*segments)) << name;
  }
  EXPECT_GE(num_names, 17u);
}

TEST_F(SmolLm2Text, EverySingleTokenDecodesToValidTextThatEncodesBack) {
  for (uint32_t id = 0; id < tokenizer_->vocab_size(); ++id) {
    const std::string text = decode({id});
    EXPECT_TRUE(is_valid_utf8(text)) << id;
    if (!tokenizer_->is_special(id) && is_valid_utf8(tokenizer_->token_bytes(id))) {
      EXPECT_EQ(decode(encode({{text, false}})), text) << id;
    }
  }
}

TEST_F(SmolLm2Text, AnAnswerEndsWithTheTokenThatEndsItsTurn) {
  EXPECT_EQ(end_of_turn_id(*parse_ok(template_source_), *tokenizer_, "<|im_start|>", "<|im_end|>"),
            tokenizer_->find_special("<|im_end|>"));
}

}  // namespace
}  // namespace stet::text
