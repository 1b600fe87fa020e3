#include "src/daemon/served_model.h"

#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

#include "stet/base/sha256.h"

namespace stet::daemon {
namespace {

using formats::MetaScalar;
using formats::TensorIndex;

// Raised when the order or arithmetic of sampling (C7) or of text processing changes: old and new
// answers differ then.
constexpr std::string_view kSamplerVersion = "1";

// Ids are written as u32 by converters, as i32 by some; -1 or a missing key means none.
Result<int64_t> optional_id(const TensorIndex& index, const std::string& key) {
  const auto found = index.metadata.find(key);
  if (found == index.metadata.end()) {
    return int64_t{-1};
  }
  if (const auto* scalar = std::get_if<MetaScalar>(&found->second.value)) {
    if (const auto* id = std::get_if<uint64_t>(scalar); id != nullptr && *id <= UINT32_MAX) {
      return static_cast<int64_t>(*id);
    }
    if (const auto* id = std::get_if<int64_t>(scalar);
        id != nullptr && *id >= -1 && *id <= INT64_C(0xFFFFFFFF)) {
      return *id;
    }
  }
  return data_loss("offset " + std::to_string(found->second.file_offset) + ": " + key +
                   ": expected a token id");
}

Result<bool> optional_bool(const TensorIndex& index, std::string_view key, bool when_missing) {
  if (!index.has(key)) {
    return when_missing;
  }
  return index.get_bool(key);
}

// As floats, which converters write; one per token.
Result<std::vector<float>> token_scores(const TensorIndex& index, size_t num_tokens) {
  constexpr std::string_view kKey = "tokenizer.ggml.scores";
  const auto found = index.metadata.find(kKey);
  if (found == index.metadata.end()) {
    return data_loss("metadata '" + std::string(kKey) + "' is missing");
  }
  const std::string where =
      "offset " + std::to_string(found->second.file_offset) + ": " + std::string(kKey) + ": ";
  const auto* numbers = std::get_if<std::vector<double>>(&found->second.value);
  if (numbers == nullptr) {
    return data_loss(where + "expected an array of floats");
  }
  if (numbers->size() != num_tokens) {
    return data_loss(where + "expected " + std::to_string(num_tokens) +
                     " entries, one per token, found " + std::to_string(numbers->size()));
  }
  return std::vector<float>(numbers->begin(), numbers->end());
}

Result<std::vector<text::TokenKind>> token_kinds(const TensorIndex& index, size_t num_tokens) {
  constexpr std::string_view kKey = "tokenizer.ggml.token_type";
  std::vector<text::TokenKind> kinds;
  const auto found = index.metadata.find(kKey);
  if (found == index.metadata.end()) {
    return kinds;
  }
  const std::string where =
      "offset " + std::to_string(found->second.file_offset) + ": " + std::string(kKey) + ": ";
  const auto take = [&](const auto& numbers) -> Status {
    if (numbers.size() != num_tokens) {
      return data_loss(where + "expected " + std::to_string(num_tokens) +
                       " entries, one per token, found " + std::to_string(numbers.size()));
    }
    for (size_t i = 0; i < numbers.size(); ++i) {
      if (numbers[i] < 1 || numbers[i] > 6) {
        return data_loss(where + "entry " + std::to_string(i) + " is " +
                         std::to_string(numbers[i]) + ", expected 1 to 6");
      }
      kinds.push_back(static_cast<text::TokenKind>(numbers[i]));
    }
    return {};
  };
  if (const auto* numbers = std::get_if<std::vector<int64_t>>(&found->second.value)) {
    STET_RETURN_IF_ERROR(take(*numbers));
  } else if (const auto* unsigned_numbers =
                 std::get_if<std::vector<uint64_t>>(&found->second.value)) {
    STET_RETURN_IF_ERROR(take(*unsigned_numbers));
  } else {
    return data_loss(where + "expected an array of integers");
  }
  return kinds;
}

}  // namespace

Result<text::TokenizerSpec> tokenizer_spec(const TensorIndex& index) {
  text::TokenizerSpec spec;
  STET_ASSIGN_OR_RETURN(spec.model, index.get_string("tokenizer.ggml.model"));
  if (index.has("tokenizer.ggml.pre")) {
    STET_ASSIGN_OR_RETURN(spec.pre_tokenizer, index.get_string("tokenizer.ggml.pre"));
  }
  STET_ASSIGN_OR_RETURN(const std::span<const std::string> tokens,
                        index.get_strings("tokenizer.ggml.tokens"));
  spec.tokens.assign(tokens.begin(), tokens.end());
  STET_ASSIGN_OR_RETURN(spec.kinds, token_kinds(index, spec.tokens.size()));
  if (index.has("tokenizer.ggml.merges")) {
    STET_ASSIGN_OR_RETURN(const std::span<const std::string> merges,
                          index.get_strings("tokenizer.ggml.merges"));
    spec.merges.assign(merges.begin(), merges.end());
  }
  STET_ASSIGN_OR_RETURN(spec.bos_id, optional_id(index, "tokenizer.ggml.bos_token_id"));
  STET_ASSIGN_OR_RETURN(spec.eos_id, optional_id(index, "tokenizer.ggml.eos_token_id"));
  STET_ASSIGN_OR_RETURN(spec.eot_id, optional_id(index, "tokenizer.ggml.eot_token_id"));
  STET_ASSIGN_OR_RETURN(spec.eom_id, optional_id(index, "tokenizer.ggml.eom_token_id"));
  STET_ASSIGN_OR_RETURN(spec.unk_id, optional_id(index, "tokenizer.ggml.unknown_token_id"));
  // SentencePiece files without the key are of a time when every such model wanted bos.
  const bool is_sentencepiece = spec.model == "llama";
  STET_ASSIGN_OR_RETURN(spec.add_bos,
                        optional_bool(index, "tokenizer.ggml.add_bos_token", is_sentencepiece));
  STET_ASSIGN_OR_RETURN(spec.add_eos, optional_bool(index, "tokenizer.ggml.add_eos_token", false));
  if (is_sentencepiece) {
    STET_ASSIGN_OR_RETURN(spec.scores, token_scores(index, spec.tokens.size()));
    STET_ASSIGN_OR_RETURN(spec.add_space_prefix,
                          optional_bool(index, "tokenizer.ggml.add_space_prefix", true));
  }
  return spec;
}

Result<TextParts> read_text_parts(const TensorIndex& index) {
  TextParts parts;
  STET_ASSIGN_OR_RETURN(const text::TokenizerSpec spec, tokenizer_spec(index));
  STET_ASSIGN_OR_RETURN(parts.tokenizer, text::Tokenizer::create(spec));
  const auto is_control = [&parts](std::string_view name) {
    const int64_t id = parts.tokenizer->find_special(name);
    return id >= 0 && parts.tokenizer->is_special(static_cast<uint32_t>(id));
  };
  std::string source(text::default_chat_template(is_control).source);
  parts.default_template = !index.has("tokenizer.chat_template");
  if (!parts.default_template) {
    STET_ASSIGN_OR_RETURN(source, index.get_string("tokenizer.chat_template"));
  }
  auto parsed = text::ChatTemplate::parse(source);
  if (!parsed.ok()) {
    return data_loss(parsed.status().with_context("tokenizer.chat_template").message());
  }
  parts.chat_template = *parsed;
  return parts;
}

std::string served_model_id(const std::string& configured_id, const std::string& path) {
  if (!configured_id.empty()) {
    return configured_id;
  }
  constexpr std::string_view kAllowed =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  std::string id = std::filesystem::path(path).stem().string().substr(0, 128);
  for (char& c : id) {
    if (kAllowed.find(c) == std::string_view::npos) {
      c = '_';
    }
  }
  return id.empty() ? "model" : id;
}

std::string fingerprint_of(const model::Model& model, const text::Tokenizer& tokenizer,
                           const text::ChatTemplate& chat_template) {
  Sha256 hash;
  hash.update_field("tokenizer", tokenizer.sha256_hex());
  hash.update_field("template", chat_template.source());
  hash.update_field("sampler", kSamplerVersion);
  const Sha256Digest digest = hash.finish();
  return "stet-" + model.numerics_id_hex() + "-" + to_hex(std::span(digest).first(4));
}

}  // namespace stet::daemon
