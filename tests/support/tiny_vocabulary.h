// Vocabularies for tiny models. Byte-level BPE of any size from 259 up, learned from a few
// sentences: 3 control tokens, 256 bytes, merges. And pieces.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace stet::testing {

// Layout of tokenizer.ggml.*: ids 0..2 are <|endoftext|>, <|im_start|>, <|im_end|>, as in SmolLM2.
struct TinyVocabulary {
  std::vector<std::string> tokens;  // in GPT-2's byte alphabet
  std::vector<int32_t> types;       // 1 normal, 3 control, 5 unused
  std::vector<std::string> merges;  // "a b", by rank
};

std::string gpt2_byte_text(uint8_t byte);  // UTF-8 of GPT-2's character for a byte
TinyVocabulary make_tiny_vocabulary(uint32_t vocab_size);

// A SentencePiece vocabulary in the manner of Gemma's, of any size from 275 up. Ids 0..4 are <unk>,
// <bos>, <eos>, <start_of_turn>, <end_of_turn>; then 256 bytes, a line break as user-defined token,
// pieces of a few words, unused ones.
struct TinyPieces {
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<int32_t> types;
};
TinyPieces make_tiny_pieces(uint32_t vocab_size);

}  // namespace stet::testing
