// Ordinary text, which is what stands between special tokens, to ids: the part in which the kinds
// of vocabularies differ. Immutable; thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "src/text/vocabulary.h"
#include "stet/base/status.h"

namespace stet::text {

class OrdinaryEncoder {
 public:
  virtual ~OrdinaryEncoder() = default;
  // Appends the ids of `text` (valid UTF-8). RESOURCE_EXHAUSTED soon after `ids` has more than
  // max_tokens entries.
  virtual Status encode(std::string_view text, size_t max_tokens,
                        std::vector<uint32_t>* ids) const = 0;
};

// Each checks the tables of a spec, fills `vocabulary` (bytes, kinds, specials) and makes the
// encoder, which keeps a pointer to it. Errors name the field.
Result<std::unique_ptr<const OrdinaryEncoder>> create_byte_level_encoder(const TokenizerSpec& spec,
                                                                         Vocabulary* vocabulary);
Result<std::unique_ptr<const OrdinaryEncoder>> create_sentencepiece_encoder(
    const TokenizerSpec& spec, Vocabulary* vocabulary);

inline Status check_token_count(size_t num_tokens, size_t max_tokens) {
  if (num_tokens > max_tokens) {
    return resource_exhausted("the text has more than " + std::to_string(max_tokens) + " tokens");
  }
  return {};
}

}  // namespace stet::text
