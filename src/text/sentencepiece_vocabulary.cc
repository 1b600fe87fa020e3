#include <algorithm>
#include <cmath>
#include <string_view>

#include "src/text/protocol_mark.h"
#include "src/text/sentencepiece_encoder.h"
#include "src/text/sentencepiece_space.h"

namespace stet::text {
namespace {

Status check_tables(const TokenizerSpec& spec) {
  if (spec.kinds.empty()) {
    return data_loss(tokenizer_field("token_type") +
                     " is missing: a SentencePiece vocabulary tells there which tokens are bytes "
                     "and which are control tokens");
  }
  if (spec.scores.size() != spec.tokens.size()) {
    return data_loss(tokenizer_field("scores") + " has " + std::to_string(spec.scores.size()) +
                     " entries, " + tokenizer_field("tokens") + " " +
                     std::to_string(spec.tokens.size()));
  }
  for (size_t id = 0; id < spec.scores.size(); ++id) {
    if (std::isnan(spec.scores[id])) {
      return data_loss(tokenizer_field("scores") + "[" + std::to_string(id) + "] is no number");
    }
  }
  return {};
}

int hex_digit(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// "<0xAB>" -> 0xAB, or -1.
int parse_byte(std::string_view spelling) {
  if (spelling.size() != 6 || !spelling.starts_with("<0x") || spelling[5] != '>' ||
      hex_digit(spelling[3]) < 0 || hex_digit(spelling[4]) < 0) {
    return -1;
  }
  return hex_digit(spelling[3]) * 16 + hex_digit(spelling[4]);
}

Status occurs_twice(const TokenizerSpec& spec, uint32_t id, uint32_t first) {
  return data_loss(token_at(spec, id) + " occurs twice (first at " + std::to_string(first) + ")");
}

// One that the file uses for a purpose of its own is a mark whatever its name is.
bool is_mark(const TokenizerSpec& spec, uint32_t id, std::string_view name) {
  for (const int64_t used : {spec.bos_id, spec.eos_id, spec.eot_id, spec.eom_id, spec.unk_id}) {
    if (used == static_cast<int64_t>(id)) {
      return true;
    }
  }
  return is_protocol_mark(name);
}

class Reader {
 public:
  Reader(const TokenizerSpec& spec, Vocabulary* vocabulary)
      : spec_(spec),
        vocabulary_(vocabulary),
        tables_{{},
                PieceIndex(&vocabulary->bytes, spec.tokens.size()),
                {},
                spec.scores,
                spec.add_space_prefix} {
    tables_.byte_ids.fill(kNoPiece);
  }

  Status read() {
    vocabulary_->kinds = spec_.kinds;
    vocabulary_->bytes.reserve(spec_.tokens.size());
    for (uint32_t id = 0; id < spec_.tokens.size(); ++id) {
      STET_RETURN_IF_ERROR(read_token(id));
    }
    for (uint32_t id = 0; id < spec_.tokens.size(); ++id) {
      const uint32_t piece = spec_.kinds[id] == TokenKind::kUserDefined
                                 ? tables_.pieces.find(vocabulary_->bytes[id])
                                 : kNoPiece;
      if (piece != kNoPiece) {
        return occurs_twice(spec_, std::max(id, piece), std::min(id, piece));
      }
    }
    for (size_t byte = 0; byte < tables_.byte_ids.size(); ++byte) {
      if (tables_.byte_ids[byte] == kNoPiece) {
        return data_loss(tokenizer_field("tokens") + ": byte " + std::to_string(byte) +
                         " has no token of kind 6");
      }
    }
    if (tables_.pieces.find(" ") == kNoPiece) {
      return data_loss(tokenizer_field("tokens") + ": the space, U+2581, has no token");
    }
    return {};
  }
  SentencePieceTables take() { return std::move(tables_); }

 private:
  Status read_token(uint32_t id) {
    const std::string& spelling = spec_.tokens[id];
    const TokenKind kind = spec_.kinds[id];
    const auto num_spaces = std::count(spelling.begin(), spelling.end(), ' ');
    // A token stands for as much text as its spelling has bytes (in prompts a space may be U+2581).
    vocabulary_->max_token_bytes = std::max(vocabulary_->max_token_bytes,
                                            spelling.size() + 2 * static_cast<size_t>(num_spaces));
    switch (kind) {
      case TokenKind::kNormal:
      case TokenKind::kUnused: return read_piece(id);
      case TokenKind::kUserDefined: return read_user_defined(id);
      case TokenKind::kByte: return read_byte(id);
      case TokenKind::kControl:
      case TokenKind::kUnknown:
        vocabulary_->bytes.push_back(spelling);
        if (!spelling.empty()) {
          vocabulary_->specials.add(spelling, id);
        }
        return add_name(id);
    }
    return data_loss(tokenizer_field("token_type") + "[" + std::to_string(id) + "] is " +
                     std::to_string(static_cast<int>(kind)) +
                     ": a SentencePiece vocabulary has kinds 1 to 6");
  }

  Status read_piece(uint32_t id) {
    const std::string& spelling = spec_.tokens[id];
    // No text has a space once it is spelled in pieces, so such a token never comes of merges.
    const bool is_reachable = !spelling.empty() && spelling.find(' ') == std::string::npos;
    vocabulary_->bytes.push_back(unspell_spaces(spelling));
    const uint32_t first = is_reachable ? tables_.pieces.add(id) : kNoPiece;
    return first == kNoPiece ? Status() : occurs_twice(spec_, id, first);
  }

  Status add_name(uint32_t id) {
    const std::string& name = vocabulary_->bytes[id];
    const auto [found, added] = vocabulary_->special_ids.emplace(name, id);
    return added || name.empty() ? Status() : occurs_twice(spec_, id, found->second);
  }

  // Converters spell the spaces of these tokens either way.
  Status read_user_defined(uint32_t id) {
    const std::string text = unspell_spaces(spec_.tokens[id]);
    vocabulary_->bytes.push_back(text);
    if (text.empty()) {
      return {};
    }
    STET_RETURN_IF_ERROR(add_name(id));
    if (is_mark(spec_, id, text)) {
      vocabulary_->specials.add(text, id);
    } else {
      tables_.user_defined.add(text, id);
    }
    return {};
  }

  Status read_byte(uint32_t id) {
    const int byte = parse_byte(spec_.tokens[id]);
    if (byte < 0) {
      return data_loss(token_at(spec_, id) + " is of kind 6 (byte): expected '<0x00>' to '<0xFF>'");
    }
    uint32_t& slot = tables_.byte_ids[static_cast<size_t>(byte)];
    if (slot != kNoPiece) {
      return occurs_twice(spec_, id, slot);
    }
    slot = id;
    vocabulary_->bytes.emplace_back(1, static_cast<char>(byte));
    return {};
  }

  const TokenizerSpec& spec_;
  Vocabulary* vocabulary_;
  SentencePieceTables tables_;
};

}  // namespace

Result<SentencePieceTables> read_sentencepiece_vocabulary(const TokenizerSpec& spec,
                                                          Vocabulary* vocabulary) {
  STET_RETURN_IF_ERROR(check_tables(spec));
  Reader reader(spec, vocabulary);
  STET_RETURN_IF_ERROR(reader.read());
  return reader.take();
}

}  // namespace stet::text
