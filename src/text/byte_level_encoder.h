// Byte-level BPE (GPT-2, Llama 3, Qwen): words by a pattern, merges inside them, every byte a
// symbol. Immutable; thread-safe.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "src/text/bpe_merges.h"
#include "src/text/ordinary_encoder.h"
#include "src/text/pre_tokenizer.h"

namespace stet::text {

struct ByteLevelTables {
  std::array<uint32_t, 256> byte_ids{};  // BpeMerges::kNone where the vocabulary has no token
  bool has_all_bytes = false;            // every byte that occurs in UTF-8 has a token
  bool spells_replacement = false;  // U+FFFD has tokens: it stands in for characters that have none
  uint32_t unk_id = BpeMerges::kNone;
  std::unique_ptr<const BpeMerges> merges;
};

// Checks the tables of a spec and fills `vocabulary`; errors name the field.
Result<ByteLevelTables> read_byte_level_vocabulary(const TokenizerSpec& spec,
                                                   Vocabulary* vocabulary);

class ByteLevelEncoder final : public OrdinaryEncoder {
 public:
  ByteLevelEncoder(const Vocabulary* vocabulary, ByteLevelTables tables,
                   std::unique_ptr<const PreTokenizer> pre_tokenizer);
  Status encode(std::string_view text, size_t max_tokens,
                std::vector<uint32_t>* ids) const override;

 private:
  Status encode_around_unknown(std::string_view text, size_t max_tokens,
                               std::vector<uint32_t>* ids) const;
  Status encode_words(std::string_view text, size_t max_tokens, std::vector<uint32_t>* ids) const;
  std::string_view without_unknown_characters(std::string_view text, std::string* storage) const;
  size_t num_bytes_without_token(std::string_view text) const;

  // Tokens which the merges make of their own bytes: one look-up instead of the merges for most
  // words of ordinary text.
  void index_whole_words();
  size_t whole_word_slot(std::string_view word) const;

  const Vocabulary* vocabulary_;
  ByteLevelTables tables_;
  std::unique_ptr<const PreTokenizer> pre_tokenizer_;
  std::vector<uint32_t> whole_words_;  // open addressing over ids; BpeMerges::kNone = empty
};

}  // namespace stet::text
