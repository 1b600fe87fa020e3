#include "stet/text/tokenizer.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "src/text/bpe_tokenizer.h"
#include "src/text/utf8.h"
#include "stet/base/check.h"

namespace stet::text {

Result<std::shared_ptr<const Tokenizer>> Tokenizer::create(const TokenizerSpec& spec) {
  STET_ASSIGN_OR_RETURN(Vocabulary vocabulary, build_vocabulary(spec));
  STET_ASSIGN_OR_RETURN(auto pre_tokenizer, PreTokenizer::create(spec.pre_tokenizer));
  return std::shared_ptr<const Tokenizer>(
      std::make_shared<BpeTokenizer>(std::move(vocabulary), std::move(pre_tokenizer), spec));
}

struct BpeTokenizer::Call {
  size_t max_tokens;
  std::vector<uint32_t> ids;
  std::string ordinary;  // text since the last special token
  BpeMerges::Scratch scratch;
  std::string storage;

  Status check_count() const {
    if (ids.size() > max_tokens) {
      return resource_exhausted("the text has more than " + std::to_string(max_tokens) + " tokens");
    }
    return {};
  }
};

BpeTokenizer::BpeTokenizer(Vocabulary vocabulary, std::unique_ptr<const PreTokenizer> pre_tokenizer,
                           const TokenizerSpec& spec)
    : vocabulary_(std::move(vocabulary)),
      pre_tokenizer_(std::move(pre_tokenizer)),
      bos_id_(spec.bos_id),
      eos_id_(spec.eos_id),
      unk_id_(spec.unk_id),
      add_bos_(spec.add_bos),
      add_eos_(spec.add_eos) {
  index_whole_words();
}

void BpeTokenizer::index_whole_words() {
  whole_words_.assign(std::bit_ceil(vocabulary_.bytes.size() * 2 + 2), BpeMerges::kNone);
  BpeMerges::Scratch scratch;
  std::vector<uint32_t> ids;
  for (uint32_t id = 0; id < vocabulary_.bytes.size(); ++id) {
    const std::string& bytes = vocabulary_.bytes[id];
    if (vocabulary_.kinds[id] != TokenKind::kNormal || bytes.empty() ||
        num_bytes_without_token(bytes) != 0) {
      continue;
    }
    ids.clear();
    if (!pre_tokenizer_->takes_whole_words()) {
      vocabulary_.merges->encode(bytes, &scratch, &ids);
    }
    if (pre_tokenizer_->takes_whole_words() || (ids.size() == 1 && ids[0] == id)) {
      whole_words_[whole_word_slot(bytes)] = id;
    }
  }
}

size_t BpeTokenizer::whole_word_slot(std::string_view word) const {
  const size_t mask = whole_words_.size() - 1;
  size_t at = std::hash<std::string_view>{}(word)&mask;
  while (whole_words_[at] != BpeMerges::kNone && vocabulary_.bytes[whole_words_[at]] != word) {
    at = (at + 1) & mask;
  }
  return at;
}

Status BpeTokenizer::encode(std::span<const TextSegment> segments, bool add_special,
                            size_t max_tokens, std::vector<uint32_t>* ids) const {
  size_t total_bytes = 0;
  for (const TextSegment& segment : segments) {
    if (const size_t at = first_invalid_utf8(segment.text); at != std::string_view::npos) {
      return invalid_argument("the text is no valid UTF-8 at byte " +
                              std::to_string(total_bytes + at));
    }
    total_bytes += segment.text.size();
  }
  // No token stands for more bytes than the longest; a character without token (<= 4 bytes) costs
  // at least one.
  const size_t max_bytes_per_token = std::max<size_t>(vocabulary_.max_token_bytes, 4);
  if (total_bytes / max_bytes_per_token > max_tokens) {
    return resource_exhausted("the text has more than " + std::to_string(max_tokens) +
                              " tokens: " + std::to_string(total_bytes) +
                              " bytes, and no token stands for more than " +
                              std::to_string(max_bytes_per_token));
  }
  Call call{max_tokens, {}, {}, {}, {}};
  STET_RETURN_IF_ERROR(encode_segments(segments, &call));
  auto is_id = [](uint32_t id, int64_t wanted) { return static_cast<int64_t>(id) == wanted; };
  if (add_special && add_bos_ && bos_id_ >= 0 &&
      (call.ids.empty() || !is_id(call.ids.front(), bos_id_))) {
    call.ids.insert(call.ids.begin(), static_cast<uint32_t>(bos_id_));
  }
  if (add_special && add_eos_ && eos_id_ >= 0 &&
      (call.ids.empty() || !is_id(call.ids.back(), eos_id_))) {
    call.ids.push_back(static_cast<uint32_t>(eos_id_));
  }
  STET_RETURN_IF_ERROR(call.check_count());
  ids->insert(ids->end(), call.ids.begin(), call.ids.end());
  return {};
}

Status BpeTokenizer::encode_segments(std::span<const TextSegment> segments, Call* call) const {
  std::string template_text;
  for (size_t i = 0; i < segments.size(); ++i) {
    if (!segments[i].is_template) {
      call->ordinary += segments[i].text;
      continue;
    }
    template_text = segments[i].text;
    while (i + 1 < segments.size() && segments[i + 1].is_template) {
      template_text += segments[++i].text;
    }
    STET_RETURN_IF_ERROR(encode_template_text(template_text, call));
  }
  return encode_ordinary(call);
}

Status BpeTokenizer::encode_template_text(std::string_view text, Call* call) const {
  size_t at = 0;
  SpecialTrie::Match match;
  while (vocabulary_.specials.find(text, at, &match)) {
    call->ordinary += text.substr(at, match.begin - at);
    STET_RETURN_IF_ERROR(encode_ordinary(call));
    call->ids.push_back(match.token_id);
    at = match.end;
  }
  call->ordinary += text.substr(at);
  return call->check_count();
}

Status BpeTokenizer::encode_ordinary(Call* call) const {
  std::string_view text = call->ordinary;
  Status status;
  if (vocabulary_.has_all_bytes) {
    status = encode_words(text, call);
  } else if (vocabulary_.spells_replacement) {
    status = encode_words(without_unknown_characters(text, &call->storage), call);
  } else {
    status = encode_around_unknown(text, call);
  }
  call->ordinary.clear();
  return status;
}

// A vocabulary that cannot even spell U+FFFD: the model's unknown token stands for each such
// character.
Status BpeTokenizer::encode_around_unknown(std::string_view text, Call* call) const {
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t num_bytes = decode_utf8(text.substr(at)).num_bytes;
    if (num_bytes_without_token(text.substr(at, num_bytes)) != 0) {
      STET_RETURN_IF_ERROR(encode_words(text.substr(begin, at - begin), call));
      call->ids.push_back(static_cast<uint32_t>(unk_id_));
      begin = at + num_bytes;
    }
    at += num_bytes;
  }
  return encode_words(text.substr(begin), call);
}

