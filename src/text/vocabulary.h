// What every kind of vocabulary has: the bytes and kinds of its tokens, the names found in template
// text, what ends an answer. Immutable once built; thread-safe.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "src/text/special_trie.h"
#include "stet/text/tokenizer.h"

namespace stet::text {

struct Vocabulary {
  std::vector<std::string> bytes;  // per id: what the token stands for; special tokens: their name
  std::vector<TokenKind> kinds;    // per id
  size_t max_token_bytes = 1;      // of prompt text that one token can stand for
  SpecialTrie specials;            // found in template text only
  std::unordered_map<std::string, uint32_t>
      special_ids;  // names of control and user-defined tokens
  std::vector<uint32_t> end_of_generation_ids;
  std::string sha256_hex;
};

// "tokenizer.ggml.<name>", and a token of it, for messages.
std::string tokenizer_field(std::string_view name);
std::string token_at(const TokenizerSpec& spec, size_t id);

// The number of tokens, kinds as many, ids among them.
Status check_sizes(const TokenizerSpec& spec);
void find_end_of_generation(const TokenizerSpec& spec, Vocabulary* vocabulary);
std::string hash_spec(const TokenizerSpec& spec);

}  // namespace stet::text
