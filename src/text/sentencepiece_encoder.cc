#include "src/text/sentencepiece_encoder.h"

#include <algorithm>

#include "src/text/sentencepiece_space.h"
#include "src/text/utf8.h"

namespace stet::text {
namespace {

bool is_mergeable(TokenKind kind) {
  return kind == TokenKind::kNormal || kind == TokenKind::kUnused;
}

}  // namespace

Result<std::unique_ptr<const OrdinaryEncoder>> create_sentencepiece_encoder(
    const TokenizerSpec& spec, Vocabulary* vocabulary) {
  STET_ASSIGN_OR_RETURN(SentencePieceTables tables,
                        read_sentencepiece_vocabulary(spec, vocabulary));
  return std::unique_ptr<const OrdinaryEncoder>(
      std::make_unique<SentencePieceEncoder>(vocabulary, std::move(tables)));
}

SentencePieceEncoder::SentencePieceEncoder(const Vocabulary* vocabulary, SentencePieceTables tables)
    : vocabulary_(vocabulary),
      tables_(std::move(tables)),
      merges_(&tables_.pieces, &tables_.scores) {
  find_joints();
  expand_unused();
  find_whole_words();
}

void SentencePieceEncoder::find_joints() {
  for (size_t id = 0; id < vocabulary_->bytes.size(); ++id) {
    if (!is_mergeable(vocabulary_->kinds[id])) {
      continue;
    }
    std::string_view rest = vocabulary_->bytes[id];
    for (char32_t before = U' '; !rest.empty();) {
      const Utf8Unit unit = decode_utf8(rest);
      const bool at_begin = rest.size() == vocabulary_->bytes[id].size();
      if (unit.code_point == U' ' && !at_begin && before < ascii_joins_.size()) {
        ascii_joins_[before] = true;
      } else if (unit.code_point == U' ' && !at_begin) {
        other_joins_.push_back(before);
      }
      before = unit.code_point;
      rest.remove_prefix(unit.num_bytes);
    }
  }
  std::sort(other_joins_.begin(), other_joins_.end());
  other_joins_.erase(std::unique(other_joins_.begin(), other_joins_.end()), other_joins_.end());
}

// SentencePiece remembers of which two symbols it made an unused piece the last time it could have.
// That is always the same pair: inside the piece's text merges follow each other in one order,
// whatever stands around it. So the parts are found once, the shorter pieces first.
void SentencePieceEncoder::expand_unused() {
  std::vector<uint32_t> unused;
  for (uint32_t id = 0; id < vocabulary_->kinds.size(); ++id) {
    const std::string& text = vocabulary_->bytes[id];
    if (vocabulary_->kinds[id] == TokenKind::kUnused && !text.empty() &&
        decode_utf8(text).num_bytes < text.size()) {
      unused.push_back(id);
    }
  }
  std::stable_sort(unused.begin(), unused.end(), [this](uint32_t a, uint32_t b) {
    return vocabulary_->bytes[a].size() < vocabulary_->bytes[b].size();
  });
  Scratch scratch;
  for (const uint32_t id : unused) {
    std::vector<uint32_t> parts;
    encode_word(vocabulary_->bytes[id], /*to_whole=*/false, &scratch, &parts);
    unused_parts_.emplace(id, std::move(parts));
  }
}

void SentencePieceEncoder::find_whole_words() {
  is_whole_word_.assign(vocabulary_->bytes.size(), false);
  Scratch scratch;
  std::vector<uint32_t> ids;
  for (uint32_t id = 0; id < vocabulary_->bytes.size(); ++id) {
    const std::string& text = vocabulary_->bytes[id];
    if (vocabulary_->kinds[id] == TokenKind::kNormal && text.starts_with(' ')) {
      ids.clear();
      encode_word(text, /*to_whole=*/true, &scratch, &ids);
      is_whole_word_[id] = ids.size() == 1 && ids[0] == id;
    }
  }
}

Status SentencePieceEncoder::encode(std::string_view text, size_t max_tokens,
                                    std::vector<uint32_t>* ids) const {
  std::string storage;
  text = with_spaces(text, &storage);
  Scratch scratch;
  size_t at = 0;
  SpecialTrie::Match match;
  while (tables_.user_defined.find(text, at, &match)) {
    STET_RETURN_IF_ERROR(encode_run(text.substr(at, match.begin - at), max_tokens, &scratch, ids));
    ids->push_back(match.token_id);
    STET_RETURN_IF_ERROR(check_token_count(ids->size(), max_tokens));
    at = match.end;
  }
  return encode_run(text.substr(at), max_tokens, &scratch, ids);
}

// The text as the pieces spell it.
std::string_view SentencePieceEncoder::with_spaces(std::string_view text,
                                                   std::string* storage) const {
  if (text.empty()) {
    return text;
  }
  if (text.find(kSpelledSpace) != std::string_view::npos) {
    *storage = unspell_spaces(text);
    text = *storage;
  }
  if (tables_.add_space_prefix) {
    *storage = std::string(" ").append(text);
    text = *storage;
  }
  return text;
}

Status SentencePieceEncoder::encode_run(std::string_view text, size_t max_tokens, Scratch* scratch,
                                        std::vector<uint32_t>* ids) const {
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = end_of_word(text, begin);
    const std::string_view word = text.substr(begin, end - begin);
    const uint32_t id = tables_.pieces.find(word);
    if (id != kNoPiece && is_whole_word_[id]) {
      ids->push_back(id);
    } else {
      encode_word(word, /*to_whole=*/true, scratch, ids);
    }
    STET_RETURN_IF_ERROR(check_token_count(ids->size(), max_tokens));
    begin = end;
  }
  return {};
}

size_t SentencePieceEncoder::end_of_word(std::string_view text, size_t begin) const {
  for (size_t at = text.find(' ', begin + 1); at != std::string_view::npos;
       at = text.find(' ', at + 1)) {
    size_t before = at - 1;
    while (before > begin && is_continuation_byte(text[before])) {
      --before;
    }
    if (!joins_space(decode_utf8(text.substr(before)).code_point)) {
      return at;
    }
  }
  return text.size();
}

bool SentencePieceEncoder::joins_space(char32_t code_point) const {
  return code_point < ascii_joins_.size()
             ? ascii_joins_[code_point]
             : std::binary_search(other_joins_.begin(), other_joins_.end(), code_point);
}

void SentencePieceEncoder::encode_word(std::string_view word, bool to_whole, Scratch* scratch,
                                       std::vector<uint32_t>* ids) const {
  merges_.merge(word, to_whole, scratch);
  for (uint32_t at = 0; at != kNoPiece && !word.empty(); at = scratch->symbols[at].next) {
    const PieceMerges::Symbol& symbol = scratch->symbols[at];
    const std::string_view text = word.substr(symbol.begin, symbol.num_bytes);
    const uint32_t id = symbol.id != kNoPiece ? symbol.id : tables_.pieces.find(text);
    if (id == kNoPiece) {
      for (const char byte : text) {
        ids->push_back(tables_.byte_ids[static_cast<uint8_t>(byte)]);
      }
    } else if (const auto parts = unused_parts_.find(id); parts != unused_parts_.end()) {
      ids->insert(ids->end(), parts->second.begin(), parts->second.end());
    } else {
      ids->push_back(id);
    }
  }
}

}  // namespace stet::text
