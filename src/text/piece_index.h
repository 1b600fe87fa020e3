// From a piece's text to its id: a hash table over texts that lie elsewhere. Immutable once built;
// thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace stet::text {

inline constexpr uint32_t kNoPiece = UINT32_MAX;

class PieceIndex {
 public:
  // `texts`: per id; must outlive the index and stay as it is for the ids that were added.
  explicit PieceIndex(const std::vector<std::string>* texts, size_t max_pieces);
  // The id that has this text already, or kNoPiece: `id` was added.
  uint32_t add(uint32_t id);
  uint32_t find(std::string_view text) const;  // kNoPiece if it is no piece

 private:
  struct Slot {
    uint32_t tag = 0;  // upper half of the hash: texts are compared only where it is equal
    uint32_t id = kNoPiece;
  };
  size_t slot_of(std::string_view text, uint32_t* tag) const;

  const std::vector<std::string>* texts_;
  std::vector<Slot> slots_;  // open addressing, power of two, at most half full
  size_t max_bytes_ = 0;
};

}  // namespace stet::text
