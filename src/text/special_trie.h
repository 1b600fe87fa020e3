// Finds the names of special tokens in text: a byte trie, leftmost match, the longest name first.
// Immutable once built.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace stet::text {

class SpecialTrie {
 public:
  SpecialTrie();
  void add(std::string_view name, uint32_t token_id);  // not empty

  struct Match {
    size_t begin = 0, end = 0;
    uint32_t token_id = 0;
  };
  // The first match at or after `from`; false if there is none. O(bytes x longest name), in
  // practice O(bytes).
  bool find(std::string_view text, size_t from, Match* match) const;

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  struct Node {
    uint32_t first_child = kNone, next_sibling = kNone, token_id = kNone;
    char byte = 0;
  };
  uint32_t child(uint32_t node, char byte) const;

  std::vector<Node> nodes_;             // [0] = root
  std::array<uint32_t, 256> by_first_;  // root's children: most text bytes begin no name
};

}  // namespace stet::text