Status BpeTokenizer::encode_words(std::string_view text, Call* call) const {
  PreTokenizer::Scan scan(*pre_tokenizer_, text);
  std::string_view word;
  while (scan.next(&word)) {
    if (const uint32_t id = whole_words_[whole_word_slot(word)]; id != BpeMerges::kNone) {
      call->ids.push_back(id);
    } else {
      vocabulary_.merges->encode(word, &call->scratch, &call->ids);
    }
    STET_RETURN_IF_ERROR(call->check_count());
  }
  return scan.status();
}

size_t BpeTokenizer::num_bytes_without_token(std::string_view text) const {
  size_t count = 0;
  for (const char c : text) {
    count += vocabulary_.byte_ids[static_cast<uint8_t>(c)] == BpeMerges::kNone ? 1 : 0;
  }
  return count;
}

// Real vocabularies lack bytes that their training text did not have (SmolLM2: U+0004, planes 4 to
// 11). Peers drop such characters without a word; here the model sees U+FFFD.
std::string_view BpeTokenizer::without_unknown_characters(std::string_view text,
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

std::string_view BpeTokenizer::token_bytes(uint32_t id) const {
  return id < vocabulary_.bytes.size() ? std::string_view(vocabulary_.bytes[id])
                                       : std::string_view();
}

bool BpeTokenizer::is_special(uint32_t id) const {
  return id < vocabulary_.kinds.size() && (vocabulary_.kinds[id] == TokenKind::kControl ||
                                           vocabulary_.kinds[id] == TokenKind::kUnknown);
}

int64_t BpeTokenizer::find_special(std::string_view name) const {
  const auto found = vocabulary_.special_ids.find(std::string(name));
  return found == vocabulary_.special_ids.end() ? -1 : static_cast<int64_t>(found->second);
}

bool BpeTokenizer::spells_special(std::string_view text) const {
  SpecialTrie::Match match;
  return vocabulary_.specials.find(text, 0, &match);
}

}  // namespace stet::text
