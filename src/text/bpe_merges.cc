#include "src/text/bpe_merges.h"

#include <algorithm>
#include <bit>

#include "stet/base/check.h"

namespace stet::text {
namespace {

uint64_t pair_key(uint32_t left, uint32_t right) {
  return (uint64_t{left} << 32) | right;
}

// Heap order: the lowest rank first, of equal ranks the leftmost.
bool later(const BpeMerges::Candidate& a, const BpeMerges::Candidate& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.left_at > b.left_at;
}

}  // namespace

BpeMerges::BpeMerges(const std::array<uint32_t, 256>& byte_ids, size_t num_merges)
    : byte_ids_(byte_ids), slots_(std::bit_ceil(num_merges * 2 + 2)) {}

size_t BpeMerges::slot_of(uint64_t pair) const {
  const size_t mask = slots_.size() - 1;
  // Fibonacci hashing (Knuth, vol. 3, 6.4): the upper half of the product is well mixed.
  size_t at = static_cast<size_t>((pair * 0x9E3779B97F4A7C15u) >> 32) & mask;
  while (slots_[at].pair != pair && slots_[at].pair != UINT64_MAX) {
    at = (at + 1) & mask;
  }
  return at;
}

bool BpeMerges::add(uint32_t left, uint32_t right, uint32_t rank, uint32_t joined) {
  Slot& slot = slots_[slot_of(pair_key(left, right))];
  if (slot.pair != UINT64_MAX) {
    return false;
  }
  slot = {pair_key(left, right), rank, joined};
  return true;
}

void BpeMerges::push(Scratch* scratch, uint32_t left_at) const {
  const Symbol& left = scratch->symbols[left_at];
  if (left.next == kNone) {
    return;
  }
  const uint32_t right_id = scratch->symbols[left.next].id;
  const Slot& slot = slots_[slot_of(pair_key(left.id, right_id))];
  if (slot.pair != UINT64_MAX) {
    scratch->heap.push_back({slot.rank, left_at, left.id, right_id, slot.joined});
    std::push_heap(scratch->heap.begin(), scratch->heap.end(), later);
  }
}

void BpeMerges::encode(std::string_view word, Scratch* scratch, std::vector<uint32_t>* ids) const {
  auto& [symbols, heap] = *scratch;
  symbols.clear();
  heap.clear();
  const auto n = static_cast<uint32_t>(word.size());
  for (uint32_t i = 0; i < n; ++i) {
    const uint32_t id = byte_ids_[static_cast<uint8_t>(word[i])];
    STET_DCHECK(id != kNone, "bytes without a token are replaced before");
    symbols.push_back({id, i == 0 ? kNone : i - 1, i + 1 == n ? kNone : i + 1});
  }
  for (uint32_t i = 0; i + 1 < n; ++i) {
    push(scratch, i);
  }
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const Candidate best = heap.back();
    heap.pop_back();
    Symbol& left = symbols[best.left_at];
    // Stale if either side has been merged since: ids are unique to their text, so equal ids are
    // the same pair.
    if (left.id != best.left_id || left.next == kNone || symbols[left.next].id != best.right_id) {
      continue;
    }
    Symbol& right = symbols[left.next];
    left.id = best.joined;
    left.next = right.next;
    right.id = kNone;
    if (left.next != kNone) {
      symbols[left.next].previous = best.left_at;
    }
    if (left.previous != kNone) {
      push(scratch, left.previous);
    }
    push(scratch, best.left_at);
  }
  for (uint32_t i = 0; i != kNone && n != 0; i = symbols[i].next) {
    ids->push_back(symbols[i].id);
  }
}

}  // namespace stet::text
