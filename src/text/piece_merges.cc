#include "src/text/piece_merges.h"

#include <algorithm>

#include "src/text/utf8.h"

namespace stet::text {
namespace {

// Heap order: the highest score first, of equal scores the leftmost.
bool joins_later(const PieceMerges::Candidate& a, const PieceMerges::Candidate& b) {
  return a.score != b.score ? a.score < b.score : a.left_at > b.left_at;
}

}  // namespace

void PieceMerges::push(std::string_view text, uint32_t left_at, bool to_whole,
                       Scratch* scratch) const {
  const Symbol& left = scratch->symbols[left_at];
  if (left.next == kNoPiece) {
    return;
  }
  const uint32_t num_bytes = left.num_bytes + scratch->symbols[left.next].num_bytes;
  if (num_bytes == text.size() && !to_whole) {
    return;
  }
  const uint32_t id = pieces_->find(text.substr(left.begin, num_bytes));
  if (id != kNoPiece) {
    scratch->heap.push_back({(*scores_)[id], left_at, num_bytes, id});
    std::push_heap(scratch->heap.begin(), scratch->heap.end(), joins_later);
  }
}

void PieceMerges::merge(std::string_view text, bool to_whole, Scratch* scratch) const {
  auto& [symbols, heap] = *scratch;
  symbols.clear();
  heap.clear();
  for (uint32_t begin = 0, at = 0; begin < text.size(); ++at) {
    const auto num_bytes = static_cast<uint32_t>(decode_utf8(text.substr(begin)).num_bytes);
    symbols.push_back({begin, num_bytes, at == 0 ? kNoPiece : at - 1, at + 1, kNoPiece});
    begin += num_bytes;
  }
  if (!symbols.empty()) {
    symbols.back().next = kNoPiece;
  }
  for (uint32_t at = 0; at + 1 < symbols.size(); ++at) {
    push(text, at, to_whole, scratch);
  }
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), joins_later);
    const Candidate best = heap.back();
    heap.pop_back();
    Symbol& left = symbols[best.left_at];
    // Symbols only grow: two that are together as long as before are the same two.
    if (left.num_bytes == 0 || left.next == kNoPiece ||
        left.num_bytes + symbols[left.next].num_bytes != best.num_bytes) {
      continue;
    }
    Symbol& right = symbols[left.next];
    left.num_bytes = best.num_bytes;
    left.id = best.id;
    left.next = right.next;
    right.num_bytes = 0;
    if (left.next != kNoPiece) {
      symbols[left.next].previous = best.left_at;
    }
    if (left.previous != kNoPiece) {
      push(text, left.previous, to_whole, scratch);
    }
    push(text, best.left_at, to_whole, scratch);
  }
}

}  // namespace stet::text
