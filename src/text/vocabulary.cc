#include "src/text/vocabulary.h"

#include <bit>
#include <set>
#include <string_view>

#include "stet/base/sha256.h"

namespace stet::text {
namespace {

constexpr size_t kMaxTokens =
    1u << 22;  // ids are 32 bits; the largest public vocabularies have 2^18 tokens

// Names that end a turn or a text in public models: the list of llama.cpp (llama-vocab.cpp,
// special_eog_ids).
constexpr std::string_view kEndNames[] = {"<|im_end|>",
                                          "<|endoftext|>",
                                          "<|eot_id|>",
                                          "<|eom_id|>",
                                          "<|end_of_text|>",
                                          "<|end|>",
                                          "<|return|>",
                                          "<|call|>",
                                          "<|calls|>",
                                          "<|flush|>",
                                          "</s>",
                                          "<eos>",
                                          "<EOT>",
                                          "_<EOT>",
                                          "[EOT]",
                                          "[EOS]",
                                          "<end_of_turn>",
                                          "<turn|>",
                                          "<end_of_utterance>",
                                          "<|tool_response>",
                                          "<｜end▁of▁sentence｜>",
                                          "[e~["};

}  // namespace

std::string tokenizer_field(std::string_view name) {
  return "tokenizer.ggml." + std::string(name);
}

std::string token_at(const TokenizerSpec& spec, size_t id) {
  return tokenizer_field("tokens") + "[" + std::to_string(id) + "] '" + spec.tokens[id] + "'";
}

Status check_sizes(const TokenizerSpec& spec) {
  if (spec.tokens.empty() || spec.tokens.size() > kMaxTokens) {
    return data_loss(tokenizer_field("tokens") + ": expected 1 to " + std::to_string(kMaxTokens) +
                     " tokens, found " + std::to_string(spec.tokens.size()));
  }
  if (!spec.kinds.empty() && spec.kinds.size() != spec.tokens.size()) {
    return data_loss(tokenizer_field("token_type") + " has " + std::to_string(spec.kinds.size()) +
                     " entries, " + tokenizer_field("tokens") + " " +
                     std::to_string(spec.tokens.size()));
  }
  const std::pair<const char*, int64_t> ids[] = {{"bos_token_id", spec.bos_id},
                                                 {"eos_token_id", spec.eos_id},
                                                 {"eot_token_id", spec.eot_id},
                                                 {"eom_token_id", spec.eom_id},
                                                 {"unknown_token_id", spec.unk_id}};
  for (const auto& [name, id] : ids) {
    if (id < -1 || id >= static_cast<int64_t>(spec.tokens.size())) {
      return data_loss(tokenizer_field(name) + " is " + std::to_string(id) + ", but there are " +
                       std::to_string(spec.tokens.size()) + " tokens");
    }
  }
  return {};
}

void find_end_of_generation(const TokenizerSpec& spec, Vocabulary* vocabulary) {
  std::set<uint32_t> ids;
  for (const std::string_view name : kEndNames) {
    const auto found = vocabulary->special_ids.find(std::string(name));
    if (found != vocabulary->special_ids.end() &&
        vocabulary->kinds[found->second] == TokenKind::kControl) {
      ids.insert(found->second);
    }
  }
  // Harmony (gpt-oss, Solar): "<|end|>" only separates messages of one answer; as llama.cpp decides
  // it.
  auto has = [&](const char* name) {
    const auto found = vocabulary->special_ids.find(name);
    return found != vocabulary->special_ids.end() && ids.contains(found->second);
  };
  if (has("<|end|>") &&
      ((has("<|return|>") && has("<|call|>")) || (has("<|calls|>") && has("<|flush|>")))) {
    ids.erase(vocabulary->special_ids.at("<|end|>"));
  }
  for (const int64_t id : {spec.eos_id, spec.eot_id, spec.eom_id}) {
    if (id >= 0) {
      ids.insert(static_cast<uint32_t>(id));
    }
  }
  vocabulary->end_of_generation_ids.assign(ids.begin(), ids.end());
}

std::string hash_spec(const TokenizerSpec& spec) {
  std::string bytes;
  size_t total = 64 + 2 * 8 * (spec.tokens.size() + spec.merges.size());
  for (const auto* list : {&spec.tokens, &spec.merges}) {
    for (const std::string& text : *list) {
      total += text.size();
    }
  }
  bytes.reserve(total);
  auto number = [&bytes](uint64_t value) {
    for (int shift = 0; shift < 64; shift += 8) {
      bytes.push_back(static_cast<char>(value >> shift));
    }
  };
  auto text = [&](std::string_view value) {
    number(value.size());
    bytes.append(value);
  };
  text("stet tokenizer 1");  // version of this list
  text(spec.model);
  text(spec.pre_tokenizer);
  for (const auto* list : {&spec.tokens, &spec.merges}) {
    number(list->size());
    for (const std::string& value : *list) {
      text(value);
    }
  }
  number(spec.kinds.size());
  for (const TokenKind kind : spec.kinds) {
    bytes.push_back(static_cast<char>(kind));
  }
  for (const int64_t id : {spec.bos_id, spec.eos_id, spec.eot_id, spec.eom_id, spec.unk_id}) {
    number(static_cast<uint64_t>(id));
  }
  number((spec.add_bos ? 1u : 0u) | (spec.add_eos ? 2u : 0u));
  if (spec.model == "llama") {  // the others have no use for these
    number(spec.add_space_prefix ? 1 : 0);
    number(spec.scores.size());
    for (const float score : spec.scores) {
      number(std::bit_cast<uint32_t>(score));
    }
  }
  return to_hex(sha256(std::as_bytes(std::span(bytes))));
}

}  // namespace stet::text
