// A byte-level BPE vocabulary of any size from 259 up, learned from a few sentences: 3 control
// tokens, 256 bytes, merges.
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

}  // namespace stet::testing
