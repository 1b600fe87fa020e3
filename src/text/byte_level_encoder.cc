#include "src/text/byte_level_encoder.h"

#include <bit>
#include <functional>

#include "src/text/utf8.h"

namespace stet::text {

Result<std::unique_ptr<const OrdinaryEncoder>> create_byte_level_encoder(const TokenizerSpec& spec,
                                                                         Vocabulary* vocabulary) {
  STET_ASSIGN_OR_RETURN(ByteLevelTables tables, read_byte_level_vocabulary(spec, vocabulary));
  STET_ASSIGN_OR_RETURN(auto pre_tokenizer, PreTokenizer::create(spec.pre_tokenizer));
  return std::unique_ptr<const OrdinaryEncoder>(
      std::make_unique<ByteLevelEncoder>(vocabulary, std::move(tables), std::move(pre_tokenizer)));
}

ByteLevelEncoder::ByteLevelEncoder(const Vocabulary* vocabulary, ByteLevelTables tables,
                                   std::unique_ptr<const PreTokenizer> pre_tokenizer)
    : vocabulary_(vocabulary),
      tables_(std::move(tables)),
      pre_tokenizer_(std::move(pre_tokenizer)) {
  index_whole_words();
}

void ByteLevelEncoder::index_whole_words() {
  whole_words_.assign(std::bit_ceil(vocabulary_->bytes.size() * 2 + 2), BpeMerges::kNone);
  BpeMerges::Scratch scratch;
  std::vector<uint32_t> ids;
  for (uint32_t id = 0; id < vocabulary_->bytes.size(); ++id) {
    const std::string& bytes = vocabulary_->bytes[id];
    if (vocabulary_->kinds[id] != TokenKind::kNormal || bytes.empty() ||
        num_bytes_without_token(bytes) != 0) {
      continue;
    }
    ids.clear();
    if (!pre_tokenizer_->takes_whole_words()) {
      tables_.merges->encode(bytes, &scratch, &ids);
    }
    if (pre_tokenizer_->takes_whole_words() || (ids.size() == 1 && ids[0] == id)) {
      whole_words_[whole_word_slot(bytes)] = id;
    }
  }
}

size_t ByteLevelEncoder::whole_word_slot(std::string_view word) const {
  const size_t mask = whole_words_.size() - 1;
  size_t at = std::hash<std::string_view>{}(word)&mask;
  while (whole_words_[at] != BpeMerges::kNone && vocabulary_->bytes[whole_words_[at]] != word) {
    at = (at + 1) & mask;
  }
  return at;
}

Status ByteLevelEncoder::encode(std::string_view text, size_t max_tokens,
                                std::vector<uint32_t>* ids) const {
  if (tables_.has_all_bytes) {
    return encode_words(text, max_tokens, ids);
  }
  if (tables_.spells_replacement) {
    std::string storage;
    return encode_words(without_unknown_characters(text, &storage), max_tokens, ids);
  }
  return encode_around_unknown(text, max_tokens, ids);
}

// A vocabulary that cannot even spell U+FFFD: the model's unknown token stands for each such
// character.
Status ByteLevelEncoder::encode_around_unknown(std::string_view text, size_t max_tokens,
                                               std::vector<uint32_t>* ids) const {
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t num_bytes = decode_utf8(text.substr(at)).num_bytes;
    if (num_bytes_without_token(text.substr(at, num_bytes)) != 0) {
      STET_RETURN_IF_ERROR(encode_words(text.substr(begin, at - begin), max_tokens, ids));
      ids->push_back(tables_.unk_id);
      begin = at + num_bytes;
    }
    at += num_bytes;
  }
  return encode_words(text.substr(begin), max_tokens, ids);
}

Status ByteLevelEncoder::encode_words(std::string_view text, size_t max_tokens,
                                      std::vector<uint32_t>* ids) const {
  BpeMerges::Scratch scratch;
  PreTokenizer::Scan scan(*pre_tokenizer_, text);
  std::string_view word;
  while (scan.next(&word)) {
    if (const uint32_t id = whole_words_[whole_word_slot(word)]; id != BpeMerges::kNone) {
      ids->push_back(id);
    } else {
      tables_.merges->encode(word, &scratch, ids);
    }
    STET_RETURN_IF_ERROR(check_token_count(ids->size(), max_tokens));
  }
  return scan.status();
}

size_t ByteLevelEncoder::num_bytes_without_token(std::string_view text) const {
  size_t count = 0;
  for (const char c : text) {
    count += tables_.byte_ids[static_cast<uint8_t>(c)] == BpeMerges::kNone ? 1 : 0;
  }
  return count;
}

// Real vocabularies lack bytes that their training text did not have (SmolLM2: U+0004, planes 4 to
// 11). Peers drop such characters without a word; here the model sees U+FFFD.
std::string_view ByteLevelEncoder::without_unknown_characters(std::string_view text,
                                                              std::string* storage) const {
  if (num_bytes_without_token(text) == 0) {
    return text;
  }
  storage->clear();
  while (!text.empty()) {
    const std::string_view character = text.substr(0, decode_utf8(text).num_bytes);
    storage->append(num_bytes_without_token(character) == 0 ? character : kReplacementCharacter);
    text.remove_prefix(character.size());
  }
  return *storage;
}

}  // namespace stet::text
