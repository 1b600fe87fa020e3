#include <algorithm>
#include <string_view>
#include <unordered_map>

#include "src/text/byte_level.h"
#include "src/text/byte_level_encoder.h"
#include "src/text/utf8.h"

namespace stet::text {
namespace {

// Tokens found in template text only: their names mean something to the model.
bool is_named(TokenKind kind) {
  return kind == TokenKind::kControl || kind == TokenKind::kUserDefined ||
         kind == TokenKind::kUnknown;
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
      return data_loss(tokenizer_field("token_type") + "[" + std::to_string(id) + "] is " +
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

Status read_bytes(const TokenizerSpec& spec, const Spellings& ordinary, ByteLevelTables* tables) {
  tables->byte_ids.fill(BpeMerges::kNone);
  tables->has_all_bytes = true;
  int first_missing = -1;
  for (int byte = 0; byte < 256; ++byte) {
    std::string spelling;
    append_code_point(byte_level_code_point(static_cast<uint8_t>(byte)), &spelling);
    if (const auto found = ordinary.find(spelling); found != ordinary.end()) {
      tables->byte_ids[static_cast<size_t>(byte)] = found->second;
    } else if (occurs_in_utf8(byte)) {
      tables->has_all_bytes = false;
      first_missing = first_missing < 0 ? byte : first_missing;
    }
  }
  tables->spells_replacement = std::all_of(
      kReplacementCharacter.begin(), kReplacementCharacter.end(),
      [&](char c) { return tables->byte_ids[static_cast<uint8_t>(c)] != BpeMerges::kNone; });
  if (!tables->has_all_bytes && !tables->spells_replacement && spec.unk_id < 0) {
    return data_loss(tokenizer_field("tokens") + ": byte " + std::to_string(first_missing) +
                     " has no token, and neither U+FFFD nor an unknown token can stand in for it");
  }
  return {};
}

Status read_merges(const TokenizerSpec& spec, const Spellings& ordinary, ByteLevelTables* tables) {
  auto merges = std::make_unique<BpeMerges>(tables->byte_ids, spec.merges.size());
  std::string joined;
  for (size_t rank = 0; rank < spec.merges.size(); ++rank) {
    const std::string_view merge = spec.merges[rank];
    const size_t space = merge.find(' ', 1);
    if (space == std::string_view::npos || space + 1 == merge.size()) {
      return data_loss(tokenizer_field("merges") + "[" + std::to_string(rank) + "] '" +
                       std::string(merge) + "': expected two tokens with a space between");
    }
    joined.assign(merge.substr(0, space)).append(merge.substr(space + 1));
    const auto left = ordinary.find(merge.substr(0, space));
    const auto right = ordinary.find(merge.substr(space + 1));
    const auto whole = ordinary.find(joined);
    // A merge of or into a special token would let plain text become that token.
    if (left == ordinary.end() || right == ordinary.end() || whole == ordinary.end()) {
      return data_loss(tokenizer_field("merges") + "[" + std::to_string(rank) + "] '" +
                       std::string(merge) + "': a part or the result is no ordinary token");
    }
    merges->add(left->second, right->second, static_cast<uint32_t>(rank), whole->second);
  }
  tables->merges = std::move(merges);
  return {};
}

}  // namespace

Result<ByteLevelTables> read_byte_level_vocabulary(const TokenizerSpec& spec,
                                                   Vocabulary* vocabulary) {
  ByteLevelTables tables;
  Spellings ordinary;
  STET_RETURN_IF_ERROR(read_tokens(spec, vocabulary, &ordinary));
  STET_RETURN_IF_ERROR(read_bytes(spec, ordinary, &tables));
  STET_RETURN_IF_ERROR(read_merges(spec, ordinary, &tables));
  tables.unk_id = spec.unk_id < 0 ? BpeMerges::kNone : static_cast<uint32_t>(spec.unk_id);
  return tables;
}

}  // namespace stet::text
