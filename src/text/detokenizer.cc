#include "stet/text/detokenizer.h"

#include "src/text/utf8.h"

namespace stet::text {

void Detokenizer::append(uint32_t token_id, std::string* out) {
  if (skip_special_ && tokenizer_->is_special(token_id)) {
    return;
  }
  pending_.append(tokenizer_->token_bytes(token_id));
  std::string_view rest = pending_;
  while (!rest.empty()) {
    const Utf8Unit unit = decode_utf8(rest);
    if (unit.kind == Utf8Unit::Kind::kUnfinished) {
      break;
    }
    out->append(unit.kind == Utf8Unit::Kind::kComplete ? rest.substr(0, unit.num_bytes)
                                                       : kReplacementCharacter);
    rest.remove_prefix(unit.num_bytes);
  }
  pending_.erase(0, pending_.size() - rest.size());
}

void Detokenizer::finish(std::string* out) {
  append_utf8_lossy(pending_, out);
  pending_.clear();
}

}  // namespace stet::text
