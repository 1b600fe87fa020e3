#include "src/text/piece_index.h"

#include <algorithm>
#include <bit>
#include <functional>

namespace stet::text {

PieceIndex::PieceIndex(const std::vector<std::string>* texts, size_t max_pieces)
    : texts_(texts), slots_(std::bit_ceil(max_pieces * 2 + 2)) {}

size_t PieceIndex::slot_of(std::string_view text, uint32_t* tag) const {
  const size_t hash = std::hash<std::string_view>{}(text);
  const size_t mask = slots_.size() - 1;
  *tag = static_cast<uint32_t>(hash >> 32);
  size_t at = hash & mask;
  while (slots_[at].id != kNoPiece &&
         (slots_[at].tag != *tag || (*texts_)[slots_[at].id] != text)) {
    at = (at + 1) & mask;
  }
  return at;
}

uint32_t PieceIndex::add(uint32_t id) {
  const std::string& text = (*texts_)[id];
  uint32_t tag = 0;
  Slot& slot = slots_[slot_of(text, &tag)];
  if (slot.id != kNoPiece) {
    return slot.id;
  }
  slot = {tag, id};
  max_bytes_ = std::max(max_bytes_, text.size());
  return kNoPiece;
}

uint32_t PieceIndex::find(std::string_view text) const {
  if (text.size() > max_bytes_) {
    return kNoPiece;  // keeps the price of a look-up independent of the text
  }
  uint32_t tag = 0;
  return slots_[slot_of(text, &tag)].id;
}

}  // namespace stet::text
