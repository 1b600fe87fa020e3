// Any bytes as a prompt of a tiny vocabulary: what was encoded decodes to itself, data never
// becomes a special token, cutting a text changes nothing, and the detokenizer gives valid UTF-8
// all along. The first byte chooses the vocabulary and the origin, the second where the text is
// cut.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "src/text/byte_level.h"
#include "src/text/utf8.h"
#include "stet/text/detokenizer.h"
#include "stet/text/tokenizer.h"

namespace {

using stet::text::TextSegment;
using stet::text::Tokenizer;

constexpr uint32_t kNumSpecial = 4;

void expect(bool condition) {
  if (!condition) {
    std::abort();
  }
}

std::string spelling_of(char byte) {
  std::string spelling;
  stet::text::append_code_point(stet::text::byte_level_code_point(static_cast<uint8_t>(byte)),
                                &spelling);
  return spelling;
}

// Four special names (one is the start of another), the 256 bytes, and merges of a few words.
std::shared_ptr<const Tokenizer> make(const char* pre_tokenizer) {
  stet::text::TokenizerSpec spec;
  spec.model = "gpt2";
  spec.pre_tokenizer = pre_tokenizer;
  spec.tokens = {"<|a|>", "<|a|><|b|>", "<|b|>", "\xE2\x96\x81"};
  for (int byte = 0; byte < 256; ++byte) {
    spec.tokens.push_back(spelling_of(static_cast<char>(byte)));
  }
  for (const std::string word :
       {" the", "aaaa", "\u00e9\u00e9", "  ", "\n\n", "<|a", "\U0001F600"}) {
    std::string left = spelling_of(word[0]);
    for (size_t i = 1; i < word.size(); ++i) {
      const std::string right = spelling_of(word[i]);
      const std::string merge = left + " " + right;
      left += right;
      if (std::find(spec.tokens.begin(), spec.tokens.end(), left) == spec.tokens.end()) {
        spec.tokens.push_back(left);
        spec.merges.push_back(merge);
      }
    }
  }
  spec.kinds.assign(spec.tokens.size(), stet::text::TokenKind::kNormal);
  std::fill_n(spec.kinds.begin(), kNumSpecial, stet::text::TokenKind::kControl);
  auto made = Tokenizer::create(spec);
  expect(made.ok());
  return *made;
}

// Three special names and a user-defined mark, the 256 bytes, user-defined text, and pieces: some
// unused, some with equal scores, one across a space.
std::shared_ptr<const Tokenizer> make_pieces() {
  using stet::text::TokenKind;
  stet::text::TokenizerSpec spec;
  spec.model = "llama";
  spec.add_space_prefix = false;
  auto add = [&spec](std::string token, TokenKind kind, int score) {
    spec.tokens.push_back(std::move(token));
    spec.kinds.push_back(kind);
    spec.scores.push_back(static_cast<float>(score));
  };
  add("<|a|>", TokenKind::kControl, 0);
  add("<|a|><|b|>", TokenKind::kControl, 0);
  add("<|b|>", TokenKind::kUserDefined, 0);
  add("<unk>", TokenKind::kUnknown, 0);
  for (int byte = 0; byte < 256; ++byte) {
    const char* digits = "0123456789ABCDEF";
    add(std::string("<0x") + digits[byte / 16] + digits[byte % 16] + ">", TokenKind::kByte, 0);
  }
  for (const char* text : {"\n", "\n\n", "  ", "<b>", "fox"}) {
    add(text, TokenKind::kUserDefined, 0);
  }
  int score = 0;
  for (const char* piece :
       {"\u2581", "a", "aa", "aaaa", "\u2581t", "he", "\u2581the", "\u00e9\u00e9", "<|", "<|a",
        "|>", ">\u2581", "b>", "fo", "ox", "\U0001F600", "th", "e\u2581"}) {
    add(piece, score % 4 == 3 ? TokenKind::kUnused : TokenKind::kNormal, -(score / 2));
    ++score;
  }
  auto made = Tokenizer::create(spec);
  expect(made.ok());
  return *made;
}

// What SentencePiece can tell of a text: U+2581 is a space.
std::string with_spaces(std::string text) {
  for (size_t at = 0; (at = text.find("\u2581", at)) != std::string::npos;) {
    text.replace(at, 3, " ");
  }
  return text;
}

std::vector<uint32_t> encode(const Tokenizer& tokenizer, const std::vector<TextSegment>& segments) {
  std::vector<uint32_t> ids;
  expect(tokenizer.encode(segments, false, SIZE_MAX, &ids).ok());
  return ids;
}

// Ids back to text, by the bytes and by the detokenizer.
void expect_decodes_to(const Tokenizer& tokenizer, const std::vector<uint32_t>& ids,
                       const std::string& text) {
  std::string bytes;
  std::string streamed;
  stet::text::Detokenizer detokenizer(&tokenizer, false);
  for (const uint32_t id : ids) {
    bytes += tokenizer.token_bytes(id);
    std::string delta;
    detokenizer.append(id, &delta);
    expect(stet::text::is_valid_utf8(delta));
    streamed += delta;
  }
  detokenizer.finish(&streamed);
  expect(bytes == text && streamed == text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::shared_ptr<const Tokenizer> kTokenizers[] = {make("smollm"), make("gpt2"),
                                                                 make_pieces()};
  if (size < 2) {
    return 0;
  }
  const Tokenizer& tokenizer = *kTokenizers[(data[0] & 4) != 0 ? 2 : data[0] & 1];
  const bool is_template = (data[0] & 2) != 0;
  const bool has_pieces = (data[0] & 4) != 0;
  const std::string raw(reinterpret_cast<const char*>(data) + 2, size - 2);
  std::vector<uint32_t> ids;
  const std::vector<TextSegment> unchecked = {{raw, is_template}};
  const bool valid = stet::text::is_valid_utf8(raw);
  expect(tokenizer.encode(unchecked, false, SIZE_MAX, &ids).ok() == valid);
  expect(valid || ids.empty());
  std::string text;
  stet::text::append_utf8_lossy(raw, &text);

  const auto whole = encode(tokenizer, {{text, is_template}});
  const std::string expected = has_pieces ? with_spaces(text) : text;
  expect_decodes_to(tokenizer, whole, expected);
  expect(is_template ||
         std::none_of(whole.begin(), whole.end(), [](uint32_t id) { return id < kNumSpecial; }));
  size_t cut = text.empty() ? 0 : data[1] % (text.size() + 1);
  while (cut > 0 && cut < text.size() && stet::text::is_continuation_byte(text[cut])) {
    --cut;
  }
  expect(encode(tokenizer, {{text.substr(0, cut), is_template}, {text.substr(cut), is_template}}) ==
         whole);
  expect_decodes_to(tokenizer,
                    encode(tokenizer, {{text.substr(0, cut), true}, {text.substr(cut), false}}),
                    expected);
  // A limit is kept exactly, and a refused text leaves nothing behind.
  ids.clear();
  const std::vector<TextSegment> checked = {{text, is_template}};
  expect(tokenizer.encode(checked, false, whole.size(), &ids).ok() && ids == whole);
  if (!whole.empty()) {
    ids.clear();
    expect(!tokenizer.encode(checked, false, whole.size() - 1, &ids).ok() && ids.empty());
  }
  return 0;
}
