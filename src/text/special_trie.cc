#include "src/text/special_trie.h"

namespace stet::text {

SpecialTrie::SpecialTrie() : nodes_(1) {
  by_first_.fill(kNone);
}

uint32_t SpecialTrie::child(uint32_t node, char byte) const {
  for (uint32_t c = nodes_[node].first_child; c != kNone; c = nodes_[c].next_sibling) {
    if (nodes_[c].byte == byte) {
      return c;
    }
  }
  return kNone;
}

void SpecialTrie::add(std::string_view name, uint32_t token_id) {
  uint32_t at = 0;
  for (const char byte : name) {
    uint32_t next = child(at, byte);
    if (next == kNone) {
      next = static_cast<uint32_t>(nodes_.size());
      nodes_.push_back({kNone, nodes_[at].first_child, kNone, byte});
      nodes_[at].first_child = next;
    }
    at = next;
  }
  if (nodes_[at].token_id == kNone) {
    nodes_[at].token_id = token_id;
  }
  for (uint32_t c = nodes_[0].first_child; c != kNone; c = nodes_[c].next_sibling) {
    by_first_[static_cast<uint8_t>(nodes_[c].byte)] = c;
  }
}

bool SpecialTrie::find(std::string_view text, size_t from, Match* match) const {
  for (size_t begin = from; begin < text.size(); ++begin) {
    uint32_t node = by_first_[static_cast<uint8_t>(text[begin])];
    bool found = false;
    for (size_t end = begin + 1; node != kNone; ++end) {
      if (nodes_[node].token_id != kNone) {
        *match = {begin, end, nodes_[node].token_id};
        found = true;
      }
      node = end < text.size() ? child(node, text[end]) : kNone;
    }
    if (found) {
      return true;
    }
  }
  return false;
}

}  // namespace stet::text
