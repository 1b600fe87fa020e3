// SentencePiece's BPE (Gemma, Llama 2): a space is a character of the pieces, merges go by score
// and know no words, characters without a piece fall back to the tokens of their bytes.
//
// Inside, U+2581, with which SentencePiece spells a space, is a space: pieces are looked up by the
// bytes they stand for, and prompts are not copied to spell their spaces. The map is one to one
// because a text that SentencePiece has normalised holds no other space. Immutable; thread-safe.
#pragma once

#include <array>
#include <string>
#include <unordered_map>
#include <vector>

#include "src/text/ordinary_encoder.h"
#include "src/text/piece_index.h"
#include "src/text/piece_merges.h"

namespace stet::text {

struct SentencePieceTables {
  std::array<uint32_t, 256> byte_ids{};
  PieceIndex pieces;         // what merges make: normal and unused tokens
  SpecialTrie user_defined;  // found in all text, before the merges
  std::vector<float> scores;
  bool add_space_prefix = true;
};

// Checks the tables of a spec and fills `vocabulary`; errors name the field.
Result<SentencePieceTables> read_sentencepiece_vocabulary(const TokenizerSpec& spec,
                                                          Vocabulary* vocabulary);

class SentencePieceEncoder final : public OrdinaryEncoder {
 public:
  SentencePieceEncoder(const Vocabulary* vocabulary, SentencePieceTables tables);
  Status encode(std::string_view text, size_t max_tokens,
                std::vector<uint32_t>* ids) const override;

 private:
  using Scratch = PieceMerges::Scratch;
  Status encode_run(std::string_view text, size_t max_tokens, Scratch* scratch,
                    std::vector<uint32_t>* ids) const;
  void encode_word(std::string_view word, bool to_whole, Scratch* scratch,
                   std::vector<uint32_t>* ids) const;
  size_t end_of_word(std::string_view text, size_t begin) const;
  bool joins_space(char32_t code_point) const;
  std::string_view with_spaces(std::string_view text, std::string* storage) const;

  void find_joints();
  void expand_unused();
  void find_whole_words();

  const Vocabulary* vocabulary_;
  SentencePieceTables tables_;
  PieceMerges merges_;
  // Characters that stand before a space inside some piece. No merge crosses the place between
  // another character and a space, so what lies between two such places is a word of its own.
  std::array<bool, 128> ascii_joins_{};
  std::vector<char32_t> other_joins_;  // ascending
  // Pieces which the merges make of their own text: one look-up for most words of ordinary text.
  // Those that begin with a space, as all words do but the first: others are not worth the time at
  // start.
  std::vector<bool> is_whole_word_;  // per id
  // Unused tokens are merged like others, and at the end taken apart again.
  std::unordered_map<uint32_t, std::vector<uint32_t>> unused_parts_;
};

}  // namespace stet::text
