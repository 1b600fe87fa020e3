// Prompts of counted tokens, in blocks of eight.
#pragma once

#include <cstdint>
#include <vector>

namespace stet::kv {

inline constexpr uint32_t kBlockTokens = 8;

using Tokens = std::vector<uint32_t>;

inline Tokens tokens(uint32_t n, uint32_t salt = 0) {
  Tokens ids;
  for (uint32_t i = 0; i < n; ++i) {
    ids.push_back(salt * 1000 + i);
  }
  return ids;
}

}  // namespace stet::kv
