// The one Tokenizer: byte-level BPE. Built by VocabularyBuilder (vocabulary.cc), immutable
// afterwards; thread-safe.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "src/text/bpe_merges.h"
#include "src/text/pre_tokenizer.h"
#include "src/text/special_trie.h"
#include "stet/text/tokenizer.h"

namespace stet::text {

// What create() makes of a TokenizerSpec.
struct Vocabulary {
  std::vector<std::string> bytes;  // per id: what the token stands for; special tokens: their name
  std::vector<TokenKind> kinds;    // per id
  std::array<uint32_t, 256> byte_ids{};
  bool has_all_bytes = false;       // every byte that occurs in UTF-8 has a token
  bool spells_replacement = false;  // U+FFFD has tokens: it stands in for characters that have none
  size_t max_token_bytes = 1;
  std::unique_ptr<const BpeMerges> merges;
  SpecialTrie specials;
  std::unordered_map<std::string, uint32_t> special_ids;
  std::vector<uint32_t> end_of_generation_ids;
  std::string sha256_hex;
};

// Checks the tables of a spec and turns them into a Vocabulary; errors name the field.
Result<Vocabulary> build_vocabulary(const TokenizerSpec& spec);

// Tokens found in template text only: their names mean something to the model.
inline bool is_named(TokenKind kind) {
  return kind == TokenKind::kControl || kind == TokenKind::kUserDefined ||
         kind == TokenKind::kUnknown;
}

class BpeTokenizer final : public Tokenizer {
 public:
  BpeTokenizer(Vocabulary vocabulary, std::unique_ptr<const PreTokenizer> pre_tokenizer,
               const TokenizerSpec& spec);

  Status encode(std::span<const TextSegment> segments, bool add_special, size_t max_tokens,
                std::vector<uint32_t>* ids) const override;
  std::string_view token_bytes(uint32_t id) const override;
  bool is_special(uint32_t id) const override;
  uint32_t vocab_size() const override { return static_cast<uint32_t>(vocabulary_.bytes.size()); }
  int64_t bos_id() const override { return bos_id_; }
  std::span<const uint32_t> end_of_generation_ids() const override {
    return vocabulary_.end_of_generation_ids;
  }
  int64_t find_special(std::string_view name) const override;
  bool spells_special(std::string_view text) const override;
  std::string_view sha256_hex() const override { return vocabulary_.sha256_hex; }

 private:
  struct Call;  // the state of one encode
  Status encode_segments(std::span<const TextSegment> segments, Call* call) const;
  Status encode_template_text(std::string_view text, Call* call) const;
  Status encode_ordinary(Call* call) const;
  Status encode_around_unknown(std::string_view text, Call* call) const;
  Status encode_words(std::string_view text, Call* call) const;
  std::string_view without_unknown_characters(std::string_view text, std::string* storage) const;
  size_t num_bytes_without_token(std::string_view text) const;

  // Tokens which the merges make of their own bytes: one look-up instead of the merges for most
  // words of ordinary text.
  void index_whole_words();
  size_t whole_word_slot(std::string_view word) const;

  Vocabulary vocabulary_;
  std::unique_ptr<const PreTokenizer> pre_tokenizer_;
  int64_t bos_id_, eos_id_, unk_id_;
  bool add_bos_, add_eos_;
  std::vector<uint32_t> whole_words_;  // open addressing over ids; BpeMerges::kNone = empty
};

}  // namespace stet::text
