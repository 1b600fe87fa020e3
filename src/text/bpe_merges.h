// Byte-pair encoding of one word by merge rank (Sennrich et al. 2016), over token ids. Immutable;
// thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace stet::text {

class BpeMerges {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  // `byte_ids`: the token of each single byte, kNone where the vocabulary has none.
  BpeMerges(const std::array<uint32_t, 256>& byte_ids, size_t num_merges);
  // Rank `rank` joins `left` and `right` to `joined`. False if the pair already has a (better)
  // rank.
  bool add(uint32_t left, uint32_t right, uint32_t rank, uint32_t joined);

  // Appends the ids of `word`; every byte of it has a token. O(n log n).
  struct Scratch;
  void encode(std::string_view word, Scratch* scratch, std::vector<uint32_t>* ids) const;

  struct Symbol {
    uint32_t id;
    uint32_t previous,
        next;  // indices; kNone at the ends. A symbol that was merged away has id kNone
  };
  struct Candidate {
    uint32_t rank, left_at;
    uint32_t left_id, right_id;  // what stood there: stale when it does no longer
    uint32_t joined;
  };
  // Reused between words so that a call does not allocate per word. Owned by one call.
  struct Scratch {
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
  };

 private:
  struct Slot {
    uint64_t pair = UINT64_MAX;  // left << 32 | right
    uint32_t rank = kNone, joined = kNone;
  };
  size_t slot_of(uint64_t pair) const;
  void push(Scratch* scratch, uint32_t left_at) const;

  std::array<uint32_t, 256> byte_ids_;
  std::vector<Slot> slots_;  // open addressing, power of two, at most half full
};

}  // namespace stet::text
