#include "stet/text/tokenizer.h"

#include <algorithm>

#include "src/text/ordinary_encoder.h"
#include "src/text/utf8.h"
#include "src/text/vocabulary.h"

namespace stet::text {
namespace {

// The one Tokenizer: special tokens, origins and limits here, what lies between in an encoder.
class VocabularyTokenizer final : public Tokenizer {
 public:
  VocabularyTokenizer(std::unique_ptr<const Vocabulary> vocabulary,
                      std::unique_ptr<const OrdinaryEncoder> encoder, const TokenizerSpec& spec)
      : vocabulary_(std::move(vocabulary)),
        encoder_(std::move(encoder)),
        bos_id_(spec.bos_id),
        eos_id_(spec.eos_id),
        add_bos_(spec.add_bos),
        add_eos_(spec.add_eos) {}

  Status encode(std::span<const TextSegment> segments, bool add_special, size_t max_tokens,
                std::vector<uint32_t>* ids) const override;
  std::string_view token_bytes(uint32_t id) const override;
  bool is_special(uint32_t id) const override;
  uint32_t vocab_size() const override { return static_cast<uint32_t>(vocabulary_->bytes.size()); }
  int64_t bos_id() const override { return bos_id_; }
  int64_t eos_id() const override { return eos_id_; }
  std::span<const uint32_t> end_of_generation_ids() const override {
    return vocabulary_->end_of_generation_ids;
  }
  int64_t find_special(std::string_view name) const override;
  bool spells_special(std::string_view text) const override;
  std::string_view sha256_hex() const override { return vocabulary_->sha256_hex; }

 private:
  struct Call {  // the state of one encode
    size_t max_tokens;
    std::vector<uint32_t> ids;
    std::string ordinary;  // text since the last special token
  };
  Status encode_segments(std::span<const TextSegment> segments, Call* call) const;
  Status encode_template_text(std::string_view text, Call* call) const;
  Status encode_ordinary(Call* call) const;

  std::unique_ptr<const Vocabulary> vocabulary_;
  std::unique_ptr<const OrdinaryEncoder> encoder_;  // points to *vocabulary_
  int64_t bos_id_, eos_id_;
  bool add_bos_, add_eos_;
};

using CreateEncoder = Result<std::unique_ptr<const OrdinaryEncoder>>(const TokenizerSpec& spec,
                                                                     Vocabulary* vocabulary);
struct ModelRow {
  std::string_view name;  // tokenizer.ggml.model
  CreateEncoder* create;
};
constexpr ModelRow kModels[] = {{"gpt2", create_byte_level_encoder},
                                {"llama", create_sentencepiece_encoder}};

Result<const ModelRow*> find_model(std::string_view name) {
  std::string known;
  for (const ModelRow& row : kModels) {
    if (row.name == name) {
      return &row;
    }
    known += (known.empty() ? "'" : ", '") + std::string(row.name) + "'";
  }
  return unimplemented(tokenizer_field("model") + " '" + std::string(name) +
                       "' is not supported (known: " + known + ")");
}

Status VocabularyTokenizer::encode(std::span<const TextSegment> segments, bool add_special,
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
  const size_t max_bytes_per_token = std::max<size_t>(vocabulary_->max_token_bytes, 4);
  if (total_bytes / max_bytes_per_token > max_tokens) {
    return resource_exhausted("the text has more than " + std::to_string(max_tokens) +
                              " tokens: " + std::to_string(total_bytes) +
                              " bytes, and no token stands for more than " +
                              std::to_string(max_bytes_per_token));
  }
  Call call{max_tokens, {}, {}};
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
  STET_RETURN_IF_ERROR(check_token_count(call.ids.size(), max_tokens));
  ids->insert(ids->end(), call.ids.begin(), call.ids.end());
  return {};
}

Status VocabularyTokenizer::encode_segments(std::span<const TextSegment> segments,
                                            Call* call) const {
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

Status VocabularyTokenizer::encode_template_text(std::string_view text, Call* call) const {
  size_t at = 0;
  SpecialTrie::Match match;
  while (vocabulary_->specials.find(text, at, &match)) {
    call->ordinary += text.substr(at, match.begin - at);
    STET_RETURN_IF_ERROR(encode_ordinary(call));
    call->ids.push_back(match.token_id);
    at = match.end;
  }
  call->ordinary += text.substr(at);
  return check_token_count(call->ids.size(), call->max_tokens);
}

Status VocabularyTokenizer::encode_ordinary(Call* call) const {
  const Status status = encoder_->encode(call->ordinary, call->max_tokens, &call->ids);
  call->ordinary.clear();
  return status;
}

std::string_view VocabularyTokenizer::token_bytes(uint32_t id) const {
  return id < vocabulary_->bytes.size() ? std::string_view(vocabulary_->bytes[id])
                                        : std::string_view();
}

bool VocabularyTokenizer::is_special(uint32_t id) const {
  return id < vocabulary_->kinds.size() && (vocabulary_->kinds[id] == TokenKind::kControl ||
                                            vocabulary_->kinds[id] == TokenKind::kUnknown);
}

int64_t VocabularyTokenizer::find_special(std::string_view name) const {
  const auto found = vocabulary_->special_ids.find(std::string(name));
  return found == vocabulary_->special_ids.end() ? -1 : static_cast<int64_t>(found->second);
}

bool VocabularyTokenizer::spells_special(std::string_view text) const {
  SpecialTrie::Match match;
  return vocabulary_->specials.find(text, 0, &match);
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> Tokenizer::create(const TokenizerSpec& spec) {
  STET_ASSIGN_OR_RETURN(const ModelRow* model, find_model(spec.model));
  STET_RETURN_IF_ERROR(check_sizes(spec));
  auto vocabulary = std::make_unique<Vocabulary>();
  STET_ASSIGN_OR_RETURN(auto encoder, model->create(spec, vocabulary.get()));
  find_end_of_generation(spec, vocabulary.get());
  vocabulary->sha256_hex = hash_spec(spec);
  return std::shared_ptr<const Tokenizer>(
      std::make_shared<VocabularyTokenizer>(std::move(vocabulary), std::move(encoder), spec));
}

}  // namespace stet::text
