// BPE as SentencePiece does it (Kudo and Richardson, EMNLP 2018): symbols are characters at first,
// and of all neighbours whose text together is a piece those with the highest score become one
// symbol, the leftmost of equals, until there are none. Immutable; thread-safe.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "src/text/piece_index.h"

namespace stet::text {

class PieceMerges {
 public:
  // `scores`: per id. Both must outlive this.
  PieceMerges(const PieceIndex* pieces, const std::vector<float>* scores)
      : pieces_(pieces), scores_(scores) {}

  struct Symbol {
    uint32_t begin, num_bytes;  // of the text; num_bytes 0: merged into the one before it
    uint32_t previous, next;    // indices; kNoPiece at the ends
    uint32_t id;                // of a merged symbol; kNoPiece: a single character, not looked up
  };
  struct Candidate {
    float score;
    uint32_t left_at, num_bytes, id;  // stale when the two sides are no longer that long together
  };
  // Reused between texts so that a call does not allocate per word. Owned by one call.
  struct Scratch {
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
  };

  // Leaves the symbols of `text` (UTF-8, less than 4 GiB) in `scratch`: a list that begins at [0],
  // empty for an empty text. Without `to_whole` the text as a whole is no candidate: of a piece it
  // leaves the two parts that make it up. O(n log n).
  void merge(std::string_view text, bool to_whole, Scratch* scratch) const;

 private:
  void push(std::string_view text, uint32_t left_at, bool to_whole, Scratch* scratch) const;

  const PieceIndex* pieces_;
  const std::vector<float>* scores_;
};

}  // namespace stet::text
