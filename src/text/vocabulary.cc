#include <algorithm>
#include <bit>
#include <set>
#include <string_view>

#include "src/text/bpe_tokenizer.h"
#include "src/text/byte_level.h"
#include "src/text/utf8.h"
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

std::string field(std::string_view name) {
  return "tokenizer.ggml." + std::string(name);
}

std::string token_at(const TokenizerSpec& spec, size_t id) {
  return field("tokens") + "[" + std::to_string(id) + "] '" + spec.tokens[id] + "'";
}

Status check_sizes(const TokenizerSpec& spec) {
  if (spec.model != "gpt2") {
    return unimplemented(field("model") + " '" + spec.model + "' is not supported (known: 'gpt2')");
  }
  if (spec.tokens.empty() || spec.tokens.size() > kMaxTokens) {
    return data_loss(field("tokens") + ": expected 1 to " + std::to_string(kMaxTokens) +
                     " tokens, found " + std::to_string(spec.tokens.size()));
  }
  if (!spec.kinds.empty() && spec.kinds.size() != spec.tokens.size()) {
    return data_loss(field("token_type") + " has " + std::to_string(spec.kinds.size()) +
                     " entries, " + field("tokens") + " " + std::to_string(spec.tokens.size()));
  }
  const std::pair<const char*, int64_t> ids[] = {{"bos_token_id", spec.bos_id},
                                                 {"eos_token_id", spec.eos_id},
                                                 {"eot_token_id", spec.eot_id},
                                                 {"eom_token_id", spec.eom_id},
                                                 {"unknown_token_id", spec.unk_id}};
  for (const auto& [name, id] : ids) {
    if (id < -1 || id >= static_cast<int64_t>(spec.tokens.size())) {
      return data_loss(field(name) + " is " + std::to_string(id) + ", but there are " +
                       std::to_string(spec.tokens.size()) + " tokens");
    }
  }
  return {};
}

using Spellings = std::unordered_map<std::string_view, uint32_t>;  // ordinary tokens only

Status read_tokens(const TokenizerSpec& spec, Vocabulary* vocabulary, Spellings* ordinary) {
  const size_t n = spec.tokens.size();
  vocabulary->kinds =
      spec.kinds.empty() ? std::vector<TokenKind>(n, TokenKind::kNormal) : spec.kinds;
  vocabulary->bytes.reserve(n);
  ordinary->reserve(n);
  for (uint32_t id = 0; id < n; ++id) {
    const std::string& spelling = spec.tokens[id];
    const TokenKind kind = vocabulary->kinds[id];
    if (kind < TokenKind::kNormal || kind > TokenKind::kUnused) {
      return data_loss(field("token_type") + "[" + std::to_string(id) + "] is " +
                       std::to_string(static_cast<int>(kind)) +
                       ": a byte-level vocabulary has kinds 1 to 5");
    }
    std::string bytes = spelling;
    if (kind == TokenKind::kNormal) {
      bytes = decode_byte_level(spelling).value_or(spelling);
      if (!spelling.empty() && !ordinary->emplace(spelling, id).second) {
        return data_loss(token_at(spec, id) + " occurs twice (first at " +
                         std::to_string(ordinary->at(spelling)) + ")");
      }
    } else if (is_named(kind) && !spelling.empty()) {
      vocabulary->specials.add(spelling, id);
      vocabulary->special_ids.emplace(spelling, id);
    }
    vocabulary->max_token_bytes = std::max(vocabulary->max_token_bytes, bytes.size());
    vocabulary->bytes.push_back(std::move(bytes));
  }
  return {};
}

bool occurs_in_utf8(int byte) {
  return byte < 0xC0 || (byte > 0xC1 && byte < 0xF5);
}

Status read_bytes(const TokenizerSpec& spec, const Spellings& ordinary, Vocabulary* vocabulary) {
  vocabulary->byte_ids.fill(BpeMerges::kNone);
  vocabulary->has_all_bytes = true;
  int first_missing = -1;
  for (int byte = 0; byte < 256; ++byte) {
    std::string spelling;
    append_code_point(byte_level_code_point(static_cast<uint8_t>(byte)), &spelling);
    if (const auto found = ordinary.find(spelling); found != ordinary.end()) {
      vocabulary->byte_ids[static_cast<size_t>(byte)] = found->second;
    } else if (occurs_in_utf8(byte)) {
      vocabulary->has_all_bytes = false;
      first_missing = first_missing < 0 ? byte : first_missing;
    }
  }
  vocabulary->spells_replacement = std::all_of(
      kReplacementCharacter.begin(), kReplacementCharacter.end(),
      [&](char c) { return vocabulary->byte_ids[static_cast<uint8_t>(c)] != BpeMerges::kNone; });
  if (!vocabulary->has_all_bytes && !vocabulary->spells_replacement && spec.unk_id < 0) {
    return data_loss(field("tokens") + ": byte " + std::to_string(first_missing) +
                     " has no token, and neither U+FFFD nor an unknown token can stand in for it");
  }
  return {};
}

Status read_merges(const TokenizerSpec& spec, const Spellings& ordinary, Vocabulary* vocabulary) {
  auto merges = std::make_unique<BpeMerges>(vocabulary->byte_ids, spec.merges.size());
  std::string joined;
  for (size_t rank = 0; rank < spec.merges.size(); ++rank) {
    const std::string_view merge = spec.merges[rank];
    const size_t space = merge.find(' ', 1);
    if (space == std::string_view::npos || space + 1 == merge.size()) {
      return data_loss(field("merges") + "[" + std::to_string(rank) + "] '" + std::string(merge) +
                       "': expected two tokens with a space between");
    }
    joined.assign(merge.substr(0, space)).append(merge.substr(space + 1));
    const auto left = ordinary.find(merge.substr(0, space));
    const auto right = ordinary.find(merge.substr(space + 1));
    const auto whole = ordinary.find(joined);
    // A merge of or into a special token would let plain text become that token.
    if (left == ordinary.end() || right == ordinary.end() || whole == ordinary.end()) {
      return data_loss(field("merges") + "[" + std::to_string(rank) + "] '" + std::string(merge) +
                       "': a part or the result is no ordinary token");
    }
    merges->add(left->second, right->second, static_cast<uint32_t>(rank), whole->second);
  }
  vocabulary->merges = std::move(merges);
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
  return to_hex(sha256(std::as_bytes(std::span(bytes))));
}

}  // namespace

Result<Vocabulary> build_vocabulary(const TokenizerSpec& spec) {
  STET_RETURN_IF_ERROR(check_sizes(spec));
  Vocabulary vocabulary;
  Spellings ordinary;
  STET_RETURN_IF_ERROR(read_tokens(spec, &vocabulary, &ordinary));
  STET_RETURN_IF_ERROR(read_bytes(spec, ordinary, &vocabulary));
  STET_RETURN_IF_ERROR(read_merges(spec, ordinary, &vocabulary));
  find_end_of_generation(spec, &vocabulary);
  vocabulary.sha256_hex = hash_spec(spec);
  return vocabulary;
}

}  // namespace stet::text
