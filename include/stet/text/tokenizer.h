// Tokenizer over a GGUF vocabulary: byte-level BPE or SentencePiece. Immutable; thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stet/base/status.h"

namespace stet::text {

enum class TokenKind : uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

// What a model file says of its tokenizer, as plain data (daemon fills it from
// formats::TensorIndex).
struct TokenizerSpec {
  std::string model;  // "gpt2" (byte-level BPE) or "llama" (SentencePiece)
  // gpt2: "smollm", "gpt2", "llama-bpe", "qwen2" (pre_tokenizer.cc has all).
  std::string pre_tokenizer;
  std::vector<std::string> tokens;
  std::vector<TokenKind> kinds;     // empty = all normal; llama: one per token
  std::vector<std::string> merges;  // gpt2: "a b"
  std::vector<float> scores;        // llama: one per token, the highest merges first
  // llama: text begins with a space that the prompt does not have.
  bool add_space_prefix = true;
  int64_t bos_id = -1, eos_id = -1, eot_id = -1, eom_id = -1, unk_id = -1;  // -1 = none
  bool add_bos = false, add_eos = false;
};

// A piece of a prompt and where it came from. Special tokens are recognised in template text only;
// data stays text.
struct TextSegment {
  std::string text;
  bool is_template = false;
  friend bool operator==(const TextSegment&, const TextSegment&) = default;
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  // Unknown model or pre-tokenizer, inconsistent tables: a Status that names the field.
  static Result<std::shared_ptr<const Tokenizer>> create(const TokenizerSpec& spec);

  // Appends the ids of the concatenated segments. Special tokens are found where they lie wholly in
  // template text (adjacent template segments are one text), the longest first; what stands between
  // two of them is one ordinary text, whatever its origins, so that harmless content gets the ids
  // it has in the reference implementations. (SentencePiece's user-defined tokens that are text,
  // such as line breaks and HTML tags, are part of that ordinary text, and so may be data.) With
  // add_special the model's bos is put in front (and
  // its eos behind) if it wants one and it is not there already. Fails, with `ids` as it was, on
  // invalid UTF-8 or on more than max_tokens tokens (RESOURCE_EXHAUSTED, before the work is done
  // where possible).
  virtual Status encode(std::span<const TextSegment> segments, bool add_special, size_t max_tokens,
                        std::vector<uint32_t>* ids) const = 0;
  // Exact bytes of a token; special tokens: their name. With add_space_prefix the bytes of a
  // prompt's tokens begin with the space that was put in front: what the model sees is shown, and
  // what it generates continues a text, so nobody takes a space away.
  virtual std::string_view token_bytes(uint32_t id) const = 0;
  virtual bool is_special(
      uint32_t id) const = 0;  // control tokens: withheld by skip_special_tokens
  virtual uint32_t vocab_size() const = 0;
  virtual int64_t bos_id() const = 0;            // -1 = none
  virtual int64_t eos_id() const { return -1; }  // -1 = none; its name is a template's eos_token
  // eos, eot, eom and tokens named like an end of turn ("<|im_end|>"), ascending.
  virtual std::span<const uint32_t> end_of_generation_ids() const = 0;
  // The control or user-defined token of that name, or -1. See also end_of_turn_id in
  // chat_template.h.
  virtual int64_t find_special(std::string_view name) const = 0;
  // True if `text` spells one of the special tokens (for the warning of api.md sec. 4).
  virtual bool spells_special(std::string_view text) const = 0;
  virtual std::string_view sha256_hex()
      const = 0;  // of the spec: part of the fingerprint, not of the numerics id
};

}  // namespace stet::text
